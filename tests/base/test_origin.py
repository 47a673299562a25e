"""A header tells what a camera wrote, and how hard a JPEG was compressed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from samespace.base.origin import UNKNOWN, Origin, origin_of


def exif(
    tags: dict[int, Any] | None = None, inner: dict[int, Any] | None = None, gps: dict[int, Any] | None = None
) -> Image.Exif:
    exif = Image.Exif()
    exif.update({0x0112: 1} | (tags or {}))  # or a PNG would be written without
    exif.get_ifd(0x8769).update(inner or {})
    exif.get_ifd(0x8825).update(gps or {})
    whole = Image.Exif()
    whole.load(exif.tobytes())  # or a TIFF would be written without its folders
    return whole


MAKE, DATE, LENS = {0x010F: "Canon"}, {0x9003: "2023:05:01 12:30:00"}, {0xA434: "RF24-105mm"}
PLACE = {1: "N", 2: (47.0, 22.0, 12.0), 3: "E", 4: (8.0, 32.0, 30.0)}


def saved(folder: Path, name: str = "photo.jpg", **options: Any) -> Path:
    Image.linear_gradient("L").convert("RGB").save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize(
    ("data", "camera", "extras"),
    [
        (exif(), 0, 0),
        (exif(MAKE), 2, 0),
        (exif({0x0110: "Pixel 8"}), 2, 0),
        (exif({}, DATE), 2, 0),
        (exif({}, LENS), 2, 0),
        (exif(MAKE, DATE | LENS), 4, 0),
        (exif(MAKE, DATE | LENS, PLACE), 4, 1),
        (exif({}, {}, PLACE), 1, 1),
        (exif({0x4746: 5}), 1, 1),
        (exif({0x4746: 5}, {}, PLACE), 1, 2),
        (exif({0x4746: 0}), 0, 0),
        (exif({0x0131: "Adobe Photoshop", 0x0132: "2024:01:01 10:00:00", 0x0112: 6}), 0, 0),
        (exif({0x010F: "  "}, {0x9003: "0000:00:00 00:00:00"}), 0, 0),
    ],
)
def test_camera_data_is_what_no_editor_adds(data: Image.Exif, camera: int, extras: int, tmp_path: Path) -> None:
    for name in ("photo.jpg", "photo.png", "photo.webp", "photo.tif"):
        found = origin_of(saved(tmp_path, name, exif=data))
        assert (found.camera, found.extras) == (camera, extras), name


@pytest.mark.parametrize("said", ['<rdf xmp:Rating="4"/>', "<rdf><xmp:Rating>4</xmp:Rating></rdf>"])
def test_a_rating_may_be_in_xmp(said: str, tmp_path: Path) -> None:
    assert origin_of(saved(tmp_path, xmp=said.encode())).extras == 1
    assert origin_of(saved(tmp_path, xmp=said.replace("4", "0").encode())).extras == 0


@pytest.mark.parametrize("quality", [30, 50, 75, 90, 95, 100])
def test_quality_is_read_from_the_tables(quality: int, tmp_path: Path) -> None:
    assert origin_of(saved(tmp_path, quality=quality)).quality == pytest.approx(quality, abs=1)
    assert origin_of(saved(tmp_path, quality=quality, progressive=True, subsampling=0)).format == "JPEG"


@pytest.mark.parametrize("name", ["photo.png", "photo.webp", "photo.bmp", "photo.gif", "photo.tif"])
def test_other_formats_have_no_quality(name: str, tmp_path: Path) -> None:
    found = origin_of(saved(tmp_path, name))
    assert (found.camera, found.extras, found.quality) == (0, 0, 0)


def test_a_format_is_told_by_its_content(tmp_path: Path) -> None:
    assert origin_of(saved(tmp_path, "photo.png").rename(tmp_path / "photo.jpg")).format == "PNG"
    assert origin_of(saved(tmp_path, "photo.tif", compression="jpeg")).format == "JPEG in TIFF"
    assert origin_of(saved(tmp_path, "photo.tif", compression="tiff_lzw")).format == "TIFF"


def test_colour_counts_for_more_than_grey_and_a_palette_for_less(tmp_path: Path) -> None:
    colour = Image.radial_gradient("L").convert("RGB")
    deep = colour.convert("I;16")
    pictures = [colour.convert("1"), colour.convert("L"), deep, colour.convert("P"), colour]
    found = []
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
        found.append(origin_of(tmp_path / f"{number}.png").colours)
    cv2.imwrite(str(tmp_path / "deep.png"), np.zeros((8, 8, 3), np.uint16))
    found.append(origin_of(tmp_path / "deep.png").colours)
    assert found == sorted(set(found))


def test_a_colour_profile_is_seen(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name in ("photo.jpg", "photo.png", "photo.webp", "photo.tif"):
        assert origin_of(saved(tmp_path, name, icc_profile=profile)).has_profile, name
        assert not origin_of(saved(tmp_path, name)).has_profile, name


def test_a_png_is_not_decoded_for_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, "photo.png", exif=exif(MAKE))
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", None)
    assert origin_of(path).camera == 2


VIDEO = b"\0\0\0\x18ftypmp42 and so on"


@pytest.mark.parametrize(
    ("xmp", "behind", "expected"),
    [
        (b'<rdf GCamera:MotionPhoto="1"/>', VIDEO, True),
        (b"<GCamera:MicroVideo>1</GCamera:MicroVideo>", VIDEO, True),
        (b"", VIDEO + b"SEFT", True),  # as Samsung ends it
        (b'<rdf GCamera:MotionPhoto="1"/>', b"", False),  # saved again by an editor
        (b'<rdf GCamera:MotionPhoto="0"/>', VIDEO, False),
        (b"", b"SEFT", False),
    ],
)
def test_a_motion_photo_holds_its_video(xmp: bytes, behind: bytes, expected: bool, tmp_path: Path) -> None:
    path = motion_photo(saved(tmp_path), xmp, behind)
    assert origin_of(path).has_video is expected


def motion_photo(photo: Path, xmp: bytes, behind: bytes) -> Path:
    """Write XMP into a JPEG, and something behind its picture."""
    segment = b"http://ns.adobe.com/xap/1.0/\0" + xmp
    content = photo.read_bytes()
    start = content[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment
    photo.write_bytes(start + content[2:] + behind)
    return photo


@pytest.mark.parametrize("content", [b"", b"no photo", b"\xff\xd8\xff\xe1\x00\x10Exif\0\0MM"])
def test_of_a_broken_file_nothing_is_known(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(content)
    assert origin_of(tmp_path / "broken.jpg") == origin_of(tmp_path / "gone.jpg") == UNKNOWN == Origin()


@pytest.mark.parametrize("cut", range(20, 200, 9))
def test_damaged_exif_leaves_the_rest_known(cut: int, tmp_path: Path) -> None:
    whole = exif(MAKE, DATE | LENS, PLACE).tobytes()
    damaged = whole[:cut] + b"\xff" * max(0, len(whole) - cut)
    assert origin_of(saved(tmp_path, exif=damaged, quality=90)).quality == 90
