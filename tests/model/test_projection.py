"""Whitening learns from photos what tells rooms apart, with their rooms' numbers or without."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samespace.model import projection


def crowd(rooms: int, views: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of photos (rooms · views, 40) that differ by room in 20 directions, and far more by view in 3 others."""
    random = np.random.default_rng(seed)
    number = np.repeat(np.arange(rooms), views)
    rows = np.zeros((len(number), 40))
    rows[:, :20] = random.standard_normal((rooms, 20))[number] * 12 + random.standard_normal((len(number), 20)) * 8
    rows[:, 20:23] = random.standard_normal((len(number), 3)) * 40
    turned, _ = np.linalg.qr(random.standard_normal((40, 40)))
    return (rows @ turned).round().clip(-127, 127).astype(np.int8), number


def nearest_is_right(vectors: np.ndarray, number: np.ndarray) -> float:
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    return float((number[cosines.argmax(1)] == number).mean())


def test_directions_in_which_all_photos_differ_say_little() -> None:
    rows, number = crowd(60, 3)
    plain = rows - rows.mean(0)
    before = nearest_is_right(plain / np.linalg.norm(plain, axis=1, keepdims=True), number)
    assert nearest_is_right(projection.fit(rows)(rows), number) > before + 0.1


def test_labels_of_other_rooms_tell_what_to_overlook() -> None:
    rows, number = crowd(120, 3)
    known, asked = number < 80, number >= 80
    rows = np.concatenate([rows[known], rows[asked]])
    without = projection.fit(rows)(rows[known.sum() :])
    labelled = projection.fit(rows, number[known])(rows[known.sum() :])
    assert nearest_is_right(labelled, number[asked]) > nearest_is_right(without, number[asked]) + 0.05


@given(st.integers(2, 40), st.integers(1, 30), st.integers(0, 5))
def test_vectors_have_length_one_whatever_they_are_made_of(count: int, width: int, distinct: int) -> None:
    random = np.random.default_rng(count)
    rows = random.integers(-127, 128, (distinct + 1, width)).astype(np.int8)[random.integers(0, distinct + 1, count)]
    vectors = projection.fit(rows)(rows)
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-4)
    same = (rows[0] == rows).all(1)
    assert vectors[same] == pytest.approx(np.broadcast_to(vectors[0], vectors[same].shape), abs=1e-4)


def test_a_vector_takes_a_kilobyte_at_most() -> None:
    rows = np.random.default_rng(0).integers(-127, 128, (1200, 900)).astype(np.int8)
    assert projection.fit(rows)(rows[:5]).shape == (5, projection.DIM) and 2 * projection.DIM <= 1024


def test_rows_are_projected_alike_alone_and_together() -> None:
    rows, _ = crowd(500, 3)
    whiten = projection.fit(rows[:200])
    assert whiten(rows)[1400] == pytest.approx(whiten(rows[1400:1401])[0], abs=1e-5)
    assert whiten(rows[:0]).shape == (0, whiten.matrix.shape[1])
