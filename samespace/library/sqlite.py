"""A SQLite file of a library: opened with care, changed all at once or not at all, its mishaps told in a sentence."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from samespace.base.errors import SameSpaceError


class Tables(NamedTuple):
    """What a file is to hold."""

    create: str  # statements
    version: int  # raised when a program that knows the one before could not read it
    what: str  # for persons: "library"
    remedy: str  # what to do when it is lost: "scan again"


class Database:
    """One open file. Belongs to the thread that opened it."""

    def __init__(self, file: Path, tables: Tables, writable: bool) -> None:
        """It is made if it is not there; for reading alone unless `writable`.

        A rollback journal, not WAL: WAL needs shared memory, which network drives lack, and a folder it can write even
        to read, which a read-only medium is not. WAL would save fsyncs, but a scan commits about once a second.
        `synchronous = FULL` is what makes a commit outlive a power cut.
        """
        self.file, self._tables = file, tables
        uri = f"{file.as_uri()}?mode={'rwc' if writable else 'ro'}"
        with self.explained():
            self.connection = sqlite3.connect(uri, timeout=60, isolation_level=None, uri=True)
            self.connection.execute("PRAGMA synchronous = FULL")
        self._prepare()

    def _prepare(self) -> None:
        """A new database gets its tables, all at once; one that is not ours or not yet known is refused."""
        tables, (version,) = self._tables, self.query("PRAGMA user_version")[0]
        if version == 0:
            with self.transaction():
                if self.query("PRAGMA user_version")[0][0] == 0:  # nobody else was quicker
                    if self.query("SELECT count(*) FROM sqlite_master")[0][0]:
                        raise SameSpaceError(f"{self.file} is no {tables.what}: move it away, and {tables.remedy}")
                    for statement in _statements(tables.create):
                        self.run(statement)
                    self.run(f"PRAGMA user_version = {tables.version}")
        elif version > tables.version:
            raise SameSpaceError(
                f"{self.file} was made by a newer samespace (its format is {version}, {tables.version} is known here): "
                "update samespace, or give another --library PATH"
            )

    def close(self) -> None:
        self.connection.close()

    def query(self, statement: str, *values: object) -> list[Any]:
        with self.explained():
            return self.connection.execute(statement, values).fetchall()

    def run(self, statement: str, *values: object) -> int:
        """Within a transaction; the number of the row that was inserted last."""
        return int(self.connection.execute(statement, values).lastrowid or 0)

    def run_many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Within a transaction."""
        self.connection.executemany(statement, rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self.explained():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            finally:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """All that is read meanwhile is as it was at one moment."""
        with self.explained():
            self.connection.execute("BEGIN")
            try:
                yield
            finally:
                self.connection.execute("ROLLBACK")

    @contextmanager
    def explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise SameSpaceError(f"{self.file} cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:
                raise  # a mistake in this program, such as a library shared by two threads
            raise SameSpaceError(
                f"{self.file} is damaged ({error}): move it away, and {self._tables.remedy}"
            ) from error


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
