"""A sheet to draw on, for pictures made of boxes, arrows and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

DENSITY = 2  # pixels of the picture to one of the page
FINE = 4  # pixels while drawing to one of the page: edges come out smooth

INK, GREY, LINE = "#1f2328", "#59636e", "#8c959f"
GREEN, RED = "#1a7f37", "#b42318"

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom


class Tint(NamedTuple):
    fill: str
    edge: str


PLAIN = Tint("#ffffff", LINE)
PANEL = Tint("#f6f8fa", "#d1d9e0")
FROZEN = Tint("#e1ebf7", "#4f7cb3")
FITTED = Tint("#dcf1e6", "#3a8f66")
LEARNS = Tint("#fdeac6", "#c58417")


class Canvas:
    """A white sheet on which places and sizes are in pixels of the page."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width * FINE, height * FINE), "white")
        self.pen = ImageDraw.Draw(self.image)

    def box(self, box: Box, tint: Tint, radius: float = 7, words: str = "", size: float = 14) -> None:
        self.pen.rounded_rectangle(_fine(*box), radius * FINE, tint.fill, tint.edge, round(1.5 * FINE))
        self.text(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), words, size)

    def striped_box(self, box: Box, tint: Tint, stripes: Tint, radius: float = 7) -> None:
        """Draw a box in stripes of two tints, for what can be either of two things."""
        left, top, right, bottom = _fine(*box)
        stuff = Image.new("RGB", (round(right - left) + 1, round(bottom - top) + 1), tint.fill)
        pen = ImageDraw.Draw(stuff)
        for x in range(-stuff.height, stuff.width, 14 * FINE):
            pen.line((x, stuff.height, x + stuff.height, 0), stripes.fill, 5 * FINE)
        shape = Image.new("L", stuff.size)
        ImageDraw.Draw(shape).rounded_rectangle((0, 0, stuff.width - 1, stuff.height - 1), radius * FINE, 255)
        self.image.paste(stuff, (round(left), round(top)), shape)
        self.pen.rounded_rectangle((left, top, right, bottom), radius * FINE, None, stripes.edge, round(1.5 * FINE))

    def text(
        self, at: Point, words: str, size: float = 14, colour: str = INK, anchor: str = "mm", bold: bool = False
    ) -> None:
        font, align = ImageFont.load_default(size * FINE), "center" if anchor[0] == "m" else "left"
        x, y = at
        self.pen.text((x * FINE, y * FINE), words, colour, font, anchor, 5 * FINE, align, stroke_width=bold)

    def line(self, points: Sequence[Point], colour: str = LINE, width: float = 1.5) -> None:
        self.pen.line([_fine(*point) for point in points], colour, round(width * FINE), "curve")

    def arrow(self, *points: Point) -> None:
        """Draw an arrow of level and upright lines, with its tip at the last point."""
        (x0, y0), (x, y) = points[-2:]
        across, down = (x > x0) - (x < x0), (y > y0) - (y < y0)
        neck = (x - 7 * across, y - 7 * down)
        self.line([*points[:-1], neck])
        wings = [(neck[0] + 4 * side * down, neck[1] + 4 * side * across) for side in (-1, 1)]
        self.pen.polygon([_fine(*point) for point in ((x, y), *wings)], LINE)

    def bracket(self, left: float, right: float, y: float, height: float, colour: str) -> None:
        """Draw a bracket, open downwards if `height` is positive, upwards if negative."""
        self.line([(left, y + height), (left, y), (right, y), (right, y + height)], colour, 2)

    def dot(self, at: Point, radius: float, colour: str) -> None:
        x, y = at
        self.pen.ellipse(_fine(x - radius, y - radius, x + radius, y + radius), colour, "white", FINE // 2)

    def photo(self, photo: Image.Image, at: Point) -> None:
        x, y = _fine(*at)
        self.image.paste(photo.resize(_scaled(photo, FINE // DENSITY), Image.Resampling.NEAREST), (round(x), round(y)))

    def finished(self) -> Image.Image:
        return self.image.reduce(FINE // DENSITY)


def _fine(*places: float) -> tuple[float, ...]:
    return tuple(place * FINE for place in places)


def _scaled(image: Image.Image, factor: int) -> tuple[int, int]:
    return image.width * factor, image.height * factor
