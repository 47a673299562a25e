"""Copies of a shot are told from other shots, whatever was done to them."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from samespace import near
from samespace.base.photos import as_pixels, open_photo
from samespace.model.pairs import TEST, find_photos

Edit = Callable[[Image.Image], Image.Image]


def recompress(photo: Image.Image) -> Image.Image:
    file = BytesIO()
    photo.save(file, "JPEG", quality=30)
    return Image.open(file)


def crop(photo: Image.Image) -> Image.Image:
    width, height = photo.size
    return photo.crop((width // 20, 0, width * 19 // 20, height * 9 // 10))


def stamp(photo: Image.Image) -> Image.Image:
    layer = Image.new("RGBA", photo.size, (0, 0, 0, 0))
    font = ImageFont.load_default(photo.width / 7)
    ImageDraw.Draw(layer).text((photo.width / 2, photo.height / 2), "SAMPLE", (255, 255, 255, 128), font, "mm")
    return Image.alpha_composite(photo.convert("RGBA"), layer).convert("RGB")


EDITS: dict[str, Edit] = {
    "left as it is": lambda photo: photo,
    "JPEG of quality 30": recompress,
    "half its size": lambda photo: photo.resize((photo.width // 2, photo.height // 2)),
    "a tenth cropped": crop,
    "brighter": lambda photo: ImageEnhance.Brightness(photo).enhance(1.3),
    "darker": lambda photo: ImageEnhance.Brightness(photo).enhance(0.7),
    "grey": lambda photo: photo.convert("L"),
    "turned by 4°": lambda photo: photo.rotate(4, Image.Resampling.BICUBIC),
    "stamped": stamp,
}


@pytest.fixture(scope="module")
def photos(rooms: Path) -> list[Image.Image]:
    """One photo of each of several rooms."""
    table = find_photos(rooms, TEST)
    _, first = np.unique(table.spaces(), return_index=True)
    return [open_photo(table.paths[row]) for row in first]


def sketches(photos: list[Image.Image]) -> near.Sketch:
    return near.sketch(np.stack([as_pixels(photo, 256) for photo in photos]))


@pytest.fixture(scope="module")
def originals(photos: list[Image.Image]) -> near.Sketch:
    return sketches(photos)


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_copy_is_the_same_shot_and_a_candidate(edit: Edit, photos: list[Image.Image], originals: near.Sketch) -> None:
    copies = sketches([edit(photo) for photo in photos])
    assert near.same_shot(originals, copies).min() > near.THRESHOLD
    assert (near.outline(originals) * near.outline(copies)).sum(1).min() > near.FLOOR


def test_other_rooms_are_other_shots(originals: near.Sketch) -> None:
    first, second = np.triu_indices(len(originals), 1)
    assert len(first) >= 10
    assert near.same_shot(originals[first], originals[second]).max() < near.THRESHOLD


@pytest.mark.parametrize("edit", [crop, stamp], ids=["cropped", "stamped"])
def test_a_score_is_the_same_either_way_round(edit: Edit, photos: list[Image.Image], originals: near.Sketch) -> None:
    copies = sketches([edit(photo) for photo in reversed(photos)])
    both = near.same_shot(originals, copies), near.same_shot(copies, originals)
    assert both[0] == pytest.approx(both[1], abs=1e-5)


def test_a_photo_is_certainly_itself(originals: near.Sketch) -> None:
    assert near.same_shot(originals, originals) == pytest.approx(1, abs=1e-5)


def test_scores_do_not_depend_on_what_else_is_asked(originals: near.Sketch, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = np.divmod(np.arange(len(originals) ** 2), len(originals))
    at_once = near.same_shot(originals[first], originals[second])
    monkeypatch.setattr(near, "PAIRS_AT_ONCE", 3)
    assert near.same_shot(originals[first], originals[second]) == pytest.approx(at_once, abs=1e-5)


def test_half_a_photo_is_another_view(photos: list[Image.Image], originals: near.Sketch) -> None:
    halves = sketches([photo.crop((0, 0, photo.width // 2, photo.height)) for photo in photos])
    assert near.same_shot(originals, halves).max() < near.THRESHOLD


def test_photos_without_any_detail_match_nothing(originals: near.Sketch) -> None:
    flat = np.full_like(originals[:1], 200)
    assert near.same_shot(flat, originals[:1])[0] == 0
    assert near.same_shot(flat, flat)[0] == 0  # two blank pages; `exact` finds them if they are one
    assert np.linalg.norm(near.outline(flat)) == pytest.approx(1)  # nobody need care that it has none


def test_no_pairs_no_scores() -> None:
    none = np.empty((0, near.SIDE, near.SIDE), np.uint8)
    assert near.same_shot(none, none).shape == (0,)


def test_a_sketch_is_the_mean_of_squares() -> None:
    pixels = np.zeros((1, 256, 256, 3), np.uint8)
    pixels[0, :4, 4:8] = (255, 0, 0)
    pixels[0, 4:6, :4] = 100
    grey = near.sketch(pixels)[0]
    assert (grey[0, 0], grey[0, 1], grey[1, 0]) == (0, round(255 * 0.299), 50)
    assert grey.sum() == 76 + 50


def test_a_library_keeps_what_is_declared(photos: list[Image.Image]) -> None:
    kept = near.Sketches().extract(np.stack([as_pixels(photo, 256) for photo in photos]))
    declared = {name: (shape, np.dtype(kind)) for name, (shape, kind) in near.Sketches.fields.items()}
    assert {name: (rows.shape[1:], rows.dtype) for name, rows in kept.items()} == declared
    lengths: npt.NDArray[np.float32] = np.linalg.norm(kept["outline"].astype(np.float32), axis=1)
    assert lengths == pytest.approx(1, abs=1e-3)
