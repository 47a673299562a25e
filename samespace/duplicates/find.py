"""Find which photos are duplicates of each other: compare them once, then group them at any threshold."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samespace.base.arrays import Array, Ints
from samespace.base.errors import SameSpaceError
from samespace.duplicates.bursts import follow_each_other
from samespace.duplicates.equal_files import EqualFiles
from samespace.duplicates.group import (
    BURST,
    COPIES,
    LOOK_TWICE,
    SAME_SPACE,
    DedupeOptions,
    Duplicates,
    Group,
    Verdicts,
    threshold_of,
)
from samespace.duplicates.grouping import Similar, by_components, by_dbscan, by_keeper, known_pairs, listed, weakest
from samespace.duplicates.photo_table import PhotoTable, RowPairs, is_below
from samespace.duplicates.ranking import Join, Ranking
from samespace.duplicates.scores import Scoring, materials_scoring, model_scoring, one_shot
from samespace.duplicates.standings import Standings
from samespace.duplicates.whitened import whitened
from samespace.duplicates.widest import Widest, noted, without_notes
from samespace.library.library import Library
from samespace.library.read_photos import Extractor
from samespace.search import copies, same_shot
from samespace.search.copies import REMEMBRANCE
from samespace.search.evidence import NO_PROOF
from samespace.search.neighbours import from_pairs
from samespace.search.pair_scores import (
    Remembered,
    is_complete,
    note_complete,
    recalled_scores,
    remember_scores,
    searched,
)

if TYPE_CHECKING:
    from samespace.model.saved import Model


_MOST_FULL = 256  # photos with more neighbours than are listed, of which all are compared all the same
_NO_ROWS = np.empty(0, np.intp)


def find_duplicates(
    libraries: Sequence[Library],
    folders: Sequence[Path],
    options: DedupeOptions,
    extractor: Extractor | None = None,
    model: Model | None = None,
) -> Duplicates:
    """Return the duplicates among the photos of these libraries that lie in these folders.

    `same-space` scores by `model`, or without one by materials, which `extractor` keeps. The photos must have been
    scanned with that extractor, and for `near` and `same-space` also with `same_shot.Sketches`.
    """
    comparison = Comparison(libraries, folders, options, extractor, model)
    found = comparison.at()
    comparison.remember(libraries)
    return found


class Comparison:
    """Photos that were compared once, to be grouped at any threshold from the lowest on without comparing again.

    It reads the libraries while it is made, in the thread that makes it; after that any threads may use it at once. It
    does not see later scans: make another after one.
    """

    def __init__(
        self,
        libraries: Sequence[Library],
        folders: Sequence[Path],
        options: DedupeOptions,
        extractor: Extractor | None = None,
        model: Model | None = None,
    ) -> None:
        """Compare as `find_duplicates` does; the threshold of the options is the lowest that can be asked for."""
        self.options = options
        self.lowest = threshold_of(options)
        self.verdicts = _joint_verdicts(libraries)
        self._photos = photos = PhotoTable(libraries, folders, options)
        self._equal_files = EqualFiles(libraries, folders, options)
        self._unreadable = [
            error for library in libraries for error in library.unreadable() if is_below(error.path, folders)
        ]
        contents = list(photos.rows)
        self._known, wider = without_notes(recalled_scores(libraries, contents, REMEMBRANCE), contents)
        self._searched = searched(libraries, contents, REMEMBRANCE)
        self._is_complete = is_complete(libraries, contents, REMEMBRANCE)
        self._copies = self._sketched(libraries) if options.kind == "near" and photos.all else None
        candidates, score = self._scoring(libraries, extractor, model)
        self._score = Remembered(score, len(photos), self._known if options.kind == "near" else None)
        self._same_shot = self._score
        if options.kind == "same-space" and photos.all:
            self._copies = self._sketched(libraries)
            self._same_shot = Remembered(one_shot(self._copies, photos.firsts()), len(photos), self._known)
        if self._copies:
            wider |= self._copies.wider
            self._copies.wider = wider  # where copies that are found from now on are noted, too
        self._widest = Widest(wider, self._same_shot)
        first, second = pairs = listed(candidates)
        allowed = ~photos.barred(first, second)
        self._score(first[allowed], second[allowed])  # all in one go: from here on they are remembered
        self._can_be_complete = bool(options.kind == "near" and len(libraries) == 1 and allowed.all())
        self._candidates = candidates
        lowest = min(self.lowest, copies.LOOK_TWICE) if options.kind == "near" else self.lowest
        self._similar = Similar(candidates, photos.unless_barred(self._score), lowest)
        same, _ = photos.verdict_pairs(self.verdicts)
        similar = self._similar.at(lowest, same)
        framed = self._copies.framed if self._copies else None
        greys = {other for (_, other), in_colour in wider.items() if in_colour}
        self._standings = Standings(photos, libraries, (similar.first, similar.second), pairs, framed, greys)

    def at(
        self, threshold: float | None = None, verdicts: Verdicts | None = None, without: Collection[Path] = ()
    ) -> Duplicates:
        """Return the duplicates at a threshold, the lowest by default, by these verdicts or the libraries' own.

        Photos in `without` are left out. Photos that only a later verdict joins are not compared by sharpness.
        """
        threshold = self._checked(threshold)
        same, different = self._photos.verdict_pairs(self.verdicts if verdicts is None else verdicts)
        ranking, clusters = self._clusters(threshold, same, different, without)
        answer = SAME_SPACE if self.options.kind == "same-space" else COPIES
        groups = [*self._groups(ranking, clusters, same, answer), *self._equal_files.groups(without)]
        groups.sort(key=lambda group: (-ranking.bytes_freed([group]), bytes(group.members[0].photo.path)))
        if self.options.kind == "near" and threshold > copies.LOOK_TWICE:
            groups += self._doubtful_groups(threshold, different, without, clusters)
        return Duplicates(
            kind=self.options.kind,
            threshold=threshold,
            grouping=self.options.grouping,
            photos=int(ranking.copied.sum()),
            groups=groups,
            duplicates=sum(not member.keep for group in groups for member in group.members),
            bytes_freed=ranking.bytes_freed(groups),
            unreadable=self._unreadable,
            not_compared=self._equal_files.not_compared,
        )

    def counts(
        self, thresholds: Sequence[float], verdicts: Verdicts | None = None, without: Collection[Path] = ()
    ) -> list[int]:
        """Return how many groups `at` finds at each of these thresholds."""
        same, different = self._photos.verdict_pairs(self.verdicts if verdicts is None else verdicts)
        counted = []
        for threshold in thresholds:
            ranking, clusters = self._clusters(self._checked(threshold), same, different, without)
            doubtful = 0
            if self.options.kind == "near" and threshold > copies.LOOK_TWICE:
                among, bursts, alike = self._doubtful(threshold, different, without, clusters)
                doubtful = among.count(bursts, sharpest=True) + among.count(alike)
            counted.append(ranking.count(clusters) + self._equal_files.count(without) + doubtful)
        return counted

    def remember(self, libraries: Sequence[Library]) -> None:
        """Store the scores of pairs in the libraries, for the next comparison to know."""
        is_complete = self._can_be_complete and self._complete()
        scored, searched_all = self._same_shot.known, self.options.kind == "near"
        is_new = len(scored.scores) > len(self._known.scores) or (searched_all and not self._searched.all())
        if self.options.kind != "exact" and is_new:
            contents = list(self._photos.rows)
            told = noted(scored, self._widest.wider, contents)
            for library in libraries:
                remember_scores(library, contents, told, REMEMBRANCE, searched_all)
        if is_complete:
            note_complete(libraries[0], list(self._photos.rows), REMEMBRANCE)

    def _complete(self) -> bool:
        """Score the pairs that lists were too short for, unless these are many; return whether all have a score."""
        full = np.flatnonzero(self._candidates.full).tolist()
        if len(full) > _MOST_FULL:
            return False
        for i, (near, _) in zip(full, self._candidates.each(full), strict=True):
            self._score(np.full(len(near), i), near.astype(np.intp))
        return True

    def _scoring(self, libraries: Sequence[Library], extractor: Extractor | None, model: Model | None) -> Scoring:
        photos = self._photos
        if photos.kind == "exact" or not photos.all:
            return Scoring(photos.same_pixels(libraries), _all_the_same)
        if self._copies:
            if self._is_complete:  # no photo need be read to know what to compare
                pairs = zip(self._known.first.tolist(), self._known.second.tolist(), strict=True)
                found = from_pairs(list(pairs), len(photos))
            else:
                found = self._copies.find(self._known, ~self._searched)
            return Scoring(found, one_shot(self._copies, photos.firsts()))
        assert extractor is not None, "same-space needs features"
        features = photos.features(libraries, extractor)
        if model and not model.rooms:
            if photos.thorough:
                raise SameSpaceError(NO_PROOF)
            return model_scoring(features, model)
        known = model.rooms.known if model and model.rooms else None
        kept = partial(whitened, libraries[0], extractor, list(photos.rows), known)
        return materials_scoring(features, photos.partners(libraries), model, kept)

    def _sketched(self, libraries: Sequence[Library]) -> copies.Copies:
        """Return what finds and scores copies among these photos."""
        sketches, firsts = self._photos.features(libraries, same_shot.Sketches()), self._photos.firsts()
        return copies.Copies(sketches.take, [photo.path for photo in firsts], len(firsts))

    def _checked(self, threshold: float | None) -> float:
        if threshold is None:
            return self.lowest
        threshold_of(self.options._replace(threshold=threshold))
        if threshold < self.lowest:
            raise SameSpaceError(
                f"photos were compared at {self.lowest:g} or higher: a threshold of {threshold:g} is too low"
            )
        return threshold

    def _clusters(
        self, threshold: float, same: RowPairs, different: RowPairs, without: Collection[Path]
    ) -> tuple[Ranking, list[Ints]]:
        """Return rows that belong together, the best first, and single rows that have several copies."""
        similar = self._similar.at(threshold, same, different)
        ranking = Ranking(self._photos, self._standings, similar, frozenset(without), self._widest.loses)
        order = ranking.order()
        if self.options.grouping == "components":
            clusters = by_components(order, similar)
        elif self.options.grouping == "dbscan":
            clusters = by_dbscan(order, similar, self.options.min_samples)
        else:
            clusters = by_keeper(order, similar)
        several = ranking.copied > 1
        several[np.concatenate([_NO_ROWS, *clusters])] = False
        alone = np.flatnonzero(several)
        return ranking, [*clusters, *alone[:, None]]

    def _doubtful_groups(
        self, threshold: float, different: RowPairs, without: Collection[Path], clusters: Sequence[Ints]
    ) -> list[Group]:
        """Return groups of photos that are alike and no copies, nor in a group of copies: bursts, and to look twice."""
        ranking, bursts, alike = self._doubtful(threshold, different, without, clusters)
        sharpest = [ranking.sharpest_first(burst) for burst in bursts]
        return [*self._groups(ranking, sharpest, [], BURST), *self._groups(ranking, alike, [], LOOK_TWICE)]

    def _doubtful(
        self, threshold: float, different: RowPairs, without: Collection[Path], clusters: Sequence[Ints]
    ) -> tuple[Ranking, list[Ints], list[Ints]]:
        """Return the rows of bursts, and those to look at twice, and what ranks them."""
        # Copies that a higher threshold leaves out are copies all the same: nothing differs.
        similar = self._similar.at(copies.LOOK_TWICE, (), different, below=min(threshold, same_shot.THRESHOLD))
        ranking = Ranking(self._photos, self._standings, similar, frozenset(without))
        order = ranking.order()
        order = order[~np.isin(order, np.concatenate([_NO_ROWS, *clusters]))]
        bursts = by_components(order, self._successive(similar))
        rest = order[~np.isin(order, np.concatenate([_NO_ROWS, *bursts]))]
        return ranking, bursts, by_keeper(rest, similar)

    def _successive(self, similar: Similar) -> Similar:
        """Return the pairs of similar photos that were taken one after the other."""
        firsts = self._photos.firsts()
        pairs = zip(similar.first.tolist(), similar.second.tolist(), strict=True)
        successive = [(i, j) for i, j in pairs if i < j and follow_each_other(firsts[i], firsts[j])]
        return known_pairs(successive, len(firsts))

    def _groups(self, ranking: Ranking, clusters: Sequence[Ints], same: RowPairs, answer: str) -> list[Group]:
        """Return the clusters that leave something to remove as groups of photos."""
        joins = self._joins(clusters, same)
        large = [cluster for cluster in clusters if len(cluster) > 2]
        keepers = [int(cluster[0]) for cluster in large]
        lowest = dict(zip(keepers, weakest(large, self._score), strict=True))
        groups = []
        for cluster in clusters:
            rows = cluster.tolist()
            score = lowest[rows[0]].score if len(rows) > 2 else joins[rows[-1]].score
            group = ranking.group({row: joins[row] for row in rows}, score, answer)
            if group:
                groups.append(group)
        return groups

    def _joins(self, clusters: Sequence[Ints], same: RowPairs) -> dict[int, Join]:
        """Return the kind and score that join each row to its cluster's first, the keeper's."""
        keepers = np.concatenate([_NO_ROWS, *(np.repeat(cluster[0], len(cluster) - 1) for cluster in clusters)])
        others = np.concatenate([_NO_ROWS, *(cluster[1:] for cluster in clusters)])
        judged_same = {frozenset(pair) for pair in same}
        pairs = zip(keepers.tolist(), others.tolist(), strict=True)
        scores = self._score(keepers, others)
        scores[np.array([frozenset(pair) in judged_same for pair in pairs], bool)] = 1
        joins = {int(cluster[0]): Join("exact", 1.0) for cluster in clusters}
        for row, kind, score in zip(others.tolist(), self._kinds(keepers, others), scores.tolist(), strict=True):
            joins[row] = Join(kind, score)
        return joins

    def _kinds(self, first: Ints, second: Ints) -> list[str]:
        """Return the strictest kind that joins each pair of rows."""
        kinds = np.full(len(first), self.options.kind, object)
        if self.options.kind == "same-space":
            kinds[self._same_shot(first, second) >= same_shot.THRESHOLD] = "near"
        kinds[self._standings.have_same_pixels(first, second)] = "exact"
        return kinds.tolist()


def _joint_verdicts(libraries: Sequence[Library]) -> dict[frozenset[str], bool]:
    """Return the verdicts of all libraries; a pair that they disagree on is different."""
    verdicts: dict[frozenset[str], bool] = {}
    for library in libraries:
        for pair, same in library.verdicts().items():
            verdicts[pair] = same and verdicts.get(pair, True)
    return verdicts


def _all_the_same(first: Ints, _: Ints) -> Array:
    return np.ones(len(first))
