"""Colours are told by how much of each cell they fill, wherever the photo comes from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samespace.base.photos import Pixels
from samespace.model.colours import AXES, DIM, GRID, colours

SIDE = 64


def scene(seed: int, side: int = SIDE) -> Pixels:
    """Light, a few things and grain."""
    random = np.random.default_rng(seed)
    photo = np.full((side, side, 3), random.integers(0, 256, 3), np.int64)
    for top, left in random.integers(0, side, (4, 2)).tolist():
        photo[top : top + side // 3, left : left + side // 2] = random.integers(0, 256, 3)
    return (photo + random.integers(-9, 9, photo.shape)).clip(0, 255).astype(np.uint8)


def shares(photo: Pixels) -> np.ndarray:
    """(rows, columns, lights, reds, yellows) of one photo."""
    (found,) = colours(photo[None])
    return ((found / 255) ** 2).reshape(GRID, GRID, *(len(axis.knots) for axis in AXES))


def plain(*colour: int) -> Pixels:
    return np.full((SIDE, SIDE, 3), colour, np.uint8)


seeds = st.integers(0, 1000)


@given(seeds, st.sampled_from([32, 50, 256]))
def test_the_shares_of_a_cell_are_one_together(seed: int, side: int) -> None:
    np.testing.assert_allclose(shares(scene(seed, side)).sum((2, 3, 4)), 1, atol=0.03)  # roots are rounded to a 255th


@given(seeds)
def test_a_mirrored_photo_has_mirrored_cells(seed: int) -> None:
    photo = scene(seed)
    np.testing.assert_array_equal(shares(photo[:, ::-1]), shares(photo)[:, ::-1])


@given(st.lists(seeds, min_size=1, max_size=4))
def test_a_row_does_not_depend_on_its_company(some: list[int]) -> None:
    photos = np.stack([scene(seed) for seed in some])
    together = colours(photos)
    assert (together.shape, together.dtype) == ((len(some), DIM), np.uint8)
    np.testing.assert_array_equal(together, np.concatenate([colours(photo[None]) for photo in photos]))


def test_no_photos_have_no_rows() -> None:
    assert colours(np.empty((0, SIDE, SIDE, 3), np.uint8)).shape == (0, DIM)


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_a_photo_of_one_colour_has_it_everywhere(colour: tuple[int, int, int]) -> None:
    found = shares(plain(*colour))
    np.testing.assert_array_equal(found, np.broadcast_to(found[:1, :1], found.shape))
    assert np.count_nonzero(found[0, 0]) <= 2**3  # the nearest on both sides


@pytest.mark.parametrize(
    ("colour", "light", "red", "yellow"),
    [
        ((8, 8, 8), 0, 2, 2),
        ((248, 248, 248), 1, 2, 2),
        ((160, 40, 40), 0, 4, 4),
        ((157, 183, 203), 1, 0, 0),  # a pale blue wall
        ((230, 208, 142), 1, 4, 4),  # a yellow one
        ((76, 117, 80), 0, 0, 3),  # green cloth
    ],
)
def test_a_colour_is_nearest_to_what_a_person_would_say(
    colour: tuple[int, int, int], light: int, red: int, yellow: int
) -> None:
    found = shares(plain(*colour))[1, 1]
    assert np.unravel_index(found.argmax(), found.shape) == (light, red, yellow)


def test_a_thing_is_told_where_it_is() -> None:
    photo = plain(248, 248, 248)
    photo[:, : SIDE // 4] = (200, 20, 20)
    left, middle, right = shares(photo)[1]
    assert left[0, 4].sum() > 0.5 > left[1, 2, 2] > 0
    assert middle[1, 2, 2] == right[1, 2, 2] == 1


def test_colours_that_are_nearly_the_same_are_told_nearly_so() -> None:
    """However they are counted: there is no edge that a little more light would carry a wall over."""
    rows = colours(np.stack([plain(light, light, light - 20) for light in range(60, 256)])).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert (rows[1:] * rows[:-1]).sum(1).min() > 0.9
