"""Tell from a photo's header where it comes from: what a camera wrote, its format, how hard it was compressed."""

from __future__ import annotations

import os
import re
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image

from samespace.base.decode import identified, xmp_of

_MAKE, _MODEL, _RATING = 0x010F, 0x0110, 0x4746
_EXIF_FOLDER, _TAKEN, _FRACTION, _LENS = 0x8769, 0x9003, 0x9291, (0xA432, 0xA433, 0xA434)
_GPS_FOLDER, _LATITUDE = 0x8825, 2
_XMP_RATING = re.compile(rb"xmp:Rating\s*(?:=\s*[\"']|>)\s*[1-5]")
_XMP_MOTION = re.compile(rb"(?:MotionPhoto|MicroVideo)\s*(?:=\s*[\"']|>)\s*1")
_SAMSUNG = b"SEFT"  # how the data end that Samsung's cameras add to a photo, a video among them

# The sum of the luminance table that the JPEG standard suggests, which libjpeg calls quality 50.
_STANDARD = 3688

_BITS = {"1": 1, "L": 8, "LA": 8, "P": 8, "PA": 8, "I": 16, "I;16": 16, "I;16B": 16, "F": 32}  # 24 in other modes
_GREY = _BITS.keys() - {"P", "PA"}
_OF_COLOUR = 64


class Origin(NamedTuple):
    """Hold what a header tells; of a file that cannot be read, nothing."""

    camera: int = 0  # 0: nothing; 1: a place or a rating; one more for each of camera, lens and date
    extras: int = 0  # how many of place and rating it has, which people add later as well
    format: str = ""  # Pillow's name, such as JPEG
    quality: int = 0  # of a JPEG, from 1 to 100, by libjpeg's scale; 0 for other formats
    colours: int = 0  # bits that say a pixel, and more if they say its colour
    fraction: float | None = None  # of the second in which it was taken
    has_profile: bool = False  # of colours, without which numbers may mean others
    has_video: bool = False  # behind its picture, as motion photos do
    resaved: bool = False  # format and quality are those of the photo that this one was made of: see `resaved.py`


UNKNOWN = Origin()


def origin_of(path: Path) -> Origin:
    """Return what the header of a photo tells of its origin; its pixels are not decoded.

    What an editor or a messenger writes, such as its own name, is no sign of a camera.
    """
    try:
        with path.open("rb") as file, identified(file) as image:
            return _origin(image)._replace(has_video=_has_video(image, file))
    except Exception:  # as many ways to be damaged as decoders have; the scan says of which photos it is
        return UNKNOWN


def _origin(image: Image.Image) -> Origin:
    # PNG's own method would decode the photo, for EXIF that may follow the pixels.
    exif = Image.Image.getexif(image)
    inner = _folder(exif, _EXIF_FOLDER)
    written = [
        _is_said(exif.get(_MAKE)) or _is_said(exif.get(_MODEL)),
        any(_is_said(inner.get(tag)) for tag in _LENS),
        _is_said(inner.get(_TAKEN)),
    ]
    extras = (_LATITUDE in _folder(exif, _GPS_FOLDER)) + _is_rated(image, exif)
    camera = 1 + sum(written) if extras or any(written) else 0
    return Origin(
        camera,
        extras,
        _format(image),
        _quality(image),
        _colours(image),
        _fraction(inner.get(_FRACTION)),
        has_profile=bool(image.info.get("icc_profile")),
    )


def _folder(exif: Image.Exif, tag: int) -> dict[int, object]:
    try:
        return dict(exif.get_ifd(tag))
    except Exception:  # damaged
        return {}


def _is_said(value: object) -> bool:
    """Return whether a tag holds more than blanks and zeros, as of a clock that was never set."""
    return bool(str(value).strip(" 0:.,()\0")) if value is not None else False


def _fraction(digits: object) -> float | None:
    text = str(digits).strip(" \0")
    return float(f"0.{text}") if text.isascii() and text.isdecimal() else None


def _is_rated(image: Image.Image, exif: Image.Exif) -> bool:
    stars = exif.get(_RATING)
    return (isinstance(stars, int) and stars > 0) or bool(_XMP_RATING.search(xmp_of(image)))


def _has_video(image: Image.Image, file: BinaryIO) -> bool:
    """Return whether a video follows the picture: an editor may leave the words that say so, and drop the video."""
    if not _XMP_MOTION.search(xmp_of(image)):
        file.seek(-len(_SAMSUNG), os.SEEK_END)
        if file.read() != _SAMSUNG:
            return False
    with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return content.find(b"ftyp", 16) > 0  # HEIC begins with the same mark


def _format(image: Image.Image) -> str:
    """Return the format by name; TIFF only if nothing was lost in it."""
    name = image.format or ""
    if name == "TIFF" and "jpeg" in str(image.info.get("compression")):
        return "JPEG in TIFF"
    return "JPEG" if name == "MPO" else name


def _colours(image: Image.Image) -> int:
    """Return how many bits say a pixel, where any colour counts for more than the finest grey."""
    bits = _BITS.get(image.mode, 24)
    if bits == 24 and ";16" in str(getattr(image, "tile", "")):  # which Pillow decodes to 8 bits a channel
        bits = 48
    return bits if image.mode in _GREY else _OF_COLOUR + bits


def _quality(image: Image.Image) -> int:
    """Estimate how hard a JPEG was compressed from its own luminance table; 0 for other formats."""
    tables: dict[int, list[int]] = getattr(image, "quantization", None) or {}
    if not tables:
        return 0
    percent = 100 * sum(tables[min(tables)]) / _STANDARD
    return max(1, round(100 - percent / 2 if percent < 100 else 5000 / percent))
