"""Score each kind of duplicate: vectors find candidates quickly, then each pair gets its careful score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from samespace.base import arrays
from samespace.base.arrays import Array, Ints
from samespace.base.errors import SameSpaceError
from samespace.library.features import Features
from samespace.search import same_shot
from samespace.search.look import SHORTLIST
from samespace.search.neighbours import Candidates, find_neighbours

if TYPE_CHECKING:
    from samespace.model.saved import Model


# Probability from the cosine of whitened ImageNet features. On the training spaces, alone and among other photos, one
# half of the pairs with a cosine of 0.21 or more showed one space, 0.9 of those with 0.33, and 0.99 of those with 0.46.
_SLOPE, _MIDDLE = 18.4, 0.21
FEWEST = 30  # photos: whitening learns from the library's own what they have in common
_FITTED = 4096  # photos that it learns from at most


class JoinedFeatures:
    """The features of photos in several libraries, read as if they were one."""

    def __init__(self, parts: Sequence[Features]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def take(self, name: str, rows: Ints) -> npt.NDArray[Any]:
        """Return a field of these photos: (n, *shape)."""
        part = np.searchsorted(self._ends, rows, side="right")
        if not len(rows):
            return self._parts[0].take(name, rows)
        starts = np.concatenate([[0], self._ends[:-1]])
        by_part = [self._parts[number].take(name, rows[part == number] - starts[number]) for number in np.unique(part)]
        where = np.argsort(part, kind="stable")  # of each photo, as they lie one part after the other
        return np.concatenate(by_part)[np.argsort(where)]


class Scoring(NamedTuple):
    """The candidates among N photos, and a function that scores pairs of them."""

    candidates: Candidates
    score: Callable[[Ints, Ints], Array]  # (n,) photos and (n,) others → (n,) of 0 to 1, either way round


def same_shot_scoring(sketches: JoinedFeatures) -> Scoring:
    """Return how `near` duplicates are scored: by the sketches of `same_shot.Sketches`."""
    outlines = sketches.take("outline", np.arange(len(sketches)))
    candidates = find_neighbours(outlines, same_shot.FLOOR)
    return Scoring(candidates, lambda first, second: same_shot_score(sketches, first, second))


def same_shot_score(sketches: JoinedFeatures, first: Ints, second: Ints) -> Array:
    """Return how surely each pair of photos is the same shot: (n,) of 0 to 1."""
    return same_shot.same_shot(sketches.take("grey", first), sketches.take("grey", second))


def model_scoring(features: JoinedFeatures, model: Model) -> Scoring:
    """Return how a trained model scores `same-space` duplicates, among a short list of candidates for each photo."""
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


def feature_scoring(features: JoinedFeatures, threshold: float) -> Scoring:
    """Return how `same-space` is scored without a model: by cosines of ImageNet features, whitened on these photos."""
    if len(features) < FEWEST:
        raise SameSpaceError(
            f"without a model, same-space learns from the photos themselves, and {len(features)} are too few: give "
            f"--model DIR, a trained model, or at least {FEWEST} photos"
        )
    whitened = _whitened(features.take("vectors", np.arange(len(features))))

    def score(first: Ints, second: Ints) -> Array:
        cosines = np.einsum("nd,nd->n", whitened[first].astype(np.float32), whitened[second].astype(np.float32))
        return probability(cosines)

    floor = cosine(threshold) - 0.001  # neighbours are found by cosines that are off by up to half of that
    return Scoring(find_neighbours(whitened, floor), score)


def probability(cosines: Array) -> Array:
    """Return the probability that pairs of photos show one space, from their whitened cosines: (n,)."""
    return 1 / (1 + np.exp(-_SLOPE * (cosines - _MIDDLE)))


def cosine(probability: float) -> float:
    """Return the whitened cosine that means this probability, from 0 to 1."""
    if probability == 1:
        return 1.0
    return float(np.clip(_MIDDLE + np.log(probability / (1 - probability)) / _SLOPE, 0, 1))


def _whitened(vectors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float16]:
    """Return (N, D) vectors whitened on a sample of themselves: (N, up to 512), of length 1."""
    import torch

    from samespace.model.network import VECTOR_DIM, Whitening

    whitening = Whitening(vectors.shape[1], min(VECTOR_DIM, vectors.shape[1]))
    sample = vectors[:: max(1, len(vectors) // _FITTED)]
    whitening.fit(torch.from_numpy(sample.astype(np.float32))[:, None])
    blocks = torch.split(torch.from_numpy(vectors), 2048)
    return np.concatenate([arrays.unit(whitening(block.float()).numpy()).astype(np.float16) for block in blocks])
