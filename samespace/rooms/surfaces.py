"""Paint surfaces with patterns; they are measured in metres, so that they stay in place when the viewpoint moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from samespace.base.arrays import Array

Colour = tuple[float, float, float]  # linear light, 0..1


@dataclass(frozen=True)
class Surface:
    """A material: `pattern` paints with `colour` and `other`, repeating every `size` metres.

    `gloss` is how much of the window it mirrors, `glow` the light it gives off itself.
    """

    pattern: Callable[[Spots, Surface], Array]
    colour: Colour
    other: Colour = (0.0, 0.0, 0.0)
    size: float = 1.0
    gloss: float = 0.0
    glow: float = 0.0
    turned: bool = False


@dataclass(frozen=True)
class Spots:
    """The places of n samples on the faces of things."""

    u: Array  # (n,) metres from the middle of the face
    v: Array  # (n,)
    footprint: Array  # (n,) metres that one pixel covers: what is finer than this must fade, or it would flicker
    half_u: Array  # (n,) half the face's size
    half_v: Array  # (n,)
    number: Array  # (n,) tells things of one material apart
    direction: Array  # (3, n) of sight

    def part(self, rows: slice) -> Spots:
        ends = self.half_u[rows], self.half_v[rows]
        return Spots(
            self.u[rows], self.v[rows], self.footprint[rows], *ends, self.number[rows], self.direction[:, rows]
        )

    def turned(self) -> Spots:
        return replace(self, u=self.v, v=self.u, half_u=self.half_v, half_v=self.half_u)

    @property
    def edge(self) -> Array:
        """Return the metres to the nearest edge of the face."""
        return np.minimum(self.half_u - np.abs(self.u), self.half_v - np.abs(self.v))


def colour(code: str) -> Colour:
    """Return the linear light of an sRGB colour written as six hex digits."""
    red, green, blue = (int(code[at : at + 2], 16) / 255 for at in (0, 2, 4))
    return (red**2.2, green**2.2, blue**2.2)


def paint(spots: Spots, surface: Surface) -> Array:
    """Return the colours of `surface` at `spots`, (3, n)."""
    return surface.pattern(spots.turned() if surface.turned else spots, surface)


def plain(spots: Spots, surface: Surface) -> Array:
    return _lit(surface.colour, 1 + 0.03 * noise(spots, 0.5))


def planks(spots: Spots, surface: Surface) -> Array:
    row = np.floor(spots.v / surface.size)
    along = spots.u + 1.7 * _random(row, row * 0)
    tone = _random(row, np.floor(along / 1.3))
    grain = noise(spots, 0.25, 0.012) + noise(spots, 0.9, 0.05)
    gaps = np.maximum(_lines(spots.v, surface.size, 0.005, spots), _lines(along, 1.3, 0.004, spots))
    return _mix(surface.colour, surface.other, 0.75 * tone + 0.22 * grain) * (1 - 0.65 * gaps)


def parquet(spots: Spots, surface: Surface) -> Array:
    """Paint squares of strips, each square at right angles to its neighbours."""
    column, row = np.floor(spots.u / surface.size), np.floor(spots.v / surface.size)
    across = np.where((column + row) % 2 == 0, spots.u, spots.v)
    strip = surface.size / 5
    tone = _random(np.floor(across / strip) + 31 * row, column)
    gaps = np.maximum(_lines(across, strip, 0.003, spots), 0.9 * _grid(spots, surface.size, surface.size, 0.004))
    strips: Array = _mix(surface.colour, surface.other, 0.8 * tone + 0.15 * noise(spots, 0.04)) * (1 - 0.5 * gaps)
    return strips


def tiles(spots: Spots, surface: Surface) -> Array:
    tone = _random(np.floor(spots.u / surface.size), np.floor(spots.v / surface.size))
    body = _lit(surface.colour, 0.92 + 0.12 * tone + 0.03 * noise(spots, 0.15))
    return _over(body, surface.other, _grid(spots, surface.size, surface.size, 0.008))


def checker(spots: Spots, surface: Surface) -> Array:
    column, row = np.floor(spots.u / surface.size), np.floor(spots.v / surface.size)
    body = _mix(surface.colour, surface.other, (column + row) % 2) * (0.9 + 0.15 * _random(column, row))
    return _over(body, (0.35, 0.34, 0.32), _grid(spots, surface.size, surface.size, 0.006))


def bricks(spots: Spots, surface: Surface) -> Array:
    """Paint bricks of two to one, each row shifted by half: metro tiles or a brick wall, by colours and size."""
    row = np.floor(spots.v / surface.size)
    along = spots.u + surface.size * (row % 2)
    tone = _random(row, np.floor(along / (2 * surface.size)))
    body = _lit(surface.colour, 0.85 + 0.2 * tone + 0.05 * noise(spots, 0.05))
    joint = 0.09 * surface.size
    seams = np.maximum(_lines(spots.v, surface.size, joint, spots), _lines(along, 2 * surface.size, joint, spots))
    return _over(body, surface.other, seams)


def stripes(spots: Spots, surface: Surface) -> Array:
    return _mix(surface.colour, surface.other, _wave(spots.u, surface.size, spots)) * (1 + 0.02 * noise(spots, 0.3))


def checks(spots: Spots, surface: Surface) -> Array:
    bands = _wave(spots.u, surface.size, spots) + _wave(spots.v, surface.size, spots)
    return _mix(surface.colour, surface.other, 0.5 * bands) * (1 + 0.05 * noise(spots, 0.01))


def motifs(spots: Spots, surface: Surface) -> Array:
    """Paint wallpaper: leaf-like lozenges in every second field of a grid."""
    turn = 2 * np.pi / surface.size
    field = np.cos(turn * spots.u) * np.cos(turn * spots.v) + 0.35 * np.cos(3 * turn * spots.u)
    return _mix(surface.colour, surface.other, _step(field - 0.45, turn * 1.4, spots))


def panels(spots: Spots, surface: Surface) -> Array:
    """Paint boards with a groove between them."""
    return _lit(surface.colour, 1 - 0.35 * _lines(spots.u, surface.size, 0.012, spots) + 0.02 * noise(spots, 0.4))


def wood(spots: Spots, surface: Surface) -> Array:
    grain = noise(spots, 0.03, 0.7) + 0.7 * noise(spots, 0.008, 0.3)
    return _mix(surface.colour, surface.other, 0.4 + 0.3 * grain)


def fabric(spots: Spots, surface: Surface) -> Array:
    return _lit(surface.colour, 1 + 0.1 * noise(spots, 0.008) + 0.06 * noise(spots, 0.12))


def carpet(spots: Spots, surface: Surface) -> Array:
    return _lit(surface.colour, 1 + 0.16 * noise(spots, 0.015) + 0.07 * noise(spots, 0.35))


def marble(spots: Spots, surface: Surface) -> Array:
    cloud = noise(spots, 0.35) + 0.5 * noise(spots, 0.12)
    veins = np.clip(1 - 5 * np.abs(cloud - 0.15), 0, 1) ** 2 * np.clip(0.3 + 1.2 * noise(spots, 0.5), 0, 1)
    return _mix(surface.colour, surface.other, 0.4 * veins + 0.14 * np.abs(cloud))


def metal(spots: Spots, surface: Surface) -> Array:
    return _lit(surface.colour, 1 + 0.06 * noise(spots, 0.6, 0.004) + 0.12 * noise(spots, 0.9))


def folds(spots: Spots, surface: Surface) -> Array:
    """Paint hanging cloth: light and dark down its folds."""
    drape = np.sin(2 * np.pi * spots.u / surface.size + 1.2 * noise(spots, 0.4))
    return _lit(surface.colour, 0.82 + 0.22 * drape)


def framed(spots: Spots, surface: Surface) -> Array:
    """Paint a door or cupboard front with a groove inside its edge."""
    groove = np.clip((0.006 - np.abs(spots.edge - surface.size)) / spots.footprint + 0.5, 0, 1)
    groove *= np.minimum(1, 0.012 / spots.footprint)
    return _lit(surface.colour, 1 - 0.4 * groove + 0.02 * noise(spots, 0.3))


def bordered(spots: Spots, surface: Surface) -> Array:
    """Paint a rug: two bands around the edge, lozenges in the middle."""
    band = np.clip((0.04 - np.abs(spots.edge - 0.14)) / spots.footprint + 0.5, 0, 1)
    turn = 2 * np.pi / surface.size
    middle = _step(np.cos(turn * spots.u) + np.cos(turn * spots.v) - 0.9, turn, spots) * (spots.edge > 0.26)
    return _mix(surface.colour, surface.other, np.maximum(band, middle)) * (1 + 0.12 * noise(spots, 0.012))


def books(spots: Spots, surface: Surface) -> Array:
    """Paint spines of books side by side, some shorter than others, and the dark shelf above them."""
    spine = np.floor(spots.u / 0.035)
    hue = _random(spine, spots.number)
    waves = [0.3 + 0.16 * np.cos(2 * np.pi * (hue + shift)) for shift in (0.0, 0.4, 0.7)]
    body = np.stack(waves) * (0.35 + 0.75 * _random(spine + 7, spots.number))
    body = body * (1 - 0.6 * _lines(spots.u, 0.035, 0.005, spots))
    height = 1 - 0.35 * _random(spine + 3, spots.number)
    above: Array = ((spots.v + spots.half_v) > 2 * spots.half_v * height).astype(np.float32)
    return _over(body, (0.015, 0.015, 0.015), above)


def hob(spots: Spots, surface: Surface) -> Array:
    """Paint four rings on black glass."""
    u, v = np.abs(np.abs(spots.u) - 0.13), np.abs(np.abs(spots.v) - 0.12)
    ring = np.clip((0.006 - np.abs(np.hypot(u, v) - 0.085)) / spots.footprint + 0.5, 0, 1)
    return _mix(surface.colour, surface.other, 0.7 * ring)


def landscape(spots: Spots, surface: Surface) -> Array:
    """Paint a picture: sky, sun, two ridges of hills, a white mount."""
    x, y = spots.u / spots.half_u, spots.v / spots.half_v
    shift = 1.7 * spots.number
    picture = _mix(surface.colour, (0.9, 0.8, 0.65), np.clip(0.5 - 0.5 * y, 0, 1))
    sun = np.hypot((spots.u - 0.3 * spots.half_u), spots.v - 0.3 * spots.half_v) < 0.22 * spots.half_v
    picture = _over(picture, (0.95, 0.55, 0.15), sun.astype(np.float32))
    for height, strength, shade in ((0.05, 0.25, 0.55), (-0.35, 0.2, 1.0)):
        ridge = height + strength * np.sin(2.6 * x + shift) + 0.1 * np.sin(7 * x + 2 * shift)
        hills = tuple(shade * part + (1 - shade) * 0.5 for part in surface.other)
        picture = _over(picture, (hills[0], hills[1], hills[2]), (y < ridge).astype(np.float32))
    return _mounted(spots, picture)


def abstract(spots: Spots, surface: Surface) -> Array:
    """Paint a picture: blocks and discs of two colours."""
    x, y = spots.u / spots.half_u, spots.v / spots.half_v
    random = np.random.default_rng(int(spots.number[0]))
    picture = _lit((0.82, 0.78, 0.68), 1 + 0 * x)
    for index in range(5):
        at_x, at_y, reach = random.uniform(-0.7, 0.7), random.uniform(-0.7, 0.7), random.uniform(0.2, 0.55)
        disc = np.hypot(x - at_x, y - at_y) < reach
        block = (np.abs(x - at_x) < reach) & (np.abs(y - at_y) < 0.6 * reach)
        tint = surface.colour if index % 2 else surface.other
        picture = _over(picture, tint, np.float32(0.9) * (disc if random.random() < 0.5 else block))
    return _mounted(spots, picture)


def outside(spots: Spots, surface: Surface) -> Array:
    """Paint the view through a window: bright sky over blurred trees, so far away that it moves with the eye."""
    x, y, z = spots.direction
    level = np.hypot(x, y)
    height = z / level
    bearing = np.arctan2(y, x)
    far = replace(spots, u=bearing, v=height, footprint=np.full_like(z, 0.02))
    crowns = 0.02 + 0.1 * noise(far, 0.35, 9.0) + 0.05 * noise(far, 0.1, 9.0)
    sky = _mix((0.95, 0.97, 1.0), surface.colour, np.clip(height * 1.6, 0, 0.8))
    trees = _mix(surface.other, (0.75, 0.8, 0.7), np.clip(0.35 + 0.35 * noise(far, 0.06), 0, 1))
    ground: Array = np.clip((crowns - height) / 0.03 + 0.5, 0, 1)
    return sky * (1 - ground) + 0.6 * trees * ground


def noise(spots: Spots, size: float, size_v: float | None = None) -> Array:
    """Return smooth random values, -1..1, about `size` metres from hill to hill; they fade if a pixel covers a hill."""
    size_v = size_v or size
    x, y = spots.u / np.float32(size) + 17.3 * spots.number, spots.v / np.float32(size_v)
    column, row = np.floor(x), np.floor(y)
    x, y = x - column, y - row
    x, y = x * x * (3 - 2 * x), y * y * (3 - 2 * y)
    i, j = column.astype(np.int32), row.astype(np.int32)
    low = _table(i, j) * (1 - x) + _table(i + 1, j) * x
    high = _table(i, j + 1) * (1 - x) + _table(i + 1, j + 1) * x
    seen: Array = np.clip(1.6 - 1.2 * spots.footprint / np.float32(min(size, size_v)), 0, 1)
    seen *= 2 * (low + (high - low) * y) - 1
    return seen


def _table(i: npt.NDArray[np.int32], j: npt.NDArray[np.int32]) -> Array:
    return _random_table().take(((j & 255) << 8) | (i & 255))


@lru_cache(maxsize=1)
def _random_table() -> Array:
    return np.random.default_rng(7).random(256 * 256, dtype=np.float32)


def _random(column: Array, row: Array) -> Array:
    """Return a random number, 0..1, for each cell of a grid."""
    return _table(column.astype(np.int32) * 5, row.astype(np.int32) * 11)


def _lines(x: Array, period: float, width: float, spots: Spots) -> Array:
    """Return how much of each pixel a line every `period` metres covers."""
    away = np.abs(x - np.round(x / np.float32(period)) * np.float32(period))
    covered: Array = np.clip((np.float32(width / 2) - away) / spots.footprint + 0.5, 0, 1)
    covered *= np.minimum(1, np.float32(width) / spots.footprint)
    return covered


def _grid(spots: Spots, width: float, height: float, line: float) -> Array:
    return np.maximum(_lines(spots.u, width, line, spots), _lines(spots.v, height, line, spots))


def _wave(x: Array, period: float, spots: Spots) -> Array:
    """Return 0 and 1 in equal bands."""
    turn = 2 * np.pi / period
    return _step(np.sin(np.float32(turn) * x), turn, spots)


def _step(field: Array, slope: float, spots: Spots) -> Array:
    """Return 1 where `field` is above zero, else 0, blurred over a pixel; `field` changes by up to `slope` a metre."""
    share: Array = np.clip(field / (np.float32(slope) * spots.footprint) + 0.5, 0, 1)
    return share


def _lit(base: Colour, strength: Array) -> Array:
    return np.stack([np.float32(part) * strength for part in base])


def _mix(first: Colour, second: Colour, share: Array) -> Array:
    """Blend two colours: `first` where `share` is 0, `second` where it is 1."""
    return np.stack([np.float32(a) + np.float32(b - a) * share for a, b in zip(first, second, strict=True)])


def _over(below: Array, top: Colour, cover: Array) -> Array:
    return below + (np.array(top, dtype=np.float32)[:, None] - below) * cover


def _mounted(spots: Spots, picture: Array) -> Array:
    return _over(picture, (0.85, 0.84, 0.8), (spots.edge < 0.045).astype(np.float32))
