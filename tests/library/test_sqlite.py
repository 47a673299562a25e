"""A library's database outlives a power cut, and leaves alone what it does not know."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from samespace.base.errors import SameSpaceError
from samespace.library.sqlite import Database, Tables

BOOKS = Tables("CREATE TABLE books (title);", version=1, what="library", remedy="scan again")


def test_a_commit_outlives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # other tests wait for no disk
    database = Database(tmp_path / "library.sqlite", BOOKS, writable=True)
    assert database.query("PRAGMA synchronous") == [(2,)]
    assert database.query("PRAGMA journal_mode") == [("delete",)]


def test_a_transaction_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    database = Database(tmp_path / "library.sqlite", BOOKS, writable=True)
    with pytest.raises(ZeroDivisionError), database.transaction():
        database.run("INSERT INTO books VALUES ('half')")
        raise ZeroDivisionError
    with database.transaction():
        database.run_many("INSERT INTO books VALUES (?)", [("whole",)])
    assert database.query("SELECT title FROM books") == [("whole",)]


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    Database(tmp_path / "library.sqlite", BOOKS._replace(version=2), writable=True).close()
    with pytest.raises(SameSpaceError, match=r"made by a newer samespace \(its format is 2, 1 is known here\): update"):
        Database(tmp_path / "library.sqlite", BOOKS, writable=True)


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "library.sqlite") as db:
        db.execute("CREATE TABLE pens (colour)")
    with pytest.raises(SameSpaceError, match=r"library\.sqlite is not a library: move it away, and scan again"):
        Database(tmp_path / "library.sqlite", BOOKS, writable=True)
    assert [name for (name,) in db.execute("SELECT name FROM sqlite_master")] == ["pens"]


def test_words_that_are_no_text_are_damage(tmp_path: Path) -> None:
    file = tmp_path / "library.sqlite"
    Database(file, BOOKS, writable=True).close()
    file.write_bytes(file.read_bytes().replace(b"TABLE", b"T\xffBLE"))
    with pytest.raises(SameSpaceError, match=r"library\.sqlite is damaged \(its text is none\): move it away"):
        Database(file, BOOKS, writable=True)


def test_a_full_disk_is_told_with_the_way_out(tmp_path: Path) -> None:
    database = Database(tmp_path / "library.sqlite", BOOKS, writable=True)
    database.query("PRAGMA max_page_count = 2")
    with (
        pytest.raises(SameSpaceError, match=r"no room for .*library\.sqlite: free some, and run it again"),
        database.transaction(),
    ):
        database.run("INSERT INTO books VALUES (?)", "x" * 99999)
    assert database.query("SELECT title FROM books") == []
