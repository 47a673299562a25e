"""A burst is told by times or numbers; two shots by what the camera wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from samespace.duplicates.bursts import are_two_shots, follow_each_other
from samespace.library.library import Photo


def photo(path: Path | str, taken: str | None = None) -> Photo:
    return Photo(Path(path), Path("/"), "", 1, 0, str(path), 1, 1, taken, 0)


def shot(path: Path, taken: str, camera: bool = True, fraction: str = "") -> Photo:
    exif = Image.Exif()
    if camera:
        exif[0x010F] = "Maker"
    exif.get_ifd(0x8769)[0x9003] = taken.replace("-", ":") if camera else ""
    exif.get_ifd(0x8769)[0x9291] = fraction
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    return photo(path, taken)


NOON = "2024-05-01 12:00:0"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (photo("/a.jpg", NOON + "0"), photo("/b.jpg", NOON + "5"), True),
        (photo("/a.jpg", NOON + "0"), photo("/b.jpg", NOON + "6"), False),
        (photo("/IMG_1.jpg", NOON + "0"), photo("/IMG_2.jpg", NOON + "6"), False),
        (photo("/IMG_0009.jpg"), photo("/IMG_0010.jpg"), True),
        (photo("/IMG_0009.jpg", NOON + "0"), photo("/IMG_0010.jpg"), True),  # one has lost its date
        (photo("/IMG_0009.jpg"), photo("/IMG_0011.jpg"), False),
        (photo("/IMG_0009.jpg"), photo("/other/IMG_0010.jpg"), False),
        (photo("/IMG_0009.jpg"), photo("/IMG_0010.png"), False),
        (photo("/left.jpg"), photo("/right.jpg"), False),
        (photo("/left.jpg"), photo("/left0.jpg"), False),
    ],
)
def test_photos_of_a_burst_are_seconds_apart_or_numbered(one: Photo, other: Photo, expected: bool) -> None:
    assert follow_each_other(one, other) is expected
    assert follow_each_other(other, one) is expected


def test_a_camera_takes_no_photo_twice(tmp_path: Path) -> None:
    first, second = shot(tmp_path / "1.jpg", NOON + "0"), shot(tmp_path / "2.jpg", NOON + "1")
    assert are_two_shots(first, second)
    assert not are_two_shots(first, shot(tmp_path / "copy.jpg", NOON + "0"))
    export = shot(tmp_path / "export.jpg", NOON + "7", camera=False)  # whose date may be that of the export
    assert not are_two_shots(first, export)
    assert not are_two_shots(first, export._replace(taken=None))


def test_a_fast_burst_is_told_by_fractions_of_a_second(tmp_path: Path) -> None:
    first, second = (shot(tmp_path / f"{digits}.jpg", NOON + "0", fraction=digits) for digits in ("12", "47"))
    assert are_two_shots(first, second)
    for digits in ("12", "120 ", "", "?"):  # as an editor may write it, or leave it out
        assert not are_two_shots(first, shot(tmp_path / "copy.jpg", NOON + "0", fraction=digits))
