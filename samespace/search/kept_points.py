"""Find the points of photos once, and keep them in the library: most photos never need any."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from samespace.base import progress
from samespace.base.arrays import Array, Doubles, Ints, blocks
from samespace.base.errors import SameSpaceError
from samespace.base.photos import in_threads
from samespace.library.library import Library, Photo
from samespace.library.read_photos import AT_ONCE, Rows
from samespace.model.points import Points, count_partners, find_points
from samespace.search.pair_scores import Remembrance, score_and_remember

PARTNERS = Remembrance(Points(), "partners-1")
PAIRS = 2048  # whose counts are remembered together


def partners_of(libraries: Sequence[Library], photos: Sequence[tuple[int, Photo]]) -> Callable[[Ints, Ints], Ints]:
    """Return a function that counts the points which pairs of N photos share, (n,); libraries remember the counts.

    Photos are given by the number of their library. A photo that has gone shares none, and that is not remembered.
    """

    def count_new(first: Ints, second: Ints) -> Doubles:
        rows = np.unique(np.concatenate([first, second])).tolist()
        points: dict[int, Array | None] = {}
        for number, library in enumerate(libraries):
            mine = [row for row in rows if photos[row][0] == number]
            points |= zip(mine, _points(library, [photos[row][1] for row in mine]), strict=True)
        there = np.array([points[row] is not None for row in rows])
        both = there[np.searchsorted(rows, first)] & there[np.searchsorted(rows, second)]
        found = np.full(len(first), np.nan)
        found[both] = count_partners(lambda row: np.asarray(points[row]), first[both], second[both])
        return found

    contents = [photo.content for _, photo in photos]
    score = score_and_remember(libraries, contents, PARTNERS, count_new, PAIRS)
    return lambda first, second: np.nan_to_num(score(first, second)).astype(np.int64)


def find_all_points(library: Library) -> None:
    """Find the points of every photo in a library, and keep them there: what later comparisons would take time for."""
    with library.hold():
        library.forget_damaged(Points())
        rows = library.rows(Points())
        for _ in _find(library, [photo for photo in library.photos() if photo.content not in rows]):
            pass


def kept_points(library: Library, photo: Photo) -> Array | None:
    """Return the points that a library keeps of a photo, (BYTES,), or None if it keeps none or they are damaged."""
    try:
        return library.features(Points(), [photo]).take("points")[0]
    except SameSpaceError:
        return None


def _points(library: Library, photos: Sequence[Photo]) -> list[Array | None]:
    """Return the points of photos, (BYTES,) each, None for one that has gone; those that are found now are kept."""
    if library.is_writable:
        library.forget_damaged(Points())
    rows = library.rows(Points())
    found: dict[str, Array] = {}
    for new in _find(library, [photo for photo in photos if photo.content not in rows]):
        found |= new
    kept = [photo for photo in photos if photo.content in rows]
    features = library.features(Points(), kept).take("points")
    found |= {photo.content: points for photo, points in zip(kept, features, strict=True)}
    return [found.get(photo.content) for photo in photos]


def _find(library: Library, photos: Sequence[Photo]) -> Iterator[dict[str, Array]]:
    """Yield the points of photos that a library has none of, by content, some at a time, once they are kept."""
    with progress.bar("looking closely", len(photos), disable=not photos) as bar:
        for some in blocks(len(photos), AT_ONCE):
            block = photos[some]
            seen = zip(block, in_threads(find_points, [photo.path for photo in block]), strict=True)
            new = {photo.content: points for photo, points in seen if points is not None}
            if new and library.is_writable:
                library.keep(Points(), Rows(list(new), {"points": np.stack(list(new.values()))}))
            yield new
            bar.update(len(block))
