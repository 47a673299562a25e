"""Look a second time, by learnt points, at the pairs of photos that SIFT's leave open."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from samespace.base import progress
from samespace.base.arrays import Doubles, Ints, blocks
from samespace.library.library import Library, Photo
from samespace.model.learnt_points import LearntPoints, Seen, as_sift
from samespace.model.points import Points, strength
from samespace.search.evidence import CountPartners
from samespace.search.explain import Proof
from samespace.search.pair_scores import Remembrance, score_and_remember

SCORES = Remembrance(Points(), "learnt-1")  # beside the points that were compared first
PAIRS = 64  # that are remembered together: a search that is stopped loses some seconds of work
HELD = 1000  # photos whose points are in memory: 270 MB


def looking_twice(
    count_partners: CountPartners,
    libraries: Sequence[Library],
    photos: Sequence[tuple[int, Photo]],
    learnt: LearntPoints,
) -> CountPartners:
    """Return a function that counts as `count_partners` does, and looks twice at pairs that this leaves open.

    Photos are given by the number of their library. Libraries remember what the second look has found.
    """
    contents = [photo.content for _, photo in photos]
    score_new = scoring([photo.path for _, photo in photos], learnt)
    score = score_and_remember(libraries, contents, SCORES, score_new, PAIRS, "looking twice")
    return where_open(count_partners, score)


def looking_twice_at(count_partners: CountPartners, photos: Sequence[Path], learnt: LearntPoints) -> CountPartners:
    """Return what `looking_twice` does, for photos of no library: nothing is remembered."""
    score = scoring(photos, learnt)

    def score_all(first: Ints, second: Ints) -> Doubles:
        parts = progress.over(list(blocks(len(first), PAIRS)), "looking twice", unit=" blocks")
        return np.concatenate([np.empty(0), *(score(first[part], second[part]) for part in parts)])

    return where_open(count_partners, score_all)


def scoring(photos: Sequence[Path], learnt: LearntPoints) -> Callable[[Ints, Ints], Doubles]:
    """Return a function that adds up the scores of learnt points which pairs of photos share: NaN if one has gone."""
    held: dict[int, Seen | None] = {}  # the photo that was asked for last comes last

    def look_at(rows: Sequence[int]) -> dict[int, Seen | None]:
        seen = {row: held.pop(row) for row in rows if row in held}
        lacking = [row for row in rows if row not in seen]
        seen |= zip(lacking, learnt.see([photos[row] for row in lacking]), strict=True)
        held.update(seen)
        for row in list(held)[:-HELD]:
            del held[row]
        return seen

    def score(first: Ints, second: Ints) -> Doubles:
        seen = look_at(np.unique(np.concatenate([first, second])).tolist())
        scores = np.full(len(first), np.nan)
        pairs = {}
        for at, (one, other) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
            here, there = seen[one], seen[other]
            if here and there:
                pairs[at] = here, there
        scores[list(pairs)] = [partners.scores.sum() for partners in learnt.partners(pairs.values())]
        return scores

    return score


def where_open(count_partners: CountPartners, score: Callable[[Ints, Ints], Doubles]) -> CountPartners:
    """Return a function that counts as `count_partners` does, and asks `score` of pairs that this leaves open."""

    def count(first: Ints, second: Ints) -> Ints:
        shared = count_partners(first, second)
        left_open = np.flatnonzero(strength(shared) == 0)
        order = left_open[side_by_side(first[left_open], second[left_open])]
        again = as_sift(np.nan_to_num(score(first[order], second[order])))
        shared[order] = np.maximum(shared[order], again)
        return shared

    return count


def prove_again(proof: Proof, photos: Sequence[Path], learnt: LearntPoints) -> Proof:
    """Return what learnt points prove of two photos; `proof` if it leaves nothing open, or if they prove nothing."""
    if strength(np.array([proof.shared]))[0] > 0:
        return proof
    here, there = learnt.see(photos)
    if not (here and there):
        return proof
    (partners,) = learnt.partners([(here, there)])
    worth = as_sift(partners.scores.sum(keepdims=True))
    if strength(worth)[0] == 0:
        return proof
    places0, places1 = partners.here / np.array(here.size), partners.there / np.array(there.size)
    return Proof(places0.astype(np.float32), places1.astype(np.float32), int(worth[0]))


def side_by_side(first: Ints, second: Ints) -> Ints:
    """Return an order of pairs in which those with a photo in common are near each other, (n,)."""
    beside: dict[int, list[int]] = {}
    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    for one, other in pairs:
        beside.setdefault(one, []).append(other)
        beside.setdefault(other, []).append(one)
    place: dict[int, int] = {}
    for start in beside:
        waiting = deque([start])
        while waiting:
            photo = waiting.popleft()
            if photo not in place:
                place[photo] = len(place)
                waiting.extend(beside[photo])
    places = np.array([(place[one], place[other]) for one, other in pairs], np.int64).reshape(-1, 2)
    return np.lexsort((places.min(1), places.max(1)))
