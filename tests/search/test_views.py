"""A view shows what it says of a sketch, and its outline and places agree with it."""

from __future__ import annotations

import numpy as np
import pytest

from samespace.search.same_shot import SIDE, Sketch, edges, outline
from samespace.search.views import (
    TURNS,
    WHOLE,
    View,
    boxes_without_border,
    outlines_of_parts,
    parts,
    place_in_photo,
    sketch_of,
    turned_outlines,
)


@pytest.fixture
def grey() -> Sketch:
    """Five sketches of coarse random blocks, (5, 64, 64)."""
    blocks = np.random.default_rng(0).integers(0, 256, (5, 8, 8), np.uint8)
    return blocks.repeat(8, 1).repeat(8, 2)


def test_a_border_is_left_out(grey: Sketch) -> None:
    framed = grey.copy()
    framed[0, :9] = framed[0, -4:] = 255
    framed[1, :, :10] = framed[1, :, -10:] = 3
    framed[2, :8] = framed[2, -8:] = framed[2, :, :8] = framed[2, :, -8:] = 128
    framed[3] = 255  # nothing inside
    expected = [(0, 10, 64, 59), (11, 0, 53, 64), (9, 9, 55, 55), WHOLE, WHOLE]
    assert boxes_without_border(framed).tolist() == [list(box) for box in expected]


@pytest.mark.parametrize("turn", [0, *TURNS])
def test_a_place_in_a_view_is_known_in_the_photo(turn: int) -> None:
    photo = np.zeros((SIDE, SIDE), np.uint8)
    photo[10:13, 40:43] = 255
    view = View((16.0, 0.0, 64.0, 48.0), turn)
    down, across = (np.mean(places) for places in np.nonzero(sketch_of(photo, view) > 128))
    there = place_in_photo(view) @ [(across + 0.5) / 32 - 1, (down + 0.5) / 32 - 1, 1]
    assert there[:2] * SIDE == pytest.approx([41.5, 11.5], abs=0.6)


@pytest.mark.parametrize("turn", [0, *TURNS])
def test_the_outline_of_a_turned_sketch_follows_from_its_own(turn: int, grey: Sketch) -> None:
    turned = np.stack([sketch_of(each, View(turn=turn)) for each in grey])
    alike = turned_outlines(outline(grey), turn) @ outline(turned).T
    assert (alike.argmax(1) == np.arange(len(grey))).all()
    assert alike.diagonal().min() > 0.9


def test_the_outline_of_a_part_is_that_of_the_part_alone(grey: Sketch) -> None:
    found = outlines_of_parts(edges(grey))
    assert found.shape == (len(parts()), len(grey), 256)
    for box, outlines in zip(parts(), found, strict=True):
        alone = outline(np.stack([sketch_of(each, View(box)) for each in grey]))
        alike = outlines @ alone.T
        assert (alike.argmax(1) == np.arange(len(grey))).all()
        assert alike.diagonal().min() > 0.7
