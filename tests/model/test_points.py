"""Points that two photos share: many under another angle, few by chance, and packed without loss that matters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samespace.model import points
from samespace.model.points import CHANCE, PROOF, count_partners, find_points, partners, points_of, unpack


def scene(seed: int) -> Image.Image:
    """A wall full of things: patches of many sizes and tones."""
    random = np.random.default_rng(seed)
    wall = np.full((600, 800), 128, np.uint8)
    for _ in range(400):
        top, left = random.integers(0, 590), random.integers(0, 790)
        height, width = random.integers(4, 60, 2)
        wall[top : top + height, left : left + width] = random.integers(0, 256)
    return Image.fromarray(wall).convert("RGB")


def seen_askew(photo: Image.Image) -> Image.Image:
    """The same wall from the left, nearer and turned a little."""
    corners = (60, 40, 30, 560, 700, 480, 720, 90)
    return photo.transform((640, 480), Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)


def test_another_view_shares_points_and_another_place_does_not() -> None:
    wall, askew, other = points_of(scene(1)), points_of(seen_askew(scene(1))), points_of(scene(2))
    found = {0: wall, 1: askew, 2: other}
    counts = count_partners(found.__getitem__, np.array([0, 0, 1, 1]), np.array([1, 2, 2, 0]))
    assert counts[0] > 4 * CHANCE
    assert counts[1] <= CHANCE and counts[2] <= CHANCE
    assert counts[3] == pytest.approx(counts[0], rel=0.1), "either way round"


def test_partners_lie_where_the_movement_puts_them() -> None:
    wall = scene(1)
    shifted = wall.crop((80, 50, 800, 600))
    here, there = partners(points_of(wall), points_of(shifted))
    scales = [points.SIDE / 800, points.SIDE / 720]
    moved = (here / scales[0] - [80, 50]) * scales[1]
    assert len(here) > 50 and np.median(np.abs(moved - there)) < 1


def test_a_watermark_proves_nothing() -> None:
    logo = scene(3).resize((100, 75))
    photos = [scene(1), scene(2)]
    for photo in photos:
        photo.paste(logo, (photo.width - 120, photo.height - 90))
    here, _ = partners(*map(points_of, photos))
    on_logo = (here > [(800 - 120) / 2, (600 - 90) / 2]).all(1)
    assert 2 <= on_logo.sum() <= len(here) <= CHANCE
    assert len(partners(points_of(photos[0]), points_of(scene(1)))[0]) > 5 * PROOF


def test_no_two_partners_lie_in_one_cell_of_a_photo() -> None:
    photo = scene(1)
    for places in partners(points_of(photo), points_of(seen_askew(photo))):
        cells = {tuple(cell) for cell in (places // 16).astype(int).tolist()}
        assert len(cells) == len(places) > PROOF


def test_points_are_packed_in_sixteen_kilobytes() -> None:
    packed = points_of(scene(1))
    assert packed.shape == (points.BYTES,) and points.BYTES <= 16_384
    places, angles, coefficients = unpack(packed)
    assert 300 < len(places) <= points.MOST and len(places) == len(coefficients)
    assert places.min() >= 0 and places.max() <= points.SIDE
    assert np.linalg.norm(coefficients, axis=1) == pytest.approx(1, abs=1e-5)
    assert len(set((angles // 64).tolist())) == 4  # they are turned all ways


def test_waves_are_at_right_angles() -> None:
    waves = points.lowest_waves()
    assert waves.T @ waves == pytest.approx(np.eye(32), abs=1e-6)


@pytest.mark.parametrize(
    "photo", [Image.new("RGB", (640, 480), "white"), Image.new("RGB", (1, 1)), Image.new("RGB", (3, 900))]
)
def test_a_photo_without_points_shares_none(photo: Image.Image) -> None:
    nothing = points_of(photo)
    assert len(unpack(nothing)[0]) == 0
    for other in (nothing, points_of(scene(1))):
        here, there = partners(nothing, other)
        assert here.shape == there.shape == (0, 2)


def test_points_on_one_line_prove_nothing_and_break_nothing() -> None:
    stripe = np.full((480, 640), 128, np.uint8)
    stripe[240, ::16] = 255
    found = points_of(Image.fromarray(stripe))
    assert len(partners(found, found)[0]) <= points.MOST


def test_a_photo_that_cannot_be_read_has_no_points(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    assert find_points(tmp_path / "broken.jpg") is None
    assert find_points(tmp_path / "gone.jpg") is None
