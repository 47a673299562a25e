"""A library remembers what it was told, and refuses what it cannot use."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from samespace.base import photos
from samespace.base.errors import SameSpaceError
from samespace.base.photos import Details
from samespace.library import library as library_module
from samespace.library import read_photos, sqlite
from samespace.library.library import FOLDER, Library
from samespace.library.scan import scan
from tests.library.conftest import (
    Mean,
    draw,
    names,
    opened,
    state,
)


def test_photos_are_sorted_by_the_bytes_of_their_paths(root: Path) -> None:
    draw(root / "b-side.jpg", 5)
    draw(root / "é.jpg", 6)
    library = opened(root)
    scan(library, [root])
    assert names(library) == ["a.jpg", "b-side.jpg", "b/1.png", "b/2.jpg", "b/c/deep.jpg", "z.webp", "é.jpg"]


@pytest.mark.parametrize("value", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_hash_comes_back_with_all_its_bits(root: Path, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_photos, "perceptual_hash", lambda photo: np.uint64(value))
    library = opened(root)
    scan(library, [root])
    assert {photo.hash for photo in library.photos()} == {value}


# Its own files


def test_a_library_keeps_its_id(root: Path, tmp_path: Path) -> None:
    assert opened(root).id == opened(root).id == Library(root / FOLDER).id
    assert Library(tmp_path / "other", create=True).id != opened(root).id


def test_a_missing_library_is_not_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(SameSpaceError, match=r"no library at .*\.samespace: `samespace scan` makes one"):
        Library(tmp_path / FOLDER)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_library_is_not_the_library_but_names_it(root: Path) -> None:
    library = opened(root)
    with pytest.raises(SameSpaceError, match=f"^no library at {root}: give {library.folder}$"):
        Library(root)


def test_a_damaged_database_is_one_sentence(root: Path) -> None:
    library = opened(root)
    scan(library, [root])
    library.close()
    file = root / FOLDER / "library.sqlite"
    content = bytearray(file.read_bytes())
    for start in range(4096, len(content), 4096):  # every page but the first
        content[start : start + 64] = b"\xff" * 64
    file.write_bytes(content)
    with pytest.raises(SameSpaceError, match=r"library\.sqlite is damaged \(.*\): move it away, and scan again"):
        scan(Library(root / FOLDER), [root])
    file.write_bytes(b"this is no database, though it is long enough to be taken for one" * 99)
    with pytest.raises(SameSpaceError, match=r"library\.sqlite is damaged \(file is not a database\)"):
        Library(root / FOLDER)


def test_a_zeroed_sector_is_one_sentence_if_it_matters(root: Path) -> None:
    library = opened(root)
    scan(library, [root])
    library.add_verdict("a", "b", same=True)
    library.close()
    whole = (root / FOLDER / "library.sqlite").read_bytes()
    said = []
    for at in range(0, len(whole), 512):
        (root / FOLDER / "library.sqlite").write_bytes(whole[:at] + bytes(512) + whole[at + 512 :])
        try:
            library = Library(root / FOLDER)
            assert (library.roots, len(library.id)) == ([root], 32)
            library.verdicts()
            library.close()
        except SameSpaceError as error:
            said.append(str(error))
    assert len(said) > 5
    assert all("library.sqlite is damaged (" in words or "is not a library" in words for words in said)


def test_where_no_library_can_be_made_another_place_is_suggested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(
            SameSpaceError, match=r"cannot make a library at .* \(Read-only file system\): give --library"
        ):
            Library(tmp_path / FOLDER, create=True)
    (tmp_path / "file").touch()
    with pytest.raises(SameSpaceError, match=r"cannot make a library at .*: give --library PATH"):
        Library(tmp_path / "file" / FOLDER, create=True)


def test_a_library_that_cannot_be_written_can_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = opened(root)
    scan(library, [root], [Mean()])
    expected = state(library)
    library.close()
    before = sorted((root / FOLDER).rglob("*"))
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    library = Library(root / FOLDER)
    assert state(library) == expected
    assert library.details(library.photos())[0].sharpness > 0
    assert sorted((root / FOLDER).rglob("*")) == before
    with pytest.raises(SameSpaceError, match=r"library\.sqlite cannot be used: attempt to write a readonly database"):
        library.add_verdict("a", "b", True)
    monkeypatch.setattr(FileLock, "acquire", lambda *_, **__: os.open("/proc/none", os.O_CREAT))
    with pytest.raises(SameSpaceError, match=r"cannot be written \(.*\): make it writable, or give --library"):
        scan(library, [root])


# Details and verdicts


def test_details_are_asked_of_a_photo_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = opened(root)
    shutil.copyfile(root / "a.jpg", root / "copy.jpg")
    scan(library, [root])
    known = library.photos()
    asked: list[Path] = []

    def counted(path: Path) -> Details:
        asked.append(path)
        return photos.details(path)

    monkeypatch.setattr(library_module, "details", counted)
    first = library.details(known[::-1])[::-1]
    assert first == [photos.details(photo.path) for photo in known]
    assert opened(root).details(known) == first
    assert len(asked) == 5


def test_details_of_what_is_not_as_it_was_equal_nothing_else(root: Path) -> None:
    library = opened(root)
    scan(library, [root])
    known = library.photos()
    draw(root / "a.jpg", 77)
    (root / "z.webp").unlink()
    first, *_, last = library.details(known)
    assert (first, last) == (Details(known[0].content, 0.0), Details(known[-1].content, 0.0))
    scan(library, [root])
    assert library.details(library.photos())[0] == photos.details(root / "a.jpg")


def test_verdicts_are_remembered_whatever_their_order(root: Path) -> None:
    library = opened(root)
    library.add_verdict("b", "a", True)
    library.add_verdict("a", "c", False)
    library.add_verdict("a", "b", False)
    assert opened(root).verdicts() == {frozenset("ab"): False, frozenset("ac"): False}
    library.add_verdict("b", "a", True)
    assert library.verdicts()[frozenset("ab")] is True
    with pytest.raises(SameSpaceError, match="a verdict needs two photos"):
        library.add_verdict("a", "a", True)


def test_a_verdict_is_forgotten_whatever_the_order(root: Path) -> None:
    library = opened(root)
    library.add_verdict("a", "b", True)
    library.add_verdict("a", "c", False)
    library.forget_verdict("b", "a")
    library.forget_verdict("b", "c")
    assert opened(root).verdicts() == {frozenset("ac"): False}


def test_verdicts_outlive_their_photos(root: Path) -> None:
    library = opened(root)
    scan(library, [root])
    contents = [photo.content for photo in library.photos()]
    library.add_verdict(contents[0], contents[1], False)
    (root / "a.jpg").unlink()
    scan(library, [root])
    assert library.verdicts() == {frozenset(contents[:2]): False}


def test_a_library_belongs_to_one_thread(root: Path) -> None:
    library, raised = opened(root), []

    def use() -> None:
        try:
            library.photos()
        except Exception as error:
            raised.append(type(error))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert raised == [sqlite3.ProgrammingError]


def test_notes_are_kept(root: Path) -> None:
    library = opened(root)
    assert library.note("look") is None
    library.write_note("look", "first")
    library.write_note("look", "second")
    assert opened(root).note("look") == "second"
    library.change_note("look", lambda old: f"{old} look")
    assert library.note("look") == "second look"
    assert library.note("id") == library.id


def test_nobody_writes_a_note_that_another_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "PATIENCE", 0)
    one, other = opened(root), opened(root)

    def change(old: str | None) -> str:
        with pytest.raises(SameSpaceError):
            other.write_note("kept", "mine")
        return f"{old} and more"

    one.write_note("kept", "some")
    one.change_note("kept", change)
    assert other.note("kept") == "some and more"


def test_what_is_read_together_is_of_one_moment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan that ends meanwhile is not seen until the reader has finished."""
    monkeypatch.setattr(sqlite, "PATIENCE", 0)
    library, writer = opened(root), opened(root)
    scan(library, [root], [Mean()])
    subtree = library.add_root(root)
    files = [(subtree.number, path) for path in library.files_in(subtree)]
    with library.unchanging():
        before = library.photos()
        with pytest.raises(SameSpaceError, match="locked"):
            writer.forget(files)
        assert library.photos() == before
    writer.forget(files)
    assert library.photos() == []


# Damage


@pytest.mark.parametrize("lost", ["library.sqlite", "verdicts.sqlite"])
def test_verdicts_outlive_either_file_that_holds_them(root: Path, lost: str) -> None:
    """By what the message advises."""
    library = opened(root)
    scan(library, [root])
    one, two, three = (photo.content for photo in library.photos()[:3])
    library.add_verdict(one, two, same=False)
    library.add_verdict(two, three, same=True)
    library.add_verdict(one, three, same=True)
    library.add_verdict(one, two, same=True)
    library.forget_verdict(three, one)
    library.close()
    path = library.folder / lost
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(SameSpaceError, match=f"{lost} is damaged .*: move it away, and scan again"):
        opened(root).verdicts()
    path.rename(path.with_name("away"))
    scan(opened(root), [root])
    said = {frozenset((one, two)): True, frozenset((two, three)): True}
    assert opened(root).verdicts() == said
    other = ({"library.sqlite", "verdicts.sqlite"} - {lost}).pop()
    (library.folder / other).unlink()
    assert opened(root).verdicts() == said


def test_verdicts_that_are_cut_short_are_damaged(root: Path) -> None:
    library = opened(root)
    library.add_verdict("a" * 64, "b" * 64, same=True)
    library.close()
    os.truncate(root / FOLDER / "verdicts.sqlite", 8000)  # SQLite takes the rest for zeros
    for asked in (Library.verdicts, Library.keep_verdicts_twice):
        with pytest.raises(SameSpaceError, match=r"verdicts\.sqlite is damaged \(a verdict is not on two photos\)"):
            asked(opened(root))


def test_verdicts_that_0_1_kept_are_kept_twice_by_the_next_scan(root: Path) -> None:
    library = opened(root)
    library.add_verdict("a", "b", same=True)
    (library.folder / "verdicts.sqlite").unlink()
    library.close()
    scan(opened(root), [root])
    (library.folder / "library.sqlite").unlink()
    assert opened(root).verdicts() == {frozenset("ab"): True}
