"""Measure how much of each colour a photo shows, and where: sentences name colours, backbones learn to ignore them."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from samespace.base.arrays import Array, Ints
from samespace.base.photos import Pixels


class Axis(NamedTuple):
    """One of three ways in which colours differ, measured as a whole number."""

    knots: tuple[int, ...]  # the colours that are told apart; anything beyond counts as the outermost
    low: int  # where the first of the `LEVELS` begins in which pixels are counted
    step: int  # how wide each level is


GRID = 3  # cells a side, because sentences say "on the left" and "in the middle"
LEVELS = 12
# Knots near grey help most, because walls are nearly grey: at half the distance, or at twice, fewer rooms were found.
# More knots of light found hardly more.
LIGHT = Axis((153, 612), 0, 64)  # red + green + blue
RED = Axis((-24, -12, 0, 12, 24), -32, 5)  # red - green
YELLOW = Axis((-80, -40, 0, 40, 80), -97, 15)  # red + green - 2 blue
AXES = (LIGHT, RED, YELLOW)
DIM = GRID**2 * len(LIGHT.knots) * len(RED.knots) * len(YELLOW.knots)
STEP = 8  # one in so many rows of pixels is counted


def colours(pixels: Pixels) -> Pixels:
    """Return (N, DIM) bytes for photos (N, S, S, 3): the share of each colour in each cell, row by row.

    A share is kept as its square root, with 255 for the whole cell. So cosines compare shares well, and a small thing
    in a colour of its own counts for more than its size.
    """
    found = np.empty((len(pixels), DIM), np.uint8)
    for row, photo in zip(found, pixels[:, STEP // 2 :: STEP], strict=True):
        counts = _counts(photo)
        shown = np.flatnonzero(counts.any(0))  # few of all possible levels
        shares = counts[:, shown].astype(np.float32) @ _memberships()[shown]
        row[:] = np.sqrt(shares / counts.sum(1, keepdims=True)).ravel() * 255 + 0.5
    return found


def _counts(photo: Pixels) -> Ints:
    """Count the pixels of each cell at each level of light, red and yellow: (height, width, 3) → (cells, LEVELS³)."""
    red, green, blue = (photo[:, :, channel].astype(np.int16) for channel in range(3))
    both = red + green
    level = np.zeros(photo.shape[:2], np.int16)
    for values, axis in zip((both + blue, red - green, both - 2 * blue), AXES, strict=True):
        level = level * LEVELS + ((values - axis.low) // axis.step).clip(0, LEVELS - 1)
    place = _cells(*photo.shape[:2]) * LEVELS**3 + level
    return np.bincount(place.ravel(), minlength=GRID**2 * LEVELS**3).reshape(GRID**2, LEVELS**3)


@cache
def _cells(height: int, width: int) -> Ints:
    """Return the cell that each pixel's middle lies in: (height, width)."""
    rows, columns = ((2 * np.arange(length) + 1) * GRID // (2 * length) for length in (height, width))
    return rows[:, None] * GRID + columns


@cache
def _memberships() -> Array:
    """Return how much each level belongs to each colour, (LEVELS³, colours): it is shared by its nearest knots."""
    light, red, yellow = map(_nearness, AXES)
    return np.einsum("ai,bj,ck->abcijk", light, red, yellow).reshape(LEVELS**3, -1).astype(np.float32)


def _nearness(axis: Axis) -> Array:
    """Return how near each level of an axis is to each knot, (LEVELS, knots); rows add up to 1."""
    middles = axis.low + axis.step * np.arange(LEVELS) + (axis.step - 1) / 2
    return np.stack([np.interp(middles, axis.knots, one) for one in np.eye(len(axis.knots))], 1)
