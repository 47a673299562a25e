"""Lay one photo over another and look for a difference that a person would see at a glance.

Photos of one scene that were only re-encoded, resized, re-lit or stamped agree in every small square. Other moments,
other pages of one template and other pictures in one frame do not, however alike they are as a whole.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from samespace.base.arrays import Array, Doubles, Flags, Floats
from samespace.base.photos import UnreadablePhoto, opened
from samespace.search.beyond import which_show_more

LARGEST, SMALLEST = 4800, 48  # pixels: a photo of which the other shows a small part would grow without bound
MOST_ENLARGED = 2.0

PAGE = 0.5  # the share of one tone that makes a photo a page: paper, a slide, a plain screen
GREY, COLOURED = 6, 15  # levels: less colour is noise, and from here on there is some; photos have 20 or more
DETAIL = 8  # grey levels: the contrast that makes a square worth comparing
SAME_TONE = 10  # grey levels: an error below is noise, of a harder compression perhaps
ODD = 3  # an error stands out if it is so many times what nine in ten squares stay below
STAMP_NOISE = 20  # grey levels
STAMP_BODY = 0.7  # of its pixels in order of opacity, where its body begins: soft edges and thin strokes have less
STAMP_SHARE = 0.06  # of a square: what of it a stamp may leave unexplained

Grey = npt.NDArray[np.uint8]


class _Look(NamedTuple):
    """Hold how closely photos are looked at."""

    side: int  # pixels of the long side
    steps: tuple[int, ...]  # pixels of the long side at which they are aligned, one after the other
    square: int  # pixels of a square's side
    shift: int  # pixels that a square may lie off
    alike: float  # the correlation from which squares show the same
    odd_alike: float  # from which they do if their error stands out
    stamp: float  # how opaque a stamp may be; 0: there are none


_PHOTOS = _Look(side=384, steps=(192,), square=24, shift=3, alike=0.5, odd_alike=0.5, stamp=0.62)
# Letters must be told apart; lines of a turned page meet theirs only if they are aligned at small sizes first. Letters
# would pass as stamps, so there are none.
_PAGES = _Look(side=1200, steps=(96, 192, 480), square=16, shift=2, alike=0.7, odd_alike=0.9, stamp=0)

_SLANT = 0.1  # the cosine between a photo's sides as another shows them: copies keep their right angles
_MOST_STRETCHED = 1.5

cv2.setNumThreads(1)  # pairs run side by side


class _Photo(NamedTuple):
    """A photo in grey, and how much colour it had."""

    grey: Image.Image
    colour: float  # levels from the lowest channel to the highest, which all but a hundredth stay below


@lru_cache(maxsize=32)  # pairs come sorted by their first photo
def _read(path: Path, changed: int, side: int) -> _Photo:
    """Read a photo with no side below `side` if it has as many pixels."""
    with opened(path, at_least=side) as photo:
        small = np.asarray(photo.convert("RGB").resize((32, 32), Image.Resampling.BOX))
        return _Photo(photo.convert("L"), float(np.quantile(small.max(2) - small.min(2), 0.99)))


class Difference(NamedTuple):
    """Hold which share of the detail of two photos differs where both show it, and of copies which shows more."""

    share: float  # 0 for copies, 1 for nothing in common
    shows_more: tuple[bool, bool] = (False, False)  # the first, the second: never both
    in_colour: bool = False  # what shows more; the other is grey


def difference(path0: Path, path1: Path, there: Doubles) -> Difference:
    """Return how two photos differ. If each shows something that the other lacks, a little does.

    What lies beyond an edge counts, and colour in a photo whose copy is grey.

    `there`, (3, 3), takes a place in the first, from 0 to 1 both ways, to its place in the second. It is corrected.
    """
    look = _PHOTOS
    photo0, photo1 = (_read(path, _changed(path), look.side) for path in (path0, path1))
    if _is_page(photo0.grey) or _is_page(photo1.grey):
        look = _PAGES
        photo0, photo1 = (_read(path, _changed(path), look.side) for path in (path0, path1))
    first, second, there = _at_one_size(photo0.grey, photo1.grey, there, look.side)
    coloured = _is_in_colour(photo0, photo1), _is_in_colour(photo1, photo0)
    share = 1.0
    for end in (0, len(look.steps)):  # most copies lie well enough as they are
        over = _aligned(first, second, there, look.steps[:end])
        errors = _errors(over)
        squares = _compare_squares(over, errors, look)
        differ, detailed = int(squares.differ.sum()), int(squares.detailed.sum())
        if _is_stamped(over, errors, squares.differ, look):
            differ = 0
        if not differ and not _is_slanted(over.there):
            wider = which_show_more(first, second, over.there)
            shows_more = wider[0] or coloured[0], wider[1] or coloured[1]
            if not all(shows_more):
                return Difference(0.0, shows_more, any(coloured))
        share = min(share, max(1, differ) / max(1, detailed))
    return Difference(share)


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise UnreadablePhoto(path, f"cannot be opened: {error.strerror}") from error


def _is_in_colour(photo: _Photo, other: _Photo) -> bool:
    """Return whether a photo is in colour and the other is not."""
    return photo.colour >= COLOURED and other.colour < GREY


def _is_page(photo: Image.Image) -> bool:
    """Return whether much of a photo has one tone."""
    levels = np.convolve(photo.histogram(), np.ones(7), "same")
    return bool(levels.max() >= PAGE * photo.width * photo.height)


# Laying one over the other


class _Overlay(NamedTuple):
    """Two photos of one frame, (H, W) each; both show a place that is covered."""

    first: Grey
    second: Grey
    covered: Flags
    there: Doubles  # (3, 3): from a pixel of the first to its place in the second, as it was before


def _at_one_size(photo0: Image.Image, photo1: Image.Image, there: Doubles, side: int) -> tuple[Grey, Grey, Doubles]:
    """Scale both photos so that what they share has one size, and return them with `there` in their pixels.

    Neither has more detail than the coarser of the two. The first has `side` pixels on its long side, or fewer if the
    coarser would have to be enlarged too much: what it does not show would be guessed.
    """
    to_pixels = np.diag([*photo1.size, 1.0]) @ there @ np.linalg.inv(np.diag([*photo0.size, 1.0]))
    finer = np.sqrt(max(abs(np.linalg.det(to_pixels[:2, :2])), 1e-6))  # pixels of the second for one of the first
    coarsest = min(1.0, max(finer, 0.2))
    scale = min(side / max(photo0.size), MOST_ENLARGED * coarsest)
    first = _scaled(_scaled(photo0, min(coarsest, scale)), scale, photo0.size)
    second = _scaled(_scaled(photo1, min(coarsest, scale) / finer), scale / finer, photo1.size)
    (width0, height0), (width1, height1) = first.size, second.size
    to_middle = np.array([[1 / width0, 0, 0.5 / width0], [0, 1 / height0, 0.5 / height0], [0, 0, 1]])
    from_middle = np.array([[width1, 0, -0.5], [0, height1, -0.5], [0, 0, 1]])
    return np.asarray(first), np.asarray(second), from_middle @ there @ to_middle


def _scaled(photo: Image.Image, scale: float, whole: tuple[int, int] | None = None) -> Image.Image:
    """Return a photo at a scale of its own size, or of its `whole` one, with as many pixels as that asks for."""
    wide, high = (max(SMALLEST, min(LARGEST, round(side * scale))) for side in whole or photo.size)
    finer = wide > photo.width
    return photo.resize((wide, high), Image.Resampling.BILINEAR if finer else Image.Resampling.BOX)


def _aligned(first: Grey, second: Grey, there: Doubles, steps: tuple[int, ...]) -> _Overlay:
    """Lay the second photo over the first, as well as an affine map can."""
    size = first.shape[::-1]
    laid, covered = _lay(second, there, size)
    for step in steps:
        small = [max(16, round(side * min(1.0, step / max(size)))) for side in size]
        still, moved = (cv2.resize(each, small, interpolation=cv2.INTER_AREA) for each in (first, laid))
        mask = cv2.resize(covered.astype(np.uint8), small, interpolation=cv2.INTER_NEAREST)
        move = np.eye(2, 3, dtype=np.float32)
        stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 25, 1e-4)
        with suppress(cv2.error):  # nothing to align by: they stay as they lie
            cv2.findTransformECC(still, moved, move, cv2.MOTION_AFFINE, stop, mask, 3)
            scale = np.diag([small[0] / size[0], small[1] / size[1], 1.0])
            there = there @ np.linalg.inv(scale) @ np.vstack([move, [0, 0, 1]]) @ scale
            laid, covered = _lay(second, there, size)
    return _Overlay(_smooth(first), _smooth(laid), covered, there)


def _is_slanted(there: Doubles) -> bool:
    """Return whether it takes a slant, or much stretching, to lay one over the other, as it does for no copy."""
    across, down = there[:2, :2].T
    lengths = np.linalg.norm(across), np.linalg.norm(down)
    slant = abs(across @ down) / max(lengths[0] * lengths[1], 1e-9)
    return bool(slant > _SLANT or max(lengths) > _MOST_STRETCHED * min(lengths))


def _lay(photo: Grey, there: Doubles, size: tuple[int, ...]) -> tuple[Grey, Flags]:
    """Return a photo as seen through a frame of this size, and which places it covers."""
    way = there[:2].astype(np.float32)
    flags = cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(photo, way, size, flags=flags | cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    covered = cv2.warpAffine(np.full_like(photo, 255), way, size, flags=flags | cv2.INTER_NEAREST)
    return laid.astype(np.uint8), covered > 0


def _smooth(photo: Grey) -> Grey:
    return cv2.GaussianBlur(photo, (0, 0), 0.8).astype(np.uint8)


# Square by square


class _Squares(NamedTuple):
    """Squares of an overlay, (rows, columns) each, that are detailed, and of these the ones that differ."""

    detailed: Flags
    differ: Flags


def _compare_squares(over: _Overlay, errors: tuple[Floats, Floats], look: _Look) -> _Squares:
    """Return which squares show something, and which of them show something else.

    A square is the same if one tone curve explains it, as for a photo made brighter, or if it correlates where it lies
    or a few pixels off. If its error stands out, it must correlate more: what makes a copy coarse does so everywhere.
    """
    contrasts = (_by_square(photo, look).std((1, 3), dtype=np.float32) for photo in (over.first, over.second))
    detailed = np.maximum(*contrasts) > DETAIL
    detailed &= _by_square(over.covered, look).all((1, 3))
    forth, back = (np.sqrt(_by_square(error**2, look).mean((1, 3))) for error in errors)
    error = np.minimum(forth, back)
    doubtful = detailed & (error > SAME_TONE)
    differ = np.zeros_like(doubtful)
    if doubtful.any():
        odd = error > ODD * np.quantile(error[detailed], 0.9)
        for row, column in np.argwhere(doubtful).tolist():
            enough = look.odd_alike if odd[row, column] else look.alike
            differ[row, column] = _correlation(over, row, column, look) < enough
    return _Squares(detailed, differ)


def _by_square(frame: Array, look: _Look) -> Array:
    """Cut a frame (H, W), but for an edge, into squares: (rows, side, columns, side)."""
    side, shift = look.square, look.shift
    rows, columns = ((length - 2 * shift) // side for length in frame.shape)
    return frame[shift : shift + rows * side, shift : shift + columns * side].reshape(rows, side, columns, side)


def _errors(over: _Overlay) -> tuple[Floats, Floats]:
    """Return how far each photo is from the other as the usual tones of one turn into those of the other, (H, W)."""
    forth = _tone_curve(over.first[over.covered], over.second[over.covered])
    back = _tone_curve(over.second[over.covered], over.first[over.covered])
    return over.second - forth[over.first], over.first - back[over.second]


def _tone_curve(tones: Grey, others: Grey) -> Floats:
    """Return the tone that usually lies where the other photo has each of 256."""
    together = np.bincount((tones >> 3).astype(np.intp) << 8 | others, minlength=32 << 8).reshape(32, 256)
    counts = together.sum(1)
    known = np.flatnonzero(counts >= 20)
    if not len(known):
        return np.arange(256, dtype=np.float32)
    medians = (together[known].cumsum(1) * 2 >= counts[known, None]).argmax(1)
    return np.interp(np.arange(256), known * 8 + 3.5, medians).astype(np.float32)


def _correlation(over: _Overlay, row: int, column: int, look: _Look) -> float:
    """Return the highest correlation of a square of the first photo with one of the second that lies near."""
    side, shift = look.square, look.shift
    top, left = shift + row * side, shift + column * side
    square = over.first[top : top + side, left : left + side]
    around = over.second[top - shift : top + side + shift, left - shift : left + side + shift]
    if min(square.std(), around.std()) < 0.5:
        return 0.0
    return float(cv2.matchTemplate(around, square, cv2.TM_CCOEFF_NORMED).max())


def _is_stamped(over: _Overlay, errors: tuple[Floats, Floats], differ: Flags, look: _Look) -> bool:
    """Return whether a see-through stamp of white or black, of one opacity, explains all squares that differ."""
    if not look.stamp or not differ.any():
        return False
    for shown, error in zip((over.second, over.first), errors, strict=True):
        room = shown - error  # the tone under a stamp
        for full in (255 - room, -room):  # what white would add, or black
            opacity = _opacity(error, full, differ, look)
            least, most = np.minimum(0, opacity * full), np.maximum(0, opacity * full)
            unlike = (error < least - STAMP_NOISE) | (error > most + STAMP_NOISE)
            if (_by_square(unlike, look).mean((1, 3))[differ] < STAMP_SHARE).all():
                return True
    return False


def _opacity(error: Floats, full: Floats, differ: Flags, look: _Look) -> float:
    """Return how opaque the body of a stamp is in squares that differ, no more than a stamp may be."""
    errors, fulls = (_by_square(frame, look).transpose(0, 2, 1, 3)[differ] for frame in (error, full))
    under = (abs(errors) > STAMP_NOISE) & (abs(fulls) > STAMP_NOISE)
    body = np.quantile(errors[under] / fulls[under], STAMP_BODY) if under.any() else 0.0
    return float(np.clip(body, 0, look.stamp))
