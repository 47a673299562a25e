"""The map of photos, against what it shows: who is near whom."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.manifold import trustworthiness

from samespace.base.arrays import unit
from samespace.search.map_layout import lay_out, push

Vectors = npt.NDArray[np.float32]


def clusters(count: int, each: int, seed: int = 0) -> Vectors:
    """Directions around `count` others in turn: (count * each, 32)."""
    random = np.random.default_rng(seed)
    centres = np.tile(random.standard_normal((count, 32)), (each, 1))
    return unit((centres + 0.3 * random.standard_normal(centres.shape)).astype(np.float32))


def principal(vectors: Vectors) -> Vectors:
    differences = vectors - vectors.mean(0)
    plane: Vectors = differences @ np.linalg.svd(differences, full_matrices=False)[2][:2].T
    return plane


def preserved(vectors: Vectors, places: Vectors, nearest: int = 10) -> float:
    """Which share of each one's nearest are its nearest on the map, too."""
    cosines = vectors @ vectors.T
    apart = np.square(places[:, None] - places).sum(2)
    np.fill_diagonal(cosines, -2)
    np.fill_diagonal(apart, np.inf)
    before, after = np.argsort(-cosines)[:, :nearest], np.argsort(apart)[:, :nearest]
    shared = [len(np.intersect1d(*rows)) for rows in zip(before, after, strict=True)]
    return float(np.mean(shared)) / nearest


def test_neighbours_stay_together_where_principal_axes_lose_them() -> None:
    vectors = clusters(30, 12)
    places = lay_out(vectors)
    assert trustworthiness(vectors, places, n_neighbors=10, metric="cosine") > 0.97
    assert preserved(vectors, places) > 1.5 * preserved(vectors, principal(vectors))


def test_each_cluster_is_a_patch_of_its_own() -> None:
    places = lay_out(clusters(12, 25))
    apart = np.square(places[:, None] - places).sum(2)
    np.fill_diagonal(apart, np.inf)
    homes = np.arange(300) % 12
    assert (homes[apart.argmin(1)] == homes).mean() > 0.99


def test_the_same_vectors_give_the_same_map() -> None:
    vectors = clusters(5, 20)
    assert np.array_equal(lay_out(vectors), lay_out(vectors.copy()))


def test_neither_length_nor_precision_matters_much() -> None:
    vectors = clusters(5, 20)
    assert preserved(vectors, lay_out((7 * vectors).astype(np.float16))) > 0.5


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_to_be_apart_lie_in_the_middle(count: int) -> None:
    assert np.array_equal(lay_out(np.ones((count, 4), np.float32)), np.zeros((count, 2)))


@pytest.mark.parametrize("count", [2, 3, 60])
def test_photos_that_are_all_alike_do_not_all_lie_on_each_other(count: int) -> None:
    places = lay_out(np.ones((count, 8), np.float32))
    assert len(np.unique(places, axis=0)) > count / 2


@settings(max_examples=6)  # each takes a second, however few the photos
@given(st.integers(2, 40), st.integers(1, 6), st.integers(1, 40), st.integers(0, 99))
def test_whatever_comes_a_map_fills_its_square(count: int, dim: int, different: int, seed: int) -> None:
    """Few photos, few dimensions, many copies: everything has a place, none is flung out of sight."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((different, dim)).astype(np.float32)[random.integers(0, different, count)]
    places = lay_out(vectors)
    assert places.shape == (count, 2) and places.dtype == np.float32
    assert np.abs(places).max() == pytest.approx(1)
    assert np.abs(places.min(0) + places.max(0)).max() < 1e-5


def test_a_photo_that_many_are_drawn_to_does_not_fling_them_away() -> None:
    """One direction in the middle of all others, as a blank page's may be, is everybody's neighbour."""
    random = np.random.default_rng(3)
    rays = random.standard_normal((400, 64)).astype(np.float32)
    places = lay_out(np.concatenate([np.abs(rays).mean(0, keepdims=True), np.abs(rays)]))
    assert np.percentile(np.abs(places), 50) > 0.2


def pushed_one_by_one(places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    apart = places[:, None] - places
    closeness = 1 / (1 + np.square(apart).sum(2))
    pushed: npt.NDArray[np.float64] = (apart * np.square(closeness)[..., None]).sum(1)
    return pushed / (closeness.sum() - len(places))


@pytest.mark.parametrize(("count", "spread"), [(2, 0.001), (2, 200), (5, 1), (5, 30), (200, 0.1), (200, 2)])
def test_the_grid_sums_up_what_each_pair_would(count: int, spread: float) -> None:
    places = spread * np.random.default_rng(count).standard_normal((count, 2))
    exact = pushed_one_by_one(places)
    assert np.abs(push(places) - exact).max() < 0.01 * np.abs(exact).max()
