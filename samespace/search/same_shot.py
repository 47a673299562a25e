"""Is it the same shot? Photos as small grey sketches, laid over each other and correlated.

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

_PROMISING = 0.5  # what a pair must reach at a sixteenth of its pixels to be looked at closely
_CERTAIN = 0.95  # what is as alike as this where it lies need not be aligned
_OVERLAP = 0.7  # the share of either photo that the other must show: less is another view


class Sketches:
    """What a library keeps of each photo to find copies of it: a grey sketch, and the outline that finds candidates."""

    fingerprint = "sketch-1"
    fields: ClassVar[dict[str, tuple[tuple[int, ...], str]]] = {
        "grey": ((SIDE, SIDE), "uint8"),
        "outline": ((4 * GRID * GRID,), "float16"),
    }
    batch = 32

    def extract(self, pixels: Pixels) -> dict[str, npt.NDArray[np.generic]]:
        """(N, 256, 256, 3) → their sketches and outlines."""
        grey = sketch(pixels)
        return {"grey": grey, "outline": outline(grey).astype(np.float16)}


def sketch(pixels: Pixels) -> Sketch:
    """Photos (N, S, S, 3) → grey (N, 64, 64), each pixel the mean of a square."""
    step = pixels.shape[1] // SIDE
    rows = np.add.reduce([pixels[:, offset::step] for offset in range(step)], dtype=np.uint16)
    squares = np.add.reduce([rows[:, :, offset::step] for offset in range(step)], dtype=np.float32)
    grey: Sketch = (squares @ (np.array([0.299, 0.587, 0.114], np.float32) / step**2)).round().astype(np.uint8)
    return grey


def outline(grey: Sketch) -> Floats:
    """(N, 64, 64) → (N, 256) of length 1: how strongly edges of four directions run through each of 8×8 cells.

    Fine detail is weighted up, for coarse traits, such as a bright sky, are common to many photos.
    """
    smooth, wide = _blur(SIDE, 1.5), _blur(SIDE, 8.0)
    picture = smooth @ grey.astype(np.float32) @ smooth.T
    across, down = np.gradient(picture, axis=2), np.gradient(picture, axis=1)
    strength = np.sqrt(wide @ (across**2 + down**2) @ wide.T) + 1.5
    pool = _blur(SIDE, 4.0)[SIDE // GRID // 2 :: SIDE // GRID]  # (8, 64)
    directions = [np.maximum(edge, 0) / strength for edge in (across, down, -across, -down)]
    cells = np.sqrt(np.stack([pool @ edge @ pool.T for edge in directions], 1))  # (N, 4, 8, 8)
    flat = (len(grey), 4 * GRID * GRID)
    cells = unit((cells - cells.mean((1, 2, 3), keepdims=True)).reshape(flat)).reshape(cells.shape)
    waves = _cosines(GRID)
    frequency = np.hypot(*np.mgrid[:GRID, :GRID]).astype(np.float32)
    frequency[0, 0] = 1
    return unit((waves @ cells @ waves.T * np.sqrt(frequency)).reshape(flat))


def _blur(side: int, spread: float) -> Floats:
    """(side, side): a Gaussian mean along one axis; at the edge it takes what there is."""
    places = np.arange(side)
    weights = np.exp(-(((places[:, None] - places) / spread) ** 2) / 2)
    means: Floats = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return means


def _cosines(side: int) -> Floats:
    """The orthonormal cosine transform, (frequencies, places)."""
    frequency, place = np.mgrid[:side, :side]
    waves = np.cos(np.pi * frequency * (place + 0.5) / side) * np.sqrt(2 / side)
    waves[0] /= np.sqrt(2)
    transform: Floats = waves.astype(np.float32)
    return transform


def same_shot(sketches0: Sketch, sketches1: Sketch) -> Floats:
    """How surely each of N sketches, (N, 64, 64), is of one shot with its partner: (N,), 0 to 1, either way round.

    The correlation of their local contrasts, as they lie or aligned, whichever is higher.
    """
    import torch

    def score_block(at: int) -> Floats:
        torch.set_num_threads(1)  # of this thread: several that share such small maps mostly wait for each other
        sides = (np.array(side[at : at + PAIRS_AT_ONCE]) for side in (sketches0, sketches1))
        scores: Floats = _same_shot(*map(torch.from_numpy, sides)).numpy()
        return scores

    starts = range(0, len(sketches0), PAIRS_AT_ONCE)
    return np.concatenate([np.empty(0, np.float32), *in_threads(score_block, starts)])


def _same_shot(sketches0: Tensor, sketches1: Tensor) -> Tensor:
    """Coarse to fine, and only what a coarse look leaves open is looked at again."""
    import torch

    scores = torch.zeros(len(sketches0))
    both = torch.stack([sketches0, sketches1], 1).float()  # (N, 2, 64, 64)
    rows, maps = torch.arange(len(both)), _as_is(len(both))

    level = _contrast(both, 16)
    moved = _align(level, maps, 8)
    promising = torch.maximum(_correlation(level, maps), _correlation(level, moved)).amax(1) > _PROMISING
    rows, both, maps = rows[promising], both[promising], moved[promising]
    if not len(rows):
        return scores

    fine = _contrast(both, SIDE)
    scores[rows] = _correlation(fine, _as_is(len(rows))).amax(1)
    unsure = scores[rows] < _CERTAIN
    if unsure.any():
        rows, maps = rows[unsure], _align(_contrast(both[unsure], 32), maps[unsure], 6)
        scores[rows] = torch.maximum(scores[rows], _correlation(fine[unsure], maps).amax(1))
    return scores.clamp(0, 1)


def _as_is(pairs: int) -> Tensor:
    """The affine maps (N, 2, 2, 3) that move nothing: two a pair, for either photo is laid over the other."""
    import torch

    return torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).expand(pairs, 2, 2, 3)


def _contrast(sketches: Tensor, side: int) -> Tensor:
    """(…, 64, 64) → (…, side, side): how far each place is from the brightness around it, by what is usual there."""
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
    2004); what does not fit, such as a watermark, counts less.
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
    """How each place changes with each of the six numbers of an affine map: (N, 2, S, S) → (N, 2, 6, S²)."""
    import torch

    side = photos.shape[-1]
    across, down = torch.zeros_like(photos), torch.zeros_like(photos)
    across[..., 1:-1] = (photos[..., 2:] - photos[..., :-2]) * side / 4
    down[..., 1:-1, :] = (photos[..., 2:, :] - photos[..., :-2, :]) * side / 4
    places = (torch.arange(side) + 0.5) / side * 2 - 1
    x, y = places[None, :], places[:, None]
    return torch.stack([across * x, across * y, across, down * x, down * y, down], 2).flatten(3)


def _lay(pairs: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """What of its partner comes to lie over each place of a photo, and whether anything does: (N, 2, S²) both."""
    import torch.nn.functional as F

    others = pairs.flip(1).flatten(0, 1)[:, None]
    places = F.affine_grid(maps.flatten(0, 1), list(others.shape), align_corners=False)
    laid = F.grid_sample(others, places, align_corners=False)
    inside = (places.abs() <= 1).all(-1).float()
    return laid.view_as(pairs).flatten(2), inside.view_as(pairs).flatten(2)


def _correlation(pairs: Tensor, maps: Tensor) -> Tensor:
    """Of what lies over each other, either way round: (N, 2); 0 where that is too little of either photo."""
    import torch

    laid, inside = _lay(pairs, maps)
    target = pairs.flatten(2) * inside
    correlation = (laid * target).sum(2) / ((laid**2 * inside).sum(2) * (target**2).sum(2)).sqrt().clamp(min=1e-6)
    of_one = inside.mean(2)
    of_other = of_one * torch.linalg.det(maps[..., :2])
    return torch.where(torch.minimum(of_one, of_other) >= _OVERLAP, correlation, torch.zeros(()))
