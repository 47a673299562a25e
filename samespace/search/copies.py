"""Find copies of photos, turned, mirrored, framed and cropped ones too, and score how surely two are of one shot.

Outlines find candidates, aligned sketches rank them, and a closer look at the files decides: one difference that a
person would see makes two photos no copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from samespace.base import progress
from samespace.base.arrays import Array, Doubles, Flags, Floats, Ints, blocks
from samespace.base.one_thread import one_thread_each
from samespace.base.photos import SIZE, UnreadablePhoto, in_threads, read_pixels
from samespace.search import same_shot
from samespace.search.neighbours import Among, Candidates, Near, find_neighbours, with_pairs
from samespace.search.pair_scores import Remembrance, Scored
from samespace.search.same_shot import SIDE, THRESHOLD, Sketch, Sketches, aligned, edges
from samespace.search.views import (
    TURNS,
    WHOLE,
    Box,
    View,
    boxes_without_border,
    outlines_of_parts,
    parts,
    place_in_photo,
    sketch_of,
    turned_outlines,
)

if TYPE_CHECKING:
    from samespace.search.closer_look import Difference

LOOK_TWICE = 0.3  # from here to THRESHOLD a person should look: another moment of the scene, or a page with a line more
REMEMBRANCE = Remembrance(Sketches(), "copies-5")

# How alike outlines of a copy are at least. Of 180 crops that keep half the area 99 of 100 reach the first, and of
# 32,000 pairs of other photos 5 in 1,000. Turned copies reach 0.95.
_PART, _TURNED = 0.48, 0.6
_MOST = 8  # photos that may show one part of a photo, or it turned
_WORTH_A_LOOK = 0.5  # the score of sketches from which files are opened
_ANOTHER_BORDER = SIDE // 8  # lines: what passes for a border may be the blank part of a page
_AT_ONCE = 64  # photos whose parts are outlined together: 3 MB
_PHOTOS = 4096

Take = Callable[[str, Ints], npt.NDArray[Any]]  # the name of a field and n photos → the field of each, (n, *shape)


class _Way(NamedTuple):
    """Views of two photos, the one with the lower number first, and how alike they are."""

    cosine: float
    views: tuple[View, View]


class Copies:
    """The candidates for copies among N photos, and the score of any two of them."""

    def __init__(self, take: Take, paths: Sequence[Path] | None, count: int) -> None:
        """Compare `count` photos by what `take` gives of their `Sketches`; files are looked at if there are `paths`."""
        self._take, self._paths, self._count = take, paths, count
        self._ways: dict[tuple[int, int], _Way] = {}
        # Copies found so far of which the first shows more than the second; True if only the first is in colour.
        self.wider: dict[tuple[int, int], bool] = {}

    @cached_property
    def _boxes(self) -> Doubles:
        """Return the box inside each photo's border, (N, 4)."""
        boxes = [self._boxes_of(np.arange(rows.start, rows.stop)) for rows in blocks(self._count, _PHOTOS)]
        return np.concatenate([np.empty((0, 4)), *boxes])

    def _boxes_of(self, photos: Ints) -> Doubles:
        return boxes_without_border(self._take("grey", photos)).astype(np.float64)

    @cached_property
    def _bordered(self) -> Flags:
        return (self._boxes != WHOLE).any(1)

    def framed(self, photos: Ints) -> Flags:
        """Return which of these photos, (n,), have a plain border on all four sides."""
        left, top, right, bottom = self._boxes_of(photos).T
        return (left > 0) & (top > 0) & (right < SIDE) & (bottom < SIDE)

    @one_thread_each()
    def find(self, known: Scored | None = None, fresh: Flags | None = None) -> Candidates:
        """Return the pairs that may be copies, and remember for their scores how one shows the other.

        Turned and cropped copies are searched among all photos for those that are `fresh` (N,), all by default; those
        of others are among the `known` pairs.
        """
        base = self._base_outlines()
        found = find_neighbours(base, same_shot.FLOOR)
        near = [
            self._wholes(base),
            *self._seen_otherwise(base, np.ones(len(base), np.bool_) if fresh is None else fresh),
        ]
        if known is not None:
            worth = known.scores >= LOOK_TWICE
            floor = np.full(int(worth.sum()), same_shot.FLOOR, np.float32)
            near.append(Near(known.first[worth], known.second[worth], floor))
        first, second, cosines = (np.concatenate(part) for part in zip(*near, strict=True))
        others = first != second
        return with_pairs(found, first[others], second[others], cosines[others])

    def __call__(self, first: Ints, second: Ints) -> Doubles:
        """Return how surely each pair is of one shot, (n,) of 0 to 1: copies reach `same_shot.THRESHOLD`."""
        scores, there = self._score_sketches(first, second)
        unseen = scores < _WORTH_A_LOOK
        scores[unseen] = np.minimum(scores[unseen], LOOK_TWICE - 0.01)
        if self._paths is None:
            return scores
        pairs = np.flatnonzero(~unseen).tolist()
        ways = [(self._paths[first[pair]], self._paths[second[pair]], there[pair]) for pair in pairs]
        looks = progress.over(in_threads(_look, ways), "looking closer", len(ways))
        for pair, look in zip(pairs, looks, strict=True):
            if look.share:
                scores[pair] = min(scores[pair], THRESHOLD - 0.01) * (1 - look.share)
            if any(look.shows_more):
                one, other = int(first[pair]), int(second[pair])
                self.wider[(one, other) if look.shows_more[0] else (other, one)] = look.in_colour
        return scores

    # Candidates

    def _base_outlines(self) -> Floats:
        """Return the outlines of photos without their borders: (N, 256)."""
        outlines = self._take("outline", np.arange(len(self._boxes))).astype(np.float32)
        framed = np.flatnonzero(self._bordered)
        for rows in blocks(len(framed), _PHOTOS):
            outlines[framed[rows]] = same_shot.outline(self._inside(framed[rows]))
        return outlines

    def _inside(self, photos: Ints) -> Sketch:
        """Return the sketches of photos without their borders: (n, 64, 64)."""
        grey = np.array(self._take("grey", photos))
        for place in np.flatnonzero(self._bordered[photos]):
            grey[place] = sketch_of(grey[place], self._plain_view(photos[place]))
        return grey

    def _plain_view(self, photo: int) -> View:
        left, top, right, bottom = self._boxes[photo].tolist()
        return View((left, top, right, bottom))

    def _wholes(self, base: Floats) -> Near:
        """Return pairs that are alike with the border of one: what passes for it may be sky."""
        framed, others = np.flatnonzero(self._bordered), np.flatnonzero(~self._bordered)
        if not len(framed) or not len(others):
            return Near(framed[:0], framed[:0], np.empty(0, np.float32))
        near = Among(base[others]).near(self._take("outline", framed).astype(np.float32), same_shot.FLOOR, _MOST)
        return Near(framed[near.queries], others[near.rows], near.cosines)

    def _seen_otherwise(self, base: Floats, fresh: Flags) -> Iterator[Near]:
        """Yield pairs in which one photo shows the other turned, mirrored or in part, and note how, for scoring."""
        every, new = np.arange(len(fresh)), np.flatnonzero(fresh)
        for seers, seen in ((new, every), (np.flatnonzero(~fresh), new)):
            if not len(seers) or not len(seen):
                continue
            among = Among(base[seen])
            work = [seers[rows] for rows in blocks(len(seers), _AT_ONCE)]
            outlined = in_threads(lambda photos: self._outlines_otherwise(base, photos), work)
            for photos, views in zip(work, progress.over(outlined, "looking for crops", len(work)), strict=True):
                for number, outlines in enumerate(views):
                    near = among.near(outlines, _TURNED if number < len(TURNS) else _PART, _MOST)
                    near = _better(base, Near(photos[near.queries], seen[near.rows], near.cosines))
                    self._note(near, number)
                    yield near

    def _outlines_otherwise(self, base: Floats, photos: Ints) -> Floats:
        """Return the outlines of photos turned in seven ways, and of each of their parts: (7 + P, n, 256)."""
        turned = [turned_outlines(base[photos], turn) for turn in TURNS]
        return np.concatenate([turned, outlines_of_parts(edges(self._inside(photos)))])

    def _note(self, near: Near, number: int) -> None:
        """Note how alike photos are by the view of this number, if no other makes them more alike."""
        for seer, other, cosine in zip(near.queries.tolist(), near.rows.tolist(), near.cosines.tolist(), strict=True):
            pair = min(seer, other), max(seer, other)
            if pair in self._ways and self._ways[pair].cosine >= cosine:
                continue
            view = self._plain_view(seer)
            if number < len(TURNS):
                view = view._replace(turn=TURNS[number])
            else:
                view = View(_inner(view.box, parts()[number - len(TURNS)]))
            views = view, self._plain_view(other)
            self._ways[pair] = _Way(cosine, views if seer < other else views[::-1])

    # Scores

    def _score_sketches(self, first: Ints, second: Ints) -> tuple[Doubles, list[Doubles]]:
        """Return the score of the sketches of pairs, (n,), and how the second lies over the first, (3, 3) each."""
        ways = [self._ways_of(*pair) for pair in zip(first.tolist(), second.tolist(), strict=True)]
        pairs = np.repeat(np.arange(len(ways)), [len(some) for some in ways])
        views = [seen for some in ways for seen in some]
        sides = []
        for side, photos in enumerate((first, second)):
            grey = np.array(self._take("grey", photos[pairs]))
            for number, seen in enumerate(views):
                if seen[side] != View():
                    grey[number] = sketch_of(grey[number], seen[side])
            sides.append(grey)
        found, maps = aligned(*sides)
        scores, best = np.full(len(first), -1.0), np.zeros(len(first), np.intp)
        for number, pair in enumerate(pairs):
            if found[number] > scores[pair]:
                scores[pair], best[pair] = found[number], number
        return scores, [_there(views[number][0], views[number][1], maps[number]) for number in best.tolist()]

    def _ways_of(self, first: int, second: int) -> list[tuple[View, View]]:
        """Return the ways to look at a pair: without borders, with theirs if they differ, and as it was found."""
        ways = [(self._plain_view(first), self._plain_view(second))]
        one_has_none = self._bordered[first] != self._bordered[second]
        if one_has_none or abs(self._boxes[first] - self._boxes[second]).max() > _ANOTHER_BORDER:
            ways.append((View(), View()))
        found = self._ways.get((min(first, second), max(first, second)))
        if found:
            ways.append(found.views if first < second else found.views[::-1])
        return ways


def _better(base: Floats, near: Near) -> Near:
    """Return the pairs that are more alike this way than as they are."""
    better = near.cosines > np.einsum("nd,nd->n", base[near.queries], base[near.rows])
    return Near(*(column[better] for column in near))


def compare_photos(path0: Path, path1: Path) -> float:
    """Return how surely two photo files are copies of one shot, 0 to 1; raise SameSpaceError if one cannot be read."""
    pixels = np.stack([read_pixels(path, SIZE) for path in (path0, path1)])
    fields = Sketches().extract(pixels)
    copies = Copies(lambda name, rows: fields[name][rows], (path0, path1), 2)
    copies.find()
    return float(copies(np.array([0]), np.array([1]))[0])


def copies_in_words(score: float) -> str:
    """Return what a score says of two photos."""
    if score >= THRESHOLD:
        return "same shot"
    return "look twice" if score >= LOOK_TWICE else "different shots"


def _look(way: tuple[Path, Path, Doubles]) -> Difference:
    """Return how two photos differ; by half, for somebody to look at, if one cannot be read."""
    from samespace.search.closer_look import Difference, difference  # which imports OpenCV

    try:
        return difference(*way)
    except UnreadablePhoto:
        return Difference(0.5)


def _inner(box: Box, part: Box) -> Box:
    """Return the box in a photo of a part of one of its boxes."""
    left, top, right, bottom = box
    wide, high = (right - left) / SIDE, (bottom - top) / SIDE
    return left + part[0] * wide, top + part[1] * high, left + part[2] * wide, top + part[3] * high


def _there(view0: View, view1: View, laid: Array) -> Doubles:
    """Return the map (3, 3) from places in the first photo to those in the second, 0 to 1 both ways."""
    between = np.vstack([laid, [0, 0, 1]]).astype(np.float64)
    return place_in_photo(view1) @ between @ np.linalg.inv(place_in_photo(view0))
