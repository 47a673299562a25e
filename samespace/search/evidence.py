"""Weigh what speaks for two photos of a library showing one room: their materials, their neighbours', and proof.

A room has more than two photos, often. So a photo is compared with its nearest neighbours beside it: two photos that
share neither a wall nor a thing have a third one between them. And proof travels: what is proved of A and B, and of B
and C, is proved of A and C. Photos that proof joins are compared as one, and then beside their neighbours once more.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from samespace.base.arrays import Doubles, Floats, Ints, blocks, ranks, unit
from samespace.model.heads import Weights
from samespace.model.points import strength
from samespace.search.neighbours import Candidates, find_neighbours

# Neighbours that are compared with a photo, before and after proof; rooms with fewer photos lose little by it. After
# it, the cubes of cosines decide how much each counts.
BESIDE, AROUND = 3, 10
SHORTLIST = 20  # candidates of each photo
PROVED = 8  # of these, to how many a proof is looked for: more find hardly any
LIKELY = 0.4  # likeness: of 178 pairs that were proved, 175 had as much, and of the others half
_ROWS = 4096

CountPartners = Callable[[Ints, Ints], Ints]  # of pairs of photos, (n,) each
NO_PROOF = "--thorough looks for more proof, and a model of this kind looks for none: leave it out"


class Evidence:
    """The evidence that any two of N photos show one room."""

    def __init__(self, vectors: Floats, count_partners: CountPartners, weights: Weights) -> None:
        """Take vectors (N, d) of length 1; `count_partners` proves the most likely pairs."""
        self._weights = weights
        self._vectors = beside_neighbours(vectors, BESIDE)
        first, second = nearest_pairs(find_neighbours(self._vectors, 0.0, PROVED), PROVED)
        likely = self._likeness(first, second) >= LIKELY
        first, second = first[likely], second[likely]
        self._proof = Chains(len(vectors), first, second, count_partners(first, second))
        self._vectors = beside_neighbours(self._proof.shared(self._vectors), AROUND, 3)
        found = find_neighbours(self._vectors, 0.0, SHORTLIST)
        self.candidates: Candidates = found._replace(full=np.zeros_like(found.full))

    def __call__(self, first: Ints, second: Ints) -> Doubles:
        """Return the probability that pairs of photos show one room, (n,)."""
        likeness, proof = self.pieces(first, second)
        odds = self._weights.logits(likeness, proof)
        return 1 / (1 + np.exp(-odds))

    def pieces(self, first: Ints, second: Ints) -> tuple[Doubles, Doubles]:
        """Return how alike pairs of photos are beside their neighbours, and how well they are proved, (n,) each."""
        return self._likeness(first, second), self._proof(first, second)

    def _likeness(self, first: Ints, second: Ints) -> Doubles:
        likeness = np.empty(len(first))
        for some in blocks(len(first), _ROWS):
            likeness[some] = np.einsum("nd,nd->n", self._vectors[first[some]], self._vectors[second[some]])
        return likeness


def beside_neighbours(vectors: Floats, most: int, power: int = 1) -> Floats:
    """Add to each vector (N, d) its nearest neighbours', by a power of how alike they are; the sums have length 1."""
    photos, neighbours, cosines = _nearest(find_neighbours(vectors, 0.0, most), most)
    sums = vectors.astype(np.float32)
    for some in blocks(len(photos), _ROWS):
        np.add.at(sums, photos[some], vectors[neighbours[some]] * cosines[some, None] ** power)
    return unit(sums)


def nearest_pairs(found: Candidates, most: int) -> tuple[Ints, Ints]:
    """Return the pairs of photos of which one is among the `most` nearest of the other, each once, rising."""
    photos, neighbours, _ = _nearest(found, most)
    pairs = np.unique(np.stack([np.minimum(photos, neighbours), np.maximum(photos, neighbours)], 1), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _nearest(found: Candidates, most: int) -> tuple[Ints, Ints, Floats]:
    """Return each photo with each of its `most` nearest, and their cosines: (n,) each."""
    photos = np.repeat(np.arange(len(found.starts) - 1), np.diff(found.starts))
    order = np.lexsort((found.ids, -found.cosines, photos))
    photos, neighbours, cosines = photos[order], found.ids[order].astype(np.int64), found.cosines[order]
    nearest = ranks(photos) < most
    return photos[nearest], neighbours[nearest], cosines[nearest]


class Chains:
    """The proofs that join N photos, directly or through others: a chain is as strong as its weakest link."""

    def __init__(self, count: int, first: Ints, second: Ints, partners: Ints) -> None:
        """Take pairs of photos (n,) and how many `partners` each has."""
        links = strength(partners)
        self._groups: dict[float, Ints] = {}  # by strength: for each photo, the number of those it is joined to
        group = np.arange(count)
        for least in np.unique(links[links > 0])[::-1].tolist():
            for one, other in zip(first[links == least].tolist(), second[links == least].tolist(), strict=True):
                if group[one] != group[other]:
                    group = np.where(group == group[other], group[one], group)
            self._groups[least] = group.copy()

    def shared(self, vectors: Floats) -> Floats:
        """Return vectors (N, d) of length 1, the mean of all that chains join in place of each of them."""
        if not self._groups:
            return vectors
        _, group = np.unique(self._groups[min(self._groups)], return_inverse=True)
        means = np.zeros((group.max() + 1, vectors.shape[1]), np.float32)
        np.add.at(means, group, vectors)
        return unit(means[group])

    def __call__(self, first: Ints, second: Ints) -> Doubles:
        """Return the strength of the best chain between each pair, (n,): 0 for none."""
        strongest = np.zeros(len(first))
        for least, group in reversed(self._groups.items()):
            strongest[group[first] == group[second]] = least
        return strongest
