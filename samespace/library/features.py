"""The features that a library keeps: how each photo looks, as numbers on disk.

Each field has a file: rows of one width, no header. The library's database says which row belongs to which content.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from samespace.base import progress
from samespace.base.arrays import Array, Ints, blocks
from samespace.base.errors import SameSpaceError
from samespace.base.files import NO_LINK, sync_folder
from samespace.base.text import count
from samespace.library import checks
from samespace.library.own_folder import PRIVATE
from samespace.library.read_photos import Extractor, Rows, former
from samespace.library.sqlite import Database

Fields = Mapping[str, tuple[tuple[int, ...], str]]  # name → shape and numpy dtype of one photo's
_CHECKED = "checked "  # with a fingerprint, the name of the note that tells how its files were left
BLOCK = 4096  # photos whose features are derived at once


class UnusableFeatures(SameSpaceError):
    """These features are lacking or damaged; `what` says so without the remedy, for whoever knows which scan it is."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: scan again with the same options as before")
        self.what = what


class Kept(Protocol):
    """Features that a library keeps: an extractor's, or derived from them."""

    @property
    def fingerprint(self) -> str:
        """See `Extractor.fingerprint`."""

    @property
    def fields(self) -> Fields:
        """See `Extractor.fields`."""


class _Named(NamedTuple):
    """Features under a name of their own: `Kept`."""

    fingerprint: str
    fields: Fields


class Features:
    """The features of N photos, read from disk on demand."""

    def __init__(self, folder: Path, fields: Fields, rows: Ints):
        self._folder, self.fields = folder, fields
        self.rows = rows  # (N,) where in a field's file each photo's row is

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, name: str, which: slice | npt.NDArray[np.integer[Any]] = slice(None)) -> Array:
        """Return one field of the chosen photos, in memory: (n, *shape)."""
        rows = self.rows[which]
        return np.asarray(self.mapped(name)[rows]) if len(rows) else self._nothing(name)

    def mapped(self, name: str) -> Array:
        """Map a field's whole file, (rows, *shape), with the rows of other photos and of none; read on demand."""
        if not len(self.rows):
            return self._nothing(name)
        shape, dtype = self.fields[name]
        path = self._folder / name
        count = path.stat().st_size // _width(self.fields[name])  # a killed scan may leave part of a row at the end
        return np.memmap(path, dtype, "r", shape=(count, *shape))

    def _nothing(self, name: str) -> Array:
        shape, dtype = self.fields[name]
        return np.empty((0, *shape), dtype)


class FeatureStore:
    """All features of a library, by fingerprint. Whoever changes them holds the library."""

    def __init__(self, folder: Path, db: Database) -> None:
        self._place, self._db = folder, db
        self._stamps: dict[str, str] = {}  # of what was written, and nothing refers to yet
        self._read_as: dict[str, str] = {}  # present fingerprint → the former one that is read in its place

    def folder(self, fingerprint: str) -> Path:
        """Return the folder of these features, where what was made of them may be kept too."""
        source, *suffix = fingerprint.split("-", 1)
        return self._place / "-".join([self._read_as.get(source, source), *suffix])

    def rows(self, kept: Kept) -> dict[str, int]:
        """Return the row of every content that has these features."""
        name = self.folder(kept.fingerprint).name
        rows = self._db.query("SELECT content, row FROM rows WHERE fingerprint = ?", name)
        return {} if self._are_lost(kept.fingerprint, kept.fields) else dict(rows)

    def write(self, fingerprint: str, rows: Rows) -> Ints:
        """Put features on disk, in rows without an owner, and return the numbers of these rows: (N,)."""
        places = self._free_rows(fingerprint, len(rows.contents))
        folder = self.folder(fingerprint)
        try:
            folder.parent.mkdir(mode=PRIVATE, exist_ok=True)
            folder.mkdir(exist_ok=True)
            if len(places):
                for name, values in rows.fields.items():
                    _write_rows(folder / name, np.ascontiguousarray(values), places)
                _write_rows(folder / checks.NAME, checks.checksums(rows.fields), places)
                self._stamps[fingerprint] = checks.stamp(folder, rows.fields)
        except OSError as error:
            raise SameSpaceError(f"{folder} cannot be written: {error.strerror}") from error
        return places

    def refer(self, fingerprint: str, contents: Sequence[str], places: Ints) -> None:
        """Make contents the owners of the rows that `write` gave them; within a transaction."""
        self._db.run_many(
            "INSERT OR IGNORE INTO rows (fingerprint, content, row) VALUES (?, ?, ?)",
            [(fingerprint, *row) for row in zip(contents, places.tolist(), strict=True)],
        )
        if fingerprint in self._stamps:
            self._note(fingerprint, self._stamps.pop(fingerprint))

    def keep(self, fingerprint: str, rows: Rows) -> None:
        """Write features, and make their contents own them."""
        places = self.write(fingerprint, rows)
        with self._db.transaction():
            self.refer(fingerprint, rows.contents, places)

    def forget_lost(self, fingerprint: str, fields: Fields) -> None:
        """Forget features whose file was deleted or cut short, and changed rows, so that they are made again."""
        if self._are_lost(fingerprint, fields):
            with self._db.transaction():
                self._db.run("DELETE FROM rows WHERE fingerprint = ?", fingerprint)
        elif self.have_changed(fingerprint, fields):
            self._forget_changed(fingerprint, fields)

    def have_changed(self, fingerprint: str, fields: Fields) -> bool:
        """Tell whether the files are not as they were left; if so, their rows must be compared with their checksums."""
        noted = self._db.query("SELECT value FROM about WHERE key = ?", _CHECKED + fingerprint)
        try:
            return noted != [(checks.stamp(self.folder(fingerprint), fields),)]
        except OSError:  # nothing was kept yet, or by 0.1, or somebody deleted it
            return bool(self._db.query("SELECT 1 FROM rows WHERE fingerprint = ? LIMIT 1", fingerprint))

    def refuse_changed(self, kept: Kept, rows: Ints) -> None:
        """Refuse to read rows that have changed on the disk."""
        folder = self.folder(kept.fingerprint)
        is_checked = len(rows) and (folder / checks.NAME).is_file()
        if is_checked and self.have_changed(folder.name, kept.fields):
            compared = checks.compared(folder, _widths(kept.fields), rows)
            damaged = sum(int(((has != should) & (should != 0)).sum()) for _, has, should in compared)
            if damaged:
                raise UnusableFeatures(f"the features of {count(damaged, 'photo')} in {folder} are damaged")

    def _forget_changed(self, fingerprint: str, fields: Fields) -> None:
        """Forget rows that have changed, and give a checksum to those that 0.1 wrote without one."""
        folder = self.folder(fingerprint)
        found = self._db.query("SELECT row FROM rows WHERE fingerprint = ? ORDER BY row", fingerprint)
        rows, damaged = np.array([row for (row,) in found], np.int64), []
        for block, has, should in checks.compared(folder, _widths(fields), rows):
            damaged += block[(has != should) & (should != 0)].tolist()
            new = block[should == 0]
            if len(new):
                _write_rows(folder / checks.NAME, has[should == 0], new)
        with self._db.transaction():
            self._db.run_many(
                "DELETE FROM rows WHERE fingerprint = ? AND row = ?", [(fingerprint, row) for row in damaged]
            )
            if len(rows):
                self._note(fingerprint, checks.stamp(folder, fields))

    def _note(self, fingerprint: str, stamp: str) -> None:
        self._db.run("INSERT OR REPLACE INTO about (key, value) VALUES (?, ?)", _CHECKED + fingerprint, stamp)

    def lacking(self, source: Kept, derived: Kept) -> dict[str, int]:
        """Return the row in `source` of every content that has no derived features yet."""
        done = self.rows(derived)
        return {content: row for content, row in self.rows(source).items() if content not in done}

    def derive(self, source: Kept, derived: Kept, work: Callable[[Features], dict[str, Array]]) -> None:
        """Make the derived features that are lacking, and commit them block by block."""
        self.forget_lost(derived.fingerprint, derived.fields)
        lacking = self.lacking(source, derived)
        contents, numbers = list(lacking), np.array(list(lacking.values()), np.int64)
        folder = self.folder(source.fingerprint)
        with progress.bar("preparing", len(contents)) as bar:
            for block in blocks(len(contents), BLOCK):
                rows = Rows(contents[block], work(Features(folder, source.fields, numbers[block])))
                self.keep(derived.fingerprint, rows)
                bar.update(len(rows.contents))

    def drop_derived(self, source: Kept, but: str) -> None:
        """Delete all features derived from these, named `<source>-…`, except one."""
        for folder in self._place.glob(f"{source.fingerprint}-*"):
            if folder.name != but:
                self._drop(folder.name)

    def has_former(self, extractor: Extractor) -> bool:
        """Tell whether anything is kept under a former fingerprint of the extractor."""
        return any(map(self._names, former(extractor)))

    def take_over(self, extractor: Extractor) -> None:
        """Move what is kept under an extractor's former fingerprints to its present one.

        It is copied first and deleted last: a kill at any moment loses nothing, and the next call goes on.
        """
        for name in former(extractor):
            if self._names(name):
                self._take_over(name, extractor)

    def read_as_former(self, extractor: Extractor) -> None:
        """Read an extractor's features under the fingerprint, present or former, that has the most photos."""
        self._read_as.pop(extractor.fingerprint, None)
        kept = {
            name: len(self.rows(_Named(name, extractor.fields))) for name in (extractor.fingerprint, *former(extractor))
        }
        self._read_as[extractor.fingerprint] = max(kept, key=kept.__getitem__)

    def _take_over(self, name: str, extractor: Extractor) -> None:
        old, new = self.folder(name), self.folder(extractor.fingerprint)
        self.derive(_Named(name, extractor.fields), extractor, _as_they_are)
        if old.is_dir():
            new.mkdir(exist_ok=True)
            for path in old.iterdir():  # a compression
                if path.name not in (*extractor.fields, checks.NAME) and not (new / path.name).exists():
                    path.rename(new / path.name)
        there = self._names(extractor.fingerprint)
        for derived in self._names(name) - {name}:
            renamed = extractor.fingerprint + derived.removeprefix(name)
            if renamed not in there and self.folder(derived).is_dir():
                self._rename(derived, renamed)
        for left in self._names(name):
            self._drop(left)

    def _rename(self, name: str, new: str) -> None:
        """Give derived features another name; a kill halfway loses them, and they are derived again."""
        self.folder(name).rename(self.folder(new))
        with self._db.transaction():
            self._db.run("UPDATE rows SET fingerprint = ? WHERE fingerprint = ?", new, name)

    def _drop(self, fingerprint: str) -> None:
        with self._db.transaction():
            self._db.run("DELETE FROM rows WHERE fingerprint = ?", fingerprint)
            self._db.run("DELETE FROM about WHERE key = ?", _CHECKED + fingerprint)
        shutil.rmtree(self.folder(fingerprint), ignore_errors=True)

    def _names(self, fingerprint: str) -> set[str]:
        """Return the fingerprint, and `<fingerprint>-…` of what was derived, if there are rows or a folder."""
        end = f"{fingerprint}."  # "." comes after "-"
        rows = self._db.query(
            "SELECT DISTINCT fingerprint FROM rows WHERE fingerprint >= ? AND fingerprint < ?", fingerprint, end
        )
        folders = self._place.glob(f"{fingerprint}*")
        return {name for (name,) in rows} | {folder.name for folder in folders if folder.name < end}

    def _free_rows(self, fingerprint: str, count: int) -> Ints:
        """Return the first `count` row numbers without an owner."""
        highest, used = self._db.query("SELECT max(row), count(*) FROM rows WHERE fingerprint = ?", fingerprint)[0]
        end = 0 if highest is None else highest + 1
        if used == end:
            return np.arange(end, end + count)
        free = np.ones(end + count, np.bool_)
        free[[row for (row,) in self._db.query("SELECT row FROM rows WHERE fingerprint = ?", fingerprint)]] = False
        return np.flatnonzero(free)[:count]

    def _are_lost(self, fingerprint: str, fields: Fields) -> bool:
        folder = self.folder(fingerprint)
        highest = self._db.query("SELECT max(row) FROM rows WHERE fingerprint = ?", folder.name)[0][0]
        files = [(folder / name, _width(field)) for name, field in fields.items()]
        return highest is not None and any(
            not path.is_file() or path.stat().st_size < (highest + 1) * width for path, width in files
        )


def _write_rows(path: Path, values: Array, places: Ints) -> None:
    """Write rows (n, …) to their places, each run of places that follow each other at once."""
    runs = np.split(np.arange(len(places)), np.flatnonzero(np.diff(places) != 1) + 1)
    new = not path.exists()
    width = values.nbytes // len(values)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0) | NO_LINK, 0o666)
    try:
        for run in runs:
            _write_all(file, values[run].tobytes(), int(places[run[0]]) * width)
        os.fsync(file)
    finally:
        os.close(file)
    if new:
        sync_folder(path.parent)


def _write_all(file: int, content: bytes, offset: int) -> None:
    rest = memoryview(content)
    while rest:
        if sys.platform == "win32":
            os.lseek(file, offset, os.SEEK_SET)
            written = os.write(file, rest)
        else:
            written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written


def _widths(fields: Fields) -> dict[str, int]:
    return {name: _width(field) for name, field in fields.items()}


def _width(field: tuple[tuple[int, ...], str]) -> int:
    """Return the bytes that one photo takes."""
    shape, dtype = field
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


def _as_they_are(features: Features) -> dict[str, Array]:
    return {name: features.take(name) for name in features.fields}
