"""Tell copies of one shot: photos as small grey sketches, laid over each other and correlated.

A copy that was re-encoded, resized, lightly cropped, turned a little, re-lit, greyed or stamped keeps its outlines and
moves by an affine map. So two sketches are aligned first; what differs after that is another shot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from samespace.base.arrays import Floats, unit
from samespace.base.photos import Pixels, in_threads

if TYPE_CHECKING:
    from torch import Tensor

Sketch = npt.NDArray[np.uint8]

SIDE = 64
GRID = 8  # an outline's cells a side
FLOOR = 0.4  # outlines of a copy are at least this alike, those of unrelated photos hardly ever
# Of 9,310 copies made of training rooms and Flickr photos the lowest score was 0.68, of a million other pairs the
# highest was 0.46.
THRESHOLD = 0.6
PAIRS_AT_ONCE = 64
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
    import torch

    def score_block(at: int) -> tuple[Floats, Floats]:
        torch.set_num_threads(1)  # for this thread: several that share such small maps mostly wait for each other
        sides = (np.array(side[at : at + PAIRS_AT_ONCE]) for side in (sketches0, sketches1))
        scores, maps = _aligned(*map(torch.from_numpy, sides))
        return scores.numpy(), maps.numpy()

    blocks = list(in_threads(score_block, range(0, len(sketches0), PAIRS_AT_ONCE)))
    nothing = np.empty(0, np.float32), np.empty((0, 2, 3), np.float32)
    scores, maps = (np.concatenate(each) for each in zip(nothing, *blocks, strict=True))
    return scores, maps


def _aligned(sketches0: Tensor, sketches1: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scores of pairs (N,) and their maps, from coarse to fine: only pairs left open are scored again."""
    import torch

    scores, best = torch.zeros(len(sketches0)), _as_is(len(sketches0))[:, 0].clone()
    both = torch.stack([sketches0, sketches1], 1).float()  # (N, 2, 64, 64)
    rows, maps = torch.arange(len(both)), _as_is(len(both))

    level = _contrast(both, 16)
    moved = _align(level, maps, 8)
    promising = torch.maximum(_correlation(level, maps), _correlation(level, moved)).amax(1) > _PROMISING
    rows, both, maps = rows[promising], both[promising], moved[promising]
    if not len(rows):
        return scores, best

    fine = _contrast(both, SIDE)
    scores[rows] = _correlation(fine, _as_is(len(rows))).amax(1)
    unsure = scores[rows] < _CERTAIN
    if unsure.any():
        rows, maps = rows[unsure], _align(_contrast(both[unsure], 32), maps[unsure], 6)
        found, side = _correlation(fine[unsure], maps).max(1)
        better = found > scores[rows]
        scores[rows[better]] = found[better]
        best[rows[better]] = _forth(maps[better], side[better])
    return scores.clamp(0, 1), best


def _forth(maps: Tensor, side: Tensor) -> Tensor:
    """Return the map from the first photo to the second, (n, 2, 3): either it was found, or the way back was."""
    import torch

    last = torch.tensor([0.0, 0.0, 1.0]).expand(len(maps), 1, 3)
    back = torch.linalg.inv(torch.cat([maps[:, 1], last], 1))[:, :2]
    return torch.where((side == 0)[:, None, None], maps[:, 0], back)


def _as_is(pairs: int) -> Tensor:
    """Return the affine maps (N, 2, 2, 3) that move nothing: two a pair, to lay either photo over the other."""
    import torch

    return torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).expand(pairs, 2, 2, 3)


def _contrast(sketches: Tensor, side: int) -> Tensor:
    """Return sketches (…, 64, 64) as (…, side, side) contrasts: the difference to the brightness around, normalised."""
    import torch
    import torch.nn.functional as F

    small = F.avg_pool2d(sketches, SIDE // side)
    fine, around = (torch.from_numpy(_blur(side, spread)) for spread in (0.8, 3 * side / SIDE + 1))
    smooth = fine @ small @ fine.T
    detail = smooth - around @ smooth @ around.T
    return detail / ((around @ detail**2 @ around.T).sqrt() + 4)


def _align(pairs: Tensor, maps: Tensor, steps: int) -> Tensor:
    """Correct the maps that lay either photo of the pairs (N, 2, S, S) over the other, by Gauss-Newton steps.

    The steps are taken on the photo that stays, so that their equations are solved once (Baker and Matthews, IJCV
    2004); places that do not fit, such as a watermark, count less.
    """
    import torch

    slopes = _slopes(pairs)  # (N, 2, 6, S²)
    normal = slopes @ slopes.transpose(2, 3)
    ridge = 1e-3 * normal.diagonal(dim1=2, dim2=3).mean(2) + 1e-3
    solved = torch.linalg.solve(normal + ridge[..., None, None] * torch.eye(6), slopes)
    target = pairs.flatten(2)
    last = torch.tensor([0.0, 0.0, 1.0]).expand(*maps.shape[:2], 1, 3)
    for _ in range(steps):
        laid, inside = _lay(pairs, maps)
        gain = (inside * laid * target).sum(2) / ((inside * laid * laid).sum(2) + 1e-6)
        error = (gain[..., None] * laid - target) * inside
        usual = 2 * error.abs().sum(2, keepdim=True) / inside.sum(2, keepdim=True).clamp(min=1) + 1e-3
        step = (solved @ (1.5 * error * usual / (usual + error.abs()))[..., None]).view(maps.shape)
        step = torch.cat([step + torch.eye(2, 3), last], 2)
        maps = (torch.cat([maps, last], 2) @ torch.linalg.inv(step))[:, :, :2].clamp(-2, 2)
    return maps


def _slopes(photos: Tensor) -> Tensor:
    """Return how each place of photos (N, 2, S, S) changes with each number of an affine map, (N, 2, 6, S²)."""
    import torch

    side = photos.shape[-1]
    across, down = torch.zeros_like(photos), torch.zeros_like(photos)
    across[..., 1:-1] = (photos[..., 2:] - photos[..., :-2]) * side / 4
    down[..., 1:-1, :] = (photos[..., 2:, :] - photos[..., :-2, :]) * side / 4
    places = (torch.arange(side) + 0.5) / side * 2 - 1
    x, y = places[None, :], places[:, None]
    return torch.stack([across * x, across * y, across, down * x, down * y, down], 2).flatten(3)


def _lay(pairs: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Lay each photo's partner over it; return its values and 1 if it covers a place, else 0: (N, 2, S²) both."""
    import torch.nn.functional as F

    others = pairs.flip(1).flatten(0, 1)[:, None]
    places = F.affine_grid(maps.flatten(0, 1), list(others.shape), align_corners=False)
    laid = F.grid_sample(others, places, align_corners=False)
    inside = (places.abs() <= 1).all(-1).float()
    return laid.view_as(pairs).flatten(2), inside.view_as(pairs).flatten(2)


def _correlation(pairs: Tensor, maps: Tensor) -> Tensor:
    """Return the correlation where photos overlap, laid either way, (N, 2); 0 if they overlap too little."""
    import torch

    laid, inside = _lay(pairs, maps)
    target = pairs.flatten(2) * inside
    correlation = (laid * target).sum(2) / ((laid**2 * inside).sum(2) * (target**2).sum(2)).sqrt().clamp(min=1e-6)
    of_one = inside.mean(2)
    of_other = of_one * torch.linalg.det(maps[..., :2])
    return torch.where(torch.minimum(of_one, of_other) >= _OVERLAP, correlation, torch.zeros(()))
