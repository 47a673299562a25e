"""Tell copies of one shot: photos as small grey sketches, laid over each other and correlated.

A copy that was re-encoded, resized, lightly cropped, turned a little, re-lit, greyed or stamped keeps its outlines and
moves by an affine map. So two sketches are aligned first; what differs after that is another shot.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from samespace.base.arrays import Floats, Ints, blocks, unit
from samespace.base.one_thread import one_thread_each
from samespace.base.photos import Pixels, in_threads

Sketch = npt.NDArray[np.uint8]

SIDE = 64
GRID = 8  # an outline's cells a side
FLOOR = 0.4  # outlines of a copy are at least this alike, those of unrelated photos hardly ever
# Of 9,310 copies made of training rooms and Flickr photos the lowest score was 0.68, of a million other pairs the
# highest was 0.46.
THRESHOLD = 0.6
PAIRS_AT_ONCE, FINE = 64, 4  # pairs that are scored together, coarsely and closely: they stay in a CPU's caches
SCORING = "same-shot-1"  # scores are remembered under this name: another one for whatever changes them

_PROMISING = 0.5  # the score at a sixteenth of the pixels from which a pair is scored in full
_CERTAIN = 0.95  # the score as they lie from which a pair need not be aligned
_OVERLAP = 0.7  # the share of either photo that the other must show: less is another view


class Sketches:
    """An extractor of what finds copies: a photo's grey sketch, and the outline that finds candidates."""

    fingerprint = "sketch-1"
    fields: ClassVar[dict[str, tuple[tuple[int, ...], str]]] = {
        "grey": ((SIDE, SIDE), "uint8"),
        "outline": ((4 * GRID * GRID,), "float16"),
    }
    batch = 32

    def extract(self, pixels: Pixels) -> dict[str, npt.NDArray[np.generic]]:
        """Return the sketches and outlines of photos (N, 256, 256, 3)."""
        grey = sketch(pixels)
        return {"grey": grey, "outline": outline(grey).astype(np.float16)}


def sketch(pixels: Pixels) -> Sketch:
    """Return photos (N, S, S, 3) in grey, (N, 64, 64), each pixel the mean of a square."""
    step = pixels.shape[1] // SIDE
    rows = np.add.reduce([pixels[:, offset::step] for offset in range(step)], dtype=np.uint16)
    squares = np.add.reduce([rows[:, :, offset::step] for offset in range(step)], dtype=np.float32)
    return (squares @ (np.array([0.299, 0.587, 0.114], np.float32) / step**2)).round().astype(np.uint8)


def outline(grey: Sketch) -> Floats:
    """Return outlines (N, 256), of length 1, of sketches (N, 64, 64): the edges of four directions in 8×8 cells.

    Fine detail counts more, because many photos share coarse traits, such as a bright sky.
    """
    pool = _blur(SIDE, 4.0)[SIDE // GRID // 2 :: SIDE // GRID]  # (8, 64)
    return outline_of(pool @ edges(grey) @ pool.T)


def edges(grey: Sketch) -> Floats:
    """Return how strong edges of four directions are in sketches (N, 64, 64), for their place: (N, 4, 64, 64)."""
    smooth, wide = _blur(SIDE, 1.5), _blur(SIDE, 8.0)
    picture = smooth @ grey.astype(np.float32) @ smooth.T
    across, down = np.gradient(picture, axis=2), np.gradient(picture, axis=1)
    strength = np.sqrt(wide @ (across**2 + down**2) @ wide.T) + 1.5
    return np.stack([np.maximum(edge, 0) / strength for edge in (across, down, -across, -down)], 1)


def outline_of(cells: Floats) -> Floats:
    """Return the outlines (N, 256) that cells (N, 4, 8, 8) of pooled edges make, of length 1."""
    cells = np.sqrt(cells)
    flat = (len(cells), 4 * GRID * GRID)
    cells = unit((cells - cells.mean((1, 2, 3), keepdims=True)).reshape(flat)).reshape(cells.shape)
    waves = _cosines(GRID)
    frequency = np.hypot(*np.mgrid[:GRID, :GRID]).astype(np.float32)
    frequency[0, 0] = 1
    return unit((waves @ cells @ waves.T * np.sqrt(frequency)).reshape(flat))


def _blur(side: int, spread: float) -> Floats:
    """Return a Gaussian mean along one axis, (side, side); at the edge it takes what there is."""
    places = np.arange(side)
    weights = np.exp(-(((places[:, None] - places) / spread) ** 2) / 2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _cosines(side: int) -> Floats:
    """Return the orthonormal cosine transform, (frequencies, places)."""
    frequency, place = np.mgrid[:side, :side]
    waves = np.cos(np.pi * frequency * (place + 0.5) / side) * np.sqrt(2 / side)
    waves[0] /= np.sqrt(2)
    return waves.astype(np.float32)


def same_shot(sketches0: Sketch, sketches1: Sketch) -> Floats:
    """Return how surely each of N sketches (N, 64, 64) is of one shot with its partner: (N,), 0 to 1, symmetric.

    That is the correlation of their local contrasts, as they lie or aligned, whichever is higher.
    """
    return aligned(sketches0, sketches1)[0]


def aligned(sketches0: Sketch, sketches1: Sketch) -> tuple[Floats, Floats]:
    """Return the `same_shot` scores of N pairs, (N,), and the maps (N, 2, 3) that lay the second over the first.

    A map takes a place of the first sketch, -1 to 1 both ways, to its place in the second.
    """
    work = blocks(len(sketches0), PAIRS_AT_ONCE)
    with one_thread_each():
        done = list(in_threads(lambda some: _aligned(sketches0[some], sketches1[some]), work))
    nothing = np.empty(0, np.float32), np.empty((0, 2, 3), np.float32)
    scores, maps = (np.concatenate(each) for each in zip(nothing, *done, strict=True))
    return scores, maps


def _aligned(sketches0: Sketch, sketches1: Sketch) -> tuple[Floats, Floats]:
    """Return the scores of pairs (N,) and their maps, from coarse to fine: only pairs left open are scored again."""
    scores, best = np.zeros(len(sketches0), np.float32), _as_is(len(sketches0))[:, 0].copy()
    both = np.stack([sketches0, sketches1], 1)  # (N, 2, 64, 64)

    level = _contrast(both, 16)
    maps = _align(level, _as_is(len(both)), 8)
    coarse = np.maximum(_correlation_as_is(level), _correlation(level, maps).max(1))
    promising = np.flatnonzero(coarse > _PROMISING)
    for some in blocks(len(promising), FINE):
        rows = promising[some]
        scores[rows], best[rows] = _aligned_closely(both[rows], maps[rows])
    return scores.clip(0, 1), best


def _aligned_closely(both: Sketch, maps: Floats) -> tuple[Floats, Floats]:
    """Return the scores and maps of a few pairs (n, 2, 64, 64) that are roughly aligned by maps (n, 2, 2, 3)."""
    fine = _contrast(both, SIDE)
    scores, best = _correlation_as_is(fine), _as_is(len(both))[:, 0].copy()
    unsure = np.flatnonzero(scores < _CERTAIN)
    if len(unsure):
        maps = _align(_contrast(both[unsure], 32), maps[unsure], 6)
        found = _correlation(fine[unsure], maps)
        side = found.argmax(1)
        better = found.max(1) > scores[unsure]
        scores[unsure[better]] = found.max(1)[better]
        best[unsure[better]] = _forth(maps[better], side[better])
    return scores, best


def _forth(maps: Floats, side: Ints) -> Floats:
    """Return the map from the first photo to the second, (n, 2, 3): either it was found, or the way back was."""
    return np.where(side[:, None, None] == 0, maps[:, 0], _inverse(maps[:, 1]))


def _as_is(pairs: int) -> Floats:
    """Return the affine maps (N, 2, 2, 3) that move nothing: two a pair, to lay either photo over the other."""
    return np.tile(np.eye(2, 3, dtype=np.float32), (pairs, 2, 1, 1))


def _inverse(maps: Floats) -> Floats:
    """Return the maps (…, 2, 3) that undo these."""
    (a, b, c), (d, e, f) = np.moveaxis(maps, (-2, -1), (0, 1))
    rows = [[e, -b, b * f - c * e], [-d, a, c * d - a * f]]
    return np.moveaxis(np.array(rows) / (a * e - b * d), (0, 1), (-2, -1))


def _after(maps: Floats, first: Floats) -> Floats:
    """Return the maps (…, 2, 3) that do `first`, and then `maps`."""
    both = maps[..., :2] @ first
    both[..., 2] += maps[..., 2]
    return both


def _contrast(sketches: Sketch, side: int) -> Floats:
    """Return sketches (…, 64, 64) as (…, side, side) contrasts: the difference to the brightness around, normalised."""
    fine, around = _blur(side, 0.8) @ _means(side), _blur(side, 3 * side / SIDE + 1)
    smooth = _both_ways(fine, sketches.astype(np.float32))
    detail = smooth - _both_ways(around, smooth)
    return detail / (np.sqrt(_both_ways(around, detail**2)) + 4)


def _means(side: int) -> Floats:
    """Return what makes 64 numbers as few as `side`, each the mean of its neighbours: (side, 64)."""
    step = SIDE // side
    return np.repeat(np.eye(side, dtype=np.float32) / step, step, 1)


def _both_ways(weights: Floats, pictures: Floats) -> Floats:
    """Return pictures (…, S, S) whose columns and rows are mixed by weights (s, S): (…, s, s)."""
    # Picture by picture: one product of all would round a picture's numbers by what comes with it.
    return weights @ (pictures @ weights.T)


def _align(pairs: Floats, maps: Floats, steps: int) -> Floats:
    """Correct the maps that lay either photo of the pairs (N, 2, S, S) over the other, by Gauss-Newton steps.

    The steps are taken on the photo that stays, so that their equations are solved once (Baker and Matthews, IJCV
    2004); places that do not fit, such as a watermark, count less.
    """
    slopes = _slopes(pairs)  # (N, 2, 6, S²)
    normal = slopes @ slopes.swapaxes(2, 3)
    ridge = 1e-3 * np.einsum("nkii->nk", normal) / 6 + 1e-3
    inverse = np.linalg.inv(normal + ridge[..., None, None] * np.eye(6, dtype=np.float32))
    target, partner = pairs.reshape(*pairs.shape[:2], -1), _Partners(pairs)
    for _ in range(steps):
        laid, inside = partner.lay(maps)
        gain = _dot(laid, target) / (_dot(laid, laid) + 1e-6)
        error = gain[..., None] * laid
        error -= target * inside
        size = np.abs(error)
        usual = (2 * size.sum(2) / np.maximum(inside.sum(2), 1) + 1e-3)[..., None]
        size += usual
        error /= size
        step = inverse @ (slopes @ error[..., None]) * (1.5 * usual[..., None])
        maps = _after(maps, _inverse(step.reshape(maps.shape) + np.eye(2, 3, dtype=np.float32))).clip(-2, 2)
    return maps


def _dot(one: Floats, other: Floats) -> Floats:
    return np.einsum("nks,nks->nk", one, other)


def _slopes(photos: Floats) -> Floats:
    """Return how each place of photos (N, 2, S, S) changes with each number of an affine map, (N, 2, 6, S²)."""
    side = photos.shape[-1]
    slopes = np.zeros((*photos.shape[:2], 6, side, side), np.float32)
    across, down = slopes[:, :, 2], slopes[:, :, 5]
    across[..., 1:-1] = (photos[..., 2:] - photos[..., :-2]) * (side / 4)
    down[..., 1:-1, :] = (photos[..., 2:, :] - photos[..., :-2, :]) * (side / 4)
    places = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1
    for first, change in ((0, across), (3, down)):
        np.multiply(change, places, out=slopes[:, :, first])
        np.multiply(change, places[:, None], out=slopes[:, :, first + 1])
    return slopes.reshape(*photos.shape[:2], 6, -1)


class _Partners:
    """The photos of pairs (N, 2, S, S), each to be laid over its partner."""

    def __init__(self, pairs: Floats) -> None:
        count, _, side, _ = pairs.shape
        self._shape, self._side = (count, 2, side * side), side
        # Between four neighbours a photo's value is a + b·x + c·y + d·x·y: these four numbers lie together for each
        # place and are fetched at once. Around the photo there is nothing.
        framed = np.zeros((count, 2, side + 3, side + 3), np.float32)
        framed[:, :, 1:-2, 1:-2] = pairs[:, ::-1]
        cells = np.empty((count, 2, side + 2, side + 2, 4), np.float32)
        cells[..., 0] = framed[:, :, :-1, :-1]
        cells[..., 1] = framed[:, :, :-1, 1:] - framed[:, :, :-1, :-1]
        cells[..., 2] = framed[:, :, 1:, :-1] - framed[:, :, :-1, :-1]
        cells[..., 3] = framed[:, :, 1:, 1:] - framed[:, :, 1:, :-1] - cells[..., 1]
        self._cells = cells.reshape(-1, 4)
        self._firsts = (np.arange(2 * count, dtype=np.int32) * (side + 2) ** 2).reshape(count, 2, 1, 1)

    def lay(self, maps: Floats) -> tuple[Floats, Floats]:
        """Return the values of each photo's partner laid over it and 1 where it lies, else 0 and 0: (N, 2, S²) both."""
        side = self._side
        places = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1
        # Where places lie in the partner, in pixels; its first pixel is the second of `framed`.
        scaled = maps * np.float32(side / 2)
        scaled[..., 2] += (side + 1) / 2
        x, y = ((scaled[..., row, 1:2] * places + scaled[..., row, 2:])[..., None] for row in (0, 1))
        x = x + (scaled[..., 0, :1] * places)[..., None, :]
        y = y + (scaled[..., 1, :1] * places)[..., None, :]
        inside = (np.abs(x - (side + 1) / 2) <= side / 2) & (np.abs(y - (side + 1) / 2) <= side / 2)
        x.clip(0, side + 1, out=x)
        y.clip(0, side + 1, out=y)
        column, row = x.astype(np.int32), y.astype(np.int32)
        x -= column
        y -= row
        row *= side + 2
        row += column
        row += self._firsts
        cells = self._cells.take(row.ravel(), 0).reshape(*row.shape, 4)
        laid = cells[..., 3] * x
        laid += cells[..., 2]
        laid *= y
        laid += cells[..., 0]
        laid += cells[..., 1] * x
        laid *= inside
        return laid.reshape(self._shape), inside.astype(np.float32).reshape(self._shape)


def _correlation(pairs: Floats, maps: Floats) -> Floats:
    """Return the correlation where photos overlap, laid either way, (N, 2); 0 if they overlap too little."""
    laid, inside = _Partners(pairs).lay(maps)
    target = pairs.reshape(laid.shape)
    correlation = _dot(laid, target) / np.sqrt(_dot(laid, laid) * _dot(target * target, inside)).clip(1e-6)
    of_one = inside.mean(2)
    (a, b), (c, d) = np.moveaxis(maps[..., :2], (-2, -1), (0, 1))
    return np.where(np.minimum(of_one, of_one * (a * d - b * c)) >= _OVERLAP, correlation, np.float32(0))


def _correlation_as_is(pairs: Floats) -> Floats:
    """Return the correlation of pairs as they lie, (N,)."""
    flat = pairs.reshape(*pairs.shape[:2], -1)
    lengths = np.sqrt(_dot(flat, flat))
    return np.einsum("ns,ns->n", flat[:, 0], flat[:, 1]) / (lengths[:, 0] * lengths[:, 1]).clip(1e-6)
