"""`samespace scan`: read the photos in folders, each once."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from samespace.base.errors import SameSpaceError
from samespace.cli.options import (
    encoder_option,
    folder_options,
    libraries_of,
    matcher_option,
    real,
    refuse_both,
    say_if_outdated,
)
from samespace.cli.scanned import with_photos

if TYPE_CHECKING:
    from collections.abc import Sequence

    from samespace.library.library import Library
    from samespace.search.look import Look


def scan(arguments: argparse.Namespace) -> None:
    """Read the photos in folders, and remember them.

    What is learnt is kept in DIR/.samespace, so that the next scan reads only new and changed files. --model or
    --backbone lets `search` find more than copies, and prepares `dedupe --kind same-space`. --encoder NAME, a CLIP or
    SigLIP model, enables search by sentence without training; so does --matcher FILE. Videos and RAW files are counted,
    not compared. A folder without photos gets no .samespace.
    """
    from samespace.base.photos import EXTENSIONS
    from samespace.cli import show
    from samespace.search.look import choose_look
    from samespace.words.scan import scan_folders

    refuse_both(arguments)
    folders, extensions = real(arguments.folders), arguments.extensions or EXTENSIONS
    look = choose_look(arguments.model, arguments.backbone, arguments.weights)
    if arguments.matcher:
        from samespace.words.search import look_for

        look = look_for(arguments.matcher, look)
    encoder = None
    if arguments.encoder:
        from samespace.words.encoder import load_encoder

        encoder = load_encoder(arguments.encoder)
        encoder.check()
    if arguments.imported and len(folders) > 1:
        raise SameSpaceError("--import takes over one folder: name only the DIR that was embedded")
    folders, _ = with_photos(folders, arguments.library, extensions, arguments.follow_links, sys.stdout)
    if not folders:
        return
    for library, below in libraries_of(folders, arguments.library):
        if arguments.imported:
            from samespace.library.cluster_files import import_folder

            photos = import_folder(library, below[0], arguments.imported, [look.extractor] if look.options else [])
            print(f"{photos:,} photos taken over from {arguments.imported}")
        say_if_outdated(library, look)
        scanned = scan_folders(
            library, below, look, arguments.matcher, extensions, arguments.follow_links, encoder=encoder
        )
        if arguments.points:
            from samespace.search.kept_points import find_all_points

            find_all_points(library)
        is_worth_it = scanned.photos or scanned.not_compared
        commands = _next_commands(arguments, library, below, look) if is_worth_it else {}
        show.show_scan(scanned, commands, extensions)


def _next_commands(
    arguments: argparse.Namespace, library: Library, folders: Sequence[Path], look: Look
) -> dict[str, str]:
    """Return what can be typed now, and what for; `dedupe` repeats the options that decide which photos it sees."""
    from samespace.cli.show import from_here, words

    options = ["--library", from_here(arguments.library)] if arguments.library else []
    options += ["--extensions", ",".join(arguments.extensions)] if arguments.extensions else []
    options += ["--follow-links"] if arguments.follow_links else []
    commands = {words(["samespace", "dedupe", *map(from_here, folders), *options]): "find the duplicates among them"}
    if look.options:
        commands[words(["samespace", "search", "PHOTO", "--library", library.folder])] = "find photos like a photo"
    if arguments.matcher or arguments.encoder:
        commands[words(["samespace", "search", "WORDS", "--library", library.folder])] = "find photos by a sentence"
    return commands


def scan_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `samespace scan`."""
    folder_options(parser)
    parser.add_argument("--model", type=Path, metavar="DIR", help="search with this trained model from now on")
    parser.add_argument("--backbone", metavar="NAME", help="search by the features of this backbone from now on")
    parser.add_argument(
        "--weights", default="imagenet", help="for --backbone: imagenet or a state dict file (default: %(default)s)"
    )
    parser.add_argument(
        "--import", dest="imported", type=Path, metavar="FOLDER", help="first take over what experiments/embed wrote"
    )
    parser.add_argument(
        "--points",
        action="store_true",
        help="look now for points that prove one room, not when they are needed",
    )
    matcher_option(parser, "enable search by sentence with this matcher, which `samespace match train` writes")
    encoder_option(parser, "enable search by sentence with this CLIP or SigLIP model: a folder, or a Hugging Face name")
