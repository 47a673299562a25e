"""`samespace rooms`: draw photos to try things out with."""

from __future__ import annotations

import argparse
from pathlib import Path


def rooms(arguments: argparse.Namespace) -> None:
    """Draw photos of furnished rooms to try things out with.

    Each room is drawn from several viewpoints. Files and folders are named as in the Airbnb data set. The same seed
    draws the same photos.
    """
    from samespace.rooms.dataset import write_dataset

    photos, test_photos = arguments.photos, arguments.test_photos
    write_dataset(arguments.root, photos, test_photos, arguments.seed, arguments.captions)
    described = ", with captions in dataset.json" if arguments.captions else ""
    print(f"{photos + test_photos} photos in {arguments.root}{described}")


def rooms_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `samespace rooms`."""
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder to write to, new or empty")
    numbers = (
        ("--photos", 480, "training photos"),
        ("--test-photos", 120, "test photos, of other rooms"),
        ("--seed", 0, "another seed draws other rooms"),
    )
    for name, default, meaning in numbers:
        parser.add_argument(name, type=int, default=default, metavar="N", help=f"{meaning} (default: %(default)s)")
    parser.add_argument(
        "--captions",
        action="store_true",
        help="also write dataset.json: five captions for each photo, in Karpathy's format",
    )
