"""Light a room: daylight with soft shadows, patches of sun, lamps, reflections of the windows.

A grid of cells over the room knows how far away the nearest thing is and how much daylight comes from where.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from samespace.base.arrays import Array
from samespace.rooms.scene import Scene, Window, dot, unit

REACH = 0.12  # metres in front of a surface at which its light is looked up; also the side of a cell
FARTHEST = 0.6  # metres: the grid knows no distance greater than this
LAMP = np.array([[1.0], [0.82], [0.6]], dtype=np.float32)
DAYLIGHT = np.array([[0.95], [1.0], [1.06]], dtype=np.float32)
SUN = np.array([[3.2], [2.8], [2.2]], dtype=np.float32)


@dataclass(frozen=True)
class Grid:
    shape: tuple[int, int, int]
    channels: tuple[Array, ...]  # flat: distance, openness, daylight x, y, z


def falling(scene: Scene, grid: Grid, place: Array, normal: Array) -> Array:
    """Return the light that falls on each place, (3, n)."""
    distance, openness, *day = _look_up(grid, place + np.float32(REACH) * normal)
    contact = np.clip(distance / np.float32(REACH), 0, 1) * _corners(scene, place, normal)
    sky = np.maximum(dot(normal, np.stack(day)), 0)
    around = (0.2 + 0.8 * contact) * openness * (np.float32(0.36) + 0.08 * normal[2])
    light: Array = around + DAYLIGHT * (sky * (0.3 + 0.7 * contact))
    for window in scene.windows:
        if window.sun is not None:
            light += _sunlight(grid, window, place, normal)
    for lamp, strength in scene.lamps:
        to = np.array(lamp, dtype=np.float32)[:, None] - place
        far = dot(to, to)
        cosine = np.maximum(dot(to, normal) / np.sqrt(far), 0)
        light += LAMP * (np.float32(strength) * (0.15 + 0.85 * cosine) * contact * openness / (far + np.float32(0.06)))
    return light


def _corners(scene: Scene, place: Array, normal: Array) -> Array:
    """Return the share of light, (n,), that reaches places near where walls, floor and ceiling meet."""
    light: Array = np.ones_like(place[0])
    for axis in range(3):
        away = np.abs(np.minimum(place[axis], np.float32(scene.size[axis]) - place[axis]))
        light *= 1 - np.float32(0.4) * np.exp(away * np.float32(-6)) * (1 - np.abs(normal[axis]))
    return light


def _sunlight(grid: Grid, window: Window, place: Array, normal: Array) -> Array:
    """Return the light of the patch of sun that the window throws into the room, (3, n)."""
    sun = np.array(window.sun, dtype=np.float32)
    through = _through(window, place, np.broadcast_to(sun[:, None], place.shape), 0.02)
    strength = through * np.maximum(dot(normal, sun), 0)
    rows = np.flatnonzero(strength > 0.01)
    for step in (0.2, 0.35, 0.55, 0.8, 1.1, 1.5):
        distance = _nearest(grid, place[:, rows] + np.float32(step) * sun[:, None])
        strength[rows] *= np.clip(distance / np.float32(0.08), 0, 1)
    return SUN * strength


def gleam(scene: Scene, place: Array, normal: Array, sight: Array, gloss: Array) -> Array:
    """Return the window's reflection in glossy surfaces, (3, n), stronger at flat angles."""
    light = np.zeros_like(place)
    rows = np.flatnonzero(gloss > 0)
    look_in, facing = unit(sight[:, rows]), normal[:, rows]
    cosine = dot(look_in, facing)
    away = look_in - 2 * cosine * facing
    strength = gloss[rows] * (0.12 + 0.88 * np.clip(1 + cosine, 0, 1) ** 3)
    for window in scene.windows:
        light[:, rows] += 2 * DAYLIGHT * strength * _through(window, place[:, rows], away, 0.12)
    light[:, rows] += 0.25 * strength
    return light


def _through(window: Window, place: Array, direction: Array, soft: float) -> Array:
    """Return 1 for lines that pass through the window's opening, 0 for others, blurred over `soft` metres."""
    axis, other = window.axis, 1 - window.axis
    to_wall = np.float32(window.at - window.inward * 0.1) - place[axis]
    away = -window.inward * direction[axis]
    reach = to_wall * np.float32(-window.inward) / np.maximum(away, np.float32(1e-4))
    along, z = place[other] + direction[other] * reach, place[2] + direction[2] * reach
    inside = np.minimum(
        np.minimum(along - np.float32(window.left), np.float32(window.right) - along),
        np.minimum(z - np.float32(window.bottom), np.float32(window.top) - z),
    )
    share: Array = np.clip(inside / np.float32(soft) + 0.5, 0, 1)
    share *= away > 0.02
    return share


def _nearest(grid: Grid, place: Array) -> Array:
    """Return the distances at places, each from the cell that holds it."""
    x, y, z = (np.clip((place[k] / np.float32(REACH)).astype(np.int32), 0, grid.shape[k] - 1) for k in range(3))
    distance: Array = grid.channels[0].take((x * grid.shape[1] + y) * grid.shape[2] + z, mode="clip")
    return distance


def _look_up(grid: Grid, place: Array) -> list[Array]:
    """Return the grid's values at places, blended between cells."""
    shape = grid.shape
    parts, whole = [], []
    for axis in range(3):
        at = np.clip(place[axis] / np.float32(REACH) - np.float32(0.5), 0, shape[axis] - 1.001)
        whole.append(at.astype(np.int32))
        parts.append(at - whole[-1])
    base = (whole[0] * shape[1] + whole[1]) * shape[2] + whole[2]
    result = [np.zeros_like(place[0]) for _ in grid.channels]
    tap = np.empty_like(place[0])
    for dx, dy, dz in product((0, 1), repeat=3):
        weight = (
            (parts[0] if dx else 1 - parts[0]) * (parts[1] if dy else 1 - parts[1]) * (parts[2] if dz else 1 - parts[2])
        )
        cell = base + ((dx * shape[1] + dy) * shape[2] + dz)
        for total, channel in zip(result, grid.channels, strict=True):
            channel.take(cell, out=tap, mode="clip")
            tap *= weight
            total += tap
    return result


@lru_cache(maxsize=8)
def light_grid(scene: Scene) -> Grid:
    shape = (
        max(2, math.ceil(scene.size[0] / REACH)),
        max(2, math.ceil(scene.size[1] / REACH)),
        max(2, math.ceil(scene.size[2] / REACH)),
    )
    centres = [(np.arange(count, dtype=np.float32) + np.float32(0.5)) * np.float32(REACH) for count in shape]
    distance = _distances(scene, shape, centres)
    openness = np.clip(distance / 0.3, 0, 1)
    for axis in range(3):
        openness = _blurred(openness, axis)
    day = _daylight(scene, distance, centres)
    flat = [distance, 0.25 + 0.75 * openness, *day]
    return Grid(shape, tuple(np.ascontiguousarray(part, dtype=np.float32).ravel() for part in flat))


def _distances(scene: Scene, shape: tuple[int, int, int], centres: list[Array]) -> Array:
    """Return the distance from each cell to the nearest thing in the room, walls left out, (X, Y, Z)."""
    distance = np.full(shape, FARTHEST, dtype=np.float32)
    for thing in scene.shapes:
        if thing.fixed:
            continue
        reach = np.abs(thing.axes) @ np.array(thing.half, dtype=np.float32) + np.float32(FARTHEST)
        ends = [np.searchsorted(centres[k], (thing.centre[k] - reach[k], thing.centre[k] + reach[k])) for k in range(3)]
        part = tuple(slice(int(low), int(high)) for low, high in ends)
        x, y, z = (centres[k][part[k]] - np.float32(thing.centre[k]) for k in range(3))
        offset = (x[:, None, None], y[None, :, None], z[None, None, :])
        total = np.zeros((x.size, y.size, z.size), dtype=np.float32)
        for k in range(3):
            turned = sum(thing.axes[j, k] * offset[j] for j in range(3))
            total += np.maximum(np.abs(turned) - np.float32(thing.half[k]), 0) ** 2
        distance[part] = np.minimum(distance[part], np.sqrt(total))
    return distance


def _blurred(values: Array, axis: int, reach: int = 4) -> Array:
    """Return the mean over 2 × reach + 1 cells along one axis; beyond the walls the last cell repeats."""
    padding = [(0, 0)] * 3
    padding[axis] = (reach + 1, reach)
    total = np.cumsum(np.pad(values, padding, mode="edge"), axis=axis, dtype=np.float32)
    count = 2 * reach + 1
    return (
        np.take(total, range(count, total.shape[axis]), axis) - np.take(total, range(total.shape[axis] - count), axis)
    ) / count


def _daylight(scene: Scene, distance: Array, centres: list[Array]) -> Array:
    """Return daylight through the windows as a vector in each cell, with soft shadows, (3, X, Y, Z)."""
    x, y, z = np.meshgrid(*centres, indexing="ij")
    day = np.zeros((3, *distance.shape), dtype=np.float32)
    for window in scene.windows:
        area = (window.right - window.left) * (window.top - window.bottom)
        for across, up in product((0.2, 0.5, 0.8), (0.25, 0.75)):
            along = window.left + across * (window.right - window.left)
            source = window.point(along, window.bottom + up * (window.top - window.bottom), 0.02)
            to = np.stack([np.float32(source[0]) - x, np.float32(source[1]) - y, np.float32(source[2]) - z])
            far = (to**2).sum(axis=0)
            length = np.sqrt(far) + np.float32(1e-6)
            facing = np.maximum(-window.inward * to[window.axis], 0) / length
            power = np.float32(area / 6 * 1.1) * (0.1 + 0.9 * facing) / (far + np.float32(0.35))
            day += to / length * (power * _unshadowed(distance, (x, y, z), to, length))
    return day


def _unshadowed(distance: Array, place: tuple[Array, ...], to: Array, length: Array) -> Array:
    """Return the share of light that comes along `to`; a thing near the line dims it, more the nearer it is."""
    shape = distance.shape
    clear = np.ones_like(length)
    for share in (0.1, 0.22, 0.36, 0.52, 0.7):
        cell = [
            np.clip(((place[k] + share * to[k]) / np.float32(REACH)).astype(np.int32), 0, shape[k] - 1)
            for k in range(3)
        ]
        nearest = distance.ravel().take((cell[0] * shape[1] + cell[1]) * shape[2] + cell[2])
        clear = np.minimum(clear, nearest / (np.float32(0.25) * share * length + np.float32(0.04)))
    return np.clip(clear, 0, 1)
