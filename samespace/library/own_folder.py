"""A library's own folder, which has no links in it: what is written through one that came with an album gets lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from samespace.base.errors import SameSpaceError
from samespace.base.find import DATABASE

FOLDER = ".samespace"
_DEEP = {"features", "quarantine"}  # of their folders, the entries are looked at too; whoever goes deeper looks again


def make_folder(folder: Path) -> None:
    """Make a library's folder unless it is there; refuse one where no library could be made."""
    if folder.is_symlink() and not (folder / DATABASE).is_file():
        raise SameSpaceError(
            f"{folder} is a link to {os.path.realpath(folder)}, which is no library: give --library PATH to make one "
            "there, or remove the link"
        )
    try:
        folder.mkdir(exist_ok=True)  # not its parents: a disk may be missing
        if not (folder / DATABASE).exists() and not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise SameSpaceError(
            f"cannot make a library at {folder} ({error.strerror}): give --library PATH, a folder that can be written"
        ) from error


def refuse_links(folder: Path) -> None:
    """Refuse a library's folder if a link in it could lead elsewhere what is written, moved or deleted there."""
    for entry in _entries(folder):
        _refuse_link(entry)
        for inner in _entries(entry):
            _refuse_link(inner)
            for deep in _entries(inner) if entry.name in _DEEP else ():
                _refuse_link(deep)


def _entries(folder: str | os.PathLike[str]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:  # a file; or whoever needs what is in it says why it cannot be read
        return


def _refuse_link(entry: os.DirEntry[str]) -> None:
    if entry.is_symlink():
        raise SameSpaceError(
            f"{entry.path} is a link, which may lead anywhere: remove it, or put what it leads to in its place"
        )
