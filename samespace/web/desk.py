"""The library that the pages show: what is in it now, kept in memory, and what has been removed since it was read."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from samespace.errors import SameSpaceError
from samespace.library import Library, Photo
from samespace.looks import Look
from samespace.photos import DATABASE, UnreadablePhoto
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


class LibraryAway(SameSpaceError):
    """Its folder is not there: its disk may have been unplugged, and may come back."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"the library's folder {folder} is not there any more, perhaps because its disk is not: "
            "this page works again once it is back"
        )


class Desk:
    """Where requests find the library. Each opens a connection of its own, for one belongs to one thread."""

    def __init__(self, folder: Path, roots: Sequence[Path], look: Look) -> None:
        self.folder, self.roots, self.look = folder, list(roots), look
        self.gone: frozenset[Path] = frozenset()  # removed since the snapshot: no page shows them
        self._refreshing, self._removing = threading.Lock(), threading.Lock()
        self.snapshot = Snapshot(0, {}, [], None, "Nothing has been scanned yet.")

    @contextmanager
    def library(self) -> Iterator[Library]:
        """This thread's own connection. Whatever fails while the library's folder is away is told as that."""
        try:
            with closing(Library(self.folder)) as library:
                yield library
        except (SameSpaceError, OSError):
            self.must_be_there()
            raise

    def must_be_there(self) -> None:
        """For what needs no connection and makes no sense without the photos."""
        if not (self.folder / DATABASE).is_file():
            raise LibraryAway(self.folder)

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


def was_away(made: Future[Any]) -> bool:
    """Whether it failed because the library's folder was away; it may succeed the next time."""
    return made.done() and not made.cancelled() and isinstance(made.exception(), LibraryAway)


def photo_id(path: Path) -> str:
    """What a page and its address call a photo: stays the same from one start to the next, and tells no path."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
