"""A second look is taken at pairs that SIFT leaves open, once each, and libraries remember what it has found."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from samespace.base.arrays import Ints
from samespace.base.find import find
from samespace.library.library import Library, Photo
from samespace.library.scan import scan
from samespace.model.learnt_points import CHANCE, Partners, Seen, as_sift
from samespace.model.points import CHANCE as CHANCE_OF_SIFT
from samespace.model.points import PROOF
from samespace.search import second_look
from samespace.search.kept_points import partners_of
from samespace.search.same_shot import Sketches
from samespace.search.second_look import looking_twice, side_by_side

FIRST, SECOND = np.triu_indices(4, 1)
EVERY = list(zip(FIRST.tolist(), SECOND.tolist(), strict=True))


class Told:
    """Finds what the test says of pairs of photos, by their numbers, and notes what it is asked."""

    def __init__(self, folder: Path, scores: dict[tuple[int, int], float] | None = None, stop_after: int = 99) -> None:
        self.numbers = {path: number for number, path in enumerate(sorted(folder.iterdir()))}
        self.scores, self.stop_after = scores or {}, stop_after
        self.seen: list[int] = []
        self.compared: list[tuple[int, int]] = []

    def see(self, paths: Iterable[Path]) -> Iterator[Seen | None]:
        for path in paths:
            number = self.numbers[path]
            self.seen.append(number)
            yield Seen(torch.tensor([number]), torch.empty(0), (1, 1)) if path.exists() else None

    def partners(self, pairs: Iterable[tuple[Seen, Seen]]) -> Iterator[Partners]:
        for pair in pairs:
            if len(self.compared) == self.stop_after:
                raise KeyboardInterrupt
            here, there = (int(seen.places) for seen in pair)
            self.compared.append((here, there))
            score = self.scores.get((here, there), 3.5)
            yield Partners(np.empty((1, 2)), np.empty((1, 2)), np.array([score], np.float32))


@pytest.fixture
def folder(rooms: Path, tmp_path: Path) -> Path:
    album = tmp_path / "album"
    album.mkdir()
    for number, path in enumerate(find(rooms)[:4]):
        shutil.copy(path, album / f"{number}.jpg")
    return album


@pytest.fixture
def library(folder: Path, tmp_path: Path) -> Library:
    library = Library(tmp_path / "library", create=True)
    scan(library, [folder], [Sketches()])
    partners_of([library], numbered(library))(FIRST, SECOND)
    return library


def numbered(library: Library) -> list[tuple[int, Photo]]:
    return [(0, photo) for photo in sorted(library.photos(), key=lambda photo: photo.path)]


def counted(library: Library, told: Told, sift: list[int] | None = None) -> list[int]:
    """Count the partners of each of the six pairs, if SIFT finds those, or none."""

    def first_look(first: Ints, second: Ints) -> Ints:
        return np.array(sift or [0] * len(first))

    return looking_twice(first_look, [library], numbered(library), told)(FIRST, SECOND).tolist()


def test_only_what_sift_leaves_open_is_looked_at_again(library: Library, folder: Path) -> None:
    told = Told(folder, {(0, 1): 40.0, (0, 3): 30.0, (1, 2): 500.0})
    found = counted(library, told, [50, CHANCE_OF_SIFT, 5, CHANCE_OF_SIFT + 1, 0, 0])
    assert sorted(told.compared) == [(0, 2), (0, 3), (1, 3), (2, 3)]
    assert found == [50, CHANCE_OF_SIFT, as_sift(np.array([30.0]))[0], CHANCE_OF_SIFT + 1, *[CHANCE_OF_SIFT] * 2]


def test_scores_are_worth_points_beyond_chance() -> None:
    scores = np.array([0, CHANCE, CHANCE + 2, CHANCE + 2 * (PROOF - CHANCE_OF_SIFT), CHANCE + 390])
    assert as_sift(scores).tolist() == [CHANCE_OF_SIFT, CHANCE_OF_SIFT, CHANCE_OF_SIFT + 1, PROOF, CHANCE_OF_SIFT + 195]


def test_nothing_is_looked_at_a_third_time(library: Library, folder: Path) -> None:
    told = Told(folder, {(0, 3): 30.3})
    first = counted(library, told)
    assert sorted(told.compared) == EVERY
    again = Told(folder, stop_after=0)
    assert counted(library, again) == first and not again.seen


def test_a_search_that_looks_once_neither_uses_nor_loses_what_was_found(library: Library, folder: Path) -> None:
    once = partners_of([library], numbered(library))
    before = once(FIRST, SECOND).tolist()
    twice = counted(library, Told(folder, {(0, 3): 300.0}))
    (library.features_folder("points-1") / "partners-1.npy").unlink()
    assert once(FIRST, SECOND).tolist() == before
    assert counted(library, Told(folder, stop_after=0)) == twice


def test_a_search_that_is_stopped_goes_on_where_it_was(
    library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_look, "PAIRS", 2)
    stopped = Told(folder, stop_after=5)
    with pytest.raises(KeyboardInterrupt):
        counted(library, stopped)
    later = Told(folder)
    counted(library, later)
    assert sorted(stopped.compared[:4] + later.compared) == EVERY


def test_few_photos_are_held_and_each_is_seen_once_if_that_allows(
    library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_look, "PAIRS", 1)
    told = Told(folder)
    counted(library, told)
    assert sorted(told.seen) == [0, 1, 2, 3]
    (library.features_folder("points-1") / f"{second_look.SCORES.name}.npy").unlink()
    monkeypatch.setattr(second_look, "HELD", 2)
    told = Told(folder)
    counted(library, told)
    assert sorted(told.compared) == EVERY and len(told.seen) > 4


def test_a_photo_that_has_gone_shows_nothing_and_may_come_back(library: Library, folder: Path) -> None:
    (folder / "3.jpg").rename(folder.parent / "away.jpg")
    told = Told(folder)
    told.numbers[folder / "3.jpg"] = 3
    assert counted(library, told) == [CHANCE_OF_SIFT] * 6
    assert sorted(told.compared) == [(0, 1), (0, 2), (1, 2)]
    (folder.parent / "away.jpg").rename(folder / "3.jpg")
    back = Told(folder, {(0, 3): 30.0})
    assert max(counted(library, back)) > CHANCE_OF_SIFT
    assert sorted(back.compared) == [(0, 3), (1, 3), (2, 3)]


def test_pairs_with_a_photo_in_common_are_near_each_other() -> None:
    first, second = np.array([0, 2, 1, 0, 3, 2]), np.array([4, 5, 6, 8, 7, 9])
    order = side_by_side(first, second).tolist()
    assert sorted(order) == list(range(6))
    assert abs(order.index(0) - order.index(3)) == abs(order.index(1) - order.index(5)) == 1
    assert side_by_side(first[:0], second[:0]).tolist() == []
