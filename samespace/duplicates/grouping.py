"""Make groups of duplicates from similar pairs: by keeper, which never chains, by components, or by DBSCAN.

Photos are numbers below N. `order` names each once, the best to keep first, and breaks every tie: give the same photos
other numbers and the groups, and their order, stay the same. A photo that `order` does not name is left out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from copy import copy
from itertools import islice, pairwise
from typing import NamedTuple

import numpy as np

from samespace.base.arrays import Doubles, Flags, Ints
from samespace.search.neighbours import Candidates, Ids, from_pairs
from samespace.search.pair_scores import ScorePairs, score_in_blocks

Pairs = Iterable[tuple[int, int]]

AHEAD = 32  # photos with cut lists that share one pass over all vectors
ROOM = 1 << 24  # photos that completed lists may name in all: 64 MB
EVERY_PAIR = 20_000  # a group with no more pairs than this has them all scored for its weakest


def listed(candidates: Candidates) -> tuple[Ints, Ints]:
    """Return the pairs in the lists, each once: (n,) of the lower number, and (n,) of the higher."""
    first = np.repeat(np.arange(len(candidates.full)), np.diff(candidates.starts))
    second = candidates.ids.astype(np.intp)
    once = first < second
    return first[once], second[once]


class Similar:
    """The pairs of N photos that clear the threshold, by their careful score and by what people judged.

    Pairs that `candidates` lists are scored when this is made, once each. The rest of a list that was cut is scored
    only when `of` asks for it, and then only `among` the photos that matter: thousands of frames that all look alike
    cost a score each, not one for each pair.
    """

    def __init__(
        self,
        candidates: Candidates,
        score_pairs: ScorePairs,
        threshold: float,
        same: Pairs = (),
        different: Pairs = (),
    ) -> None:
        self.candidates = candidates
        self.score_pairs = score_pairs
        self.full = candidates.full
        self.count = len(candidates.full)
        first, second = listed(candidates)
        scores = score_in_blocks(first, second, score_pairs)
        clear = scores >= threshold
        self.completed: dict[int, Ids] = {}  # lists that were cut
        self._scored = _both_ways(first[clear], second[clear], scores[clear])
        self._settle(threshold, same, different)

    def at(self, threshold: float, same: Pairs = (), different: Pairs = (), below: float = math.inf) -> Similar:
        """Return the same at another threshold, no lower than the first, and with other verdicts; scores are kept.

        Pairs that score `below` or more are left out.
        """
        other = copy(self)
        other._settle(threshold, same, different, below)
        return other

    def _settle(self, threshold: float, same: Pairs, different: Pairs, below: float = math.inf) -> None:
        self.threshold, self.below = threshold, below
        self.same = _sides(same)
        self.different = _sides(different)
        first, second, scores = self._scored
        clear = (scores >= threshold) & (scores < below)
        same_first, same_second = _columns(self.same)
        different_first, different_second = _columns(self.different)
        judged_first, judged_second = np.append(same_first, different_first), np.append(same_second, different_second)
        clear &= ~np.isin(first * self.count + second, judged_first * self.count + judged_second)
        first, second = np.append(first[clear], same_first), np.append(second[clear], same_second)
        scores = np.append(scores[clear], np.ones(len(same_first)))
        if len(same_first):
            order = np.lexsort((second, first))
            first, second, scores = first[order], second[order], scores[order]
        self.first, self.second, self.scores = first, second, scores  # both ways, by first, then second
        self.starts = np.searchsorted(first, np.arange(self.count + 1))

    def of(self, i: int, among: Flags | None = None, soon: Iterable[int] = ()) -> tuple[Ints, Doubles]:
        """Return the photos that clear the threshold with photo i, rising, and their scores: (n,) each.

        With `among`, (N,), only those it marks. `soon` names photos that may be asked for next: to complete many cut
        lists takes no longer than one.
        """
        if self.full[i]:
            return self._all_of(i, among, soon)
        part = slice(self.starts[i], self.starts[i + 1])
        ids, scores = self.second[part], self.scores[part]
        if among is None:
            return ids, scores
        return ids[among[ids]], scores[among[ids]]

    def _all_of(self, i: int, among: Flags | None, soon: Iterable[int]) -> tuple[Ints, Doubles]:
        near = self._all_near(i, soon).astype(np.intp)
        same = np.array(sorted(self.same.get(i, ())), np.intp)
        judged = [*same.tolist(), *self.different.get(i, ())]
        near = near[~np.isin(near, judged)]
        if among is not None:
            near, same = near[among[near]], same[among[same]]
        scores = score_in_blocks(np.full(len(near), i), near, self.score_pairs)
        clear = (scores >= self.threshold) & (scores < self.below)
        near, scores = near[clear], scores[clear]
        ids = np.append(near, same)
        order = np.argsort(ids)
        return ids[order], np.append(scores, np.ones(len(same)))[order]

    def _all_near(self, i: int, soon: Iterable[int]) -> Ids:
        """Return all that is near a photo whose list was cut; lists are kept while there is room."""
        near = self.completed.get(i)
        if near is None:
            wanted = (int(j) for j in soon if self.full[j] and j not in self.completed)
            together = list(dict.fromkeys([i, *islice(wanted, AHEAD - 1)]))
            found = {j: ids for j, (ids, _) in zip(together, self.candidates.each(together), strict=True)}
            if sum(map(len, [*self.completed.values()])) > ROOM:
                self.completed.clear()
            self.completed |= found
            near = found[i]
        return near


def known_pairs(pairs: Sequence[tuple[int, int]], count: int) -> Similar:
    """Return pairs of `count` photos, each once, as similar without comparing them."""
    return Similar(from_pairs(pairs, count), lambda first, _: np.ones(len(first)), 1.0)


def _sides(pairs: Pairs) -> dict[int, set[int]]:
    """Return the partners of each photo that is in a pair."""
    sides: dict[int, set[int]] = defaultdict(set)
    for i, j in pairs:
        sides[i].add(j)
        sides[j].add(i)
    return dict(sides)


def _columns(sides: dict[int, set[int]]) -> tuple[Ints, Ints]:
    """Return the pairs, both ways, as two columns: (n,) each."""
    pairs = [(i, j) for i, others in sides.items() for j in others]
    first, second = np.array(pairs, np.intp).reshape(-1, 2).T
    return first, second


def _both_ways(first: Ints, second: Ints, scores: Doubles) -> tuple[Ints, Ints, Doubles]:
    """Return the pairs both ways, by first, then second."""
    order = np.lexsort((np.append(second, first), np.append(first, second)))
    return np.append(first, second)[order], np.append(second, first)[order], np.append(scores, scores)[order]


# By keeper


def by_keeper(order: Ints, similar: Similar) -> list[Ints]:
    """Return groups in which every member clears the threshold with the first, the keeper; members are in `order`.

    Each photo, the best first, goes to the keeper it scores highest with, the earlier one if equal, or becomes a
    keeper if it clears the threshold with none so far: no member comes before its keeper in `order`. Two photos judged
    different never share a group, even as members: the later one goes to its next best keeper, or becomes one.
    """
    heads, scores = np.full(similar.count, -1), np.full(similar.count, -np.inf)
    order = order[((np.diff(similar.starts) > 0) | similar.full)[order]]  # the others are alone
    ahead = _flags(order, similar.count)
    judged = np.isin(np.arange(similar.count), list(similar.different))
    offers: dict[int, list[tuple[float, int]]] = defaultdict(list)  # by keepers, to photos judged different from others
    for place, i in enumerate(order.tolist()):
        ahead[i] = False
        if judged[i]:
            heads[i] = _best_allowed(offers[i], {heads[j] for j in similar.different[i] if not ahead[j]})
        if heads[i] >= 0:
            continue
        heads[i] = i
        ids, found = similar.of(i, ahead, soon=(j for j in order[place + 1 :] if heads[j] < 0))
        better = found > scores[ids]
        heads[ids[better]], scores[ids[better]] = i, found[better]
        for j, score in zip(ids[judged[ids]].tolist(), found[judged[ids]].tolist(), strict=True):
            offers[j].append((score, i))
    return _groups(order, heads)


def _best_allowed(offers: list[tuple[float, int]], barred: set[int]) -> int:
    """Return the keeper with the highest score, the first of equals; -1 for none."""
    allowed = [offer for offer in offers if offer[1] not in barred]
    return max(allowed, key=lambda offer: offer[0], default=(0.0, -1))[1]


def _flags(order: Ints, count: int) -> Flags:
    """Mark the photos that `order` names: (count,)."""
    return np.bincount(order, minlength=count).astype(np.bool_)


def _rank(order: Ints, count: int) -> Ints:
    """Return the place of each photo in `order`, and `count` for those left out: (count,)."""
    rank = np.full(count, count)
    rank[order] = np.arange(len(order))
    return rank


def _groups(order: Ints, heads: Ints) -> list[Ints]:
    """Return groups of two or more photos with the same head, in `order`; the group with the best head comes first."""
    rank = _rank(order, len(heads))
    photos = np.flatnonzero(heads >= 0)
    photos = photos[np.lexsort((rank[photos], rank[heads[photos]]))]
    bounds = np.flatnonzero(np.diff(heads[photos], prepend=-1, append=-1)).tolist()
    return [photos[start:end] for start, end in pairwise(bounds) if end - start > 1]


# By chains


def by_components(order: Ints, similar: Similar) -> list[Ints]:
    """Return groups in which a chain of pairs that clear the threshold joins any two; the best in `order` comes first.

    Two photos judged different are not linked, but a chain through others may still put them in one group.
    """
    labels = _linked(order, similar, _flags(order, similar.count))
    heads = np.full(similar.count, -1)
    heads[order] = order[labels[order]]
    return _groups(order, heads)


def by_dbscan(order: Ints, similar: Similar, min_samples: int) -> list[Ints]:
    """Return DBSCAN's clusters of two or more, as scikit-learn finds them in `order` with eps = 1 - threshold.

    A photo with `min_samples` similar ones, itself included, is a core. A chain of cores makes a cluster, and any other
    photo goes to the first cluster with a core similar to it. Two photos judged different are not linked.
    """
    here = _flags(order, similar.count)
    samples = 1 + np.bincount(similar.first[here[similar.second]], minlength=similar.count)
    doubted = order[(similar.full & (samples < min_samples))[order]].tolist()
    for place, i in enumerate(doubted):
        samples[i] = 1 + len(similar.of(i, here, soon=doubted[place + 1 :])[0])
    core = here & (samples >= min_samples)
    labels = _linked(order, similar, core)
    labels = _with_borders(order, similar, core, here & ~core, labels)
    heads = np.full(similar.count, -1)
    clustered = labels < similar.count
    best = np.full(similar.count, similar.count)
    np.minimum.at(best, labels[clustered], _rank(order, similar.count)[clustered])
    heads[clustered] = order[best[labels[clustered]]]
    return _groups(order, heads)


def _linked(order: Ints, similar: Similar, which: Flags) -> Ints:
    """Return, for each photo in `which`, the lowest rank that a chain of them joins it to; for others N: (N,)."""
    labels = np.where(which, _rank(order, similar.count), similar.count)
    inside = which[similar.first] & which[similar.second]
    labels = _spread(labels, similar.first[inside], similar.second[inside])
    asked = order[(similar.full & which)[order]].tolist()
    for place, i in enumerate(asked):
        ids, _ = similar.of(i, which & (labels != labels[i]), soon=asked[place + 1 :])
        if len(ids):
            joined = np.append(labels[ids], labels[i])
            labels[np.isin(labels, joined)] = joined.min()
    return labels


def _spread(labels: Ints, first: Ints, second: Ints) -> Ints:
    """Return the lowest label that a chain of pairs joins each photo to; photos in pairs start with unequal ones."""
    best = np.arange(len(labels) + 1, dtype=np.intp)  # the lowest label known to be joined with each
    first, second = labels[first], labels[second]
    while len(first):
        low, high = np.minimum(first, second), np.maximum(first, second)
        np.minimum.at(best, high, low)
        while (best != best[best]).any():
            best = best[best]
        first, second = best[first], best[second]
        apart = first != second
        first, second = first[apart], second[apart]
    return best[labels]


def _with_borders(order: Ints, similar: Similar, core: Flags, others: Flags, labels: Ints) -> Ints:
    """Return the labels, and for `others` the lowest label of a core similar to them: (N,)."""
    reached = labels.copy()
    border = core[similar.first] & others[similar.second]
    np.minimum.at(reached, similar.second[border], labels[similar.first[border]])
    asked = order[similar.full[order]].tolist()
    for place, i in enumerate(asked):
        ids, _ = similar.of(i, others if core[i] else core, soon=asked[place + 1 :])
        if core[i]:
            reached[ids] = np.minimum(reached[ids], labels[i])
        else:
            reached[i] = min(reached[i], labels[ids].min(initial=similar.count))
    return reached


# The least similar two of a group


class Weakest(NamedTuple):
    """The lowest score found between two members of a group."""

    score: float
    of_all: bool  # False: only of pairs with the keeper and a sample of the others, so another may be lower


def weakest(groups: Sequence[Ints], score_pairs: ScorePairs) -> list[Weakest]:
    """Return the lowest score of any two members of each group.

    In a group of more than 200, of the pairs with the keeper and 20,000 others, the same ones each time. What people
    judged does not count here.
    """
    pairs = [_pairs_of(group) for group in groups]
    first, second = np.concatenate([*pairs, np.empty((2, 0), np.intp)], axis=1)
    scores = score_in_blocks(first, second, score_pairs)
    found = []
    start = 0
    for group, (ours, _) in zip(groups, pairs, strict=True):
        end = start + len(ours)
        found.append(Weakest(float(scores[start:end].min(initial=1)), _has_few(group)))
        start = end
    return found


def _has_few(group: Ints) -> bool:
    return len(group) * (len(group) - 1) // 2 <= EVERY_PAIR


def _pairs_of(group: Ints) -> Ints:
    """Return every pair of members, or a sample: (2, n)."""
    count = len(group)
    if _has_few(group):
        places = np.triu_indices(count, 1)
    else:
        random = np.random.default_rng(0)
        first = random.integers(0, count, EVERY_PAIR)
        second = (first + random.integers(1, count, EVERY_PAIR)) % count
        places = np.append(np.zeros(count - 1, np.intp), first), np.append(np.arange(1, count), second)
    return group[np.stack(places)]
