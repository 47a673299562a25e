"""Measure how well hashes, cosines and trained heads rank the pairs of an Airbnb-style folder.

    python benchmarks/quality.py ROOT [--weights FILE --backbone NAME] [--json]
    python benchmarks/quality.py ROOT [--weights FILE --backbone NAME] --select

`model_def.py` trains the heads on the Training Data and chooses their best epoch on held-out training spaces. Each row
is then measured on all unordered pairs of distinct photos of the Test Data. `--select` never opens the Test Data: on
held-out training spaces it measures `compare`, and `concat` with each `trainable`, of which the better is its default.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from samespace import load
from samespace.base.errors import SameSpaceError, exit_status
from samespace.base.hashes import hamming, perceptual_hash
from samespace.base.once import default_cache
from samespace.base.photos import open_photo
from samespace.model import metrics
from samespace.model.backbone import make_backbone
from samespace.model.feature_bank import bank
from samespace.model.network import TRAINABLE, TwinNetwork
from samespace.model.pairs import TEST, TRAINING, Photos, find_photos
from samespace.model.projection import fit
from samespace.search.evaluate import evaluate

PROJECT = Path(__file__).resolve().parent.parent
Figures = dict[str, float]

# An MLP of seven million weights takes smaller steps than a head of three numbers.
CONCAT = {"head": "concat", "learning_rate": "0.0001"}


def ranking(scores: Any, photos: Photos) -> Figures:
    """Return average precision and recall of scores (N, N), higher for pairs that are more alike."""
    first, second = np.triu_indices(len(photos), 1)
    spaces = photos.spaces()
    labels = spaces[first] == spaces[second]
    scores = np.asarray(scores)[first, second]
    return {
        "average_precision": metrics.average_precision(scores, labels),
        "recall_at_99_precision": metrics.recall_at_precision(scores, labels),
    }


def hashes(photos: Photos) -> dict[str, Figures]:
    perceptual = np.array([perceptual_hash(open_photo(path)) for path in photos.paths], np.uint64)
    return {
        "wavelet hash": ranking(-hamming(photos.hashes, photos.hashes).astype(int), photos),
        "perceptual hash": ranking(-hamming(perceptual, perceptual).astype(int), photos),
    }


@torch.no_grad()
def cosines(training: Photos, test: Photos, backbone: str, weights: str) -> dict[str, Figures]:
    network = TwinNetwork(make_backbone(backbone, weights), "concat", "head")
    banks = [bank(photos.paths, network.backbone, default_cache()) for photos in (training, test)]
    known, plain = (F.normalize(network.freeze(*(maps[:, 0] for maps in one)).start, dim=1).numpy() for one in banks)
    whitened = fit(known, training.spaces())(plain)
    return {
        "cosine of ImageNet features": ranking(plain @ plain.T, test),
        "cosine, whitened": ranking(whitened @ whitened.T, test),
    }


def train(root: Path, output: Path, hyperparameters: dict[str, str], epochs: int | None) -> None:
    """Train with the command that a person would type; const.yaml sets all that is not given here."""
    command: list[str | Path] = [sys.executable, PROJECT / "model_def.py", "--data", root, "--output", output]
    command += [
        word for name, value in hyperparameters.items() for word in ("--config", f"hyperparameters.{name}={value}")
    ]
    command += ["--epochs", str(epochs)] if epochs else []
    if subprocess.run(command, stdout=sys.stderr).returncode:
        raise SameSpaceError("training failed: see its error above")


def table(root: Path, backbone: str, weights: str, concat_epochs: int) -> dict[str, Figures]:
    training, test = find_photos(root, TRAINING), find_photos(root, TEST)
    pretrained = {"backbone": backbone, "weights": weights}
    with tempfile.TemporaryDirectory() as folder:
        rows = {**hashes(test), **cosines(training, test, backbone, weights)}
        for head, hyperparameters, epochs in (("concat", CONCAT, concat_epochs), ("compare", {}, None)):
            train(root, Path(folder, head, "model"), {**pretrained, **hyperparameters}, epochs)
            model = load(Path(folder, head, "model"))
            rows[f"{head}, trained"] = evaluate(model, root, TEST, default_cache()).figures
            if head == "compare":
                rows[f"{head}, trained"].update(costs(model, test))
    return rows


def costs(model: Any, photos: Photos) -> Figures:
    """Return the bytes kept for a photo, and the milliseconds a pair takes on one core once its photos are embedded."""
    embeddings = model.embed(photos.paths[:65])
    kept = sum(column[0].numpy().nbytes for column in embeddings)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    first, rest = embeddings.take(torch.tensor([0])), embeddings.take(torch.arange(1, len(embeddings.vectors)))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        model.score(first, rest)
        times.append((time.perf_counter() - start) / len(rest.vectors) * 1000)
    torch.set_num_threads(threads)
    return {"bytes_per_photo": kept, "ms_per_pair": sorted(times)[2]}


def select(root: Path, backbone: str, weights: str, epochs: int) -> dict[str, Figures]:
    """Measure `compare`, and `concat` with every `trainable`, on the held-out training spaces."""
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for chosen in ({}, *({**CONCAT, "trainable": trainable} for trainable in TRAINABLE)):
            name = ", ".join(f"{key} {value}" for key, value in chosen.items() if key != "learning_rate") or "compare"
            output = Path(folder, name)
            train(root, output, {"backbone": backbone, "weights": weights, **chosen}, epochs)
            rows[name] = evaluate(load(output), root, "validation", default_cache()).figures
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure which score ranks the pairs of a folder best.")
    parser.add_argument("root", type=Path, help="folder that holds 'Airbnb Data'")
    parser.add_argument("--backbone", default="mobilenet_v3_large")
    parser.add_argument("--weights", default="imagenet", help="imagenet, none or the path of a state dict")
    parser.add_argument("--epochs", type=int, default=3, help="for concat and --select (default: %(default)s)")
    parser.add_argument("--select", action="store_true", help="compare `trainable` on held-out training spaces")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    weights = arguments.weights if arguments.weights in ("imagenet", "none") else str(Path(arguments.weights).resolve())
    return exit_status(lambda: _measure(arguments, weights))


def _measure(arguments: argparse.Namespace, weights: str) -> None:
    measure = select if arguments.select else table
    rows = measure(arguments.root, arguments.backbone, weights, arguments.epochs)
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        print_table(rows)


COLUMNS = {"average_precision": "average precision", "recall_at_99_precision": "recall at 99 % precision"}


def print_table(rows: dict[str, Figures]) -> None:
    print(f"| score of a pair | {' | '.join(COLUMNS.values())} |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for name, figures in rows.items():
        cells = [f"{figures[key]:.3f}" if key in figures else "" for key in COLUMNS]
        print(f"| {name} | {' | '.join(cells)} |")
    for name, figures in rows.items():
        if "ms_per_pair" in figures:
            cost = (
                f"{figures['bytes_per_photo']:,} bytes kept a photo, {figures['ms_per_pair']:.2f} ms a pair on one core"
            )
            print(f"\n{name}: {cost}")


if __name__ == "__main__":
    sys.exit(main())
