"""Whiten what photos are made of: learn from photos which differences tell rooms apart. In closed form, without epochs.

Directions in which all photos differ widely say little about a room, so each is shortened; that needs no label. If it
is known which photos show one room, directions in which these differ from each other are shortened, too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from samespace.base.arrays import Array, Doubles, Floats, Ints, blocks, unit

MATERIALS = "materials"  # the field that holds what photos are made of
SAMPLE = 2048  # photos that are learnt from at most
# Few directions find all that is alike, and many tell apart what is most alike: vectors are made of both. They are
# shares of the photos learnt from, since what few photos say of further directions is chance.
_SHARES, _MOST = (0.2, 0.5), (160, 352)
DIM = sum(_MOST)  # numbers of a vector at most: one kilobyte in half precision
_POWER = 0.5  # how far directions are shortened: 0 not at all, 1 to one spread
_RIDGE = 0.3  # the spread within rooms, as a share of all, below which a direction is not lengthened further
_BLOCK = 1024  # photos that are projected at once


class Projection(NamedTuple):
    """A map from rows of numbers (n, D) to vectors (n, d) of length 1."""

    mean: Floats  # (D,)
    matrix: Floats  # (D, d)
    split: int  # numbers of a vector that are its part of few directions

    def __call__(self, rows: Array) -> Floats:
        parts = [self._project(rows[some]) for some in blocks(len(rows), _BLOCK)]
        return np.concatenate([np.empty((0, self.matrix.shape[1]), np.float32), *parts])

    def _project(self, rows: Array) -> Floats:
        found = ((rows - self.mean) @ self.matrix).astype(np.float32)
        few, many = unit(found[:, : self.split]), unit(found[:, self.split :])
        return np.concatenate([few, many], 1) * np.float32(0.5**0.5)


def fit(rows: Array, rooms: Ints | None = None) -> Projection:
    """Learn from rows (N, D), at least two; `rooms` (M,) numbers the rooms that the first M of them show."""
    values = rows.astype(np.float32)
    mean = values.mean(0)
    values -= mean
    spread, axes = np.linalg.eigh((values @ values.T).astype(np.float64))
    count = max(1, int((spread > 1e-6 * spread[-1]).sum()))  # what is left is rounding
    spread, axes = spread[::-1][:count].clip(1e-12), axes[:, ::-1][:, :count]
    dims = [min(count, most, max(1, round(share * len(rows)))) for share, most in zip(_SHARES, _MOST, strict=True)]
    matrices = [values.T @ _whitening(spread[:dim], axes[:, :dim], rooms).astype(np.float32) for dim in dims]
    return Projection(mean, np.concatenate(matrices, 1), dims[0])


def _whitening(spread: Doubles, axes: Doubles, rooms: Ints | None) -> Doubles:
    """Return the weights (N, d) by which photos make up the axes of a projection."""
    weights = axes * spread ** (-0.5 - _POWER / 2)
    if rooms is None:
        return weights
    # Where a photo lies, known from the eigenvectors alone: centred rows times rows are axes times spread.
    places = axes * spread ** (0.5 - _POWER / 2)
    scale = places[: len(rooms)].std()
    return weights @ _shorten_within(places[: len(rooms)] / scale, rooms) / scale


def _shorten_within(places: Doubles, rooms: Ints) -> Doubles:
    """Return the map (d, d) that shortens directions in which photos of one room (M, d) differ."""
    _, number, counts = np.unique(rooms, return_inverse=True, return_counts=True)
    middles = np.zeros((len(counts), places.shape[1]))
    np.add.at(middles, number, places)
    apart = places - (middles / counts[:, None])[number]
    spread, axes = np.linalg.eigh(apart.T @ apart / max(1, len(places) - len(counts)))
    return (axes / np.sqrt(spread.clip(0) + _RIDGE)) @ axes.T
