"""Draw the pictures of the README and the docs into this folder.

python images/draw.py                                                               all but parts.png
python images/draw.py rooms architecture                                            only these
python images/draw.py parts --weights mobilenet_v2.pth --backbone mobilenet_v2      with weights that know photos
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


def draw_network() -> Image.Image:
    canvas = Canvas(940, 762)
    _draw_tower(canvas)
    _draw_compare(canvas, (16, FLOOR, 536, 714))
    _draw_concat(canvas, (552, FLOOR, 924, 714))
    _draw_legend(canvas, 740)
    return canvas.finished()


def _draw_tower(canvas: Canvas) -> None:
    canvas.bracket(164, 544, 44, 8, FROZEN.edge)
    canvas.text((354, 24), "frozen, computed once: the feature bank", 15, FROZEN.edge, bold=True)
    for photo, row in zip(photos("bedroom", 23, 2, 120), ROWS, strict=True):
        canvas.photo(photo, (16, row - 45))
        for left, right in ((140, 160), (260, 282), (356, 374), (470, 492), (546, 564), (686, 710)):
            canvas.arrow((left, row), (right, row))
        _draw_map(canvas, photo, (286, row - 32), 64, 16)
        _draw_map(canvas, photo, (496, row - 22), 44, 8)
        _draw_vector(canvas, (714, row - 32), 64)
    for left, words in ((164, "early\nlayers"), (376, "middle\nlayers")):
        canvas.box((left, 76, left + 92, 270), FROZEN, words=words)
    canvas.striped_box((566, 76, 684, 270), FROZEN, LEARNS)
    canvas.text((625, 173), "last\nconvolution\nand pooling")
    for x, words in ((320, "16 by 16 parts"), (520, "8 by 8")):
        canvas.text((x, 64), words, 13, GREY)
    canvas.text((742, 173), "embeddings, 1280-d", 13, GREY, "lm")
    canvas.text((520, 287), "twin tower: both photos pass through the same weights", 13, GREY)


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
    from samespace.model.network import DEFAULT_TRAINABLE, PART_DIM, VECTOR_DIM

    canvas.box(box, PANEL, 10)
    parts, whole, middle = 146, 406, 276
    canvas.text((middle, FLOOR + 24), "head: compare", 17, bold=True)
    canvas.text((middle, FLOOR + 54), f"the default, with\ntrainable: {DEFAULT_TRAINABLE['compare']}", 13, GREY)
    canvas.line([(318, ROWS[0] + 34), (318, ROWS[1] - 39)])
    canvas.arrow((318, ROWS[1] + 34), (318, 306), (parts, 306), (parts, 412))
    for x, kept, step in (
        (parts, f"256 parts, {PART_DIM}-d, int8", "mutual nearest neighbours,\ncubed cosines summed"),
        (whole, f"{VECTOR_DIM}-d", "cosine"),
    ):
        canvas.box((x - 112, 414, x + 112, 450), FITTED, words="whitening")
        canvas.arrow((x, 452), (x, 490))
        canvas.text((x + 10, 470), kept, 13, GREY, "lm")
        canvas.box((x - 112, 492, x + 112, 544), PLAIN, words=step)
        canvas.arrow((x, 546), (x, 576))
    canvas.box((parts - 112, 578, whole + 112, 614), LEARNS, words="both pieces of evidence, weighed")
    _draw_answer(canvas, middle, "logit")


def _draw_concat(canvas: Canvas, box: Box) -> None:
    from samespace.model.network import DEFAULT_TRAINABLE

    canvas.box(box, PANEL, 10)
    middle = 722
    canvas.text((742, FLOOR + 24), "head: concat", 17, anchor="lm", bold=True)
    canvas.text((742, FLOOR + 54), f"the classic, with\ntrainable: {DEFAULT_TRAINABLE['concat']}", 13, GREY, "lm")
    canvas.line([(middle, ROWS[0] + 33), (middle, ROWS[1] - 33)])
    canvas.arrow((middle, ROWS[1] + 33), (middle, 412))
    canvas.arrow((middle, 306), (406, 306), (406, 412))
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
    _draw_answer(canvas, middle, "logit, mean of both orders")


def _draw_answer(canvas: Canvas, x: float, words: str) -> None:
    canvas.arrow((x, 616), (x, 660))
    canvas.text((x + 10, 637), words, 13, GREY, "lm")
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


# ---- what the network sees


def draw_parts(weights: str, backbone: str) -> Image.Image:
    width, height, gap = 400, 300, 16
    views = photos("bedroom", 23, 2, width)
    canvas = Canvas(2 * width + gap, height)
    for column, photo in enumerate(views):
        canvas.photo(photo, (column * (width + gap), 0))
    colours = cycle(("#e8590c", "#1971c2", "#2f9e44", "#ae3ec9"))
    for match, colour in zip(sorted(strongest_matches(views, weights, backbone, 25)), colours, strict=False):
        (y0, x0), (y1, x1) = match
        ends = ((x0 * width, y0 * height), (width + gap + x1 * width, y1 * height))
        canvas.line(ends, "white", 3)
        canvas.line(ends, colour)
        for end in ends:
            canvas.dot(end, 4, colour)
    return canvas.finished()


def strongest_matches(views: list[Image.Image], weights: str, backbone: str, count: int) -> list[tuple[Point, Point]]:
    """Return the places (down, across), 0..1, of the strongest pairs of parts in two views, whitened on other rooms."""
    import torch

    from samespace.base.photos import as_pixels
    from samespace.model.backbone import SIZE, make_backbone
    from samespace.model.feature_bank import bank, to_tensor
    from samespace.model.network import CODE, TwinNetwork

    network = TwinNetwork(make_backbone(backbone, weights)).eval()
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder) / "rooms", 60, 0)
        network.fit(bank(sorted(Path(folder).rglob("*.jpg")), network.backbone))
    parts = network.embed(to_tensor([as_pixels(view, SIZE) for view in views])).parts.float()
    cosine = parts[0] @ parts[1].T / CODE**2
    best, partner = cosine.max(1)
    strength = torch.where(best >= cosine.amax(0)[partner], best, torch.zeros(()))
    across = network.backbone.shapes()[0][2]
    pairs = [(part, int(partner[part])) for part in strength.topk(count).indices.tolist()]
    return [(_place(part0, across), _place(part1, across)) for part0, part1 in pairs]


def _place(part: int, across: int) -> Point:
    row, column = divmod(part, across)
    return (row + 0.5) / across, (column + 0.5) / across


# ---- drawing them

PICTURES: dict[str, Callable[[], Image.Image]] = {
    "architecture": draw_packages,
    "model-architecture": draw_network,
    "pairs": draw_pairs,
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Draw the pictures of the README and the docs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join([*PICTURES, 'parts'])}")
    parser.add_argument("--weights", metavar="FILE", help="a backbone's state dict, which parts needs")
    parser.add_argument("--backbone", default="mobilenet_v2", help="the backbone they are of (default: %(default)s)")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    chosen = _parser().parse_args(words)
    return exit_status(lambda: _draw(chosen.names, chosen.weights, chosen.backbone))


def _draw(names: Sequence[str], weights: str | None, backbone: str) -> None:
    pictures = dict(PICTURES)
    if weights:
        pictures["parts"] = lambda: draw_parts(weights, backbone)
    for name in names or pictures:
        if name not in pictures:
            drawable = ", ".join(PICTURES)
            raise SameSpaceError(f"cannot draw {name!r}: choose of {drawable}, or parts with --weights FILE")
        save(pictures[name](), name)


if __name__ == "__main__":
    sys.exit(main())
