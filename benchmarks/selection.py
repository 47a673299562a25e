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
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from model_def import HELD_OUT, GlobalBatches, make_network, training_rows, validation_rows
from samespace import metrics
from samespace.errors import exit_status
from samespace.features import Maps, bank, default_cache
from samespace.network import CompareHead, TwinNetwork
from samespace.pairs import Photos, find_photos, hold_out, known_pairs
from samespace.photos import VARIANTS

# The settings that a search meets: both heads, slow and fast.
SETTINGS: tuple[dict[str, Any], ...] = (
    {"head": "compare", "learning_rate": 0.001, "epochs": 8},
    {"head": "compare", "learning_rate": 0.01, "epochs": 8},
    {"head": "concat", "learning_rate": 0.0001, "epochs": 3},
)
PICKS = {"validation_loss": -1, "balanced_average_precision": 1, "average_precision": 1}  # -1: the lower the better
BATCH = 64


class Epoch(NamedTuple):
    """What is known of a model after an epoch."""

    setting: str
    epoch: int
    validation: dict[str, float]
    unseen: dict[str, float]  # of all pairs of the fold


def fold(photos: Photos, number: int, folds: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the other rooms, and of this fold's: every room is in one."""
    spaces = photos.spaces()
    place = np.random.default_rng(0).permutation(spaces.max() + 1)[spaces] % folds
    return np.flatnonzero(place != number), np.flatnonzero(place == number)


def train(setting: dict[str, Any], maps: Maps, table: Photos, rest: np.ndarray, aside: np.ndarray) -> Iterator[Epoch]:
    """Train as a trial does, on features that are there; what is known after every epoch."""
    training, validation = hold_out(table.take(rest), HELD_OUT)
    place = {path: row for row, path in enumerate(table.paths)}
    learnt, held = (np.array([place[path] for path in photos.paths]) for photos in (training, validation))
    torch.manual_seed(0)
    network = make_network({**setting, **{f"dropout{number}": 0.4 for number in (1, 2, 3)}})
    network.fit(_only(maps, learnt))
    frozen, frozen_held, frozen_aside = (network.freeze(*_only(maps, rows)) for rows in (learnt, held, aside))
    pairs = torch.from_numpy(training_rows(training, same_space_type=False))
    if isinstance(network.head, CompareHead):
        first, second, _ = pairs[:: max(1, len(pairs) // 4096)].unbind(1)
        photos = network.embed_frozen(frozen)
        with torch.no_grad():
            network.head.fit(network.head.evidence(photos.take(first), photos.take(second)))
    learning = [value for value in network.parameters() if value.requires_grad]
    optimizer = torch.optim.RMSprop(learning, lr=setting["learning_rate"], alpha=0.9)
    batches = GlobalBatches(len(pairs), BATCH, workers=1, seed=0)
    unseen = known_pairs(table.take(aside)) * [len(VARIANTS), len(VARIANTS), 1]
    for epoch in range(setting["epochs"]):
        network.train()
        for batch in batches:
            first, second, labels = pairs[batch].unbind(1)
            loss = F.binary_cross_entropy_with_logits(
                network(*frozen.take(first), *frozen.take(second)), labels.float()
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        network.eval()
        rows = validation_rows(validation, same_space_type=False)
        logits, ranked = _logits(network, frozen_held, rows), rows[:, 3] == 1
        told = {
            **metrics.of_balanced_pairs(logits[~ranked], rows[~ranked, 2]),
            **metrics.of_all_pairs(logits[ranked], rows[ranked, 2]),
        }
        name = f"{setting['head']} at {setting['learning_rate']:g}"
        yield Epoch(name, epoch + 1, told, metrics.of_all_pairs(_logits(network, frozen_aside, unseen), unseen[:, 2]))


def _only(maps: Maps, rows: np.ndarray) -> Maps:
    return Maps(*(column[torch.from_numpy(rows)] for column in maps))


@torch.no_grad()
def _logits(network: TwinNetwork, frozen: Any, rows: np.ndarray) -> np.ndarray:
    photos = network.embed_frozen(frozen)
    blocks = torch.split(torch.from_numpy(rows), 256)
    logits = [network.head(photos.take(block[:, 0]), photos.take(block[:, 1])) for block in blocks]
    return torch.cat(logits).double().numpy()


def measure(root: Path, backbone: str, weights: str, folds: int) -> dict[str, Any]:
    """What each metric picks, among all epochs of all settings and among the epochs of each; means over the folds."""
    table = find_photos(root)
    trunk = {"backbone": backbone, "weights": weights}
    maps = bank(
        table.paths,
        make_network({**SETTINGS[0], **trunk, "dropout1": 0, "dropout2": 0, "dropout3": 0}).trunk,
        default_cache(),
    )
    picked: dict[str, list[float]] = {}
    for number in range(folds):
        runs = []
        for setting in SETTINGS:
            runs.append([])
            for epoch in train({**setting, **trunk}, maps, table, *fold(table, number, folds)):
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
