"""Measure models of words: how high a search ranks the right result, and how near captions come to people's.

`samespace.model.metrics` measures pairs of photos. A photo may have any number of captions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from samespace.base.arrays import Array, Ints
from samespace.base.errors import SameSpaceError
from samespace.base.text import count
from samespace.words.tokens import split_words

BLOCK = 1024  # photos and captions in a tile of scores
ORDER = 4  # n-grams of so many words at most
SIGMA = 6.0  # how much longer or shorter CIDEr-D lets a caption be
FEWEST = 100  # photos: with fewer it is chance which words are rare, and CIDEr-D weights by that

Score = Callable[[slice, slice], Array]  # some photos, some captions → (photos, captions), higher is better
Gram = tuple[str, ...]


# Retrieval


class Ranks(NamedTuple):
    """The rank of each right result, from 1; results that score the same come before it."""

    text_to_photo: Ints  # (C,): each caption's photo among all photos
    photo_to_text: Ints  # (N,): the best of each photo's captions among all captions


def ranks(score: Score, image_of: Ints, block: int = BLOCK) -> Ranks:
    """Rank all photos for each caption and all captions for each photo, `image_of` (C,) being each caption's photo.

    Scores are computed tile by tile and never held together. A tile with captions of its own photos is computed twice,
    and must be the same both times.
    """
    photos, captions = int(image_of.max()) + 1, len(image_of)
    assert len(np.unique(image_of)) == photos, "a photo without a caption has no rank"
    own = np.full(captions, -np.inf)  # the score of each caption with its photo
    best = np.full(photos, -np.inf)  # of each photo with the best of its captions
    for rows, columns in _tiles(photos, captions, block):
        photo = image_of[columns] - rows.start
        here = np.flatnonzero((photo >= 0) & (photo < rows.stop - rows.start))
        if len(here):
            own[columns.start + here] = _finite(score(rows, columns))[photo[here], here]
    np.maximum.at(best, image_of, own)

    text_to_photo, photo_to_text = np.ones(captions, np.int64), np.ones(photos, np.int64)
    for rows, columns in _tiles(photos, captions, block):
        scores = _finite(score(rows, columns))
        others = image_of[columns] != np.arange(rows.start, rows.stop)[:, None]
        text_to_photo[columns] += ((scores >= own[columns]) & others).sum(0)
        photo_to_text[rows] += ((scores >= best[rows, None]) & others).sum(1)
    return Ranks(text_to_photo, photo_to_text)


def ranks_of(scores: Array, image_of: Ints) -> Ranks:
    """Return the ranks for a full table of scores, (photos, captions)."""
    assert scores.shape == (image_of.max() + 1, len(image_of)), scores.shape
    return ranks(lambda rows, columns: scores[rows, columns], image_of)


def _tiles(photos: int, captions: int, block: int) -> Iterator[tuple[slice, slice]]:
    for top in range(0, photos, block):
        for left in range(0, captions, block):
            yield slice(top, min(top + block, photos)), slice(left, min(left + block, captions))


def _finite(scores: Array) -> Array:
    """Refuse NaN: no score is above it, so it would rank first."""
    if not np.isfinite(scores).all():
        raise SameSpaceError("the model's scores are not finite: train it again, at a lower learning rate")
    return scores


class Retrieval(NamedTuple):
    """The ranks of right results over many searches; without the ranks of chance they say nothing."""

    recall_at_1: float  # share of searches that find it first
    recall_at_5: float
    recall_at_10: float
    median: int  # rank, rounded down as the papers do
    mean: float  # rank
    chance: float  # the mean rank that random scores would give
    candidates: int  # results that each search ranks
    searches: int

    def __str__(self) -> str:
        recalls = f"R@1 {self.recall_at_1:.3f}, R@5 {self.recall_at_5:.3f}, R@10 {self.recall_at_10:.3f}"
        ranks = f"median rank {self.median:,}, mean {self.mean:,.1f} of {self.candidates:,} (chance {self.chance:,.1f})"
        return f"{recalls}, {ranks}"


def text_to_photo(found: Ranks) -> Retrieval:
    """Sum up searches by a caption: one photo is right, and by chance it comes in the middle."""
    photos = len(found.photo_to_text)
    return _retrieval(found.text_to_photo, photos, (photos + 1) / 2)


def photo_to_text(found: Ranks, image_of: Ints) -> Retrieval:
    """Sum up searches by a photo: by chance the first of k captions among C comes at (C + 1) / (k + 1)."""
    captions = len(image_of)
    return _retrieval(found.photo_to_text, captions, float(((captions + 1) / (np.bincount(image_of) + 1)).mean()))


def _retrieval(found: Ints, candidates: int, chance: float) -> Retrieval:
    one, five, ten = (float((found <= k).mean()) for k in (1, 5, 10))
    return Retrieval(one, five, ten, int(np.median(found)), float(found.mean()), chance, candidates, len(found))


# Captions written by a model


def bleu(written: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, ...]:
    """Return BLEU-1 to BLEU-4 of N captions as one corpus, 0 to 1; a photo may have any number of references.

    Papineni et al., ACL 2002: an n-gram counts at most as often as it is in one reference, and captions shorter than
    the references nearest in length score less. Nothing is smoothed.
    """
    _check(written, references)
    hits, tries = np.zeros(ORDER), np.zeros(ORDER)
    length, nearest = 0, 0
    for sentence, others in zip(written, references, strict=True):
        words, known = split_words(sentence), [split_words(other) for other in others]
        length += len(words)
        nearest += min((len(other) for other in known), key=lambda size: (abs(size - len(words)), size))
        most: Counter[Gram] = Counter()
        for other in known:
            most |= _grams(other)
        for gram, times in _grams(words).items():
            hits[len(gram) - 1] += min(times, most[gram])
            tries[len(gram) - 1] += times
    if not hits[0]:
        return (0.0,) * ORDER
    brevity = math.exp(min(0.0, 1 - nearest / length))
    with np.errstate(divide="ignore"):
        precisions = np.log(hits / np.maximum(tries, 1))
    means = np.exp(np.cumsum(precisions) / np.arange(1, ORDER + 1))
    return tuple(float(mean * brevity) for mean in means)


def cider_d(written: Sequence[str], references: Sequence[Sequence[str]], fewest: int = FEWEST) -> float:
    """Return CIDEr-D of N captions, 0 to 10: their similarity to the references in n-grams that few photos have.

    Vedantam et al., CVPR 2015. The references decide how rare an n-gram is: a score holds for these photos alone, and
    at least `fewest` are needed.
    """
    _check(written, references)
    if len(written) < fewest:
        raise SameSpaceError(
            f"{count(len(written), 'photo')} are too few for CIDEr-D, which learns from them what is rare: "
            f"give at least {fewest}"
        )
    rarity, known = _weigh_references(tuple(map(tuple, references)))
    unseen = math.log(len(known))
    scores = []
    for sentence, others in zip(written, known, strict=True):
        mine = _Weighed(_grams(split_words(sentence)), rarity, unseen)
        scores.append(np.mean([mine.like(other) for other in others]))
    return float(10 * np.mean(scores))


@lru_cache(maxsize=1)  # a training asks for the same ones after every epoch
def _weigh_references(references: tuple[tuple[str, ...], ...]) -> tuple[dict[Gram, float], list[list[_Weighed]]]:
    """Return how rare each n-gram is among photos, and the references of each photo."""
    known = [[_grams(split_words(other)) for other in others] for others in references]
    photos_with = Counter(gram for others in known for gram in set().union(*others))
    rarity = {gram: math.log(len(known) / photos) for gram, photos in photos_with.items()}
    return rarity, [[_Weighed(other, rarity, math.log(len(known))) for other in others] for others in known]


class _Weighed:
    """A caption's n-grams, each weighted by how often it occurs and how rare it is."""

    def __init__(self, grams: Counter[Gram], rarity: dict[Gram, float], unseen: float) -> None:
        self.weights = {gram: times * rarity.get(gram, unseen) for gram, times in grams.items()}
        self.words = sum(times for gram, times in grams.items() if len(gram) == 1)
        squares = [0.0] * ORDER
        for gram, weight in self.weights.items():
            squares[len(gram) - 1] += weight**2
        self.lengths = np.sqrt(squares)

    def like(self, reference: _Weighed) -> float:
        """Return the mean cosine over n-gram orders; more of an n-gram than the reference has gains nothing."""
        products = [0.0] * ORDER
        for gram, weight in self.weights.items():
            theirs = reference.weights.get(gram, 0.0)
            products[len(gram) - 1] += min(weight, theirs) * theirs
        cosines = products / np.maximum(self.lengths * reference.lengths, 1e-12)
        return float(cosines.mean() * math.exp(-((self.words - reference.words) ** 2) / (2 * SIGMA**2)))


def _grams(words: Sequence[str]) -> Counter[Gram]:
    """Count all runs of 1 to 4 words."""
    return Counter(tuple(words[at : at + n]) for n in range(1, ORDER + 1) for at in range(len(words) - n + 1))


def _check(written: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    assert len(written) == len(references), "one caption a photo"
    assert len(written) and all(references), "each photo with a reference"


class Variety(NamedTuple):
    """The variety of captions: a high BLEU can hide a model that says the same of everything."""

    words: int  # different ones that were used
    distinct: float  # share of captions that differ from all before
    length: float  # mean, in words


def variety(written: Sequence[str]) -> Variety:
    """Measure the variety of captions."""
    captions = [tuple(split_words(sentence)) for sentence in written]
    words = {word for caption in captions for word in caption}
    return Variety(len(words), len(set(captions)) / len(captions), float(np.mean([len(one) for one in captions])))
