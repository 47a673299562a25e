"""The names of a library's photos and folders, which typed words are looked up in."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from samespace.base.errors import SameSpaceError
from samespace.base.text import readable
from samespace.library.library import Photo
from samespace.web.state import Snapshot

FOLDERS = 2000  # that are shown or offered; where there are more, those of the upper levels only


class Names(NamedTuple):
    """The names of a snapshot, which typed words are looked up in."""

    snapshot: Snapshot
    photos: list[tuple[str, Photo]]  # by their names, in small letters
    folders: dict[str, tuple[Path, int]]  # by name, with the number of photos in and below them; in the order of a tree

    def called(self, words: str) -> list[Photo]:
        """Return photos whose names hold all of these words, first those whose file name begins with the first word."""
        parts = words.lower().split()
        found = [(name, photo) for name, photo in self.photos if all(part in name for part in parts)] if parts else []
        return [photo for _, photo in sorted(found, key=lambda entry: not _file(entry[0]).startswith(parts[0]))]

    def exactly(self, text: str) -> list[Photo]:
        """Return photos with this id, name or path."""
        if text in self.snapshot.photos:
            return [self.snapshot.photos[text]]
        return [
            photo
            for name, photo in self.photos
            if (name == text.lower() and _name(photo) == text) or str(photo.path) == text
        ]

    def of_file(self, text: str) -> list[Photo]:
        """Return photos whose file has this name, in whatever folder."""
        return [photo for name, photo in self.photos if _file(name) == text.lower() and photo.path.name == text]

    def folder(self, name: str) -> Path | None:
        """Return the folder of this name, or None for the whole library."""
        if name.strip("/") and name.strip("/") not in self.folders:
            raise SameSpaceError(f"no photo of this library is in a folder called {readable(name)}")
        return self.folders[name.strip("/")][0] if name.strip("/") else None

    def choices(self, chosen: str) -> list[tuple[str, int]]:
        """Return the folders to choose from: the upper levels, if there are very many, and the chosen one."""
        levels = Counter(name.count("/") for name in self.folders)
        deepest = deepest_of(levels)
        return [
            (name, number) for name, (_, number) in self.folders.items() if name.count("/") <= deepest or name == chosen
        ]


def names_of(snapshot: Snapshot) -> Names:
    photos = [(_name(photo).lower(), photo) for photo in snapshot.photos.values()]
    return Names(snapshot, photos, tree(snapshot.photos.values()))


def _name(photo: Photo) -> str:
    """Return the name as `photo_as_json` does, but quickly: every photo needs it."""
    name = os.fspath(photo.path)[len(os.fspath(photo.root)) :].lstrip("/")
    return name if name.isprintable() else readable(name)


def _file(name: str) -> str:
    return name.rpartition("/")[2]


def base_of(roots: Iterable[Path]) -> str:
    """Return the folder that holds all of these, "" if there are none."""
    once = {os.fspath(root) for root in roots}
    return os.path.commonpath(once) if once else ""


def name_from(path: Path, base: str) -> str:
    """Return the path from `base` on, as a person reads it."""
    return readable(os.path.relpath(path, base) if base else os.fspath(path))


def deepest_of(levels: Mapping[int, int]) -> int:
    """Return the deepest level down to which at most `FOLDERS` folders are shown, given their number on each."""
    return max((at for at in levels if sum(levels[up] for up in levels if up <= at) <= FOLDERS), default=0)


def tree(photos: Collection[Photo]) -> dict[str, tuple[Path, int]]:
    """Return the folders that lead to photos, by their names below the one that holds them all."""
    counts: Counter[str] = Counter()
    for (folder, root), number in Counter(
        (os.path.dirname(photo.path), os.fspath(photo.root))  # noqa: PTH120 - quicker
        for photo in photos
    ).items():
        while True:
            counts[folder] += number
            if folder == root:
                break
            folder = os.path.dirname(folder)  # noqa: PTH120
    base = base_of(photo.root for photo in photos)
    return {
        readable(os.path.relpath(folder, base)): (Path(folder), counts[folder])
        for folder in sorted(counts, key=lambda folder: folder.split("/"))
        if folder != base
    }
