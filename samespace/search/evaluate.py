"""Measure a model on labelled photos: how well it ranks all pairs, and training's figures on balanced pairs."""

from __future__ import annotations

import time
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from samespace.base import progress
from samespace.base.arrays import Doubles, Flags, Ints, blocks
from samespace.base.errors import SameSpaceError
from samespace.base.files import write_whole
from samespace.base.once import fingerprint
from samespace.base.own_files import PICTURE, is_own_picture, refuse_foreign, refuse_missing_folder
from samespace.base.photos import VARIANTS
from samespace.model import metrics
from samespace.model.heads import Embeddings
from samespace.model.pairs import (
    RANKED,
    TEST,
    Pairs,
    Photos,
    check_both_labels,
    find_photos,
    known_pairs,
    make_pairs,
    splits,
)
from samespace.model.saved import PAIRS_AT_ONCE, Model
from samespace.search.evidence import NO_PROOF
from samespace.search.labelled import gather, see

VALIDATION = "validation"
_BLUE, _GREY = "#0969da", "#8c959f"


class Evaluation(NamedTuple):
    """Figures by name; and for a plot, logit and label of unordered pairs of distinct photos.

    `logits` and `labels` are of all pairs, and `listed` tells which of them were looked at.
    """

    figures: dict[str, float | int]
    logits: Doubles
    labels: Ints
    listed: Flags


def evaluate(
    model: Model, root: Path, split: str = TEST, cache: Path | None = None, thorough: bool = False
) -> Evaluation:
    """Measure a model on a split of an Airbnb-style folder; "validation" is what training held out.

    `thorough` looks twice for points that photos share, as `dedupe --thorough` does.
    """
    start = time.perf_counter()
    if thorough and not model.rooms:
        raise SameSpaceError(NO_PROOF)
    data = model.description.get("data", {})
    if split == VALIDATION and "held_out" not in data:
        raise SameSpaceError("this model does not say what it was validated on: name another --split")
    photos = splits(root, float(data["held_out"] or 0))[1] if split == VALIDATION else find_photos(root, split)
    if split == VALIDATION and data.get("validation_fingerprint") not in (None, fingerprint(photos.paths)):
        raise SameSpaceError(f"{root} does not hold the photos that this model was validated on: name another --split")
    same_space_type = bool(data.get("same_space_type", False))
    known = known_pairs(photos, same_space_type, RANKED if split == VALIDATION else None)
    check_both_labels(photos, bool(known[:, 2].any()), not known[:, 2].all())
    if model.rooms:
        evaluation = _evaluate_rooms(model, photos, known, cache, thorough)
    else:
        evaluation = _evaluate_twins(model, photos, known, make_pairs(photos, same_space_type=same_space_type), cache)
    evaluation.figures["photos"] = len(np.unique(known[:, :2]))
    evaluation.figures["pairs"] = len(known)
    evaluation.figures["seconds"] = round(time.perf_counter() - start, 3)
    return evaluation


def _evaluate_rooms(model: Model, photos: Photos, known: Ints, cache: Path | None, thorough: bool) -> Evaluation:
    """Take the photos for one library, and score them as one is: a short list first, then the evidence."""
    rooms, extractor = model.rooms, model.extractor.materials
    assert rooms is not None and extractor is not None
    look_again = None
    if thorough:
        from samespace.model.learnt_points import LearntPoints  # which imports torch
        from samespace.search.second_look import looking_twice_at

        look_again = partial(looking_twice_at, photos=photos.paths, learnt=LearntPoints())
    pieces = gather(see(photos.paths, extractor, cache), rooms.known, known, look_again)
    likeness, proof = pieces.evidence[:, :2].astype(np.float64).T
    logits = rooms.library.logits(likeness, proof)
    found, marks = metrics.as_found(logits, pieces.listed), model.thresholds("library")
    sure = found >= metrics.logit(marks.sure)
    figures: dict[str, float | int] = {
        **metrics.of_library(logits, known[:, 2], pieces.listed, marks.even),
        "among_nearest_20": metrics.among_nearest(known[pieces.listed], logits[pieces.listed], pieces.same.sum()),
        "sure_threshold": marks.sure,
        "precision_when_sure": float(pieces.same[sure].mean()) if sure.any() else 1.0,
        "recall_when_sure": float(sure[pieces.same].mean()),
    }
    return Evaluation(figures, found, known[:, 2], pieces.listed)


def _evaluate_twins(model: Model, photos: Photos, known: Ints, pairs: Pairs, cache: Path | None) -> Evaluation:
    """Score all pairs of photos, and pairs of their variants made like training's."""
    embeddings = _of_every_variant(model, photos, cache)
    balanced = _logits(model, embeddings, pairs.rows())
    logits = _logits(model, embeddings.take(slice(None, None, len(VARIANTS))), known)
    figures = {**metrics.of_all_pairs(logits, known[:, 2]), **metrics.of_balanced_pairs(balanced, pairs.label)}
    return Evaluation({**figures}, logits, known[:, 2], np.ones(len(known), bool))


def _of_every_variant(model: Model, photos: Photos, cache: Path | None) -> Embeddings:
    """Return the embeddings of every photo in every variant, as training makes them: of one photo after the other."""
    import torch

    from samespace.model.feature_bank import bank
    from samespace.model.network import TwinNetwork
    from samespace.model.write import rebuild

    network = rebuild(model.contents)
    assert isinstance(network, TwinNetwork)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.no_grad():
        maps = bank(photos.paths, network.to(device).backbone, cache, device)
        vectors, parts = network.embed_frozen(network.freeze(*maps))
    return Embeddings(vectors.cpu().numpy(), parts.cpu().numpy())


def _logits(model: Model, embeddings: Embeddings, rows: Ints) -> Doubles:
    """Return logits (P,) of pairs given as rows of `embeddings`, (P, 2 or more)."""
    some = [rows[block] for block in blocks(len(rows), PAIRS_AT_ONCE)]
    return np.concatenate(
        [
            model.head.logits(embeddings.take(pairs[:, 0]), embeddings.take(pairs[:, 1]), 0)
            for pairs in progress.over(some, "pairs", unit=" blocks")
        ]
    )


def refuse_foreign_plot(path: Path) -> None:
    """Refuse to plot over anything but an earlier plot, or where there is no folder."""
    refuse_missing_folder(path)
    refuse_foreign(path, is_own_picture, "a plot that samespace drew")


def plot(evaluation: Evaluation, path: Path) -> None:
    """Draw the precision-recall curve, and how well probabilities keep what they promise, as .png, .svg or .pdf."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SameSpaceError("a plot needs matplotlib: pip install 'samespace[train]'") from error
    refuse_foreign_plot(path)
    precision, recall = metrics.precision_recall(evaluation.logits, evaluation.labels)
    figure = Figure(figsize=(9, 4), layout="constrained")
    curve, promises = figure.subplots(1, 2)
    curve.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
    curve.axhline(metrics.PRECISION, color=_GREY, linewidth=0.8, linestyle="--")
    curve.step([0.0, *recall], [precision[0], *precision], where="pre", color=_BLUE)
    figures = evaluation.figures
    curve.set_title(
        f"AP {figures['average_precision']:.3f}, recall at 99 % precision {figures['recall_at_99_precision']:.2f}\n"
        f"{figures['photos']} photos, {figures['pairs']:,} pairs",
        fontsize=10,
    )
    listed = evaluation.listed
    looked_at = evaluation.logits[listed], evaluation.labels[listed]
    promised, kept, count = metrics.reliability(*looked_at)
    promises.set(xlabel="probability", ylabel="share of one space", xlim=(0, 1.01), ylim=(0, 1.02))
    promises.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle="--")
    promises.plot(promised, kept, color=_BLUE, marker="o")
    for x, y, number in zip(promised, kept, count, strict=True):
        promises.annotate(f"{number:,.0f}", (x, y), textcoords="offset points", xytext=(6, -10), fontsize=7)
    off = metrics.calibration_error(*looked_at)
    promises.set_title(f"calibration error {off:.3f}\n{listed.sum():,} pairs looked at", fontsize=10)
    try:
        content, form = BytesIO(), path.suffix[1:] or "png"
        figure.savefig(content, dpi=150, format=form, metadata={"Software" if form == "png" else "Creator": PICTURE})
        write_whole(path, content.getvalue())
    except (OSError, ValueError) as error:
        raise SameSpaceError(f"cannot write {path} ({error}): give a .png file in a folder that exists") from error
