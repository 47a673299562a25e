"""Prove that two photos show one place: by points of the one that are found again in the other, where a moved camera
would see them.

Points are SIFT's. A photo keeps 800 of them in 16 KB: where they lie, which way they are turned, and 32 coefficients of
each one's cosine transform in 4 bits, which find as many partners as the 128 numbers they stand for. Half as many
points confirm a third fewer rooms; points of larger photos no more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from samespace.base.arrays import Array, Doubles, Floats, Ints
from samespace.base.photos import UnreadablePhoto, in_threads, opened

MOST = 800
SIDE = 400  # pixels of a photo's longer side
_NUMBERS, _TOP = 32, 7  # coefficients of a point, each from -7 to 7
_WIDTH = 4 + _NUMBERS // 2  # bytes of a point: two places of 12 bits, 8 bits of angle, two coefficients in each byte
_UNIT = 8  # steps of a place in a pixel
_TURN = 256  # steps of an angle in a full turn
_TURNED = _TURN // 8  # how far partners may be turned against each other: people hold cameras upright
_FLATTEST = 0.01  # the contrast from which something is a point: plain walls have some of their own
_RATIO = 0.85  # how much nearer a point must be to its partner than to any other; how much a second is worth
_NEAR = 0.94  # pixels off its line that a partner may be
_TRIES = 1000
_CELL = 16  # pixels: of partners so near to each other one counts, for many on a small spot are a watermark, no room
# Of 6,263 pairs of photos of different rooms that look most alike none had more partners than CHANCE; of 786 such pairs
# of one room 217 had, and 204 had PROOF (NYU Depth v2; nor had any pair of the Houses data set, with its watermarks).
CHANCE, PROOF = 11, 13
_SURE = 64  # partners beyond which more say nothing
BYTES = MOST * _WIDTH


class Points:
    """The points of photos as a library keeps them: of those that something was to be proved of."""

    fingerprint = "points-1"
    fields: ClassVar[dict[str, tuple[tuple[int, ...], str]]] = {"points": ((BYTES,), "uint8")}


def find_points(path: Path) -> Array | None:
    """Return the points of a photo as bytes (BYTES,), or None if it cannot be read any more."""
    try:
        with opened(path, SIDE) as photo:
            return points_of(photo)
    except UnreadablePhoto:
        return None


def points_of(photo: Image.Image) -> Array:
    """Return the points of an upright photo as bytes (BYTES,)."""
    grey = photo.convert("L")
    scale = SIDE / max(grey.size)
    if scale < 1:
        grey = grey.resize([max(1, round(side * scale)) for side in grey.size], Image.Resampling.BOX)
    sift = _opencv().SIFT.create(nfeatures=MOST, contrastThreshold=_FLATTEST)
    found, histograms = sift.detectAndCompute(np.asarray(grey), None)
    kept = np.zeros((MOST, _WIDTH), np.uint8)
    if histograms is None:
        return kept.ravel()
    order = np.argsort([-point.response for point in found], kind="stable")[:MOST]
    # One more than the place, because 0 stands for no point.
    places = (np.array([found[at].pt for at in order]) * _UNIT + 1).round().clip(1, 2**12 - 1).astype("<u2")
    angles = (np.array([found[at].angle for at in order]) / 360 * _TURN).round().astype(np.uint16) % _TURN
    places |= np.stack([angles >> 4, angles & 15], 1) << 12
    kept[: len(order), :4] = places.astype("<u2").view(np.uint8)
    coefficients = (_coefficients(histograms[order]) + 8).astype(np.uint8)
    kept[: len(order), 4:] = coefficients[:, ::2] | coefficients[:, 1::2] << 4
    return kept.ravel()


def unpack(points: Array) -> tuple[Floats, Array, Floats]:
    """Return where a photo's points lie, (n, 2) in pixels, their angles (n,), and coefficients (n, 32) of length 1."""
    rows = np.ascontiguousarray(points).reshape(MOST, _WIDTH)
    words = np.ascontiguousarray(rows[:, :4]).view("<u2")
    there = words[:, 0] > 0
    words, halves = words[there], rows[there, 4:]
    angles = (words[:, 0] >> 12 << 4 | words[:, 1] >> 12).astype(np.uint8)
    coefficients = np.empty((len(halves), _NUMBERS), np.float32)
    coefficients[:, ::2], coefficients[:, 1::2] = halves & 15, halves >> 4
    coefficients -= 8
    coefficients /= np.maximum(np.linalg.norm(coefficients, axis=1, keepdims=True), 1)
    return ((words & 0xFFF).astype(np.float32) - 1) / np.float32(_UNIT), angles, coefficients


def partners(first: Array, second: Array) -> tuple[Floats, Floats]:
    """Return where two photos show the same points, (n, 2) each: mutual nearest ones that one movement explains."""
    if first.tobytes() > second.tobytes():  # the search for a movement would find another one the other way round
        there, here = _partners(second, first)
        return here, there
    return _partners(first, second)


def _partners(first: Array, second: Array) -> tuple[Floats, Floats]:
    (places0, angles0, points0), (places1, angles1, points1) = unpack(first), unpack(second)
    if min(len(points0), len(points1)) < 2:
        return places0[:0], places1[:0]
    alike = points0 @ points1.T
    there, back = alike.argmax(1), alike.argmax(0)
    rows = np.arange(len(alike))
    best = alike[rows, there]
    alike[rows, there] = -1
    chosen = (back[there] == rows) & (1 - best < _RATIO**2 * (1 - alike.max(1)))
    chosen &= np.abs((angles0 - angles1[there]).astype(np.int8).astype(np.int16)) <= _TURNED
    places0, places1 = places0[chosen], places1[there[chosen]]
    if len(places0) < 8:
        return places0[:0], places1[:0]
    cv2 = _opencv()
    try:
        _, explained = cv2.findFundamentalMat(places0, places1, cv2.USAC_MAGSAC, _NEAR, 0.999, _TRIES)
    except cv2.error:  # points on one line
        explained = None
    if explained is None:
        return places0[:0], places1[:0]
    few = apart(places0, places1, np.flatnonzero(explained))
    return places0[few], places1[few]


def apart(places0: Floats, places1: Floats, rows: Ints) -> Ints:
    """Return rows of partners of which no two lie in one cell of either photo."""
    for places in (places0, places1):
        _, first = np.unique((places[rows] // _CELL).astype(np.int64), axis=0, return_index=True)
        rows = rows[np.sort(first)]
    return rows


def strength(shared: Ints) -> Doubles:
    """Return how much so many shared points prove, (n,): the logarithm of those beyond chance, 0 for none."""
    return np.log1p((np.minimum(shared, _SURE) - CHANCE).clip(0))


def count_partners(points_of: Callable[[int], Array], first: Ints, second: Ints) -> Ints:
    """Return how many points pairs of photos share, (n,); `points_of` returns a photo's by its number."""

    def count(pair: tuple[int, int]) -> int:
        return len(partners(*map(points_of, pair))[0])

    return np.fromiter(in_threads(count, zip(first.tolist(), second.tolist(), strict=True)), np.int64, len(first))


@cache
def _opencv() -> Any:
    """Return the package, which takes a moment to import: most commands compare no points."""
    import cv2

    cv2.setNumThreads(1)  # photos and pairs run side by side
    return cv2


def _coefficients(histograms: Array) -> Array:
    """Return the lowest waves of SIFT's histograms (n, 128) as whole numbers, (n, 32)."""
    shares = histograms / np.maximum(histograms.sum(1, keepdims=True), 1e-9)
    found = np.sqrt(shares) @ lowest_waves()
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
    return (found * 16).round().clip(-_TOP, _TOP)


@cache
def lowest_waves() -> Floats:
    """Return the 32 lowest waves, (128, 32), over a histogram's 4 × 4 cells and 8 directions, but for the constant."""
    cells = [np.cos(np.pi * (np.arange(4) + 0.5) * wave / 4) for wave in range(4)]
    turns = [(wave, np.cos(2 * np.pi * wave * np.arange(8) / 8)) for wave in range(5)]
    turns += [(wave, np.sin(2 * np.pi * wave * np.arange(8) / 8)) for wave in range(1, 4)]
    waves = [
        (down + across + around, np.einsum("y,x,d->yxd", cells[down], cells[across], turn).ravel())
        for down in range(4)
        for across in range(4)
        for around, turn in turns
    ]
    lowest = sorted(waves, key=lambda wave: wave[0])[1 : 1 + _NUMBERS]
    return np.stack([wave / np.linalg.norm(wave) for _, wave in lowest], 1).astype(np.float32)
