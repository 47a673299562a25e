"""The picture of the packages and what each of them uses."""

from __future__ import annotations

from typing import NamedTuple

from canvas import GREY, PLAIN, Box, Canvas, Tint
from PIL import Image

ORANGE = Tint("#fdeac6", "#c58417")
BLUE = Tint("#e1ebf7", "#4f7cb3")
GREEN = Tint("#dcf1e6", "#3a8f66")

HEIGHT, STEP = 62, 96  # of a package, and from one floor to the next


class Package(NamedTuple):
    name: str
    words: str
    floor: int
    left: int
    right: int
    tint: Tint
    uses: tuple[str, ...] = ()

    @property
    def box(self) -> Box:
        top = 12 + self.floor * STEP
        return self.left, top, self.right, top + HEIGHT


PACKAGES = (
    Package("cli", "commands in the terminal", 0, 12, 492, ORANGE, ("web",)),
    Package("web", "pages in the browser, and their JSON", 1, 12, 492, ORANGE, ("words", "duplicates")),
    Package("words", "sentences and captions", 2, 12, 244, BLUE, ("search",)),
    Package("duplicates", "groups, plans, undo", 2, 260, 492, BLUE, ("search",)),
    Package("search", "photos like a photo", 3, 12, 492, BLUE, ("library", "model")),
    Package("library", "photos, read and remembered", 4, 12, 244, GREEN, ("base",)),
    Package("model", "the twin network", 4, 260, 492, GREEN, ("base",)),
    Package("rooms", "drawn photos of rooms", 4, 528, 748, GREEN, ("base",)),
    Package("base", "files, hashes, errors, progress", 5, 12, 748, PLAIN),
)


def draw_packages() -> Image.Image:
    canvas = Canvas(760, 12 + 5 * STEP + HEIGHT + 12)
    by_name = {package.name: package for package in PACKAGES}
    for package in PACKAGES:
        _draw_package(canvas, package)
        for name in package.uses:
            _draw_use(canvas, package.box, by_name[name].box)
    canvas.arrow((549, 30), (549, 58))
    canvas.text((566, 44), "uses", 14, GREY, "lm")
    canvas.text((540, 82), "Arrows point down only.", 14, GREY, "lm")
    return canvas.finished()


def _draw_package(canvas: Canvas, package: Package) -> None:
    left, top, right, _ = package.box
    canvas.box(package.box, package.tint)
    middle = (left + right) / 2
    canvas.text((middle, top + 22), package.name, 18, bold=True)
    canvas.text((middle, top + 44), package.words, 13, GREY)


def _draw_use(canvas: Canvas, user: Box, used: Box) -> None:
    """Draw an arrow straight down, in the middle of the narrower of the two."""
    narrow = min(user, used, key=lambda box: box[2] - box[0])
    middle = (narrow[0] + narrow[2]) / 2
    canvas.arrow((middle, user[3] + 2), (middle, used[1] - 2))
