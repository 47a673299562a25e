"""The heads of models in use: the same either way round, as torch has them, and refused if they do not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from samespace.base.arrays import Array, unit
from samespace.model import network
from samespace.model.heads import CODE, CompareHead, ConcatHead, Embeddings, RoomHead, make_head, paired_parts
from samespace.model.known import Known
from samespace.model.room_network import RoomNetwork
from tests.conftest import make_backbone_once


def random_codes(*shape: int, seed: int, top: int = CODE) -> Array:
    return np.random.default_rng(seed).integers(-top, top + 1, shape).astype(np.int8)


def some_embeddings(count: int, dim: int, seed: int) -> Embeddings:
    vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return Embeddings(unit(vectors).astype(np.float16), random_codes(count, 9, 4, seed=seed))


def weights_of(module: torch.nn.Module, prefix: str = "") -> dict[str, Array]:
    return {f"{prefix}{name}": value.detach().numpy() for name, value in module.state_dict().items()}


# ---- parts


def pairing_by_hand(parts0: Array, parts1: Array) -> float:
    """Count, of one pair of photos, every two parts that are each other's nearest."""
    cosine = parts0.astype(float) @ parts1.T.astype(float) / CODE**2
    total = 0.0
    for row, column in np.ndindex(cosine.shape):
        if cosine[row, column] == cosine[row].max() == cosine[:, column].max():
            total += max(0.0, cosine[row, column]) ** 3
    return total


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 8))
def test_parts_pair_up_as_counted_by_hand(seed: int, places: int, channels: int) -> None:
    parts0, parts1 = random_codes(2, 3, places, 8 * channels, seed=seed)
    products = parts0.astype(int) @ parts1.astype(int).transpose(0, 2, 1)
    assume(all(np.unique(each).size == each.size for each in products))  # by hand, who is nearest must be plain
    expected = [pairing_by_hand(*pair) for pair in zip(parts0, parts1, strict=True)]
    assert paired_parts(parts0, parts1).tolist() == pytest.approx(expected, rel=1e-4)


@given(st.integers(0, 2**32 - 1))
def test_pairing_is_the_same_either_way_round_even_with_ties(seed: int) -> None:
    """Few values in few channels: most parts are equally near to several others, as on a bare wall."""
    parts0, parts1 = random_codes(2, 4, 6, 2, seed=seed, top=2)
    assert np.array_equal(paired_parts(parts0, parts1), paired_parts(parts1, parts0))


def test_a_photo_pairs_best_with_itself() -> None:
    parts = random_codes(7, 9, 32, seed=1)
    table = np.stack([paired_parts(parts, np.broadcast_to(part, parts.shape)) for part in parts])
    assert (table.argmax(1) == np.arange(7)).all()


# ---- heads


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
@settings(max_examples=20)
def test_the_compare_head_does_not_mind_the_order(seed: int, count: int) -> None:
    head = CompareHead(weights_of(network.CompareHead(), "head."))
    first, second = some_embeddings(count, 16, seed), some_embeddings(count, 16, seed + 1)
    assert head.logits(first, second, 0) == pytest.approx(head.logits(second, first, 0), abs=1e-5)


def test_the_compare_head_weighs_cosine_and_parts() -> None:
    weights = {
        "head.centre": np.array([0.2, 1.0]),
        "head.spread": np.array([0.5, 2.0]),
        "head.weight": np.array([3.0, 4.0]),
        "head.bias": np.array(-1.0),
    }
    first, second = some_embeddings(3, 16, 1), some_embeddings(3, 16, 2)
    cosine = (first.vectors.astype(float) * second.vectors.astype(float)).sum(1)
    parts = paired_parts(first.parts, second.parts)
    expected = (cosine - 0.2) / 0.5 * 3 + (parts - 1.0) / 2 * 4 - 1
    assert CompareHead(weights).logits(first, second, 0) == pytest.approx(expected, abs=1e-5)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
@settings(max_examples=10)
def test_the_concat_head_answers_as_the_one_that_learnt(seed: int, count: int) -> None:
    torch.manual_seed(seed)
    learnt = network.ConcatHead(16, (0.4, 0.4, 0.4)).eval()
    first, second = some_embeddings(count, 16, seed), some_embeddings(count, 16, seed + 1)
    logits = ConcatHead(weights_of(learnt, "head.")).logits(first, second, 0)
    assert logits == pytest.approx(ConcatHead(weights_of(learnt, "head.")).logits(second, first, 0), abs=1e-5)
    tensors = (Embeddings(*map(torch.from_numpy, side)) for side in (first, second))
    with torch.no_grad():
        expected = learnt(*(side._replace(vectors=side.vectors.float()) for side in tensors))
    assert logits == pytest.approx(expected.numpy(), abs=1e-4)


def test_more_shared_points_raise_the_odds_of_one_room() -> None:
    network_ = RoomNetwork(make_backbone_once(), Known(random_codes(12, 50, seed=1), np.arange(12) // 2))
    head = make_head("compare", True, weights_of(network_))
    assert isinstance(head, RoomHead)
    assert head.library == pytest.approx(network_.library.weights()) and head.alone.bias < 0
    rows = head.project(random_codes(4, 50, seed=2))
    assert rows.dtype == np.float16 and np.linalg.norm(rows.astype(float), axis=1) == pytest.approx(1, abs=1e-3)
    first, second = (Embeddings(side, np.empty((2, 0, 0), np.int8)) for side in (rows[:2], rows[2:]))
    none, few, many = (head.logits(first, second, shared) for shared in (0, 12, 40))
    assert (none < few).all() and (few < many).all()


@pytest.mark.parametrize(
    "spoilt",
    [
        {"mean": np.zeros(3, np.float32)},
        {"matrix": np.zeros((3, 4), np.float16)},
        {"rooms": np.zeros(3, np.int64)},
        {"rows": np.zeros((12, 50), np.float32)},
        {"rows": np.zeros((1, 50), np.int8), "rooms": np.zeros(1, np.int64)},
        {"split": np.array(-1)},
        {"split": np.array(10**6)},
    ],
)
def test_parts_of_a_room_head_that_do_not_fit_together_are_refused(spoilt: dict[str, Array]) -> None:
    whole = weights_of(RoomNetwork(make_backbone_once(), Known(random_codes(12, 50, seed=1), np.arange(12) // 2)))
    RoomHead(whole)
    with pytest.raises(ValueError):
        RoomHead({**whole, **spoilt})


def test_layers_that_do_not_fit_together_are_refused() -> None:
    whole = weights_of(network.ConcatHead(16, (0.4, 0.4, 0.4)), "head.")
    ConcatHead(whole)
    for spoilt in ({"head.mlp.3.weight": np.zeros((7, 7))}, {"head.mlp.11.weight": np.zeros((2, 64))}):
        with pytest.raises(ValueError):
            ConcatHead({**whole, **spoilt})
    with pytest.raises(ValueError):
        ConcatHead({})
    with pytest.raises(KeyError):
        CompareHead({})
