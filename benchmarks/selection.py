"""Which metric of a training run picks the model that ranks unseen rooms best? By folds, on rooms to train on.

    python benchmarks/selection.py ROOT … [--weights FILE --backbone NAME] [--json]

Of the training rooms a fold is put aside. The others are split as a run splits them: most to learn from, the rest for
validation. Every setting is trained for some epochs; after each, the validation metrics and the average precision over
all pairs of the fold are noted. A metric picks the epoch and the setting that it finds best, and is judged by the fold.
The Test Data is never opened.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model_def import HELD_OUT, GlobalBatches, make_network, training_rows, validation_rows
from samespace import metrics
from samespace.errors import exit_status
from samespace.features import Maps, bank, default_cache
from samespace.network import CompareHead, TwinNetwork
from samespace.pairs import Photos, find_photos, hold_out, known_pairs
from samespace.photos import VARIANTS

# The settings that a search meets: both heads, slow and fast.
SETTINGS: tuple[dict[str, Any], ...] = (
    {"head": "compare", "learning_rate": 0.001, "epochs": 16},
    {"head": "compare", "learning_rate": 0.01, "epochs": 16},
    {"head": "concat", "learning_rate": 0.0001, "epochs": 3},
)
PICKS = {"validation_loss": -1, "balanced_average_precision": 1, "average_precision": 1}  # -1: the lower the better
BATCH = 64

Logits = Callable[[Any], Tensor]  # of some pairs of a table, by their numbers


class Epoch(NamedTuple):
    """What is known of a model after an epoch."""

    setting: str
    epoch: int
    validation: dict[str, float]
    unseen: dict[str, float]  # of all pairs of the fold


def fold(photos: Photos, number: int, folds: int) -> tuple[Photos, Photos]:
    """The photos of all other rooms, and of this fold's: every room is in one."""
    spaces = photos.spaces()
    place = np.random.default_rng(0).permutation(spaces.max() + 1)[spaces] % folds
    return photos.take(np.flatnonzero(place != number)), photos.take(np.flatnonzero(place == number))


def train(setting: dict[str, Any], photos: Photos, rest: Photos, aside: Photos) -> Iterator[Epoch]:
    """Train as a trial does, on some of the photos; what is known after every epoch."""
    training, validation = hold_out(rest, HELD_OUT)
    torch.manual_seed(0)
    network = make_network({**setting, "trainable": "head", **{f"dropout{number}": 0.4 for number in (1, 2, 3)}})
    everything, row_of = (
        bank(photos.paths, network.trunk, default_cache()),
        dict(zip(photos.paths, count(), strict=False)),
    )
    maps, maps_held, maps_unseen = (
        Maps(*(column[[row_of[path] for path in some.paths]] for column in everything))
        for some in (training, validation, aside)
    )
    network.fit(maps)
    learnt = training_rows(training, same_space_type=False)
    held = validation_rows(validation, same_space_type=False)
    unseen = known_pairs(aside) * [len(VARIANTS), len(VARIANTS), 1]
    logits = _scorer(network, maps, learnt, is_training=True)
    logits_held, logits_unseen = _scorer(network, maps_held, held), _scorer(network, maps_unseen, unseen)
    labels, ranked = torch.from_numpy(learnt[:, 2]).float(), held[:, 3] == 1
    optimizer = torch.optim.RMSprop(network.head.parameters(), lr=setting["learning_rate"], alpha=0.9)
    batches = GlobalBatches(len(learnt), BATCH, workers=1, seed=0)
    for epoch in range(setting["epochs"]):
        network.train()
        for batch in batches:
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(logits(batch), labels[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        network.eval()
        found, found_unseen = (_all(one, rows) for one, rows in ((logits_held, held), (logits_unseen, unseen)))
        told = {
            **metrics.of_balanced_pairs(found[~ranked], held[~ranked, 2]),
            **metrics.of_all_pairs(found[ranked], held[ranked, 2]),
        }
        name = f"{setting['head']} at {setting['learning_rate']:g}"
        yield Epoch(name, epoch + 1, told, metrics.of_all_pairs(found_unseen, unseen[:, 2]))


def _scorer(network: TwinNetwork, maps: Maps, rows: np.ndarray, is_training: bool = False) -> Logits:
    """What scores pairs given as rows of photos × variants. Evidence never changes, so it is gathered once."""
    photos, head = network.embed_frozen(network.freeze(*maps)), network.head
    first, second = torch.from_numpy(rows[:, :2]).unbind(1)
    if not isinstance(head, CompareHead):
        return lambda some: head(photos.take(first[some]), photos.take(second[some]))
    blocks = [
        head.evidence(photos.take(one), photos.take(other))
        for one, other in zip(torch.split(first, 256), torch.split(second, 256), strict=True)
    ]
    evidence = torch.cat(blocks)
    if is_training:
        head.fit(evidence[:: max(1, len(evidence) // 4096)])
    return lambda some: head.weigh(evidence[some])


@torch.no_grad()
def _all(logits: Logits, rows: np.ndarray) -> np.ndarray:
    blocks = [logits(some) for some in torch.split(torch.arange(len(rows)), 256)]
    return torch.cat(blocks).double().numpy()


def measure(root: Path, backbone: str, weights: str, folds: int) -> dict[str, Any]:
    """What each metric picks, among all epochs of all settings and among the epochs of each; means over the folds."""
    photos = find_photos(root)
    trunk = {"backbone": backbone, "weights": weights}
    picked: dict[str, list[float]] = {}
    for number in range(folds):
        runs: list[list[Epoch]] = []
        for setting in SETTINGS:
            runs.append([])
            for epoch in train({**setting, **trunk}, photos, *fold(photos, number, folds)):
                runs[-1].append(epoch)
                figures = ", ".join(f"{name} {epoch.validation[name]:.4f}" for name in PICKS)
                print(
                    f"{root.name} fold {number}: {epoch.setting}, epoch {epoch.epoch}: {figures}; unseen "
                    f"{epoch.unseen['average_precision']:.4f}, {epoch.unseen['recall_at_99_precision']:.4f}",
                    file=sys.stderr,
                    flush=True,
                )
        scopes = {"all": list(chain(*runs)), **{run[0].setting: run for run in runs}}
        for scope, epochs in scopes.items():
            for name, sign in PICKS.items():
                place = int(np.argmax([sign * epoch.validation[name] for epoch in epochs]))
                picked.setdefault(f"{scope}: {name}", []).append(epochs[place].unseen["average_precision"])
            picked.setdefault(f"{scope}: the best there is", []).append(
                max(epoch.unseen["average_precision"] for epoch in epochs)
            )
    return {name: {"mean": float(np.mean(values)), "folds": values} for name, values in picked.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description="Which metric picks the better model?")
    parser.add_argument("roots", type=Path, nargs="+", metavar="ROOT", help="folder that holds 'Airbnb Data'")
    parser.add_argument("--backbone", default="mobilenet_v3_large")
    parser.add_argument("--weights", default="imagenet", help="imagenet, none or the path of a state dict")
    parser.add_argument("--folds", type=int, default=4)
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
    print("| picked among: by | " + " | ".join(found) + " |")
    print("|---" * (len(found) + 1) + "|")
    for name in next(iter(found.values())):
        print(f"| {name} | " + " | ".join(f"{rows[name]['mean']:.3f}" for rows in found.values()) + " |")


if __name__ == "__main__":
    sys.exit(main())
