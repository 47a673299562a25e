"""The main directions of vectors: at right angles, the widest first, and the same at every run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samespace.search import compression
from samespace.search.compression import main_directions

Vectors = npt.NDArray[np.float32]


def vectors(count: int, size: int, seed: int = 0) -> Vectors:
    drawn = np.random.default_rng(seed).standard_normal((count, size)) / np.arange(1, size + 1)
    return drawn.astype(np.float32)


@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 9))
def test_they_turn_space_and_part_it_by_what_vectors_do_there(count: int, size: int, seed: int) -> None:
    given = vectors(count, size, seed)
    spread, axes = main_directions(given)
    assert axes.T @ axes == pytest.approx(np.eye(size), abs=1e-9)
    assert (np.diff(spread) <= 1e-12).all()
    along = given / np.linalg.norm(given, axis=1, keepdims=True) @ axes
    assert along.T @ along / count == pytest.approx(np.diag(spread), abs=1e-5)


def test_the_length_of_a_vector_does_not_count() -> None:
    given = vectors(40, 5)
    longer = given * np.random.default_rng(1).uniform(0.5, 90, (40, 1)).astype(np.float32)
    for one, other in zip(main_directions(given), main_directions(longer), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_their_order_and_the_blocks_they_come_in_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given = vectors(500, 6)
    spread, axes = main_directions(given)
    monkeypatch.setattr(compression, "BLOCK", 7)
    again, turned = main_directions(given[::-1])
    assert again == pytest.approx(spread, abs=1e-9)
    assert turned == pytest.approx(axes, abs=1e-6)  # with their signs


def test_no_vectors_have_some_directions_too() -> None:
    spread, axes = main_directions(np.empty((0, 3), np.float32))
    assert spread.tolist() == [0, 0, 0]
    assert np.abs(axes).sum() == pytest.approx(3)
