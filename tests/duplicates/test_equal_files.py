"""Videos among themselves, and RAW files, are exact duplicates by equal bytes, and are removed as photos are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from samespace.base import files
from samespace.duplicates.apply import apply
from samespace.duplicates.find import find_duplicates
from samespace.duplicates.group import DedupeOptions, Duplicates
from samespace.duplicates.plan import make_plan
from samespace.duplicates.quarantine import delete_runs, runs
from samespace.duplicates.undo import undo
from samespace.library import others
from samespace.library.library import FOLDER, Library
from samespace.library.scan import scan
from samespace.search.same_shot import Sketches
from tests.duplicates.conftest import snapshot, write
from tests.library.conftest import draw

FILM, OTHER_FILM, RAW = b"film" * 500, b"flim" * 500, b"raw" * 400


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Two photos, three copies of a film and another as long, two copies of a RAW file and one that stands alone."""
    album = tmp_path / "album"
    draw(album / "a.jpg", 1)
    draw(album / "b.jpg", 2)
    for name in ("trip/film.MOV", "old/film copy.mov", "film.mp4"):
        write(album / name, FILM)
    write(album / "other.mov", OTHER_FILM)
    for name in ("DSC_1.NEF", "card/DSC_1.NEF"):
        write(album / name, RAW)
    write(album / "alone.CR2", b"alone")
    return album


def search(*folders: Path, **options: object) -> Duplicates:
    libraries = [Library(folder / FOLDER, create=True) for folder in folders]
    for library, folder in zip(libraries, folders, strict=True):
        scan(library, [folder], [Sketches()])
    found = find_duplicates(libraries, folders, DedupeOptions(**options))  # type: ignore[arg-type]
    for library in libraries:
        library.close()
    return found


def names(found: Duplicates, album: Path) -> list[list[str]]:
    return [[str(member.photo.path.relative_to(album)) for member in group.members] for group in found.groups]


@pytest.mark.parametrize("kind", ["exact", "near"])
def test_equal_bytes_are_found(album: Path, kind: str) -> None:
    found = search(album, kind=kind)
    assert names(found, album) == [["film.mp4", "old/film copy.mov", "trip/film.MOV"], ["DSC_1.NEF", "card/DSC_1.NEF"]]
    assert (found.photos, found.duplicates, found.bytes_freed) == (2, 3, 2 * len(FILM) + len(RAW))
    assert {group.kind for group in found.groups} == {"exact"}
    assert found.groups[1].members[1].why == "same bytes, later by name"
    assert found.not_compared == {"CR2": 1, "MOV": 3, "MP4": 1, "NEF": 2}


def test_only_files_as_large_as_another_are_read_and_once(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def note(file: files.BinaryIO) -> str:
        read.append(Path(file.name).name)
        return files.hash_of(file)

    monkeypatch.setattr(others, "hash_of", note)
    first = search(album)
    assert sorted(read) == ["DSC_1.NEF", "DSC_1.NEF", "film copy.mov", "film.MOV", "film.mp4", "other.mov"]
    read.clear()
    assert search(album) == first
    assert read == []
    write(album / "other.mov", FILM, mtime_ns=5)
    assert len(search(album).groups[0].members) == 4
    assert read == ["other.mov"]
    (album / "alone.CR2").rename(album / "card/other.CR2")
    write(album / "again.CR2", b"alone")
    assert ["again.CR2", "card/other.CR2"] in names(search(album), album)


def test_rules_for_what_is_kept_hold(album: Path) -> None:
    os.utime(album / "trip/film.MOV", ns=(1, 1))
    assert names(search(album, keep="oldest"), album)[0][0] == "trip/film.MOV"
    assert names(search(album, prefer=(album / "old",)), album)[0][0] == "old/film copy.mov"
    guarded = search(album, reference=(album / "trip", album / "old"))
    assert [member.keep for member in guarded.groups[0].members] == [True, False, True]
    assert guarded.groups[0].members[0].why == "in a protected folder"


def test_other_folders_have_libraries_of_their_own(album: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    write(backup / "alone.CR2", b"alone")
    found = search(album, backup, against=(backup,))
    assert [[member.photo.path for member in group.members] for group in found.groups] == [
        [backup / "alone.CR2", album / "alone.CR2"]
    ]


def test_partners_of_photos_empty_files_and_hard_links_are_no_duplicates(album: Path) -> None:
    for folder in ("one", "two"):
        draw(album / folder / "IMG_1.heic.jpg", 5)
        shutil.copy(album / "a.jpg", album / folder / "img_7.JPG")
        write(album / folder / "IMG_7.mov", b"live")
        write(album / folder / "IMG_7.DNG", b"raw of it")
        write(album / folder / "empty.mp4", b"")
    (album / "other link.mov").hardlink_to(album / "other.mov")
    found = search(album, kind="exact")
    assert not [name for group in names(found, album) for name in group if name.endswith((".DNG", "7.mov", ".mp4"))][1:]
    assert not any("other" in name for group in names(found, album) for name in group)


def test_apply_and_undo_take_them_like_photos(album: Path) -> None:
    before = snapshot(album)
    found = search(album)
    library = Library(album / FOLDER)
    plan = make_plan(found, [library])
    assert apply(plan, dry_run=True).photos == 3
    assert apply(plan).photos == 3
    assert not (album / "trip/film.MOV").exists()
    (run,) = runs(library.folder)
    undo(run.folder)
    assert snapshot(album) == before
    write(album / "trip/film.MOV", OTHER_FILM)  # as large, but not the film
    assert [skipped.path.name for skipped in apply(plan).skipped] == ["film.MOV"]


def test_the_last_copy_of_a_film_is_not_deleted(album: Path) -> None:
    plan = make_plan(search(album), [Library(album / FOLDER)])
    apply(plan)
    (album / "film.mp4").unlink()
    deleted = delete_runs(runs(album / FOLDER))
    assert sorted(skipped.path.name for skipped in deleted.skipped) == ["film copy.mov", "film.MOV"]


def test_the_last_copies_may_go_if_the_kept_one_has_only_moved(album: Path) -> None:
    apply(make_plan(search(album), [Library(album / FOLDER)]))
    (album / "film.mp4").rename(album / "trip/renamed.mp4")
    write(album / "another.mp4", b"x" * len(FILM))
    search(album)
    assert not delete_runs(runs(album / FOLDER)).skipped


def test_links_that_are_followed_are_no_copies(album: Path) -> None:
    (album / "link.mov").symlink_to(album / "trip/film.MOV")
    library = Library(album / FOLDER, create=True)
    scan(library, [album], [Sketches()], follow_links=True)
    assert not any(file.path.name == "link.mov" for file in library.others())
