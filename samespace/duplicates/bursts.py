"""Tell photos that were taken one after the other, a burst, from copies of one photo."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

from samespace.base.origin import origin_of
from samespace.library.library import Photo

SECONDS_APART = timedelta(seconds=5)  # at most, between a photo of a burst and the next

_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)")


def are_two_shots(one: Photo, other: Photo) -> bool:
    """Return whether a camera took these photos at two times: a copy has the time of its original, or none."""
    if one.taken is None or other.taken is None:
        return False
    origins = [origin_of(photo.path) for photo in (one, other)]
    if not all(origin.camera for origin in origins):
        return False
    fractions = {origin.fraction for origin in origins}
    return one.taken != other.taken or (None not in fractions and len(fractions) > 1)


def follow_each_other(one: Photo, other: Photo) -> bool:
    """Return whether two photos were taken seconds apart or, if one does not say when, have successive numbers."""
    if one.taken and other.taken:
        return abs(_time(one.taken) - _time(other.taken)) <= SECONDS_APART
    (*name, number), (*other_name, other_number) = _numbered(one.path), _numbered(other.path)
    return name == other_name and abs(number - other_number) == 1 and min(number, other_number) >= 0


def _time(taken: str) -> datetime:
    return datetime.strptime(taken, "%Y-%m-%d %H:%M:%S")


def _numbered(path: Path) -> tuple[str, str, str, int]:
    """Return a photo's folder, what is before and after the last number in its name, and that number; -1 for none."""
    found = _NUMBERED.fullmatch(path.stem)
    if not found:
        return str(path.parent), path.stem, path.suffix, -1
    return str(path.parent), found[1], found[3] + path.suffix, int(found[2])
