"""The photos left to group at one threshold: which of a group is kept, which may go, and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from samespace.base.arrays import Ints
from samespace.base.raw_preview import is_raw
from samespace.duplicates.group import BURST, KINDS, LOOK_TWICE, SAME_SPACE, Group, Member, partners_that_go
from samespace.duplicates.grouping import Similar
from samespace.duplicates.keeper import PROTECTED, Standing, why_kept, why_removed
from samespace.duplicates.photo_table import PhotoTable
from samespace.duplicates.standings import Standings
from samespace.library.library import Photo

_DOUBTS = {
    BURST: "another photo of the burst",
    LOOK_TWICE: "alike, but something differs",
    SAME_SPACE: "another view of the space",
}
_JOINED_BY = {"exact": "same pixels", "near": "same photo", "same-space": "same space"}


class Join(NamedTuple):
    """The kind and score that join a row to its keeper's row."""

    kind: str
    score: float


class Ranking:
    """The photos that are left at one threshold, ranked by which to keep."""

    def __init__(
        self,
        photos: PhotoTable,
        standings: Standings,
        similar: Similar,
        without: Collection[Path],
        loses: Callable[[int, Collection[int]], bool] = lambda row, kept: False,
    ) -> None:
        """Rank the photos but those `without`; `loses` says if a row shows what none of the rows that are kept does."""
        self._photos, self._standings = photos, standings
        self._without, self._loses = without, loses
        self._here = np.ones(len(photos.all), np.bool_)
        self._here[[photos.numbers[path] for path in without if path in photos.numbers]] = False
        self.copied = np.bincount(photos.row_of[self._here], minlength=len(photos))  # photos left of each row
        # Sharpness counts only for two tied rows that clear this threshold with each other: the result is then the
        # same whatever else was decoded.
        first, second = similar.first, similar.second
        decoded = (self.copied > 0) & (standings.pixels >= 0)
        tied = decoded[first] & decoded[second] & (standings.ties[first] == standings.ties[second])
        self._sharpness_counts = np.zeros(len(photos), np.bool_)
        self._sharpness_counts[first[tied]] = True

    def order(self) -> Ints:
        """Return the rows, the one with the best photo to keep first."""
        rows = self._photos.row_of[self._here]
        by_facts, by_sharpness = self._standings.places[:, self._here]
        places = np.where(self._sharpness_counts[rows], by_sharpness, by_facts)
        ranked = rows[np.argsort(places)]
        _, first = np.unique(ranked, return_index=True)
        return ranked[np.sort(first)]

    def count(self, clusters: Sequence[Ints], sharpest: bool = False) -> int:
        """Count the clusters that form a group, around the photo to keep or the `sharpest`."""
        if not clusters:
            return 0
        # A plain row always leaves something to remove, unless `against` bars it. Only the others are looked at.
        starts = np.cumsum([0, *(len(cluster) for cluster in clusters[:-1])])
        sure = np.logical_or.reduceat(self._standings.plain[np.concatenate(clusters)], starts)
        if self._photos.against:
            sure[:] = False
        unsure = [clusters[number] for number in np.flatnonzero(~sure).tolist()]
        return int(sure.sum()) + sum(bool(self._ranked(cluster.tolist(), sharpest)) for cluster in unsure)

    def group(self, joins: Mapping[int, Join], weakest: float, answer: str) -> Group | None:
        """Return a group of all photos of these rows; None if that leaves nothing to remove and nothing to look at."""
        ranked = self._ranked(joins, answer == BURST)
        if not ranked:
            return None
        keeper, *rest = ranked
        suspects = self._suspects(ranked)
        why = suspects.get(keeper.path) or self._why_first(keeper, rest[0], answer)
        kinds = {photo.path: joins[self._photos.rows[photo.content]].kind for photo in rest}
        marks_all = self._photos.marks_all
        doubts = {path: "" if marks_all else self._doubt(answer, kind) for path, kind in kinds.items()}
        if not is_raw(keeper.path):
            doubts |= {path: "a RAW file is not removed for another" for path in kinds if is_raw(path)}
        guarded = {*self._photos.protected, *suspects, *(path for path, doubt in doubts.items() if doubt)}
        kept = {keeper.path, *(path for path in kinds if path in guarded)}
        beside = self._standings.beside
        wider = self._wider((photo for photo in rest if photo.path not in kept), kept)
        needed = wider | beside.needed((path for path in kinds if path not in kept | wider.keys()), {*kept, *wider})
        others = []
        for photo in rest:
            path, score = photo.path, joins[self._photos.rows[photo.content]].score
            why_kept_too = suspects.get(path) or doubts[path] or needed.get(path)
            why_other = why_kept_too or self._why(photo, keeper, kinds[path])
            keep = path in kept or path in needed
            others.append(Member(photo, score, keep, why_other, path in suspects, beside.of(path)))
        others.sort(key=lambda member: (-member.score, bytes(member.photo.path)))
        loosest = max((join.kind for join in joins.values()), key=KINDS.index)
        first = Member(keeper, 1.0, True, why, keeper.path in suspects, beside.of(keeper.path))
        return Group(loosest, (first, *others), weakest, answer)

    def _wider(self, photos: Iterable[Photo], kept: Collection[Path]) -> dict[Path, str]:
        """Return which photos to keep as well, and why: they show more than any copy that is kept."""
        rows, wider = {self._photos.rows[self._photos.all[path].content] for path in kept}, {}
        for photo in photos:
            row = self._photos.rows[photo.content]
            if self._loses(row, rows):
                wider[photo.path] = "shows more than the photo that is kept"
                rows.add(row)
        return wider

    def _why_first(self, keeper: Photo, runner_up: Photo, answer: str) -> str:
        rows = [self._photos.rows[photo.content] for photo in (keeper, runner_up)]
        if answer == BURST and self._sharpness(rows[0]) > self._sharpness(rows[1]):
            return "sharpest of the burst"
        return why_kept(self._standing(keeper), self._standing(runner_up), self._photos.rule)

    def _doubt(self, answer: str, kind: str) -> str:
        """Say why a photo that this kind joins to the keeper is kept all the same; "" for a copy."""
        if answer == SAME_SPACE and kind != "same-space":
            return ""
        return _DOUBTS.get(answer, "")

    def sharpest_first(self, rows: Ints) -> Ints:
        """Return these rows, the sharpest first; those that were not decoded last."""
        return np.array(sorted(rows.tolist(), key=lambda row: -self._sharpness(row)), np.intp)

    def _sharpness(self, row: int) -> float:
        return self._photos.details[row].sharpness if row in self._photos.details else 0.0

    def _ranked(self, rows: Iterable[int], sharpest: bool = False) -> list[Photo]:
        """Return the photos of these rows, the one to keep or the `sharpest` first; none if no other may be removed."""
        left = [copy for row in rows for copy in self._photos.copies[row] if copy.path not in self._without]
        left.sort(key=lambda photo: self._standing(photo).key())
        if sharpest:
            left.sort(key=lambda photo: -self._sharpness(self._photos.rows[photo.content]))
        keeper, *rest = left
        # A hard link to the keeper is the same file by another name: removing it frees nothing.
        kept = self._photos.inode(keeper)
        rest = [photo for photo in rest if self._photos.inode(photo) != kept]
        protected = self._photos.protected
        if all(photo.path in protected for photo in rest):
            return []
        if self._photos.against and keeper.path not in protected:
            return []
        return [keeper, *rest]

    def _suspects(self, ranked: Sequence[Photo]) -> dict[Path, str]:
        """Return the keeper and its nearly equal copies if one of them may be damaged, and what to say of each."""
        first_of: dict[int, Path] = {}
        for photo in ranked:
            first_of.setdefault(self._photos.rows[photo.content], photo.path)
        keeper = next(iter(first_of))
        partners = self._standings.damaged.get(keeper, set()) & first_of.keys()
        if not partners:
            return {}
        return {first_of[row]: self._standings.suspicions[row] for row in (keeper, *partners)}

    def _standing(self, photo: Photo) -> Standing:
        row = self._photos.rows[photo.content]
        return self._standings.of(photo.path, sharpness=bool(self._sharpness_counts[row]))

    def _why(self, photo: Photo, keeper: Photo, kind: str) -> str:
        """Say why a photo is a duplicate of the keeper, and is not kept itself."""
        if photo.path in self._photos.protected:
            return PROTECTED
        joined_by = "same bytes" if photo.content == keeper.content else _JOINED_BY[kind]
        return f"{joined_by}, {why_removed(self._standing(photo), self._standing(keeper), self._photos.rule)}"

    def bytes_freed(self, groups: Sequence[Group]) -> int:
        """Return what removing the duplicates frees, and their partners.

        Each file counts once, and a hard link to a kept photo for nothing.
        """
        members = [(self._photos.inode(member.photo), member) for group in groups for member in group.members]
        kept = {inode for inode, member in members if member.keep}
        removed = {inode: member.photo.size for inode, member in members if not member.keep}
        partners = partners_that_go(member for _, member in members)
        photos = sum(size for inode, size in removed.items() if inode not in kept)
        return photos + sum(partner.size for partner in partners)
