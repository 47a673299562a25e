"""The files that belong to a photo are known by the names in its folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from samespace.base.partners import RAW, Partners, going, labels, photos_by_partner


@pytest.mark.parametrize(
    ("photo", "partner"),
    [
        *(("IMG_1.JPG", f"IMG_1{kind}") for kind in sorted(RAW)),
        ("IMG_1.jpg", "IMG_1.CR2"),
        ("IMG_1.HEIC", "IMG_1.mov"),
        ("IMG_1.jpg", "IMG_1.MP4"),
        ("PXL_1.MP.jpg", "PXL_1.MP"),
        ("PXL_1.jpg", "PXL_1.MP"),
        ("IMG_1.JPG", "IMG_1.xmp"),
        ("IMG_1.JPG", "IMG_1.AAE"),
        ("IMG_1.JPG", "IMG_1.THM"),
        ("IMG_1.JPG", "IMG_1.json"),
        ("IMG_1.JPG", "IMG_1.JPG.xmp"),
        ("IMG_1.JPG", "IMG_1.jpg.json"),
        ("IMG_1.jpg", "IMG_1.jpg.supplemental-metadata.json"),
        ("IMG_1(1).jpg", "IMG_1.jpg(1).json"),
        ("IMG_1(1).jpg", "IMG_1.jpg.supplemental-metadata(1).json"),
        ("a name of 31 letters, all told.jpg", "a name of 31 letters, all told.jpg.supplementa.json"),
        (
            "a name so long that Google cuts it before its kind.jpg",
            "a name so long that Google cuts it before its .json",
        ),
        ("IMG_E1234.JPG", "IMG_O1234.AAE"),
        ("IMG_1.JPG", "IMG_1.CR2.xmp"),
        ("IMG_1.HEIC", "IMG_1.MOV.json"),
    ],
)
def test_a_partner_is_known_by_its_name(photo: str, partner: str) -> None:
    assert photos_by_partner([photo, partner, "other.jpg"]) == {partner: (photo,)}


@pytest.mark.parametrize(
    "stranger",
    [
        "IMG_2.CR2",
        "IMG_1.txt",
        "IMG_1.png",
        "IMG_1.psd",
        "IMG_1 (1).xmp",
        "IMG_1.jpg(1).json",
        "img.json",
        "IMG_10.MOV",
    ],
)
def test_other_files_are_nobodys_partners(stranger: str) -> None:
    assert photos_by_partner(["IMG_1.jpg", stranger]) == {}


def test_a_sidecar_with_a_whole_name_belongs_to_that_photo_alone() -> None:
    names = ["IMG_1.HEIC", "IMG_1.JPG", "IMG_1.JPG.xmp", "IMG_1.heic.json", "IMG_1.xmp", "IMG_1.MOV"]
    assert photos_by_partner(names) == {
        "IMG_1.JPG.xmp": ("IMG_1.JPG",),
        "IMG_1.heic.json": ("IMG_1.HEIC",),
        "IMG_1.xmp": ("IMG_1.HEIC", "IMG_1.JPG"),
        "IMG_1.MOV": ("IMG_1.HEIC", "IMG_1.JPG"),
    }


def test_the_number_of_a_copy_tells_its_json_from_that_of_the_first() -> None:
    names = ["IMG_1.jpg", "IMG_1(1).jpg", "IMG_1.jpg.json", "IMG_1.jpg(1).json"]
    assert photos_by_partner(names) == {"IMG_1.jpg.json": ("IMG_1.jpg",), "IMG_1.jpg(1).json": ("IMG_1(1).jpg",)}


def test_partners_lie_in_the_same_folder_and_are_no_links(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.CR2", "a.xmp", "a.mov", ".a.xmp", "sub/a.NEF", "sub/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "a.json").symlink_to(tmp_path / "a.xmp")
    (tmp_path / "a.thm").mkdir()
    found = Partners().of(tmp_path / "a.jpg")
    assert [partner.path.name for partner in found] == ["a.CR2", "a.mov", "a.xmp"]
    assert labels(found) == "CR2, MOV, XMP"
    assert [partner.is_picture for partner in found] == [True, True, False]
    assert (found[0].size, found[0].mtime_ns) == (5, (tmp_path / "a.CR2").stat().st_mtime_ns)
    assert Partners().of(tmp_path / "gone" / "a.jpg") == ()


def test_a_folder_is_listed_once_and_only_partners_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        (tmp_path / f"{number}.jpg").touch()
        (tmp_path / f"{number}.CR2").touch()
    listed, asked, scandir, lstat = [], [], os.scandir, Path.lstat
    monkeypatch.setattr(os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
    monkeypatch.setattr(Path, "lstat", lambda path: asked.append(path) or lstat(path))
    partners = Partners()
    for number in (1, 2, 1):
        assert partners.of(tmp_path / f"{number}.jpg")
    assert (listed, asked) == ([tmp_path], [tmp_path / "1.CR2", tmp_path / "2.CR2"])


def test_a_partner_goes_with_the_last_of_its_photos(tmp_path: Path) -> None:
    for name in ("a.heic", "a.jpg", "a.mov", "a.jpg.xmp"):
        (tmp_path / name).touch()
    heic, jpg = tmp_path / "a.heic", tmp_path / "a.jpg"
    partners = Partners()
    both = [*partners.of(heic), *partners.of(jpg)]
    assert [each.path.name for each in going(both, {jpg})] == ["a.jpg.xmp"]
    assert [each.path.name for each in going(both, {heic})] == []
    assert [each.path.name for each in going(both, {heic, jpg})] == ["a.mov", "a.jpg.xmp"]
