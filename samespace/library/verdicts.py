"""Keep what people said of pairs of photos: in the library's database, and beside it in case that is damaged."""

from __future__ import annotations

from pathlib import Path

from samespace.base.errors import SameSpaceError
from samespace.library.sqlite import Database, Tables

FILE = "verdicts.sqlite"
TABLE = """
CREATE TABLE verdicts (
    content0 TEXT NOT NULL, content1 TEXT NOT NULL, same INTEGER NOT NULL,
    PRIMARY KEY (content0, content1)
) WITHOUT ROWID;
"""
_TABLES = Tables(TABLE, version=1, what="file of verdicts", remedy="scan again; the library has its verdicts as well")


class Verdicts:
    """The verdicts of a library. Belongs to the thread that opened it."""

    def __init__(self, folder: Path, db: Database, is_writable: bool) -> None:
        self._file, self._db, self._is_writable = folder / FILE, db, is_writable
        self._beside: Database | None = None

    def close(self) -> None:
        if self._beside:
            self._beside.close()

    def all(self) -> dict[frozenset[str], bool]:
        """Return what was said: True for the same, False for different."""
        said: dict[frozenset[str], bool] = {}
        for db in self._both():
            said |= _said(db)
        return said

    def add(self, content0: str, content1: str, same: bool) -> None:
        """Remember what a person said of a pair, in place of what was said of it before."""
        if content0 == content1:
            raise SameSpaceError("a verdict needs two photos, and these have the same bytes: name two that differ")
        self._add({frozenset((content0, content1)): same})

    def forget(self, content0: str, content1: str) -> None:
        """Make the pair unjudged again."""
        for db in self._both():
            with db.transaction():
                pair = sorted((content0, content1))
                db.run("DELETE FROM verdicts WHERE content0 = ? AND content1 = ?", *pair)

    def even_out(self) -> None:
        """Let both places have all verdicts, after either was lost or if they were said to 0.1."""
        said = self.all()
        if said and any(_said(db) != said for db in self._both(make=True)):
            self._add(said)

    def _add(self, said: dict[frozenset[str], bool]) -> None:
        rows = [(*sorted(pair), same) for pair, same in said.items()]
        for db in reversed(self._both(make=True)):  # what is read last is written first
            with db.transaction():
                db.run_many("INSERT OR REPLACE INTO verdicts (content0, content1, same) VALUES (?, ?, ?)", rows)

    def _both(self, make: bool = False) -> list[Database]:
        """Return the library's database, and the file beside it, which counts more; it is not made just to read."""
        if self._beside is None and (self._file.is_file() or (make and self._is_writable)):
            self._beside = Database(self._file, _TABLES, self._is_writable)
        return [self._db, *([self._beside] if self._beside else [])]


def _said(db: Database) -> dict[frozenset[str], bool]:
    said: dict[frozenset[str], bool] = {}
    for content0, content1, same in db.query("SELECT content0, content1, same FROM verdicts"):
        if not isinstance(content0, str) or not isinstance(content1, str) or content0 == content1:
            raise db.damaged("a verdict is not on two photos")
        said[frozenset((content0, content1))] = bool(same)
    return said
