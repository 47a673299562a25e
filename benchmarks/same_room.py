"""Measure how well photos of one room are found without a model, by materials, neighbours and proof.

    python benchmarks/same_room.py ROOT [--among FOLDER] [--split training] --backbone NAME --weights FILE [--thorough]

All photos of a split are one library, whitened by itself, and are scored as `samespace dedupe --kind same-space` does:
a short list for each photo, then the evidence. Pairs that are not on the list count as found last. `--among` mixes in
photos of anything else, which are of no room. `--fit` prints the weights of the evidence that these pairs ask for.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import cast

import numpy as np

from samespace.base.errors import exit_status
from samespace.duplicates.scores import JoinedFeatures, Scoring, materials_scoring
from samespace.library.library import Library
from samespace.library.scan import scan
from samespace.model import metrics
from samespace.model.heads import Weights
from samespace.model.learnt_points import LearntPoints
from samespace.model.pairs import AIRBNB, TEST, TRAINING, find_photos
from samespace.search.evidence import Evidence
from samespace.search.kept_points import partners_of
from samespace.search.look import THRESHOLD, Look, choose_look
from samespace.search.second_look import looking_twice

NEAREST = 20
BINS = 10
SPLITS = {"test": TEST, "training": TRAINING}
Figures = dict[str, float]


def measure(root: Path, split: str, among: Path | None, look: Look, fit: bool, thorough: bool) -> Figures:
    """Return the figures of one split, or the weights that its pairs ask for."""
    photos = find_photos(root, SPLITS[split])
    place = dict(zip((path.resolve() for path in photos.paths), photos.spaces(), strict=True))
    folders = [root / AIRBNB / SPLITS[split], *([among] if among else [])]
    with tempfile.TemporaryDirectory() as folder, closing(Library(Path(folder), create=True)) as library:
        scan(library, folders, look.extractors)
        everything = library.photos()
        start = time.perf_counter()
        features = JoinedFeatures([library.features(look.deciding, everything)])
        numbered = [(0, photo) for photo in everything]
        count = partners_of([library], numbered)
        if thorough:
            count = looking_twice(count, [library], numbered, LearntPoints())
        scoring = materials_scoring(features, count)
        spaces = np.array([place.get(photo.path, -1 - at) for at, photo in enumerate(everything)])
        if fit:
            return fitted(scoring, spaces)
        scores, same, listed = all_pairs(scoring, spaces)
        seconds = time.perf_counter() - start
    return {
        "photos": len(spaces),
        "pairs of one room": int(same.sum()),
        "average_precision": metrics.average_precision(scores, same),
        "recall_at_99_precision": metrics.recall_at_precision(scores, same),
        "among_the_nearest_20": near(scores, same, len(spaces)),
        "best_balanced_accuracy": balanced(scores, same),
        "calibration_error": calibration_error(scores[listed], same[listed]),
        "precision_of_groups": float(same[scores >= THRESHOLD].mean()) if (scores >= THRESHOLD).any() else 1.0,
        "recall_of_groups": float((scores[same] >= THRESHOLD).mean()),
        "seconds": seconds,
    }


def all_pairs(scoring: Scoring, spaces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return score, label and whether it is on the short list, of every pair of photos: (P,) each."""
    count = len(spaces)
    first, second = np.triu_indices(count, 1)
    listed = np.zeros((count, count), bool)
    starts, ids = scoring.candidates.starts, scoring.candidates.ids
    listed[np.repeat(np.arange(count), np.diff(starts)), ids] = True
    on_list = listed[first, second]
    scores = np.zeros(len(first))
    scores[on_list] = scoring.score(first[on_list], second[on_list])
    return scores, spaces[first] == spaces[second], on_list


def fitted(scoring: Scoring, spaces: np.ndarray) -> Figures:
    """Fit a logistic regression to the evidence on all pairs of the short list."""
    from sklearn.linear_model import LogisticRegression

    evidence = cast(Evidence, scoring.score)
    first = np.repeat(np.arange(len(spaces)), np.diff(scoring.candidates.starts))
    second = scoring.candidates.ids.astype(np.int64)
    pieces = np.stack(evidence.pieces(first, second), 1)
    line = LogisticRegression(C=100, max_iter=1000).fit(pieces, spaces[first] == spaces[second])
    return dict(zip(Weights._fields, (*line.coef_[0].tolist(), float(line.intercept_[0])), strict=True))


def near(scores: np.ndarray, same: np.ndarray, count: int) -> float:
    """Return how often one of a pair is among the other's nearest."""
    table = np.full((count, count), -1.0)
    first, second = np.triu_indices(count, 1)
    table[first, second] = table[second, first] = scores
    rank = np.argsort(np.argsort(-table, 1, kind="stable"), 1)
    return float((np.minimum(rank[first, second], rank[second, first])[same] < NEAREST).mean())


def balanced(scores: np.ndarray, same: np.ndarray) -> float:
    """Return the mean share of right answers on pairs of one room and on others, at the best threshold."""
    order = np.argsort(-scores)
    found, wrong = np.cumsum(same[order]) / same.sum(), np.cumsum(~same[order]) / (~same).sum()
    return float((found + 1 - wrong).max() / 2)


def calibration_error(scores: np.ndarray, same: np.ndarray) -> float:
    """Return how far probabilities are from what they promise, on average over ten equal ranges."""
    number = np.minimum((scores * BINS).astype(int), BINS - 1)
    each = [number == at for at in range(BINS) if (number == at).any()]
    return float(sum(abs(scores[some].mean() - same[some].mean()) * some.mean() for some in each))


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how well photos of one room are found without a model.")
    parser.add_argument("root", type=Path, help="folder that holds 'Airbnb Data'")
    parser.add_argument("--among", type=Path, metavar="FOLDER", help="mix in these photos, which show no room twice")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--backbone", default="mobilenet_v3_large")
    parser.add_argument("--weights", default="imagenet", help="imagenet, none or the path of a state dict")
    parser.add_argument("--fit", action="store_true", help="print the weights that these pairs ask for")
    parser.add_argument("--thorough", action="store_true", help="look twice, as --thorough of dedupe does")
    parser.add_argument("--json", action="store_true")
    return exit_status(lambda: show(parser.parse_args()))


def show(arguments: argparse.Namespace) -> None:
    look = choose_look(backbone=arguments.backbone, weights=arguments.weights)
    figures = measure(arguments.root, arguments.split, arguments.among, look, arguments.fit, arguments.thorough)
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, figure in figures.items():
            print(f"{name.replace('_', ' '):24}", f"{figure:,}" if isinstance(figure, int) else f"{figure:.3f}")


if __name__ == "__main__":
    sys.exit(main())
