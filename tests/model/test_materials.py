"""Describe what photos are made of: alike in any batch, much alike for another view, and finite for any photo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from samespace.base.find import find
from samespace.base.photos import SIZE, Pixels, read_pixels
from samespace.model import graphs, materials
from samespace.model.backbone import Backbone, make_backbone
from samespace.model.families import CUTS
from samespace.model.feature_bank import to_tensor
from tests.conftest import BACKBONE


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return make_backbone(BACKBONE, "none")


@pytest.fixture(scope="module")
def pixels(rooms: Path) -> Pixels:
    by_room = {path.stem.rpartition("_")[0]: path for path in find(rooms)}
    return np.stack([read_pixels(path, SIZE) for path in sorted(by_room.values())[:6]])


@torch.no_grad()
def described(backbone: Backbone, pixels: Pixels) -> np.ndarray:
    photos = to_tensor(list(pixels))
    maps = graphs.see(photos, backbone.stages(photos))
    return materials.describe(materials.Maps(*(map_.numpy() for map_ in maps)), pixels)


def test_a_photo_has_its_numbers_whatever_comes_with_it(backbone: Backbone, pixels: Pixels) -> None:
    together = described(backbone, pixels)
    assert together.dtype == np.int8 and len(together) == len(pixels)
    for row, photo in zip(together, pixels, strict=True):
        (alone,) = described(backbone, photo[None])
        assert np.abs(alone.astype(int) - row).max() <= 1  # a convolution rounds differently for other sizes


@pytest.mark.parametrize("name", CUTS)
def test_every_backbone_has_three_stages_and_at_most_eleven_kilobytes(name: str) -> None:
    backbone = make_backbone(name, "none")
    with torch.no_grad():
        photo = torch.zeros(1, 3, SIZE, SIZE)
        stages = backbone.stages(photo)
        maps = graphs.see(photo, stages)
    sides = [stage.shape[-1] for stage in stages]
    assert sides == sorted(sides, reverse=True) and 50 < sides[0] <= 64 and sides[-1] <= 16
    assert torch.equal(stages[-1], backbone.early(backbone.normalise(photo)))
    assert [map_.shape[1] <= most + graphs.TINTS for map_, most in zip(maps, (80, 96), strict=True)] == [True, True]
    assert materials.length(*(map_.shape[1] for map_ in maps)) <= 11_000


def test_a_mirrored_room_is_made_of_the_same(backbone: Backbone, pixels: Pixels) -> None:
    """Convolutions are not symmetric, but what varies together is."""
    rows, mirrored = (described(backbone, photos).astype(float) for photos in (pixels, pixels[:, :, ::-1].copy()))
    middle = rows.mean(0)
    rows, mirrored = rows - middle, mirrored - middle
    lengths = [np.linalg.norm(each, axis=1) for each in (rows, mirrored)]
    cosines = rows @ mirrored.T / np.outer(*lengths)
    assert (cosines.argmax(1) == np.arange(len(rows))).all()


def test_colours_of_details_are_shares_of_the_textured_half() -> None:
    photo = np.full((1, SIZE, SIZE, 3), 200, np.uint8)
    photo[0, :, :180] = np.random.default_rng(0).integers(0, 2, (SIZE, 180, 1)) * 60  # black and dark grey
    (shares,) = materials.details(photo) ** 2
    assert shares.sum() == pytest.approx(1, abs=1e-5)
    light = shares.reshape(6, 16, 16)
    assert light[4].sum() < 0.02, "the plain third, of 200, hardly counts"
    assert light[:, 8, 8].sum() == pytest.approx(1, abs=1e-5), "grey is neither red nor yellow"


@pytest.mark.parametrize("value", [0, 255])
def test_a_photo_of_one_colour_has_finite_numbers(backbone: Backbone, value: int) -> None:
    plain = np.full((2, SIZE, SIZE, 3), value, np.uint8)
    rows = described(backbone, plain)
    assert np.isfinite(rows.astype(float)).all() and (rows[0] == rows[1]).all()
