"""The library that the pages show: what is in it now, kept in memory, and what has been removed since it was read."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from samespace.base.errors import SameSpaceError
from samespace.base.find import DATABASE
from samespace.base.photos import UnreadablePhoto
from samespace.base.text import as_sentence, readable
from samespace.duplicates.equal_files import as_photo
from samespace.library.library import Library, Photo
from samespace.search.look import Look, is_remembered, remembered_look
from samespace.search.space import Space
from samespace.web.thumbnails import forget_thumbnails
from samespace.words import stored_captions
from samespace.words.search import sentences_of, way
from samespace.words.sentences import Sentences
from samespace.words.stored_captions import Caption, LibraryCaptions, captions_of


class Snapshot(NamedTuple):
    """A library as it was at one moment; any thread may read it."""

    number: int  # higher than that of the snapshot before
    photos: dict[str, Photo]  # by id, sorted by the bytes of their paths
    unreadable: list[UnreadablePhoto]
    space: Space | None
    why_not: str  # why there is no space to search, in a sentence
    sentences: Sentences | None = None
    why_mute: str = ""  # why a matcher or an encoder that is remembered understands none, in a sentence
    seen: int = 0  # contents that the look has seen
    matcher: str = ""  # or an encoder, that is remembered, or why it cannot be used
    others: dict[str, Photo] | None = None  # videos and RAW files, by id: without a picture or content

    @property
    def named(self) -> Mapping[str, Photo]:
        """Return everything that has an id."""
        return ChainMap(self.photos, self.others or {})

    @property
    def adds(self) -> bool:
        """Tell if sentences are understood that can be added and subtracted."""
        return self.sentences is not None and self.sentences.speaker.does_arithmetic


class _Captions(NamedTuple):
    """Captions as they were last read from their file."""

    version: tuple[int, ...]  # of the file
    captions: dict[str, Caption]


class LibraryAway(SameSpaceError):
    """Its folder is not there: its disk may have been unplugged, and may come back."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"the library's folder {folder} is not there any more, perhaps because its disk is not: "
            "this page works again once it is back"
        )


class LiveLibrary:
    """The library for requests. Each opens a connection of its own, because one belongs to one thread."""

    def __init__(self, folder: Path, roots: Sequence[Path], look: Look | None, prefer: Sequence[Path] = ()) -> None:
        """`look` compares photos; None: always the one that the library was scanned for last, whoever scanned it."""
        self.folder, self.roots, self._follows = folder, list(roots), look is None
        if look is None:
            with closing(Library(folder)) as library:
                look = remembered_look(library)
        self.look = look
        self.prefer = tuple(prefer)  # folders whose photos are suggested to be kept
        self.gone: frozenset[Path] = frozenset()  # removed since the snapshot: no page shows them
        self._refreshing, self._removing = threading.Lock(), threading.Lock()
        self.snapshot = Snapshot(0, {}, [], None, "Nothing has been scanned yet.")
        self._captions = _Captions((), {})

    @contextmanager
    def library(self) -> Iterator[Library]:
        """Open a connection for this thread. Whatever fails while the library's folder is away raises LibraryAway."""
        try:
            with closing(Library(self.folder)) as library:
                if not library.is_writable:  # others were brought up to date before they were served
                    library.take_over(self.look.extractor)
                yield library
        except (SameSpaceError, OSError):
            self.must_be_there()
            raise

    def must_be_there(self) -> None:
        """Raise LibraryAway if the folder is not there."""
        if not (self.folder / DATABASE).is_file():
            raise LibraryAway(self.folder)

    def refresh(self, look: Look | None = None) -> None:
        """Read the library again, after a scan; pages that are being made go on with what they have.

        From then on photos are compared by `look`, if one is given.
        """
        with self._refreshing, self.library() as library:
            look = look or self.look
            photos = {photo_id(photo.path): photo for photo in library.photos()}
            space, why_not = _space(library, look) if photos else (None, "Nothing has been scanned yet.")
            understood, why_mute = _sentences(library, look) if space else (None, "")
            found = photos, library.unreadable(), space, why_not, understood, why_mute
            snapshot = Snapshot(self.snapshot.number + 1, *found, *_ways(library, look), _others(library))
        with self._removing:
            self.snapshot, self.look = snapshot, look
            self.gone = _gone(snapshot)
        if snapshot.number > 1:
            forget_thumbnails(self.folder, but={photo.content for photo in photos.values()})

    def remembered_look(self) -> Look:
        """Return the look that the library was scanned for last."""
        with self.library() as library:
            return remembered_look(library)

    def catch_up(self, moved: bool) -> None:
        """Take in what others did: read the library again only if pages would show something else.

        `moved` says that photos may have gone into quarantine or come back.
        """
        now = self.snapshot
        with self.library() as library:
            photos = {photo_id(photo.path): photo for photo in library.photos()}
            look = self._other_look(library)
            found = photos, _said(library.unreadable()), *_ways(library, look or self.look), _others(library)
        if look or found != (now.photos, _said(now.unreadable), now.seen, now.matcher, now.others):
            self.refresh(look)
        elif moved:
            with self._removing:
                self.gone = _gone(now)

    def _other_look(self, library: Library) -> Look | None:
        """Return the look that others have scanned for since; None to go on with the present one."""
        if not self._follows or is_remembered(library, self.look):
            return None
        try:
            return remembered_look(library)
        except (SameSpaceError, ImportError, OSError):  # its model has gone, perhaps; the next start says why
            return None

    @property
    def captions(self) -> dict[str, Caption]:
        """Return the captions by content, read again when their file has changed, whoever changed it.

        There are none if the file cannot be read: editing and searching captions says why, and all else works.
        """
        version, kept = self._version(), self._captions
        if version != kept.version:
            try:
                with self.library() as library:
                    kept = _Captions(version, captions_of(library))
            except SameSpaceError:
                kept = _Captions(version, {})
            self._captions = kept
        return kept.captions

    def _version(self) -> tuple[int, ...]:
        try:
            status = (self.folder / stored_captions.FILE).stat()
        except OSError:
            return ()
        return status.st_ino, status.st_size, status.st_mtime_ns

    def caption(self, content: str, text: str) -> None:
        """Write a person's caption; the next page has it."""
        with self.library() as library, LibraryCaptions(library) as captions:
            captions.edit(content, text)
        self._captions = _Captions((), {})  # a clock may be too coarse to tell two changes apart

    @property
    def understands(self) -> bool:
        """Return True if a sentence can find photos, by a matcher, an encoder or captions."""
        return self.snapshot.sentences is not None or any(caption.text for caption in self.captions.values())

    def remove(self, paths: Iterable[Path]) -> None:
        """Hide photos that have been moved into quarantine."""
        with self._removing:
            self.gone |= frozenset(paths)

    def restore(self, paths: Iterable[Path]) -> None:
        """Show photos that are back where they were."""
        with self._removing:
            self.gone -= frozenset(paths)


def _space(library: Library, look: Look) -> tuple[Space | None, str]:
    try:
        return Space(library, look), ""
    except SameSpaceError as error:
        return None, as_sentence(readable(str(error)))


def _sentences(library: Library, look: Look) -> tuple[Sentences | None, str]:
    """Return what finds photos by a sentence, or why nothing does; other searches work without."""
    try:
        return sentences_of(library, look), ""
    except SameSpaceError as error:
        return None, as_sentence(readable(str(error)))


def _ways(library: Library, look: Look) -> tuple[int, str]:
    """Return what decides how photos can be found: how many the look has seen, and a matcher or an encoder."""
    return len(library.rows(look.extractor)), way(library)


def _said(unreadable: Iterable[UnreadablePhoto]) -> list[str]:
    return list(map(str, unreadable))


def _others(library: Library) -> dict[str, Photo]:
    return {photo_id(file.path): as_photo(file, library) for file in library.others()}


def _gone(snapshot: Snapshot) -> frozenset[Path]:
    return frozenset(photo.path for photo in snapshot.named.values() if not os.path.lexists(photo.path))


def was_away(made: Future[Any]) -> bool:
    """Return True if it failed because the library's folder was away; it may succeed the next time."""
    return made.done() and not made.cancelled() and isinstance(made.exception(), LibraryAway)


def photo_id(path: Path) -> str:
    """Return the id of a photo, which stays the same from one start to the next and gives no path away."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
