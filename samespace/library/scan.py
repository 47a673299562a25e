"""Make a library agree with its folders: read what is new or changed, forget what is gone."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from samespace.base import progress
from samespace.base.errors import SameSpaceError
from samespace.base.find import DATABASE, Walk, walk
from samespace.base.kinds import by_label
from samespace.base.photos import EXTENSIONS, UnreadablePhoto
from samespace.base.raw_preview import is_raw
from samespace.base.text import count
from samespace.library.library import KnownFile, Library
from samespace.library.others import Seen
from samespace.library.own_folder import make_private
from samespace.library.read_photos import DATES, OUT_OF_RANGE, Batch, Extractor, File, read_batches
from samespace.library.subtree import Subtree

Key = tuple[int, bytes]  # of a file: the number of its root, and its path below it


class Scan(NamedTuple):
    """The result of a scan, over all folders it was given."""

    photos: int  # readable ones, copies included
    new: int  # files that were not there before or could not be read, copies included
    changed: int  # files with other bytes than before, or that can be read no more
    moved: int  # files that were elsewhere before; neither new nor forgotten
    forgotten: int  # files that have vanished, or are not asked for this time
    unreadable: list[UnreadablePhoto]  # files that are no photos, folders that could not be listed
    seconds: float
    not_compared: dict[str, int]  # videos and RAW files, by their extensions in capitals


def scan(
    library: Library,
    folders: Sequence[str | Path],
    extractors: Sequence[Extractor] = (),
    extensions: Sequence[str] = EXTENSIONS,
    follow_links: bool = False,
    tell: Callable[[int, int], None] | None = None,
) -> Scan:
    """Make the library agree with these folders, and return what changed.

    It is committed batch by batch. If nothing has changed and no extractor is new, no photo is opened. `tell` gets the
    number of files read and the number to read, and takes the place of a bar at a terminal.
    """
    start = time.monotonic()
    extractors = list({extractor.fingerprint: extractor for extractor in extractors}.values())
    with library.hold():
        _make_private_once(library)
        library.keep_verdicts_twice()
        outermost = _outermost(folders)
        refuse_own_folders(outermost)
        walks = [walk(folder, extensions, follow_links) for folder in outermost]
        if follow_links:
            walks = _under_one_name(walks)
        views = [_view(library, folder, found, follow_links) for folder, found in zip(outermost, walks, strict=True)]
        for extractor in extractors:
            library.take_over(extractor)
            library.forget_lost_features(extractor.fingerprint, extractor.fields)
        contents = _read(library, views, extractors, tell)
        for view in views:
            view.set_apart(library.unreadable_in(view.subtree), contents)
        library.forget([key for view in views for key in view.vanished()])
        for view in views:
            library.other_files.agree(view.subtree.number, view.subtree.prefix, view.others, view.unknown())
        library.write_note("scanned", datetime.now().isoformat(" ", "minutes"))
        return _summary(library, views, contents, time.monotonic() - start)


def _make_private_once(library: Library) -> None:
    """Mend a library of 0.1, which anybody could look into; whoever shares it after that has reasons."""
    if library.note("private") is None:
        make_private(library.folder)
        library.write_note("private", "once")


class _View(NamedTuple):
    """A folder as it is and as the library remembers it; paths are relative to the root."""

    subtree: Subtree
    before: dict[bytes, KnownFile]
    found: dict[bytes, tuple[int, int]]  # (size, mtime_ns)
    unlisted: list[UnreadablePhoto]
    others: dict[bytes, Seen]  # videos and RAW files
    raw: dict[bytes, Seen]  # RAW files that may be photos: these are among those found, too

    def set_apart(self, unreadable: Iterable[UnreadablePhoto], contents: dict[Key, str | None]) -> None:
        """Count RAW files that cannot be seen among the others, and not among what was read."""
        for photo in unreadable:
            path = os.fsencode(photo.path.relative_to(self.subtree.root))
            if path in self.raw:
                self.others[path] = self.raw[path]
                contents.pop(self.key(path), None)

    def undated(self) -> list[UnreadablePhoto]:
        """Return the videos and RAW files whose dates are out of range."""
        undated = [path for path, seen in self.others.items() if seen.mtime_ns not in DATES]
        return [UnreadablePhoto(self.subtree.root / os.fsdecode(path), OUT_OF_RANGE) for path in undated]

    def key(self, path: bytes) -> Key:
        return self.subtree.number, path

    def vanished(self) -> list[Key]:
        """Return what was there and is not; files in a folder that could not be listed may be there still."""
        unknown = self.unknown()
        return [self.key(path) for path in self.before if path not in self.found and not path.startswith(unknown)]

    def unknown(self) -> tuple[bytes, ...]:
        """Return what paths begin with in folders that could not be listed."""
        root = self.subtree.root
        return tuple(os.fsencode(folder.path.relative_to(root)) + b"/" for folder in self.unlisted)


def _view(library: Library, folder: Path, walked: Walk, follow_links: bool) -> _View:
    subtree = library.add_root(folder)
    start = len(os.fsencode(os.path.join(subtree.root, "")))  # noqa: PTH118
    files = [*walked.files, *(each.entry for each in walked.raw)]
    found = {os.fsencode(entry.path)[start:]: _stamp(entry, follow_links) for entry in files}
    before = library.files_in(subtree)
    if before and not found and not any(folder.iterdir()):
        raise SameSpaceError(
            f"{folder} is empty, but the library {library.folder} remembers {count(len(before), 'photo')} there: mount "
            "the disk it should show, or if they are gone put any other file there and scan again"
        )
    others, raw = (
        {
            os.fsencode(entry.path)[start:]: Seen(*_stamp(entry, follow_links), has_partner)
            for entry, has_partner in some
        }
        for some in (walked.beside, walked.raw)
    )
    return _View(subtree, before, found, walked.unlisted, others, raw)


def _stamp(entry: os.DirEntry[str], follow_links: bool) -> tuple[int, int]:
    try:
        status = entry.stat(follow_symlinks=follow_links)
    except OSError:
        return -1, -1  # no file has these: reading it will say what is wrong
    return status.st_size, status.st_mtime_ns


def _read(
    library: Library,
    views: Sequence[_View],
    extractors: Sequence[Extractor],
    tell: Callable[[int, int], None] | None,
) -> dict[Key, str | None]:
    """Read what the library does not know yet; return the content of every file that was read."""
    fingerprints = [extractor.fingerprint for extractor in extractors]
    seen, taken = library.seen(fingerprints), set[str]()
    work = [(view, list(_unknown(view, seen, len(extractors), taken))) for view in views]
    total = sum(len(paths) for _, paths in work)
    contents: dict[Key, str | None] = {}
    with progress.bar("scanning", total, disable=tell is not None) as bar, _stoppable(contents, total):
        done = 0

        def advance(files: int) -> None:
            nonlocal done
            done += files
            bar.update(files)
            if tell:
                tell(done, total)

        advance(0)
        for view, paths in work:
            if not paths:
                continue
            seen_now = library.seen(fingerprints)
            for batch in read_batches(view.subtree.root, paths, extractors, seen_now, tell=advance):
                library.add(view.subtree, batch)
                contents |= {view.key(file.path): file.content for file in batch.files}
    return contents


@contextmanager
def _stoppable(contents: Mapping[Key, str | None], total: int) -> Iterator[None]:
    """Say what of a stopped scan is remembered."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"{len(contents):,} of {total:,} files were read and are remembered: type the same command to go on"
        ) from None


def _unknown(view: _View, seen: Mapping[str, frozenset[str]], extractors: int, taken: set[str]) -> Iterator[bytes]:
    """Yield the files to be read, in order: of those whose content an extractor has yet to see, one."""
    for path in sorted(view.found):
        before = view.before.get(path)
        if before is None or before.content is None or before[:2] != view.found[path]:
            yield path
            continue
        seen_by = seen.get(before.content)
        is_lacking = seen_by is None or len(seen_by) < extractors
        if is_lacking and before.content not in taken:
            taken.add(before.content)
            yield path


def _summary(library: Library, views: Sequence[_View], contents: Mapping[Key, str | None], seconds: float) -> Scan:
    before = {view.key(path): known.content for view in views for path, known in view.before.items()}
    vanished = [key for view in views for key in view.vanished()]
    left = Counter(before[key] for key in vanished)
    came = Counter(content for key, content in contents.items() if before.get(key) is None)
    del left[None], came[None]
    moved = (left & came).total()
    changed = sum(before.get(key) not in (None, content) for key, content in contents.items())
    unreadable = []
    for view in views:
        failed = library.unreadable_in(view.subtree)
        unreadable += [*view.unlisted, *view.undated(), *(photo for photo in failed if not is_raw(photo.path))]
    photos = sum(library.count_in(view.subtree) for view in views)
    not_compared = by_label(os.fsdecode(path) for view in views for path in view.others)
    return Scan(photos, came.total() - moved, changed, moved, len(vanished) - moved, unreadable, seconds, not_compared)


# Folders


def _outermost(folders: Sequence[str | Path]) -> list[Path]:
    """Return the real paths of these folders, sorted as text, without those that lie in others."""
    for folder in folders:
        if not os.path.isdir(folder):  # noqa: PTH112
            raise SameSpaceError(f"{folder} is not a folder: give the folder that holds the photos")
    outermost: list[Path] = []
    for real in sorted({os.path.realpath(folder) for folder in folders}, key=len):
        if not any(Path(real).is_relative_to(wider) for wider in outermost):
            outermost.append(Path(real))
    return sorted(outermost, key=str)


def refuse_own_folders(folders: Iterable[str | Path]) -> None:
    """Refuse to scan a library's own folder, where removed photos wait to be put back or deleted."""
    for folder in map(Path, folders):
        for above in (folder, *folder.parents):
            if (above / DATABASE).is_file():
                raise SameSpaceError(f"{folder} belongs to a library: scan the folder that holds the photos")


def _under_one_name(walks: Sequence[Walk]) -> list[Walk]:
    """Leave out links to files that are listed by their own names, and of several links to a file all but the first.

    They would pass for duplicates of it, and it might be removed in favour of a link to it. Hard links stay.
    """
    folders: dict[str, bool] = {}
    beside = [each.entry for found in walks for each in (*found.beside, *found.raw)]
    entries = [*(entry for found in walks for entry in found.files), *beside]
    own = {id(entry): _is_own_name(entry, folders) for entry in entries}
    listed = {_identity(entry) for entry in entries if own[id(entry)]}

    def is_first(entry: os.DirEntry[str]) -> bool:
        if not own[id(entry)] and _identity(entry) in listed:
            return False
        listed.add(_identity(entry))
        return True

    chosen = []
    for found in walks:
        files = [entry for entry in sorted(found.files, key=_path) if is_first(entry)]
        others, raw = (
            [each for each in sorted(some, key=lambda each: _path(each.entry)) if is_first(each.entry)]
            for some in (found.beside, found.raw)
        )
        chosen.append(Walk(files, found.unlisted, others, raw))
    return chosen


def _path(entry: os.DirEntry[str]) -> bytes:
    return os.fsencode(entry.path)


def _is_own_name(entry: os.DirEntry[str], folders: dict[str, bool]) -> bool:
    folder = os.path.dirname(entry.path)  # noqa: PTH120
    if folder not in folders:
        folders[folder] = os.path.realpath(folder) == folder
    return folders[folder] and not entry.is_symlink()


def _identity(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        status = entry.stat()
    except OSError:
        return -1, entry.inode()
    return status.st_dev, status.st_ino


# Batches that were read elsewhere


def import_batch(library: Library, root: str | Path, batch: Batch) -> None:
    """Take in what `read_batch` found below a copy of `root`, as far as the files are here too and as large.

    The next scan rehashes files whose mtime differs here, decodes none of them, and drops what is missing here.
    """
    _check(batch)
    folder = Path(os.path.realpath(root))
    with library.hold():
        subtree = library.add_root(folder)
        for fingerprint, rows in batch.features.items():
            fields = {name: (column.shape[1:], column.dtype.name) for name, column in rows.fields.items()}
            library.forget_lost_features(fingerprint, fields)
        files = [file._replace(path=subtree.prefix + file.path) for file in batch.files if _is_here(folder, file)]
        library.add(subtree, batch._replace(files=files))


def _check(batch: Batch) -> None:
    """Refuse a batch that names anything but files below the root and folders of features: it comes from elsewhere."""
    for name in [*batch.features, *(name for rows in batch.features.values() for name in rows.fields)]:
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise SameSpaceError(f"the batch has features named {name!r}: import one that samespace has written")
    for file in batch.files:
        if file.path.startswith(b"/") or b".." in file.path.split(b"/"):
            raise SameSpaceError(f"the batch names {file.path!r}, which lies elsewhere: import it for the right folder")
    for fingerprint, rows in batch.features.items():
        if any(len(values) != len(rows.contents) for values in rows.fields.values()):
            raise SameSpaceError(f"the batch's features {fingerprint} are incomplete: import it from an undamaged file")


def _is_here(folder: Path, file: File) -> bool:
    path = os.path.join(os.fsencode(folder), file.path)  # noqa: PTH118 - pathlib has no bytes
    try:
        return file.reason is None and os.stat(path).st_size == file.size  # noqa: PTH116
    except OSError:
        return False
