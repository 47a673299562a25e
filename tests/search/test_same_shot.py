"""Copies of a shot are told from other shots, whatever was done to them."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from samespace.base.photos import as_pixels, open_photo
from samespace.model.pairs import TEST, find_photos
from samespace.search import same_shot

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


def sketches(photos: list[Image.Image]) -> same_shot.Sketch:
    return same_shot.sketch(np.stack([as_pixels(photo, 256) for photo in photos]))


@pytest.fixture(scope="module")
def originals(photos: list[Image.Image]) -> same_shot.Sketch:
    return sketches(photos)


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_copy_is_the_same_shot_and_a_candidate(
    edit: Edit, photos: list[Image.Image], originals: same_shot.Sketch
) -> None:
    copies = sketches([edit(photo) for photo in photos])
    assert same_shot.same_shot(originals, copies).min() > same_shot.THRESHOLD
    assert (same_shot.outline(originals) * same_shot.outline(copies)).sum(1).min() > same_shot.FLOOR


def test_other_rooms_are_other_shots(originals: same_shot.Sketch) -> None:
    first, second = np.triu_indices(len(originals), 1)
    assert len(first) >= 10
    assert same_shot.same_shot(originals[first], originals[second]).max() < same_shot.THRESHOLD


@pytest.mark.parametrize("edit", [crop, stamp], ids=["cropped", "stamped"])
def test_a_score_is_the_same_either_way_round(
    edit: Edit, photos: list[Image.Image], originals: same_shot.Sketch
) -> None:
    copies = sketches([edit(photo) for photo in reversed(photos)])
    both = same_shot.same_shot(originals, copies), same_shot.same_shot(copies, originals)
    assert both[0] == pytest.approx(both[1], abs=1e-5)


def test_a_photo_is_certainly_itself(originals: same_shot.Sketch) -> None:
    assert same_shot.same_shot(originals, originals) == pytest.approx(1, abs=1e-5)


def test_scores_do_not_depend_on_what_else_is_asked(
    originals: same_shot.Sketch, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = np.divmod(np.arange(len(originals) ** 2), len(originals))
    at_once = same_shot.same_shot(originals[first], originals[second])
    monkeypatch.setattr(same_shot, "PAIRS_AT_ONCE", 3)
    assert same_shot.same_shot(originals[first], originals[second]) == pytest.approx(at_once, abs=1e-5)


def test_half_a_photo_is_another_view(photos: list[Image.Image], originals: same_shot.Sketch) -> None:
    halves = sketches([photo.crop((0, 0, photo.width // 2, photo.height)) for photo in photos])
    assert same_shot.same_shot(originals, halves).max() < same_shot.THRESHOLD


def test_photos_without_any_detail_match_nothing(originals: same_shot.Sketch) -> None:
    flat = np.full_like(originals[:1], 200)
    assert same_shot.same_shot(flat, originals[:1])[0] == 0
    assert same_shot.same_shot(flat, flat)[0] == 0  # two blank pages; `exact` finds them if they are one
    assert np.linalg.norm(same_shot.outline(flat)) == pytest.approx(1)  # nobody need care that it has none


def test_no_pairs_no_scores() -> None:
    none = np.empty((0, same_shot.SIDE, same_shot.SIDE), np.uint8)
    assert same_shot.same_shot(none, none).shape == (0,)


def test_a_sketch_is_the_mean_of_squares() -> None:
    pixels = np.zeros((1, 256, 256, 3), np.uint8)
    pixels[0, :4, 4:8] = (255, 0, 0)
    pixels[0, 4:6, :4] = 100
    grey = same_shot.sketch(pixels)[0]
    assert (grey[0, 0], grey[0, 1], grey[1, 0]) == (0, round(255 * 0.299), 50)
    assert grey.sum() == 76 + 50


def test_a_library_keeps_what_is_declared(photos: list[Image.Image]) -> None:
    kept = same_shot.Sketches().extract(np.stack([as_pixels(photo, 256) for photo in photos]))
    declared = {name: (shape, np.dtype(kind)) for name, (shape, kind) in same_shot.Sketches.fields.items()}
    assert {name: (rows.shape[1:], rows.dtype) for name, rows in kept.items()} == declared
    lengths: npt.NDArray[np.float32] = np.linalg.norm(kept["outline"].astype(np.float32), axis=1)
    assert lengths == pytest.approx(1, abs=1e-3)
