"""Measure how good the scores of labelled pairs are: logits and labels (N,), where a label is 1 for one space."""

from __future__ import annotations

import numpy as np

from samespace.base.arrays import Array, Doubles

PRECISION = 0.99
RANKING = ("average_precision", "recall_at_99_precision", "roc_auc")
NAMES = (*RANKING, "validation_loss", "balanced_accuracy", *(f"balanced_{name}" for name in RANKING))


def losses(logits: Array, labels: Array) -> Doubles:
    """Return the binary cross-entropy of each pair, (N,)."""
    logits = np.asarray(logits, np.float64)
    return np.logaddexp(0, np.where(labels == 1, -logits, logits))


def loss(logits: Array, labels: Array) -> float:
    return float(losses(logits, labels).mean())


def accuracy(logits: Array, labels: Array) -> float:
    """Return the share of pairs whose probability is on the right side of one half."""
    return float(((np.asarray(logits) > 0) == (labels == 1)).mean())


def precision_recall(scores: Array, labels: Array) -> tuple[Array, Array]:
    """Return precision and recall at every distinct score, from the highest down: two (T,) arrays."""
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    ranked = np.asarray(scores)[order]
    # Equal scores are one decision: only the last of each run is a threshold.
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    found = np.cumsum(np.asarray(labels)[order] == 1)[ends]
    return found / (ends + 1), found / max(1, found[-1])


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


def of_balanced_pairs(logits: Array, labels: Array) -> dict[str, float]:
    """Return the figures for pairs made like training pairs, half of them duplicates; they flatter."""
    return {
        "validation_loss": loss(logits, labels),
        "balanced_accuracy": accuracy(logits, labels),
        **{f"balanced_{name}": figure for name, figure in of_all_pairs(logits, labels).items()},
    }
