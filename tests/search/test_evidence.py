"""Evidence on pairs of a library: neighbours testify, proof travels, and the order of a pair does not matter."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samespace.base.arrays import unit
from samespace.model.points import CHANCE
from samespace.search.evidence import PROVED, Chains, Evidence, Weights, beside_neighbours

WEIGHTS = Weights(8, 3, -5)


def no_proof(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.zeros(len(first), np.int64)


def vectors(angles: list[float]) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def test_two_photos_with_a_third_between_them_are_alike() -> None:
    turned = vectors([0, 0.8, 1.6, 4.0])
    alone = float(turned[0] @ turned[2])
    beside = beside_neighbours(turned, 3)
    assert alone < 0 < float(beside[0] @ beside[2])
    assert np.linalg.norm(beside, axis=1) == pytest.approx(1, abs=1e-5)


def test_a_photo_without_neighbours_stays_as_it_is() -> None:
    apart = np.eye(3, dtype=np.float32)
    assert beside_neighbours(apart, 3) == pytest.approx(apart, abs=1e-3)
    assert beside_neighbours(apart[:1], 3) == pytest.approx(apart[:1])


links = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(0, 90)), max_size=14)


@given(links)
def test_a_chain_is_as_strong_as_its_weakest_link(found: list[tuple[int, int, int]]) -> None:
    pairs = {(min(one, other), max(one, other)): partners for one, other, partners in found if one != other}
    first, second = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    chains = Chains(8, first, second, np.array(list(pairs.values()), np.int64))
    strength = {pair: max(0, min(partners, 64) - CHANCE) for pair, partners in pairs.items()}
    for one in range(8):
        for other in range(8):
            if one != other:
                (logarithm,) = chains(np.array([one]), np.array([other]))
                assert np.expm1(logarithm) == pytest.approx(best_chain(strength, one, other))


def best_chain(strength: dict[tuple[int, int], int], start: int, end: int) -> int:
    """The strongest chain, by trying every strength."""
    for needed in sorted(set(strength.values()) - {0}, reverse=True):
        reached, waiting = {start}, deque([start])
        while waiting:
            here = waiting.popleft()
            for (one, other), value in strength.items():
                if value >= needed and here in (one, other):
                    there = other if here == one else one
                    if there not in reached:
                        reached.add(there)
                        waiting.append(there)
        if end in reached:
            return needed
    return 0


def test_proof_is_looked_for_where_photos_are_most_alike_only() -> None:
    random = np.random.default_rng(0)
    asked: list[tuple[int, int]] = []

    def count(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        asked.extend(zip(first.tolist(), second.tolist(), strict=True))
        return np.zeros(len(first), np.int64)

    rows = unit(random.standard_normal((200, 8)).astype(np.float32))
    Evidence(rows, count, WEIGHTS)
    assert len(asked) == len(set(asked)) <= PROVED * 200 < 200 * 199 / 2
    assert all(one < other for one, other in asked)
    assert {photo for pair in asked for photo in pair} == set(range(200))


def test_proof_confirms_and_never_refutes() -> None:
    rows = unit(np.random.default_rng(1).standard_normal((60, 4)).astype(np.float32))
    first, second = np.triu_indices(60, 1)
    without = Evidence(rows, no_proof, WEIGHTS)(first, second)
    evidence = Evidence(rows, lambda one, other: np.where((one + other) % 7 == 0, 40, 0), WEIGHTS)
    proved, (_, proof) = evidence(first, second), evidence.pieces(first, second)
    assert (proved >= without)[proof > 0].all() and (proved > without)[proof > 0].any()
    assert (without > 0).all() and (proved < 1.0000001).all()


def test_photos_that_proof_joins_are_as_like_others_as_each_other() -> None:
    rows = unit(np.random.default_rng(3).standard_normal((40, 6)).astype(np.float32))
    evidence = Evidence(rows, lambda one, other: np.where((one + other) % 7 == 0, 40, 0), WEIGHTS)
    first, second = np.triu_indices(40, 1)
    _, proof = evidence.pieces(first, second)
    one, other = first[proof > 0][0], second[proof > 0][0]
    rest = np.setdiff1d(np.arange(40), [one, other])
    likeness = [evidence.pieces(np.full(38, photo), rest)[0] for photo in (one, other)]
    assert likeness[0] == pytest.approx(likeness[1])
    assert evidence.pieces(np.array([one]), np.array([other]))[0] == pytest.approx(1)


def test_either_way_round_and_one_photo() -> None:
    rows = unit(np.random.default_rng(2).standard_normal((40, 4)).astype(np.float32))
    evidence = Evidence(rows, lambda one, other: (one * other) % 50, WEIGHTS)
    first, second = np.triu_indices(40, 1)
    assert evidence(first, second) == pytest.approx(evidence(second, first))
    alone = Evidence(rows[:1], no_proof, WEIGHTS)
    assert len(alone.candidates.of(0)[0]) == 0
