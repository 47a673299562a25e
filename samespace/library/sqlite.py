"""SQLite files of a library: changed all at once or not at all, and every failure explained in one sentence."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from samespace.base.errors import SameSpaceError

PATIENCE = 60.0  # seconds to wait while another process writes


class Tables(NamedTuple):
    """The tables of a file, and how to speak of it."""

    create: str  # statements
    version: int  # raised when a program that knows the one before could not read it
    what: str  # for people: "library"
    remedy: str  # what to do when it is lost: "scan again"


class Database:
    """One open file. Belongs to the thread that opened it."""

    def __init__(self, file: Path, tables: Tables, writable: bool) -> None:
        """Open the file, for reading alone unless `writable`, and make it if it is not there.

        A rollback journal, not WAL: WAL needs shared memory, which network drives lack, and a folder it can write even
        to read, which a read-only medium is not. WAL would save fsyncs, but a scan commits about once a second.
        `synchronous = FULL` is what makes a commit outlive a power cut.
        """
        self.file, self._tables = file, tables
        uri = f"{file.as_uri()}?mode={'rwc' if writable else 'ro'}"
        with self._explained():
            self.connection = sqlite3.connect(uri, timeout=PATIENCE, isolation_level=None, uri=True)
            self.connection.execute("PRAGMA synchronous = FULL")
        self._prepare()

    def _prepare(self) -> None:
        """Create the tables of a new file, all at once; refuse a file of another program or a newer version."""
        tables, (version,) = self._tables, self.query("PRAGMA user_version")[0]
        if version == 0:
            with self.transaction():
                if self.query("PRAGMA user_version")[0][0] == 0:  # nobody else was quicker
                    if self.query("SELECT count(*) FROM sqlite_master")[0][0]:
                        raise SameSpaceError(f"{self.file} is not a {tables.what}: move it away, and {tables.remedy}")
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
        """Return all rows that a SELECT or PRAGMA finds."""
        with self._explained():
            return self.connection.execute(statement, values).fetchall()

    def run(self, statement: str, *values: object) -> int:
        """Change something, within a transaction, and return the number of the row that was inserted last."""
        return int(self.connection.execute(statement, values).lastrowid or 0)

    def run_many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Change something once for each row of values, within a transaction."""
        self.connection.executemany(statement, rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything that is run meanwhile, or none of it if there is an error."""
        with self._explained():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            finally:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """Let everything that is read meanwhile be as it was at one moment."""
        with self._explained():
            self.connection.execute("BEGIN")
            try:
                yield
            finally:
                self.connection.execute("ROLLBACK")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "full" in str(error):
                raise SameSpaceError(f"no room for {self.file}: free some, and run it again") from error
            raise SameSpaceError(f"{self.file} cannot be used: {error}") from error
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:
                raise  # a mistake in this program, such as a library shared by two threads
            raise self.damaged(str(error)) from error
        except UnicodeDecodeError as error:  # in a message of SQLite itself, which repeats what it found
            raise self.damaged("its text is none") from error

    def damaged(self, how: str) -> SameSpaceError:
        """Return the error for a file in which nobody has written what it holds now."""
        return SameSpaceError(f"{self.file} is damaged ({how}): move it away, and {self._tables.remedy}")

    def check(self, *tables: str) -> None:
        """Refuse tables that lack what every row of them has; this takes as long as reading them."""
        for table in tables:
            found = self.query(f"PRAGMA quick_check({table})")
            if found != [("ok",)]:
                raise self.damaged(found[0][0])


def _statements(script: str) -> Iterator[str]:
    """Split a script into its statements."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
