"""Decide which photo of a group is kept, by a rule that fits into a sentence."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from math import log2
from typing import NamedTuple

from samespace.library.library import Photo


class Criterion(NamedTuple):
    """One thing that photos are compared by; the lowest value is best."""

    value: Callable[[Photo, float], float]  # of a photo and its sharpness
    best: str
    worse: str


def _taken(photo: Photo, _: float) -> float:
    """Return when a photo was taken or, if it does not say, when its file was last changed: seconds."""
    if photo.taken is None:
        return photo.mtime_ns / 1e9
    return datetime.strptime(photo.taken, "%Y-%m-%d %H:%M:%S").timestamp()


def _steps(sharpness: float) -> float:
    """Round sharpness to steps of a fifth, which an eye may notice; the next criterion decides within a step."""
    return round(4 * log2(sharpness + 1e-9))


_RESOLUTION = Criterion(lambda photo, _: -photo.width * photo.height, "highest resolution", "fewer pixels")
_SHARPNESS = Criterion(lambda _, sharpness: -_steps(sharpness), "sharpest", "less sharp")
_BYTES = Criterion(lambda photo, _: -photo.size, "largest file", "smaller file")
_OLDEST = Criterion(_taken, "oldest", "newer")
_NEWEST = Criterion(lambda photo, _: -_taken(photo, _), "newest", "older")
_SHORTEST = Criterion(lambda photo, _: len(bytes(photo.path)), "shortest path", "longer path")
_BEST = (_RESOLUTION, _SHARPNESS, _BYTES)

# The first criterion that differs decides; photos equal in all are decided by path.
RULES: dict[str, tuple[Criterion, ...]] = {
    "best": _BEST,
    "largest": (_BYTES, _RESOLUTION, _SHARPNESS),
    "oldest": (_OLDEST, *_BEST),
    "newest": (_NEWEST, *_BEST),
    "shortest-path": (_SHORTEST, *_BEST),
}


PROTECTED = "in a protected folder"  # nothing there is ever removed


class Standing(NamedTuple):
    """A photo as a rule sees it; the one with the lowest key is kept."""

    protected: bool
    values: tuple[float, ...]
    path: bytes

    def key(self) -> tuple[bool, tuple[float, ...], bytes]:
        """Return what to sort by, the photo to keep first."""
        return not self.protected, self.values, self.path


def standing(photo: Photo, sharpness: float, protected: bool, rule: str) -> Standing:
    """Return how a photo stands by a rule; its sharpness matters only if it `is_tied` with another."""
    values = tuple(criterion.value(photo, sharpness) for criterion in RULES[rule])
    return Standing(protected, values, bytes(photo.path))


def is_tied(photo0: Photo, photo1: Photo, rule: str) -> bool:
    """Return whether two photos are equal in every criterion before sharpness."""
    before = RULES[rule][: RULES[rule].index(_SHARPNESS)]
    return all(criterion.value(photo0, 0) == criterion.value(photo1, 0) for criterion in before)


def why_kept(keeper: Standing, runner_up: Standing, rule: str) -> str:
    """Say what makes the keeper better than the next best photo."""
    if keeper.protected:
        return PROTECTED
    decisive = _decisive(keeper, runner_up, rule)
    return decisive.best if decisive else "identical; first by name"


def why_removed(other: Standing, keeper: Standing, rule: str) -> str:
    """Say what makes a photo worse than the keeper."""
    if keeper.protected:
        return f"the other is {PROTECTED}"
    decisive = _decisive(keeper, other, rule)
    return decisive.worse if decisive else "later by name"


def _decisive(one: Standing, other: Standing, rule: str) -> Criterion | None:
    """Return the first criterion that differs; None if they are equal in all."""
    for criterion, mine, theirs in zip(RULES[rule], one.values, other.values, strict=True):
        if mine != theirs:
            return criterion
    return None
