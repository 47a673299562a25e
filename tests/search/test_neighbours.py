"""Neighbours: exact up to a size, nearly so beyond, the same every time, and never a table of all with all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samespace.base.errors import SameSpaceError
from samespace.search import neighbours
from samespace.search.neighbours import Among, Candidates, find_neighbours, with_pairs
from tests.conftest import ROOT, album_vectors, unit

Vectors = npt.NDArray[np.float32]
ROUNDING = 0.001


def album(count: int, size: int = 64, related: float = 0.4) -> Vectors:
    """Embeddings as photos have them: a few directions matter most, topics of all sizes crowd around their middles,
    and one photo in five is a copy of another, at cosines from 0.98 down to 0.55."""
    random = np.random.default_rng(0)
    spread = np.arange(1, size + 1) ** -0.35

    def directions(number: int) -> Vectors:
        return unit(random.standard_normal((number, size)) * spread)

    topics = directions(count // 150)
    shares = random.pareto(1.5, len(topics)) + 1
    of_topic = np.sqrt(random.normal(related, 0.15, count).clip(0, 0.9))[:, None]
    topic = random.choice(len(topics), count, p=shares / shares.sum())
    photos = of_topic * topics[topic] + np.sqrt(1 - of_topic**2) * directions(count)
    photos = unit(photos)
    copies, originals = np.split(random.permutation(count)[: count // 5 * 2], 2)
    cosine = random.choice([0.98, 0.95, 0.9, 0.85, 0.82, 0.7, 0.6, 0.55], len(copies))[:, None]
    change = directions(len(copies))
    change = unit(change - (change * photos[originals]).sum(1, keepdims=True) * photos[originals])
    photos[copies] = cosine * photos[originals] + np.sqrt(1 - cosine**2) * change
    return unit(photos)


def pairs_of(candidates: Candidates) -> set[tuple[int, int]]:
    first = np.repeat(np.arange(len(candidates.full)), np.diff(candidates.starts))
    return set(zip(first.tolist(), candidates.ids.tolist(), strict=True))


def all_pairs(vectors: Vectors, floor: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Vectors]:
    cosines = vectors @ vectors.T
    first, second = np.nonzero(np.triu(cosines >= floor, 1))
    return first, second, cosines[first, second]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_exact_finds_every_pair_with_its_cosine(dtype: type) -> None:
    vectors = album(1200).astype(dtype)
    found = find_neighbours(vectors, 0.8, exact=1200, visits=1)
    cosines = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    np.fill_diagonal(cosines, 0)
    surely, maybe = cosines >= 0.8 + ROUNDING, cosines >= 0.8 - ROUNDING
    assert set(zip(*(side.tolist() for side in np.nonzero(surely)), strict=True)) <= pairs_of(found)
    assert pairs_of(found) <= set(zip(*(side.tolist() for side in np.nonzero(maybe)), strict=True))
    assert len(found.ids) > 100
    first = np.repeat(np.arange(1200), np.diff(found.starts))
    assert np.abs(found.cosines - cosines[first, found.ids]).max() < ROUNDING
    assert (found.ids.dtype, found.cosines.dtype, found.full.any()) == (np.int32, np.float32, False)


def test_a_cosine_right_at_the_floor_is_enough() -> None:
    vectors = np.array([[1, 0], [0.6, 0.8]], np.float32)
    assert [find_neighbours(vectors, floor).of(0)[0].tolist() for floor in (0.6, 0.6001)] == [[1], []]


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(1, 5), st.sampled_from([-1.0, 0.2, 0.7]), st.integers(0, 99), st.booleans())
def test_cut_lists_hold_the_best_and_say_so(count: int, most: int, floor: float, seed: int, cells: bool) -> None:
    random = np.random.default_rng(seed)
    vectors = unit(random.integers(-2, 3, (count, 3)) + np.array([0.1, 0.2, 0.3]))
    # Cells that each photo visits all of must find what comparing all finds.
    found = find_neighbours(vectors, floor, most, exact=0 if cells else count, visits=count)
    products = found.rounded.astype(np.int64) @ found.rounded.astype(np.int64).T
    expected = set()
    for i in range(count):
        near = [j for j in np.argsort(-products[i], kind="stable") if j != i and products[i, j] >= found.lowest]
        expected |= {pair for j in near[:most] for pair in ((i, int(j)), (int(j), i))}
        assert found.full[i] == (len(near) > most)
        ids, cosines = found.of(i)
        assert ids.tolist() == sorted(near)
        assert np.allclose(cosines, np.minimum(products[i, ids] / neighbours.STEPS**2, 1))
    assert pairs_of(found) == expected


def test_full_lists_are_made_whole_many_at_once() -> None:
    found = find_neighbours(album(500), 0.5, most=4)
    assert 0.1 < found.full.mean() < 1
    photos = [3, 499, 0, 250, 3]
    together = [(ids.tolist(), cosines.tolist()) for ids, cosines in found.each(photos)]
    assert together == [(ids.tolist(), cosines.tolist()) for ids, cosines in map(found.of, photos)]
    for i in np.flatnonzero(found.full)[:20]:
        assert set(found.listed(i)[0].tolist()) <= set(found.of(i)[0].tolist())


def shrink_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "ROWS", 64)
    monkeypatch.setattr(neighbours, "COLUMNS", 32)
    monkeypatch.setattr(neighbours, "PENDING", 1000)


def test_lists_that_are_cut_again_and_again_end_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = album(900)
    whole = [find_neighbours(vectors, -0.5, most=3, exact=exact, visits=300) for exact in (900, 0)]
    shrink_blocks(monkeypatch)
    for exact, expected in zip((900, 0), whole, strict=True):
        found = find_neighbours(vectors, -0.5, most=3, exact=exact, visits=300)
        assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("exact", [700, 0])
def test_photos_that_are_all_alike_keep_the_first(exact: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_blocks(monkeypatch)
    found = find_neighbours(np.ones((700, 1), np.float16), 0.9, most=3, exact=exact)
    assert found.full.all()
    assert [found.listed(i)[0][:4].tolist() for i in (2, 3, 699)] == [[0, 1, 3, 4], [0, 1, 2], [0, 1, 2]]


# (cosine, the share of pairs that reach it which must be found)
@pytest.mark.parametrize("related, bounds", [(0.4, {0.8: 0.998, 0.5: 0.94}), (0.1, {0.8: 0.99, 0.5: 0.965})])
def test_cells_miss_few(related: float, bounds: dict[float, float]) -> None:
    """Each photo is compared with 6.5% of the others, as 100,000 are by default.

    The second album has hardly any topics to make cells of: a pair is two photos that stand apart from all others, the
    hardest there is.
    """
    vectors = album(8000, size=256, related=related)
    found = find_neighbours(vectors, 0.499, most=1000, exact=0, visits=520)
    assert not found.full.any()
    first, second, cosines = all_pairs(vectors, 0.5)
    key = np.repeat(np.arange(8000), np.diff(found.starts)) * 8000 + found.ids
    hits = np.isin(first * 8000 + second, key)
    assert (cosines >= 0.8).sum() > 700
    recall = {floor: hits[cosines >= floor].mean() for floor in bounds}
    print("share of the pairs found, by the cosine that they reach:", recall)
    assert all(recall[floor] >= bound for floor, bound in bounds.items()), recall


@pytest.mark.parametrize("exact", [3000, 0])
def test_lists_are_symmetric_and_in_order(exact: int) -> None:
    found = find_neighbours(album(3000), 0.5, most=8, exact=exact, visits=500)
    pairs = pairs_of(found)
    assert len(pairs) == len(found.ids) > 1000
    assert pairs == {(second, first) for first, second in pairs}
    assert all((np.diff(found.listed(i)[0]) > 0).all() and i not in found.listed(i)[0] for i in range(3000))
    value = dict(zip(sorted(pairs), found.cosines.tolist(), strict=True))
    assert all(value[first, second] == value[second, first] for first, second in pairs)


DIGEST = """
import hashlib, sys
import numpy as np
from samespace.search.neighbours import find_neighbours
for exact in (3000, 0):
    found = find_neighbours(np.load(sys.argv[1]), 0.5, most=8, exact=exact, visits=500)
    print(hashlib.sha256(b"".join(array.tobytes() for array in found[:4])).hexdigest())
"""


def test_the_number_of_threads_changes_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "album.npy", album(3000))
    command = [sys.executable, "-c", DIGEST, str(tmp_path / "album.npy")]

    def digests(threads: int) -> bytes:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, str(threads)) | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout

    assert digests(1) == digests(2)


def test_vectors_may_lie_on_disk(tmp_path: Path) -> None:
    vectors = album(600).astype(np.float16)
    np.save(tmp_path / "vectors.npy", vectors)
    on_disk = find_neighbours(np.load(tmp_path / "vectors.npy", mmap_mode="r"), 0.5)
    assert all(np.array_equal(one, other) for one, other in zip(on_disk, find_neighbours(vectors, 0.5), strict=True))


@pytest.mark.parametrize("length", [0.0, 1.5, np.nan])
def test_vectors_of_another_length_are_refused(length: float) -> None:
    vectors = album(150)
    vectors[7] *= length
    with pytest.raises(SameSpaceError, match="vector 7 is not of length 1"):
        find_neighbours(vectors, 0.5)


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("exact", [10, 0])
def test_hardly_any_photos(count: int, exact: int) -> None:
    found = find_neighbours(np.ones((count, 1), np.float32), 0.5, exact=exact)
    assert len(found.starts) == count + 1
    assert len(found.ids) == count * (count - 1)


def test_queries_find_the_rows_near_them() -> None:
    vectors = album_vectors(300)
    queries = album_vectors(400)[250:]
    near = Among(vectors).near(queries, 0.5, most=4)
    cosines = queries @ vectors.T
    for query in range(len(queries)):
        mine = near.queries == query
        expected = np.sort(cosines[query][cosines[query] >= 0.5])[::-1][:4]
        assert near.cosines[mine] == pytest.approx(expected, abs=0.001)
        assert cosines[query, near.rows[mine]] == pytest.approx(near.cosines[mine], abs=0.001)


def test_queries_in_cells_find_nearly_all() -> None:
    vectors = album_vectors(2000)
    exact = Among(vectors).near(vectors[::7], 0.8, most=3)
    within = Among(vectors, exact=500, visits=400).near(vectors[::7], 0.8, most=3)
    found = set(zip(within.queries.tolist(), within.rows.tolist(), strict=True))
    wanted = set(zip(exact.queries.tolist(), exact.rows.tolist(), strict=True))
    assert len(found & wanted) > 0.95 * len(wanted)


def test_more_pairs_are_listed_from_both_sides() -> None:
    vectors = album_vectors(60)
    found = find_neighbours(vectors, 0.9)
    more = with_pairs(found, np.array([3, 3, 7]), np.array([40, 40, 3]), np.array([0.5, 0.5, 0.4], np.float32))
    for one, other in ((3, 40), (40, 3), (7, 3), (3, 7)):
        assert more.listed(one)[0].tolist().count(other) == 1
    for photo in range(60):
        ids, cosines = found.listed(photo)
        there, kept = more.listed(photo)
        assert set(ids) <= set(there) and (np.diff(there) > 0).all()
        assert dict(zip(ids, cosines, strict=True)).items() <= dict(zip(there, kept, strict=True)).items()
