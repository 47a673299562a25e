"""Sentences are read as PyTorch's GRU reads them, and teach the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from samespace.words.gru import last_states

WORDS, WORD_DIM, DIM = 9, 5, 7


def plain(gru: nn.GRU, embedding: nn.Embedding, ids: Tensor, lengths: Tensor) -> Tensor:
    packed = pack_padded_sequence(embedding(ids), lengths, batch_first=True, enforce_sorted=False)
    states: Tensor = gru(packed)[1][-1]
    return states


def both(lengths: list[int], seed: int, double: bool = False) -> list[tuple[Tensor, ...]]:
    """The states and all gradients, of one and of the other."""
    torch.manual_seed(seed)
    gru, embedding = nn.GRU(WORD_DIM, DIM, batch_first=True), nn.Embedding(WORDS, WORD_DIM, padding_idx=0)
    if double:
        gru, embedding = gru.double(), embedding.double()
    ids, weights = torch.randint(0, WORDS, (len(lengths), max(lengths))), torch.randn(len(lengths), DIM)
    learnt = [*gru.parameters(), *embedding.parameters()]
    found = []
    for read in (last_states, plain):
        states = read(gru, embedding, ids, torch.tensor(lengths))
        found.append((states.detach(), *torch.autograd.grad((states * weights).sum(), learnt)))
    return found


@settings(deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(0, 99))
def test_states_and_gradients_are_those_of_pytorch(lengths: list[int], seed: int) -> None:
    for ours, theirs in zip(*both(lengths, seed), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_they_differ_by_nothing_but_rounding() -> None:
    for ours, theirs in zip(*both([12, 3, 3, 7, 1], 0, double=True), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("others", [[], [1], [9, 2]])
def test_a_sentence_is_read_the_same_in_any_company(others: list[int]) -> None:
    torch.manual_seed(0)
    gru, embedding = nn.GRU(WORD_DIM, DIM, batch_first=True), nn.Embedding(WORDS, WORD_DIM)
    ids = torch.randint(0, WORDS, (1 + len(others), 9))
    alone = last_states(gru, embedding, ids[:1, :4], torch.tensor([4]))
    together = last_states(gru, embedding, ids, torch.tensor([4, *others]))
    np.testing.assert_allclose(together[:1].detach(), alone.detach(), atol=1e-6)
