"""Groups never chain unless asked to, do not depend on how photos are numbered, and respect what people said."""

from __future__ import annotations

from random import Random

import networkx
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samespace.base.arrays import Ints
from samespace.duplicates import grouping as grouping_module
from samespace.duplicates.grouping import EVERY_PAIR, Similar, by_components, by_dbscan, by_keeper, weakest
from samespace.search.neighbours import find_neighbours
from samespace.search.pair_scores import Remembered

THRESHOLD = 0.5
Matrix = npt.NDArray[np.float64]
Verdicts = list[tuple[int, int]]


def similar(scores: Matrix, most: int, same: Verdicts = [], different: Verdicts = []) -> Similar:  # noqa: B006
    """All photos are near all others, and lists hold `most`, so that a low number leaves most scores for later."""
    candidates = find_neighbours(np.ones((len(scores), 1), np.float32), 0.9, most)
    return Similar(candidates, lambda first, second: scores[first, second], THRESHOLD, same, different)


def symmetric(scores: Matrix) -> Matrix:
    upper = np.triu(scores, 1)
    return upper + upper.T


@st.composite
def tables(draw: st.DrawFn) -> Matrix:
    """Scores of up to 14 photos, with many equal ones and about as many clear as draw wants."""
    count = draw(st.integers(1, 14))
    steps = draw(st.sampled_from([4, 40]))
    clear = draw(st.sampled_from([0.05, 0.15, 0.5, 0.9]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    scores = random.integers(0, steps, (count, count)) / steps * THRESHOLD
    return symmetric(scores + THRESHOLD * (random.random((count, count)) < clear))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Matrix, Verdicts, Verdicts, int]:
    """A table of scores, pairs told same, pairs told different, and how many a list holds."""
    scores = draw(tables())
    pairs = [(i, j) for j in range(len(scores)) for i in range(j)]
    told = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=8)) if pairs else []
    split = draw(st.integers(0, len(told)))
    return scores, told[:split], told[split:], draw(st.sampled_from([1, 3, 14]))


def corrected(scores: Matrix, same: Verdicts, different: Verdicts) -> Matrix:
    scores = scores.copy()
    for value, pairs in ((1.0, same), (0.0, different)):
        for i, j in pairs:
            scores[i, j] = scores[j, i] = value
    return scores


def as_lists(groups: list[Ints]) -> list[list[int]]:
    return [group.tolist() for group in groups]


@given(worlds())
def test_every_member_clears_the_threshold_with_its_keeper(world: tuple[Matrix, Verdicts, Verdicts, int]) -> None:
    scores, same, different, most = world
    groups = as_lists(by_keeper(np.arange(len(scores)), similar(scores, most, same, different)))
    scores = corrected(scores, same, different)
    assert all(scores[keeper, member] >= THRESHOLD for keeper, *members in groups for member in members)
    photos = [photo for group in groups for photo in group]
    assert len(photos) == len(set(photos))
    assert all(len(group) > 1 for group in groups)


@given(worlds())
def test_each_photo_goes_to_the_best_keeper_that_may_have_it(world: tuple[Matrix, Verdicts, Verdicts, int]) -> None:
    scores, same, different, most = world
    groups = by_keeper(np.arange(len(scores)), similar(scores, most, same, different))
    scores, apart = corrected(scores, same, different), {frozenset(pair) for pair in different}
    expected: dict[int, list[int]] = {}
    for i in range(len(scores)):
        clear = [keeper for keeper in expected if scores[keeper, i] >= THRESHOLD]
        allowed = [keeper for keeper in clear if not any({i, j} in apart for j in expected[keeper])]
        keeper = max(allowed, key=lambda keeper: (scores[keeper, i], -keeper), default=i)
        expected.setdefault(keeper, []).append(i)
    assert as_lists(groups) == [group for group in expected.values() if len(group) > 1]


@given(worlds())
def test_photos_told_apart_never_share_a_group(world: tuple[Matrix, Verdicts, Verdicts, int]) -> None:
    scores, same, different, most = world
    groups = by_keeper(np.arange(len(scores)), similar(scores, most, same, different))
    assert not any({i, j} <= set(group.tolist()) for group in groups for i, j in different)


@given(worlds())
def test_nobody_is_left_alone_beside_a_free_keeper(world: tuple[Matrix, Verdicts, Verdicts, int]) -> None:
    scores, same, different, most = world
    groups = [
        set(group.tolist()) for group in by_keeper(np.arange(len(scores)), similar(scores, most, same, different))
    ]
    scores = corrected(scores, same, different)
    alone = set(range(len(scores))) - set().union(*groups)
    assert not any(scores[i, j] >= THRESHOLD for i in alone for j in alone if i < j)


def test_the_later_of_two_members_told_apart_finds_another_group_or_none() -> None:
    scores = symmetric(np.array([[0, 0.9, 0.8, 0.1], [0, 0, 0.9, 0.1], [0, 0, 0, 0.6], [0] * 4]))
    order = np.arange(4)
    assert as_lists(by_keeper(order, similar(scores, 3))) == [[0, 1, 2]]
    assert as_lists(by_keeper(order, similar(scores, 3, different=[(1, 2)]))) == [[0, 1], [2, 3]]
    assert as_lists(by_keeper(order[[0, 1, 3, 2]], similar(scores, 3, different=[(1, 2)]))) == [[0, 1], [3, 2]]
    assert as_lists(by_keeper(order, similar(scores, 3, different=[(1, 2), (2, 3)]))) == [[0, 1]]


def test_told_the_same_counts_with_the_keeper_only() -> None:
    scores = symmetric(np.array([[0, 0.9, 0.1], [0, 0, 0.1], [0] * 3]))
    assert as_lists(by_keeper(np.arange(3), similar(scores, 3, same=[(0, 2)]))) == [[0, 1, 2]]
    assert as_lists(by_keeper(np.arange(3), similar(scores, 3, same=[(1, 2)]))) == [[0, 1]]
    assert as_lists(by_components(np.arange(3), similar(scores, 3, same=[(1, 2)]))) == [[0, 1, 2]]


def test_a_member_never_comes_before_its_keeper() -> None:
    scores = symmetric(np.array([[0, 0.6, 0.1], [0, 0, 0.9], [0] * 3]))
    assert as_lists(by_keeper(np.arange(3), similar(scores, 3))) == [[0, 1]]
    assert as_lists(by_keeper(np.array([0, 2, 1]), similar(scores, 3))) == [[2, 1]]


@pytest.mark.parametrize("most", [1, 3])
def test_told_the_same_is_the_highest_score(most: int) -> None:
    scores = symmetric(np.array([[0, 0.1, 0.95], [0, 0, 0.1], [0] * 3]))
    assert as_lists(by_keeper(np.arange(3), similar(scores, most))) == [[0, 2]]
    assert as_lists(by_keeper(np.arange(3), similar(scores, most, same=[(1, 2)]))) == [[1, 2]]


def test_a_pair_told_the_same_need_not_be_near() -> None:
    candidates = find_neighbours(np.eye(3, dtype=np.float32), 0.5)
    told = Similar(candidates, lambda first, second: np.zeros(len(first)), THRESHOLD, same=[(2, 0)])
    assert as_lists(by_keeper(np.arange(3), told)) == [[0, 2]]


@pytest.mark.parametrize("grouping", ["keeper", "components", "dbscan"])
@given(worlds(), st.randoms())
def test_numbering_changes_nothing(
    grouping: str, world: tuple[Matrix, Verdicts, Verdicts, int], random: np.random.Generator
) -> None:
    scores, same, different, most = world
    order = np.array(random.sample(range(len(scores)), len(scores)))  # type: ignore[attr-defined]
    number = np.array(random.sample(range(len(scores)), len(scores)))  # type: ignore[attr-defined]

    def group(order: Ints, like: Similar) -> list[Ints]:
        if grouping == "dbscan":
            return by_dbscan(order, like, 3)
        return by_keeper(order, like) if grouping == "keeper" else by_components(order, like)

    here = group(order, similar(scores, most, same, different))
    other = np.empty_like(scores)
    other[np.ix_(number, number)] = scores
    told = ([(int(number[i]), int(number[j])) for i, j in pairs] for pairs in (same, different))
    there = group(number[order], similar(other, most, *told))
    assert as_lists([number[photos] for photos in here]) == as_lists(there)


@given(worlds())
def test_components_are_those_of_the_graph(world: tuple[Matrix, Verdicts, Verdicts, int]) -> None:
    scores, same, different, most = world
    groups = by_components(np.arange(len(scores)), similar(scores, most, same, different))
    graph = networkx.from_numpy_array(corrected(scores, same, different) >= THRESHOLD)
    expected = sorted(sorted(group) for group in networkx.connected_components(graph) if len(group) > 1)
    assert as_lists(groups) == expected


def sklearn_groups(scores: Matrix, min_samples: int) -> list[list[int]]:
    from sklearn.cluster import DBSCAN  # takes a second, which processes of other files save

    distances = np.where(scores >= THRESHOLD, 0.0, 1.0)
    np.fill_diagonal(distances, 0)
    labels = DBSCAN(eps=0.5, min_samples=min_samples, metric="precomputed").fit_predict(distances)
    groups = (np.flatnonzero(labels == label).tolist() for label in range(labels.max(initial=-1) + 1))
    return sorted(group for group in groups if len(group) > 1)


@settings(max_examples=300)
@given(tables(), st.integers(1, 6), st.sampled_from([1, 3, 14]))
def test_dbscan_is_sklearns(scores: Matrix, min_samples: int, most: int) -> None:
    groups = by_dbscan(np.arange(len(scores)), similar(scores, most), min_samples)
    assert as_lists(groups) == sklearn_groups(scores, min_samples)


@pytest.mark.parametrize("min_samples", [2, 5, 12])
@pytest.mark.parametrize("most", [4, 400])
def test_dbscan_is_sklearns_on_blobs(min_samples: int, most: int) -> None:
    from sklearn.datasets import make_blobs

    places, _ = make_blobs(400, centers=12, cluster_std=0.5, random_state=3)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    scores = np.maximum(1 - distances, 0)
    expected = sklearn_groups(scores, min_samples)
    assert 3 < len(expected) < 150
    assert as_lists(by_dbscan(np.arange(400), similar(scores, most), min_samples)) == expected


@pytest.mark.parametrize("most_scored, group", [(40, by_keeper), (32, by_components)], ids=["keeper", "components"])
def test_photos_that_are_all_alike_are_not_all_scored(most_scored: int, group: object) -> None:
    scored = []

    def score(first: Ints, second: Ints) -> Matrix:
        scored.append(len(first))
        return np.ones(len(first))

    count = 1500
    like = Similar(find_neighbours(np.ones((count, 1), np.float32), 0.9, most=32), score, THRESHOLD)
    groups = group(np.arange(count), like)  # type: ignore[operator]
    assert as_lists(groups) == [list(range(count))]
    assert sum(scored) <= most_scored * count


def test_dbscan_scores_few_of_photos_that_are_all_alike() -> None:
    scored = []

    def score(first: Ints, second: Ints) -> Matrix:
        scored.append(len(first))
        return np.ones(len(first))

    like = Similar(find_neighbours(np.ones((500, 1), np.float32), 0.9, most=8), score, THRESHOLD)
    assert as_lists(by_dbscan(np.arange(500), like, 5)) == [list(range(500))]
    assert sum(scored) <= 8 * 500


GROUPINGS = {"keeper": by_keeper, "components": by_components, "dbscan": lambda order, like: by_dbscan(order, like, 3)}


@pytest.mark.parametrize("grouping", GROUPINGS)
@given(worlds(), st.floats(0.01, 0.99), st.randoms())
def test_another_threshold_and_photos_left_out_are_as_if_begun_with_them(
    grouping: str, world: tuple[Matrix, Verdicts, Verdicts, int], threshold: float, random: Random
) -> None:
    scores, same, different, most = world
    kept = np.array(random.sample(range(len(scores)), random.randint(0, len(scores))), np.intp)
    candidates = find_neighbours(np.ones((len(scores), 1), np.float32), 0.9, most)
    first = Similar(candidates, lambda one, other: scores[one, other], 0.01, same[:1], different[:1])
    found = GROUPINGS[grouping](kept, first.at(threshold, same, different))

    number = {photo: place for place, photo in enumerate(kept.tolist())}
    those = [[(number[i], number[j]) for i, j in told if {i, j} <= number.keys()] for told in (same, different)]
    fewer = find_neighbours(np.ones((len(kept), 1), np.float32), 0.9, most)
    alone = Similar(fewer, lambda one, other: scores[np.ix_(kept, kept)][one, other], threshold, *those)
    expected = GROUPINGS[grouping](np.arange(len(kept)), alone)
    assert as_lists(found) == as_lists([kept[group] for group in expected])


def test_another_threshold_scores_nothing_again() -> None:
    scores = symmetric(np.random.default_rng(0).random((40, 40)))
    asked: list[tuple[int, int]] = []

    def score(first: Ints, second: Ints) -> Matrix:
        asked.extend(zip(first.tolist(), second.tolist(), strict=True))
        return scores[first, second]

    candidates = find_neighbours(np.ones((40, 1), np.float32), 0.9, most=4)
    assert candidates.full.all()
    similar = Similar(candidates, Remembered(score, 40), 0.2)
    for threshold in (0.2, 0.6, 0.4):
        by_keeper(np.arange(40), similar.at(threshold, different=[(0, 1)]))
    assert len(asked) == len(set(asked)) > 4 * 40 / 2
    assert all(i < j for i, j in asked)


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=9), max_size=5))
def test_what_was_asked_is_remembered(questions: list[Verdicts]) -> None:
    asked: list[tuple[int, int]] = []

    def score(first: Ints, second: Ints) -> Matrix:
        asked.extend(zip(first.tolist(), second.tolist(), strict=True))
        return first * 10.0 + second

    remembered = Remembered(score, 10)
    for question in questions:
        first, second = np.array(question, np.intp).reshape(-1, 2).T
        assert remembered(first, second).tolist() == [min(pair) * 10 + max(pair) for pair in question]
    assert sorted(asked) == sorted({(min(pair), max(pair)) for question in questions for pair in question})


def test_whole_lists_are_let_go_when_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = symmetric(np.random.default_rng(0).random((100, 100)))
    wide, narrow = similar(scores, 3), similar(scores, 3)
    expected = as_lists(by_keeper(np.arange(100), wide))
    monkeypatch.setattr(grouping_module, "ROOM", 10)
    monkeypatch.setattr(grouping_module, "AHEAD", 2)
    assert as_lists(by_keeper(np.arange(100), narrow)) == expected
    assert len(narrow.completed) <= 2 < len(wide.completed)


def test_no_photos_make_no_groups() -> None:
    nothing = similar(np.zeros((0, 0)), 3)
    nobody = np.zeros(0, np.intp)
    assert by_keeper(nobody, nothing) == by_components(nobody, nothing) == by_dbscan(nobody, nothing, 2) == []


def test_the_weakest_pair_may_be_one_without_the_keeper() -> None:
    scores = symmetric(np.array([[0, 0.9, 0.8], [0, 0, 0.2], [0] * 3]))
    groups = [np.array([0, 1, 2]), np.array([1]), np.array([2, 0])]
    assert weakest(groups, lambda first, second: scores[first, second]) == [(0.2, True), (1, True), (0.8, True)]
    assert weakest([], lambda first, second: scores[first, second]) == []


def test_the_weakest_of_a_large_group_is_of_the_keeper_and_a_sample() -> None:
    count = 1000
    asked: set[tuple[int, int]] = set()

    def score(first: Ints, second: Ints) -> Matrix:
        asked.update(zip(first.tolist(), second.tolist(), strict=True))
        assert (first < second).all()
        return 1 - (first == 0) * (second == 777) * 0.5

    group = np.arange(count)
    assert weakest([group], score) == weakest([group], score) == [(0.5, False)]
    assert {(0, j) for j in range(1, count)} <= asked
    assert 0.9 * EVERY_PAIR < len(asked) <= EVERY_PAIR + count
    assert len({i for pair in asked for i in pair}) == count
