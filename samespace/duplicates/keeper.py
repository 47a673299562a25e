"""Decide which photo of a group is kept: the camera's original before whatever was made from it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from math import log2
from typing import NamedTuple

from samespace.base.origin import UNKNOWN, Origin
from samespace.base.raw_preview import is_raw
from samespace.library.library import Photo


class Seen(NamedTuple):
    """A photo and what is known of it; its origin and sharpness matter only if it may share a group."""

    photo: Photo
    origin: Origin = UNKNOWN
    sharpness: float = 0.0
    has_raw: bool = False  # beside it
    has_video: bool = False  # beside it, or behind its picture
    is_framed: bool = False  # by a plain border on all four sides
    is_grey: bool = False  # where a copy is in colour


class Criterion(NamedTuple):
    """One thing that photos are compared by; the lowest value is best."""

    value: Callable[[Seen], float]
    best: str
    worse: str


def _taken(seen: Seen) -> float:
    """Return when a photo was taken or, if it does not say, when its file was last changed: seconds."""
    taken = seen.photo.taken
    if taken is None or not "1826" < taken < "9999":  # programs write the year 1, or 9999, for no date
        return seen.photo.mtime_ns / 1e9
    return datetime.strptime(taken, "%Y-%m-%d %H:%M:%S").timestamp()


def _is_export(seen: Seen) -> float:
    """Return 1 for camera data in a format that cameras do not write: it came along into an export."""
    return seen.origin.camera > 0 and seen.origin.format not in _OF_CAMERAS


def loss(origin: Origin) -> int:
    """Return how much a format loses; what of that depends on the quality is another criterion."""
    return _LOSS.get(origin.format, _MOST_LOSS)


def _size(seen: Seen) -> float:
    """Return a size to compare: by now one `loss` is left, and each format that loses anything has its own."""
    return -seen.photo.size if loss(seen.origin) else 0


def _steps(seen: Seen) -> float:
    """Round sharpness to doublings, which an eye notices; the next criterion decides within a step."""
    return round(log2(seen.sharpness + 1e-9))


_OF_CAMERAS = {"JPEG", "HEIF", "TIFF"}
# HEIC is what phones write, and JPEG what it becomes on the way. WebP and AVIF are what the web makes of either.
_LOSS = {"TIFF": 0, "PNG": 0, "BMP": 0, "HEIF": 1, "JPEG": 2, "JPEG in TIFF": 3, "WEBP": 4, "AVIF": 5, "GIF": 6, "": 7}
_MOST_LOSS = max(_LOSS.values())

_IS_RAW = Criterion(lambda seen: not is_raw(seen.photo.path), "a RAW file", "no RAW file")
_RAW = Criterion(lambda seen: not seen.has_raw, "has its RAW beside it", "has no RAW beside it")
_VIDEO = Criterion(lambda seen: not seen.has_video, "has its video", "has no video")
_CAMERA = Criterion(
    lambda seen: -seen.origin.camera, "has camera data the others lack", "lacks camera data the other has"
)
_FRAME = Criterion(lambda seen: seen.is_framed, "has no frame around it", "has a frame around it")
_RESOLUTION = Criterion(lambda seen: -seen.photo.width * seen.photo.height, "more pixels", "fewer pixels")
_COLOUR = Criterion(lambda seen: seen.is_grey, "in colour", "grey")
_EXPORT = Criterion(_is_export, "in a camera's format", "in a format that cameras do not write")
_FORMAT = Criterion(lambda seen: loss(seen.origin), "format that loses less", "format that loses more")
_QUALITY = Criterion(lambda seen: -seen.origin.quality, "less compressed", "more compressed")
_RESAVED = Criterion(lambda seen: seen.origin.resaved, "the others were made from it", "the other saved again")
_EXTRAS = Criterion(
    lambda seen: -seen.origin.extras, "has a place or rating the others lack", "lacks a place or rating the other has"
)
_COLOURS = Criterion(lambda seen: -seen.origin.colours, "more colours", "fewer colours")
_PROFILE = Criterion(lambda seen: not seen.origin.has_profile, "has a colour profile", "has no colour profile")
_SHARPNESS = Criterion(lambda seen: -_steps(seen), "sharpest", "less sharp")
_BYTES = Criterion(lambda seen: -seen.photo.size, "largest file", "smaller file")
_BYTES_OF_FORMAT = Criterion(_size, "largest file", "smaller file")
_OLDEST = Criterion(_taken, "oldest", "newer")
_NEWEST = Criterion(lambda seen: -_taken(seen), "newest", "older")
_SHORTEST = Criterion(lambda seen: len(bytes(seen.photo.path)), "shortest path", "longer path")
_BEST = (
    _IS_RAW,
    _RAW,
    _VIDEO,
    _CAMERA,
    _FRAME,
    _RESOLUTION,
    _COLOUR,
    _EXPORT,
    _FORMAT,
    _QUALITY,
    _RESAVED,
    _EXTRAS,
    _COLOURS,
    _PROFILE,
    _SHARPNESS,  # late: the block noise of a harder compression passes for detail, as does the dither of few colours
    _BYTES_OF_FORMAT,
)

# The first criterion that differs decides; photos equal in all are decided by path.
RULES: dict[str, tuple[Criterion, ...]] = {
    "best": _BEST,
    "largest": (_BYTES, *_BEST),
    "oldest": (_OLDEST, *_BEST),
    "newest": (_NEWEST, *_BEST),
    "shortest-path": (_SHORTEST, *_BEST),
}


PROTECTED = "in a protected folder"  # nothing there is ever removed
PREFERRED = "in a preferred folder"


class Standing(NamedTuple):
    """A photo as a rule sees it; the one with the lowest key is kept."""

    protected: bool
    preference: int  # the number of the preferred folder that it lies in; all others have one number, the highest
    values: tuple[float, ...]
    path: bytes

    def key(self) -> tuple[bool, int, tuple[float, ...], bytes]:
        """Return what to sort by, the photo to keep first."""
        return not self.protected, self.preference, self.values, self.path


def standing(seen: Seen, rule: str, protected: bool = False, preference: int = 0) -> Standing:
    """Return how a photo stands by a rule; its sharpness matters only if it `is_tied` with another."""
    values = tuple([criterion.value(seen) for criterion in RULES[rule]])
    return Standing(protected, preference, values, bytes(seen.photo.path))


def is_tied(one: Standing, other: Standing, rule: str) -> bool:
    """Return whether two photos are equal in every criterion before sharpness."""
    before = RULES[rule].index(_SHARPNESS)
    return one.values[:before] == other.values[:before]


def why_kept(keeper: Standing, runner_up: Standing, rule: str) -> str:
    """Say what makes the keeper better than the next best photo."""
    if keeper.protected:
        return PROTECTED
    if keeper.preference != runner_up.preference:
        return PREFERRED
    decisive = _decisive(keeper, runner_up, rule)
    return decisive.best if decisive else "equally good; first by name"


def why_removed(other: Standing, keeper: Standing, rule: str) -> str:
    """Say what makes a photo worse than the keeper."""
    if keeper.protected:
        return f"the other is {PROTECTED}"
    if keeper.preference != other.preference:
        return f"the other is {PREFERRED}"
    decisive = _decisive(keeper, other, rule)
    return decisive.worse if decisive else "later by name"


def _decisive(one: Standing, other: Standing, rule: str) -> Criterion | None:
    """Return the first criterion that differs; None if they are equal in all."""
    for criterion, mine, theirs in zip(RULES[rule], one.values, other.values, strict=True):
        if mine != theirs:
            return criterion
    return None
