"""How each kind of duplicate is scored: vectors that find candidates quickly, and the careful score of a pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from samespace.base import arrays
from samespace.base.arrays import Array, Ints
from samespace.base.errors import SameSpaceError
from samespace.library.features import Features
from samespace.search import same_shot as near
from samespace.search.look import SHORTLIST
from samespace.search.neighbours import Candidates, find_neighbours

if TYPE_CHECKING:
    from samespace.model.saved import Model


# Probability from the cosine of whitened ImageNet features: how many of the pairs with this cosine or more are of one
# space was one half at 0.21, 0.9 at 0.33 and 0.99 at 0.46, on training spaces with and without other photos.
_SLOPE, _MIDDLE = 18.4, 0.21
FEWEST = 30  # whitening learns from the library's own photos what they have in common
_FITTED = 4096  # photos that it learns from at most


class Everywhere:
    """The features of photos that lie in several libraries, as if they were one."""

    def __init__(self, parts: Sequence[Features]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def take(self, name: str, rows: Ints) -> npt.NDArray[Any]:
        """(n, *shape): a field of these photos."""
        part = np.searchsorted(self._ends, rows, side="right")
        taken = [
            self._parts[number].take(name, rows[part == number] - self._starts[number]) for number in np.unique(part)
        ]
        by_part: npt.NDArray[Any] = np.concatenate(taken or [self._parts[0].take(name, rows)])
        in_order: npt.NDArray[Any] = by_part[np.argsort(np.argsort(part, kind="stable"), kind="stable")]
        return in_order

    @property
    def _starts(self) -> npt.NDArray[np.int64]:
        return np.concatenate([[0], self._ends[:-1]])


class Scoring(NamedTuple):
    """Who might be a duplicate of whom among N photos, and how surely two of them are."""

    candidates: Candidates
    score: Callable[[Ints, Ints], Array]  # photos and their partners → (n,) of 0 to 1, either way round


def of_shots(features: Everywhere) -> Scoring:
    """`near`: the same shot, by `near.Sketches`."""
    outlines = features.take("outline", np.arange(len(features)))
    return Scoring(find_neighbours(outlines, near.FLOOR), lambda first, second: same_shot(features, first, second))


def same_shot(features: Everywhere, first: Ints, second: Ints) -> Array:
    """How surely pairs of photos are of one shot, from their sketches."""
    return near.same_shot(features.take("grey", first), features.take("grey", second))


def of_model(features: Everywhere, model: Model) -> Scoring:
    """`same-space` by a trained model. Its shortlist is short: beyond it nothing is looked for."""
    import torch

    from samespace.model.network import Embeddings

    def embeddings(rows: Ints) -> Embeddings:
        vectors = torch.from_numpy(features.take("vectors", rows))
        parts = torch.from_numpy(features.take("parts", rows)) if model.has_parts else torch.empty(len(rows), 0, 0)
        return Embeddings(vectors, parts)

    def score(first: Ints, second: Ints) -> Array:
        return model.score(embeddings(first), embeddings(second))

    vectors = features.take("vectors", np.arange(len(features)))
    found = find_neighbours(vectors if model.has_parts else _whitened(vectors), 0.0, SHORTLIST)
    return Scoring(found._replace(full=np.zeros_like(found.full)), score)


def of_features(features: Everywhere, threshold: float) -> Scoring:
    """`same-space` without a model: the cosine of ImageNet features, whitened by what the photos have in common."""
    if len(features) < FEWEST:
        raise SameSpaceError(
            f"without a model same-space learns from what photos have in common, and {len(features)} are too few: give "
            f"--model DIR, a trained model, or at least {FEWEST} photos"
        )
    whitened = _whitened(features.take("vectors", np.arange(len(features))))

    def score(first: Ints, second: Ints) -> Array:
        cosines = np.einsum("nd,nd->n", whitened[first].astype(np.float32), whitened[second].astype(np.float32))
        return probability(cosines)

    floor = cosine(threshold) - 0.001  # neighbours are found by cosines that are off by half of that
    return Scoring(find_neighbours(whitened, floor), score)


def probability(cosines: Array) -> Array:
    """That two photos show one space, from their whitened cosines."""
    probabilities: Array = 1 / (1 + np.exp(-_SLOPE * (cosines - _MIDDLE)))
    return probabilities


def cosine(probability: float) -> float:
    """The whitened cosine that means this probability."""
    return float(np.clip(_MIDDLE + np.log(probability / (1 - probability)) / _SLOPE, 0, 1)) if probability < 1 else 1.0


def _whitened(vectors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float16]:
    """(N, D) → (N, up to 512), of length 1, a block at a time."""
    import torch

    from samespace.model.network import VECTOR_DIM, Whitening

    whitening = Whitening(vectors.shape[1], min(VECTOR_DIM, vectors.shape[1]))
    sample = vectors[:: max(1, len(vectors) // _FITTED)]
    whitening.fit(torch.from_numpy(sample.astype(np.float32))[:, None])
    blocks = torch.split(torch.from_numpy(vectors), 2048)
    return np.concatenate([arrays.unit(whitening(block.float()).numpy()).astype(np.float16) for block in blocks])
