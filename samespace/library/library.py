"""A photo folder's memory: what each photo is and how it looks, in SQLite and feature files beside the photos."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from samespace.base import progress
from samespace.base.arrays import Array
from samespace.base.find import DATABASE
from samespace.base.photos import Details, UnreadablePhoto, decoders, details, in_threads
from samespace.base.raw_preview import is_raw
from samespace.base.text import count
from samespace.library import verdicts
from samespace.library.features import Features, FeatureStore, Fields, Kept, UnusableFeatures
from samespace.library.lock import Lock
from samespace.library.others import OtherFile, OtherFiles
from samespace.library.own_folder import FOLDER as FOLDER
from samespace.library.own_folder import make_folder, no_library, refuse_links
from samespace.library.read_photos import AT_ONCE, Batch, Extractor, Rows
from samespace.library.roots import Roots
from samespace.library.sqlite import Database, Tables
from samespace.library.subtree import Subtree

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
"""
_TABLES = Tables(
    _CREATE + verdicts.TABLE, version=1, what="library", remedy="scan again, which keeps verdicts and captions"
)


class Photo(NamedTuple):
    """A readable file, as the library knows it."""

    path: Path
    root: Path  # the scanned folder that it lies in
    library: str  # id
    size: int
    mtime_ns: int
    content: str  # SHA-256 of the file's bytes
    width: int  # as a person sees it, upright
    height: int
    taken: str | None  # when, by EXIF: "2023-05-01 12:30:00"
    hash: int  # perceptual hash


class KnownFile(NamedTuple):
    """A file as it was when it was read."""

    size: int
    mtime_ns: int
    content: str | None  # None if it could not be read


class Library:
    """The memory of one photo folder or several. Belongs to the thread that opened it."""

    def __init__(self, folder: Path, create: bool = False) -> None:
        if create:
            make_folder(Path(folder))
        self.folder = Path(os.path.realpath(folder))
        self._file = self.folder / DATABASE
        if not create and not self._file.is_file():
            raise no_library(Path(folder))
        refuse_links(self.folder)
        self._lock = Lock(self.folder)
        file_is_writable = not self._file.exists() or os.access(self._file, os.W_OK)
        self.is_writable = os.access(self.folder, os.W_OK) and file_is_writable
        self._db = Database(self._file, _TABLES, self.is_writable)
        self._db.check("about", "roots")  # the small tables that nothing works without
        self._verdicts = verdicts.Verdicts(self.folder, self._db, self.is_writable)
        self._features = FeatureStore(self.folder / "features", self._db)
        self.other_files = OtherFiles(self._db, self.is_writable)
        self._roots = Roots(self.folder, self._db, self.other_files)
        self.id: str = self._db.query("SELECT value FROM about WHERE key = 'id'")[0][0]

    def close(self) -> None:
        self._db.close()
        self._verdicts.close()

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """Let everything that is read meanwhile be as it was at one moment."""
        with self._db.unchanging():
            yield

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

    # What is known

    @property
    def roots(self) -> list[Path]:
        """Return the folders that were scanned."""
        return sorted(set(self._roots.all().values()))

    def note(self, key: str) -> str | None:
        """Return what was written down under this name."""
        rows = self._db.query("SELECT value FROM about WHERE key = ?", key)
        return rows[0][0] if rows else None

    def write_note(self, key: str, value: str) -> None:
        """Write this down, in place of what was noted under this name before."""
        self.change_note(key, lambda _: value)

    def change_note(self, key: str, change: Callable[[str | None], str]) -> None:
        """Write down what `change` makes of what is noted under this name; nobody else writes in between."""
        with self._db.transaction():
            self._db.run("INSERT OR REPLACE INTO about (key, value) VALUES (?, ?)", key, change(self.note(key)))

    def photos(self) -> list[Photo]:
        """Return all files that can be read, each once, sorted by the bytes of their paths."""
        roots = self._roots.all()
        rows = self._db.query(
            "SELECT root, files.path, size, mtime_ns, content, width, height, taken, hash "
            "FROM files JOIN contents USING (content) JOIN roots USING (root) WHERE contents.reason IS NULL "
            "ORDER BY roots.path DESC"  # as `Roots.all` has them: of roots that a move put in one place the last counts
        )
        starts = {number: os.path.join(os.fsencode(root), b"") for number, root in roots.items()}  # noqa: PTH118
        photos = []
        for whole, (number, _, *facts, hash_) in sorted({starts[row[0]] + row[1]: row for row in rows}.items()):
            place = Path(os.fsdecode(whole)), roots[number], self.id
            photos.append(Photo._make((*place, *facts, hash_ % 2**64)))  # SQLite's numbers are signed
        return photos

    def unreadable(self) -> list[UnreadablePhoto]:
        """Return the files that are no photos or could not be read when last tried, sorted by their paths' bytes.

        RAW files are not among them: one that cannot be seen is another file, as without the extra.
        """
        found = [self.unreadable_in(Subtree(number, root, b"")) for number, root in self._roots.all().items()]
        photos = {os.fsencode(photo.path): photo for some in found for photo in some if not is_raw(photo.path)}
        return [photo for _, photo in sorted(photos.items())]

    def others(self) -> list[OtherFile]:
        """Return the videos and RAW files, sorted by the bytes of their paths."""
        return self.other_files.all(self._roots.all())

    def details(self, photos: Sequence[Photo]) -> list[Details]:
        """Return what only a full decode tells of each photo; decoded when first asked for, then remembered.

        A photo that cannot be decoded in full any more, or has changed since the scan, gets its content for `pixels`,
        so that it equals only files with the same bytes, and no sharpness; that is not remembered.
        """
        rows = self._db.query("SELECT content, pixels, sharpness FROM contents WHERE pixels IS NOT NULL")
        known = {content: Details(*rest) for content, *rest in rows}
        asked = list({photo.content: photo for photo in photos if photo.content not in known}.values())
        reading = progress.over(in_threads(_details, asked), "decoding", len(asked))
        decoded = zip(asked, reading, strict=True)
        while batch := list(islice(decoded, AT_ONCE)):
            found = {photo.content: its_details for photo, its_details in batch if its_details}
            self._remember_details(found)
            known |= {photo.content: Details(photo.content, 0.0) for photo, _ in batch} | found
        return [known[photo.content] for photo in photos]

    def _remember_details(self, found: dict[str, Details]) -> None:
        if self.is_writable:
            with self._db.transaction():
                self._db.run_many(
                    "UPDATE contents SET pixels = ?, sharpness = ? WHERE content = ?",
                    [(*row, content) for content, row in found.items()],
                )

    # Verdicts

    def verdicts(self) -> dict[frozenset[str], bool]:
        """Return what people said of pairs of contents: True for the same, False for different."""
        return self._verdicts.all()

    def add_verdict(self, content0: str, content1: str, same: bool) -> None:
        """Remember what a person said of a pair, in place of what was said of it before."""
        self._verdicts.add(content0, content1, same)

    def forget_verdict(self, content0: str, content1: str) -> None:
        """Make the pair unjudged again."""
        self._verdicts.forget(content0, content1)

    def keep_verdicts_twice(self) -> None:
        """Let the library's database and the file beside it both have all verdicts."""
        self._verdicts.even_out()

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
        missing = [photo.path for photo in photos if photo.content not in row_of]
        if missing:
            raise UnusableFeatures(f"no features yet for {count(len(missing), 'photo')}, the first is {missing[0]}")
        chosen = np.array([row_of[photo.content] for photo in photos], np.int64)
        self._features.refuse_changed(kept, chosen)
        return Features(self.features_folder(kept.fingerprint), kept.fields, chosen)

    def derive(self, source: Kept, derived: Kept, work: Callable[[Features], dict[str, Array]]) -> None:
        """Make features from features, for every content that lacks them; not while somebody else holds the library.

        They are committed block by block, and forgotten when their photos are.
        """
        changed = self.is_writable and self._features.have_changed(derived.fingerprint, derived.fields)
        if not changed and not self._features.lacking(source, derived):
            return
        with self.hold(wait=False) as held:
            if held:
                self._features.derive(source, derived, work)

    def keep(self, kept: Kept, rows: Rows) -> None:
        """Keep features until their photos go; not while somebody else holds the library."""
        with self.hold(wait=False) as held:
            if held:
                self._features.keep(kept.fingerprint, rows)

    def forget_damaged(self, kept: Kept) -> None:
        """Forget features whose files have changed, so that they are found again; no scan looks after them."""
        with self.hold(wait=False) as held:
            if held:
                self._features.forget_lost(kept.fingerprint, kept.fields)

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

    # What a scan needs; the scan holds the library

    def add_root(self, folder: Path) -> Subtree:
        """Return where the library keeps the files of a folder, as a new root unless it lies in a known one.

        Roots never lie in each other: a wider one takes over the narrower, and so it does when a move put them there.
        """
        return self._roots.add(folder)

    def files_in(self, subtree: Subtree) -> dict[bytes, KnownFile]:
        """Return every file known in a scanned folder, by its path below the root."""
        rows = self._db.query("SELECT path, size, mtime_ns, content FROM files WHERE root = ?", subtree.number)
        return {path: KnownFile(*rest) for path, *rest in rows if path.startswith(subtree.prefix)}

    def unreadable_in(self, subtree: Subtree) -> list[UnreadablePhoto]:
        """Return the files in a scanned folder that are no photos or could not be read when last tried."""
        rows = self._db.query(
            "SELECT path, coalesce(files.reason, contents.reason) AS why FROM files LEFT JOIN contents USING (content) "
            "WHERE root = ? AND substr(path, 1, ?) = ? AND why IS NOT NULL ORDER BY path",
            *(subtree.number, len(subtree.prefix), subtree.prefix),
        )
        return [UnreadablePhoto(subtree.root / os.fsdecode(path), reason) for path, reason in rows]

    def count_in(self, subtree: Subtree) -> int:
        """Count the readable files in a scanned folder."""
        rows = self._db.query(
            "SELECT count(*) FROM files JOIN contents USING (content) "
            "WHERE root = ? AND substr(path, 1, ?) = ? AND contents.reason IS NULL",
            *(subtree.number, len(subtree.prefix), subtree.prefix),
        )
        return int(rows[0][0])

    def seen(self, fingerprints: Collection[str]) -> dict[str, frozenset[str]]:
        """Return every known content, and which of these extractors have seen it.

        What is no photo counts as seen by all, until the decoders change.
        """
        everything = frozenset(fingerprints)
        seen = {content: frozenset[str]() for (content,) in self._db.query("SELECT content FROM contents")}
        refused = self._db.query("SELECT content, decoders FROM contents WHERE reason IS NOT NULL")
        present = decoders() if refused else ""  # asking takes longer than all the rest
        for content, refused_by in refused:
            if refused_by == present:
                seen[content] = everything
            else:
                del seen[content]
        shared: dict[frozenset[str], frozenset[str]] = {}  # a million contents need few different sets
        for fingerprint in everything:
            for (content,) in self._db.query("SELECT content FROM rows WHERE fingerprint = ?", fingerprint):
                if content in seen:
                    by = seen[content] | {fingerprint}
                    seen[content] = shared.setdefault(by, by)
        return seen

    def add(self, subtree: Subtree, batch: Batch) -> None:
        """Remember what was read: first the features, to which nothing refers yet, then all the rest at once."""
        places = {name: self._features.write(name, rows) for name, rows in batch.features.items()}
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
                [(subtree.number, *file) for file in batch.files],
            )
            for name, rows in batch.features.items():
                self._features.refer(name, rows.contents, places[name])

    def forget(self, files: Iterable[tuple[int, bytes]]) -> None:
        """Forget files, by their root's number and path, contents that no file has any more, and their features."""
        with self._db.transaction():
            self._db.run_many("DELETE FROM files WHERE root = ? AND path = ?", files)
            self._db.run(
                "DELETE FROM contents WHERE NOT EXISTS (SELECT 1 FROM files WHERE files.content = contents.content)"
            )
            self._db.run("DELETE FROM rows WHERE content NOT IN (SELECT content FROM contents)")

    def forget_lost_features(self, fingerprint: str, fields: Fields) -> None:
        """Forget features whose file was deleted or cut short, so that they are made again."""
        self._features.forget_lost(fingerprint, fields)


def _details(photo: Photo) -> Details | None:
    try:
        found = details(photo.path)
        status = photo.path.stat()
    except (OSError, UnreadablePhoto):
        return None
    return found if (status.st_size, status.st_mtime_ns) == (photo.size, photo.mtime_ns) else None


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number
