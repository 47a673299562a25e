"""Copies are found however they were turned or cropped; what only looks alike is told from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from samespace.base.photos import UnreadablePhoto, open_photo, read_pixels
from samespace.model.pairs import TEST, find_photos
from samespace.search import same_shot
from samespace.search.copies import LOOK_TWICE, Copies, compare_photos, copies_in_words
from samespace.search.pair_scores import Scored
from tests.conftest import draw

Edit = Callable[[Image.Image], Image.Image]


def cut(photo: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = photo.size
    return photo.crop((round(width * left), round(height * top), round(width * right), round(height * bottom)))


def stamp(photo: Image.Image) -> Image.Image:
    layer = Image.new("L", photo.size)
    font = ImageFont.load_default(photo.width / 7)
    ImageDraw.Draw(layer).text((photo.width / 2, photo.height / 2), "SAMPLE", 128, font, "mm")
    return Image.composite(Image.new("RGB", photo.size, "white"), photo, layer)


EDITS: dict[str, Edit] = {
    "turned by 90°": lambda photo: photo.transpose(Image.Transpose.ROTATE_90),
    "turned by 180°": lambda photo: photo.transpose(Image.Transpose.ROTATE_180),
    "turned by 270°": lambda photo: photo.transpose(Image.Transpose.ROTATE_270),
    "mirrored": ImageOps.mirror,
    "three quarters of the area": lambda photo: cut(photo, 0.13, 0, 1, 0.87),
    "half of the area": lambda photo: cut(photo, 0.2, 0.29, 0.91, 1),
    "half of the area, another shape": lambda photo: cut(photo, 0, 0.2, 0.8, 0.825),
    "framed": lambda photo: ImageOps.expand(photo, 30, "white"),
    "letterboxed": lambda photo: ImageOps.pad(photo, (photo.width, photo.width), color="black"),
    "stamped": stamp,
    "brighter": lambda photo: ImageEnhance.Brightness(photo).enhance(1.3),
    "half its size": lambda photo: photo.resize((photo.width // 2, photo.height // 2)),
    "grey": lambda photo: photo.convert("L"),
}


@pytest.fixture(scope="module")
def photos(rooms: Path) -> list[Path]:
    """One photo of each of several rooms."""
    table = find_photos(rooms, TEST)
    _, first = np.unique(table.spaces(), return_index=True)
    return [table.paths[row] for row in first][:4]


def sketched(paths: list[Path]) -> Copies:
    fields = same_shot.Sketches().extract(np.stack([read_pixels(path, 256) for path in paths]))
    return Copies(lambda name, rows: fields[name][rows], paths, len(paths))


def pairs_of(copies: Copies, known: Scored | None = None, fresh: list[bool] | None = None) -> set[tuple[int, int]]:
    found = copies.find(known, None if fresh is None else np.array(fresh))
    return {(i, int(j)) for i in range(len(found.full)) for j in found.listed(i)[0] if i < j}


@pytest.mark.parametrize("edit", EDITS)
def test_a_copy_is_found_and_called_one(edit: str, photos: list[Path], tmp_path: Path) -> None:
    edited = [tmp_path / f"{number}.jpg" for number in range(len(photos))]
    for photo, path in zip(photos, edited, strict=True):
        EDITS[edit](open_photo(photo)).save(path, quality=85)
    copies = sketched([*photos, *edited])
    first = np.arange(len(photos))
    pairs = set(zip(first.tolist(), (first + len(photos)).tolist(), strict=True))
    assert pairs <= pairs_of(copies)
    assert (copies(first, first + len(photos)) >= same_shot.THRESHOLD).all()
    assert (copies(first + len(photos), first) >= same_shot.THRESHOLD).all()
    others = np.roll(first, 1) + len(photos)
    assert (copies(first, others) < LOOK_TWICE).all()


def page(lines: list[str]) -> Image.Image:
    sheet = Image.new("RGB", (900, 1270), "white")
    pen = ImageDraw.Draw(sheet)
    for row, line in enumerate(["Example Power Ltd.", "Invoice", *lines]):
        pen.text((80, 80 + 70 * row), line, fill="black", font=ImageFont.load_default(24))
    return sheet


def test_pictures_in_one_frame_are_no_copies(photos: list[Path], tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.jpg" for number in range(len(photos))]
    for photo, path in zip(photos, paths, strict=True):
        ImageOps.expand(open_photo(photo).resize((300, 300)), 40, "white").save(path)
    copies = sketched(paths)
    assert pairs_of(copies) == set()
    first, second = np.triu_indices(len(paths), 1)
    assert (copies(first, second) < LOOK_TWICE).all()


def test_pages_are_told_apart_by_their_letters(tmp_path: Path) -> None:
    months = {
        "march": ["Energy 81.40", "Meter 9.10", "Total 90.50"],
        "april": ["Energy 67.90", "Meter 9.10", "Total 77.00"],
    }
    months["longer"] = [*months["march"], "Please pay within 14 days"]
    paths = {name: tmp_path / f"{name}.png" for name in months}
    for name, lines in months.items():
        page(lines).save(paths[name])
    page(months["march"]).resize((600, 847)).save(paths["march"].with_suffix(".jpg"), quality=60)
    assert compare_photos(paths["march"], paths["march"].with_suffix(".jpg")) >= same_shot.THRESHOLD
    for other in ("april", "longer"):
        assert LOOK_TWICE <= compare_photos(paths["march"], paths[other]) < same_shot.THRESHOLD


@pytest.mark.parametrize("amount", ["7608.68", "9795.33"])
def test_one_other_amount_in_small_print_makes_another_page(amount: str, tmp_path: Path) -> None:
    paths = [tmp_path / "first.jpg", tmp_path / "other.jpg"]
    for path, total in zip(paths, ("9195.33", amount), strict=True):
        sheet = Image.new("RGB", (1240, 1754), "white")
        pen = ImageDraw.Draw(sheet)
        lines = [
            "Example Power Ltd.",
            *(f"Meter {number}: {number * 7.31:.2f}" for number in range(20)),
            f"Total {total}",
        ]
        for row, line in enumerate(lines):
            pen.text((120, 120 + 60 * row), line, "black", ImageFont.load_default(20))
        sheet.save(path, quality=90)
    copy = tmp_path / "copy.jpg"
    open_photo(paths[0]).save(copy, quality=40)
    assert compare_photos(paths[0], copy) >= same_shot.THRESHOLD
    assert LOOK_TWICE <= compare_photos(*paths) < same_shot.THRESHOLD


def test_what_moved_makes_another_moment(photos: list[Path], tmp_path: Path) -> None:
    scene, passer = open_photo(photos[0]), open_photo(photos[1])
    passer = passer.resize((scene.width // 5, scene.height // 3))
    paths = [tmp_path / "before.png", tmp_path / "after.png"]
    for path, left in zip(paths, (0.1, 0.5), strict=True):
        moment = scene.copy()
        moment.paste(passer, (round(scene.width * left), scene.height // 2))
        moment.save(path)
    assert LOOK_TWICE <= compare_photos(*paths) < same_shot.THRESHOLD


def test_somebody_before_a_dark_ground_is_no_stamp(photos: list[Path], tmp_path: Path) -> None:
    scene = open_photo(photos[0]).resize((500, 400))
    pen = ImageDraw.Draw(scene)
    pen.rectangle((150, 100, 350, 400), fill=(20, 20, 20))
    paths = [tmp_path / "without.png", tmp_path / "with.png"]
    scene.save(paths[0])
    pen.rectangle((200, 200, 300, 400), fill=(70, 70, 70))
    pen.ellipse((220, 130, 280, 210), fill=(150, 150, 150))
    scene.save(paths[1])
    assert LOOK_TWICE <= compare_photos(*paths) < same_shot.THRESHOLD


@pytest.mark.parametrize("overlap", [0.8, 0.9])
def test_two_crops_that_each_show_an_edge_of_their_own_are_no_copies(
    overlap: float, photos: list[Path], tmp_path: Path
) -> None:
    keeps = 1 / (2 - overlap)
    for photo in photos:
        whole = open_photo(photo)
        paths = {name: tmp_path / f"{name}.jpg" for name in ("whole", "left", "right", "inner")}
        whole.save(paths["whole"])
        cut(whole, 0, 0, keeps, 1).save(paths["left"])
        cut(whole, 1 - keeps, 0, 1, 1).save(paths["right"])
        cut(whole, 1 - keeps, 0, 1 - keeps / 10, 1).save(paths["inner"])
        for one, other in (("left", "right"), ("right", "left")):
            assert LOOK_TWICE <= compare_photos(paths[one], paths[other]) < same_shot.THRESHOLD
        for one, other in (("whole", "left"), ("right", "whole"), ("right", "inner")):
            assert compare_photos(paths[one], paths[other]) >= same_shot.THRESHOLD


@pytest.mark.parametrize("side", [200, 100])
def test_small_photos_have_copies_of_half_their_size(side: int, photos: list[Path], tmp_path: Path) -> None:
    small, half = tmp_path / "small.jpg", tmp_path / "half.jpg"
    for photo in photos:
        picture = ImageOps.contain(open_photo(photo), (side, side))
        picture.save(small, quality=95)
        picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS).save(half, quality=95)
        assert compare_photos(small, half) >= same_shot.THRESHOLD


def test_only_fresh_photos_are_searched_for_turned_copies(photos: list[Path], tmp_path: Path) -> None:
    turned = tmp_path / "turned.png"
    open_photo(photos[0]).transpose(Image.Transpose.ROTATE_90).save(turned)
    paths = [*photos, turned]
    pair = (0, len(photos))
    assert pair in pairs_of(sketched(paths))
    for fresh in (pair[0], pair[1]):  # either of the two
        assert pair in pairs_of(sketched(paths), fresh=[row == fresh for row in range(len(paths))])
    assert pair not in pairs_of(sketched(paths), fresh=[False] * len(paths))
    known = Scored(np.array([pair[0]]), np.array([pair[1]]), np.array([0.9]))
    assert pair in pairs_of(sketched(paths), known, fresh=[False] * len(paths))


def test_photos_that_cannot_be_looked_at_are_no_copies(photos: list[Path], tmp_path: Path) -> None:
    gone = tmp_path / "gone.jpg"
    open_photo(photos[0]).save(gone, quality=50)
    copies = sketched([photos[0], gone])
    gone.unlink()
    (score,) = copies(np.array([0]), np.array([1]))
    assert LOOK_TWICE - 0.01 <= score < same_shot.THRESHOLD


def test_two_files_are_compared(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for seed, path in enumerate(paths):
        draw(path, seed)
    assert compare_photos(paths[0], paths[0]) > 0.99
    assert compare_photos(*paths) < LOOK_TWICE
    with pytest.raises(UnreadablePhoto, match="no such file"):
        compare_photos(paths[0], tmp_path / "none.jpg")


def test_a_score_at_a_threshold_meets_it() -> None:
    scores = (1, same_shot.THRESHOLD, same_shot.THRESHOLD - 0.01, LOOK_TWICE, LOOK_TWICE - 0.01, 0)
    said = ["same shot", "same shot", "look twice", "look twice", "different shots", "different shots"]
    assert list(map(copies_in_words, scores)) == said
