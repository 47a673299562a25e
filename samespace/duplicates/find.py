"""Which photos are duplicates of each other, which of them to keep, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samespace.base.arrays import Array, Flags, Ints
from samespace.base.errors import SameSpaceError
from samespace.base.hashes import hamming
from samespace.base.photos import Details
from samespace.duplicates import scores as scoring
from samespace.duplicates.group import KINDS, Found, Group, Member, Search, Verdicts, threshold_of
from samespace.duplicates.grouping import Similar, by_components, by_dbscan, by_keeper, listed, weakest
from samespace.duplicates.keeper import PROTECTED, Standing, is_tied, standing, why_kept, why_removed
from samespace.library.library import Library, Photo
from samespace.library.read_photos import Extractor
from samespace.search import same_shot
from samespace.search.neighbours import Candidates, from_pairs
from samespace.search.pair_scores import Remembered, ScorePairs, recalled_scores, remember_scores

if TYPE_CHECKING:
    from samespace.model.saved import Model


# A JPEG decoded at a fraction of its size hashes a little differently from the same pixels in another format.
_ALIKE = 10

_BLOCK = 1024
_NOBODY = np.empty(0, np.intp)
_JOINED = {"exact": "same pixels", "near": "same photo", "same-space": "same space"}

Pairs = list[tuple[int, int]]


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
    comparison = Comparison(libraries, folders, search, extractor, model)
    found = comparison.at()
    comparison.remember(libraries)
    return found


class Comparison:
    """Photos that were compared once, to be grouped at any threshold from the search's on without comparing again.

    The libraries are asked while it is made, by the thread that makes it; after that any thread may use it, several at
    once. It sees no later scan: make another after one.
    """

    def __init__(
        self,
        libraries: Sequence[Library],
        folders: Sequence[Path],
        search: Search,
        extractor: Extractor | None = None,
        model: Model | None = None,
    ) -> None:
        """As `find_duplicates`, but the search's threshold is the lowest that may be asked for."""
        self.search = search
        self.lowest = threshold_of(search)
        self.verdicts = _verdicts(libraries)
        self._photos = photos = _Photos(libraries, folders, search)
        self._unreadable = [
            error for library in libraries for error in library.unreadable() if _below(error.path, folders)
        ]
        candidates, score = _scoring(photos, libraries, search.kind, self.lowest, extractor, model)
        known = None if search.kind == "exact" else recalled_scores(libraries, list(photos.rows))
        self._recalled = len(known.scores) if known else 0
        self._score = Remembered(score, len(photos.copies), known if search.kind == "near" else None)
        self._shot = self._score
        if search.kind == "same-space" and photos.all:
            sketches = photos.features(libraries, same_shot.Sketches())
            self._shot = Remembered(
                lambda one, other: scoring.same_shot(sketches, one, other), len(photos.copies), known
            )
        first, second = pairs = listed(candidates)
        allowed = ~photos.barred(first, second)
        self._score(first[allowed], second[allowed])  # all in one go: from here on they are remembered
        self._similar = Similar(candidates, photos.unless_barred(self._score), self.lowest)
        same, _ = photos.told(self.verdicts)
        told = self._similar.at(self.lowest, same)
        photos.look_closely(libraries, told.first, told.second, pairs)

    def at(
        self, threshold: float | None = None, verdicts: Verdicts | None = None, without: Collection[Path] = ()
    ) -> Found:
        """The duplicates at a threshold, the lowest if none is given, by these verdicts or those the libraries had.

        Photos `without` are left out. Of two that only a verdict given later joins it is not known which is sharper.
        """
        threshold = self._checked(threshold)
        same, different = self._photos.told(self.verdicts if verdicts is None else verdicts)
        left, clusters = self._clusters(threshold, same, different, without)
        groups = self._groups(left, clusters, {frozenset(pair) for pair in same})
        return Found(
            self.search.kind,
            threshold,
            self.search.grouping,
            int(left.copied.sum()),
            groups,
            sum(not member.keep for group in groups for member in group.members),
            left.bytes_freed(groups),
            self._unreadable,
        )

    def remember(self, libraries: Sequence[Library]) -> None:
        """Let the libraries that were compared keep what was found out of pairs, for the next comparison to know."""
        scored = self._shot.known
        if self.search.kind != "exact" and len(scored.scores) > self._recalled:
            for library in libraries:
                remember_scores(library, list(self._photos.rows), scored)

    def counts(
        self, thresholds: Sequence[float], verdicts: Verdicts | None = None, without: Collection[Path] = ()
    ) -> list[int]:
        """How many groups `at` finds at each of these thresholds."""
        same, different = self._photos.told(self.verdicts if verdicts is None else verdicts)
        each = (self._clusters(self._checked(threshold), same, different, without) for threshold in thresholds)
        return [left.count(clusters) for left, clusters in each]

    def _checked(self, threshold: float | None) -> float:
        threshold = threshold_of(self.search._replace(threshold=self.lowest if threshold is None else threshold))
        if threshold < self.lowest:
            raise SameSpaceError(f"photos were compared from {self.lowest:g} on, and {threshold:g} is lower: give more")
        return threshold

    def _clusters(
        self, threshold: float, same: Pairs, different: Pairs, without: Collection[Path]
    ) -> tuple[_Left, list[Ints]]:
        """Rows that belong together, the best first, and those with several photos that belong with no other."""
        similar = self._similar.at(threshold, same, different)
        left = _Left(self._photos, similar, frozenset(without))
        order = left.order()
        if self.search.grouping == "components":
            clusters = by_components(order, similar)
        elif self.search.grouping == "dbscan":
            clusters = by_dbscan(order, similar, self.search.min_samples)
        else:
            clusters = by_keeper(order, similar)
        alone = np.setdiff1d(np.flatnonzero(left.copied > 1), np.concatenate([_NOBODY, *clusters]))
        return left, [*clusters, *alone[:, None]]

    def _groups(self, left: _Left, clusters: Sequence[Ints], same: set[frozenset[int]]) -> list[Group]:
        """Clusters with all copies of each row; without those that leave nothing to remove."""
        keepers = np.concatenate([_NOBODY, *(np.repeat(cluster[0], len(cluster) - 1) for cluster in clusters)])
        others = np.concatenate([_NOBODY, *(cluster[1:] for cluster in clusters)])
        scores = self._score(keepers, others)
        scores[[frozenset(pair) in same for pair in zip(keepers.tolist(), others.tolist(), strict=True)]] = 1
        joined = iter(zip(self._kinds(keepers, others), scores.tolist(), strict=True))
        lowest = iter(weakest([cluster for cluster in clusters if len(cluster) > 2], self._score))
        groups = []
        for cluster in clusters:
            rows = {row: ("exact", 1.0) if row == cluster[0] else next(joined) for row in cluster.tolist()}
            _, last = rows[int(cluster[-1])]
            groups.append(left.group(rows, next(lowest).score if len(cluster) > 2 else last))
        return sorted(
            (group for group in groups if group),
            key=lambda group: (-left.bytes_freed([group]), bytes(group.members[0].photo.path)),
        )

    def _kinds(self, first: Ints, second: Ints) -> list[str]:
        """Of pairs of rows the strictest kind that joins them."""
        kinds = np.full(len(first), self.search.kind, object)
        if self.search.kind == "same-space":
            kinds[self._shot(first, second) >= same_shot.THRESHOLD] = "near"
        kinds[self._photos.have_same_pixels(first, second)] = "exact"
        found: list[str] = kinds.tolist()
        return found


def _verdicts(libraries: Sequence[Library]) -> dict[frozenset[str], bool]:
    """What persons said, in whichever library; where they contradict each other the photos differ."""
    verdicts: dict[frozenset[str], bool] = {}
    for library in libraries:
        for pair, same in library.verdicts().items():
            verdicts[pair] = same and verdicts.get(pair, True)
    return verdicts


def _scoring(
    photos: _Photos,
    libraries: Sequence[Library],
    kind: str,
    threshold: float,
    extractor: Extractor | None,
    model: Model | None,
) -> scoring.Scoring:
    if kind == "exact" or not photos.all:
        return scoring.Scoring(photos.equal(libraries), lambda first, _: np.ones(len(first)))
    if kind == "near":
        return scoring.of_shots(photos.features(libraries, same_shot.Sketches()))
    assert extractor is not None, "same-space needs features"
    features = photos.features(libraries, extractor)
    return scoring.of_model(features, model) if model else scoring.of_features(features, threshold)


def _below(path: Path, folders: Sequence[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _inode(photo: Photo) -> object:
    try:
        status = photo.path.stat()
    except OSError:
        return photo.path
    return status.st_dev, status.st_ino


class _Photos:
    """The photos to look through, and what is known of them; a row stands for all that hold the same bytes."""

    def __init__(self, libraries: Sequence[Library], folders: Sequence[Path], search: Search) -> None:
        self.kind, self.rule = search.kind, search.keep
        self.against = bool(search.against)
        self.all: dict[Path, Photo] = {}
        self.shown: list[list[Photo]] = [[] for _ in libraries]  # of each library, the first of each content
        self.rows: dict[str, int] = {}
        self.copies: list[list[Photo]] = []  # of each row
        for library, shown in zip(libraries, self.shown, strict=True):
            for photo in library.photos():
                if photo.path not in self.all and _below(photo.path, folders):
                    self._add(photo, shown)
        protected = (*search.reference, *search.against)
        self.protected = {photo.path for photo in self.all.values() if _below(photo.path, protected)}
        self.guarded = np.array([any(copy.path in self.protected for copy in copies) for copies in self.copies], bool)
        self.row_of = np.array([self.rows[photo.content] for photo in self.all.values()], np.intp)
        self.numbers = {path: number for number, path in enumerate(self.all)}
        self.details: dict[int, Details] = {}  # of rows that were looked at closely
        self.inodes: dict[Path, object] = {}

    def _add(self, photo: Photo, shown: list[Photo]) -> None:
        self.all[photo.path] = photo
        if photo.content not in self.rows:
            self.rows[photo.content] = len(self.copies)
            self.copies.append([])
            shown.append(photo)
        self.copies[self.rows[photo.content]].append(photo)

    def features(self, libraries: Sequence[Library], extractor: Extractor) -> scoring.Everywhere:
        """What was extracted of each row."""
        return scoring.Everywhere(
            [library.features(extractor, shown) for library, shown in zip(libraries, self.shown, strict=True)]
        )

    def told(self, verdicts: Verdicts) -> tuple[Pairs, Pairs]:
        """What persons said: pairs of rows that are the same, and pairs that are not.

        That two photos show the same space says nothing of whether they are copies.
        """
        told: tuple[Pairs, Pairs] = ([], [])
        for pair, same in verdicts.items():
            rows = sorted(self.rows[content] for content in pair if content in self.rows)
            if len(rows) == 2 and not (
                same and (self.kind != "same-space" or self.barred(*np.array(rows)[:, None])[0])
            ):
                told[not same].append((rows[0], rows[1]))
        return told

    def equal(self, libraries: Sequence[Library]) -> Candidates:
        """Rows with the same pixels; they are decoded in full only where size and hash agree."""
        photos = [copies[0] for copies in self.copies]
        alike = _alike(photos)
        self._look_at(libraries, alike)
        pixels: dict[str, list[int]] = {}
        for row in alike:
            pixels.setdefault(self.details[row].pixels, []).append(row)
        return from_pairs([(i, j) for rows in pixels.values() for i in rows for j in rows if i < j], len(photos))

    def unless_barred(self, score: ScorePairs) -> ScorePairs:
        """The score, but none for pairs that must not share a group."""

        def allowed_score(first: Ints, second: Ints) -> Array:
            allowed = ~self.barred(first, second)
            scores = np.full(len(first), -1.0)
            scores[allowed] = score(first[allowed], second[allowed])
            return scores

        return allowed_score

    def barred(self, first: Ints, second: Ints) -> Flags:
        """Two photos that nothing may happen to, or with `against` two that are not to be compared."""
        barred: Flags = self.guarded[first] & self.guarded[second]
        if self.against:
            barred |= ~(self.guarded[first] | self.guarded[second])
        return barred

    def look_closely(
        self, libraries: Sequence[Library], first: Ints, second: Ints, candidates: tuple[Ints, Ints]
    ) -> None:
        """Learn all that groups of these pairs of rows will ask for: the last time that a library is needed.

        Decoded in full are photos that are otherwise equally good to keep, and candidates with the same pixels perhaps.
        """
        unlooked = {path: self._standing(photo, 0.0) for path, photo in self.all.items()}
        self.ties = self._ties(unlooked)
        tied = self.ties[first] == self.ties[second]
        one, other = candidates
        alike = self._are_alike(one, other) & np.isin(one, first) & np.isin(other, first)
        close = [first[tied], second[tied], one[alike], other[alike]]
        self._look_at(libraries, np.unique(np.concatenate(close)).tolist())
        looked = {
            photo.path: self._standing(photo, details.sharpness)
            for row, details in self.details.items()
            for photo in self.copies[row]
        }
        self.standings = unlooked, unlooked | looked
        self.places = self._places()
        self.pixels = self._pixels()
        self.plain = self._plain(np.unique(first).tolist())  # pairs come both ways

    def _standing(self, photo: Photo, sharpness: float) -> Standing:
        return standing(photo, sharpness, photo.path in self.protected, self.rule)

    def _ties(self, standings: Mapping[Path, Standing]) -> Ints:
        """(N,): rows with the same number can be told apart by a look at their sharpness alone."""
        photos = [copies[0] for copies in self.copies]
        order = sorted(range(len(photos)), key=lambda row: standings[photos[row].path].values)
        apart = [not is_tied(photos[one], photos[other], self.rule) for one, other in pairwise(order)]
        ties = np.zeros(len(photos), np.intp)
        ties[order[1:]] = np.cumsum(apart)
        return ties

    def _are_alike(self, first: Ints, second: Ints) -> Flags:
        """Whether the photos of each pair of rows share their size and look much alike."""
        seen = np.array([(copies[0].width, copies[0].height, copies[0].hash) for copies in self.copies], np.uint64)
        width, height, differing = seen.reshape(-1, 3)[first].T ^ seen.reshape(-1, 3)[second].T
        bits = np.unpackbits(differing[:, None].copy().view(np.uint8), axis=1).sum(1)
        alike: Flags = (width == 0) & (height == 0) & (bits <= _ALIKE)
        return alike

    def _look_at(self, libraries: Sequence[Library], rows: Sequence[int]) -> None:
        new = [row for row in rows if row not in self.details]
        for library, shown in zip(libraries, self.shown, strict=True):
            ours = {photo.content for photo in shown}
            mine = [row for row in new if self.copies[row][0].content in ours]
            self.details |= zip(mine, library.details([self.copies[row][0] for row in mine]), strict=True)

    def _places(self) -> Ints:
        """(2, photos): where each stands among all, the best to keep first: if not looked at, and if looked at."""
        keys = [standings[path].key() for standings in self.standings for path in self.all]
        places = np.empty(len(keys), np.intp)
        places[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
        return places.reshape(2, -1)

    def _pixels(self) -> Ints:
        """(N,): rows with the same number hold the same pixels; -1 where nobody looked."""
        numbers: dict[str, int] = {}
        pixels = np.full(len(self.copies), -1)
        for row, details in self.details.items():
            pixels[row] = numbers.setdefault(details.pixels, len(numbers))
        return pixels

    def _plain(self, rows: Sequence[int]) -> Flags:
        """(N,): which of these rows, and of those with several photos, hold nothing protected and no hard links."""
        asked = [row for row, copies in enumerate(self.copies) if len(copies) > 1]
        asked = sorted({*rows, *asked})
        names = Counter(self.inode(photo) for row in asked for photo in self.copies[row])
        plain = np.zeros(len(self.copies), np.bool_)
        plain[asked] = [all(names[self.inode(photo)] == 1 for photo in self.copies[row]) for row in asked]
        plain &= ~self.guarded
        return plain

    def have_same_pixels(self, first: Ints, second: Ints) -> Flags:
        """Whether both of each pair of rows were looked at, and hold the same pixels."""
        same: Flags = (self.pixels[first] == self.pixels[second]) & (self.pixels[first] >= 0)
        return same

    def inode(self, photo: Photo) -> object:
        """What file it is a name of, asked for once: names of one file, hard links, share it."""
        if photo.path not in self.inodes:
            self.inodes[photo.path] = _inode(photo)
        return self.inodes[photo.path]


class _Left:
    """The photos that are left, as they stand at one threshold."""

    def __init__(self, photos: _Photos, similar: Similar, without: Collection[Path]) -> None:
        self.photos = photos
        self.without = without
        self.here = np.ones(len(photos.all), np.bool_)
        self.here[[photos.numbers[path] for path in without if path in photos.numbers]] = False
        self.copied = np.bincount(photos.row_of[self.here], minlength=similar.count)  # photos of each row
        # A look at the sharpness counts where it tells two apart that clear this threshold, and nowhere else: what
        # comes of it is then the same whatever else was looked at.
        first, second = similar.first, similar.second
        looked = (self.copied > 0) & (photos.pixels >= 0)
        tied = looked[first] & looked[second] & (photos.ties[first] == photos.ties[second])
        self.looked = np.zeros(similar.count, np.bool_)
        self.looked[first[tied]] = True
        self._looked: list[bool] = self.looked.tolist()

    def order(self) -> Ints:
        """The rows, the one with the best photo to keep first."""
        rows = self.photos.row_of[self.here]
        places = np.where(self.looked[rows], self.photos.places[1, self.here], self.photos.places[0, self.here])
        ranked = rows[np.argsort(places)]
        _, first = np.unique(ranked, return_index=True)
        order: Ints = ranked[np.sort(first)]
        return order

    def count(self, clusters: Sequence[Ints]) -> int:
        """How many of these make a group: all with a plain row, and what a closer look says of the others."""
        if not clusters:
            return 0
        starts = np.cumsum([0, *(len(cluster) for cluster in clusters[:-1])])
        plain = np.logical_or.reduceat(self.photos.plain[np.concatenate(clusters)], starts)
        sure = plain & (not self.photos.against)
        return int(sure.sum()) + sum(bool(self._ranked(clusters[at].tolist())) for at in np.flatnonzero(~sure).tolist())

    def _ranked(self, rows: Iterable[int]) -> list[Photo]:
        """The photos of these rows, the one to keep first; none if that leaves nothing to remove."""
        photos = [copy for row in rows for copy in self.photos.copies[row] if copy.path not in self.without]
        keeper, *rest = sorted(photos, key=lambda photo: self._standing(photo).key())
        # A hard link is the same file by another name: there is nothing to win.
        kept, protected = self.photos.inode(keeper), self.photos.protected
        rest = [photo for photo in rest if self.photos.inode(photo) != kept]
        if all(photo.path in protected for photo in rest) or (self.photos.against and keeper.path not in protected):
            return []
        return [keeper, *rest]

    def group(self, joined: Mapping[int, tuple[str, float]], lowest: float) -> Group | None:
        """A group of all copies of these rows, each with the kind and score that join it to the keeper's row."""
        ranked = self._ranked(joined)
        if not ranked:
            return None
        keeper, *rest = ranked
        why = why_kept(self._standing(keeper), self._standing(rest[0]), self.photos.rule)
        members = [Member(keeper, 1.0, True, why)]
        for photo in rest:
            kind, score = joined[self.photos.rows[photo.content]]
            members.append(Member(photo, score, photo.path in self.photos.protected, self._why(photo, keeper, kind)))
        members[1:] = sorted(members[1:], key=lambda member: (-member.score, bytes(member.photo.path)))
        return Group(max((kind for kind, _ in joined.values()), key=KINDS.index), tuple(members), lowest)

    def _standing(self, photo: Photo) -> Standing:
        return self.photos.standings[self._looked[self.photos.rows[photo.content]]][photo.path]

    def _why(self, photo: Photo, keeper: Photo, kind: str) -> str:
        """Why a photo is a duplicate of the keeper, and is not kept itself."""
        if photo.path in self.photos.protected:
            return PROTECTED
        joined = "same bytes" if photo.content == keeper.content else _JOINED[kind]
        return f"{joined}, {why_removed(self._standing(photo), self._standing(keeper), self.photos.rule)}"

    def bytes_freed(self, groups: Sequence[Group]) -> int:
        """What removing the duplicates frees: nothing for one that is another name, a hard link, of what is kept."""
        members = [(self.photos.inode(member.photo), member) for group in groups for member in group.members]
        kept = {inode for inode, member in members if member.keep}
        gone = {inode: member.photo.size for inode, member in members if not member.keep}
        return sum(size for inode, size in gone.items() if inode not in kept)


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
