"""Measure a model on labelled photos: how well it ranks all pairs, and training's figures on balanced pairs."""

from __future__ import annotations

import time
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from samespace.base import progress
from samespace.base.arrays import Doubles, Ints
from samespace.base.errors import SameSpaceError
from samespace.base.files import write_whole
from samespace.base.own_files import PICTURE, is_own_picture, refuse_foreign
from samespace.base.photos import VARIANTS
from samespace.model import metrics
from samespace.model.feature_bank import bank, fingerprint
from samespace.model.network import Embeddings, TwinNetwork
from samespace.model.pairs import RANKED, TEST, find_photos, known_pairs, make_pairs, splits
from samespace.model.saved import PAIRS_AT_ONCE, Model

VALIDATION = "validation"


class Evaluation(NamedTuple):
    """Figures by name; and for a plot, logit and label of each unordered pair of distinct photos."""

    figures: dict[str, float | int]
    logits: Doubles
    labels: Ints


def evaluate(model: Model, root: Path, split: str = TEST, cache: Path | None = None) -> Evaluation:
    """Measure a model on a split of an Airbnb-style folder; "validation" is what training held out."""
    start = time.perf_counter()
    data = model.description.get("data", {})
    if split == VALIDATION and "held_out" not in data:
        raise SameSpaceError("this model does not say what it was validated on: name another --split")
    photos = splits(root, float(data["held_out"]))[1] if split == VALIDATION else find_photos(root, split)
    if split == VALIDATION and data.get("validation_fingerprint") not in (None, fingerprint(photos.paths)):
        raise SameSpaceError(f"{root} does not hold the photos that this model was validated on: name another --split")
    same_space_type = bool(data.get("same_space_type", False))
    pairs = make_pairs(photos, same_space_type=same_space_type)
    known = known_pairs(photos, same_space_type, RANKED if split == VALIDATION else None)
    network = model.network
    with torch.no_grad():
        maps = bank(photos.paths, network.backbone, cache, str(model.device))
        embeddings = network.embed_frozen(network.freeze(*maps))
        balanced = _logits(network, embeddings, pairs.rows())
        as_is = Embeddings(*(column[:: len(VARIANTS)] for column in embeddings))
        logits, labels = _logits(network, as_is, known), known[:, 2]
    figures: dict[str, float | int] = {
        **metrics.of_all_pairs(logits, labels),
        **metrics.of_balanced_pairs(balanced, pairs.label),
        "photos": len(np.unique(known[:, :2])),
        "pairs": len(labels),
        "seconds": round(time.perf_counter() - start, 3),
    }
    return Evaluation(figures, logits, labels)


def _logits(network: TwinNetwork, embeddings: Embeddings, rows: Ints) -> Doubles:
    """Return logits (P,) of pairs given as rows of `embeddings`, (P, 2 or more)."""
    pairs = torch.from_numpy(rows).to(embeddings.vectors.device)
    blocks = progress.over(torch.split(pairs, PAIRS_AT_ONCE), "pairs", unit=" blocks")
    logits = [network.head(embeddings.take(block[:, 0]), embeddings.take(block[:, 1])) for block in blocks]
    return torch.cat(logits).double().cpu().numpy()


def refuse_foreign_plot(path: Path) -> None:
    """Refuse to plot over anything but an earlier plot."""
    refuse_foreign(path, is_own_picture, "a plot that samespace drew")


def plot_precision_recall(evaluation: Evaluation, path: Path) -> None:
    """Draw the precision-recall curve into a .png, .svg or .pdf."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SameSpaceError("a plot needs matplotlib: pip install 'samespace[train]'") from error
    refuse_foreign_plot(path)
    precision, recall = metrics.precision_recall(evaluation.logits, evaluation.labels)
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
    axes.axhline(metrics.PRECISION, color="#8c959f", linewidth=0.8, linestyle="--")
    axes.step([0.0, *recall], [precision[0], *precision], where="pre", color="#0969da")
    figures = evaluation.figures
    axes.set_title(
        f"AP {figures['average_precision']:.3f}, recall at 99 % precision {figures['recall_at_99_precision']:.2f}\n"
        f"{figures['photos']} photos, {figures['pairs']:,} pairs",
        fontsize=10,
    )
    try:
        content, form = BytesIO(), path.suffix[1:] or "png"
        figure.savefig(content, dpi=150, format=form, metadata={"Software" if form == "png" else "Creator": PICTURE})
        write_whole(path, content.getvalue())
    except (OSError, ValueError) as error:
        raise SameSpaceError(f"cannot write {path} ({error}): give a .png file in a folder that exists") from error
