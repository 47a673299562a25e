"""Rank photos for a sentence: those with the highest cosines are scored first, and no more than are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import takewhile

import numpy as np

from samespace.base.arrays import Floats, Ints, blocks

PHOTOS_AT_ONCE = 4096
SHORTLIST = 500

# Takes a sentence (1, dim) and K; returns the rows with the K highest cosines and these, best first.
Nearest = Callable[[Floats, int], tuple[Ints, Floats]]
# Takes photos (N, dim) and a sentence (1, dim); returns scores (N, 1), higher is better.
Score = Callable[[Floats, Floats], Floats]


def ranking(
    sentence: Floats,
    photos: Floats,
    score: Score,
    bound: Callable[[float], float],
    shortlist: int = SHORTLIST,
    nearest: Nearest | None = None,
    among: Ints | None = None,
) -> Iterator[tuple[int, float]]:
    """Yield the rows and scores of N embedded photos (N, dim), or of the rows `among`, best first.

    Photos with the highest cosines are scored first; `nearest` finds them, if there is a quicker way than to compare
    with all. The others are scored once they may be as good, which `bound` tells: the highest score that a photo of a
    cosine, or of a lower one, can have. The ranking is the one that all scores would give.
    """
    among = np.arange(len(photos)) if among is None else among
    rows, cosines = (nearest or _nearest_by_product(photos, among))(sentence, min(shortlist + 1, len(among)))
    listed = _ranked(photos, np.sort(rows[:shortlist]), sentence, score)
    if len(among) <= shortlist:
        yield from listed
        return
    limit = bound(float(cosines[shortlist]))
    sure = list(takewhile(lambda one: one[1] > limit, listed))
    yield from sure
    done = {row for row, _ in sure}
    yield from (one for one in _ranked(photos, among, sentence, score) if one[0] not in done)


def _ranked(photos: Floats, rows: Ints, sentence: Floats, score: Score) -> Iterator[tuple[int, float]]:
    """Return these rows, which rise, and their scores, best first; of equally good ones the first."""
    found = np.empty(len(rows), np.float32)
    for some in blocks(len(rows), PHOTOS_AT_ONCE):
        found[some] = score(np.asarray(photos[rows[some]], np.float32), sentence)[:, 0]
    order = np.argsort(-found, kind="stable")
    return zip(rows[order].tolist(), found[order].tolist(), strict=True)


def _nearest_by_product(photos: Floats, among: Ints) -> Nearest:
    def nearest(sentence: Floats, most: int) -> tuple[Ints, Floats]:
        cosines = photos[among] @ sentence[0]
        best = np.argsort(-cosines, kind="stable")[:most]
        return among[best], cosines[best]

    return nearest
