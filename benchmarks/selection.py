"""Compare, by folds, how well unseen rooms are ranked by the models that each metric of a training run picks.

    python benchmarks/selection.py ROOT … [--weights FILE --backbone NAME] [--json]

A fold of the training rooms is put aside. The others are split as in a run: most to learn from, the rest for
validation. The `compare` head is trained at several learning rates; after each epoch the validation metrics and the
average precision over all pairs of the fold are noted. Each metric picks the epoch and rate that it finds best, and the
fold judges that pick. The Test Data is never opened.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from data import HELD_OUT, training_rows, validation_rows  # noqa: E402
from experiments.trial import GlobalBatches  # noqa: E402
from samespace.base.errors import exit_status  # noqa: E402
from samespace.base.photos import VARIANTS  # noqa: E402
from samespace.model import metrics  # noqa: E402
from samespace.model.backbone import make_backbone  # noqa: E402
from samespace.model.feature_bank import Maps, bank, default_cache  # noqa: E402
from samespace.model.network import CompareHead, TwinNetwork  # noqa: E402
from samespace.model.pairs import Photos, find_photos, hold_out, known_pairs  # noqa: E402

RATES = (0.001, 0.003, 0.01)
EPOCHS = 16
PICKS = {"validation_loss": -1, "balanced_average_precision": 1, "average_precision": 1}  # -1: the lower the better
BATCH, ALPHA = 64, 0.9  # as in const.yaml

Rows = np.ndarray  # (P, 3 or 4): two rows of photos × variants, and 1 for one space


class Epoch(NamedTuple):
    """What is known about a model after an epoch."""

    rate: float
    number: int
    validation: dict[str, float]
    unseen: dict[str, float]  # over all pairs of the fold


def fold(photos: Photos, number: int, folds: int) -> tuple[Photos, Photos]:
    """Split off this fold's rooms, (the others, these): every room is in one fold."""
    spaces = photos.spaces()
    place = np.random.default_rng(0).permutation(spaces.max() + 1)[spaces] % folds
    return photos.take(np.flatnonzero(place != number)), photos.take(np.flatnonzero(place == number))


def epochs_of(maps: dict[Path, Any], network: TwinNetwork, rest: Photos, aside: Photos) -> Iterator[Epoch]:
    """Yield what is known after each epoch at each rate; evidence on a pair never changes, so it is gathered once."""
    training, validation = hold_out(rest, HELD_OUT)
    learnt, held = training_rows(training, same_space_type=False), validation_rows(validation, same_space_type=False)
    unseen = known_pairs(aside) * [len(VARIANTS), len(VARIANTS), 1]
    network.fit(_maps_of(maps, training))
    evidence, evidence_held, evidence_unseen = (
        _evidence(network, _maps_of(maps, photos), rows)
        for photos, rows in ((training, learnt), (validation, held), (aside, unseen))
    )
    ranked = held[:, 3] == 1
    for rate in RATES:
        head = CompareHead()
        head.fit(evidence[:: max(1, len(evidence) // 4096)])
        for number in _train(head, evidence, torch.from_numpy(learnt[:, 2]).float(), rate):
            with torch.no_grad():
                logits, logits_unseen = (head.weigh(one).double().numpy() for one in (evidence_held, evidence_unseen))
            validated = {
                **metrics.of_balanced_pairs(logits[~ranked], held[~ranked, 2]),
                **metrics.of_all_pairs(logits[ranked], held[ranked, 2]),
            }
            yield Epoch(rate, number, validated, metrics.of_all_pairs(logits_unseen, unseen[:, 2]))


def _train(head: CompareHead, evidence: Tensor, labels: Tensor, rate: float) -> Iterator[int]:
    """Train as a trial does; yield the number of each epoch when it is over."""
    optimizer = torch.optim.RMSprop(head.parameters(), lr=rate, alpha=ALPHA)
    batches = GlobalBatches(len(labels), BATCH, workers=1, seed=0)
    for number in range(1, EPOCHS + 1):
        for batch in batches:
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(head.weigh(evidence[batch]), labels[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        yield number


def _maps_of(maps: dict[Path, Any], photos: Photos) -> Maps:
    return Maps(*(torch.stack(column) for column in zip(*(maps[path] for path in photos.paths), strict=True)))


@torch.no_grad()
def _evidence(network: TwinNetwork, maps: Maps, rows: Rows) -> Tensor:
    photos = network.embed_frozen(network.freeze(*maps))
    blocks = torch.split(torch.from_numpy(rows[:, :2]), 256)
    return torch.cat([CompareHead.evidence(photos.take(block[:, 0]), photos.take(block[:, 1])) for block in blocks])


def measure(root: Path, backbone: str, weights: str, folds: int) -> dict[str, list[float]]:
    """Return the average precision, fold by fold, of what each metric picks and of the best possible pick."""
    photos = find_photos(root)
    network = TwinNetwork(make_backbone(backbone, weights), "compare", "head")
    everything = bank(photos.paths, network.backbone, default_cache())
    maps = {path: tuple(column[row] for column in everything) for row, path in enumerate(photos.paths)}
    picked: dict[str, list[float]] = defaultdict(list)
    for number in range(folds):
        epochs = []
        for epoch in epochs_of(maps, network, *fold(photos, number, folds)):
            epochs.append(epoch)
            figures = ", ".join(f"{name} {epoch.validation[name]:.4f}" for name in PICKS)
            print(
                f"{root.name} fold {number}, {epoch.rate:g}, epoch {epoch.number}: {figures}; "
                f"unseen {epoch.unseen['average_precision']:.4f}",
                file=sys.stderr,
                flush=True,
            )
        unseen = [epoch.unseen["average_precision"] for epoch in epochs]
        for name, sign in PICKS.items():
            picked[name].append(unseen[int(np.argmax([sign * epoch.validation[name] for epoch in epochs]))])
        picked["the first epoch at 0.01"].append(unseen[RATES.index(0.01) * EPOCHS])
        picked["the last epoch at 0.01"].append(unseen[RATES.index(0.01) * EPOCHS + EPOCHS - 1])
        picked["the best possible pick"].append(max(unseen))
    return dict(picked)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure which metric picks the better model.")
    parser.add_argument("roots", type=Path, nargs="+", metavar="ROOT", help="folder that holds 'Airbnb Data'")
    parser.add_argument("--backbone", default="mobilenet_v3_large")
    parser.add_argument("--weights", default="imagenet", help="imagenet, none or the path of a state dict")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    return exit_status(lambda: _measure(arguments))


def _measure(arguments: argparse.Namespace) -> None:
    found = {
        root.name: measure(root, arguments.backbone, arguments.weights, arguments.folds) for root in arguments.roots
    }
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    print("| picked by | " + " | ".join(f"{name}, unseen average precision" for name in found) + " |")
    print("|---" * (len(found) + 1) + "|")
    for name in next(iter(found.values())):
        print(f"| {name} | " + " | ".join(f"{np.mean(rows[name]):.3f}" for rows in found.values()) + " |")


if __name__ == "__main__":
    sys.exit(main())
