"""How much of each colour a photo shows, and where: backbones learn to look past both, and sentences name them."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from samespace.base.arrays import Array
from samespace.base.photos import Pixels


class Axis(NamedTuple):
    """One of three ways in which colours differ, as a whole number."""

    knots: tuple[int, ...]  # where the colours that are told apart lie; those beyond count as the outermost
    low: int  # where the first of `LEVELS` begins that pixels are counted by
    step: int  # how wide each is


GRID = 3  # cells a side, for sentences say "on the left" and "in the middle"
LEVELS = 12
# Where colours lie tells most if it is near grey, for walls are: half as far apart, or twice, found fewer rooms. To
# tell more lights apart found hardly more.
LIGHT = Axis((153, 612), 0, 64)  # red + green + blue
RED = Axis((-24, -12, 0, 12, 24), -32, 5)  # red - green
YELLOW = Axis((-80, -40, 0, 40, 80), -97, 15)  # red + green - 2 blue
AXES = (LIGHT, RED, YELLOW)
DIM = GRID**2 * len(LIGHT.knots) * len(RED.knots) * len(YELLOW.knots)
STEP = 8  # of so many rows of pixels one is looked at

Numbers = npt.NDArray[np.signedinteger[Any]]
Bytes = npt.NDArray[np.uint8]


def colours(pixels: Pixels) -> Bytes:
    """(N, S, S, 3) → (N, DIM): for each cell, row by row, the share that is of each colour.

    Of shares the square roots are told, 255 standing for all: cosines then tell how alike shares are, and a small
    thing of a colour that nothing else has counts for more than its size.
    """
    found = np.empty((len(pixels), DIM), np.uint8)
    for row, photo in zip(found, pixels[:, STEP // 2 :: STEP], strict=True):
        counts = _counts(photo)
        shown = np.flatnonzero(counts.any(0))  # a photo has few of all
        shares = counts[:, shown].astype(np.float32) @ _memberships()[shown]
        row[:] = np.sqrt(shares / counts.sum(1, keepdims=True)).ravel() * 255 + 0.5
    return found


def _counts(photo: Pixels) -> Numbers:
    """(height, width, 3) → (cells, LEVELS³): how many pixels of each cell have each level of light, red and yellow."""
    red, green, blue = (photo[:, :, channel].astype(np.int16) for channel in range(3))
    both = red + green
    level = np.zeros(photo.shape[:2], np.int16)
    for values, axis in zip((both + blue, red - green, both - 2 * blue), AXES, strict=True):
        level = level * LEVELS + ((values - axis.low) // axis.step).clip(0, LEVELS - 1)
    place = _cells(*photo.shape[:2]) * LEVELS**3 + level
    return np.bincount(place.ravel(), minlength=GRID**2 * LEVELS**3).reshape(GRID**2, LEVELS**3)


@cache
def _cells(height: int, width: int) -> Numbers:
    """(height, width): which cell each pixel's middle lies in."""
    rows, columns = ((2 * np.arange(length) + 1) * GRID // (2 * length) for length in (height, width))
    cells: Numbers = rows[:, None] * GRID + columns
    return cells


@cache
def _memberships() -> Array:
    """(LEVELS³, colours): how much each belongs to each colour, 1 in all: to those on both sides of it on each axis."""
    light, red, yellow = map(_nearness, AXES)
    shares: Array = np.einsum("ai,bj,ck->abcijk", light, red, yellow).reshape(LEVELS**3, -1).astype(np.float32)
    return shares


def _nearness(axis: Axis) -> Array:
    """(LEVELS, knots), each row 1 together."""
    middles = axis.low + axis.step * np.arange(LEVELS) + (axis.step - 1) / 2
    weights: Array = np.stack([np.interp(middles, axis.knots, one) for one in np.eye(len(axis.knots))], 1)
    return weights
