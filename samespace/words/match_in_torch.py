"""The matcher's network as PyTorch trains it, its scores with their gradients, and the loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samespace.base.arrays import Array, Floats, Ints
from samespace.words.gru import last_states
from samespace.words.match_in_numpy import DIM, MEASURES, WORD_DIM, refuse_unknown
from samespace.words.matcher import Matcher
from samespace.words.tensors import arrays_of, tensors_of
from samespace.words.vocabulary import PAD

TILE = 1 << 18  # differences that are held at once: what a CPU's caches hold


class MatchNetwork(nn.Module):
    """Maps photos' features linearly, and sentences by a GRU, to vectors of length 1; in order none is negative.

    Features are not centred: `abs` would make one of what lies on either side of their mean. Sentences are ids (C, T),
    filled up with PAD, and lengths (C,).
    """

    def __init__(
        self, words: int, photo_dim: int, dim: int = DIM, word_dim: int = WORD_DIM, measure: str = MEASURES[0]
    ) -> None:
        super().__init__()
        refuse_unknown(measure)
        self.measure = measure
        self.photo = nn.Linear(photo_dim, dim)
        self.word = nn.Embedding(words, word_dim, padding_idx=PAD)
        self.gru = nn.GRU(word_dim, dim, batch_first=True)

    def photos(self, features: Tensor) -> Tensor:
        """Return the vectors (N, dim) of photos' features (N, photo_dim) of length 1."""
        return self._on_sphere(self.photo(features))

    def sentences(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the vectors (C, dim) of sentences."""
        return self._on_sphere(last_states(self.gru, self.word, ids, lengths))

    def forward(self, features: Tensor, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self.photos(features), self.sentences(ids, lengths)

    @torch.no_grad()
    def see(self, features: Floats) -> Floats:
        """Return `photos` of an array as an array."""
        return self.photos(self._tensor(features)).cpu().numpy()

    @torch.no_grad()
    def read(self, ids: Ints, lengths: Ints) -> Floats:
        """Return `sentences` of arrays as an array."""
        return self.sentences(self._tensor(ids), torch.from_numpy(lengths)).cpu().numpy()

    @torch.no_grad()
    def score(self, photos: Floats, sentences: Floats) -> Floats:
        """Return `scores` of arrays as an array."""
        return scores(self._tensor(photos), self._tensor(sentences), self.measure).cpu().numpy()

    def arrays(self) -> dict[str, Array]:
        """Return the weights by name."""
        return arrays_of(self.state_dict())

    def _tensor(self, values: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.photo.weight.device)

    def _on_sphere(self, vectors: Tensor) -> Tensor:
        units = F.normalize(vectors, dim=1)
        return units.abs() if self.measure == "order" else units


def scores(photos: Tensor, sentences: Tensor, measure: str) -> Tensor:
    """Return scores (N, C) of N photos (N, D) for C sentences (C, D), higher is better."""
    if measure == "cosine":
        return photos @ sentences.T
    return _OrderScores.apply(photos, sentences)  # type: ignore[no-untyped-call]


class _OrderScores(torch.autograd.Function):
    """Order scores. Differences (N, C, D) are never stored: to compute them again for the gradients is quicker."""

    @staticmethod
    def forward(ctx: Any, photos: Tensor, sentences: Tensor) -> Tensor:
        ctx.save_for_backward(photos, sentences)
        found = photos.new_empty(len(photos), len(sentences))
        for rows, columns in _tiles(photos, sentences):
            found[rows, columns] = -violations(photos[rows, None], sentences[columns]).sum(2)
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        photos, sentences = ctx.saved_tensors
        of_photos, of_sentences = torch.zeros_like(photos), torch.zeros_like(sentences)
        for rows, columns in _tiles(photos, sentences):
            above = (sentences[columns] - photos[rows, None]).clamp_min_(0).mul_(2 * grad[rows, columns, None])
            of_photos[rows] += above.sum(1)
            of_sentences[columns] -= above.sum(0)
        return of_photos, of_sentences


def _tiles(photos: Tensor, sentences: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield tiles of a few photos with some sentences."""
    dim = photos.shape[1]
    height = max(1, min(len(photos), TILE // dim))
    width = max(1, TILE // (height * dim))
    for top in range(0, len(photos), height):
        for left in range(0, len(sentences), width):
            yield slice(top, top + height), slice(left, left + width)


def violations(photos: Tensor, sentences: Tensor) -> Tensor:
    """Return how far each coordinate of a sentence is above the photo's, squared; both broadcast."""
    return (sentences - photos).clamp_min(0).square()


def matching_loss(found: Tensor, photo_of: Tensor, margin: float, hardest: bool) -> Tensor:
    """Return how far pairs fall short of `margin` over their negatives: the sum or the hardest, mean over B pairs.

    `found` (B, B) are the scores of each pair's photo with each pair's sentence. `photo_of` (B,) numbers the photos:
    a sentence of the same photo, in another pair, is not a negative.
    """
    own = found.diagonal()
    negative = photo_of[:, None] != photo_of
    photos = (margin + found - own[:, None]).clamp_min(0) * negative  # other sentences for the photo
    sentences = (margin + found - own).clamp_min(0) * negative  # other photos for the sentence
    if hardest:
        return photos.amax(1).mean() + sentences.amax(0).mean()
    return (photos.sum() + sentences.sum()) / len(found)


class Learner(Matcher):
    """A matcher whose network can still learn."""

    network: MatchNetwork

    @staticmethod
    def of(matcher: Matcher) -> Learner:
        """Return the matcher with its weights in PyTorch, so that it can learn again."""
        weights = matcher.network.arrays()
        sizes = (len(matcher.vocabulary), matcher.photo_dim, matcher.dim, weights["word.weight"].shape[1])
        network = MatchNetwork(*sizes, matcher.measure)
        network.load_state_dict(tensors_of(weights))
        return Learner(network, matcher.vocabulary, matcher.feature_source, matcher.about)
