"""Hold what people and cameras noted of a photo: date, place, rating, keywords, caption and title."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

# XML allows neither control characters nor halves of a pair, and so no sidecar could hold them.
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_DATE = re.compile(r"(?!0000)\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?)?)?")


class Metadata(NamedTuple):
    """Hold what is said of a photo; None where nothing is said. A sidecar may say that there is none: 0 or ""."""

    date: str | None = None  # when it was taken: "2023-05-01T12:30:00", perhaps with a zone
    gps: tuple[float, float] | None = None  # degrees north and east
    rating: int | None = None  # 1 to 5 stars, -1 for rejected
    keywords: tuple[str, ...] = ()
    caption: str | None = None
    title: str | None = None


NOTHING = Metadata()

FIELDS = {
    "date": "date",
    "gps": "GPS",
    "rating": "rating",
    "keywords": "keywords",
    "caption": "caption",
    "title": "title",
}


def clean(text: str) -> str:
    """Return text as a sidecar can hold it."""
    return _NOT_TEXT.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def as_date(text: str) -> str | None:
    """Return an ISO date, whole or cut short; None for anything else."""
    return text if _DATE.fullmatch(text) else None


def as_place(north: float, east: float) -> tuple[float, float] | None:
    """Return a place on Earth; None for 0° 0°, which stands for none."""
    is_there = -90 <= north <= 90 and -180 <= east <= 180 and max(abs(north), abs(east)) > 1e-6
    return (north, east) if is_there else None


def united(known: Iterable[Metadata]) -> Metadata:
    """Return what all of these say together: of each thing what the first says, of keywords all."""
    both = list(known)
    said: dict[str, Any] = {}
    for field in FIELDS:
        values = (getattr(each, field) for each in both)
        said[field] = next((value for value in values if value is not None), None)
    words: dict[str, str] = {}
    for each in both:
        for word in each.keywords:
            words.setdefault(word.casefold(), word)
    return Metadata(**{**said, "keywords": tuple(words.values())})


def only_in(copy: Metadata, kept: Metadata) -> Metadata:
    """Return what a copy knows and what is kept says nothing of. Two that disagree lose nothing."""
    has = {word.casefold() for word in kept.keywords}
    lost: dict[str, Any] = {field: getattr(copy, field) or None for field in FIELDS if getattr(kept, field) is None}
    return Metadata(**{**lost, "keywords": tuple(word for word in copy.keywords if word.casefold() not in has)})


def names_of(known: Metadata) -> tuple[str, ...]:
    """Return what is known, by name: date, GPS, rating, keywords, caption, title."""
    return tuple(name for field, name in FIELDS.items() if getattr(known, field))
