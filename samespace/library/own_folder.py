"""A library's own folder: for its owner alone, and without links, which may have come with an album."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from samespace.base.errors import SameSpaceError
from samespace.base.find import DATABASE

FOLDER = ".samespace"
PRIVATE = 0o700  # a photo in quarantine, a thumbnail or a path may come from a folder that only its owner may open
_OURS = (
    DATABASE,
    "captions.sqlite",
    "features",
    "holder.json",
    "lock",
    "plan.json",
    "plans",
    "quarantine",
    "thumbnails",
    "verdicts.sqlite",
)
_DEEP = {"features", "quarantine"}  # of their folders, the entries are looked at too; whoever goes deeper looks again


def no_library(folder: Path) -> SameSpaceError:
    """Return the error of a folder that is no library; if it holds one, that may be meant."""
    if (folder / FOLDER / DATABASE).is_file():
        return SameSpaceError(f"no library at {folder}: give {folder / FOLDER}")
    return SameSpaceError(f"no library at {folder}: `samespace scan` makes one")


def make_folder(folder: Path) -> None:
    """Make a library's folder unless it is there; refuse one where no library could be made."""
    if folder.is_symlink() and not (folder / DATABASE).is_file():
        raise SameSpaceError(
            f"{folder} is a link to {os.path.realpath(folder)}, which is not a library: give --library PATH to make "
            "one there, or remove the link"
        )
    try:
        folder.mkdir(mode=PRIVATE, exist_ok=True)  # not its parents: a disk may be missing
        if not (folder / DATABASE).exists() and not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise SameSpaceError(
            f"cannot make a library at {folder} ({error.strerror}): give --library PATH, a folder that can be written"
        ) from error


def make_private(folder: Path) -> None:
    """Let nobody but its owner look into a library's folder; of one with another name, only at what is ours in it."""
    for path in [folder] if folder.name == FOLDER else [folder / name for name in _OURS]:
        with contextlib.suppress(OSError):  # not there, or not ours
            mode = stat.S_IMODE(path.lstat().st_mode)
            if mode & ~PRIVATE:
                path.chmod(mode & PRIVATE)


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
