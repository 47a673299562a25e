"""A map of photos: vectors laid out on a plane so that those which point nearly the same way lie together.

This is t-SNE (van der Maaten and Hinton, 2008) over each photo's few nearest. All photos push each other away, which
a convolution on a grid sums up (Linderman et al., 2019): the cost grows with the photos and not with their square.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from samespace.base.arrays import Array, Doubles, unit
from samespace.search.neighbours import find_neighbours

NEAREST = 10  # photos that a photo is drawn to; of a few photos about a quarter, for not everybody is near
TOGETHER, APART = 100, 200  # steps: first neighbours find each other, then all take their room
MOMENTUM = 0.8
FINE, COARSE = 48, 512  # strips of the grid: so many for a few photos, at most so many for very many, else 1 wide

Whole = npt.NDArray[np.integer]


def lay_out(vectors: Array) -> npt.NDArray[np.float32]:
    """(N, D) → (N, 2) around 0, none farther than 1 along either axis; the same vectors give the same map."""
    if len(vectors) < 2:
        return np.zeros((len(vectors), 2), np.float32)
    vectors = unit(vectors.astype(np.float32))
    near = find_neighbours(vectors, -1.0, min(NEAREST, 1 + len(vectors) // 4))
    heads = np.repeat(np.arange(len(vectors)), np.diff(near.starts))
    places = _settle(_start(vectors), heads, near.ids)
    places -= (places.min(0) + places.max(0)) / 2
    layout: npt.NDArray[np.float32] = (places / max(np.abs(places).max(), 1e-12)).astype(np.float32)
    return layout


def _start(vectors: npt.NDArray[np.float32]) -> Doubles:
    """Along the two directions in which the vectors differ most, (N, 2), small; no two at quite the same place."""
    random = np.random.default_rng(0)
    differences = vectors - vectors.mean(0)
    directions = random.standard_normal((vectors.shape[1], 8)).astype(np.float32)
    for _ in range(12):
        directions = np.linalg.qr(differences.T @ (differences @ directions))[0]
    _, turned = np.linalg.eigh((differences @ directions).T @ (differences @ directions))
    places = differences @ directions @ turned[:, :-3:-1]
    start: Doubles = places / max(places.std(), 1e-6) * 1e-2 + 1e-4 * random.standard_normal((len(vectors), 2))
    return start


def _settle(places: Doubles, heads: Whole, tails: Whole) -> Doubles:
    """Move all, step by step, to where pulling by neighbours and pushing by everybody are even."""
    step = np.zeros_like(places)
    # What many are drawn to moves as far as others do.
    pace = len(places) / np.maximum(1, np.bincount(heads) / (2 * NEAREST))[:, None]
    for steps, drawn, share in ((TOGETHER, 12, 1 / 8), (APART, 1, 1)):  # wider steps would overshoot
        for _ in range(steps):
            step = MOMENTUM * step + share * pace * (_push(places) - drawn * _pull(places, heads, tails))
            places = places + step
    return places


def _pull(places: Doubles, heads: Whole, tails: Whole) -> Doubles:
    apart = places[heads] - places[tails]
    pulls = apart / (1 + np.square(apart).sum(1, keepdims=True)) / len(heads)
    return np.stack([np.bincount(heads, side, len(places)) for side in pulls.T], 1)


class _Grid(NamedTuple):
    """What each place shares with the 4×4 grid points around it."""

    side: int
    points: npt.NDArray[np.intp]  # (16, N)
    shares: Doubles  # (16, N)

    def spread(self, amounts: Doubles) -> npt.NDArray[np.complex128]:
        """The spectrum of (N,) amounts put down on the grid, with as much room again so that nothing wraps round."""
        laid = np.bincount(self.points.ravel(), (self.shares * amounts).ravel(), self.side**2)
        return np.fft.rfft2(laid.reshape(self.side, self.side), (2 * self.side, 2 * self.side))

    def gather(self, spectrum: npt.NDArray[np.complex128]) -> Doubles:
        """(N,) what is found at each place."""
        field = np.fft.irfft2(spectrum, (2 * self.side, 2 * self.side))[: self.side, : self.side]
        gathered: Doubles = (field.ravel()[self.points] * self.shares).sum(0)
        return gathered

    def alone(self, width: float) -> float:
        """What all places, as they are spread, find of themselves."""
        rows, columns = width * np.mgrid[:4, :4].reshape(2, 16)
        closeness = 1 / (1 + np.square(rows[:, None] - rows) + np.square(columns[:, None] - columns))
        return float((self.shares * (closeness @ self.shares)).sum())


def _push(places: Doubles) -> Doubles:
    """How strongly, and where to, each is pushed by all others: (N, 2); by a pair as 1 / (1 + distance²)²."""
    corner = places - places.min(0)
    extent = float(corner.max())
    width = max(min(1.0, extent / FINE), extent / COARSE, 1e-9)
    grid = _grid(corner / width)
    away = np.minimum(np.arange(2 * grid.side), 2 * grid.side - np.arange(2 * grid.side)) * width
    closeness = 1 / (1 + np.square(away[:, None]) + np.square(away))
    once, squared = np.fft.rfft2(closeness), np.fft.rfft2(np.square(closeness))
    ones = grid.spread(np.ones(len(places)))
    total = grid.gather(ones * once).sum() - grid.alone(width)
    drawn = np.stack([grid.gather(grid.spread(side) * squared) for side in corner.T], 1)
    push: Doubles = (grid.gather(ones * squared)[:, None] * corner - drawn) / total
    return push


def _grid(corner: Doubles) -> _Grid:
    """For places in strips from a corner, (N, 2)."""
    side = -(-(int(corner.max()) + 4) // 16) * 16
    first = corner.astype(np.intp)  # of four points along each axis; the second is the last before the place
    across, down = (_shares(axis) for axis in (corner - first).T)
    rows, columns = (axis + np.arange(4)[:, None] for axis in first.T)
    points = rows[:, None] * side + columns
    return _Grid(side, points.reshape(16, -1), (across[:, None] * down).reshape(16, -1))


def _shares(after: Doubles) -> Doubles:
    """(N,) from 0 to 1, how far after the second of four points → (4, N): a cubic through all four, by its values."""
    before, beyond, ahead = after + 1, after - 1, after - 2
    return np.stack(
        [
            -after * beyond * ahead / 6,
            before * beyond * ahead / 2,
            -before * after * ahead / 2,
            before * after * beyond / 6,
        ]
    )
