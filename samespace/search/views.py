"""See sketches otherwise: without a border, turned, mirrored, or in part; and where in a photo that view lies."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np

from samespace.base.arrays import Doubles, Flags, Floats, Ints
from samespace.search.same_shot import GRID, SIDE, Sketch, outline_of

WHOLE = (0.0, 0.0, float(SIDE), float(SIDE))  # left, top, right, bottom

TURNS = range(1, 8)  # 1 mirrored, 2 upside down, 4 with rows for columns, and their sums
UNTIL_HALF = (1.0, 0.84, 0.71)  # the shares of either side that parts keep, of about half the area or more
STEP = 0.15  # of a side: parts of one size lie so far apart

_PLAIN = 7  # grey levels: a border's line varies no more, and nor do its lines from each other
_MOST_BORDER = 52  # of 64 lines

Box = tuple[float, float, float, float]


class View(NamedTuple):
    """One way to see a photo: a box of it, turned."""

    box: Box = WHOLE
    turn: int = 0


# Borders


def boxes_without_border(grey: Sketch) -> Ints:
    """Return the box inside a plain border of each of N sketches, (N, 4); the whole of those that have none."""
    boxes = np.tile(np.array(WHOLE, np.int64), (len(grey), 1))
    edge_lines = np.stack([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], 1)  # few photos have a plain one
    bordered = (edge_lines.max(2) - edge_lines.min(2) <= _PLAIN).any(1)
    if bordered.any():
        boxes[bordered] = _boxes_inside(grey[bordered])
    return boxes


def _boxes_inside(grey: Sketch) -> Ints:
    top, bottom = _plain_lines(grey, np.ones(grey.shape[:2], np.bool_))
    rows = np.arange(SIDE)
    inside = (rows >= top[:, None]) & (rows < SIDE - bottom[:, None])
    left, right = _plain_lines(grey.swapaxes(1, 2), inside)
    return np.stack([left, top, SIDE - right, SIDE - bottom], 1)


def _plain_lines(grey: Sketch, counted: Flags) -> tuple[Ints, Ints]:
    """Count the plain lines at the start and at the end of N sketches, (N,) each, by the `counted` places of a line.

    One more is taken off, which may be half a border; and none if little would be left.
    """
    mask = counted[:, None, :]
    lines = grey.astype(np.int64)
    means = (lines * mask).sum(2) / mask.sum(2)
    spread = np.where(mask, lines, 0).max(2) - np.where(mask, lines, 255).min(2)

    def run(means: Doubles, spread: Ints) -> Ints:
        plain = (spread <= _PLAIN) & (abs(means - means[:, :1]) <= _PLAIN)
        return np.asarray(np.logical_and.accumulate(plain, 1).sum(1))

    start, end = run(means, spread), run(means[:, ::-1], spread[:, ::-1])
    start, end = (np.where(count > 0, count + 1, 0) for count in (start, end))
    kept = start + end < _MOST_BORDER
    return start * kept, end * kept


# Parts


@cache
def parts() -> tuple[Box, ...]:
    """Return the boxes of parts that a crop may have kept: half the area or more, in several shapes and places."""
    boxes: list[Box] = []
    for wide, high in product(UNTIL_HALF, repeat=2):
        if 0.42 <= wide * high <= 0.9:
            for left in np.linspace(0, 1 - wide, 1 + round((1 - wide) / STEP)):
                for top in np.linspace(0, 1 - high, 1 + round((1 - high) / STEP)):
                    left, top = float(left), float(top)
                    boxes.append((left * SIDE, top * SIDE, (left + wide) * SIDE, (top + high) * SIDE))
    return tuple(boxes)


def outlines_of_parts(edges: Floats) -> Floats:
    """Return the outline of each of P `parts` of photos by their edges (N, 4, 64, 64): (P, N, 256)."""
    rows: dict[tuple[float, float], Floats] = {}
    outlines = []
    for left, top, right, bottom in parts():
        if (top, bottom) not in rows:
            rows[top, bottom] = _pool(top, bottom) @ edges
        outlines.append(outline_of(rows[top, bottom] @ _pool(left, right).T))
    return np.stack(outlines)


@cache
def _pool(start: float, end: float) -> Floats:
    """Return Gaussian means of eight cells between two places of a line, (8, 64)."""
    places, width = np.arange(SIDE), (end - start) / GRID
    middles = start + (np.arange(GRID)[:, None] + 0.5) * width
    weights = np.exp(-(((places - middles) / (width / 2)) ** 2) / 2) * ((places >= start - 0.5) & (places < end))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def sketch_of(grey: Sketch, view: View) -> Sketch:
    """Return what a view shows of a sketch, as a sketch: (64, 64) both."""
    if view.box != WHOLE:
        left, top, right, bottom = view.box
        grey = _between(_between(grey, top, bottom).T, left, right).T.round().astype(np.uint8)
    return _turned(grey, view.turn)


def _between(lines: Floats | Sketch, start: float, end: float) -> Floats:
    """Return SIDE lines, evenly spaced between two places of (SIDE, n) lines."""
    places = np.clip(start + (np.arange(SIDE) + 0.5) * (end - start) / SIDE - 0.5, 0, SIDE - 1)
    before = np.minimum(places.astype(np.intp), SIDE - 2)
    share = (places - before).astype(np.float32)[:, None]
    return lines[before] * (1 - share) + lines[before + 1] * share


# Turns


def _turned(grey: Sketch, turn: int) -> Sketch:
    if turn & 1:
        grey = grey[:, ::-1]
    if turn & 2:
        grey = grey[::-1]
    return grey.T if turn & 4 else grey


def turned_outlines(outlines: Floats, turn: int) -> Floats:
    """Return the outlines of sketches after a turn by those before: (N, 256) both."""
    waves = outlines.reshape(-1, 4, GRID, GRID)  # directions: right, down, left, up
    sign = (-1.0) ** np.arange(GRID, dtype=np.float32)  # of a wave that is looked at from the other end
    if turn & 1:
        waves = waves[:, [2, 1, 0, 3]] * sign
    if turn & 2:
        waves = waves[:, [0, 3, 2, 1]] * sign[:, None]
    if turn & 4:
        waves = waves[:, [1, 0, 3, 2]].swapaxes(2, 3)
    return waves.reshape(outlines.shape)


_MIRRORED = np.array([[-1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
_UPSIDE_DOWN = np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, 1]])
_EXCHANGED = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])


def place_in_photo(view: View) -> Doubles:
    """Return the map (3, 3) from a place in a view, -1 to 1 both ways, to its place in the photo, 0 to 1 both ways."""
    left, top, right, bottom = (side / SIDE for side in view.box)
    place = np.array(
        [[(right - left) / 2, 0, (left + right) / 2], [0, (bottom - top) / 2, (top + bottom) / 2], [0, 0, 1]]
    )
    for bit, back in ((1, _MIRRORED), (2, _UPSIDE_DOWN), (4, _EXCHANGED)):
        if view.turn & bit:
            place = place @ back
    return place
