"""From pairs that are near to groups of duplicates: by keeper, which never chains, by components, or by DBSCAN.

Photos are numbers below N. `order` names each once, the best to keep first, and settles whatever is left open: give
the same photos other numbers and the groups, and their order, stay the same. A photo that it does not name is left
out, as if it were not there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from copy import copy
from itertools import islice, pairwise
from typing import NamedTuple

import numpy as np

from samespace.base.arrays import Doubles, Flags, Ints
from samespace.search.neighbours import Candidates, Ids
from samespace.search.pair_scores import ScorePairs, score_in_blocks

Pairs = Iterable[tuple[int, int]]

AHEAD = 32  # photos with cut lists that share one pass over all vectors
ROOM = 1 << 24  # photos in all that whole lists, where they were cut, may name: 64 MB
EVERY_PAIR = 20_000  # a group with no more pairs than this has them all scored for its weakest


def listed(candidates: Candidates) -> tuple[Ints, Ints]:
    """The pairs in the lists, each once: (n,) the lower number, and (n,) the higher."""
    first = np.repeat(np.arange(len(candidates.full)), np.diff(candidates.starts))
    second = candidates.ids.astype(np.intp)
    once = first < second
    return first[once], second[once]


class Similar:
    """Who clears the threshold with whom: the careful score, corrected by what persons said of some pairs.

    Pairs that `candidates` lists are scored here, once each. Where a list was cut, the rest waits until `of` is asked,
    and then only photos `among` those that matter are scored: thousands of frames that are all alike cost a score a
    frame, not one a pair.
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
        self._near: dict[int, Ids] = {}
        self._scored = _both_ways(first[clear], second[clear], scores[clear])
        self._settle(threshold, same, different)

    def at(self, threshold: float, same: Pairs = (), different: Pairs = ()) -> Similar:
        """At another threshold, no lower than the first, and with other verdicts: no listed pair is scored again."""
        other = copy(self)
        other._settle(threshold, same, different)
        return other

    def _settle(self, threshold: float, same: Pairs, different: Pairs) -> None:
        self.threshold = threshold
        self.same = _sides(same)
        self.different = _sides(different)
        first, second, scores = self._scored
        clear = scores >= threshold
        if told := [i * self.count + j for sides in (self.same, self.different) for i in sides for j in sides[i]]:
            clear &= ~np.isin(first * self.count + second, told)
        first, second, scores = first[clear], second[clear], scores[clear]
        if self.same:
            told_first, told_second = np.array([(i, j) for i, others in self.same.items() for j in others]).T
            first, second = np.append(first, told_first), np.append(second, told_second)
            order = np.lexsort((second, first))
            first, second, scores = first[order], second[order], np.append(scores, np.ones(len(told_first)))[order]
        self.first, self.second, self.scores = first, second, scores  # both ways, by first, then second
        self.starts = np.searchsorted(first, np.arange(self.count + 1))

    def of(self, i: int, among: Flags | None = None, soon: Iterable[int] = ()) -> tuple[Ints, Doubles]:
        """The photos that clear the threshold with photo i, rising, and their scores; all of them, or those `among`.

        `soon` names photos that may be asked for next: where lists were cut, many are as quick as one.
        """
        if self.full[i]:
            return self._all_of(i, among, soon)
        part = slice(self.starts[i], self.starts[i + 1])
        ids, scores = self.second[part], self.scores[part]
        return (ids, scores) if among is None or not len(ids) else (ids[among[ids]], scores[among[ids]])

    def _all_of(self, i: int, among: Flags | None, soon: Iterable[int]) -> tuple[Ints, Doubles]:
        near = self._all_near(i, soon).astype(np.intp)
        same = np.array(sorted(self.same.get(i, ())), np.intp)
        if told := [*same.tolist(), *self.different.get(i, ())]:
            near = near[~np.isin(near, told)]
        if among is not None:
            near, same = near[among[near]], same[among[same]]
        scores = score_in_blocks(np.full(len(near), i), near, self.score_pairs)
        near, scores = near[scores >= self.threshold], scores[scores >= self.threshold]
        ids = np.append(near, same)
        order = np.argsort(ids)
        return ids[order], np.append(scores, np.ones(len(same)))[order]

    def _all_near(self, i: int, soon: Iterable[int]) -> Ids:
        """What lies near a photo whose list was cut; kept while there is room."""
        near = self._near.get(i)
        if near is None:
            wanted = (int(j) for j in soon if self.full[j] and j not in self._near)
            together = list(dict.fromkeys([i, *islice(wanted, AHEAD - 1)]))
            found = {j: ids for j, (ids, _) in zip(together, self.candidates.each(together), strict=True)}
            if sum(map(len, [*self._near.values()])) > ROOM:
                self._near.clear()
            self._near |= found
            near = found[i]
        return near


def _sides(pairs: Pairs) -> dict[int, set[int]]:
    sides: dict[int, set[int]] = defaultdict(set)
    for i, j in pairs:
        sides[i].add(j)
        sides[j].add(i)
    return dict(sides)


def _both_ways(first: Ints, second: Ints, scores: Doubles) -> tuple[Ints, Ints, Doubles]:
    order = np.lexsort((np.append(second, first), np.append(first, second)))
    return np.append(first, second)[order], np.append(second, first)[order], np.append(scores, scores)[order]


# By keeper


def by_keeper(order: Ints, similar: Similar) -> list[Ints]:
    """Groups in which every member clears the threshold with the first, the keeper; then in `order`.

    Each photo, the best first, goes to the keeper it scores highest with, the earlier one if equal, or becomes a
    keeper if it clears the threshold with none so far: no member comes before its keeper in `order`. Photos told
    apart never share a group, as members neither: the later one goes to its next best keeper, or becomes one.
    """
    heads, scores = np.full(similar.count, -1), np.full(similar.count, -np.inf)
    order = order[((np.diff(similar.starts) > 0) | similar.full)[order]]  # the others are alone
    ahead = _flags(order, similar.count)
    told = np.isin(np.arange(similar.count), list(similar.different))
    offers: dict[int, list[tuple[float, int]]] = defaultdict(list)  # to those told apart from another, by keepers
    for place, i in enumerate(order.tolist()):
        ahead[i] = False
        if told[i]:
            heads[i] = _best_allowed(offers[i], {heads[j] for j in similar.different[i] if not ahead[j]})
        if heads[i] >= 0:
            continue
        heads[i] = i
        ids, found = similar.of(i, ahead, soon=(j for j in order[place + 1 :] if heads[j] < 0))
        better = found > scores[ids]
        heads[ids[better]], scores[ids[better]] = i, found[better]
        for j, score in zip(ids[told[ids]].tolist(), found[told[ids]].tolist(), strict=True):
            offers[j].append((score, i))
    return _groups(order, heads)


def _best_allowed(offers: list[tuple[float, int]], barred: set[int]) -> int:
    """The keeper with the highest score, the first of equals; -1 for none."""
    allowed = [offer for offer in offers if offer[1] not in barred]
    return max(allowed, key=lambda offer: offer[0], default=(0.0, -1))[1]


def _flags(order: Ints, count: int) -> Flags:
    """(count,): whether `order` names a photo."""
    return np.bincount(order, minlength=count).astype(np.bool_)


def _rank(order: Ints, count: int) -> Ints:
    """(count,): of each photo its place in `order`, and of those left out `count`."""
    rank = np.full(count, count)
    rank[order] = np.arange(len(order))
    return rank


def _groups(order: Ints, heads: Ints) -> list[Ints]:
    """Photos with the same head, its best, two or more: in `order`; the group with the best head first."""
    rank = _rank(order, len(heads))
    photos = np.flatnonzero(heads >= 0)
    photos = photos[np.lexsort((rank[photos], rank[heads[photos]]))]
    bounds = np.flatnonzero(np.diff(heads[photos], prepend=-1, append=-1)).tolist()
    return [photos[start:end] for start, end in pairwise(bounds) if end - start > 1]


# By chains


def by_components(order: Ints, similar: Similar) -> list[Ints]:
    """Groups in which a chain of pairs that clear the threshold joins any two; in each, the best in `order` first.

    Photos told apart are not linked, yet a chain through others may still put them in one group.
    """
    labels = _linked(order, similar, _flags(order, similar.count))
    heads = np.full(similar.count, -1)
    heads[order] = order[labels[order]]
    return _groups(order, heads)


def by_dbscan(order: Ints, similar: Similar, min_samples: int) -> list[Ints]:
    """DBSCAN's clusters of two or more, as scikit-learn makes them of photos in `order` with eps = 1 - threshold.

    A photo with `min_samples` similar ones, itself among them, is a core. A chain of cores makes a cluster, and a
    photo that is none goes to the first cluster with a core similar to it. Photos told apart are not linked.
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
    """Of each photo in `which`, the rank in `order` of the best that a chain of them joins it to; of others, N."""
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
    """The lowest label of all that chains of pairs join, for each; labels start as ranks, no two alike in a chain."""
    best = np.arange(len(labels) + 1, dtype=np.intp)  # of each label, the lowest known to be joined with it
    first, second = labels[first], labels[second]
    while len(first):
        low, high = np.minimum(first, second), np.maximum(first, second)
        np.minimum.at(best, high, low)
        while (best != best[best]).any():
            best = best[best]
        first, second = best[first], best[second]
        apart = first != second
        first, second = first[apart], second[apart]
    spread: Ints = best[labels]
    return spread


def _with_borders(order: Ints, similar: Similar, core: Flags, others: Flags, labels: Ints) -> Ints:
    """The labels of cores, and for `others` the lowest label of a core similar to them."""
    reached: Ints = labels.copy()
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


# How well a group holds together


class Weakest(NamedTuple):
    """The lowest score found between two members of a group."""

    score: float
    of_all: bool  # False: of the pairs with the keeper and a sample of the others, so another may be lower still


def weakest(groups: Sequence[Ints], score_pairs: ScorePairs) -> list[Weakest]:
    """For each group the lowest score of any two members; of more than 200, of those with the keeper and 20,000 more.

    The sample is drawn in the same way each time. What persons said of a pair does not count here.
    """
    pairs = [_pairs_of(group) for group in groups]
    first, second = np.concatenate([*pairs, np.empty((2, 0), np.intp)], axis=1)
    scores = np.split(score_in_blocks(first, second, score_pairs), np.cumsum([pair.shape[1] for pair in pairs]))
    return [Weakest(float(ours.min(initial=1)), _has_few(group)) for group, ours in zip(groups, scores, strict=False)]


def _has_few(group: Ints) -> bool:
    return len(group) * (len(group) - 1) // 2 <= EVERY_PAIR


def _pairs_of(group: Ints) -> Ints:
    """(2, n): every pair of members, or a sample."""
    count = len(group)
    if _has_few(group):
        places = np.triu_indices(count, 1)
    else:
        random = np.random.default_rng(0)
        first = random.integers(0, count, EVERY_PAIR)
        second = (first + random.integers(1, count, EVERY_PAIR)) % count
        places = np.append(np.zeros(count - 1, np.intp), first), np.append(np.arange(1, count), second)
    pairs: Ints = group[np.stack(places)]
    return pairs
