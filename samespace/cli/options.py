"""Options that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path


def matcher_word(parser: argparse.ArgumentParser, meaning: str) -> None:
    parser.add_argument("--matcher", type=Path, metavar="FILE", help=meaning)


def a_folder(word: str) -> Path:
    """An unset variable of a shell is no folder."""
    if not word:
        raise argparse.ArgumentTypeError("a folder without a name")
    return Path(word)


def extensions(words: str) -> list[str]:
    from samespace.base.photos import EXTENSIONS

    extensions = [word.lower().lstrip(".") for word in words.split(",")]
    known = [extension.lstrip(".") for extension in EXTENSIONS]
    for extension in extensions:
        if extension not in known:
            raise argparse.ArgumentTypeError(f"{extension!r} cannot be read: choose among {','.join(known)}")
    return extensions


def folder_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", type=a_folder, nargs="+", metavar="DIR")
    library_word(parser, "where to remember the photos (default: .samespace in each DIR)")
    reading_words(parser)


def reading_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--extensions",
        type=extensions,
        default=None,
        metavar="jpg,png,…",
        help="files to take for photos (default: all that can be read)",
    )
    parser.add_argument("--follow-links", action="store_true", help="follow symbolic links")


def library_word(parser: argparse.ArgumentParser, meaning: str) -> None:
    parser.add_argument("--library", type=Path, metavar="PATH", help=meaning)


def look_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, metavar="DIR", help="compare by this trained model")
    parser.add_argument("--backbone", metavar="NAME", help="compare by the features of this backbone")
    parser.add_argument("--weights", default="imagenet", help="with --backbone: imagenet or a state dict's path")
