"""What there is to draw: shapes with their surfaces, windows, lamps, and the camera that looks at them.

World: x to the right, y away from the viewer, z up, in metres. Arrays of points are (3, n).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import numpy.typing as npt

from samespace.base.arrays import Array
from samespace.rooms.surfaces import Surface

Point = tuple[float, float, float]
Keys = npt.NDArray[np.int16]

_CORNERS = np.array(list(product((-1, 1), repeat=3)), dtype=np.float32)


@dataclass(frozen=True)
class Shape:
    """A box, cylinder or ellipsoid: turned about the vertical, and tilted forward about its own x axis before that."""

    kind: str  # "box", "cylinder" or "ellipsoid"
    centre: Point
    half: Point  # half its width, depth and height
    surface: Surface
    rounding: float = 0.0  # radius of a box's edges
    turn: float = 0.0
    tilt: float = 0.0
    fixed: bool = False  # its pattern lies in world coordinates and so runs on into its neighbours
    mirror: bool = False

    @cached_property
    def axes(self) -> Array:
        """Its own axes as columns: (3, 3)."""
        c, s, k, t = math.cos(self.turn), math.sin(self.turn), math.cos(self.tilt), math.sin(self.tilt)
        return np.array([[c, -s * k, s * t], [s, c * k, -c * t], [0, t, k]], dtype=np.float32)

    @cached_property
    def corners(self) -> Array:
        """Of the box around it, in the world: (8, 3)."""
        turned: Array = (_CORNERS * np.array(self.half, dtype=np.float32)) @ self.axes.T
        return turned + np.array(self.centre, dtype=np.float32)


@dataclass(frozen=True)
class Window:
    """A hole for daylight in the wall at `at` on axis 0 or 1; `inward` is +1 where the room lies beyond, else -1."""

    axis: int
    at: float
    inward: int
    left: float  # lower and upper end along the wall
    right: float
    bottom: float
    top: float
    sun: Point | None = None  # direction towards the sun, where it shines in

    def point(self, along: float, z: float, inside: float) -> Point:
        across = self.at + self.inward * inside
        return (across, along, z) if self.axis == 0 else (along, across, z)


@dataclass(frozen=True)
class Scene:
    size: Point  # the room runs from the origin to here
    shapes: tuple[Shape, ...]
    windows: tuple[Window, ...]
    lamps: tuple[tuple[Point, float], ...]  # place and strength

    @cached_property
    def palette(self) -> Keys:
        """The number of each shape's surface: shapes of one material share it."""
        numbers: dict[Surface, int] = {}
        return np.array([numbers.setdefault(shape.surface, len(numbers)) for shape in self.shapes], dtype=np.int16)

    @cached_property
    def ranks(self) -> Keys:
        """Where each key comes when keys are ordered by surface."""
        ranks = np.empty(4 * len(self.shapes), dtype=np.int16)
        ranks[np.argsort(self.palette.repeat(4), kind="stable")] = np.arange(ranks.size)
        return ranks


@dataclass(frozen=True)
class Camera:
    """Where a photo is taken from and how: angles in radians, yaw 0 looks along y and grows to the left."""

    position: Point
    yaw: float
    pitch: float
    zoom: float  # focal length as a share of the photo's width
    exposure: float = 1.0
    warmth: float = 0.0  # white balance: above zero is yellower
    seed: int = 0  # of the sensor's noise


def dot(one: Array, two: Array) -> Array:
    """Products of vectors along the first axis: (3, n) and (3, n) or (3,) → (n,)."""
    total: Array = one[0] * two[0] + one[1] * two[1] + one[2] * two[2]
    return total


def unit(vectors: Array) -> Array:
    length: Array = np.sqrt(dot(vectors, vectors)) + np.float32(1e-9)
    return vectors / length
