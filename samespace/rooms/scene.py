"""Describe a scene to draw: shapes with their surfaces, windows, lamps, and the camera.

In the world x runs to the right, y away from the viewer and z up, in metres. Arrays of points are (3, n).
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
    fixed: bool = False  # its pattern has world coordinates, so it runs on into neighbouring shapes
    mirror: bool = False

    @cached_property
    def axes(self) -> Array:
        """Return the shape's own axes as columns, (3, 3)."""
        c, s, k, t = math.cos(self.turn), math.sin(self.turn), math.cos(self.tilt), math.sin(self.tilt)
        return np.array([[c, -s * k, s * t], [s, c * k, -c * t], [0, t, k]], dtype=np.float32)

    @cached_property
    def corners(self) -> Array:
        """Return the corners of the box around it, in the world, (8, 3)."""
        return (_CORNERS * np.array(self.half, dtype=np.float32)) @ self.axes.T + np.array(
            self.centre, dtype=np.float32
        )


@dataclass(frozen=True)
class Window:
    """A hole for daylight in the wall at `at` on axis 0 or 1; `inward` is the direction of the room: +1 or -1."""

    axis: int
    at: float
    inward: int
    left: float  # lower and upper end along the wall
    right: float
    bottom: float
    top: float
    sun: Point | None = None  # direction towards the sun, if it shines in

    def point(self, along: float, z: float, inside: float) -> Point:
        """Return a point in the world, given its place along the wall, its height and its distance into the room."""
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
        """Return the number of each shape's surface; shapes of one material share a number."""
        numbers: dict[Surface, int] = {}
        return np.array([numbers.setdefault(shape.surface, len(numbers)) for shape in self.shapes], dtype=np.int16)

    @cached_property
    def ranks(self) -> Keys:
        """Return the place of each key when keys are sorted by surface."""
        ranks = np.empty(4 * len(self.shapes), dtype=np.int16)
        ranks[np.argsort(self.palette.repeat(4), kind="stable")] = np.arange(ranks.size)
        return ranks


@dataclass(frozen=True)
class Camera:
    """A place to take a photo from, and the settings; angles in radians, yaw 0 looks along y and grows to the left."""

    position: Point
    yaw: float
    pitch: float
    zoom: float  # focal length as a share of the photo's width
    exposure: float = 1.0
    warmth: float = 0.0  # white balance: above zero is yellower
    seed: int = 0  # of the sensor's noise


def dot(one: Array, two: Array) -> Array:
    """Return dot products along the first axis: (3, n) and (3, n) or (3,) → (n,)."""
    return one[0] * two[0] + one[1] * two[1] + one[2] * two[2]


def unit(vectors: Array) -> Array:
    """Scale vectors, (3, n), to length 1."""
    return vectors / (np.sqrt(dot(vectors, vectors)) + np.float32(1e-9))
