"""Compare captions with people's: on drawn rooms that were not trained on, and on Flickr8k.

    python benchmarks/caption.py [--weights FILE] [--photos N] [--test-photos N] [--flickr8k FOLDER] [--json]

Each row is a way to describe test photos: BLEU-1, BLEU-4 and CIDEr-D against people's sentences, the share of captions
that are distinct, and captions a second once features are there. `nearest` borrows the consensus caption of the most
similar training photos; `lstm` is trained until validation photos gain no more, and writes greedily or by beam search.
`one for all` says the training caption most like all others of every photo: the best that can be done without looking.
Flickr8k is a folder with a dataset.json, and photos somewhere below.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

import numpy as np  # noqa: E402

from samespace.base.errors import exit_status  # noqa: E402
from samespace.base.once import default_cache  # noqa: E402
from samespace.model.bare import for_backbone  # noqa: E402
from samespace.rooms.dataset import write_dataset  # noqa: E402
from samespace.words.caption_set import locate, read_captions  # noqa: E402
from samespace.words.nearest_captions import Grams, borrow  # noqa: E402
from samespace.words.photo_features import Featured, from_photos  # noqa: E402
from samespace.words.train_captioner import QUICK, Recipe, judged, train  # noqa: E402

BACKBONE = "mobilenet_v2"
BEAMS = (1, 2, 3, 5)
FEWEST = 80  # photos for CIDEr-D: as many as the smallest test split here

Row = dict[str, Any]


def write_all(featured: Featured, recipe: Recipe) -> list[Row]:
    """Return a row for each way to describe the test photos."""
    test = featured.only("test")
    borrower = borrow(featured)
    print("training lstm", file=sys.stderr)
    start = time.perf_counter()
    captioner = train(featured, recipe)
    trained = {"seconds": time.perf_counter() - start, "epoch": captioner.about["epoch"]}
    rows = [
        row("one for all", test, lambda: [commonest(featured)] * len(test.features)),
        row("nearest", test, lambda: borrower.captions(test.features)),
    ]
    for beam in BEAMS:
        name = f"lstm beam {beam}" if beam > 1 else "lstm greedy"
        rows.append({**row(name, test, partial(captioner.captions, test.features, beam)), **trained})
    return rows


def row(name: str, test: Featured, write: Callable[[], list[str]]) -> Row:
    start = time.perf_counter()
    written = write()
    seconds = time.perf_counter() - start
    found = judged(written, test, FEWEST)
    return {
        "name": name,
        "bleu_1": found.bleu[0],
        "bleu_4": found.bleu[3],
        "cider_d": found.cider_d,
        "distinct": found.variety.distinct,
        "words": found.variety.words,
        "captions_per_second": len(written) / seconds,
        "photos": found.photos,
    }


def commonest(featured: Featured) -> str:
    """Return the training caption most like all others."""
    learnt = featured.captions.only("train")
    every = np.arange(len(learnt.captions))
    return learnt.captions[Grams(learnt.captions, learnt.image_of).consensus(every)]


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    extractor = for_backbone(BACKBONE, arguments.weights)
    root = arguments.rooms or folder / "rooms"
    if not arguments.rooms:
        write_dataset(root, arguments.photos, arguments.test_photos, seed=5)
    sets = {"rooms": root, **({"flickr8k": arguments.flickr8k} if arguments.flickr8k else {})}
    found: dict[str, Any] = {}
    for name, where in sets.items():
        located = locate(read_captions(where / "dataset.json"), where)
        featured = from_photos(located, extractor, BACKBONE, default_cache())
        found[name] = write_all(featured, QUICK._replace(epochs=arguments.epochs))
    return found


def print_tables(found: dict[str, Any]) -> None:
    for name, rows in found.items():
        print(f"{name}: {rows[0]['photos']:,} photos\n")
        print("| | BLEU-1 | BLEU-4 | CIDEr-D | distinct | captions/s |\n|---|---|---|---|---|---|")
        for one in rows:
            scores = " | ".join(f"{one[key]:.3f}" for key in ("bleu_1", "bleu_4", "cider_d"))
            speed = "" if one["name"] == "one for all" else f"{one['captions_per_second']:,.0f}"
            print(f"| {one['name']} | {scores} | {100 * one['distinct']:.0f} % | {speed} |")
        print()


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare captions with people's.")
    parser.add_argument("--weights", default="imagenet", help=f"weights of {BACKBONE}: imagenet, none or a state dict")
    parser.add_argument("--photos", type=int, default=4000, help="photos to train on (default: %(default)s)")
    parser.add_argument("--test-photos", type=int, default=500, help="photos of other rooms (default: %(default)s)")
    parser.add_argument("--rooms", type=Path, metavar="FOLDER", help="use rooms that were drawn before")
    parser.add_argument("--flickr8k", type=Path, metavar="FOLDER")
    parser.add_argument("--epochs", type=int, default=60, help="how long to train at most (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    return exit_status(lambda: _measure(arguments))


def _measure(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments, Path(folder))
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print_tables(found)


if __name__ == "__main__":
    sys.exit(main())
