"""The captioner's network as it is used: the numbers that PyTorch would give but for rounding, without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from samespace.base.arrays import Array, Floats, Ints
from samespace.words.vocabulary import PAD, START, UNKNOWN

EMBED_SIZE, HIDDEN_SIZE = 256, 512
_EPS = 1e-5  # that PyTorch's batch norm adds to a variance

State = tuple[Floats, Floats]  # the LSTM's, each (B, hidden_size)


class Weights:
    """Predicts the next word from a photo and the words before, by an LSTM; see `CaptionNetwork`."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        """Take the weights by the names that `CaptionNetwork` gives them."""
        self._arrays = dict(arrays)
        self._bias = arrays["lstm.bias_ih_l0"] + arrays["lstm.bias_hh_l0"]

    def arrays(self) -> dict[str, Array]:
        """Return the weights by name."""
        return self._arrays

    def begin(self, features: Floats) -> State:
        """Return the LSTM's state once it has seen the photos (B, photo_dim), and no word yet."""
        of = self._arrays
        seen = features @ of["photo.weight"].T + of["photo.bias"]
        seen = (seen - of["norm.running_mean"]) / np.sqrt(of["norm.running_var"] + np.float32(_EPS))
        nothing = np.zeros((len(features), of["next.weight"].shape[1]), np.float32)
        return self._step(seen * of["norm.weight"] + of["norm.bias"], (nothing, nothing))

    def follow(self, words: Ints, state: State) -> tuple[Floats, State]:
        """Return logits (B, words) of what follows words (B,), and the LSTM's state after them.

        They rule out padding, a second start and unknown words.
        """
        state = self._step(self._arrays["word.weight"][words], state)
        logits = state[0] @ self._arrays["next.weight"].T + self._arrays["next.bias"]
        logits[:, [PAD, START, UNKNOWN]] = -np.inf
        return logits, state

    def pick(self, state: State, rows: Ints) -> State:
        """Return the state of some rows, in their order."""
        return state[0][rows], state[1][rows]

    def _step(self, given: Floats, state: State) -> State:
        of, (said, kept) = self._arrays, state
        gates = given @ of["lstm.weight_ih_l0"].T + said @ of["lstm.weight_hh_l0"].T + self._bias
        take, keep, new, tell = np.split(gates, 4, axis=1)
        kept = _sigmoid(keep) * kept + _sigmoid(take) * np.tanh(new)
        return _sigmoid(tell) * np.tanh(kept), kept


def _sigmoid(values: Floats) -> Floats:
    return 0.5 * np.tanh(0.5 * values) + 0.5  # which no number overflows
