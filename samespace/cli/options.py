"""Options that several commands share, and the folders, libraries and looks that they name."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samespace.base.errors import SameSpaceError

if TYPE_CHECKING:
    from samespace.library.library import Library
    from samespace.search.look import Look


# Options


def folder_options(parser: argparse.ArgumentParser) -> None:
    """Add the folders to scan, where to remember them, and how to read them."""
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="folders of photos")
    library_option(parser, "where to remember the photos (default: .samespace in each DIR)")
    reading_options(parser)


def reading_options(parser: argparse.ArgumentParser) -> None:
    """Add what counts as a photo."""
    parser.add_argument(
        "--extensions",
        type=extensions,
        metavar="jpg,png,…",
        help="read only files with these extensions (default: every kind of photo)",
    )
    parser.add_argument("--follow-links", action="store_true", help="follow symbolic links")


def library_option(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add --library."""
    parser.add_argument("--library", type=Path, metavar="PATH", help=meaning)


def look_options(parser: argparse.ArgumentParser) -> None:
    """Add what to compare photos by."""
    parser.add_argument("--model", type=Path, metavar="DIR", help="compare with this trained model")
    parser.add_argument(
        "--backbone",
        metavar="NAME",
        help="compare the features of this backbone: by name, by folder, or an ONNX file",
    )
    parser.add_argument(
        "--weights", default="imagenet", help="for --backbone: imagenet or a state dict file (default: %(default)s)"
    )


def prefer_option(parser: argparse.ArgumentParser) -> None:
    """Add --prefer."""
    parser.add_argument(
        "--prefer",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="DIR",
        help="of each group keep the photo in here, whatever else speaks for another; the first DIR comes first",
    )


def matcher_option(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add --matcher."""
    parser.add_argument("--matcher", type=Path, metavar="FILE", help=meaning)


def encoder_option(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add --encoder."""
    parser.add_argument("--encoder", metavar="NAME | DIR", help=meaning)


def refuse_both(arguments: argparse.Namespace) -> None:
    """Refuse an encoder with a matcher: a library understands sentences by one."""
    if arguments.encoder and arguments.matcher:
        raise SameSpaceError("--encoder and --matcher both say how sentences are understood: give one")


def thorough_option(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add --thorough."""
    parser.add_argument("--thorough", action="store_true", help=meaning)


def extensions(word: str) -> list[str]:
    """Return the extensions in a list with commas, in lower case and without dots."""
    from samespace.base.photos import EXTENSIONS

    chosen = [extension.lower().lstrip(".") for extension in word.split(",")]
    known = [extension.lstrip(".") for extension in EXTENSIONS]
    for extension in chosen:
        if extension not in known:
            raise argparse.ArgumentTypeError(f"cannot read {extension!r}: choose from {','.join(known)}")
    return chosen


def names_photo(word: str) -> bool:
    """Return True if there is such a file, or if the word looks like a path."""
    from samespace.base.photos import EXTENSIONS

    path = Path(word)
    if path.suffix.lower() in EXTENSIONS:
        return True
    is_one_word = not any(character.isspace() for character in word)
    # Not pathlib's, which fails if a sentence is too long for the name of a file.
    return (is_one_word and os.sep in word) or os.path.isfile(word)  # noqa: PTH113


# Folders


def real(folders: Sequence[Path]) -> list[Path]:
    """Return these folders without links; refuse what is not a folder, or may not be read."""
    for each in folders:
        if not each.is_dir():
            raise SameSpaceError(f"{each} is not a folder: give the folder that holds the photos")
        if not os.access(each, os.R_OK | os.X_OK):
            raise SameSpaceError(f"you may not read {each}: change its permissions, or name another folder")
    return [Path(os.path.realpath(each)) for each in folders]


def refuse_elsewhere(preferred: Sequence[Path], searched: Sequence[Path]) -> None:
    """Refuse folders of --prefer that lie in none of the folders searched."""
    for each, whole in zip(preferred, real(preferred), strict=True):
        if not any(whole.is_relative_to(other) for other in searched):
            raise SameSpaceError(f"{each} of --prefer is in none of the folders searched: name it as a DIR, too")


def outermost(folders: Sequence[Path]) -> list[Path]:
    """Return each folder once, without those inside others."""
    once = list(dict.fromkeys(folders))
    return [each for each in once if not any(other in each.parents for other in once)]


# Libraries


def libraries_of(folders: Sequence[Path], chosen: Path | None) -> list[tuple[Library, list[Path]]]:
    """Open or make the libraries of these folders, each with its folders: one inside each folder, or the chosen one."""
    from samespace.library.library import FOLDER, Library
    from samespace.library.scan import refuse_own_folders

    refuse_own_folders(folders)
    if chosen is None:
        for each in folders:
            _say_if_synced(each)
        return [(Library(each / FOLDER, create=True), [each]) for each in folders]
    for each in folders:
        if each.is_relative_to(os.path.realpath(chosen)):
            raise SameSpaceError(f"{each} would be inside its own library: give another --library PATH")
    return [(Library(chosen, create=True), list(folders))]


def _say_if_synced(folder: Path) -> None:
    """Say on stderr, before a library is made in a synced folder, what that means and what to type instead."""
    from samespace.base.find import DATABASE
    from samespace.base.text import full_path
    from samespace.library.library import FOLDER
    from samespace.library.synced import synced_by

    library = folder / FOLDER
    if not (library / DATABASE).exists() and (client := synced_by(folder)):
        outside = full_path(Path.home() / f"{folder.name}.samespace")
        print(
            f"{client} seems to sync {folder}, so it will also copy the database and the quarantine in {FOLDER}: to "
            f"keep them out, delete {full_path(library)} and add --library {outside} to every command",
            file=sys.stderr,
        )


def refuse_copies(libraries: Sequence[Library]) -> None:
    """Refuse a library and a copy of it: both would move photos to one quarantine."""
    places: dict[str, Path] = {}
    for library in libraries:
        if library.id in places:
            raise SameSpaceError(
                f"{library.folder} is a copy of the library {places[library.id]}: give one --library PATH for both"
            )
        places[library.id] = library.folder


def open_library(chosen: Path | None, *places: Path) -> Library:
    """Open the chosen library, or else the nearest at or above these places, tried in turn; the current folder's."""
    from samespace.library.library import Library

    return Library(chosen or library_above(*places))


def library_above(*places: Path) -> Path:
    """Return the nearest library at or above the first place that has one; the default place is the current folder."""
    return libraries_above(*places)[0]


def libraries_above(*places: Path) -> list[Path]:
    """Return all libraries at or above these places, or the current folder: the nearest first, place by place."""
    from samespace.library.library import FOLDER

    places = places or (Path.cwd(),)
    found = [above / FOLDER for place in places for above in (place, *place.parents) if (above / FOLDER).is_dir()]
    if not found:
        raise SameSpaceError(
            f"no library at or above {places[0]}: give --library PATH, the {FOLDER} of a scanned folder"
        )
    return found


# Looks


def look_of(arguments: argparse.Namespace, library: Library) -> Look:
    """Return what --model or --backbone asks for, or else what the library was scanned with."""
    from samespace.search.look import choose_look, remembered_look

    if not has_look(arguments):
        return remembered_look(library)
    chosen = choose_look(arguments.model, arguments.backbone, arguments.weights)
    library.take_over(chosen.extractor)
    return chosen


def say_if_outdated(library: Library, look: Look) -> None:
    """Say why a scan reads photos that an earlier version has read."""
    from samespace.search.look import is_outdated

    if is_outdated(library, look):
        print("an earlier version kept less of each photo: they are read once more", file=sys.stderr)


def has_look(arguments: argparse.Namespace) -> bool:
    """Return whether --model or --backbone was given."""
    return bool(arguments.model or arguments.backbone)
