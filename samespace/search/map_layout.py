"""A map of photos: vectors laid out on a plane so that those which point nearly the same way lie together.

This is t-SNE (van der Maaten and Hinton, 2008) over each photo's few nearest. All photos push each other away, which
a convolution on a grid sums up (Linderman et al., 2019): the cost grows with the photos and not with their square.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from samespace.base.arrays import Array, Doubles, Floats, unit
from samespace.search.neighbours import find_neighbours

NEAREST = 10  # photos that a photo is drawn to; in a small library about a quarter, for not all are near
TOGETHER, APART = 100, 200  # steps: first neighbours find each other, then all spread out
MOMENTUM = 0.8
FINE, COARSE = 48, 512  # strips of the grid: so many for a few photos, at most so many for very many, else 1 wide

Whole = npt.NDArray[np.integer]


def lay_out(vectors: Array) -> Floats:
    """Return places (N, 2) of vectors (N, D), from -1 to 1 along either axis; the same vectors give the same map."""
    if len(vectors) < 2:
        return np.zeros((len(vectors), 2), np.float32)
    vectors = unit(vectors.astype(np.float32))
    near = find_neighbours(vectors, -1.0, min(NEAREST, 1 + len(vectors) // 4))
    heads = np.repeat(np.arange(len(vectors)), np.diff(near.starts))
    places = _settle(_start(vectors), heads, near.ids)
    places -= (places.min(0) + places.max(0)) / 2
    return (places / max(np.abs(places).max(), 1e-12)).astype(np.float32)


def _start(vectors: Floats) -> Doubles:
    """Return first places (N, 2), near 0, along the two directions in which vectors differ most; no two are equal."""
    random = np.random.default_rng(0)
    differences = vectors - vectors.mean(0)
    directions = random.standard_normal((vectors.shape[1], 8)).astype(np.float32)
    for _ in range(12):
        directions = np.linalg.qr(differences.T @ (differences @ directions))[0]
    _, turned = np.linalg.eigh((differences @ directions).T @ (differences @ directions))
    places = differences @ directions @ turned[:, :-3:-1]
    return places / max(places.std(), 1e-6) * 1e-2 + 1e-4 * random.standard_normal((len(vectors), 2))


def _settle(places: Doubles, heads: Whole, tails: Whole) -> Doubles:
    """Move all, step by step, to where the pull of neighbours and the push of everybody balance."""
    step = np.zeros_like(places)
    # What many are drawn to moves as far as others do.
    pace = len(places) / np.maximum(1, np.bincount(heads) / (2 * NEAREST))[:, None]
    for steps, drawn, share in ((TOGETHER, 12, 1 / 8), (APART, 1, 1)):  # wider steps would overshoot
        for _ in range(steps):
            step = MOMENTUM * step + share * pace * (push(places) - drawn * _pull(places, heads, tails))
            places = places + step
    return places


def _pull(places: Doubles, heads: Whole, tails: Whole) -> Doubles:
    apart = places[heads] - places[tails]
    pulls = apart / (1 + np.square(apart).sum(1, keepdims=True)) / len(heads)
    return np.stack([np.bincount(heads, side, len(places)) for side in pulls.T], 1)


class _Grid(NamedTuple):
    """A grid, and the share of each place in the 4×4 grid points around it."""

    side: int
    points: npt.NDArray[np.intp]  # (16, N)
    shares: Doubles  # (16, N)

    def spread(self, amounts: Doubles) -> npt.NDArray[np.complex128]:
        """Return the spectrum of (N,) amounts spread over the grid, padded to twice its size so that nothing wraps."""
        laid = np.bincount(self.points.ravel(), (self.shares * amounts).ravel(), self.side**2)
        return np.fft.rfft2(laid.reshape(self.side, self.side), (2 * self.side, 2 * self.side))

    def gather(self, spectrum: npt.NDArray[np.complex128]) -> Doubles:
        """Return the field of a spectrum at each place, (N,)."""
        field = np.fft.irfft2(spectrum, (2 * self.side, 2 * self.side))[: self.side, : self.side]
        return (field.ravel()[self.points] * self.shares).sum(0)

    def self_push(self, width: float) -> float:
        """Return the sum of what all places, spread over the grid, contribute to themselves."""
        rows, columns = width * np.mgrid[:4, :4].reshape(2, 16)
        closeness = 1 / (1 + np.square(rows[:, None] - rows) + np.square(columns[:, None] - columns))
        return float((self.shares * (closeness @ self.shares)).sum())


def push(places: Doubles) -> Doubles:
    """Return how far, and where to, all others push each place (N, 2); each by 1 / (1 + distance²)²."""
    corner = places - places.min(0)
    extent = float(corner.max())
    width = max(min(1.0, extent / FINE), extent / COARSE, 1e-9)
    grid = _grid(corner / width)
    away = np.minimum(np.arange(2 * grid.side), 2 * grid.side - np.arange(2 * grid.side)) * width
    closeness = 1 / (1 + np.square(away[:, None]) + np.square(away))
    once, squared = np.fft.rfft2(closeness), np.fft.rfft2(np.square(closeness))
    ones = grid.spread(np.ones(len(places)))
    total = grid.gather(ones * once).sum() - grid.self_push(width)
    drawn = np.stack([grid.gather(grid.spread(side) * squared) for side in corner.T], 1)
    return (grid.gather(ones * squared)[:, None] * corner - drawn) / total


def _grid(corner: Doubles) -> _Grid:
    """Return the grid for places (N, 2), measured in strips from a corner."""
    side = -(-(int(corner.max()) + 4) // 16) * 16
    first = corner.astype(np.intp)  # of four points along each axis; the second is the last before the place
    across, down = (_shares(axis) for axis in (corner - first).T)
    rows, columns = (axis + np.arange(4)[:, None] for axis in first.T)
    points = rows[:, None] * side + columns
    return _Grid(side, points.reshape(16, -1), (across[:, None] * down).reshape(16, -1))


def _shares(after: Doubles) -> Doubles:
    """Return the weights (4, N) of a cubic through four points, at places (N,), 0 to 1, after the second."""
    before, beyond, ahead = after + 1, after - 1, after - 2
    return np.stack(
        [
            -after * beyond * ahead / 6,
            before * beyond * ahead / 2,
            -before * after * ahead / 2,
            before * after * beyond / 6,
        ]
    )
