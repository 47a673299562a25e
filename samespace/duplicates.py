"""Which photos are duplicates of each other, which of them to keep, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from samespace import near, scoring
from samespace.errors import SameSpaceError
from samespace.grouping import Rows, ScorePairs, Similar, by_components, by_dbscan, by_keeper, score_in_blocks, weakest
from samespace.hashing import hamming
from samespace.keeping import PROTECTED, RULES, Standing, is_tied, standing, why_kept, why_removed
from samespace.library import Library, Photo
from samespace.neighbours import Candidates, from_pairs
from samespace.photos import Details, UnreadablePhoto
from samespace.reading import Extractor

if TYPE_CHECKING:
    from samespace.model import Model

KINDS = ("exact", "near", "same-space")
GROUPINGS = ("keeper", "components", "dbscan")
THRESHOLDS = {"exact": 1.0, "near": near.THRESHOLD, "same-space": scoring.THRESHOLD}

# A JPEG decoded at a fraction of its size hashes a little differently from the same pixels in another format.
_ALIKE = 10
_LIKELY_EQUAL = 0.97

_BLOCK = 1024
_NOBODY = np.empty(0, np.intp)
_JOINED = {"exact": "same pixels", "near": "same shot", "same-space": "same space"}

Scores = npt.NDArray[np.floating[Any]]


class Member(NamedTuple):
    """A photo of a group."""

    photo: Photo
    score: float  # with the keeper; the keeper's own is 1
    keep: bool
    why: str


class Group(NamedTuple):
    """Photos that are duplicates of the first, which is kept; then falling score, then path."""

    kind: str  # the loosest that joins a member to the keeper
    members: tuple[Member, ...]
    weakest: float  # the lowest score of any two members; of more than 200, of a sample: see `grouping.weakest`


class Found(NamedTuple):
    """The duplicates among some photos, the groups that free most bytes first."""

    kind: str
    threshold: float
    grouping: str
    photos: int
    groups: list[Group]
    duplicates: int  # photos to remove
    bytes_to_win: int
    unreadable: list[UnreadablePhoto]


class Search(NamedTuple):
    """What counts as a duplicate, and what is kept of it."""

    kind: str = "near"
    threshold: float | None = None
    grouping: str = "keeper"
    min_samples: int = 2
    keep: str = "best"
    reference: tuple[Path, ...] = ()  # nothing below these is removed
    against: tuple[Path, ...] = ()  # nor below these, and others are duplicates only of what is there


def find_duplicates(
    libraries: Sequence[Library],
    folders: Sequence[Path],
    search: Search,
    extractor: Extractor | None = None,
    model: Model | None = None,
) -> Found:
    """The duplicates among the photos of these libraries that lie below these folders.

    `same-space` scores by `model` or, where there is none, by the features of `extractor`: what either extracts must
    have been scanned, and for `near` and `same-space` also `near.Sketches`.
    """
    threshold = threshold_of(search)
    photos = _Photos(libraries, folders, search)
    unreadable = [error for library in libraries for error in library.unreadable() if _below(error.path, folders)]
    if not photos.all:
        return Found(search.kind, threshold, search.grouping, 0, [], 0, 0, unreadable)
    found = _scoring(photos, search.kind, threshold, extractor, model)
    same, different = photos.verdicts()
    similar = Similar(found.candidates, photos.unless_barred(found.score), threshold, same, different)
    photos.look_closely(zip(similar.first, similar.second, strict=True))
    clusters = _clusters(photos.order(), similar, search)
    clusters += [np.array([row]) for row in photos.copied() - {int(row) for cluster in clusters for row in cluster}]
    groups = _groups(photos, clusters, found.score, {frozenset(pair) for pair in same})
    return Found(
        search.kind,
        threshold,
        search.grouping,
        len(photos.all),
        groups,
        sum(not member.keep for group in groups for member in group.members),
        bytes_to_win(groups),
        unreadable,
    )


def _clusters(order: Rows, similar: Similar, search: Search) -> list[Rows]:
    if search.grouping == "components":
        return by_components(order, similar)
    if search.grouping == "dbscan":
        return by_dbscan(order, similar, search.min_samples)
    return by_keeper(order, similar)


def threshold_of(search: Search) -> float:
    """The score that duplicates must reach; one sentence if the search makes no sense."""
    for name, value, known in (("kind", search.kind, KINDS), ("grouping", search.grouping, GROUPINGS)):
        if value not in known:
            raise SameSpaceError(f"unknown {name} {value!r}: choose one of {', '.join(known)}")
    if search.keep not in RULES:
        raise SameSpaceError(f"unknown rule {search.keep!r} of what to keep: choose one of {', '.join(RULES)}")
    threshold = THRESHOLDS[search.kind] if search.threshold is None else search.threshold
    if not 0 < threshold <= 1:
        raise SameSpaceError(f"a threshold of {threshold:g} makes no sense: give a number above 0, up to 1")
    if search.min_samples < 1:
        raise SameSpaceError(f"{search.min_samples} photos make no cluster: give --min-samples of 1 or more")
    return threshold


def _scoring(
    photos: _Photos, kind: str, threshold: float, extractor: Extractor | None, model: Model | None
) -> scoring.Scoring:
    if kind == "exact":
        return scoring.Scoring(photos.equal(), lambda first, _: np.ones(len(first)))
    if kind == "near":
        return scoring.of_shots(photos.features(near.Sketches()))
    assert extractor is not None, "same-space needs features"
    features = photos.features(extractor)
    return scoring.of_model(features, model) if model else scoring.of_features(features, threshold)


def _groups(photos: _Photos, clusters: Sequence[Rows], score: ScorePairs, same: set[frozenset[int]]) -> list[Group]:
    """Clusters of rows, the keeper's first, with all copies of each; without those that leave nothing to remove."""
    keepers = np.concatenate([np.repeat(cluster[0], len(cluster) - 1) for cluster in clusters] or [_NOBODY])
    others = np.concatenate([cluster[1:] for cluster in clusters] or [_NOBODY])
    scores = score_in_blocks(keepers, others, score)
    scores[[frozenset(pair) in same for pair in zip(keepers.tolist(), others.tolist(), strict=True)]] = 1
    kinds = photos.relations(keepers, others, scores)
    groups, start = [], 0
    for cluster in clusters:
        ours = slice(start, start := start + len(cluster) - 1)
        lowest = weakest(cluster, score).score if len(cluster) > 2 else min([1.0, *scores[ours].tolist()])
        joined = [("exact", 1.0), *zip(kinds[ours], scores[ours].tolist(), strict=True)]
        group = _group(photos, dict(zip(cluster.tolist(), joined, strict=True)), lowest)
        if group is not None:
            groups.append(group)
    return sorted(groups, key=lambda group: (-bytes_to_win([group]), bytes(group.members[0].photo.path)))


def _group(photos: _Photos, joined: dict[int, tuple[str, float]], lowest: float) -> Group | None:
    """A group of all copies of these rows, each with the kind and score that join it to the keeper's row."""
    ranked = sorted((photo for row in joined for photo in photos.copies[row]), key=lambda p: photos.standing(p).key())
    keeper = ranked[0]
    # A hard link is the same file by another name: there is nothing to win.
    kept = _inode(keeper)
    rest = [photo for photo in ranked[1:] if _inode(photo) != kept]
    if all(photo.path in photos.protected for photo in rest) or (
        photos.against and keeper.path not in photos.protected
    ):
        return None
    by_score = sorted(rest, key=lambda photo: (-joined[photos.row(photo)][1], bytes(photo.path)))
    first = photos.standing(keeper)
    members = [Member(keeper, 1.0, True, why_kept(first, photos.standing(rest[0]), photos.rule))]
    for photo in by_score:
        kind, score = joined[photos.row(photo)]
        members.append(Member(photo, score, photo.path in photos.protected, photos.why(photo, keeper, kind)))
    return Group(max((kind for kind, _ in joined.values()), key=KINDS.index), tuple(members), lowest)


def _below(path: Path, folders: Sequence[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def bytes_to_win(groups: Sequence[Group]) -> int:
    """What removing the duplicates frees: nothing for one that is another name, a hard link, of what is kept."""
    kept = {_inode(member.photo) for group in groups for member in group.members if member.keep}
    gone = {_inode(member.photo): member.photo.size for group in groups for member in group.members if not member.keep}
    return sum(size for inode, size in gone.items() if inode not in kept)


def _inode(photo: Photo) -> object:
    try:
        status = photo.path.stat()
    except OSError:
        return photo.path
    return status.st_dev, status.st_ino


class _Photos:
    """The photos to look through; a row stands for all that hold the same bytes."""

    def __init__(self, libraries: Sequence[Library], folders: Sequence[Path], search: Search) -> None:
        self.libraries = libraries
        self.kind, self.rule = search.kind, search.keep
        self.against = bool(search.against)
        protected = (*search.reference, *search.against)
        self.all: dict[Path, Photo] = {}
        self.shown: list[list[Photo]] = [[] for _ in libraries]  # of each library, the first of each content
        self.rows: dict[str, int] = {}
        self.copies: list[list[Photo]] = []  # of each row
        for library, shown in zip(libraries, self.shown, strict=True):
            for photo in library.photos():
                if photo.path not in self.all and _below(photo.path, folders):
                    self._add(photo, shown)
        self.protected = {photo.path for photo in self.all.values() if _below(photo.path, protected)}
        self.guarded = np.array([any(copy.path in self.protected for copy in copies) for copies in self.copies], bool)
        self.details: dict[int, Details] = {}  # of rows that were looked at closely

    def _add(self, photo: Photo, shown: list[Photo]) -> None:
        self.all[photo.path] = photo
        if photo.content not in self.rows:
            self.rows[photo.content] = len(self.copies)
            self.copies.append([])
            shown.append(photo)
        self.copies[self.rows[photo.content]].append(photo)

    def features(self, extractor: Extractor) -> scoring.Everywhere:
        """What was extracted of each row."""
        return scoring.Everywhere(
            [library.features(extractor, shown) for library, shown in zip(self.libraries, self.shown, strict=True)]
        )

    def verdicts(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """What persons said: pairs of rows that are the same, and pairs that are not.

        That two photos show the same space says nothing of whether they are copies.
        """
        told: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        for library in self.libraries:
            for pair, same in library.verdicts().items():
                rows = sorted(self.rows[content] for content in pair if content in self.rows)
                if len(rows) == 2 and not (
                    same and (self.kind != "same-space" or self._barred(*np.array(rows)[:, None])[0])
                ):
                    told[not same].append((rows[0], rows[1]))
        return told

    def equal(self) -> Candidates:
        """Rows with the same pixels; they are decoded in full only where size and hash agree."""
        photos = [copies[0] for copies in self.copies]
        alike = _alike(photos)
        self._look_at(alike)
        pixels: dict[str, list[int]] = {}
        for row in alike:
            pixels.setdefault(self.details[row].pixels, []).append(row)
        return from_pairs([(i, j) for rows in pixels.values() for i in rows for j in rows if i < j], len(photos))

    def unless_barred(self, score: ScorePairs) -> ScorePairs:
        """The score, but none for pairs that must not share a group."""

        def allowed_score(first: Rows, second: Rows) -> Scores:
            allowed = ~self._barred(first, second)
            scores = np.full(len(first), -1.0)
            scores[allowed] = score(first[allowed], second[allowed])
            return scores

        return allowed_score

    def _barred(self, first: Rows, second: Rows) -> npt.NDArray[np.bool_]:
        """Two photos that nothing may happen to, or with `against` two that are not to be compared."""
        barred: npt.NDArray[np.bool_] = self.guarded[first] & self.guarded[second]
        if self.against:
            barred |= ~(self.guarded[first] | self.guarded[second])
        return barred

    def look_closely(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Learn the sharpness of photos that would otherwise be equally good to keep."""
        ties = [(i, j) for i, j in pairs if is_tied(self.copies[i][0], self.copies[j][0], self.rule)]
        self._look_at(sorted({int(row) for tie in ties for row in tie}))

    def _look_at(self, rows: Sequence[int]) -> None:
        new = [row for row in rows if row not in self.details]
        for library, shown in zip(self.libraries, self.shown, strict=True):
            ours = {photo.content for photo in shown}
            mine = [row for row in new if self.copies[row][0].content in ours]
            self.details |= zip(mine, library.details([self.copies[row][0] for row in mine]), strict=True)

    def order(self) -> Rows:
        """The rows, the one with the best photo to keep first."""
        best = [min(self.standing(photo).key() for photo in copies) for copies in self.copies]
        return np.array(sorted(range(len(best)), key=best.__getitem__), np.intp)

    def standing(self, photo: Photo) -> Standing:
        details = self.details.get(self.rows[photo.content])
        return standing(photo, details.sharpness if details else 0.0, photo.path in self.protected, self.rule)

    def row(self, photo: Photo) -> int:
        return self.rows[photo.content]

    def why(self, photo: Photo, keeper: Photo, kind: str) -> str:
        """Why a photo is a duplicate of the keeper, and is not kept itself."""
        if photo.path in self.protected:
            return PROTECTED
        joined = "same bytes" if photo.content == keeper.content else _JOINED[kind]
        return f"{joined}, {why_removed(self.standing(photo), self.standing(keeper), self.rule)}"

    def copied(self) -> set[int]:
        """Rows with several photos."""
        return {row for row, copies in enumerate(self.copies) if len(copies) > 1}

    def relations(self, first: Rows, second: Rows, scores: Scores) -> list[str]:
        """Of pairs of rows the strictest kind that joins them."""
        if self.kind == "exact":
            return ["exact"] * len(first)
        if self.kind == "same-space":
            sketches = self.features(near.Sketches())
            scores = score_in_blocks(first, second, lambda i, j: scoring.same_shot(sketches, i, j))
        sizes = np.array([(copies[0].width, copies[0].height) for copies in self.copies])
        likely = (scores >= _LIKELY_EQUAL) & (sizes[first] == sizes[second]).all(1)
        self._look_at(np.unique([first[likely], second[likely]]).tolist())
        kinds: list[str] = np.where((self.kind == "near") | (scores >= near.THRESHOLD), "near", "same-space").tolist()
        for place in np.flatnonzero(likely).tolist():
            if self.details[first[place]].pixels == self.details[second[place]].pixels:
                kinds[place] = "exact"
        return kinds


def _alike(photos: Sequence[Photo]) -> list[int]:
    """The photos that share their size with another and look much like it."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for number, photo in enumerate(photos):
        sizes.setdefault((photo.width, photo.height), []).append(number)
    alike: list[int] = []
    for numbers in sizes.values():
        hashes = np.array([photos[number].hash for number in numbers], np.uint64)
        for start in range(0, len(numbers), _BLOCK):
            near_ones = (hamming(hashes[start : start + _BLOCK], hashes) <= _ALIKE).sum(1)
            alike += [numbers[start + place] for place in np.flatnonzero(near_ones > 1)]
    return sorted(alike)
