"""Read what a photo knows of itself: EXIF, IPTC and XMP in the file, and the XMP sidecars beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any

from PIL import Image, IptcImagePlugin

from samespace.base import progress
from samespace.base.decode import decoded, identified, xmp_of
from samespace.base.metadata import NOTHING, Metadata, as_date, as_place, clean, only_in, united
from samespace.base.photos import EXTENSIONS, in_threads
from samespace.base.xmp import MOST, read_xmp

_CAPTION, _RATING, _XP_TITLE, _XP_KEYWORDS = 0x010E, 0x4746, 0x9C9B, 0x9C9E
_EXIF_FOLDER, _TAKEN, _ZONE = 0x8769, 0x9003, 0x9011
_GPS_FOLDER = 0x8825
_COMMENT = 0x9286
_SET_BY_CAMERA = re.compile(r"(.* )?digital camera|sony dsc|dcim|untitled", re.IGNORECASE)  # a caption by nobody
# Comments by nobody: phones note filters and data there, and programs themselves.
_SET_BY_PROGRAM = re.compile(
    r"screenshot|ascii|oppo_\d+|hisilicon.*|filter:.*|created with .*|[{<].*", re.I | re.DOTALL
)


def known_of(photo: Path) -> Metadata:
    """Return what a photo and its sidecars say: these first, as people edit them. What is damaged says nothing."""
    return united([*(_of_sidecar(path) for path in sidecar_names(photo)), embedded_in(photo)])


def known_of_each(photos: Sequence[Path]) -> dict[Path, Metadata]:
    """Return what each of these photos and its sidecars say."""
    reading = progress.over(in_threads(known_of, photos), "metadata", len(photos))
    return dict(zip(photos, reading, strict=True))


def sidecar_names(photo: Path) -> tuple[Path, ...]:
    """Return what a photo's sidecar may be called, the name first that is no other photo's."""
    names = [photo.name, photo.stem]
    if photo.stem.lower().endswith(EXTENSIONS):  # 1.jpg.xmp belongs to 1.jpg, and goes with that, not with 1.jpg.png
        names.pop()
    return tuple(photo.with_name(name + end) for name in names for end in (".xmp", ".XMP"))


def _of_sidecar(path: Path) -> Metadata:
    try:
        with path.open("rb") as file:
            return read_xmp(file.read(MOST + 1))
    except OSError:
        return NOTHING


def embedded_in(photo: Path) -> Metadata:
    """Return what a photo's own file says; its pixels are decoded only if notes may follow them, in PNG."""
    try:
        status = photo.stat()
        return _embedded(photo, status.st_size, status.st_mtime_ns)
    except Exception:  # as many ways to be damaged as decoders have; the scan says of which photos it is
        return NOTHING


@lru_cache(maxsize=4096)  # a page asks again and again
def _embedded(photo: Path, size: int, mtime_ns: int) -> Metadata:
    with photo.open("rb") as file, identified(file) as image:
        if image.format == "PNG" and "xmp" not in image.info:
            with suppress(Exception), decoded(image):
                pass
        return united([_safely(read, image) for read in (_xmp, _exif, _iptc, _png)])


def _safely(read: Callable[[Image.Image], Metadata], image: Image.Image) -> Metadata:
    """Return what is said in one way, without what stands for nothing: 0 stars, an empty caption."""
    try:
        known = read(image)
    except Exception:  # damaged
        return NOTHING
    return only_in(known, NOTHING)


def _xmp(image: Image.Image) -> Metadata:
    return read_xmp(xmp_of(image))


def _exif(image: Image.Image) -> Metadata:
    exif = Image.Image.getexif(image)
    stars = exif.get(_RATING)
    caption, comment = _text(exif.get(_CAPTION)), _quietly(lambda: _comment(exif))
    return Metadata(
        date=_quietly(lambda: _date(exif.get_ifd(_EXIF_FOLDER))),
        gps=_quietly(lambda: _place(exif.get_ifd(_GPS_FOLDER))),
        rating=stars if isinstance(stars, int) and 1 <= stars <= 5 else None,
        keywords=tuple(filter(None, map(clean, _wide(exif.get(_XP_KEYWORDS)).split(";")))),
        caption=_said(caption, comment or ""),
        title=_wide(exif.get(_XP_TITLE)),
    )


def _said(caption: str, comment: str) -> str | None:
    """Return the caption, or else the comment, if a person may have written it."""
    if caption and not _SET_BY_CAMERA.fullmatch(caption):
        return caption
    by_nobody = _SET_BY_CAMERA.fullmatch(comment) or _SET_BY_PROGRAM.fullmatch(comment)
    return None if by_nobody else comment


def _comment(exif: Image.Exif) -> str:
    """Return the user's comment, whose first eight bytes name its alphabet."""
    value = exif.get_ifd(_EXIF_FOLDER).get(_COMMENT, b"")
    alphabet, text = value[:8], value[8:]
    if alphabet == b"UNICODE\0":  # in the order of the file's bytes, or by mistake in the other
        orders = ("utf-16-be", "utf-16-le") if exif.endian == ">" else ("utf-16-le", "utf-16-be")
        readings = [text.decode(order, "ignore").lstrip("\ufeff") for order in orders]
        return clean(max(readings, key=lambda reading: sum(letter.isascii() for letter in reading)))
    if alphabet in (b"ASCII\0\0\0", bytes(8)):
        return clean(text.rstrip(b" \0").decode("utf-8"))
    return ""


def _png(image: Image.Image) -> Metadata:
    """Return what the text chunks of a PNG say."""
    if image.format != "PNG":
        return NOTHING
    said = {name: clean(text) for name, text in image.info.items() if isinstance(text, str)}
    return Metadata(
        date=_date_in_words(said.get("Creation Time", "")),
        caption=_said(said.get("Description", ""), said.get("Comment", "")),
        title=said.get("Title"),
    )


def _date_in_words(text: str) -> str | None:
    """Return a date that is written as the standard of PNG asks for, as in EXIF, or as in XMP."""
    if not text:
        return None
    from email.utils import parsedate_to_datetime  # which is large, for one kind of date

    with suppress(ValueError, TypeError):
        return as_date(parsedate_to_datetime(text).isoformat())
    return as_date(text) or as_date(re.sub(r"(\d{4})[:-](\d\d)[:-](\d\d) ", r"\1-\2-\3T", text))


def _quietly(read: Callable[[], Any]) -> Any:
    """Return what is read; None if these tags are damaged, as others may be whole."""
    with suppress(Exception):
        return read()
    return None


def _date(tags: dict[int, Any]) -> str | None:
    text, zone = str(tags.get(_TAKEN, "")), str(tags.get(_ZONE, "")).strip(" \0")
    date = text[:10].replace(":", "-") + "T" + text[11:19]
    return as_date(date + zone) or as_date(date)


def _place(tags: dict[int, Any]) -> tuple[float, float] | None:
    north, east = (_degrees(tags[number]) for number in (2, 4))
    south, west = (str(tags.get(number, "")).strip(" \0").upper()[:1] for number in (1, 3))
    north, east = (-north if south == "S" else north), (-east if west == "W" else east)
    return as_place(north, east) if isfinite(north) and isfinite(east) else None


def _degrees(angle: Any) -> float:
    degrees, minutes, seconds = (float(part) for part in angle)
    return degrees + minutes / 60 + seconds / 3600


def _wide(value: Any) -> str:
    """Return the text of a tag that Windows writes, two bytes a letter."""
    return clean(bytes(value).decode("utf-16-le", "ignore")) if value else ""


def _text(value: Any) -> str:
    """Return text of bytes, or that Pillow took for Latin letters though it may be Unicode."""
    raw = value if isinstance(value, bytes) else str(value or "").encode("latin-1", "ignore")
    if isinstance(value, str) and not value.isascii() and len(raw) < len(value):
        return clean(value)
    try:
        return clean(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return clean(raw.decode("latin-1"))


def _iptc(image: Image.Image) -> Metadata:
    said: dict[tuple[int, int], Any] = IptcImagePlugin.getiptcinfo(image) or {}  # type: ignore[arg-type]

    def first(number: int) -> str:
        value = said.get((2, number), b"")
        return _text(value[0] if isinstance(value, list) else value)

    day, time, words = first(55), first(60), said.get((2, 25), [])
    date = f"{day[:4]}-{day[4:6]}-{day[6:8]}"
    hour = f"{date}T{time[:2]}:{time[2:4]}:{time[4:6]}"
    return Metadata(
        date=as_date(hour) or as_date(date),
        keywords=tuple(filter(None, map(_text, words if isinstance(words, list) else [words]))),
        caption=first(120),
        title=first(5),
    )
