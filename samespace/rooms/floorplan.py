"""Furnish a room at random: colours and surfaces that go together, pieces that fit, windows and lamps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from samespace.rooms import furniture
from samespace.rooms.furniture import BLACK, BRASS, CERAMIC, STEEL, Style, against, block
from samespace.rooms.scene import Point, Shape, Window
from samespace.rooms.surfaces import (
    Colour,
    Surface,
    abstract,
    bordered,
    bricks,
    carpet,
    checker,
    checks,
    colour,
    fabric,
    folds,
    framed,
    landscape,
    marble,
    motifs,
    outside,
    panels,
    parquet,
    plain,
    planks,
    stripes,
    tiles,
    wood,
)

Box = tuple[Point, Point]  # lowest and highest corner

WALL_COLOURS = {
    "white": "ebe8e1",
    "cream": "e8dcbf",
    "grey": "b4b8ba",
    "blue": "9db7cb",
    "green": "a9bb9a",
    "pink": "dfbdb4",
    "yellow": "e6d08e",
    "beige": "cdb899",
    "teal": "7aa09f",
    "orange": "d79d72",
}
CLOTH_COLOURS = {
    "blue": "2f5190",
    "green": "4c7550",
    "yellow": "d0a033",
    "red": "9f2d2b",
    "orange": "c8642a",
    "grey": "77797d",
    "teal": "2b7b7e",
    "purple": "6b4880",
    "pink": "cc8893",
    "brown": "6d4a33",
    "beige": "c2ae90",
    "white": "e4e1da",
}
WOODS = {
    "light wooden": ("c79d6a", "a97c49"),
    "wooden": ("9d6839", "774822"),
    "dark wooden": ("5b3923", "3b2314"),
    "white": ("e5e3dd", "d9d6cf"),
}
FLOORS = {
    "light wooden floor": Surface(planks, colour("cba878"), colour("a88455"), 0.14, gloss=0.22),
    "wooden floor": Surface(planks, colour("a27145"), colour("7d522d"), 0.11, gloss=0.25),
    "dark wooden floor": Surface(planks, colour("644129"), colour("43291a"), 0.15, gloss=0.25),
    "parquet floor": Surface(parquet, colour("b98a58"), colour("8d6036"), 0.4, gloss=0.25),
    "grey carpet": Surface(carpet, colour("8d8c8b")),
    "beige carpet": Surface(carpet, colour("bba88c")),
    "blue carpet": Surface(carpet, colour("56687f")),
    "grey tiled floor": Surface(tiles, colour("96999a"), colour("6f7172"), 0.45, gloss=0.3),
    "beige tiled floor": Surface(tiles, colour("cbb999"), colour("a08f73"), 0.35, gloss=0.3),
    "checkered floor": Surface(checker, colour("dedbd3"), colour("3b3b3d"), 0.3, gloss=0.3),
    "white marble floor": Surface(marble, colour("dedcd7"), colour("8a8b8e"), gloss=0.4),
    "terracotta floor": Surface(tiles, colour("b36a45"), colour("c0ab90"), 0.3, gloss=0.15),
}
DRY_FLOORS = list(FLOORS)[:7]
WET_FLOORS = list(FLOORS)[7:]
WHITE = Surface(plain, colour("ebe9e3"))


@dataclass(frozen=True)
class Piece:
    """A thing worth naming: `name` says what it is, `words` what it looks like, with an article."""

    name: str
    words: str
    wall: str
    box: Box


# Walls: how a piece against one is turned, and where the wall lies.


class Wall(NamedTuple):
    turn: float
    axis: int  # along which it runs
    far: bool  # at the far end of the other axis


WALLS = {
    "north": Wall(0.0, 0, True),
    "east": Wall(-math.pi / 2, 1, True),
    "south": Wall(math.pi, 0, False),
    "west": Wall(math.pi / 2, 1, False),
}


class Plan:
    """A room while it is being furnished: it knows what stands where, and finds free places."""

    def __init__(self, space_type: str, random: np.random.Generator) -> None:
        self.random = random
        spans = {
            "bedroom": ((3.4, 4.6), (3.5, 4.6)),
            "kitchen": ((3.4, 4.6), (3.4, 4.6)),
            "bathroom": ((2.5, 3.3), (2.5, 3.3)),
            "living_room": ((4.2, 5.6), (4.0, 5.2)),
        }[space_type]
        self.size = (self.between(*spans[0]), self.between(*spans[1]), self.between(2.45, 2.85))
        self.shapes: list[Shape] = []
        self.pieces: list[Piece] = []
        self.taken: list[Box] = []
        self.windows: list[Window] = []
        self.lamps: list[tuple[Point, float]] = []
        self.window = ""
        self.bright, self.dim = ("west", "east") if self.chance(0.5) else ("east", "west")
        self.wet = space_type == "bathroom"
        self._choose_surfaces(space_type)

    def between(self, low: float, high: float) -> float:
        return float(self.random.uniform(low, high))

    def chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def pick(self, words: Sequence[str]) -> str:
        return words[int(self.random.integers(len(words)))]

    def _choose_surfaces(self, space_type: str) -> None:
        self.floor = self.pick(
            {"kitchen": DRY_FLOORS[:4] + WET_FLOORS, "bathroom": WET_FLOORS}.get(space_type, DRY_FLOORS)
        )
        self.timber, self.cloth, self.accent = self._three_colours()
        self.front, front = self._front_surface()
        self.style = Style(
            wood=_timber(self.timber),
            textile=self._cloth_surface(),
            accent=Surface(fabric, colour(CLOTH_COLOURS[self.accent])),
            front=front,
            worktop=self._worktop(),
            handle=(STEEL, BRASS, BLACK)[int(self.random.integers(3))],
            leaf=Surface(fabric, colour(self.pick(("3f6b34", "56803c", "2f5a3c"))), gloss=0.05),
            pot=Surface(plain, colour(self.pick(("b5653f", "e6e2d9", "4a4d52", "3d6b80"))), gloss=0.15),
        )
        self._choose_walls()

    def _three_colours(self) -> tuple[str, str, str]:
        first, second = self.random.permutation(list(CLOTH_COLOURS))[:2]
        return self.pick(list(WOODS)), str(first), str(second)

    def _cloth_surface(self) -> Surface:
        tint = colour(CLOTH_COLOURS[self.cloth])
        paler = _blend(tint, (0.8, 0.78, 0.72), 0.75)
        self.weave, pattern, size = (("", fabric, 1.0), ("striped ", stripes, 0.16), ("checked ", checks, 0.14))[
            int(self.random.choice(3, p=[0.6, 0.22, 0.18]))
        ]
        return Surface(pattern, tint, paler, size)

    def _front_surface(self) -> tuple[str, Surface]:
        name = self.pick(("white", "grey", "blue", "green", "light wooden", "wooden", "dark wooden"))
        if name in WOODS and name != "white":
            return name, _timber(name)
        code = {"white": "e6e4de", "grey": "7d8285", "blue": "3d5674", "green": "5f7a66"}[name]
        return name, Surface(framed, colour(code), size=0.06, gloss=0.06)

    def _worktop(self) -> Surface:
        return (
            Surface(marble, colour("dcdad5"), colour("77787c"), gloss=0.35),
            Surface(wood, colour("b98a56"), colour("8f6335"), gloss=0.15, turned=True),
            Surface(plain, colour("2b2c2e"), gloss=0.35),
        )[int(self.random.integers(3))]

    def _choose_walls(self) -> None:
        name = self.pick(list(WALL_COLOURS))
        tint = colour(WALL_COLOURS[name])
        darker, paler = _blend(tint, (0.12, 0.13, 0.15), 0.4), _blend(tint, (0.85, 0.84, 0.8), 0.6)
        ground = _blend(tint, (0.3, 0.31, 0.33), 0.4) if name in ("white", "cream") else paler
        choices = [
            (f"{name} walls", Surface(plain, tint), Surface(plain, tint)),
            (
                f"striped {name} wallpaper",
                Surface(plain, paler),
                Surface(stripes, tint, ground, self.between(0.14, 0.3)),
            ),
            (
                f"patterned {name} wallpaper",
                Surface(plain, paler),
                Surface(motifs, tint, ground, self.between(0.15, 0.24)),
            ),
            (f"{name} wood panelling", Surface(plain, paler), Surface(panels, tint, size=self.between(0.1, 0.22))),
            ("a brick wall", Surface(plain, paler), Surface(bricks, colour("9a5b44"), colour("b9ada0"), 0.075)),
            (f"a dark {name} wall", Surface(plain, paler), Surface(plain, darker)),
        ]
        shares = [0.62, 0, 0.0, 0.1, 0, 0.28] if self.wet else [0.34, 0.16, 0.16, 0.12, 0.1, 0.12]
        self.walls, self.side_wall, self.front_wall = choices[int(self.random.choice(len(choices), p=shares))]

    # Finding room

    def length(self, wall: str) -> float:
        """Return the length of a wall in metres."""
        return self.size[WALLS[wall].axis]

    def box(
        self, wall: str, along: float, width: float, depth: float, low: float, high: float, out: float = 0.0
    ) -> Box:
        """Return the space of something `width` wide, centred at `along` on a wall, from `out` to `out + depth` off."""
        axis, far = WALLS[wall].axis, WALLS[wall].far
        end = self.size[1 - axis]
        across = (end - out - depth, end - out) if far else (out, out + depth)
        ends = (along - width / 2, along + width / 2)
        (x0, x1), (y0, y1) = (ends, across) if axis == 0 else (across, ends)
        return (x0, y0, low), (x1, y1, high)

    def free(self, box: Box) -> bool:
        """Tell if a box is inside the room and touches nothing that stands there."""
        inside = all(box[0][k] >= -1e-6 and box[1][k] <= self.size[k] + 1e-6 for k in range(3))
        return inside and not any(overlap(box, other) for other in self.taken)

    def put(self, shapes: list[Shape], wall: str, along: float, out: float = 0.0) -> None:
        """Add shapes at a place, free or not."""
        turn, axis, far = WALLS[wall]
        across = self.size[1 - axis] - out if far else out
        origin = (along, across, 0.0) if axis == 0 else (across, along, 0.0)
        self.shapes += against(shapes, origin, turn)

    def fit(
        self,
        name: str,
        words: str,
        shapes: list[Shape],
        places: Sequence[tuple[str, float]],
        size: Point,
        low: float = 0.0,
        out: float = 0.0,
    ) -> bool:
        """Put a piece of (width, depth, height) at the first free one of `places`; name it if it has `words`."""
        for wall, along in places:
            box = self.box(wall, along, size[0], size[1], low, low + size[2], out)
            if self.free(box):
                self.put(shapes, wall, along, out)
                self.taken.append(box)
                if words:
                    self.pieces.append(Piece(name, words, wall, box))
                return True
        return False

    def along(self, wall: str, width: float, count: int = 7) -> list[tuple[str, float]]:
        """Return places along a wall, best first; on side walls the northern ones, which the cameras see."""
        low, high = width / 2 + 0.04, self.length(wall) - width / 2 - 0.04
        if WALLS[wall].axis == 0:
            return [(wall, float(place)) for place in self.random.permutation(np.linspace(low, high, count))]
        return [(wall, float(place)) for place in np.linspace(high, max(low, min(high, 0.45 * high + 0.3)), count)]

    def anywhere(self, width: float) -> list[tuple[str, float]]:
        """Return places along the side walls, then along the north wall."""
        first, second = (self.dim, self.bright) if self.chance(0.6) else (self.bright, self.dim)
        return [*self.along(first, width), *self.along(second, width), *self.along("north", width)]

    # Parts of the building

    def add_door(self) -> None:
        """Put a door on the darker side near the cameras, or behind them."""
        wall = self.dim if self.chance(0.6) else "south"
        along = 0.75 if wall == self.dim else self.between(0.8, self.size[0] - 0.8)
        leaf = (WHITE, self.style.wood, WHITE)[int(self.random.integers(3))]
        self.put(furniture.door(0.82, 2.05, leaf, self.style.handle), wall, along)
        self.taken.append(self.box(wall, along, 1.05, 0.6, 0, 2.2))

    def add_window(self, wall: str, along: float, width: float, bottom: float, top: float, dressed: bool) -> None:
        axis, far = 1 - WALLS[wall].axis, WALLS[wall].far
        at, inward = (self.size[axis], -1) if far else (0.0, 1)
        sun = self._sun(axis, inward) if self.chance(0.45) and wall != "north" else None
        self.windows.append(Window(axis, at, inward, along - width / 2, along + width / 2, bottom, top, sun))
        self.window = {"west": "left", "east": "right", "north": "front"}[wall]
        self.put(_window_parts(width, bottom, top, self.wet, int(self.random.integers(1, 4)), self), wall, along)
        margin = 0.0
        if dressed:
            tint = self.pick((self.cloth, self.accent, "white", "beige"))
            cloth = Surface(folds, _blend(colour(CLOTH_COLOURS[tint]), (0.8, 0.78, 0.72), 0.3), size=0.12)
            margin = 0.45
            self.put(
                furniture.curtains(cloth, width, self.pick_height(bottom), min(top + 0.14, self.size[2] - 0.06)),
                wall,
                along,
            )
            self.taken.append(self.box(wall, along, width + 2 * margin, 0.16, 0.0, top + 0.2))
        elif bottom > 0.75 and not self.wet:
            self.put(furniture.radiator(0.8 * width), wall, along)
            self.taken.append(self.box(wall, along, 0.8 * width, 0.2, 0.0, 0.7))
        self.taken.append(self.box(wall, along, width + 0.16, 0.3, bottom - 0.05, top + 0.1))

    def pick_height(self, bottom: float) -> float:
        """Choose where curtains end: at the floor or just below the window."""
        return 0.03 if self.chance(0.6) else bottom - 0.12

    def _sun(self, axis: int, inward: int) -> Point:
        vector = [0.0, 0.0, self.between(0.5, 0.9)]
        vector[axis], vector[1 - axis] = -inward * 1.0, self.between(-0.5, 0.35)
        length = math.sqrt(sum(part * part for part in vector))
        return (vector[0] / length, vector[1] / length, vector[2] / length)

    def add_picture(self, wall: str, along: float, width: float, height: float, middle: float) -> None:
        pattern = landscape if self.chance(0.5) else abstract
        first, second = (colour(CLOTH_COLOURS[name]) for name in self.random.permutation(list(CLOTH_COLOURS))[:2])
        frame = (BLACK, self.style.wood, BRASS)[int(self.random.integers(3))]
        shapes = furniture.picture(Surface(pattern, first, second), frame, width, height, middle - height / 2)
        self.fit(
            "picture", "a picture on the wall", shapes, [(wall, along)], (width, 0.05, height), middle - height / 2
        )

    def add_ceiling_lamp(self, drop: float, along: float | None = None, depth: float | None = None) -> None:
        x, y, z = self.size[0] / 2 if along is None else along, depth or self.size[1] / 2, self.size[2]
        if drop:
            self.put(furniture.pendant(drop, self.style, z), "north", x, self.size[1] - y)
        else:
            disc = Surface(plain, colour("f6efe0"), glow=1.6)
            self.put([furniture.post(0, 0, z - 0.07, 0.2, 0.07, disc)], "north", x, self.size[1] - y)
        self.lamps.append(((x, y, z - drop - 0.25), 0.5))

    def lamp_at(self, wall: str, along: float, out: float, z: float) -> None:
        end = self.size[1 - WALLS[wall].axis]
        across = end - out if WALLS[wall].far else out
        self.lamps.append((((along, across, z) if WALLS[wall].axis == 0 else (across, along, z)), 0.07))

    def shell(self) -> list[Shape]:
        """Return floor, ceiling, walls with holes for the windows, and skirting."""
        width, depth, height = self.size
        ceiling = Surface(plain, colour("efede8"))
        shapes = [
            _fixed((-0.2, -0.2, -0.2), (width + 0.2, depth + 0.2, 0), FLOORS[self.floor]),
            _fixed((-0.2, -0.2, height), (width + 0.2, depth + 0.2, height + 0.2), ceiling),
        ]
        tiled = self.wet and not any(window.bottom < 1.3 for window in self.windows)
        tile = self._bath_tile() if tiled else None
        for wall in WALLS:
            surface = self.front_wall if wall == "north" else self.side_wall
            shapes += [_fixed(*box, surface) for box in self._wall_boxes(wall)]
            strip = self.box(wall, self.length(wall) / 2, self.length(wall), 0.013, 0, 1.25 if tile else 0.09)
            shapes.append(_fixed(*strip, tile or WHITE))
            if tile:
                edge = self.box(wall, self.length(wall) / 2, self.length(wall), 0.022, 1.25, 1.28)
                shapes.append(_fixed(*edge, CERAMIC))
        return shapes

    def _bath_tile(self) -> Surface:
        tint = colour(self.pick(("e4e4df", "c4d3d8", "a5bfae", "7f99a8", "d8cbb4", "4d6a72")))
        joint = _blend(tint, (0.4, 0.4, 0.38), 0.6)
        if self.chance(0.5):
            return Surface(bricks, tint, joint, 0.1, gloss=0.3)
        return Surface(tiles, tint, joint, self.between(0.12, 0.25), gloss=0.3)

    def _wall_boxes(self, wall: str) -> Iterator[Box]:
        # Neighbours overlap out of sight: where they only touched, a line of sight could slip between them.
        length, height, thick, lap = self.length(wall), self.size[2], 0.2, 0.02
        hole = next((one for one in self.windows if _in_wall(one, wall)), None)
        if hole is None:
            yield self.box(wall, length / 2, length + 2 * thick, thick, -lap, height + lap, -thick)
            return
        for left, right in ((-thick, hole.left), (hole.right, length + thick)):
            yield self.box(wall, (left + right) / 2, right - left, thick, -lap, height + lap, -thick)
        width = hole.right - hole.left + 2 * lap
        for low, high in ((-lap, hole.bottom), (hole.top, height + lap)):
            yield self.box(wall, (hole.left + hole.right) / 2, width, thick, low, high, -thick)


def _in_wall(window: Window, wall: str) -> bool:
    return window.axis == 1 - WALLS[wall].axis and (window.inward < 0) == WALLS[wall].far


def _window_parts(width: float, bottom: float, top: float, frosted: bool, bars: int, plan: Plan) -> list[Shape]:
    """Return a window's pane, frame, bars, trim and sill."""
    pane = Surface(outside, colour("8fb4dd"), colour(plan.pick(("4f6b3a", "6d7a4a", "7c8288"))), glow=2.6)
    if frosted:
        pane = Surface(plain, colour("e9f0f2"), glow=1.9)
    tall = top - bottom
    shapes = [block(0, -0.14, bottom - 0.02, width + 0.04, 0.02, tall + 0.04, pane)]
    uprights = np.linspace(-width / 2 + 0.025, width / 2 - 0.025, bars + 1).tolist()
    shapes += [block(x, -0.12, bottom, 0.05, 0.05, tall, WHITE) for x in uprights]
    levels = (bottom, top - 0.05, *((bottom + 0.65 * tall,) if bars > 1 else ()))
    shapes += [block(0, -0.118, z, width, 0.046, 0.05, WHITE) for z in levels]
    shapes += [block(side * (width / 2 + 0.03), 0, bottom, 0.06, 0.02, tall, WHITE) for side in (-1, 1)]
    shapes.append(block(0, 0, top, width + 0.12, 0.022, 0.06, WHITE))
    return [*shapes, block(0, -0.1, bottom - 0.03, width + 0.16, 0.17, 0.03, WHITE)]


def _fixed(low: Point, high: Point, surface: Surface) -> Shape:
    centre = ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, (low[2] + high[2]) / 2)
    half = ((high[0] - low[0]) / 2, (high[1] - low[1]) / 2, (high[2] - low[2]) / 2)
    return Shape("box", centre, half, surface, fixed=True)


def overlap(one: Box, two: Box) -> bool:
    """Tell if two boxes share space."""
    return all(one[0][k] < two[1][k] - 1e-6 and two[0][k] < one[1][k] - 1e-6 for k in range(3))


def _blend(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return (red, green, blue)


def _timber(name: str) -> Surface:
    first, second = WOODS[name]
    return Surface(wood, colour(first), colour(second), gloss=0.08)


def with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


# The four kinds of room


def _bedroom(plan: Plan) -> None:
    style, width = plan.style, plan.size[0]
    plan.add_door()
    plan.add_window(
        plan.bright, plan.size[1] * plan.between(0.56, 0.66), plan.between(1.1, 1.6), 0.85, 2.1, plan.chance(0.8)
    )
    bed_width = plan.between(1.45, 1.75)
    middle = width / 2 + plan.between(-0.3, 0.3)
    head = plan.pick(("panel", "padded", "bars"))
    shapes = furniture.bed(style, bed_width, head, int(plan.random.integers(1, 3)))
    plan.fit(
        "bed", with_article(f"{plan.weave}{plan.cloth} bed"), shapes, [("north", middle)], (bed_width + 0.1, 2.15, 1.1)
    )
    for side in (-1, 1):
        along = middle + side * (bed_width / 2 + 0.35)
        if plan.fit("bedside table", "", furniture.bedside(style), [("north", along)], (0.46, 0.43, 1.0)):
            plan.lamp_at("north", along, 0.2, 0.95)
    if plan.chance(0.75):
        plan.add_picture("north", middle, plan.between(0.7, 1.2), plan.between(0.5, 0.65), 1.62)
    _bedroom_storage(plan)
    if plan.chance(0.7):
        _lay_rug(plan, middle, 1.1, bed_width + 1.1, 1.9)
    _add_plant(plan, 0.5)
    plan.add_ceiling_lamp(0.35 if plan.chance(0.5) else 0.0)


def _bedroom_storage(plan: Plan) -> None:
    style, doors = plan.style, int(plan.random.integers(2, 4))
    height = plan.between(1.95, 2.25)
    if plan.chance(0.7):
        shapes = furniture.wardrobe(style, doors, height)
        size = (0.5 * doors + 0.06, 0.65, height + 0.06)
        plan.fit("wardrobe", with_article(f"{plan.front} wardrobe"), shapes, plan.along(plan.dim, size[0]), size)
    if plan.chance(0.6):
        shapes = furniture.drawers(style, 1.0, 0.45, 0.85, 4, 2)
        if plan.fit(
            "chest", with_article(f"{plan.timber} chest of drawers"), shapes, plan.anywhere(1.05), (1.05, 0.5, 0.87)
        ):
            return
    if plan.chance(0.6):
        shapes = furniture.desk(style, 1.1)
        plan.fit(
            "desk", with_article(f"{plan.timber} desk with a chair"), shapes, plan.anywhere(1.15), (1.15, 1.1, 0.95)
        )
    else:
        shapes = furniture.armchair(style)
        plan.fit("armchair", with_article(f"{plan.accent} armchair"), shapes, plan.anywhere(0.95), (0.95, 0.98, 0.9))


def _living_room(plan: Plan) -> None:
    style, width = plan.style, plan.size[0]
    plan.add_door()
    low = 0.85 if plan.chance(0.6) else 0.3
    plan.add_window(
        plan.bright, plan.size[1] * plan.between(0.55, 0.64), plan.between(1.3, 2.0), low, 2.15, plan.chance(0.75)
    )
    seats = 2 if plan.chance(0.4) else 3
    sofa_width = 0.65 * seats + 0.42
    middle = width / 2 + plan.between(-0.4, 0.4)
    sofa = furniture.sofa(style, sofa_width, seats)
    plan.fit("sofa", with_article(f"{plan.weave}{plan.cloth} sofa"), sofa, [("north", middle)], (sofa_width, 1.0, 0.9))
    if plan.chance(0.75):
        _lay_rug(plan, middle, 0.8, sofa_width + 0.6, 1.9)
    table = furniture.coffee_table(style, plan.chance(0.5))
    plan.fit(
        "coffee table",
        with_article(f"{plan.timber} coffee table"),
        table,
        [("north", middle)],
        (1.1, 0.75, 0.5),
        out=1.35,
    )
    if plan.chance(0.8):
        plan.add_picture("north", middle, plan.between(0.8, 1.5), plan.between(0.55, 0.8), 1.6)
    _living_room_sides(plan)
    corner = [("north", middle + side * (sofa_width / 2 + 0.3)) for side in (-1, 1)]
    if plan.chance(0.7) and plan.fit("lamp", "a floor lamp", furniture.floor_lamp(style), corner, (0.42, 0.48, 1.66)):
        box = plan.taken[-1]
        plan.lamps.append((((box[0][0] + box[1][0]) / 2, plan.size[1] - 0.25, 1.5), 0.12))
    _add_plant(plan, 0.85)
    plan.add_ceiling_lamp(0.4 if plan.chance(0.4) else 0.0)


def _living_room_sides(plan: Plan) -> None:
    style = plan.style
    if plan.chance(0.6):
        shelves, wide = int(plan.random.integers(4, 6)), plan.between(0.8, 1.2)
        shapes = furniture.bookcase(style, wide, shelves)
        plan.fit(
            "bookcase",
            with_article(f"{plan.timber} bookcase"),
            shapes,
            plan.anywhere(wide),
            (wide + 0.02, 0.35, 0.36 * shelves + 0.12),
        )
    if plan.chance(0.55):
        shapes = furniture.television(style, 1.5)
        plan.fit("television", "a television", shapes, plan.along(plan.dim, 1.55), (1.55, 0.48, 1.25))
    if plan.chance(0.6):
        shapes = furniture.armchair(style)
        plan.fit("armchair", with_article(f"{plan.accent} armchair"), shapes, plan.anywhere(1.0), (1.0, 1.0, 0.9))


def _kitchen(plan: Plan) -> None:
    style, width = plan.style, plan.size[0]
    plan.add_door()
    units, middle = _kitchen_units(plan)
    length = 0.6 * len(units)
    splash = plan.pick(("bricks", "tiles"))
    _splashback(plan, splash, middle, length, bool(units[0] == "fridge"))
    plan.fit(
        "cupboards",
        f"{plan.front} cupboards",
        furniture.counter(style, units),
        [("north", middle)],
        (length, 0.66, 0.93),
    )
    _name_units(plan, units, middle)
    if plan.chance(0.4):
        sink = middle + (units.index("sink") - (len(units) - 1) / 2) * 0.6
        plan.add_window("north", sink, 1.0, 1.12, 2.05, False)
    if plan.window == "" or plan.chance(0.4):
        side = plan.window
        plan.add_window(plan.bright, plan.size[1] * 0.5, plan.between(1.0, 1.4), 0.95, 2.05, False)
        plan.window = side or plan.window
    _wall_units(plan, units, middle)
    _kitchen_table(plan)
    _add_plant(plan, 0.4)
    if width > 4.2 and plan.chance(0.5):
        plan.add_picture(plan.dim, plan.size[1] * 0.55, 0.6, 0.5, 1.55)


def _kitchen_units(plan: Plan) -> tuple[list[str], float]:
    """Return the units along the north wall, and where their middle is."""
    count = int(plan.size[0] / 0.6 + 0.001)
    count -= 1 if count > 6 or plan.chance(0.3) else 0
    fillers = ["drawers", "cupboard", "cupboard", "drawers", "cupboard"]
    units = [str(unit) for unit in plan.random.permutation(["oven", "sink", *fillers[: count - 3]])]
    units = ["fridge", *units] if plan.chance(0.5) else [*units, "fridge"]
    spare = plan.size[0] - 0.6 * count
    return units, 0.3 * count + spare * (0.02 if units[0] == "fridge" else 0.98)


def _splashback(plan: Plan, kind: str, middle: float, length: float, left: bool) -> None:
    tint = colour(plan.pick(("e6e4dd", "dfe5e3", "8fb0a8", "6d8fa6", "d9b98c", "3f5d63", "c77f5d")))
    joint = _blend(tint, (0.35, 0.35, 0.33), 0.55)
    surface = Surface(
        bricks if kind == "bricks" else tiles, tint, joint, 0.075 if kind == "bricks" else 0.12, gloss=0.3
    )
    shift = 0.3 if left else -0.3
    plan.put([block(0, 0, 0.9, length - 0.6, 0.012, 0.55, surface)], "north", middle + shift)


def _name_units(plan: Plan, units: list[str], middle: float) -> None:
    tone = "steel" if plan.style.handle is BLACK else "white"
    for name, words in (("fridge", f"a {tone} fridge"), ("oven", "an oven"), ("sink", "a sink")):
        along = middle + (units.index(name) - (len(units) - 1) / 2) * 0.6
        box = plan.box("north", along, 0.6, 0.66, 0, 1.85 if name == "fridge" else 0.93)
        plan.pieces.append(Piece(name, words, "north", box))
        if name == "fridge":
            plan.taken.append(plan.box("north", along, 0.6, 0.7, 0.94, 1.86))


def _wall_units(plan: Plan, units: list[str], middle: float) -> None:
    """Hang cupboards above every unit that leaves room for one, and a hood above the oven."""
    for index, unit in enumerate(units):
        along = middle + (index - (len(units) - 1) / 2) * 0.6
        if unit == "oven":
            plan.fit(
                "hood", "", furniture.hood(plan.size[2]), [("north", along)], (0.6, 0.5, plan.size[2] - 1.55), 1.55
            )
        elif unit != "fridge":
            shapes = furniture.wall_cupboards(plan.style, 1)
            plan.fit("wall cupboard", "", shapes, [("north", along)], (0.599, 0.36, 0.7), 1.45)


def _kitchen_table(plan: Plan) -> None:
    style, width, depth, height = plan.style, *plan.size
    along = width / 2 + plan.between(-0.25, 0.25)
    placed = False
    if plan.chance(0.45) and width > 3.6:
        wide = plan.between(1.3, 1.7)
        shapes = furniture.island(style, wide, 2 if wide < 1.5 else 3)
        placed = plan.fit("island", "an island with stools", shapes, [("north", along)], (wide, 1.1, 0.95), out=1.55)
    if not placed:
        wide = plan.between(1.2, 1.5)
        words = with_article(f"{plan.timber} table with chairs")
        room = depth - 0.62 - 1.9 - 0.9
        out = 0.62 + max(0.35, min(0.8, room))
        placed = plan.fit(
            "table", words, furniture.dining(style, wide, 4), [("north", along)], (wide, 1.95, 0.95), out=out
        )
    plan.add_ceiling_lamp(plan.between(0.5, 0.7) if placed and height > 2.55 else 0.0, along, depth - 2.3)


def _bathroom(plan: Plan) -> None:
    style, depth = plan.style, plan.size[1]
    if plan.chance(0.65):
        _bathroom_window(plan)
    tub = min(1.75, depth - 0.9)
    plan.put(furniture.bathtub(style, tub), plan.bright, depth - tub / 2)
    box = plan.box(plan.bright, depth - tub / 2, tub, 0.76, 0, 0.6)
    plan.taken.append(box)
    plan.pieces.append(Piece("bathtub", "a bathtub", plan.bright, box))
    if plan.chance(0.45) and plan.window in ("", "front"):
        plan.put(furniture.shower_curtain(style, tub), plan.bright, depth - tub / 2)
        box = plan.box(plan.bright, depth - tub / 2, tub, 0.8, 0.3, 2.05)
        plan.pieces.append(Piece("shower curtain", with_article(f"{plan.cloth} shower curtain"), plan.bright, box))
    _basin(plan)
    shapes, size = furniture.toilet(), (0.6, 0.7, 0.8)
    plan.fit("toilet", "a toilet", shapes, [*plan.along("north", 0.6), *plan.along(plan.dim, 0.6)], size)
    towels = int(plan.random.integers(1, 3))
    size = (0.5 * towels + 0.05, 0.12, 0.7)
    places = [*plan.along(plan.dim, size[0]), *plan.along("north", size[0])]
    plan.fit("towels", with_article(f"{plan.accent} towel"), furniture.towels(style, towels), places, size, 0.6)
    mat = Surface(carpet, colour(CLOTH_COLOURS[plan.accent]))
    out = 0.85
    plan.put(furniture.rug(mat, 0.85, 0.55), plan.bright, depth - tub / 2, out)
    _add_plant(plan, 0.35)
    plan.add_ceiling_lamp(0.0)


def _bathroom_window(plan: Plan) -> None:
    width, depth, _ = plan.size
    wall = "north" if plan.chance(0.5) else plan.bright
    along = (0.55 if plan.bright == "west" else width - 0.55) if wall == "north" else depth - 0.9
    plan.add_window(wall, along, plan.between(0.6, 0.8), 1.35, 2.1, False)


def _basin(plan: Plan) -> None:
    """Put a vanity with a mirror over it at the north wall if it fits, or at the dim side."""
    style, wide = plan.style, plan.between(0.75, 1.0)
    places = [*plan.along("north", wide), *plan.along(plan.dim, wide)]
    if plan.fit(
        "vanity",
        with_article(f"{plan.front} vanity with a basin"),
        furniture.vanity(style, wide),
        places,
        (wide + 0.04, 0.5, 1.1),
    ):
        piece = plan.pieces[-1]
        axis = WALLS[piece.wall].axis
        along = (piece.box[0][axis] + piece.box[1][axis]) / 2
        frame = (STEEL, BLACK, BRASS, style.wood)[int(plan.random.integers(4))]
        size = (wide * 0.9, 0.05, plan.between(0.65, 0.85))
        shapes = furniture.mirror(size[0], 1.2, size[2], frame)
        plan.fit("mirror", "a mirror", shapes, [(piece.wall, along)], size, 1.2)


def _lay_rug(plan: Plan, along: float, out: float, width: float, depth: float) -> None:
    name = plan.pick([name for name in CLOTH_COLOURS if name != plan.cloth and name not in plan.floor])
    tint = colour(CLOTH_COLOURS[name])
    pattern, size = ((bordered, 0.3), (stripes, 0.24), (carpet, 1.0))[int(plan.random.integers(3))]
    surface = Surface(pattern, tint, _blend(tint, (0.8, 0.76, 0.66), 0.8), size)
    width = min(width, plan.size[0] - 0.3)
    along = min(max(along, width / 2 + 0.1), plan.size[0] - width / 2 - 0.1)
    plan.put(furniture.rug(surface, width, depth), "north", along, out)
    plan.pieces.append(
        Piece("rug", with_article(f"{name} rug"), "north", plan.box("north", along, width, depth, 0, 0.02, out))
    )


def _add_plant(plan: Plan, share: float) -> None:
    if plan.chance(share):
        height = plan.between(0.9, 1.5)
        shapes = furniture.plant(plan.style, height, int(plan.random.integers(1000)))
        size = (0.62, 0.62, height)
        corners = [("north", 0.32), ("north", plan.size[0] - 0.32)]
        places = [*corners, *plan.along(plan.bright, 0.62)[:3], *plan.along(plan.dim, 0.62)[:3]]
        plan.fit("plant", "a plant", shapes, places, size)


FURNISH = {"bedroom": _bedroom, "kitchen": _kitchen, "bathroom": _bathroom, "living_room": _living_room}
