"""`samespace rooms`: draw photos to try everything with."""

from __future__ import annotations

import argparse
from pathlib import Path


def rooms(arguments: argparse.Namespace) -> None:
    """Draw furnished rooms, each from several viewpoints, as photos to try all this with.

    They are laid out as the Airbnb photos are. The same seed draws the same photos.
    """
    from samespace.rooms.dataset import write_dataset

    photos, test_photos = arguments.photos, arguments.test_photos
    write_dataset(arguments.root, photos, test_photos, arguments.seed, arguments.captions)
    described = ", described in dataset.json" if arguments.captions else ""
    print(f"{photos + test_photos} photos in {arguments.root}{described}")


def rooms_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder to make; must not exist or be empty")
    parser.add_argument("--photos", type=int, default=480, help="photos to train on (default: %(default)s)")
    parser.add_argument("--test-photos", type=int, default=120, help="photos of other rooms (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other rooms (default: %(default)s)")
    parser.add_argument(
        "--captions", action="store_true", help="also describe each in five sentences: dataset.json, as Karpathy's"
    )
