"""Tell photos that were taken one after the other, a burst, from copies of one photo."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from samespace.base.origin import origin_of
from samespace.library.library import Photo

SECONDS_APART = timedelta(seconds=5)  # at most, between two photos of a burst

_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)")


def are_two_shots(one: Photo, other: Photo) -> bool:
    """Return whether a camera took these photos at two times: a copy has the time of its original, or none."""
    if one.taken is None or other.taken is None or one.taken == other.taken:
        return False
    return all(origin_of(photo.path).camera for photo in (one, other))


def is_burst(photos: Sequence[Photo]) -> bool:
    """Return whether each photo but the first was taken seconds after another, or has the next number."""
    times = [photo.taken for photo in photos]
    if all(times):
        taken = sorted(datetime.strptime(time, "%Y-%m-%d %H:%M:%S") for time in times if time)
        return all(later - earlier <= SECONDS_APART for earlier, later in pairwise(taken))
    names = sorted(_numbered(photo.path) for photo in photos)
    return all(earlier[:3] == later[:3] and later[3] == earlier[3] + 1 for earlier, later in pairwise(names)) and all(
        number >= 0 for *_, number in names
    )


def _numbered(path: Path) -> tuple[str, str, str, int]:
    """Return a photo's folder, what is before and after the last number in its name, and that number; -1 for none."""
    found = _NUMBERED.fullmatch(path.stem)
    if not found:
        return str(path.parent), path.stem, path.suffix, -1
    return str(path.parent), found[1], found[3] + path.suffix, int(found[2])
