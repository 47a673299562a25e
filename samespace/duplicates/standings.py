"""How well each photo of a table stands by the rule for what to keep, with and without its sharpness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from samespace.base.arrays import Flags, Ints
from samespace.base.damage import decodes_with_warnings, have_nearly_equal_bytes
from samespace.base.origin import UNKNOWN
from samespace.duplicates.beside import Beside
from samespace.duplicates.keeper import Seen, Standing, is_tied, standing
from samespace.duplicates.origins import origins_of
from samespace.duplicates.photo_table import Columns, PhotoTable, look_alike
from samespace.library.library import Library


class Standings:
    """The standing of every photo, and which rows are tied, hold the same pixels, or are plain: (N,) each.

    `damaged` gives for a row those with nearly its bytes but other pixels: one may be damaged, and a person must say
    which. `suspicions` says what is wrong with each of them.
    Made once it is known which pairs of rows may share a group; libraries are not read after that.
    """

    def __init__(
        self,
        photos: PhotoTable,
        libraries: Sequence[Library],
        similar: Columns,
        candidates: Columns,
        framed: Callable[[Ints], Flags] | None = None,
        greys: Collection[int] = (),
    ) -> None:
        """Learn the origins of similar rows; decode those that are equally good so far, and candidates that look alike.

        `similar` holds each pair both ways, `candidates` once. `framed` returns which of some rows have a frame; of
        `greys` a copy is in colour.
        """
        self._photos = photos
        origins = origins_of(photos, similar)
        seen = {
            path: Seen(photo, origins.get(photos.rows[photo.content], UNKNOWN)) for path, photo in photos.all.items()
        }
        self.beside = Beside({path for path, each in seen.items() if each.origin.has_video})
        grouped = self._may_share_a_group(similar)
        with_frame = self._with_frame(grouped, framed)
        for path in grouped:
            kinds = [partner.is_raw for partner in self.beside.pictures(path)]
            row = photos.rows[seen[path].photo.content]
            seen[path] = seen[path]._replace(
                has_raw=True in kinds,
                has_video=False in kinds or seen[path].origin.has_video,
                is_framed=row in with_frame,
                is_grey=row in greys,
            )
        self.by_facts = {path: self._standing(each) for path, each in seen.items()}
        self.ties = self._ties()
        nearly_equal = self._nearly_equal(*similar)
        photos.decode(libraries, self._worth_decoding(similar, candidates, nearly_equal))
        self.by_sharpness = self.by_facts | {
            photo.path: self._standing(seen[photo.path]._replace(sharpness=details.sharpness))
            for row, details in photos.details.items()
            for photo in photos.copies[row]
        }
        self.places = self._places()
        self.pixels = self._pixels()
        self.plain = self._plain(sorted({*similar[0].tolist()}))
        self.damaged = self._damaged(nearly_equal)
        self.suspicions = {row: self._suspicion(row) for row in self.damaged}

    def _standing(self, seen: Seen) -> Standing:
        photos, photo = self._photos, seen.photo
        return standing(seen, photos.rule, photo.path in photos.protected, photos.preference(photo))

    def _may_share_a_group(self, similar: Columns) -> list[Path]:
        """Return the photos of similar rows, and those with copies."""
        rows = set(similar[0].tolist())
        copies = enumerate(self._photos.copies)
        return [photo.path for row, photos in copies if row in rows or len(photos) > 1 for photo in photos]

    def _with_frame(self, paths: Sequence[Path], framed: Callable[[Ints], Flags] | None) -> set[int]:
        """Return the rows of these photos that have a frame."""
        if not framed or not paths:
            return set()
        rows = np.array(sorted({self._photos.rows[self._photos.all[path].content] for path in paths}), np.intp)
        return {*rows[framed(rows)].tolist()}

    def _ties(self) -> Ints:
        """Number the rows; those with one number are equally good to keep but for their sharpness: (N,)."""
        firsts = self._photos.firsts()
        facts = [self.by_facts[photo.path] for photo in firsts]
        order = sorted(range(len(firsts)), key=lambda row: facts[row].values)
        apart = [not is_tied(facts[one], facts[other], self._photos.rule) for one, other in pairwise(order)]
        ties = np.zeros(len(firsts), np.intp)
        ties[order[1:]] = np.cumsum(apart)
        return ties

    def _nearly_equal(self, first: Ints, second: Ints) -> list[tuple[int, int]]:
        """Return the pairs of rows with the same width and height and nearly the same bytes, as damage leaves them."""
        firsts = self._photos.firsts()
        facts = [(photo.width, photo.height, photo.size) for photo in firsts]
        width, height, size = np.array(facts, np.int64).reshape(-1, 3).T
        close = (width[first] == width[second]) & (height[first] == height[second]) & (first < second)
        close &= abs(size[first] - size[second]) <= 0.1 * size[first]
        pairs = zip(first[close].tolist(), second[close].tolist(), strict=True)
        return [pair for pair in pairs if have_nearly_equal_bytes(*(firsts[row].path for row in pair))]

    def _worth_decoding(
        self, similar: Columns, candidates: Columns, nearly_equal: Sequence[tuple[int, int]]
    ) -> list[int]:
        first, second = similar
        tied = self.ties[first] == self.ties[second]
        one, other = candidates
        grouped = np.isin(one, first) & np.isin(other, first)
        alike = grouped & look_alike(self._photos, one, other)
        rows = np.concatenate([first[tied], second[tied], one[alike], other[alike]])
        return sorted({*rows.tolist(), *(row for pair in nearly_equal for row in pair)})

    def _damaged(self, nearly_equal: Sequence[tuple[int, int]]) -> dict[int, set[int]]:
        damaged: dict[int, set[int]] = {}
        for one, other in nearly_equal:
            if self.pixels[one] != self.pixels[other]:
                damaged.setdefault(one, set()).add(other)
                damaged.setdefault(other, set()).add(one)
        return damaged

    def _suspicion(self, row: int) -> str:
        """Say what is wrong with a row that may be damaged."""
        if decodes_with_warnings(self._photos.copies[row][0].path):
            return "probably damaged: it decodes with warnings"
        return "nearly equal files, different pixels: one may be damaged"

    def _places(self) -> Ints:
        """Rank all photos by both standings together, the best to keep first: (2, photos)."""
        keys = [standing.key() for standings in (self.by_facts, self.by_sharpness) for standing in standings.values()]
        places = np.empty(len(keys), np.intp)
        places[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
        return places.reshape(2, -1)

    def _pixels(self) -> Ints:
        """Number the rows; those with one number hold the same pixels, and -1 was not decoded: (N,)."""
        numbers: dict[str, int] = {}
        pixels = np.full(len(self._photos), -1)
        for row, details in self._photos.details.items():
            pixels[row] = numbers.setdefault(details.pixels, len(numbers))
        return pixels

    def _plain(self, grouped: Sequence[int]) -> Flags:
        """Mark the rows, grouped or with several copies, that hold nothing protected and no hard links: (N,)."""
        copies = self._photos.copies
        asked = sorted({*grouped, *(row for row, photos in enumerate(copies) if len(photos) > 1)})
        names = Counter(self._photos.inode(photo) for row in asked for photo in copies[row])
        plain = np.zeros(len(copies), np.bool_)
        for row in asked:
            plain[row] = all(names[self._photos.inode(photo)] == 1 for photo in copies[row])
        return plain & ~self._photos.guarded

    def of(self, path: Path, sharpness: bool) -> Standing:
        """Return how a photo stands; its sharpness counts if asked for and known."""
        return (self.by_sharpness if sharpness else self.by_facts)[path]

    def have_same_pixels(self, first: Ints, second: Ints) -> Flags:
        """Return which pairs of rows were both decoded and hold the same pixels."""
        return (self.pixels[first] == self.pixels[second]) & (self.pixels[first] >= 0)
