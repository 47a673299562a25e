"""The matcher's network as it is used: the numbers that PyTorch would give but for rounding, without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from samespace.base.arrays import Array, Floats, Ints, blocks
from samespace.base.errors import SameSpaceError

MEASURES = ("order", "cosine")
DIM, WORD_DIM = 1024, 300
TILE = 1 << 18  # differences that are held at once: what a CPU's caches hold


class Weights:
    """Maps photos' features linearly, and sentences by a GRU, to vectors of length 1; see `MatchNetwork`."""

    def __init__(self, arrays: Mapping[str, Array], measure: str) -> None:
        """Take the weights by the names that `MatchNetwork` gives them."""
        refuse_unknown(measure)
        self._arrays, self.measure = dict(arrays), measure

    def arrays(self) -> dict[str, Array]:
        """Return the weights by name."""
        return self._arrays

    def see(self, features: Floats) -> Floats:
        """Return the vectors (N, dim) of photos' features (N, photo_dim) of length 1."""
        return self._on_sphere(features @ self._arrays["photo.weight"].T + self._arrays["photo.bias"])

    def read(self, ids: Ints, lengths: Ints) -> Floats:
        """Return the vectors (C, dim) of sentences: ids (C, T), of which `lengths` (C,) count."""
        of_state, state_bias = self._arrays["gru.weight_hh_l0"].T, self._arrays["gru.bias_hh_l0"]
        dim = len(of_state)
        distinct, which = np.unique(ids, return_inverse=True)
        words = self._arrays["word.weight"][distinct] @ self._arrays["gru.weight_ih_l0"].T
        by_word, which = words + self._arrays["gru.bias_ih_l0"], which.reshape(ids.shape)
        states = np.zeros((len(ids), dim), np.float32)
        for step in range(int(lengths.max(initial=0))):
            going_on = np.flatnonzero(lengths > step)
            before, said = states[going_on], by_word[which[going_on, step]]
            memory = before @ of_state + state_bias
            reset, update = np.split(_sigmoid(said[:, : 2 * dim] + memory[:, : 2 * dim]), 2, axis=1)
            new = np.tanh(said[:, 2 * dim :] + reset * memory[:, 2 * dim :])
            states[going_on] = new + update * (before - new)
        return self._on_sphere(states)

    def score(self, photos: Floats, sentences: Floats) -> Floats:
        """Return scores (N, C) of N photos (N, D) for C sentences (C, D), higher is better."""
        if self.measure == "cosine":
            return photos @ sentences.T
        found = np.empty((len(photos), len(sentences)), np.float32)
        for rows in blocks(len(photos), max(1, TILE // photos.shape[1])):
            for column, sentence in enumerate(sentences):
                above = np.maximum(sentence - photos[rows], 0)
                found[rows, column] = -np.einsum("nd,nd->n", above, above)
        return found

    def _on_sphere(self, vectors: Floats) -> Floats:
        units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return np.abs(units) if self.measure == "order" else units


def refuse_unknown(measure: str) -> None:
    """Refuse a measure that is none."""
    if measure not in MEASURES:
        raise SameSpaceError(f"unknown measure {measure!r}: choose one of {', '.join(MEASURES)}")


def _sigmoid(values: Floats) -> Floats:
    return 0.5 * np.tanh(0.5 * values) + 0.5  # which no number overflows
