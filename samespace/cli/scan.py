"""`samespace scan`: read the photos of folders, each once."""

from __future__ import annotations

import argparse
from pathlib import Path

from samespace.base.errors import SameSpaceError
from samespace.cli.libraries import (
    libraries_of,
    real,
    scan_for,
)
from samespace.cli.options import folder_words, matcher_word
from samespace.search.look import choose_look


def scan(arguments: argparse.Namespace) -> None:
    """Read the photos of folders, each once, and remember them.

    What was learnt lies in DIR/.samespace; another scan reads only what is new or changed. --model or --backbone also
    keeps what `dedupe --kind same-space` compares, and is what `search` compares by from then on. --matcher is what it
    understands sentences by.
    """
    from samespace.cli import show

    folders = real(arguments.folders)
    look = choose_look(arguments.model, arguments.backbone, arguments.weights)
    if arguments.matcher:
        from samespace.words import search as sentences

        look = sentences.look_for(arguments.matcher, look)
    if arguments.imported and len(folders) > 1:
        raise SameSpaceError("--import is of one folder: name the one DIR that was embedded")
    for library, below in libraries_of(folders, arguments.library):
        if arguments.imported:
            from samespace.library.cluster_files import import_folder

            told = import_folder(library, below[0], arguments.imported, [look.extractor] if look.options else [])
            print(f"{told:,} photos taken over from {arguments.imported}")
        scanned = scan_for(library, below, arguments, look)
        if arguments.matcher:
            sentences.remember(library, look, arguments.matcher)
        again = ["samespace", "dedupe", *map(show.from_here, below), *_same_options(arguments)]
        commands = {show.words(again): "find the duplicates among them"}
        if look.options:
            find: list[str | Path] = ["samespace", "search", "PHOTO", "--library", library.folder]
            commands[show.words(find)] = "find photos that show the same"
        if arguments.matcher:
            find = ["samespace", "search", "WORDS", "--library", library.folder]
            commands[show.words(find)] = "find photos of what you describe"
        show.show_scan(scanned, commands)


def _same_options(arguments: argparse.Namespace) -> list[str]:
    """What a next command must repeat to see the same photos."""
    from samespace.cli.show import from_here

    options = ["--library", from_here(arguments.library)] if arguments.library else []
    options += ["--extensions", ",".join(arguments.extensions)] if arguments.extensions else []
    return [*options, *(["--follow-links"] if arguments.follow_links else [])]


def scan_words(parser: argparse.ArgumentParser) -> None:
    folder_words(parser)
    parser.add_argument("--model", type=Path, metavar="DIR", help="also keep what this trained model compares")
    parser.add_argument("--backbone", metavar="NAME", help="also keep the ImageNet features of this backbone")
    parser.add_argument("--weights", default="imagenet", help="with --backbone: imagenet or a state dict's path")
    parser.add_argument(
        "--import", dest="imported", type=Path, metavar="FOLDER", help="first take over what experiments/embed wrote"
    )
    matcher_word(parser, "understand sentences by this, which `samespace match train` writes, from now on")
