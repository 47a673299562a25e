"""A photo folder's memory: what each photo is and how it looks, in SQLite and feature files beside the photos."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from samespace.base import progress
from samespace.base.arrays import Array
from samespace.base.errors import SameSpaceError
from samespace.base.find import DATABASE, Walk, walk
from samespace.base.photos import EXTENSIONS, Details, UnreadablePhoto, decoders, details, in_threads
from samespace.library.features import Features, FeatureStore, Kept
from samespace.library.lock import Lock
from samespace.library.read_photos import AT_ONCE, Batch, Extractor, File, read_batch, read_batches
from samespace.library.sqlite import Database, Tables

__all__ = ["FOLDER", "Batch", "Details", "Extractor", "Library", "Photo", "Scan", "read_batch"]

FOLDER = ".samespace"

_CREATE = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO about VALUES ('id', lower(hex(randomblob(16))));
CREATE TABLE roots (root INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE);
CREATE TABLE files (
    root INTEGER NOT NULL, path BLOB NOT NULL, -- relative to the root
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    content TEXT, reason TEXT, -- the one or the other
    PRIMARY KEY (root, path)
) WITHOUT ROWID;
CREATE INDEX files_by_content ON files (content);
CREATE TABLE contents (
    content TEXT PRIMARY KEY, -- SHA-256 of the bytes
    width INTEGER NOT NULL, height INTEGER NOT NULL, taken TEXT,
    hash INTEGER NOT NULL, -- 64 bits, signed as SQLite has them
    reason TEXT, decoders TEXT NOT NULL, -- why it is no photo, to these decoders
    pixels TEXT, sharpness REAL -- a full decode's, NULL until somebody asks
) WITHOUT ROWID;
CREATE TABLE rows (
    fingerprint TEXT NOT NULL, content TEXT NOT NULL, row INTEGER NOT NULL,
    PRIMARY KEY (fingerprint, content)
) WITHOUT ROWID;
CREATE UNIQUE INDEX rows_by_number ON rows (fingerprint, row);
CREATE TABLE verdicts (
    content0 TEXT NOT NULL, content1 TEXT NOT NULL, same INTEGER NOT NULL,
    PRIMARY KEY (content0, content1)
) WITHOUT ROWID;
"""
_TABLES = Tables(_CREATE, version=1, what="library", remedy="scan again")


class Photo(NamedTuple):
    """What a library knows of one file."""

    path: Path
    root: Path  # the scanned folder that it lies in
    library: str  # id
    size: int
    mtime_ns: int
    content: str  # SHA-256 of the file's bytes
    width: int  # as a person sees it, upright
    height: int
    taken: str | None  # when, as EXIF says: "2023-05-01 12:30:00"
    hash: int  # perceptual hash


class Scan(NamedTuple):
    """What a scan found below the folders it was given."""

    photos: int  # readable ones, copies included
    new: int  # files that were not there before, copies included
    changed: int  # files with other bytes than before
    moved: int  # files that were elsewhere before; neither new nor forgotten
    forgotten: int  # files that have vanished
    unreadable: list[UnreadablePhoto]  # files that are no photos, folders that could not be listed
    seconds: float


class Library:
    """Remembers the photos of one folder or several. Belongs to the thread that made it."""

    def __init__(self, folder: Path, create: bool = False) -> None:
        self._place = os.path.realpath(folder)
        self.folder = Path(self._place)
        self._file = Path(self._place, DATABASE)
        if create:
            self._make_folder()
        if not create and not self._file.is_file():
            raise SameSpaceError(f"no library at {folder}: `samespace scan` makes one")
        self._lock = Lock(self.folder)
        file_is_writable = not self._file.exists() or os.access(self._file, os.W_OK)
        self.is_writable = os.access(self._place, os.W_OK) and file_is_writable
        self._db = Database(self._file, _TABLES, self.is_writable)
        self._features = FeatureStore(self.folder / "features", self._db)
        self.id: str = self._db.query("SELECT value FROM about WHERE key = 'id'")[0][0]

    def close(self) -> None:
        self._db.close()

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(exist_ok=True)  # not its parents: a disk may be missing
            if not self._file.exists() and not os.access(self._place, os.W_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as error:
            raise SameSpaceError(
                f"cannot make a library at {self.folder} ({error.strerror}): give --library PATH, a folder that can "
                "be written"
            ) from error

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """All that is read meanwhile is as it was at one moment."""
        with self._db.unchanging():
            yield

    # One at a time

    def hold(self, wait: bool = True) -> AbstractContextManager[bool]:
        """Keep others from scanning this library or cleaning up in it meanwhile; wait for whoever does now.

        The wait is announced on stderr. A holder may hold it again, and one that is killed lets go. Without `wait` the
        value is False if another process holds it.
        """
        return self._lock.hold(wait)

    @property
    def holder(self) -> str:
        """Return who holds the library, in words."""
        return self._lock.holder

    # Scanning

    def scan(
        self,
        roots: Iterable[str | Path],
        extractors: Sequence[Extractor] = (),
        extensions: Sequence[str] = EXTENSIONS,
        follow_links: bool = False,
        tell: Callable[[int, int], None] | None = None,
    ) -> Scan:
        """Make the library agree with these folders: read what is new or changed, forget what is gone.

        Committed batch by batch. Where nothing has changed and no extractor is new, no photo is opened. `tell` is told
        how many files are done and how many there are to read, in place of a person at a terminal.
        """
        start = time.monotonic()
        extractors = list({extractor.fingerprint: extractor for extractor in extractors}.values())
        with self.hold():
            folders = _outermost(roots)
            refuse_own_folders(folders)
            walks = [walk(Path(folder), extensions, follow_links) for folder in folders]
            if follow_links:
                walks = _under_one_name(walks)
            views = [self._view(folder, found, follow_links) for folder, found in zip(folders, walks, strict=True)]
            for extractor in extractors:
                self.take_over(extractor)
                self._features.forget_lost(extractor.fingerprint, extractor.fields)
            now = self._read(views, extractors, tell)
            self._forget(views)
            self.write_note("scanned", datetime.now().isoformat(" ", "minutes"))
            return self._summary(views, now, time.monotonic() - start)

    def _view(self, folder: str, walked: Walk, follow_links: bool) -> _View:
        number, root, prefix = self._root_of(folder)
        start, own = len(os.fsencode(os.path.join(root, ""))), os.path.join(self._place, "")  # noqa: PTH118
        found = {
            os.fsencode(entry.path)[start:]: _stamp(entry, follow_links)
            for entry in walked.files
            if not entry.path.startswith(own)
        }
        rows = self._db.query("SELECT path, size, mtime_ns, content FROM files WHERE root = ?", number)
        before = {path: tuple(rest) for path, *rest in rows if path.startswith(prefix)}
        if before and not found and not os.listdir(folder):  # noqa: PTH208 - of a str
            raise SameSpaceError(
                f"{folder} is empty, but the library {self.folder} remembers {len(before)} photos there: mount the "
                "disk it should show, or if they are gone put any other file there and scan again"
            )
        return _View(number, root, prefix, before, found, walked.unlisted)

    @property
    def roots(self) -> list[Path]:
        """The folders that were scanned."""
        return sorted(map(Path, self._roots().values()))

    def _roots(self) -> dict[int, str]:
        """Where each root lies now: one that holds the library is remembered from there, and moves with it."""
        return {
            number: os.path.normpath(os.path.join(self._place, os.fsdecode(path)))  # noqa: PTH118
            for number, path in self._db.query("SELECT root, path FROM roots")
        }

    def _root_of(self, folder: str) -> tuple[int, str, bytes]:
        """The root that a folder belongs to, and what paths from there into the folder begin with.

        Roots never lie in each other: a wider one takes over the narrower.
        """
        roots = self._roots()
        for number, root in roots.items():
            if _inside(folder, root):
                return number, root, b"" if folder == root else _below(folder, root) + b"/"
        kept = os.path.relpath(folder, self._place) if _inside(self._place, folder) else folder
        with self._db.transaction():
            number = self._db.run("INSERT INTO roots (path) VALUES (?)", os.fsencode(kept))
            for narrower, root in roots.items():
                if _inside(root, folder):
                    self._db.run(
                        "UPDATE files SET root = ?, path = CAST(? || path AS BLOB) WHERE root = ?",
                        *(number, _below(root, folder) + b"/", narrower),
                    )
                    self._db.run("DELETE FROM roots WHERE root = ?", narrower)
        return number, folder, b""

    def _read(
        self, views: Sequence[_View], extractors: Sequence[Extractor], tell: Callable[[int, int], None] | None
    ) -> dict[tuple[int, bytes], str | None]:
        """Read what the library does not know yet; the content of every file that was read."""
        known, taken = self._known(extractors), set[str]()
        work = [(view, list(_unknown(view, known, len(extractors), taken))) for view in views]
        work = [(view, paths) for view, paths in work if paths]
        total = sum(len(paths) for _, paths in work)
        now: dict[tuple[int, bytes], str | None] = {}
        with progress.bar("scanning", total, disable=tell is not None) as bar:
            if tell:
                tell(0, total)
            for view, paths in work:
                for batch in read_batches(Path(view.root), paths, extractors, self._known(extractors), AT_ONCE):
                    self._add(view.number, batch)
                    now |= {(view.number, file.path): file.content for file in batch.files}
                    bar.update(len(batch.files))
                    if tell:
                        tell(len(now), total)
        return now

    def _known(self, extractors: Sequence[Extractor]) -> dict[str, frozenset[str]]:
        """Which extractors have seen each content; what is no photo counts as seen, until the decoders change."""
        everything = frozenset(extractor.fingerprint for extractor in extractors)
        known = {
            content: everything if unreadable else frozenset[str]()
            for content, unreadable in self._db.query(
                "SELECT content, reason IS NOT NULL FROM contents WHERE reason IS NULL OR decoders = ?", decoders()
            )
        }
        for fingerprint in everything:
            seen = {
                content for (content,) in self._db.query("SELECT content FROM rows WHERE fingerprint = ?", fingerprint)
            }
            for content in seen & known.keys():
                known[content] = everything if len(everything) == 1 else known[content] | {fingerprint}
        return known

    def import_batch(self, root: str | Path, batch: Batch) -> None:
        """Take over what `read_batch` found below a copy of `root`, of files that are here too and as large.

        The next scan hashes again what has another mtime here, decodes none of it, and forgets what lies nowhere here.
        """
        _check(batch)
        folder = os.path.realpath(root)
        with self.hold():
            number, _, prefix = self._root_of(folder)
            for fingerprint, rows in batch.features.items():
                fields = {name: (column.shape[1:], column.dtype.name) for name, column in rows.fields.items()}
                self._features.forget_lost(fingerprint, fields)
            files = [file._replace(path=prefix + file.path) for file in batch.files if _is_here(folder, file)]
            self._add(number, batch._replace(files=files))

    def _add(self, number: int, batch: Batch) -> None:
        """Features first, where nobody looks yet; then all at once the rest, and with it where to look."""
        places = {fingerprint: self._features.write(fingerprint, rows) for fingerprint, rows in batch.features.items()}
        with self._db.transaction():
            self._db.run_many(
                "INSERT INTO contents (content, width, height, taken, hash, reason, decoders) "
                "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (content) DO UPDATE "
                "SET width = excluded.width, height = excluded.height, "
                "taken = excluded.taken, hash = excluded.hash, reason = excluded.reason, decoders = excluded.decoders",
                [(*row[:4], _signed(row.hash), row.reason, batch.decoders) for row in batch.contents],
            )
            self._db.run_many(
                "INSERT OR REPLACE INTO files (root, path, size, mtime_ns, content, reason) VALUES (?, ?, ?, ?, ?, ?)",
                [(number, *file) for file in batch.files],
            )
            for fingerprint, rows in batch.features.items():
                self._features.refer(fingerprint, rows.contents, places[fingerprint])

    def _forget(self, views: Sequence[_View]) -> None:
        """Files that have vanished, contents that no file has any more, and their features."""
        with self._db.transaction():
            gone = [(view.number, path) for view in views for path in view.vanished()]
            self._db.run_many("DELETE FROM files WHERE root = ? AND path = ?", gone)
            self._db.run(
                "DELETE FROM contents WHERE NOT EXISTS (SELECT 1 FROM files WHERE files.content = contents.content)"
            )
            self._db.run("DELETE FROM rows WHERE content NOT IN (SELECT content FROM contents)")

    def _summary(self, views: Sequence[_View], now: Mapping[tuple[int, bytes], str | None], seconds: float) -> Scan:
        before = {(view.number, path): row[2] for view in views for path, row in view.before.items()}
        vanished = [(view.number, path) for view in views for path in view.vanished()]
        left = Counter(before[key] for key in vanished)
        came = Counter(content for key, content in now.items() if key not in before)
        del left[None], came[None]
        moved = (left & came).total()
        changed = sum(1 for key, content in now.items() if content and before.get(key, content) not in (None, content))
        unreadable = [
            photo for view in views for photo in (*view.unlisted, *self._unreadable(view.number, view.prefix))
        ]
        photos = sum(self._count(view.number, view.prefix) for view in views)
        return Scan(photos, came.total() - moved, changed, moved, len(vanished) - moved, unreadable, seconds)

    # Features

    def features_folder(self, fingerprint: str) -> Path:
        """Return the folder of these features, where what was made of them may be kept too."""
        return self._features.folder(fingerprint)

    def rows(self, kept: Kept) -> dict[str, int]:
        """Return the row of every content that has these features."""
        return self._features.rows(kept)

    def features(self, kept: Kept, photos: Sequence[Photo]) -> Features:
        """Return these photos' features, in their order, left on disk until they are asked for.

        A scan may give the rows of vanished photos to others: `hold` the library while another process may scan.
        """
        row_of = self.rows(kept)
        missing = [photo for photo in photos if photo.content not in row_of]
        if missing:
            raise SameSpaceError(
                f"{len(missing)} photos have no features of this model yet, the first is {missing[0].path}: scan again"
            )
        chosen = np.array([row_of[photo.content] for photo in photos], np.int64)
        return Features(self.features_folder(kept.fingerprint), kept.fields, chosen)

    def derive(self, source: Kept, derived: Kept, work: Callable[[Features], dict[str, Array]]) -> None:
        """Make features from features, for every content that lacks them; not while somebody else holds the library.

        They are committed block by block, and forgotten when their photos are.
        """
        if not self._features.lacking(source, derived):
            return
        with self.hold(wait=False) as held:
            if held:
                self._features.derive(source, derived, work)

    def drop_derived(self, source: Kept, but: str) -> None:
        """Delete all features derived from these, named `<source>-…`, except one."""
        with self.hold():
            self._features.drop_derived(source, but)

    def take_over(self, extractor: Extractor) -> None:
        """Keep what lies under an extractor's former fingerprints under its present one; decode nothing.

        A kill at any moment loses nothing: the next call goes on. A library that cannot be written is read under the
        name that has the most photos.
        """
        if not self._features.has_former(extractor):
            return
        if self.is_writable:
            with self.hold():
                self._features.take_over(extractor)
        else:
            self._features.read_as_former(extractor)

    # What is known

    def note(self, key: str) -> str | None:
        """What was written down under this name."""
        rows = self._db.query("SELECT value FROM about WHERE key = ?", key)
        return rows[0][0] if rows else None

    def write_note(self, key: str, value: str) -> None:
        with self._db.transaction():
            self._db.run("INSERT OR REPLACE INTO about (key, value) VALUES (?, ?)", key, value)

    def photos(self) -> list[Photo]:
        """All that can be read, sorted by the bytes of their paths."""
        roots = {number: Path(path) for number, path in self._roots().items()}
        rows = self._db.query(
            "SELECT root, path, size, mtime_ns, content, width, height, taken, hash "
            "FROM files JOIN contents USING (content) WHERE contents.reason IS NULL"
        )
        photos = [
            Photo(
                roots[root] / os.fsdecode(path),
                roots[root],
                self.id,
                size,
                mtime_ns,
                content,
                width,
                height,
                taken,
                _unsigned(hash_),
            )
            for root, path, size, mtime_ns, content, width, height, taken, hash_ in rows
        ]
        return sorted(photos, key=lambda photo: os.fsencode(photo.path))

    def unreadable(self) -> list[UnreadablePhoto]:
        """Files that are no photos or could not be read when last tried, sorted by the bytes of their paths."""
        photos = [photo for number in self._roots() for photo in self._unreadable(number, b"")]
        return sorted(photos, key=lambda photo: os.fsencode(photo.path))

    def _unreadable(self, number: int, prefix: bytes) -> list[UnreadablePhoto]:
        root = Path(self._roots()[number])
        rows = self._db.query(
            "SELECT path, coalesce(files.reason, contents.reason) AS why FROM files LEFT JOIN contents USING (content) "
            "WHERE root = ? AND substr(path, 1, ?) = ? AND why IS NOT NULL ORDER BY path",
            *(number, len(prefix), prefix),
        )
        return [UnreadablePhoto(root / os.fsdecode(path), reason) for path, reason in rows]

    def _count(self, number: int, prefix: bytes) -> int:
        rows = self._db.query(
            "SELECT count(*) FROM files JOIN contents USING (content) "
            "WHERE root = ? AND substr(path, 1, ?) = ? AND contents.reason IS NULL",
            *(number, len(prefix), prefix),
        )
        return int(rows[0][0])

    def details(self, photos: Sequence[Photo]) -> list[Details]:
        """What only a full decode tells, of each photo; done when first asked for, then remembered.

        A photo that cannot be decoded in full any more, or is not as it was scanned, has its content for `pixels`, so
        that it equals the same bytes alone, and no sharpness; that is not remembered.
        """
        rows = self._db.query("SELECT content, pixels, sharpness FROM contents WHERE pixels IS NOT NULL")
        known = {content: Details(*rest) for content, *rest in rows}
        asked = list({photo.content: photo for photo in photos if photo.content not in known}.values())
        looks = zip(asked, in_threads(_details, asked), strict=True)
        with progress.bar("decoding", len(asked)) as bar:
            while batch := [(photo.content, look) for photo, look in islice(looks, AT_ONCE)]:
                self._remember_details([(content, look) for content, look in batch if look])
                known |= {content: look or Details(content, 0.0) for content, look in batch}
                bar.update(len(batch))
        return [known[photo.content] for photo in photos]

    def _remember_details(self, looks: Iterable[tuple[str, Details]]) -> None:
        if self.is_writable:
            with self._db.transaction():
                self._db.run_many(
                    "UPDATE contents SET pixels = ?, sharpness = ? WHERE content = ?",
                    [(*look, content) for content, look in looks],
                )

    def verdicts(self) -> dict[frozenset[str], bool]:
        """What persons said of pairs of contents: True for the same, False for different."""
        rows = self._db.query("SELECT content0, content1, same FROM verdicts")
        return {frozenset((content0, content1)): bool(same) for content0, content1, same in rows}

    def add_verdict(self, content0: str, content1: str, same: bool) -> None:
        """Remember what a person said; it stands in place of what was said of this pair before."""
        if content0 == content1:
            raise SameSpaceError("a verdict needs two photos, and these have the same bytes: name two that differ")
        with self._db.transaction():
            row = (*sorted((content0, content1)), same)
            self._db.run("INSERT OR REPLACE INTO verdicts (content0, content1, same) VALUES (?, ?, ?)", *row)

    def forget_verdict(self, content0: str, content1: str) -> None:
        """As if nobody had said anything of this pair."""
        with self._db.transaction():
            pair = sorted((content0, content1))
            self._db.run("DELETE FROM verdicts WHERE content0 = ? AND content1 = ?", *pair)


class _View(NamedTuple):
    """A folder as it is and as the library remembers it; paths are relative to the root."""

    number: int  # of the root
    root: str
    prefix: bytes  # what paths in this folder begin with
    before: dict[bytes, Any]  # (size, mtime_ns, content)
    found: dict[bytes, tuple[int, int]]  # (size, mtime_ns)
    unlisted: list[UnreadablePhoto]

    def vanished(self) -> list[bytes]:
        """What was there and is not; what lies in a folder that could not be listed may be there still."""
        unknown = tuple(_below(str(folder.path), self.root) + b"/" for folder in self.unlisted)
        return [path for path in self.before if path not in self.found and not path.startswith(unknown)]


def _unknown(view: _View, known: Mapping[str, frozenset[str]], extractors: int, taken: set[str]) -> Iterator[bytes]:
    """Files to be read, in order; of those whose content merely lacks something, one."""
    for path in sorted(view.found):
        *stamp, content = view.before.get(path, (None, None, None))
        if content is None or tuple(stamp) != view.found[path]:
            yield path
        elif (content not in known or len(known[content]) < extractors) and content not in taken:
            taken.add(content)
            yield path


def _outermost(roots: Iterable[str | Path]) -> list[str]:
    """Their real paths, without those that lie in others."""
    outermost: list[str] = []
    for root in roots:
        if not os.path.isdir(root):  # noqa: PTH112
            raise SameSpaceError(f"{root} is not a folder: give the folder that holds the photos")
    for folder in sorted({os.path.realpath(root) for root in roots}, key=len):
        if not any(_inside(folder, wider) for wider in outermost):
            outermost.append(folder)
    return sorted(outermost)


def refuse_own_folders(folders: Iterable[str | Path]) -> None:
    """A library's own folder holds what was removed: that is to come back, or to go, not to be scanned."""
    for folder in map(Path, folders):
        for above in (folder, *folder.parents):
            if (above / DATABASE).is_file():
                raise SameSpaceError(f"{folder} lies in the library {above}: scan the folder that holds the photos")


def _inside(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


def _below(path: str, folder: str) -> bytes:
    return os.fsencode(os.path.relpath(path, folder))


def _stamp(entry: os.DirEntry[str], follow_links: bool) -> tuple[int, int]:
    try:
        status = entry.stat(follow_symlinks=follow_links)
    except OSError:
        return -1, -1  # no file has these: reading it will say what is wrong
    return status.st_size, status.st_mtime_ns


def _under_one_name(walks: Sequence[Walk]) -> list[Walk]:
    """Without what links lead to if it is listed by its own name, and of several links to a file only the first.

    They would pass for its duplicates, and it might be removed in favour of a link to it. Hard links stay.
    """
    folders: dict[str, bool] = {}
    own = {id(entry): _is_own_name(entry, folders) for found in walks for entry in found.files}
    listed = {_identity(entry) for found in walks for entry in found.files if own[id(entry)]}
    chosen = []
    for found in walks:
        kept = []
        for entry in sorted(found.files, key=lambda entry: os.fsencode(entry.path)):
            if own[id(entry)] or _identity(entry) not in listed:
                listed.add(_identity(entry))
                kept.append(entry)
        chosen.append(Walk(kept, found.unlisted))
    return chosen


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


def _check(batch: Batch) -> None:
    """A batch comes from elsewhere: it may name nothing but files below the root and folders of features."""
    for name in [*batch.features, *(name for rows in batch.features.values() for name in rows.fields)]:
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise SameSpaceError(f"the batch has features named {name!r}: import one that samespace has written")
    for file in batch.files:
        if file.path.startswith(b"/") or b".." in file.path.split(b"/"):
            raise SameSpaceError(f"the batch names {file.path!r}, which lies elsewhere: import it for the right folder")
    for fingerprint, rows in batch.features.items():
        if any(len(values) != len(rows.contents) for values in rows.fields.values()):
            raise SameSpaceError(f"the batch's features {fingerprint} are incomplete: import it from an undamaged file")


def _is_here(folder: str, file: File) -> bool:
    path = os.path.join(os.fsencode(folder), file.path)  # noqa: PTH118 - pathlib has no bytes
    try:
        return file.reason is None and os.stat(path).st_size == file.size  # noqa: PTH116
    except OSError:
        return False


def _details(photo: Photo) -> Details | None:
    try:
        look = details(photo.path)
        status = photo.path.stat()
    except (OSError, UnreadablePhoto):
        return None
    return look if (status.st_size, status.st_mtime_ns) == (photo.size, photo.mtime_ns) else None


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def _unsigned(number: int) -> int:
    return number & (2**64 - 1)
