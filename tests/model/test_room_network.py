"""The network of `compare`: its odds only rise, and it comes back from a folder with the photos it carries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samespace.base.errors import SameSpaceError
from samespace.base.photos import SIZE, read_pixels
from samespace.model import known as known_module
from samespace.model import room_network
from samespace.model.backbone import make_backbone
from samespace.model.known import Known, choose_known
from samespace.model.pairs import TRAINING, find_photos
from samespace.model.room_network import ALONE, LIBRARY, USUAL, Odds, RoomNetwork
from samespace.model.saved import load
from samespace.model.torch_engine import of_backbone
from tests.conftest import BACKBONE


def some(count: int, width: int = 50, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-50, 50, (count, width)).astype(np.int8)


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(-9, 9), st.floats(-1, 1), st.floats(0, 4), st.floats(0.01, 1))
def test_more_evidence_never_lowers_the_odds(
    first: float, second: float, bias: float, likeness: float, proof: float, more: float
) -> None:
    odds = Odds(bias)
    with torch.no_grad():
        odds.logarithms.copy_(torch.tensor([first, second]).clamp(-5, 5))
    less, liker, surer = (
        float(odds(torch.tensor([one]), torch.tensor([other])).detach())
        for one, other in ((likeness, proof), (likeness + more, proof), (likeness, proof + more))
    )
    assert liker > less and surer >= less


def test_few_pairs_do_not_make_little_proof_certain() -> None:
    network = RoomNetwork(make_backbone(BACKBONE, "none"), Known(some(12), np.arange(12) // 2))
    assert float(network.surprise().detach()) == 0
    assert network.library.weights() == pytest.approx((*USUAL, LIBRARY))
    assert network.alone.weights() == pytest.approx((*USUAL, ALONE))
    with torch.no_grad():
        network.library.logarithms[1] += 1
    assert float(network.surprise().detach()) == pytest.approx(room_network.PRIOR)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=60), st.integers(2, 80))
def test_whole_rooms_are_carried_as_long_as_they_fit(sizes: list[int], most: int) -> None:
    rooms = np.repeat(np.arange(len(sizes)), sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known_module, "MOST", most)
        try:
            known = choose_known(some(len(rooms)), rooms)
        except SameSpaceError:
            assert max(sizes) > most or most < 3 or min(sizes) > most - 1 or len(rooms) < 2 or most >= 2
            return
    assert 2 <= len(known.rows) == len(known.rooms) <= most
    numbers, counts = np.unique(known.rooms, return_counts=True)
    assert counts.tolist() == [sizes[number] for number in numbers]
    if (np.array(sizes) > 1).sum() > (counts > 1).sum():  # a room of several photos was left out
        assert sum(sizes) > most


def test_it_comes_back_with_its_photos_and_sees_the_same(model_folders: dict[str, Path], rooms: Path) -> None:
    model = load(model_folders["rooms"])
    network = model.rooms
    assert network is not None and network.known.rows.dtype == np.int8
    paths = find_photos(rooms, TRAINING).paths
    assert len(network.known.rows) == len(network.known.rooms) == len(paths)
    pixels = np.stack([read_pixels(path, SIZE) for path in paths[:3]])
    vectors = model.embed(paths[:3]).vectors
    extractor = of_backbone(make_backbone(BACKBONE, "none")).materials
    assert extractor is not None
    assert vectors == pytest.approx(network.project(extractor.extract(pixels)["materials"]), abs=2e-3)
    assert vectors == pytest.approx(network.project(network.known.rows[:3]), abs=2e-3)
    assert np.linalg.norm(vectors.astype(float), axis=1) == pytest.approx(1, abs=1e-3)
