"""Score each kind of duplicate: vectors find candidates quickly, then each pair gets its careful score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from samespace.base import arrays
from samespace.base.arrays import Array, Doubles, Floats, Ints, blocks
from samespace.base.decode import is_seen_in_part
from samespace.base.errors import SameSpaceError
from samespace.duplicates.bursts import are_two_shots
from samespace.library.features import Features
from samespace.library.library import Photo
from samespace.model import projection
from samespace.model.heads import Embeddings, Weights, to_embeddings
from samespace.model.known import Known
from samespace.search import same_shot
from samespace.search.copies import Copies
from samespace.search.evidence import CountPartners, Evidence
from samespace.search.look import SHORTLIST, THRESHOLD
from samespace.search.neighbours import Candidates, find_neighbours

if TYPE_CHECKING:
    from samespace.model.saved import Model


# Between what rooms alone ask for and rooms among photos of anything else: the training rooms of NYU Depth v2, and with
# Flickr8k among them. `benchmarks/same_room.py --fit` prints either.
WEIGHTS = Weights(likeness=8.0, proof=2.5, bias=-7.2)
FEWEST = 30  # photos: whitening learns from the library's own what they have in common
_AT_ONCE = 4096  # photos whose materials are in memory


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
        numbers = sorted({*part.tolist()})
        by_part = [self._parts[number].take(name, rows[part == number] - starts[number]) for number in numbers]
        where = np.argsort(part, kind="stable")  # of each photo, as they lie one part after the other
        return np.concatenate(by_part)[np.argsort(where)]


class Scoring(NamedTuple):
    """The candidates among N photos, and a function that scores pairs of them."""

    candidates: Candidates
    score: Callable[[Ints, Ints], Array]  # (n,) photos and (n,) others → (n,) of 0 to 1, either way round


def one_shot(copies: Copies, photos: Sequence[Photo]) -> Callable[[Ints, Ints], Array]:
    """Return the score of copies, where photos that a camera took at two times are none, however alike.

    Nor is a file of which only a part was seen: a RAW file's preview, the beginning of an animation, or the first page.
    """
    seen_in_part = cache(lambda row: is_seen_in_part(photos[row].path))

    def score(first: Ints, second: Ints) -> Array:
        scores = copies(first, second)
        for pair in np.flatnonzero(scores >= same_shot.THRESHOLD).tolist():
            one, other = int(first[pair]), int(second[pair])
            if seen_in_part(one) or seen_in_part(other) or are_two_shots(photos[one], photos[other]):
                scores[pair] = same_shot.THRESHOLD - 0.01
        return scores

    return score


def model_scoring(features: JoinedFeatures, model: Model) -> Scoring:
    """Return how a trained model scores `same-space` duplicates, among a short list of candidates for each photo."""
    names = ("vectors", "parts") if model.has_parts else ("vectors",)

    def embeddings(rows: Ints) -> Embeddings:
        return to_embeddings({name: features.take(name, rows) for name in names})

    def score(first: Ints, second: Ints) -> Array:
        return model.score(embeddings(first), embeddings(second))

    vectors = features.take("vectors", np.arange(len(features)))
    found = find_neighbours(vectors if model.has_parts else _whitened(vectors), 0.0, SHORTLIST)
    return Scoring(found._replace(full=np.zeros_like(found.full)), score)


def materials_scoring(
    materials: JoinedFeatures,
    partners: CountPartners,
    model: Model | None = None,
    kept: Callable[[Callable[[], Floats]], Floats] = lambda learn: learn(),
) -> Scoring:
    """Return how `same-space` is scored: by what these photos, and those of a model, say tells rooms apart.

    `kept` may know what it is given a function to learn: the photos' vectors.
    """
    if model is None and len(materials) < FEWEST:
        raise SameSpaceError(
            f"without a model, same-space learns from the photos themselves, and {len(materials)} are too few: give "
            f"--model DIR, a trained model, or at least {FEWEST} photos"
        )
    rooms = model.rooms if model else None
    vectors = kept(lambda: _learnt(materials, rooms.known if rooms else None))
    evidence = Evidence(vectors, partners, rooms.library if rooms else WEIGHTS)
    if model is None:
        return Scoring(evidence.candidates, evidence)
    sure = model.thresholds("library").sure if rooms else THRESHOLD
    return Scoring(evidence.candidates, lambda first, second: _with_sure_at_threshold(evidence(first, second), sure))


def _learnt(materials: JoinedFeatures, known: Known | None) -> Floats:
    """Return the photos' vectors, whitened by what they and those of known rooms say."""
    rows = np.arange(len(materials))
    sample = materials.take(projection.MATERIALS, rows[:: max(1, -(-len(rows) // projection.SAMPLE))])
    whiten = projection.fit(np.concatenate([known.rows, sample]), known.rooms) if known else projection.fit(sample)
    vectors = [whiten(materials.take(projection.MATERIALS, rows[some])) for some in blocks(len(rows), _AT_ONCE)]
    return np.concatenate(vectors)


def _with_sure_at_threshold(probabilities: Doubles, sure: float) -> Doubles:
    """Return scores in the order of probabilities, where THRESHOLD stands for a model's `sure`.

    So one threshold fits every model.
    """
    return np.interp(probabilities, [0, sure, 1], [0, THRESHOLD, 1])


def _whitened(vectors: npt.NDArray[np.floating[Any]]) -> Floats:
    """Return (N, D) vectors whitened on a sample of themselves: (N, d), of length 1."""
    if len(vectors) < 2:
        return arrays.unit(vectors.astype(np.float32))
    return projection.fit(vectors[:: max(1, -(-len(vectors) // projection.SAMPLE))])(vectors)
