"""Draw the pictures of the README and the docs into this folder.

python images/draw.py                        all of them
python images/draw.py rooms architecture     only these
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from io import BytesIO
from itertools import cycle
from pathlib import Path

from canvas import (
    DENSITY,
    FITTED,
    FROZEN,
    GREEN,
    GREY,
    LEARNS,
    LINE,
    PANEL,
    PLAIN,
    RED,
    Box,
    Canvas,
    Point,
)
from packages import draw_packages
from PIL import Image, ImageFont

from samespace.base.errors import SameSpaceError, exit_status
from samespace.base.files import write_whole
from samespace.rooms.dataset import draw, make_room, viewpoints, write_dataset

FOLDER = Path(__file__).resolve().parent


def photos(space_type: str, seed: int, count: int, width: int) -> list[Image.Image]:
    """Return photos of one room, 4:3, `width` on the page, reduced from larger ones: grain would fill the file."""
    room = make_room(space_type, seed)
    size = (width * DENSITY * 3, width * DENSITY * 9 // 4)
    return [draw(room, camera, size).reduce(3) for camera in viewpoints(room, count)]


# ---- photos of rooms


def draw_rooms() -> Image.Image:
    width, height, gap, top = 156, 117, 6, 26
    rooms = {"bedroom": 8, "living_room": 12, "kitchen": 14, "bathroom": 14}
    canvas = Canvas(4 * width + 3 * gap, top + 3 * height + 2 * gap)
    for column, (space_type, seed) in enumerate(rooms.items()):
        left = column * (width + gap)
        canvas.text((left, 11), space_type.replace("_", " "), 14, GREY, "lm")
        for row, photo in enumerate(photos(space_type, seed, 3, width)):
            canvas.photo(photo, (left, top + row * (height + gap)))
    return canvas.finished()


def draw_same_or_not() -> Image.Image:
    width, height, gap = 280, 210, 16
    one, other, *_ = photos("bedroom", 23, 2, width)
    third = photos("bedroom", 102, 1, width)[0]
    canvas = Canvas(3 * width + 2 * gap, height + 52)
    for column, photo in enumerate((one, other, third)):
        canvas.photo(photo, (column * (width + gap), 0))
    for pair, (words, colour) in enumerate((("same space", GREEN), ("different spaces", RED))):
        middle = (pair + 1) * (width + gap) - gap / 2
        reach = (width + gap) / 2 - 6
        canvas.bracket(middle - reach, middle + reach, height + 18, -10, colour)
        canvas.text((middle, height + 37), words, 19, colour, bold=True)
    return canvas.finished()


def draw_pairs() -> Image.Image:
    """Draw what `python data.py samples` shows of drawn rooms."""
    sys.path.insert(0, str(FOLDER.parent))
    from experiments.samples import draw_samples
    from samespace.model.pairs import find_photos, make_pairs

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "rooms")
        write_dataset(root, training_photos=120, test_photos=0)
        training = find_photos(root)
        return draw_samples(training, make_pairs(training), seed=1, count=3)


# ---- the network

ROWS = (124, 222)  # the middle of either photo's row
FLOOR = 336  # where the heads begin
ELBOW = 306  # where lines turn towards them
EARLY, MIDDLE, EMBEDDED = 277, 457, 822  # the middle of what these layers give


def draw_network() -> Image.Image:
    canvas = Canvas(940, 762)
    _draw_tower(canvas)
    _draw_compare(canvas, (16, FLOOR, 536, 714))
    _draw_concat(canvas, (552, FLOOR, 924, 714))
    _draw_legend(canvas, 740)
    return canvas.finished()


def _draw_tower(canvas: Canvas) -> None:
    canvas.bracket(160, 652, 44, 8, FROZEN.edge)
    canvas.text((406, 24), "frozen, computed once: the feature bank", 15, FROZEN.edge, bold=True)
    arrows = ((140, 156), (230, 244), (310, 326), (400, 426), (490, 506), (580, 612), (652, 666), (784, 808))
    for photo, row in zip(photos("bedroom", 23, 2, 120), ROWS, strict=True):
        canvas.photo(photo, (16, row - 45))
        for left, right in arrows:
            canvas.arrow((left, row), (right, row))
        _draw_map(canvas, photo, (EARLY - 32, row - 32), 64, 32)
        _draw_map(canvas, photo, (MIDDLE - 26, row - 26), 52, 16)
        _draw_map(canvas, photo, (616, row - 16), 32, 8)
        _draw_vector(canvas, (EMBEDDED - 8, row - 32), 64)
    for left, words in ((160, "early\nlayers"), (330, "middle\nlayers"), (510, "late\nlayers")):
        canvas.box((left, 76, left + 70, 270), FROZEN, words=words)
    canvas.striped_box((670, 76, 784, 270), FROZEN, LEARNS)
    canvas.text((727, 173), "last\nconvolution\nand pooling")
    for x, words in ((EARLY, "32 by 32"), (MIDDLE, "16 by 16"), (632, "8 by 8")):
        canvas.text((x, 64), words, 13, GREY)
    canvas.text((840, 173), "embeddings,\n1280-d", 13, GREY, "lm")
    canvas.text((640, 288), "both photos pass through the same weights", 13, GREY)


def _draw_map(canvas: Canvas, photo: Image.Image, at: Point, side: int, cells: int) -> None:
    """Draw the photo in as many cells as the map has, as a sheet of blue."""
    tinted = photo.convert("L").resize((cells, cells), Image.Resampling.BOX)
    sheet = Image.merge("RGB", [tinted.point(_between(dark, 255)) for dark in (40, 82, 134)])
    for shift in (6, 3):
        canvas.box((at[0] + shift, at[1] - shift, at[0] + side + shift, at[1] + side - shift), FROZEN, 0)
    canvas.box((at[0] - 1.5, at[1] - 1.5, at[0] + side + 1.5, at[1] + side + 1.5), FROZEN, 0)
    canvas.photo(sheet.resize((side * DENSITY, side * DENSITY), Image.Resampling.NEAREST), at)


def _between(dark: int, light: int) -> list[int]:
    return [dark + (light - dark) * value // 255 for value in range(256)]


def _draw_vector(canvas: Canvas, at: Point, height: int, cells: int = 8) -> None:
    x, y = at
    canvas.box((x, y, x + 16, y + height), PLAIN, 3)
    for cell in range(1, cells):
        canvas.line([(x, y + cell * height / cells), (x + 16, y + cell * height / cells)], LINE, 1)


def _draw_compare(canvas: Canvas, box: Box) -> None:
    from samespace.model.points import MOST
    from samespace.model.projection import DIM

    canvas.box(box, PANEL, 10)
    points, whole, middle = 146, 406, 276
    canvas.text((middle, FLOOR + 24), "head: compare", 17, bold=True)
    canvas.text((middle, FLOOR + 46), "the default", 13, GREY)
    for x, high in ((EARLY, 32), (MIDDLE, 26)):
        canvas.line([(x, ROWS[0] + high + 2), (x, ROWS[1] - high - 7)])
        canvas.line([(x, ROWS[1] + high + 2), (x, ELBOW), (whole, ELBOW)])
    canvas.arrow((whole, ELBOW), (whole, 400))
    canvas.arrow((76, ROWS[1] + 47), (76, ELBOW), (points, ELBOW), (points, 400))
    columns = (
        (points, PLAIN, f"up to {MOST} points of a photo", PLAIN, "those found again where\na moved camera sees them"),
        (whole, PLAIN, "materials: textures, colours", FITTED, f"projection, up to {DIM}-d"),
    )
    for x, tint0, words0, tint1, words1 in columns:
        canvas.box((x - 112, 402, x + 112, 436), tint0, words=words0)
        canvas.arrow((x, 438), (x, 458))
        canvas.box((x - 112, 460, x + 112, 504), tint1, words=words1)
        canvas.arrow((x, 506), (x, 526))
        canvas.arrow((x, 574), (x, 594))
    canvas.box((points - 112, 528, points + 112, 572), PLAIN, words="proof, along chains")
    canvas.box((whole - 112, 528, whole + 112, 572), PLAIN, words="cosine, each photo\nbeside its neighbours")
    canvas.arrow((points + 114, 550), (whole - 114, 550))
    canvas.box((points - 112, 596, whole + 112, 630), LEARNS, words="both pieces of evidence, weighed")
    _draw_answer(canvas, middle, 632, "logit")


def _draw_concat(canvas: Canvas, box: Box) -> None:
    from samespace.model.network import DEFAULT_TRAINABLE

    canvas.box(box, PANEL, 10)
    middle = 722
    canvas.text((742, FLOOR + 24), "head: concat", 17, anchor="lm", bold=True)
    canvas.text((742, FLOOR + 54), f"the classic, with\ntrainable: {DEFAULT_TRAINABLE['concat']}", 13, GREY, "lm")
    canvas.line([(EMBEDDED, ROWS[0] + 33), (EMBEDDED, ROWS[1] - 33)])
    canvas.arrow((EMBEDDED, ROWS[1] + 33), (EMBEDDED, ELBOW), (middle, ELBOW), (middle, 412))
    canvas.line([(middle, 420), (middle, 600)])
    layers = (
        ("1280 + 1280, side by side", 196, PLAIN, ""),
        ("2048", 164, LEARNS, "ReLU, dropout1"),
        ("1024", 132, LEARNS, "ReLU, dropout2"),
        ("512", 100, LEARNS, "ReLU, dropout3"),
        ("64", 68, LEARNS, "ReLU"),
        ("1", 36, LEARNS, ""),
    )
    for row, (words, width, tint, after) in enumerate(layers):
        top = 414 + 35 * row
        canvas.box((middle - width / 2, top, middle + width / 2, top + 25), tint, 5, words, 13)
        canvas.text((middle + width / 2 + 8, top + 12.5), after, 13, GREY, "lm")
    _draw_answer(canvas, middle, 616, "logit, mean of both orders")


def _draw_answer(canvas: Canvas, x: float, top: float, words: str) -> None:
    canvas.arrow((x, top), (x, 660))
    canvas.text((x + 10, (top + 658) / 2), words, 13, GREY, "lm")
    canvas.box((x - 62, 662, x + 62, 696), PLAIN, 17, "probability")


def _draw_legend(canvas: Canvas, y: float) -> None:
    left = 16.0
    for tint, words in (
        (FROZEN, "never learns"),
        (FITTED, "fitted in closed form"),
        (LEARNS, "always learns"),
        (None, "learns with trainable: last_conv, frozen with trainable: head"),
    ):
        swatch = (left, y - 8, left + 22, y + 8)
        if tint:
            canvas.box(swatch, tint, 4)
        else:
            canvas.striped_box(swatch, FROZEN, LEARNS, 4)
        canvas.text((left + 30, y), words, 13, GREY, "lm")
        left += 54 + ImageFont.load_default(13).getlength(words)


# ---- proof


def draw_proof() -> Image.Image:
    from samespace.model.points import SIDE, partners, points_of

    height, gap = SIDE * 3 // 4, 16
    views = photos("bedroom", 8, 2, SIDE)  # as wide on the page as points are placed
    canvas = Canvas(2 * SIDE + gap, height)
    for column, photo in enumerate(views):
        canvas.photo(photo, (column * (SIDE + gap), 0))
    here, there = (places.tolist() for places in partners(*map(points_of, views)))
    colours = cycle(("#e8590c", "#1971c2", "#2f9e44", "#ae3ec9"))
    for ((x0, y0), (x1, y1)), colour in zip(sorted(zip(here, there, strict=True)), colours, strict=False):
        ends = ((x0, y0), (SIDE + gap + x1, y1))
        canvas.line(ends, "white", 3)
        canvas.line(ends, colour)
        for end in ends:
            canvas.dot(end, 4, colour)
    return canvas.finished()


# ---- drawing them

PICTURES: dict[str, Callable[[], Image.Image]] = {
    "architecture": draw_packages,
    "model-architecture": draw_network,
    "pairs": draw_pairs,
    "proof": draw_proof,
    "rooms": draw_rooms,
    "same-or-not": draw_same_or_not,
}


def save(picture: Image.Image, name: str) -> None:
    """Write a PNG of 256 colours, whole or not at all."""
    path = FOLDER / f"{name}.png"
    content = BytesIO()
    # k-means moves the palette to where the colours are; median cut alone turns purple to grey.
    picture.quantize(256, kmeans=4, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    write_whole(path, content.getvalue())
    print(f"{path.name}: {picture.width} x {picture.height}, {path.stat().st_size // 1000} KB")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Draw the pictures of the README and the docs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PICTURES)} (default: all)")
    chosen = parser.parse_args(words)
    return exit_status(lambda: _draw(chosen.names))


def _draw(names: Sequence[str]) -> None:
    for name in names or PICTURES:
        if name not in PICTURES:
            raise SameSpaceError(f"cannot draw {name!r}: choose of {', '.join(PICTURES)}")
        save(PICTURES[name](), name)


if __name__ == "__main__":
    sys.exit(main())
