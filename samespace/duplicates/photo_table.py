"""The photos to compare, as a table: a row for each content, which stands for all files with these bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from samespace.base.arrays import Array, Flags, Ints
from samespace.base.decode import is_seen_in_part
from samespace.base.hashes import hamming
from samespace.base.photos import Details
from samespace.duplicates.group import DedupeOptions, Verdicts
from samespace.duplicates.scores import JoinedFeatures
from samespace.library.library import Library, Photo
from samespace.library.read_photos import Extractor
from samespace.search.kept_points import partners_of
from samespace.search.neighbours import Candidates, from_pairs
from samespace.search.pair_scores import ScorePairs

# A JPEG decoded at a fraction of its size hashes a little differently from the same pixels in another format.
_ALIKE = 10  # bits that differ at most

_BLOCK = 1024

RowPairs = list[tuple[int, int]]
Columns = tuple[Ints, Ints]  # pairs of rows: (n,) of the one, and (n,) of the other


class PhotoTable:
    """The photos of some libraries that lie in some folders, each file once, as N rows of equal content."""

    def __init__(
        self,
        libraries: Sequence[Library],
        folders: Sequence[Path],
        options: DedupeOptions,
        listed: Callable[[Library], Sequence[Photo]] = Library.photos,
    ) -> None:
        self.kind, self.rule, self.thorough = options.kind, options.keep, options.thorough
        self.marks_all = options.mark_all
        self.against, self._prefer = bool(options.against), options.prefer
        self.all: dict[Path, Photo] = {}
        self.rows: dict[str, int] = {}  # by content
        self.copies: list[list[Photo]] = []  # the photos of each row
        self._by_library: list[list[Photo]] = [[] for _ in libraries]  # the first photo of each row that it brought
        here = _Below(folders)
        for library, brought in zip(libraries, self._by_library, strict=True):
            for photo in listed(library):
                if photo.path not in self.all and here.holds(photo.path):
                    self._add(photo, brought)
        protected = _Below((*options.reference, *options.against))
        self.protected = {path for path in self.all if protected.holds(path)}
        self.guarded = np.array([any(copy.path in self.protected for copy in copies) for copies in self.copies], bool)
        self.row_of = np.array([self.rows[photo.content] for photo in self.all.values()], np.intp)
        self.numbers = {path: number for number, path in enumerate(self.all)}
        self.details: dict[int, Details] = {}  # of rows that were decoded in full
        self._inodes: dict[Path, object] = {}

    def __len__(self) -> int:
        return len(self.copies)

    def _add(self, photo: Photo, brought: list[Photo]) -> None:
        self.all[photo.path] = photo
        if photo.content not in self.rows:
            self.rows[photo.content] = len(self.copies)
            self.copies.append([])
            brought.append(photo)
        self.copies[self.rows[photo.content]].append(photo)

    def firsts(self) -> list[Photo]:
        """Return the first photo of each row."""
        return [copies[0] for copies in self.copies]

    def features(self, libraries: Sequence[Library], extractor: Extractor) -> JoinedFeatures:
        """Return what was extracted from each row."""
        return JoinedFeatures(
            [library.features(extractor, brought) for library, brought in zip(libraries, self._by_library, strict=True)]
        )

    def partners(self, libraries: Sequence[Library]) -> Callable[[Ints, Ints], Ints]:
        """Return a function that counts the points that pairs of rows share."""
        brought = {photo.content: number for number, some in enumerate(self._by_library) for photo in some}
        firsts = [(brought[photo.content], photo) for photo in self.firsts()]
        count = partners_of(libraries, firsts)
        if not self.thorough:
            return count
        from samespace.model.learnt_points import LearntPoints  # which imports torch
        from samespace.search.second_look import looking_twice

        return looking_twice(count, libraries, firsts, LearntPoints())

    def decode(self, libraries: Sequence[Library], rows: Sequence[int]) -> None:
        """Learn the details of these rows, each of which its library decodes in full once."""
        new = [row for row in rows if row not in self.details]
        for library, brought in zip(libraries, self._by_library, strict=True):
            contents = {photo.content for photo in brought}
            mine = [row for row in new if self.copies[row][0].content in contents]
            self.details |= zip(mine, library.details([self.copies[row][0] for row in mine]), strict=True)

    def same_pixels(self, libraries: Sequence[Library]) -> Candidates:
        """Return the pairs of rows with the same pixels; only rows of equal size and similar hash are decoded."""
        firsts = self.firsts()
        alike = [row for row in _alike(firsts) if not is_seen_in_part(firsts[row].path)]
        self.decode(libraries, alike)
        by_pixels: dict[str, list[int]] = {}
        for row in alike:
            by_pixels.setdefault(self.details[row].pixels, []).append(row)
        pairs = [(i, j) for rows in by_pixels.values() for i in rows for j in rows if i < j]
        return from_pairs(pairs, len(self))

    def verdict_pairs(self, verdicts: Verdicts) -> tuple[RowPairs, RowPairs]:
        """Return the pairs of rows judged the same, and those judged different.

        Two photos judged to show the same space need not be copies: only a search for same-space duplicates heeds that.
        """
        same_pairs: RowPairs = []
        different_pairs: RowPairs = []
        for pair, same in verdicts.items():
            rows = sorted(self.rows[content] for content in pair if content in self.rows)
            if len(rows) < 2:
                continue
            first, second = rows
            if not same:
                different_pairs.append((first, second))
            elif self.kind == "same-space" and not self.barred(np.array([first]), np.array([second]))[0]:
                same_pairs.append((first, second))
        return same_pairs, different_pairs

    def barred(self, first: Ints, second: Ints) -> Flags:
        """Return which pairs must not share a group: both are protected or, with `against`, neither is."""
        both = self.guarded[first] & self.guarded[second]
        if not self.against:
            return both
        neither = ~(self.guarded[first] | self.guarded[second])
        return both | neither

    def unless_barred(self, score: ScorePairs) -> ScorePairs:
        """Return the same score, but -1 for pairs that must not share a group."""

        def allowed_score(first: Ints, second: Ints) -> Array:
            allowed = ~self.barred(first, second)
            scores = np.full(len(first), -1.0)
            scores[allowed] = score(first[allowed], second[allowed])
            return scores

        return allowed_score

    def preference(self, photo: Photo) -> int:
        """Return the number of the first preferred folder that a photo lies in; how many there are, if in none."""
        if not self._prefer:
            return 0
        numbers = (number for number, folder in enumerate(self._prefer) if is_below(photo.path, [folder]))
        return next(numbers, len(self._prefer))

    def inode(self, photo: Photo) -> object:
        """Return what hard links to one file, and no other photos, share; each file is asked once."""
        if photo.path not in self._inodes:
            try:
                status = photo.path.stat()
            except OSError:
                self._inodes[photo.path] = photo.path
            else:
                self._inodes[photo.path] = (status.st_dev, status.st_ino)
        return self._inodes[photo.path]


def is_below(path: Path, folders: Sequence[Path]) -> bool:
    """Return whether a path lies in one of these folders, by name alone."""
    return any(path.is_relative_to(folder) for folder in folders)


class _Below:
    """Answer as `is_below` does, of many files: each folder that they lie in is asked once."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._known: dict[str, bool] = {}

    def holds(self, file: Path) -> bool:
        """Return whether a file lies in one of the folders."""
        if not self._folders:
            return False
        folder = os.path.dirname(file)  # noqa: PTH120 - a path takes longer to make
        if folder not in self._known:
            self._known[folder] = is_below(Path(folder), self._folders)
        return self._known[folder]


def look_alike(photos: PhotoTable, first: Ints, second: Ints) -> Flags:
    """Return which pairs of rows share their size and have nearly the same hash."""
    facts = np.array([(photo.width, photo.height, photo.hash) for photo in photos.firsts()], np.uint64).reshape(-1, 3)
    width, height, hashes = facts[first].T ^ facts[second].T
    differing_bits = np.unpackbits(hashes[:, None].copy().view(np.uint8), axis=1).sum(1)
    return (width == 0) & (height == 0) & (differing_bits <= _ALIKE)


def _alike(photos: Sequence[Photo]) -> list[int]:
    """Return the photos that share their size with another and have nearly the same hash, by number."""
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
