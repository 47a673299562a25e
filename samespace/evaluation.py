"""How good a model is on labelled photos: the metrics it was trained by, and how well it ranks all pairs."""

from __future__ import annotations

import time
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from samespace import metrics, progress
from samespace.errors import SameSpaceError
from samespace.features import bank, fingerprint
from samespace.files import write_whole
from samespace.model import PAIRS_AT_ONCE, Model
from samespace.network import Embeddings, TwinNetwork
from samespace.pairs import TEST, TRAINING, Photos, find_photos, hold_out, make_pairs
from samespace.photos import VARIANTS

VALIDATION = "validation"


class Evaluation(NamedTuple):
    """The figures, and for a plot the logit and label of every unordered pair of distinct photos."""

    figures: dict[str, float | int]
    logits: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]


def splits(root: Path, held_out: float) -> tuple[Photos, Photos]:
    """(training, validation) photos: a share of the training spaces held out, or with 0 the Test Data folder."""
    photos = find_photos(root, TRAINING)
    return hold_out(photos, held_out) if held_out else (photos, find_photos(root, TEST))


def evaluate(model: Model, root: Path, split: str = TEST, cache: Path | None = None) -> Evaluation:
    """Score a split of an Airbnb-style folder; "validation" is what training held out of it."""
    start = time.perf_counter()
    data = model.description.get("data", {})
    if split == VALIDATION and "held_out" not in data:
        raise SameSpaceError("this model does not say what it was validated on: name a split of its own")
    photos = splits(root, float(data["held_out"]))[1] if split == VALIDATION else find_photos(root, split)
    if split == VALIDATION and data.get("validation_fingerprint") not in (None, fingerprint(photos.paths)):
        raise SameSpaceError(f"{root} does not hold the photos this model was validated on: name another split")
    same_space_type = bool(data.get("same_space_type", False))
    pairs = make_pairs(photos, same_space_type=same_space_type)
    network = model.network
    with torch.no_grad():
        maps = bank(photos.paths, network.trunk, cache, str(model.device))
        embeddings = network.embed_frozen(network.freeze(*maps))
        trained = metrics.of_training_pairs(_score_rows(network, embeddings, pairs.rows()), pairs.label)
        as_is = Embeddings(*(column[:: len(VARIANTS)] for column in embeddings))
        logits, labels = _known_pairs(network, as_is, photos, same_space_type)
    figures: dict[str, float | int] = {
        "loss": trained["validation_loss"],
        "accuracy": trained["validation_accuracy"],
        **metrics.of_all_pairs(logits, labels),
        "photos": len(photos),
        "pairs": len(labels),
        "seconds": round(time.perf_counter() - start, 3),
    }
    return Evaluation(figures, logits, labels)


def _score_rows(network: TwinNetwork, embeddings: Embeddings, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Logits (P,) of pairs given as rows of `embeddings`: (P, 2 or more)."""
    pairs = torch.from_numpy(rows).to(embeddings.vectors.device)
    blocks = progress.over(torch.split(pairs, PAIRS_AT_ONCE), "training pairs", unit=" blocks")
    logits = [network.head(embeddings.take(block[:, 0]), embeddings.take(block[:, 1])) for block in blocks]
    return torch.cat(logits).double().cpu().numpy()


def _known_pairs(
    network: TwinNetwork, embeddings: Embeddings, photos: Photos, same_space_type: bool
) -> tuple[Any, Any]:
    """Logits and labels of every unordered pair whose label is known: by names, or of judged photos by a verdict."""
    named, verdicts = photos.named(), photos.verdicts
    if len(named) == len(photos):
        return _all_pairs(network, embeddings, photos.spaces(same_space_type))
    told = _score_rows(network, embeddings, verdicts), verdicts[:, 2]
    if len(named) < 2:
        return told
    of_names = Embeddings(*(column[torch.from_numpy(named)] for column in embeddings))
    by_name = _all_pairs(network, of_names, photos.spaces(same_space_type)[named])
    logits, labels = (np.concatenate(both) for both in zip(by_name, told, strict=True))
    return logits, labels


def _all_pairs(network: TwinNetwork, photos: Embeddings, spaces: npt.NDArray[Any]) -> tuple[Any, Any]:
    """Logits and labels of every unordered pair of distinct photos, one row of the triangle after the other."""
    count = len(spaces)
    logits = []
    for row in progress.over(range(count - 1), "all pairs"):
        for at in range(row + 1, count, PAIRS_AT_ONCE):
            others = Embeddings(*(column[at : at + PAIRS_AT_ONCE] for column in photos))
            this = Embeddings(*(column[[row]].expand_as(other) for column, other in zip(photos, others, strict=True)))
            logits.append(network.head(this, others))
    first, second = np.triu_indices(count, 1)
    labels = (spaces[first] == spaces[second]).astype(np.int64)
    return torch.cat(logits).double().cpu().numpy(), labels


def plot_precision_recall(evaluation: Evaluation, path: Path) -> None:
    """Draw what share of duplicates is found at what precision; .png, .svg or .pdf."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SameSpaceError("a plot needs matplotlib: pip install 'samespace[train]'") from error
    precision, recall = metrics.precision_recall(evaluation.logits, evaluation.labels)
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
    axes.axhline(metrics.PRECISION, color="#8c959f", linewidth=0.8, linestyle="--")
    axes.step([0.0, *recall], [precision[0], *precision], where="pre", color="#0969da")
    figures = evaluation.figures
    axes.set_title(
        f"AP {figures['ap']:.3f}, recall at 99 % precision {figures['recall_at_99_precision']:.2f}\n"
        f"{figures['photos']} photos, {figures['pairs']:,} pairs",
        fontsize=10,
    )
    try:
        content = BytesIO()
        figure.savefig(content, dpi=150, format=path.suffix[1:] or "png")
        write_whole(path, content.getvalue())
    except (OSError, ValueError) as error:
        raise SameSpaceError(f"cannot write {path} ({error}): give a .png file in a folder that exists") from error
