"""Build furniture from boxes, cylinders and ellipsoids.

Every piece stands against a wall in its own frame: x runs along the wall to the right as one faces it, y points into
the wall (so the piece lies at y below 0), z up from the floor. `against` then sets it down in the room.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from samespace.rooms.scene import Point, Shape
from samespace.rooms.surfaces import Surface, books, colour, fabric, folds, framed, hob, metal, plain

STEEL = Surface(metal, colour("b9bcbe"), gloss=0.5)
BRASS = Surface(metal, colour("b08d4a"), gloss=0.4)
BLACK = Surface(plain, colour("1b1b1d"), gloss=0.15)
GLASS = Surface(plain, colour("101114"), gloss=0.7)
CERAMIC = Surface(plain, colour("eeeeea"), gloss=0.35)
LINEN = Surface(fabric, colour("e9e5dc"))
SHADE = Surface(fabric, colour("f3e2c2"), glow=1.1)
SOIL = Surface(plain, colour("3a2a1e"))
PAPER = Surface(plain, colour("e8e4da"))
MIRROR = Surface(plain, colour("8f9799"))


@dataclass(frozen=True)
class Style:
    """The materials of one room's furniture."""

    wood: Surface
    textile: Surface
    accent: Surface
    front: Surface  # cupboard doors
    worktop: Surface
    handle: Surface
    leaf: Surface
    pot: Surface


def against(shapes: list[Shape], origin: Point, turn: float) -> list[Shape]:
    """Return the shapes with their frame's origin at `origin`, turned about the vertical."""
    c, s = math.cos(turn), math.sin(turn)
    placed = []
    for shape in shapes:
        x, y, z = shape.centre
        centre = (origin[0] + c * x - s * y, origin[1] + s * x + c * y, origin[2] + z)
        placed.append(replace(shape, centre=centre, turn=shape.turn + turn))
    return placed


def block(
    x: float, out: float, z: float, width: float, depth: float, height: float, surface: Surface, rounding: float = 0.0
) -> Shape:
    """Return a box centred at `x`, with its back `out` from the wall and its underside at `z`."""
    half = (width / 2, depth / 2, height / 2)
    return Shape("box", (x, -out - depth / 2, z + height / 2), half, surface, min(rounding, *(0.98 * h for h in half)))


def post(x: float, out: float, z: float, radius: float, height: float, surface: Surface) -> Shape:
    """Return an upright cylinder whose axis is `out` from the wall."""
    return Shape("cylinder", (x, -out, z + height / 2), (radius, radius, height / 2), surface)


def rod(x: float, out: float, z: float, length: float, surface: Surface, radius: float = 0.012) -> Shape:
    """Return a level bar along the wall."""
    return block(x, out - radius, z - radius, length, 2 * radius, 2 * radius, surface, 0.98 * radius)


def legs(
    width: float, depth: float, height: float, surface: Surface, out: float = 0.0, thick: float = 0.05
) -> list[Shape]:
    sides = (-width / 2 + thick / 2, width / 2 - thick / 2)
    return [block(x, y, 0, thick, thick, height, surface) for x in sides for y in (out, out + depth - thick)]


def bed(style: Style, width: float, head: str, pillows: int) -> list[Shape]:
    """Return a bed, 2.15 deep; `head` is "panel", "padded" or "bars"."""
    shapes = [
        block(0, 0.07, 0.14, width, 2.05, 0.16, style.wood),
        *legs(width - 0.1, 1.9, 0.14, style.wood, 0.1, 0.07),
        block(0, 0.08, 0.3, width - 0.04, 2.0, 0.22, LINEN, 0.06),
        block(0, 0.72, 0.2, width + 0.06, 1.42, 0.37, style.textile, 0.07),
        block(0, 0.66, 0.42, width + 0.05, 0.26, 0.165, LINEN, 0.06),
        block(0, 1.55, 0.24, width + 0.09, 0.42, 0.345, style.accent, 0.06),
    ]
    shapes += _headboard(style, width, head)
    each = (width - 0.1) / 2
    for row in range(pillows):
        for side in (-1, 1):
            pillow = block(
                side * (each / 2 + 0.02), 0.13 + 0.17 * row, 0.5, each - 0.08, 0.15, 0.4 - 0.06 * row, LINEN, 0.073
            )
            shapes.append(replace(pillow, tilt=-0.42))
    cushion = block(0, 0.22 + 0.17 * pillows, 0.52, 0.5, 0.14, 0.34, style.accent, 0.069)
    return [*shapes, replace(cushion, tilt=-0.5)]


def _headboard(style: Style, width: float, head: str) -> list[Shape]:
    if head == "padded":
        return [block(side * width / 4, 0, 0.3, width / 2, 0.09, 0.8, style.textile, 0.035) for side in (-1, 1)]
    if head == "panel":
        return [
            block(0, 0, 0.15, width + 0.1, 0.05, 0.85, style.wood),
            block(0, 0, 1.0, width + 0.16, 0.07, 0.05, style.wood),
        ]
    bars = [
        block(x, 0.02, 0.5, 0.035, 0.03, 0.5, style.wood) for x in np.linspace(-width / 2 + 0.12, width / 2 - 0.12, 9)
    ]
    posts = [block(side * width / 2, 0, 0, 0.07, 0.07, 1.1, style.wood) for side in (-1, 1)]
    return [
        *bars,
        *posts,
        block(0, 0.01, 1.0, width, 0.05, 0.06, style.wood),
        block(0, 0.01, 0.45, width, 0.05, 0.06, style.wood),
    ]


def bedside(style: Style) -> list[Shape]:
    """Return a bedside table with its lamp, 0.45 wide."""
    return [
        *drawers(style, 0.45, 0.4, 0.52, 2),
        *[replace(part, centre=(part.centre[0], part.centre[1], part.centre[2] + 0.52)) for part in table_lamp(style)],
    ]


def table_lamp(style: Style) -> list[Shape]:
    return [
        post(0, 0.2, 0, 0.07, 0.02, style.pot),
        Shape("ellipsoid", (0, -0.2, 0.12), (0.075, 0.075, 0.11), style.pot),
        post(0, 0.2, 0.2, 0.012, 0.1, BRASS),
        post(0, 0.2, 0.28, 0.14, 0.19, SHADE),
    ]


def drawers(style: Style, width: float, depth: float, height: float, rows: int, columns: int = 1) -> list[Shape]:
    shapes = [block(0, 0, 0.08, width, depth, height - 0.08, style.wood), *legs(width, depth, 0.08, style.wood)]
    shapes.append(block(0, 0, height - 0.025, width + 0.03, depth + 0.03, 0.03, style.wood))
    return shapes + _fronts(
        width, depth, 0.1, height - 0.04, columns, rows, replace(style.wood, turned=True), style.handle, True
    )


def _fronts(
    width: float,
    depth: float,
    low: float,
    high: float,
    columns: int,
    rows: int,
    front: Surface,
    handle: Surface,
    level: bool,
) -> list[Shape]:
    """Return doors or drawers on the face of a carcass `depth` deep, each with its handle."""
    wide, tall, gap = width / columns, (high - low) / rows, 0.012
    shapes = []
    for column in range(columns):
        for row in range(rows):
            x, z = (column - (columns - 1) / 2) * wide, low + row * tall
            shapes.append(block(x, depth, z + gap / 2, wide - gap, 0.018, tall - gap, front))
            if level:
                shapes.append(rod(x, depth + 0.035, z + 0.72 * tall, min(0.14, 0.5 * wide), handle, 0.008))
            else:
                side = 1 if column % 2 == 0 else -1
                edge = x + side * (wide / 2 - 0.045)
                at = z + (0.5 * tall - 0.08 if tall > 1 else (0.12 if low > 1.2 else tall - 0.28))
                shapes.append(block(edge, depth + 0.02, at, 0.016, 0.022, 0.16, handle))
    return shapes


def wardrobe(style: Style, doors: int, height: float) -> list[Shape]:
    """Return a wardrobe, 0.5 wide for each door and 0.6 deep."""
    width = 0.5 * doors
    return [
        block(0, 0, 0, width - 0.04, 0.55, 0.09, style.front),
        block(0, 0, 0.09, width, 0.58, height - 0.09, style.front),
        block(0, 0, height, width + 0.05, 0.63, 0.05, style.front),
        *_fronts(width, 0.58, 0.1, height - 0.02, doors, 1, replace(style.front, size=0.07), style.handle, False),
    ]


def sofa(style: Style, width: float, seats: int) -> list[Shape]:
    """Return a sofa, 0.95 deep."""
    inner = width - 0.4
    shapes = [
        block(0, 0.02, 0.12, width - 0.05, 0.88, 0.2, style.textile, 0.03),
        block(0, 0.02, 0.25, width - 0.2, 0.24, 0.58, style.textile, 0.07),
        *legs(width - 0.15, 0.8, 0.13, style.wood, 0.05),
    ]
    arms = [block(side * (width / 2 - 0.1), 0.02, 0.15, 0.2, 0.92, 0.46, style.textile, 0.07) for side in (-1, 1)]
    shapes += arms
    each = inner / seats
    for seat in range(seats):
        x = (seat - (seats - 1) / 2) * each
        shapes.append(block(x, 0.25, 0.3, each - 0.01, 0.68, 0.17, style.textile, 0.05))
        shapes.append(replace(block(x, 0.2, 0.44, each - 0.03, 0.2, 0.42, style.textile, 0.08), tilt=-0.18))
    for side in (-1, 1) if seats > 1 else ():
        cushion = block(side * (inner / 2 - 0.22), 0.42, 0.48, 0.42, 0.14, 0.4, style.accent, 0.069)
        shapes.append(replace(cushion, tilt=-0.35, turn=-0.25 * side))
    return shapes


def coffee_table(style: Style, rounded: bool) -> list[Shape]:
    """Return a coffee table, about 1 wide and 0.6 deep, with a book and a bowl on it."""
    things = [block(-0.2, 0.2, 0.42, 0.26, 0.19, 0.03, style.accent), post(0.18, 0.32, 0.42, 0.1, 0.06, style.pot)]
    if rounded:
        shapes = [post(0, 0.35, 0.38, 0.42, 0.04, style.wood), post(0, 0.35, 0.02, 0.05, 0.36, style.handle)]
        return [*shapes, post(0, 0.35, 0, 0.26, 0.025, style.handle), *things]
    shelf = block(0, 0.05, 0.14, 0.95, 0.5, 0.025, style.wood)
    return [block(0, 0, 0.375, 1.05, 0.6, 0.045, style.wood), shelf, *legs(1.0, 0.56, 0.38, style.wood, 0.02), *things]


def armchair(style: Style) -> list[Shape]:
    return sofa(replace(style, textile=style.accent), 0.9, 1)


def bookcase(style: Style, width: float, shelves: int) -> list[Shape]:
    """Return a bookcase, 0.32 deep; its shelves hold books, one of them a vase."""
    height = 0.36 * shelves + 0.1
    shapes = [block(0, 0, 0, width, 0.02, height, style.wood)]
    shapes += [block(side * (width / 2 - 0.015), 0, 0, 0.03, 0.32, height, style.wood) for side in (-1, 1)]
    for row in range(shelves + 1):
        shapes.append(block(0, 0.01, 0.06 + 0.36 * row, width - 0.05, 0.3, 0.03, style.wood))
    volumes = Surface(books, (0.0, 0.0, 0.0))
    for row in range(shelves):
        share = (0.9, 0.55, 0.75)[row % 3]
        x = (-1, 1, -1)[row % 3] * (1 - share) / 2 * (width - 0.08)
        shapes.append(block(x, 0.04, 0.09 + 0.36 * row, share * (width - 0.08), 0.2, 0.28, volumes))
    vase_z = 0.09 + 0.36 * (1 if shelves < 5 else 4)
    return [*shapes, Shape("ellipsoid", (-0.28 * width, -0.17, vase_z + 0.11), (0.08, 0.08, 0.11), style.pot)]


def television(style: Style, width: float) -> list[Shape]:
    """Return a television on a low unit, 0.45 deep."""
    unit = drawers(style, width, 0.42, 0.45, 1, 3)
    screen = [
        block(0, 0.18, 0.47, 0.4, 0.2, 0.015, BLACK),
        block(0, 0.26, 0.48, 0.06, 0.03, 0.1, BLACK),
        block(0, 0.25, 0.55, 0.75 * width, 0.035, 0.43 * width, BLACK),
        block(0, 0.286, 0.565, 0.75 * width - 0.03, 0.004, 0.43 * width - 0.03, GLASS),
    ]
    return unit + screen


def table(style: Style, width: float, depth: float) -> list[Shape]:
    top = block(0, 0, 0.71, width, depth, 0.04, style.wood, 0.008)
    apron = block(0, 0.05, 0.63, width - 0.12, depth - 0.1, 0.08, style.wood)
    return [top, apron, *legs(width - 0.06, depth - 0.06, 0.71, style.wood, 0.03, 0.06)]


def chair(style: Style) -> list[Shape]:
    """Return a chair, 0.45 square, whose back is at the wall."""
    shapes = [
        block(0, 0, 0.43, 0.43, 0.43, 0.03, style.wood),
        block(0, 0.03, 0.455, 0.39, 0.38, 0.04, style.accent, 0.019),
    ]
    shapes += legs(0.42, 0.42, 0.43, style.wood, 0.0, 0.035)
    shapes += [block(side * 0.19, 0, 0.45, 0.035, 0.03, 0.45, style.wood) for side in (-1, 1)]
    return shapes + [block(0, 0.005, z, 0.36, 0.02, 0.09, style.wood) for z in (0.6, 0.79)]


def dining(style: Style, width: float, chairs: int) -> list[Shape]:
    """Return a table with chairs along both long sides and a bowl of fruit, 1.9 deep."""
    shapes = against(table(style, width, 0.8), (0, -0.55, 0), 0)
    for index in range(chairs):
        x = (index // 2 - (chairs // 2 - 1) / 2) * 0.6
        if index % 2 == 0:
            shapes += against(chair(style), (x, -0.22, 0), 0.08 * (index - 1))
        else:
            shapes += against(chair(style), (x, -1.7, 0), math.pi + 0.06 * (2 - index))
    return shapes + fruit(0.1, 0.95, 0.75, style)


def fruit(x: float, out: float, z: float, style: Style) -> list[Shape]:
    shapes = [Shape("ellipsoid", (x, -out, z + 0.045), (0.15, 0.15, 0.045), style.pot)]
    for index, code in enumerate(("c8401f", "e0a526", "8fae3a", "d9731f")):
        at = (x + 0.07 * math.cos(1.6 * index), -out + 0.07 * math.sin(1.6 * index), z + 0.1)
        shapes.append(Shape("ellipsoid", at, (0.042, 0.042, 0.042), Surface(plain, colour(code), gloss=0.1)))
    return shapes


def counter(style: Style, units: list[str]) -> list[Shape]:
    """Return a row of kitchen units, each 0.6 wide and 0.62 deep: cupboard, drawers, sink, oven or fridge."""
    shapes: list[Shape] = []
    for index, unit in enumerate(units):
        x = (index - (len(units) - 1) / 2) * 0.6
        shapes += against(_unit(style, unit), (x, 0, 0), 0)
    return shapes


def _unit(style: Style, unit: str) -> list[Shape]:
    if unit == "fridge":
        return fridge(style)
    base = [block(0, 0, 0, 0.6, 0.52, 0.1, BLACK), block(0, 0, 0.1, 0.6, 0.57, 0.76, style.front)]
    base.append(block(0, 0, 0.86, 0.6, 0.62, 0.04, style.worktop))
    if unit == "oven":
        return base + _oven()
    if unit == "drawers":
        return base + _fronts(0.6, 0.57, 0.11, 0.85, 1, 3, style.front, style.handle, True) + _kettle()
    base += _fronts(0.6, 0.57, 0.11, 0.85, 1 if unit == "cupboard" else 2, 1, style.front, style.handle, False)
    return base + (_tap(0.9) if unit == "sink" else [])


def _oven() -> list[Shape]:
    knobs = [Shape("ellipsoid", (x, -0.6, 0.8), (0.018, 0.02, 0.018), BLACK) for x in (-0.2, -0.1, 0.1, 0.2)]
    return [
        block(0, 0.57, 0.12, 0.58, 0.02, 0.73, STEEL),
        block(0, 0.59, 0.24, 0.5, 0.006, 0.4, GLASS),
        rod(0, 0.63, 0.7, 0.46, STEEL, 0.012),
        block(0, 0.05, 0.9, 0.56, 0.5, 0.008, Surface(hob, colour("141416"), colour("8a8a8a"), gloss=0.5)),
        *knobs,
    ]


def _kettle() -> list[Shape]:
    body = [post(0, 0.25, 0.9, 0.08, 0.17, STEEL), Shape("ellipsoid", (0, -0.25, 1.07), (0.08, 0.08, 0.035), STEEL)]
    return [*body, block(0.1, 0.24, 0.95, 0.025, 0.02, 0.12, BLACK), post(-0.2, 0.15, 0.9, 0.05, 0.14, CERAMIC)]


def _tap(z: float) -> list[Shape]:
    basin = block(0, 0.1, z, 0.46, 0.4, 0.006, STEEL)
    bowl = block(0, 0.13, z + 0.004, 0.4, 0.34, 0.004, Surface(metal, colour("77797b"), gloss=0.3))
    return [basin, bowl, *spout(0, 0.07, z)]


def spout(x: float, out: float, z: float) -> list[Shape]:
    return [
        post(x, out, z, 0.014, 0.24, STEEL),
        block(x, out - 0.01, z + 0.225, 0.022, 0.17, 0.022, STEEL, 0.01),
        post(x + 0.07, out, z, 0.018, 0.05, STEEL),
    ]


def fridge(style: Style) -> list[Shape]:
    """Return a fridge, 0.6 wide and 1.85 high."""
    body = STEEL if style.handle is BLACK else CERAMIC
    shapes = [block(0, 0, 0.03, 0.59, 0.58, 1.8, body), block(0, 0.585, 0.05, 0.585, 0.05, 0.6, body, 0.01)]
    shapes += [block(0, 0.585, 0.665, 0.585, 0.05, 1.16, body, 0.01)]
    return shapes + [block(-0.24, 0.64, z, 0.02, 0.03, tall, STEEL) for z, tall in ((0.4, 0.2), (0.75, 0.35))]


def wall_cupboards(style: Style, count: int) -> list[Shape]:
    """Return wall cupboards, each 0.6 wide, hung at 1.45."""
    width = 0.6 * count
    carcass = block(0, 0, 1.45, width, 0.33, 0.7, style.front)
    return [carcass, *_fronts(width, 0.33, 1.455, 2.145, count, 1, style.front, style.handle, False)]


def hood(height: float) -> list[Shape]:
    return [block(0, 0, 1.55, 0.6, 0.48, 0.07, STEEL), block(0, 0, 1.62, 0.28, 0.28, height - 1.62, STEEL)]


def island(style: Style, width: float, stools: int) -> list[Shape]:
    """Return cupboards for the middle of a kitchen with stools before them, 1.1 deep."""
    shapes = [
        block(0, 0.05, 0.0, width - 0.1, 0.5, 0.86, style.front),
        block(0, 0, 0.86, width, 0.75, 0.045, style.worktop),
    ]
    for index in range(stools):
        x = (index - (stools - 1) / 2) * width / stools
        shapes += [post(x, 0.85, 0.62, 0.17, 0.05, style.wood), post(x, 0.85, 0.02, 0.025, 0.6, style.handle)]
        shapes += [post(x, 0.85, 0, 0.19, 0.02, style.handle)]
    return shapes + fruit(-0.2, 0.35, 0.905, style)


def bathtub(style: Style, length: float) -> list[Shape]:
    """Return a bathtub, 0.75 deep, panelled in front, with a tap at its left end and a towel over the side."""
    shapes = [
        block(0, 0.02, 0, length - 0.03, 0.7, 0.2, CERAMIC),
        block(0, 0.7, 0, length, 0.04, 0.5, style.front),
        block(0, 0, 0.5, length, 0.09, 0.06, CERAMIC, 0.02),
        block(0, 0.66, 0.5, length, 0.09, 0.06, CERAMIC, 0.02),
        block(0, 0, 0.1, length, 0.05, 0.42, CERAMIC),
    ]
    for side in (-1, 1):
        shapes.append(block(side * (length / 2 - 0.05), 0.01, 0.49, 0.1, 0.73, 0.065, CERAMIC, 0.02))
        shapes.append(block(side * (length / 2 - 0.03), 0.02, 0, 0.06, 0.7, 0.5, CERAMIC))
    towel = block(0.2 * length, 0.63, 0.2, 0.4, 0.15, 0.375, style.accent, 0.015)
    return [*shapes, *against(spout(0, 0.06, 0.55), (-0.25 * length, 0, 0), 0), towel]


def shower_curtain(style: Style, length: float) -> list[Shape]:
    """Return a shower curtain, drawn over the left third of a bathtub."""
    cloth = replace(style.textile, pattern=folds, size=0.11)
    return [rod(0, 0.72, 2.02, length, STEEL), *_pleats(-length / 2 + 0.02, 0.32 * length, 0.72, 0.35, 1.65, cloth)]


def _pleats(left: float, width: float, out: float, z: float, height: float, cloth: Surface) -> list[Shape]:
    count = max(3, round(width / 0.09))
    each = width / count
    return [
        Shape(
            "cylinder",
            (left + (i + 0.5) * each, -out, z + height / 2),
            (0.62 * each, 0.035 + 0.012 * (i % 2), height / 2),
            cloth,
        )
        for i in range(count)
    ]


def curtains(cloth: Surface, width: float, z: float, top: float) -> list[Shape]:
    """Return curtains on either side of a window `width` wide, from the rail at `top` down to `z`."""
    side = min(0.42, 0.3 * width + 0.08)
    shapes = [rod(0, 0.08, top, width + 2 * side, BRASS, 0.013)]
    for left in (-width / 2 - side + 0.08, width / 2 - 0.08):
        shapes += _pleats(left, side, 0.08, z, top - z - 0.01, cloth)
    return shapes


def vanity(style: Style, width: float) -> list[Shape]:
    """Return a basin on a cupboard, 0.5 deep."""
    return [
        block(0, 0, 0.12, width, 0.44, 0.68, style.front),
        block(0, 0, 0, width - 0.06, 0.4, 0.12, style.front),
        *_fronts(width, 0.44, 0.13, 0.79, 2, 1, style.front, style.handle, False),
        block(0, 0, 0.8, width + 0.02, 0.48, 0.035, style.worktop),
        block(0, 0.06, 0.83, 0.48, 0.36, 0.12, CERAMIC, 0.055),
        Shape("ellipsoid", (0, -0.24, 0.951), (0.2, 0.14, 0.006), Surface(plain, colour("c9cccb"))),
        *against(spout(0, 0.04, 0.835), (0, 0, 0), 0),
        post(-0.36 * width, 0.15, 0.835, 0.03, 0.13, style.accent),
        post(0.38 * width, 0.2, 0.835, 0.035, 0.1, CERAMIC),
    ]


def mirror(width: float, z: float, height: float, frame: Surface) -> list[Shape]:
    glass = replace(block(0, 0.015, z + 0.03, width - 0.06, 0.012, height - 0.06, MIRROR), mirror=True)
    edges = [block(0, 0, z + end, width, 0.035, 0.035, frame) for end in (0, height - 0.035)]
    sides = [block(side * (width / 2 - 0.017), 0, z + 0.03, 0.034, 0.034, height - 0.06, frame) for side in (-1, 1)]
    return [glass, *edges, *sides]


def toilet() -> list[Shape]:
    """Return a toilet, 0.4 wide and 0.68 deep."""
    return [
        block(0, 0.0, 0.38, 0.4, 0.18, 0.38, CERAMIC, 0.04),
        block(0, 0.0, 0.75, 0.42, 0.2, 0.035, CERAMIC, 0.015),
        block(0, 0.05, 0, 0.24, 0.42, 0.32, CERAMIC, 0.06),
        Shape("ellipsoid", (0, -0.42, 0.32), (0.19, 0.26, 0.13), CERAMIC),
        Shape("cylinder", (0, -0.42, 0.42), (0.19, 0.25, 0.02), CERAMIC),
        Shape("cylinder", (0, -0.41, 0.448), (0.18, 0.235, 0.012), CERAMIC),
        Shape("ellipsoid", (0.1, -0.1, 0.79), (0.02, 0.02, 0.012), STEEL),
    ]


def towels(style: Style, count: int) -> list[Shape]:
    """Return towels on a rail at 1.2."""
    shapes = [rod(0, 0.07, 1.25, 0.5 * count, STEEL)]
    for index in range(count):
        x, cloth = (index - (count - 1) / 2) * 0.45, style.accent if index % 2 == 0 else style.textile
        shapes.append(block(x, 0.045, 0.62 + 0.1 * index, 0.36, 0.06, 0.66 - 0.1 * index, cloth, 0.028))
    return shapes


def rug(surface: Surface, width: float, depth: float) -> list[Shape]:
    return [block(0, 0, 0, width, depth, 0.014, surface)]


def picture(painting: Surface, frame: Surface, width: float, height: float, z: float) -> list[Shape]:
    return [
        block(0, 0, z, width, 0.03, height, frame),
        block(0, 0.03, z + 0.025, width - 0.05, 0.004, height - 0.05, painting),
    ]


def plant(style: Style, height: float, seed: int) -> list[Shape]:
    """Return a plant in a pot, about 0.6 across."""
    random = np.random.default_rng(seed)
    shapes = [post(0, 0.3, 0, 0.15, 0.28, style.pot), post(0, 0.3, 0.27, 0.13, 0.015, SOIL)]
    for index in range(22):
        turn, rise = 2.4 * index, random.uniform(0.25, 1.0)
        reach = 0.24 * math.sin(math.pi * min(0.9, rise * 0.8)) + 0.03
        at = (-math.sin(turn) * reach, -0.3 + math.cos(turn) * reach, 0.3 + rise * (height - 0.35))
        leaf = Shape("ellipsoid", at, (0.055, 0.17, 0.012), style.leaf, turn=turn, tilt=random.uniform(-0.1, 0.9))
        shapes.append(leaf)
    return [*shapes, post(0, 0.3, 0.28, 0.012, 0.75 * (height - 0.3), style.leaf)]


def floor_lamp(style: Style) -> list[Shape]:
    return [
        post(0, 0.25, 0, 0.14, 0.025, style.handle),
        post(0, 0.25, 0.02, 0.012, 1.4, style.handle),
        post(0, 0.25, 1.36, 0.2, 0.28, SHADE),
    ]


def pendant(drop: float, style: Style, z: float) -> list[Shape]:
    """Return a lamp that hangs from a ceiling at `z`."""
    return [post(0, 0, z - drop, 0.006, drop, BLACK), post(0, 0, z - drop - 0.16, 0.17, 0.18, SHADE)]


def desk(style: Style, width: float) -> list[Shape]:
    """Return a desk with a chair before it, 1 deep."""
    top = [block(0, 0, 0.71, width, 0.55, 0.03, style.wood), *legs(width - 0.04, 0.5, 0.71, style.wood, 0.02, 0.04)]
    things = [
        block(-0.3 * width, 0.1, 0.74, 0.2, 0.26, 0.05, style.accent),
        block(0, 0.15, 0.74, 0.34, 0.24, 0.015, STEEL),
    ]
    screen = replace(block(0, 0.12, 0.75, 0.34, 0.01, 0.22, BLACK), tilt=-0.15)
    return [*top, *things, screen, *against(chair(style), (0.05, -0.92, 0), math.pi - 0.2)]


def radiator(width: float) -> list[Shape]:
    ribs = [block(x, 0.03, 0.15, 0.045, 0.08, 0.5, CERAMIC, 0.015) for x in np.arange(-width / 2, width / 2, 0.06)]
    return [*ribs, block(0, 0.04, 0.2, width, 0.04, 0.03, CERAMIC), block(0, 0.04, 0.57, width, 0.04, 0.03, CERAMIC)]


def door(width: float, height: float, leaf: Surface, handle: Surface) -> list[Shape]:
    """Return a closed door with its casing."""
    casing = Surface(plain, colour("e4e2dc"))
    inset = replace(leaf, pattern=framed, size=0.03) if leaf.pattern is not framed else leaf
    shapes = [block(0, 0, 0, width, 0.035, height, leaf)]
    shapes += [block(0, 0.03, z, width - 0.22, 0.012, tall, inset) for z, tall in ((0.16, 0.72), (1.02, height - 1.16))]
    shapes += [block(side * (width / 2 + 0.04), 0, 0, 0.08, 0.05, height + 0.08, casing) for side in (-1, 1)]
    shapes.append(block(0, 0, height, width, 0.05, 0.08, casing))
    return [*shapes, rod(0.38 * width, 0.075, 1.02, 0.12, handle, 0.01)]
