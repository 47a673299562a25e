"""Points and their partners are found once, kept in the library, and forgotten with their photos."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from samespace.base.find import find
from samespace.library.library import Library, Photo
from samespace.library.scan import scan
from samespace.model import points
from samespace.model.points import Points
from samespace.search import kept_points
from samespace.search.kept_points import partners_of
from samespace.search.same_shot import Sketches
from tests.conftest import Run

FIRST, SECOND = np.array([0, 0, 1]), np.array([1, 2, 2])


@pytest.fixture
def folder(rooms: Path, tmp_path: Path) -> Path:
    album = tmp_path / "album"
    album.mkdir()
    for path in find(rooms)[:3]:
        shutil.copy(path, album)
    return album


@pytest.fixture
def library(folder: Path, tmp_path: Path) -> Library:
    library = Library(tmp_path / "library", create=True)
    scan(library, [folder], [Sketches()])
    return library


def counted(library: Library) -> list[int]:
    photos: list[tuple[int, Photo]] = [(0, photo) for photo in library.photos()]
    return partners_of([library], photos)(FIRST, SECOND).tolist()


def test_the_second_time_nothing_is_opened_or_compared(
    library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = counted(library)
    assert len(library.rows(Points())) == 3

    def not_again(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(kept_points, "find_points", not_again)
    monkeypatch.setattr(kept_points, "count_partners", not_again)
    assert counted(library) == first


def test_points_of_all_photos_are_found_ahead_if_asked(
    library: Library, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = counted(library)
    shutil.rmtree(library.features_folder(Points.fingerprint))
    library.close()
    for _ in range(2):  # the second time there are none to find
        assert run("scan", folder, "--library", library.folder, "--points")[0] == 0
        again = Library(library.folder)
        assert again.rows(Points()).keys() == {photo.content for photo in again.photos()}
        monkeypatch.setattr(kept_points, "find_points", None)
        assert counted(again) == first
        again.close()


def test_points_that_are_kept_need_no_photo(library: Library, folder: Path) -> None:
    first = counted(library)
    remembered = library.features_folder(Points.fingerprint) / f"{kept_points.PARTNERS.name}.npy"
    remembered.unlink()
    for path in folder.iterdir():
        path.unlink()
    assert counted(library) == first


def test_a_photo_that_has_gone_shares_nothing_and_may_come_back(library: Library, folder: Path) -> None:
    first = sorted(folder.iterdir())[0]
    away = folder.parent / first.name
    first.rename(away)
    assert counted(library)[:2] == [0, 0]
    assert len(library.rows(Points())) == 2
    away.rename(first)
    assert counted(library)[0] > 0, "two shots of one room, by their names"


@pytest.mark.parametrize("left", [0, 100, 2 * points.BYTES + 5])
def test_points_that_are_damaged_are_found_again(library: Library, left: int) -> None:
    first = counted(library)
    folder = library.features_folder(Points.fingerprint)
    (folder / f"{kept_points.PARTNERS.name}.npy").unlink()
    file = folder / "points"
    kept = file.read_bytes()
    file.write_bytes(kept[:left] if left < points.BYTES else kept[:left] + b"other" + kept[left + 5 :])
    assert counted(library) == first
    assert file.read_bytes() == kept


def test_damaged_points_of_a_photo_are_not_read(library: Library) -> None:
    photo = library.photos()[0]
    assert kept_points.kept_points(library, photo) is None
    counted(library)
    points_of_photo = kept_points.kept_points(library, photo)
    assert points_of_photo is not None and (points_of_photo == points.find_points(photo.path)).all()
    file = library.features_folder(Points.fingerprint) / "points"
    file.write_bytes(bytes(byte ^ 1 for byte in file.read_bytes()))
    assert kept_points.kept_points(library, photo) is None


def test_nothing_is_kept_while_somebody_else_holds_the_library(library: Library) -> None:
    with Library(library.folder).hold():
        counted(library)
    assert not library.rows(Points())


def test_a_library_that_cannot_be_written_is_read(library: Library) -> None:
    first = counted(library)
    library.is_writable = False
    assert counted(library) == first


def test_points_are_forgotten_with_their_photo(library: Library, folder: Path) -> None:
    counted(library)
    sorted(folder.iterdir())[0].unlink()
    scan(library, [folder], [Sketches()])
    assert len(library.rows(Points())) == 2


def test_photos_of_two_libraries_are_compared(library: Library, folder: Path, tmp_path: Path) -> None:
    other = Library(tmp_path / "other", create=True)
    scan(other, [folder], [Sketches()])
    photos = library.photos()
    both = partners_of([library, other], [(0, photos[0]), (1, photos[1]), (0, photos[2])])(FIRST, SECOND)
    assert both.tolist() == counted(library)
    assert (len(library.rows(Points())), len(other.rows(Points()))) == (3, 1)
