"""The index finds nearly all, keeps up with what comes and goes, and survives whatever happens to its file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest

from samespace.base.errors import SameSpaceError
from samespace.search import approximate as index
from samespace.search.approximate import Approximate, Indexed, recall
from samespace.search.exact import Exact
from tests.conftest import album_vectors, unit

Vectors = npt.NDArray[np.float32]


@pytest.fixture
def usearch() -> None:
    pytest.importorskip("usearch", reason="pip install 'samespace[search]'")


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return album_vectors(8_000)


@pytest.fixture(scope="module")
def keys() -> npt.NDArray[np.uint64]:
    return np.random.default_rng(1).permutation(2**63 - 1 - np.arange(8_000, dtype=np.uint64) * 7**15)


def share_found(approximate: Approximate, vectors: Vectors, keys: npt.NDArray[np.uint64]) -> float:
    return recall(Indexed(Exact(vectors), keys, approximate))


@pytest.mark.usefixtures("usearch")
def test_at_its_defaults_the_index_finds_nearly_all_also_read_again(tmp_path: Path) -> None:
    vectors, keys = album_vectors(10_000, 256), np.arange(10_000, dtype=np.uint64)
    built = Approximate.open(tmp_path / "index", "look", 256)
    assert built.keep(keys, vectors.__getitem__) == (10_000, 0)
    built.save()
    again = Approximate.open(tmp_path / "index", "look", 256)
    assert share_found(built, vectors, keys) == share_found(again, vectors, keys) > 0.98


@pytest.mark.usefixtures("usearch")
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_folder_whose_name_is_not_utf8_can_hold_it(
    tmp_path: Path, vectors: Vectors, keys: npt.NDArray[np.uint64]
) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    approximate = Approximate.open(folder / "index", "look", 64)
    approximate.keep(keys[:300], vectors.__getitem__)
    approximate.save()
    again = Approximate.open(folder / "index", "look", 64)
    assert (len(again), share_found(again, vectors[:300], keys[:300])) == (300, 1)


@pytest.mark.usefixtures("usearch")
def test_what_lies_in_a_few_directions_is_kept_as_it_is(tmp_path: Path) -> None:
    few = album_vectors(500, 64)
    axes = np.linalg.qr(np.random.default_rng(0).standard_normal((300, 64)))[0]
    vectors, keys = (few @ axes.T).astype(np.float32), np.arange(500, dtype=np.uint64)
    approximate = Approximate.open(tmp_path / "index", "look", 300)
    approximate.keep(keys, vectors.__getitem__)
    found, cosines = approximate.nearest(vectors, 10)
    exact = Exact(vectors).nearest(vectors, 10)
    hits = [len(set(row) & set(best)) for row, best in zip(found.tolist(), exact.rows.tolist(), strict=True)]
    assert np.mean(hits) >= 9.3
    assert cosines == pytest.approx(np.einsum("qd,qkd->qk", vectors, vectors[found]), abs=0.02)


@pytest.mark.usefixtures("usearch")
def test_directions_are_learnt_again_once_there_are_many_more_vectors(tmp_path: Path) -> None:
    one, other = np.eye(1, 200, dtype=np.float32), np.eye(1, 200, 150, dtype=np.float32)
    noise = np.random.default_rng(0).standard_normal((1000, 200)).astype(np.float32)
    early = unit(noise[:50] * (np.arange(200) < 100) + one)  # they say nothing of the last hundred axes
    late = unit(noise * (np.arange(200) >= 100) + other)
    vectors, keys = np.concatenate([early, late]), np.arange(1050, dtype=np.uint64)
    approximate = Approximate.open(tmp_path / "index", "look", 200)
    for count, changes in ((50, (50, 0)), (150, (100, 0)), (1050, (900, 0))):
        assert approximate.keep(keys[:count], vectors.__getitem__) == changes
        approximate.save()
        approximate = Approximate.open(tmp_path / "index", "look", 200)
        assert len(approximate) == count
        learnt = np.abs(other @ approximate.directions).max()
        assert (learnt > 0.5) == (count == 1050)
    assert share_found(approximate, vectors, keys) > 0.95


@pytest.mark.usefixtures("usearch")
def test_only_what_is_lacking_is_added_and_what_is_too_much_is_gone(
    tmp_path: Path, vectors: Vectors, keys: npt.NDArray[np.uint64]
) -> None:
    asked = []

    def vectors_of(rows: npt.NDArray[np.int64]) -> Vectors:
        asked.extend(rows.tolist())
        return vectors[rows]

    approximate = Approximate.open(tmp_path / "index", "look", 64)
    assert approximate.keep(keys[:1000], vectors_of) == (1000, 0)
    approximate.save()
    for held in (approximate, Approximate.open(tmp_path / "index", "look", 64)):
        del asked[:]
        assert held.keep(keys[100:1200], lambda rows: vectors_of(rows + 100)) == (200, 100)
        assert sorted(asked) == list(range(1000, 1200))
        assert len(held) == 1100
        assert held.keep(keys[100:1200], vectors_of) == (0, 0)
        found, cosines = held.nearest(vectors[:1200], 1)
        assert not set(found[:, 0].tolist()) & set(keys[:100].tolist())
        assert np.mean(found[100:, 0] == keys[100:1200]) > 0.99
        assert np.mean(cosines[100:] > 0.999) > 0.99


@pytest.mark.usefixtures("usearch")
def test_replacing_photos_does_not_wear_the_index_out(
    tmp_path: Path, vectors: Vectors, keys: npt.NDArray[np.uint64]
) -> None:
    approximate = Approximate.open(tmp_path / "index", "look", 64)
    approximate.keep(keys[:4000], vectors.__getitem__)
    approximate.keep(keys[2400:6400], lambda rows: vectors[rows + 2400])  # 60 % removed, as many others added
    assert share_found(approximate, vectors[2400:6400], keys[2400:6400]) > 0.97
    random, rows = np.random.default_rng(0), np.arange(4000)
    for _ in range(6):
        approximate.save()
        approximate = Approximate.open(tmp_path / "index", "look", 64)
        others = np.setdiff1d(np.arange(8_000), rows)
        rows = np.sort(np.concatenate([random.permutation(rows)[:3200], random.permutation(others)[:800]]))
        approximate.keep(keys[rows], lambda some, rows=rows: vectors[rows[some]])  # type: ignore[misc]
    assert share_found(approximate, vectors[rows], keys[rows]) > 0.97


@pytest.mark.usefixtures("usearch")
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:20],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: bytes([content[0] ^ 1]) + content[1:],
        lambda content: content[:5000] + bytes([content[5000] ^ 128]) + content[5001:],
        lambda content: content[:-33] + bytes([content[-33] ^ 1]) + content[-32:],
    ],
)
def test_a_damaged_file_is_never_read_and_is_made_anew(
    tmp_path: Path, damage: Callable[[bytes], bytes], vectors: Vectors, keys: npt.NDArray[np.uint64]
) -> None:
    path = tmp_path / "index"
    approximate = Approximate.open(path, "look", 64)
    approximate.keep(keys[:500], vectors.__getitem__)
    approximate.save()
    path.write_bytes(damage(path.read_bytes()))
    with patch("usearch.index.Index.view", side_effect=AssertionError("a damaged file reached usearch")):
        approximate = Approximate.open(path, "look", 64)
    assert len(approximate) == 0
    assert approximate.keep(keys[:500], vectors.__getitem__) == (500, 0)
    approximate.save()
    assert len(Approximate.open(path, "look", 64)) == 500


@pytest.mark.usefixtures("usearch")
def test_an_index_of_other_vectors_is_as_none(
    tmp_path: Path, vectors: Vectors, keys: npt.NDArray[np.uint64], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "index"
    approximate = Approximate.open(path, "look", 64)
    approximate.keep(keys[:50], vectors.__getitem__)
    approximate.save()
    assert len(Approximate.open(path, "look", 64)) == 50
    assert len(Approximate.open(path, "another look", 64)) == 0
    assert len(Approximate.open(path, "look", 32)) == 0
    for name, value in {"CONNECTIVITY": 17, "EXPANSION_ADD": 7, "SHORT": 95}.items():
        with patch.object(index, name, value):
            assert len(Approximate.open(path, "look", 64)) == 0
    monkeypatch.setattr("usearch.__version__", "99.1")
    assert len(Approximate.open(path, "look", 64)) == 0


@pytest.mark.usefixtures("usearch")
def test_a_whole_file_that_usearch_does_not_know_is_as_none(
    tmp_path: Path, vectors: Vectors, keys: npt.NDArray[np.uint64]
) -> None:
    approximate = Approximate.open(tmp_path / "index", "look", 64)
    approximate.keep(keys[:50], vectors.__getitem__)
    approximate.save()
    with patch("usearch.index.Index.view", side_effect=RuntimeError("File format may be different")):
        approximate = Approximate.open(tmp_path / "index", "look", 64)
    assert approximate.keep(keys[:50], vectors.__getitem__) == (50, 0)
    approximate.save()
    assert len(Approximate.open(tmp_path / "index", "look", 64)) == 50


@pytest.mark.usefixtures("usearch")
def test_the_file_is_written_whole_or_not_at_all(
    tmp_path: Path, vectors: Vectors, keys: npt.NDArray[np.uint64]
) -> None:
    approximate = Approximate.open(tmp_path / "index", "look", 64)
    approximate.keep(keys[:50], vectors.__getitem__)
    approximate.save()
    before = (tmp_path / "index").read_bytes()
    approximate.keep(keys[:60], vectors.__getitem__)
    for step in ("open", "replace"):
        full = patch.object(Path, step, side_effect=OSError(28, "No space left on device"))
        with full, pytest.raises(SameSpaceError, match=r"cannot write the index .* No space left"):
            approximate.save()
        assert [path.name for path in tmp_path.iterdir()] == ["index"]
        assert (tmp_path / "index").read_bytes() == before
    approximate.save()
    assert len(Approximate.open(tmp_path / "index", "look", 64)) == 60
    nowhere = Approximate.open(tmp_path / "missing" / "index", "look", 64)
    nowhere.keep(keys[:5], vectors.__getitem__)
    with pytest.raises(SameSpaceError, match="cannot write the index"):
        nowhere.save()


@pytest.mark.usefixtures("usearch")
def test_an_index_that_did_not_change_is_not_written(
    tmp_path: Path, vectors: Vectors, keys: npt.NDArray[np.uint64]
) -> None:
    approximate = Approximate.open(tmp_path / "index", "look", 64)
    approximate.keep(keys[:50], vectors.__getitem__)
    approximate.save()
    approximate = Approximate.open(tmp_path / "index", "look", 64)
    with patch.object(Path, "replace", side_effect=AssertionError):
        assert approximate.keep(keys[:50], vectors.__getitem__) == (0, 0)
        approximate.save()


@pytest.mark.usefixtures("usearch")
def test_an_index_of_few_or_none_answers_with_what_it_has(
    tmp_path: Path, vectors: Vectors, keys: npt.NDArray[np.uint64]
) -> None:
    approximate = Approximate.open(tmp_path / "index", "look", 64)
    assert (approximate.nearest(vectors[:2], 3)[1] == -np.inf).all()
    approximate.keep(keys[:2], vectors.__getitem__)
    for asked in (1, 2):
        found, cosines = approximate.nearest(vectors[:asked], 3)
        assert found[:, 0].tolist() == keys[:asked].tolist()
        assert (cosines > -np.inf).tolist() == [[True, True, False]] * asked
    assert approximate.nearest(vectors[:0], 3)[0].shape == (0, 3)
    assert approximate.keep(keys[:0], vectors.__getitem__) == (0, 2)
    approximate.save()
    assert len(Approximate.open(tmp_path / "index", "look", 64)) == 0


@pytest.mark.usefixtures("usearch")
def test_threads_may_ask_an_index_at_once(tmp_path: Path, vectors: Vectors) -> None:
    approximate = Approximate.open(tmp_path / "index", "look", 64)
    approximate.keep(np.arange(1000, dtype=np.uint64), vectors.__getitem__)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: approximate.nearest(vectors[row : row + 1], 5)[0][0, 0], range(1000)))
    assert np.mean(np.array(found) == np.arange(1000)) > 0.99


@pytest.mark.usefixtures("usearch")
def test_photos_of_one_key_are_all_found_and_cosines_are_exact(tmp_path: Path, vectors: Vectors) -> None:
    photos = np.concatenate([vectors[:500], vectors[:3], vectors[:1]])
    keys = np.concatenate([np.arange(500), np.arange(3), np.arange(1)]).astype(np.uint64)
    approximate = Approximate.open(tmp_path / "index", "look", 64)
    assert approximate.keep(keys, photos.__getitem__) == (500, 0)
    indexed, exact = Indexed(Exact(photos), keys, approximate), Exact(photos)
    found, best = indexed.nearest(photos[:200], 10), exact.nearest(photos[:200], 10)
    assert found.rows[0, :3].tolist() == [0, 500, 503]
    same = found.rows == best.rows
    assert same.mean() > 0.99
    assert found.cosines[same].tolist() == best.cosines[same].tolist()


@pytest.mark.usefixtures("usearch")
def test_where_only_some_rows_are_allowed_they_are_all_compared(tmp_path: Path, vectors: Vectors) -> None:
    keys = np.arange(3000, dtype=np.uint64)
    approximate = Approximate.open(tmp_path / "index", "look", 64)
    approximate.keep(keys, vectors.__getitem__)
    allowed = np.arange(3000) % 1000 == 5
    found = Indexed(Exact(vectors[:3000]), keys, approximate).nearest(vectors[:4], 5, allowed)
    assert (np.sort(found.rows, 1) == [-1, -1, 5, 1005, 2005]).all()


@pytest.mark.usefixtures("usearch")
def test_recall_is_the_share_of_neighbours_that_are_found(tmp_path: Path, vectors: Vectors) -> None:
    keys = np.arange(400, dtype=np.uint64)
    approximate = Approximate.open(tmp_path / "index", "look", 64)
    assert recall(Indexed(Exact(vectors[:1]), keys[:1], approximate)) == 1
    assert recall(Indexed(Exact(vectors[:400]), keys, approximate)) == 0
    approximate.keep(keys, vectors.__getitem__)
    assert recall(Indexed(Exact(vectors[:400]), keys, approximate)) > 0.99
    half = Approximate.open(tmp_path / "half", "look", 64)
    half.keep(keys[::2], lambda rows: vectors[2 * rows])
    assert 0.3 < recall(Indexed(Exact(vectors[:400]), keys, half)) < 0.6
    half.keep(keys[:5], vectors.__getitem__)
    assert recall(Indexed(Exact(vectors[:5]), keys[:5], half)) == 1  # of others there are four


@pytest.mark.usefixtures("usearch")
def test_rows_that_nobody_keeps_do_not_count(tmp_path: Path, vectors: Vectors) -> None:
    kept = np.arange(400) % 2 == 0
    keys = np.where(kept, np.arange(400), 2**64 - 1).astype(np.uint64)
    half = Approximate.open(tmp_path / "half", "look", 64)
    half.keep(keys[kept], lambda rows: vectors[2 * rows])
    indexed = Indexed(Exact(vectors[:400]), keys, half)
    assert 0.3 < indexed.tune() < 0.6
    assert half.expansion == index.EXPANSIONS[-1]
    assert indexed.tune(kept) > 0.97
    assert half.expansion == index.EXPANSIONS[0]
    assert recall(indexed, kept) > 0.97


@pytest.mark.usefixtures("usearch")
def test_an_index_wants_tuning_once_much_has_changed(tmp_path: Path, vectors: Vectors) -> None:
    keys = np.arange(1200, dtype=np.uint64)
    approximate = Approximate.open(tmp_path / "index", "look", 64)
    assert not approximate.wants_tuning
    wants = []
    for count in (1000, 1001, 1060, 1199):
        approximate.keep(keys[:count], vectors.__getitem__)
        approximate.save()
        approximate = Approximate.open(tmp_path / "index", "look", 64)
        wants.append(approximate.wants_tuning)
        if count == 1000:
            Indexed(Exact(vectors[:1000]), keys[:1000], approximate).tune()
            assert not approximate.wants_tuning
    assert wants == [True, False, False, True]


@pytest.mark.usefixtures("usearch")
def test_vectors_in_all_directions_get_the_candidates_they_need_and_keep_them(tmp_path: Path) -> None:
    scattered = unit(np.random.default_rng(0).standard_normal((3000, 128)))
    keys = np.arange(3000, dtype=np.uint64)
    approximate = Approximate.open(tmp_path / "index", "look", 128)
    approximate.keep(keys[:2990], scattered.__getitem__)
    indexed = Indexed(Exact(scattered[:2990]), keys[:2990], approximate)
    before, few = recall(indexed), approximate.expansion
    with patch.object(index, "RECALL", before + 0.5 * (1 - before)):
        assert indexed.tune() >= index.RECALL > before
    assert recall(indexed) > before
    needed = approximate.expansion
    approximate.save()
    approximate = Approximate.open(tmp_path / "index", "look", 128)
    assert approximate.expansion == needed
    approximate.keep(keys, scattered.__getitem__)
    assert approximate.expansion == needed > few


def test_without_usearch_one_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(SameSpaceError, match=r"needs usearch: `pip install 'samespace\[search\]'`"):
        Approximate.open(tmp_path / "index", "look", 64)
    assert Exact(album_vectors(100)).nearest(album_vectors(100)[:1], 1).rows.tolist() == [[0]]
