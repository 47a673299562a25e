"""What the words of a command name: folders, their libraries, what to compare by; and how a parser asks for them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samespace.base.errors import SameSpaceError
from samespace.base.text import readable
from samespace.search.look import choose_look, remembered_look

if TYPE_CHECKING:
    from samespace.library.library import Library
    from samespace.library.scan import Scan
    from samespace.search.look import Look


def real(folders: Sequence[Path]) -> list[Path]:
    for folder in folders:
        if not folder.is_dir():
            raise SameSpaceError(f"{folder} is not a folder: give the folder that holds the photos")
    return [Path(os.path.realpath(folder)) for folder in folders]


def outermost(folders: Sequence[Path]) -> list[Path]:
    """Without those that lie in others."""
    once = list(dict.fromkeys(folders))
    return [folder for folder in once if not any(folder.is_relative_to(other) for other in once if other != folder)]


def libraries_of(folders: Sequence[Path], chosen: Path | None) -> list[tuple[Library, list[Path]]]:
    """The libraries to remember these folders in, each with its own of them: one in each, or the chosen one."""
    from samespace.library.library import FOLDER, Library
    from samespace.library.scan import refuse_own_folders

    refuse_own_folders(folders)
    if chosen:
        inside = [folder for folder in folders if folder.is_relative_to(os.path.realpath(chosen))]
        if inside:
            raise SameSpaceError(f"{inside[0]} would lie in its own library: give another --library PATH")
        return [(Library(chosen, create=True), list(folders))]
    return [(Library(folder / FOLDER, create=True), [folder]) for folder in folders]


def open_libraries(folders: Sequence[Path]) -> list[Library]:
    from samespace.library.library import Library

    return [Library(folder) for folder in folders]


def library_above(*folders: Path) -> Path:
    """The library of the first of these folders, or the nearest above it; of the next where there is none."""
    return libraries_above(*folders)[0]


def libraries_above(*folders: Path) -> list[Path]:
    """The libraries of these folders and of those above each, the nearest first."""
    from samespace.library.library import FOLDER

    everywhere = [above / FOLDER for folder in folders for above in (folder, *folder.parents)]
    found = [folder for folder in everywhere if folder.is_dir()]
    if not found:
        raise SameSpaceError(
            f"no library at or above {folders[0]}: give --library PATH, the {FOLDER} of a scanned folder"
        )
    return found


def scan_for(library: Library, folders: Sequence[Path], arguments: argparse.Namespace, look: Look) -> Scan:
    """All that `look` and `looks.shots` compare."""
    from samespace.base.photos import EXTENSIONS
    from samespace.library.scan import scan
    from samespace.search.look import remember_look
    from samespace.search.same_shot import Sketches
    from samespace.search.vectors import vectors_of

    with library.hold():
        extractors = [Sketches(), look.extractor]
        scanned = scan(library, folders, extractors, arguments.extensions or EXTENSIONS, arguments.follow_links)
        vectors_of(library, look)
        if arguments.model or arguments.backbone:
            remember_look(library, look)
    return scanned


def look_of(arguments: argparse.Namespace, library: Library) -> Look:
    """What was asked for, or else what the library was scanned with."""

    if not arguments.model and not arguments.backbone:
        return remembered_look(library)
    chosen = choose_look(arguments.model, arguments.backbone, arguments.weights)
    library.take_over(chosen.extractor)
    return chosen


def sentence_of(words: Sequence[str]) -> str | None:
    """The sentence that these words of a command make; None if they name photos."""
    photos = [word for word in words if _names_photo(word)]
    if photos and len(photos) < len(words):
        other = next(word for word in words if word not in photos)
        raise SameSpaceError(
            f"{readable(photos[0])} is a photo, and {readable(other)} is none: search for photos or for one sentence"
        )
    return None if photos or not words else " ".join(words)


def _names_photo(word: str) -> bool:
    """Whether there is such a file, or it can mean no other thing."""
    from samespace.base.photos import EXTENSIONS

    path = Path(word)
    is_one_word = not any(character.isspace() for character in word)
    return path.suffix.lower() in EXTENSIONS or (is_one_word and os.sep in word) or path.is_file()
