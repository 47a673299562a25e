"""The nearest of all vectors: exact in every tie, in little memory, whoever asks."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samespace.search import exact
from samespace.search.exact import Exact
from tests.conftest import ROOT, album_vectors, unit

Vectors = npt.NDArray[np.float32]
SMALL = {"PANEL": 64, "WORTHWHILE": 64, "QUERIES": 3}  # so that a few rows are many blocks


def by_sorting(vectors: Vectors, queries: Vectors, k: int, allowed: npt.NDArray[np.bool_]) -> exact.Nearest:
    """The plain way: every cosine in double precision, then a sort."""
    cosines = (queries[:, None].astype(np.float64) * vectors.astype(np.float64)).sum(2).astype(np.float32)
    cosines[:, ~allowed] = -np.inf
    rows = np.pad(np.argsort(-cosines, axis=1, kind="stable"), ((0, 0), (0, k)))[:, :k]
    best = np.pad(-np.sort(-cosines, axis=1), ((0, 0), (0, k)), constant_values=-np.inf)[:, :k]
    return exact.Nearest(np.where(best > -np.inf, rows, -1), best)


@settings(max_examples=150)
@given(
    st.integers(0, 2**32),
    st.integers(0, 200),
    st.sampled_from([1, 3, 16, 40]),
    st.integers(0, 8),
    st.integers(1, 12),
    st.sampled_from([np.float16, np.float32]),
    st.sampled_from([4, 1 << 20]),
)
def test_exact_is_what_sorting_all_cosines_gives(
    seed: int, count: int, size: int, queries: int, k: int, dtype: type, pending: int
) -> None:
    random = np.random.default_rng(seed)
    few = unit(random.standard_normal((max(1, count // random.integers(1, 5)), size)) + 1e-3)
    vectors = few[random.integers(0, len(few), count)].astype(dtype)  # many are equal
    asked = np.concatenate([few, unit(random.standard_normal((8, size)))])[:queries]
    allowed = random.random(count) < random.choice([0.05, 0.5, 1])
    with patch.multiple(exact, PENDING=pending, **SMALL):
        found = Exact(vectors).nearest(asked, k, allowed)
    expected = by_sorting(vectors, asked, k, allowed)
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.cosines == pytest.approx(expected.cosines, abs=1e-6)
    assert (found.rows.dtype, found.cosines.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("queries", [1, 7, 300])
def test_blocks_of_the_usual_size_miss_nothing(dtype: type, queries: int) -> None:
    vectors = album_vectors(30_000).astype(dtype)
    asked = unit(vectors[:queries].astype(np.float32) + 0.01)
    found = Exact(vectors).nearest(asked, 10)
    cosines = asked @ vectors.astype(np.float32).T
    assert found.cosines == pytest.approx(-np.sort(-cosines, axis=1)[:, :10], abs=1e-5)
    assert np.take_along_axis(cosines, found.rows, 1) == pytest.approx(found.cosines, abs=1e-5)
    assert all(len(set(rows)) == 10 for rows in found.rows.tolist())


def test_of_equals_the_lowest_row_comes_first_even_among_many() -> None:
    vectors = np.tile(album_vectors(90)[:3], (9000, 1))
    all_of_them = Exact(vectors)
    few = patch.multiple(exact, PENDING=1000, WORTHWHILE=1 << 17)
    with few, patch.object(all_of_them, "best_of", side_effect=all_of_them.best_of) as closely:
        found = all_of_them.nearest(vectors[:2], 4)
    assert found.rows.tolist() == [[0, 3, 6, 9], [1, 4, 7, 10]]
    assert max(len(call.args[2]) for call in closely.call_args_list) < 9000  # never all of them at once


def test_where_no_row_is_allowed_none_is_found_and_none_is_read() -> None:
    all_of_them = Exact(album_vectors(3000).astype(np.float16))
    with patch.object(exact, "widen", side_effect=AssertionError):
        found = all_of_them.nearest(all_of_them.vectors(np.arange(2)), 3, np.zeros(3000, np.bool_))
    assert found.rows.tolist() == [[-1] * 3] * 2
    assert (found.cosines == -np.inf).all()


def test_threads_that_ask_at_once_get_their_own_answers() -> None:
    vectors = album_vectors(5000)
    all_of_them = Exact(vectors)
    with patch.multiple(exact, **SMALL | {"PANEL": 1 << 12}), ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: all_of_them.nearest(vectors[row : row + 1], 2).rows[0, 0], range(100)))
    assert found == list(range(100))


MEMORY = """
import resource, sys
import numpy as np
from samespace.search.exact import Exact

vectors = np.load(sys.argv[1], mmap_mode="r")
Exact(np.asarray(vectors[:1000])).nearest(vectors[:20], 10)
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) << 10
resource.setrlimit(resource.RLIMIT_DATA, (used + (64 << 20),) * 2)
try:
    np.ones(vectors.shape, np.float16)
except MemoryError:
    print(Exact(vectors).nearest(vectors[:20], 10).rows[:, 0].tolist() == list(range(20)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process may hold besides files")
def test_a_file_larger_than_memory_is_searched(tmp_path: Path) -> None:
    vectors = np.lib.format.open_memmap(tmp_path / "v.npy", "w+", np.float16, (400_000, 128))  # 102 MB
    block = album_vectors(20_000, 128)
    for start in range(0, len(vectors), len(block)):
        vectors[start : start + len(block)] = block
    vectors.flush()
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "v.npy")]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout == "True\n", ran.stderr
