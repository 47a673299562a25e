"""Record and list a person's verdicts on photos."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samespace.base.errors import SameSpaceError
from samespace.cli.options import libraries_above, library_option, open_library

if TYPE_CHECKING:
    from samespace.library.library import Library


def verdict(arguments: argparse.Namespace) -> None:
    """Record whether two photos are the same.

    Photos that you call different are never again reported as duplicates of each other. Photos that you call the same
    count as one space from now on.
    """
    from samespace.library.library import Library

    photos = [Path(os.path.realpath(path)) for path in (arguments.photo0, arguments.photo1)]
    for path in photos:
        if not path.is_file():
            raise SameSpaceError(f"{path} is not a file: name a photo")
    above = [] if arguments.library else sorted({each for path in photos for each in libraries_above(path.parent)})
    libraries = [Library(each) for each in ([arguments.library] if arguments.library else above)]
    contents = [_content(photo, libraries) for photo in photos]
    for library in libraries:
        library.add_verdict(contents[0], contents[1], arguments.verdict == "same")
    print(f"remembered: {arguments.verdict}")


def verdicts(arguments: argparse.Namespace) -> None:
    """List verdicts, or export them as labelled pairs.

    --export writes the photos and their labels to a data set, for training with `model_def.py --data ROOT`. Unjudged
    pairs are not exported.
    """
    from samespace.cli import show
    from samespace.duplicates.verdicts import export_verdicts, list_verdicts

    library = open_library(arguments.library)
    if arguments.export:
        show.show_exported(export_verdicts(library, arguments.export), arguments.export)
    else:
        show.show_verdicts(list_verdicts(library))


def _content(photo: Path, libraries: Sequence[Library]) -> str:
    """Return the content that the first library which knows this photo has for it."""
    for library in libraries:
        for known in library.photos():
            if known.path == photo:
                return known.content
        for error in library.unreadable():
            if error.path == photo:
                raise SameSpaceError(f"{photo} cannot be judged: {error.reason}")
    raise SameSpaceError(f"{photo} has not been scanned: scan its folder first")


def verdict_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `samespace verdict`."""
    parser.add_argument("photo0", type=Path, metavar="A", help="a photo")
    parser.add_argument("photo1", type=Path, metavar="B", help="another photo")
    parser.add_argument("verdict", choices=("same", "different"), metavar="same|different", help="what they are")
    library_option(parser, "library to record it in (default: all at or above A and B)")


def verdicts_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `samespace verdicts`."""
    library_option(parser, "library whose verdicts to list (default: the nearest at or above the current folder)")
    parser.add_argument("--export", type=Path, metavar="ROOT", help="folder of the data set to write them to")
