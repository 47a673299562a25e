"""Candidates and careful scores, whatever library a photo lies in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samespace.base.errors import SameSpaceError
from samespace.duplicates import scores
from samespace.duplicates.scores import JoinedFeatures
from samespace.library.features import Features
from samespace.model.saved import load
from samespace.search.look import THRESHOLD

TYPES = {"vectors": "float16", "materials": "int8"}


def features(folder: Path, values: np.ndarray, rows: list[int], name: str = "vectors") -> Features:
    folder.mkdir(parents=True)
    (folder / name).write_bytes(values.astype(TYPES[name]).tobytes())
    return Features(folder, {name: (values.shape[1:], TYPES[name])}, np.array(rows, np.int64))


@pytest.fixture
def everywhere(tmp_path: Path) -> tuple[JoinedFeatures, np.ndarray]:
    """Three photos of one library, none of a second, two of a third; and what they should say."""
    one, three = np.arange(20).reshape(5, 4), 100 + np.arange(8).reshape(2, 4)
    parts = [features(tmp_path / "1", one, [4, 0, 2]), features(tmp_path / "2", one, [])]
    parts.append(features(tmp_path / "3", three, [1, 0]))
    return JoinedFeatures(parts), np.concatenate([one[[4, 0, 2]], three[[1, 0]]])


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [4, 0, 3, 1, 1], [2], [4, 4], []])
def test_libraries_read_as_one(everywhere: tuple[JoinedFeatures, np.ndarray], rows: list[int]) -> None:
    joined, expected = everywhere
    assert len(joined) == 5
    assert joined.take("vectors", np.array(rows, np.intp)).tolist() == expected[rows].tolist()


def crowd(count: int, tmp_path: Path) -> JoinedFeatures:
    """Photos that have much in common, and the last a near twin of the first."""
    random = np.random.default_rng(0)
    rows = random.integers(-20, 20, (count, 30)) + 60
    rows[-1] = rows[0] + random.integers(-1, 2, 30)
    return JoinedFeatures([features(tmp_path / "crowd", rows, list(range(count)), "materials")])


def no_partners(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.zeros(len(first), np.int64)


def test_what_photos_have_in_common_does_not_make_them_alike(tmp_path: Path) -> None:
    found = scores.materials_scoring(crowd(60, tmp_path), no_partners)
    assert found.score(np.array([0]), np.array([59]))[0] > 0.6
    assert 59 in found.candidates.of(0)[0]
    others = np.arange(1, 59)
    assert np.median(found.score(np.zeros(58, np.intp), others)) < 0.1
    assert found.score(others, np.zeros(58, np.intp)).tolist() == found.score(np.zeros(58, np.intp), others).tolist()


def test_proof_makes_sure_of_what_is_likely(tmp_path: Path) -> None:
    def some(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.where((first == 0) & (second == 59), 50, 0)

    crowded = crowd(60, tmp_path)
    likely, sure = (
        scores.materials_scoring(crowded, partners).score(np.array([59]), np.array([0]))[0]
        for partners in (no_partners, some)
    )
    assert likely < THRESHOLD < 0.99 < sure


def test_too_few_photos_have_nothing_in_common_yet(tmp_path: Path) -> None:
    with pytest.raises(SameSpaceError, match="29 are too few"):
        scores.materials_scoring(crowd(29, tmp_path), no_partners)
    assert scores.materials_scoring(crowd(30, tmp_path / "more"), no_partners)


def test_photos_that_do_not_differ_at_all_are_one_space(tmp_path: Path) -> None:
    same = JoinedFeatures([features(tmp_path / "same", np.ones((30, 4)), list(range(30)), "materials")])
    found = scores.materials_scoring(same, no_partners)
    assert 0.6 < found.score(np.array([0]), np.array([29]))[0] < THRESHOLD, "without proof"
    assert 29 in found.candidates.of(0)[0]


def test_a_photo_alone_has_no_candidates_by_a_model_without_parts(
    tmp_path: Path, model_folders: dict[str, Path]
) -> None:
    alone = JoinedFeatures([features(tmp_path / "alone", np.ones((1, 4)), [0])])
    found = scores.model_scoring(alone, load(model_folders["concat"]))
    assert len(found.candidates.of(0)[0]) == 0
