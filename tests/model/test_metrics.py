"""The figures agree with scikit-learn's where it has them, and with a count by hand where it has not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, log_loss, roc_auc_score

from samespace.model import metrics

Scored = tuple[np.ndarray, np.ndarray]


def scored(score: st.SearchStrategy[float]) -> st.SearchStrategy[Scored]:
    """Logits and labels of some pairs, in any order; both labels occur."""
    pairs = st.lists(st.tuples(score, st.integers(0, 1)), max_size=40)
    both = st.tuples(score, score).map(lambda two: [(two[0], 0), (two[1], 1)])
    together = st.tuples(both, pairs).map(lambda parts: parts[0] + parts[1]).flatmap(st.permutations)
    return together.map(lambda rows: (np.array([row[0] for row in rows]), np.array([row[1] for row in rows])))


# Few distinct values, so that most scores are shared by several pairs; and many.
tied = scored(st.integers(-3, 3).map(float))
spread = scored(st.floats(-15, 15))


@given(tied | spread)
def test_rankings_agree_with_scikit_learn(pairs: Scored) -> None:
    logits, labels = pairs
    assert metrics.average_precision(logits, labels) == pytest.approx(average_precision_score(labels, logits))
    assert metrics.roc_auc(logits, labels) == pytest.approx(roc_auc_score(labels, logits))


@given(tied | spread)
def test_decisions_agree_with_scikit_learn(pairs: Scored) -> None:
    logits, labels = pairs
    assert metrics.loss(logits, labels) == pytest.approx(log_loss(labels, 1 / (1 + np.exp(-logits))))
    balanced = metrics.of_balanced_pairs(logits, labels)["balanced_accuracy"]
    assert balanced == pytest.approx(balanced_accuracy_score(labels, logits >= 0))


@given(tied | spread, st.sampled_from([0.5, 0.8, 0.99, 1.0]))
def test_recall_is_the_best_of_all_thresholds_that_are_precise_enough(pairs: Scored, precision: float) -> None:
    logits, labels = pairs
    best = 0.0
    for threshold in logits:
        chosen = labels[logits >= threshold]
        if chosen.mean() >= precision:
            best = max(best, chosen.sum() / labels.sum())
    assert metrics.recall_at_precision(logits, labels, precision) == pytest.approx(best)


@given(spread, st.randoms())
def test_the_order_of_pairs_does_not_matter(pairs: Scored, random: object) -> None:
    logits, labels = pairs
    order = np.array(random.sample(range(len(labels)), len(labels)))  # type: ignore[attr-defined]
    given_order, another = metrics.of_all_pairs(logits, labels), metrics.of_all_pairs(logits[order], labels[order])
    assert another == pytest.approx(given_order)


def test_half_precision_ranks_as_its_values_do() -> None:
    logits, labels = np.array([0.1, 0.2, 0.2, 0.3], np.float16), np.array([0, 1, 0, 1], np.int8)
    assert metrics.average_precision(logits, labels) == pytest.approx(average_precision_score(labels, logits))
    assert metrics.roc_auc(logits, labels) == 0.875


def test_loss_neither_overflows_nor_vanishes_far_out() -> None:
    logits, labels = np.array([1000.0, -1000.0, 1000.0, -1000.0]), np.array([1, 0, 0, 1])
    assert metrics.losses(logits, labels).tolist() == [0.0, 0.0, 1000.0, 1000.0]
    assert metrics.losses(np.array([40.0]), np.array([1]))[0] == pytest.approx(math.exp(-40), rel=1e-6)


def test_recall_at_99_percent_allows_one_mistake_in_a_hundred() -> None:
    scores = -np.arange(100.0)
    late, early = np.array([1] * 50 + [0] + [1] * 49), np.array([1] * 50 + [0] * 2 + [1] * 48)
    assert metrics.recall_at_precision(scores, late) == 1.0
    assert metrics.recall_at_precision(scores, early) == pytest.approx(50 / 98)


def test_recall_is_zero_where_the_highest_score_is_a_mistake() -> None:
    assert metrics.recall_at_precision(np.array([3.0, 2.0, 1.0]), np.array([0, 1, 1])) == 0.0


def test_one_name_is_one_figure_over_whichever_pairs_it_names() -> None:
    logits, labels = np.array([1.0, -1.0, -2.0]), np.array([1, 0, 1])
    ranking = metrics.of_all_pairs(logits, labels)
    assert ranking == {"average_precision": pytest.approx(5 / 6), "recall_at_99_precision": 0.5, "roc_auc": 0.5}
    assert metrics.of_balanced_pairs(logits, labels) == {
        "validation_loss": metrics.loss(logits, labels),
        "balanced_accuracy": 0.75,
        **{f"balanced_{name}": figure for name, figure in ranking.items()},
    }


def test_where_no_pair_is_a_duplicate_figures_are_numbers() -> None:
    assert set(metrics.of_all_pairs(np.array([1.0, 2.0]), np.array([0, 0])).values()) == {0.0}


@given(tied | spread)
@example((np.array([np.nextafter(-15, 0), -15]), np.array([1, 0])))
def test_the_even_threshold_has_the_best_balanced_accuracy(pairs: Scored) -> None:
    logits, labels = pairs
    best = metrics.balanced_accuracy(logits, labels, metrics.even_threshold(logits, labels))
    for threshold in (*logits, logits.max() + 1):
        assert metrics.balanced_accuracy(logits, labels, threshold) <= best + 1e-9


@given(tied | spread)
@example((np.array([np.nextafter(-15, 0), -15]), np.array([1, 0])))
def test_from_the_sure_threshold_on_99_percent_are_right(pairs: Scored) -> None:
    logits, labels = pairs
    sure = logits >= metrics.sure_threshold(logits, labels)
    recall = metrics.recall_at_precision(logits, labels)
    assert not sure.any() or labels[sure].mean() >= metrics.PRECISION
    assert (sure & (labels == 1)).sum() / labels.sum() == pytest.approx(recall)


def test_few_photos_that_are_easily_told_apart_do_not_lower_what_is_sure() -> None:
    logits, labels = np.array([0.1, 0.2, -3.0, -4.0]), np.array([1, 1, 0, 0])
    assert metrics.thresholds(logits, labels)["sure"] == 0.8
    assert -3 < math.log(1 / (1 / metrics.thresholds(logits, labels)["even"] - 1)) < 0.1


@given(spread)
def test_calibration_error_is_how_far_promises_are_off(pairs: Scored) -> None:
    logits, labels = pairs
    probability = 1 / (1 + np.exp(-logits))
    by_hand = 0.0
    for low in range(10):
        some = np.minimum((probability * 10).astype(int), 9) == low
        if some.any():
            by_hand += abs(probability[some].mean() - labels[some].mean()) * some.mean()
    assert metrics.calibration_error(logits, labels) == pytest.approx(by_hand, abs=1e-9)
    promised, kept, count = metrics.reliability(logits, labels)
    assert count.sum() == len(logits) and ((promised >= 0) & (promised <= 1) & (kept >= 0) & (kept <= 1)).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_among_the_nearest_is_counted_by_hand(seed: int, most: int) -> None:
    random = np.random.default_rng(seed)
    first, second = np.triu_indices(7, 1)
    score, same = random.permutation(21).astype(float), random.integers(0, 2, 21)
    listed = np.column_stack([first, second, same])
    found = 0
    for (one, other, label), value in zip(listed.tolist(), score.tolist(), strict=True):
        better = [int((score[(first == photo) | (second == photo)] > value).sum()) for photo in (one, other)]
        found += label == 1 and min(better) < most
    share = metrics.among_nearest(listed, score, int(same.sum()), most)
    assert share == pytest.approx(found / max(1, same.sum()))


def test_scores_that_are_no_numbers_are_reported_as_such() -> None:
    found = metrics.of_library(np.array([math.nan, 1.0]), np.array([1, 0]), np.array([1, 1]), 0.5)
    assert set(found) == set(metrics.LIBRARY) and all(math.isnan(value) for value in found.values())
