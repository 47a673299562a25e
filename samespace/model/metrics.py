"""Measure how good the scores of labelled pairs are: logits and labels (N,), where a label is 1 for one space."""

from __future__ import annotations

import numpy as np

from samespace.base.arrays import Array, Doubles, Ints, ranks

PRECISION = 0.99
BINS = 10  # ranges of probability
UNLISTED = 30.0  # by how much pairs that were not looked at come after those that were
RANKING = ("average_precision", "recall_at_99_precision", "roc_auc")
LIBRARY = (*RANKING, "validation_loss", "balanced_accuracy", "calibration_error")
NAMES = (*RANKING, "validation_loss", "balanced_accuracy", *(f"balanced_{name}" for name in RANKING))


def losses(logits: Array, labels: Array) -> Doubles:
    """Return the binary cross-entropy of each pair, (N,)."""
    logits = np.asarray(logits, np.float64)
    return np.logaddexp(0, np.where(labels == 1, -logits, logits))


def loss(logits: Array, labels: Array) -> float:
    return float(losses(logits, labels).mean())


def precision_recall(scores: Array, labels: Array) -> tuple[Array, Array]:
    """Return precision and recall at every distinct score, from the highest down: two (T,) arrays."""
    found, taken = _found(scores, labels)
    return found / taken, found / max(1, found[-1])


def _found(scores: Array, labels: Array) -> tuple[Array, Array]:
    """Count duplicates and all pairs that score as much or more, at every distinct score from the highest down."""
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    ranked = np.asarray(scores)[order]
    # Equal scores are one decision: only the last of each run is a threshold.
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return np.cumsum(np.asarray(labels)[order] == 1)[ends], ends + 1


def average_precision(scores: Array, labels: Array) -> float:
    """Return the area under the precision-recall steps."""
    precision, recall = precision_recall(scores, labels)
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def recall_at_precision(scores: Array, labels: Array, precision: float = PRECISION) -> float:
    """Return the highest recall at this precision or better; 0 if no threshold reaches it."""
    precisions, recalls = precision_recall(scores, labels)
    return float(recalls[precisions >= precision].max(initial=0.0))


def roc_auc(scores: Array, labels: Array) -> float:
    """Return how often a duplicate scores above another pair; equal scores count as half."""
    _, place, count = np.unique(np.asarray(scores, np.float64), return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    positive = labels == 1
    ones, zeros = int(positive.sum()), int((~positive).sum())
    return float((rank[positive].sum() - ones * (ones + 1) / 2) / max(1, ones * zeros))


def of_all_pairs(logits: Array, labels: Array) -> dict[str, float]:
    """Return how well all pairs of distinct photos are ranked; few of them are duplicates, as in use."""
    return {
        "average_precision": average_precision(logits, labels),
        "recall_at_99_precision": recall_at_precision(logits, labels),
        "roc_auc": roc_auc(logits, labels),
    }


def of_library(logits: Array, labels: Array, listed: Array, even: float) -> dict[str, float]:
    """Return the figures of all pairs of a library, of which those that are `listed` were looked at.

    Pairs of the probability `even` or more count as of one space.
    """
    if not np.isfinite(logits).all():
        return dict.fromkeys(LIBRARY, float("nan"))
    found = as_found(logits, listed)
    return {
        **of_all_pairs(found, labels),
        "validation_loss": loss(logits[listed == 1], labels[listed == 1]),
        "balanced_accuracy": balanced_accuracy(found, labels, logit(even)),
        "calibration_error": calibration_error(logits[listed == 1], labels[listed == 1]),
    }


def logit(probability: float) -> float:
    """Return the logarithm of the odds."""
    return float(np.log(probability) - np.log1p(-probability)) if 0 < probability < 1 else np.inf * (probability - 0.5)


def as_found(logits: Array, listed: Array) -> Doubles:
    """Return logits in which pairs that were not looked at come after all that were."""
    return np.where(listed == 1, logits, logits - UNLISTED)


def thresholds(logits: Array, labels: Array) -> dict[str, float]:
    """Return two probabilities: from which on 99 % of pairs are of one space, and with the best balanced accuracy.

    The first is 0.8 at least and the second a half at most: few photos are easily told apart, and nobody has only few.
    """
    if not np.isfinite(logits).all():  # the network has diverged: it is sure of nothing
        return {"sure": 1.0, "even": 0.5}
    sure, even = (1 / (1 + np.exp(-at)) for at in (sure_threshold(logits, labels), even_threshold(logits, labels)))
    return {"sure": max(0.8, float(sure)), "even": min(0.5, float(even))}


def balanced_accuracy(logits: Array, labels: Array, threshold: float) -> float:
    """Return the mean share of right answers on pairs of one space and on others."""
    above = logits >= threshold
    return float((above[labels == 1].mean() + (~above)[labels != 1].mean()) / 2)


def even_threshold(logits: Array, labels: Array) -> float:
    """Return the logit with the best balanced accuracy."""
    found, taken = _found(logits, labels)
    balance = found / max(1, found[-1]) - (taken - found) / max(1, taken[-1] - found[-1])
    return _just_below(logits, int(np.argmax(balance))) if balance.max() > 0 else float(logits.max()) + 1


def sure_threshold(logits: Array, labels: Array) -> float:
    """Return the lowest logit from which on 99 % of pairs are of one space; above all of them if there is none."""
    precisions, _ = precision_recall(logits, labels)
    precise = np.flatnonzero(precisions >= PRECISION)
    return _just_below(logits, int(precise[-1])) if len(precise) else float(logits.max()) + 1


def _just_below(logits: Array, place: int) -> float:
    """Return what lies between a distinct logit, by its place from the highest down, and the next: rounding is safe."""
    distinct = np.unique(np.asarray(logits, np.float64))[::-1]
    if place + 1 == len(distinct):
        return float(distinct[place]) - 1
    at, below = distinct[place : place + 2]
    middle = (at + below) / 2
    return float(middle if middle > below else at)  # nothing lies between neighbours among floats


def among_nearest(listed: Ints, logits: Array, same: int, most: int = 20) -> float:
    """Return the share of `same` pairs of one space in which one photo is among the other's `most` nearest.

    `listed` pairs, rows (P, 3) of two photos and their label, are those that were looked at.
    """
    photo, score = np.concatenate([listed[:, 0], listed[:, 1]]), np.concatenate([logits, logits])
    order = np.lexsort((-score, photo))
    near = np.zeros(len(photo), bool)
    near[order] = ranks(photo[order]) < most
    either = near[: len(listed)] | near[len(listed) :]
    return float(either[listed[:, 2] == 1].sum() / max(1, same))


def calibration_error(logits: Array, labels: Array) -> float:
    """Return how far probabilities are from what they promise, on average over ten equal ranges."""
    promised, kept, count = reliability(logits, labels)
    return float((abs(promised - kept) * count).sum() / max(1, count.sum()))


def reliability(logits: Array, labels: Array) -> tuple[Doubles, Doubles, Doubles]:
    """Return the mean probability, the share of one space and the number of pairs of each range that has any, (R,)."""
    probability = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    count = np.bincount(bins, minlength=BINS).astype(float)
    there = count > 0
    sums = [np.bincount(bins, column, BINS)[there] / count[there] for column in (probability, labels == 1)]
    return sums[0], sums[1], count[there]


def of_balanced_pairs(logits: Array, labels: Array) -> dict[str, float]:
    """Return the figures for pairs made like training pairs, about half of them duplicates; they flatter."""
    return {
        "validation_loss": loss(logits, labels),
        "balanced_accuracy": balanced_accuracy(logits, labels, 0),
        **{f"balanced_{name}": figure for name, figure in of_all_pairs(logits, labels).items()},
    }
