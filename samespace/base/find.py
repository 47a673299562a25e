"""Find the photo files below a folder."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from samespace.base.errors import SameSpaceError
from samespace.base.kinds import SIDECARS, label
from samespace.base.photos import EXTENSIONS, UnreadablePhoto
from samespace.base.raw_preview import raw_photos, stem

DATABASE = "library.sqlite"  # a folder that holds this is a library's own


class Beside(NamedTuple):
    """A video or RAW file."""

    entry: os.DirEntry[str]
    has_partner: bool  # a photo of the same name, as RAW + JPEG and Live Photos have, or a sidecar


class Walk(NamedTuple):
    """The photo files below a folder, in no order, the folders that could not be listed, and what lies beside.

    RAW files that may be photos of their own are apart: see `raw_photos`.
    """

    files: list[os.DirEntry[str]]
    unlisted: list[UnreadablePhoto]
    beside: list[Beside]
    raw: list[Beside]


def find(root: Path, extensions: Sequence[str] = EXTENSIONS, follow_links: bool = False) -> list[Path]:
    """Return every photo file below `root`, sorted by the bytes of its path; see `walk`."""
    paths = [Path(entry.path) for entry in walk(root, extensions, follow_links).files]
    return sorted(paths, key=os.fsencode)


def walk(root: Path, extensions: Sequence[str] = EXTENSIONS, follow_links: bool = False) -> Walk:
    """Find the photo files below `root` by their extensions, given with or without the dot, in any case.

    Videos and RAW files are listed apart, whatever the extensions; all other files are passed over. RAW files are no
    photos if some of the usual extensions are not wanted.
    Hidden files and folders are skipped, and so are libraries' own folders, with their quarantines, and symlinks
    unless asked for. A folder that several links lead to is walked once, under its own name if it has one below `root`.
    """
    if not root.is_dir():
        raise SameSpaceError(f"{root} is not a folder: give the folder that holds the photos")
    wanted = tuple("." + extension.lower().lstrip(".") for extension in extensions)
    found, sees_raw = Walk([], [], [], []), set(wanted) >= set(EXTENSIONS)
    folders, linked = [str(root)], deque[str]()  # linked ones wait until every folder is known by its own name
    walked: set[tuple[int, int]] = set()
    while folders or linked:
        folder = folders.pop() if folders else linked.popleft()
        try:
            if follow_links and not _first_visit(folder, walked):
                continue
            with os.scandir(folder) as listing:
                entries = sorted((entry for entry in listing if not entry.name.startswith(".")), key=file_name)
        except OSError as error:
            if folder == str(root):
                raise SameSpaceError(f"{root} cannot be listed ({error.strerror}): check its permissions") from error
            found.unlisted.append(UnreadablePhoto(Path(folder), f"cannot be listed: {error.strerror}"))
            continue
        if any(entry.name == DATABASE for entry in entries):
            continue
        partners = {stem(entry.name) for entry in entries if entry.name.lower().endswith((*EXTENSIONS, *SIDECARS))}
        raw = raw_photos((entry.name for entry in entries), EXTENSIONS) if sees_raw else ()
        for entry in entries:
            if _is_folder(entry, follow_links):
                (linked if entry.is_symlink() else folders).append(entry.path)
            elif entry.name.lower().endswith(wanted) and _is_file(entry, follow_links):
                found.files.append(entry)
            elif label(entry.name) and _is_file(entry, follow_links):
                beside = Beside(entry, not partners.isdisjoint((stem(entry.name), entry.name.casefold())))
                (found.raw if entry.name in raw else found.beside).append(beside)
    return found


def _first_visit(folder: str, walked: set[tuple[int, int]]) -> bool:
    status = os.stat(folder)  # noqa: PTH116
    known = (status.st_dev, status.st_ino) in walked
    walked.add((status.st_dev, status.st_ino))
    return not known


def file_name(entry: os.DirEntry[str]) -> bytes:
    return os.fsencode(entry.name)


def _is_folder(entry: os.DirEntry[str], follow_links: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str], follow_links: bool) -> bool:
    try:
        return entry.is_file(follow_symlinks=follow_links)
    except OSError:
        return False
