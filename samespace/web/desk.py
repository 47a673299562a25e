"""The library that the pages show: what is in it now, kept in memory, and what has been removed since it was read."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from samespace.errors import SameSpaceError
from samespace.library import Library, Photo
from samespace.looks import Look
from samespace.photos import UnreadablePhoto
from samespace.search import Space
from samespace.web.thumbnails import forget_thumbnails
from samespace.wording import as_sentence, readable


class Snapshot(NamedTuple):
    """A library as it was at one moment; any thread may read it."""

    number: int  # higher than that of the snapshot before
    photos: dict[str, Photo]  # by id, sorted by the bytes of their paths
    unreadable: list[UnreadablePhoto]
    space: Space | None
    why_not: str  # why there is no space to search, in a sentence


class Desk:
    """Where requests find the library. Each opens a connection of its own, for one belongs to one thread."""

    def __init__(self, folder: Path, roots: Sequence[Path], look: Look) -> None:
        self.folder, self.roots, self.look = folder, list(roots), look
        self.gone: frozenset[Path] = frozenset()  # removed since the snapshot: no page shows them
        self._refreshing, self._removing = threading.Lock(), threading.Lock()
        self.snapshot = Snapshot(0, {}, [], None, "Nothing has been scanned yet.")

    @contextmanager
    def library(self) -> Iterator[Library]:
        """This thread's own connection."""
        library = Library(self.folder)
        try:
            yield library
        finally:
            library.close()

    def refresh(self) -> None:
        """Look at the library again, after a scan; pages that are being made go on with what they have."""
        with self._refreshing, self.library() as library:
            photos = {photo_id(photo.path): photo for photo in library.photos()}
            space, why_not = self._space(library) if photos else (None, "Nothing has been scanned yet.")
            snapshot = Snapshot(self.snapshot.number + 1, photos, library.unreadable(), space, why_not)
        with self._removing:
            self.snapshot = snapshot
            self.gone = frozenset(photo.path for photo in photos.values() if not os.path.lexists(photo.path))
        if snapshot.number > 1:
            forget_thumbnails(self.folder, but={photo.content for photo in photos.values()})

    def remove(self, paths: Iterable[Path]) -> None:
        """These photos have been moved into quarantine."""
        with self._removing:
            self.gone |= frozenset(paths)

    def restore(self, paths: Iterable[Path]) -> None:
        """These are back where they were."""
        with self._removing:
            self.gone -= frozenset(paths)

    def _space(self, library: Library) -> tuple[Space | None, str]:
        try:
            return Space(library, self.look), ""
        except SameSpaceError as error:
            return None, as_sentence(readable(str(error)))


def photo_id(path: Path) -> str:
    """What a page and its address call a photo: stays the same from one start to the next, and tells no path."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
