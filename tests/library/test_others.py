"""A library remembers the videos and RAW files that a scan passes over; older ones do so from their next scan."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from samespace.library.library import FOLDER, Library
from samespace.library.scan import Scan, scan
from tests.conftest import ROOT
from tests.duplicates.conftest import write


@pytest.fixture
def album(root: Path) -> Path:
    write(root / "film.mov", b"film")
    write(root / "b" / "raw.NEF", b"raw!")
    return root


def scanned(folder: Path, library: Path) -> Scan:
    found = scan(Library(library, create=True), [folder])
    assert found.photos
    return found


def known(library: Path) -> dict[str, str | None]:
    return {file.path.name: file.content for file in Library(library).others()}


def test_they_are_counted_and_are_no_photos(album: Path) -> None:
    found = scanned(album, album / FOLDER)
    assert (found.photos, found.new, found.not_compared) == (5, 5, {"MOV": 1, "NEF": 1})
    assert [file.path for file in Library(album / FOLDER).others()] == [album / "b" / "raw.NEF", album / "film.mov"]
    assert scan(Library(album / FOLDER), [album], extensions=["png"]).not_compared == {"MOV": 1, "NEF": 1}


def test_what_is_gone_is_forgotten_and_what_cannot_be_listed_is_not(album: Path) -> None:
    scanned(album, album / FOLDER)
    (album / "film.mov").unlink()
    scanned(album / "b", album / FOLDER)
    assert known(album / FOLDER).keys() == {"raw.NEF", "film.mov"}  # another folder was scanned
    (album / "b").chmod(0)
    try:
        if not os.access(album / "b", os.R_OK):
            scanned(album, album / FOLDER)
            assert known(album / FOLDER).keys() == {"raw.NEF"}
    finally:
        (album / "b").chmod(0o755)


def test_hashes_are_kept_until_a_file_changes(album: Path) -> None:
    scanned(album, album / FOLDER)
    library = Library(album / FOLDER)
    _, film = library.others()
    content = library.other_files.contents([film])
    assert known(album / FOLDER) == {"raw.NEF": None, "film.mov": content[0]}
    (album / "film.jpg").write_bytes((album / "a.jpg").read_bytes())
    scanned(album, album / FOLDER)
    assert known(album / FOLDER)["film.mov"] == content[0]
    assert [file.has_partner for file in Library(album / FOLDER).others()] == [False, True]
    write(album / "film.mov", b"gilm", mtime_ns=7)
    assert library.other_files.contents([film._replace(content=None)]) == [None]  # not what was scanned
    scanned(album, album / FOLDER)
    assert known(album / FOLDER)["film.mov"] is None


def test_a_wider_root_takes_them_over(album: Path, tmp_path: Path) -> None:
    scanned(album / "b", tmp_path / "library")
    library = Library(tmp_path / "library")
    contents = library.other_files.contents(library.others())
    scanned(album, tmp_path / "library")
    assert known(tmp_path / "library") == {"film.mov": None, "raw.NEF": contents[0]}


def test_a_library_of_0_1_knows_none_until_it_is_scanned(tmp_path: Path) -> None:
    with tarfile.open(ROOT / "tests" / "written_by_0_1" / "everything.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    write(tmp_path / "album" / "film.mov", b"film")
    assert known(tmp_path / "album" / FOLDER) == {}
    scanned(tmp_path / "album", tmp_path / "album" / FOLDER)
    assert known(tmp_path / "album" / FOLDER) == {"film.mov": None}


@pytest.mark.parametrize("partner", ["film.jpg", "FILM.png", "film.xmp", "film.mov.xmp", "film.aae"])
def test_partners_are_known_by_their_names(album: Path, partner: str) -> None:
    write(album / partner, b"no photo, and a partner all the same")
    write(album / "b" / partner.replace("film", "raw 2"), b"of nothing")
    scanned(album, album / FOLDER)
    assert [file.has_partner for file in Library(album / FOLDER).others()] == [False, True]
