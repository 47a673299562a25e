"""The folders that a library may move photos out of, and back into: its manifests may come from a stranger."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from samespace.base.errors import SameSpaceError
from samespace.base.kinds import is_album_file
from samespace.base.text import shell_word
from samespace.duplicates.manifest import LINKED, link_above
from samespace.library.library import Library
from samespace.library.own_folder import FOLDER


def homes_of(library: Path) -> list[Path]:
    """Return the folders that a library has scanned, and the one it lies in."""
    return [*scanned_by(library), *around(library)]


def around(library: Path) -> list[Path]:
    """Return the folder that a library lies in, unless it was put elsewhere."""
    return [library.parent] if library.name == FOLDER else []


def scanned_by(library: Path) -> list[Path]:
    """Return the folders that a library has scanned, as far as its database can say."""
    with contextlib.suppress(SameSpaceError, OSError, sqlite3.Error), contextlib.closing(Library(library)) as opened:
        return opened.roots
    return []


def why_gone(root: Path) -> str:
    """Return that the folder which photos were moved out of is gone, and what helps; "" if it is there.

    It is not made anew: it may have another name now, or the disk it was on may not be connected.
    """
    gone = f"the folder {root} is gone: give it its old name and place back, or connect its disk"
    # Not `Path.is_dir`, which raises for a disk that no longer answers.
    return "" if os.path.isdir(root) else gone  # noqa: PTH112


def why_not_there(path: Path, root: Path, library: Path, homes: Sequence[Path], is_partner: bool = False) -> str:
    """Return why a library may not move the photo at this path, or put one there; "" if it may.

    `is_partner` is for a file that belongs to a photo there.
    """
    above = [home for home in homes if path.is_relative_to(home)]
    if not above:
        scan = f"samespace scan {shell_word(str(root))} --library {shell_word(str(library))}"
        return f"the library {library} has not scanned {root}: if you trust it with that folder, type `{scan}` first"
    home = max(above, key=lambda home: len(home.parts))
    is_hidden = any(part.startswith(".") for part in path.relative_to(home).parts)
    if is_hidden or not (is_partner or is_album_file(path.name)):
        return "no scan finds a photo there: move it by hand if you know where it came from"
    folder = link_above(path, home)
    return LINKED.format(folder) if folder else ""
