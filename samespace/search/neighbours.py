"""Find each photo's nearest neighbours: the few whose vectors point nearly its way, without a table of all pairs.

Vectors are rounded to whole multiples of 1/4000. Products of such rows are whole numbers below 2**24, which float32
adds without error in any order: the same vectors give the same neighbours with any number of threads, equal photos
tie exactly, and ties are settled alike each time. It puts cosines off by about 0.0001 (0.0005 is rare); candidates
need no better: ask with a floor a little below what is wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from samespace.base.arrays import Flags, Floats, Ints, blocks, ranks
from samespace.base.errors import SameSpaceError

MOST = 32
EXACT = 20_000  # photos: up to so many, each is compared with all others
VISITS = 6_500  # photos: beyond, each is compared with about so many that lie its way

STEPS = 4000  # a whole number a step of a vector's entries; STEPS**2 leaves room below 2**24
TOP = 1 << 24
ROWS, COLUMNS = 2048, 1024  # of one matrix product: it and what it reads stay in a CPU's caches
READY = 1 << 27  # numbers: half a gigabyte
PENDING = 1 << 22  # found pairs that wait before they are cut to each photo's best

Ids = npt.NDArray[np.int32]
Rounded = npt.NDArray[np.int16]
Whole = npt.NDArray[np.integer]
Cells = npt.NDArray[np.uint16]


class Candidates(NamedTuple):
    """Every photo's neighbours: photo i's are `ids[starts[i]:starts[i + 1]]`, rising, and their cosines beside them.

    Symmetric: j is listed with i if and only if i is with j, so a list may be longer than its share of best ones.
    """

    starts: Ints  # (N + 1,)
    ids: Ids
    cosines: Floats
    full: Flags  # (N,) where more reached the floor than are listed
    lowest: int  # the floor as a product of rounded rows
    rounded: Rounded  # (N, D)

    def listed(self, i: int) -> tuple[Ids, Floats]:
        """Return the neighbours of photo i that are kept in its list, and their cosines."""
        part = slice(self.starts[i], self.starts[i + 1])
        return self.ids[part], self.cosines[part]

    def of(self, i: int) -> tuple[Ids, Floats]:
        """Return all neighbours of photo i: its list or, if that was cut, what a product with all photos finds."""
        return next(self.each([i]))

    def each(self, photos: Sequence[int]) -> Iterator[tuple[Ids, Floats]]:
        """Yield `of` each of a few photos; those with full lists share one pass over all rows."""
        full = np.array([i for i in photos if self.full[i]], np.intp)
        found = dict(zip(full.tolist(), self._all_near(full), strict=True)) if len(full) else {}
        for i in photos:
            yield found[i] if i in found else self.listed(i)

    def _all_near(self, photos: Ints) -> list[tuple[Ids, Floats]]:
        mine = self.rounded[photos].astype(np.float32)
        parts = [_products_from(mine, self.rounded, rows, self.lowest) for rows in blocks(len(self.rounded), ROWS)]
        place, ids, products = (np.concatenate(part) for part in zip(*parts, strict=True))
        near = []
        for at, photo in enumerate(photos):
            those = (place == at) & (ids != photo)
            near.append((ids[those].astype(np.int32), _cosines(products[those])))
        return near


def find_neighbours(
    vectors: npt.NDArray[np.floating],
    floor: float,
    most: int = MOST,
    exact: int = EXACT,
    visits: int = VISITS,
) -> Candidates:
    """Return the neighbours of each row of `vectors` (N, D), unit length: cosine `floor` or more, `most` at most.

    Up to `exact` rows nothing is missed. Beyond, rows are sorted into cells and each looks through those nearest to
    it, about `visits` rows: the cost per row is then the same however many there are, and a few pairs are missed,
    the more the lower their cosine.
    """
    rounded = _round(vectors)
    lowest = round(floor * STEPS**2)
    full = np.zeros(len(rounded), np.bool_)
    limits = np.full(len(rounded), lowest - 1, np.float32)
    found = _BestPairs(limits, full, most)
    meetings = _all_meet(len(rounded)) if len(rounded) <= exact else _cells_meet(rounded, visits)
    # As float32 at once where that is no burden: rows take part in many products.
    ready = rounded.astype(np.float32) if rounded.size <= READY else rounded
    for visitors, residents in meetings:
        found.add(_best_of_block(ready, visitors, residents, found))
    starts, ids, products = _both_ways(*found.best(), len(rounded))
    return Candidates(starts, ids, _cosines(products), full, lowest, rounded)


class Near(NamedTuple):
    """Queries, rows that lie near them, and their cosines: (n,) each."""

    queries: Ints
    rows: Ints
    cosines: Floats


class Among:
    """Unit vectors (N, D) to find those among that lie near others: exactly up to EXACT of them, else most of them."""

    def __init__(self, vectors: npt.NDArray[np.floating], exact: int = EXACT, visits: int = VISITS) -> None:
        self._rounded, self._visits = _round(vectors), visits
        self._cells = _cells(self._rounded) if len(vectors) > exact else None

    def near(self, queries: npt.NDArray[np.floating], floor: float, most: int) -> Near:
        """Return the rows at a cosine of `floor` or more from each query (Q, D), at most the `most` nearest."""
        lowest = round(floor * STEPS**2)
        found = [_empty_near(), *(self._near(rows, queries[rows], lowest) for rows in blocks(len(queries), ROWS))]
        places, rows, products = (np.concatenate(part) for part in zip(*found, strict=True))
        order = np.lexsort((rows, -products, places))
        best = order[ranks(places[order]) < most]
        return Near(places[best], rows[best], _cosines(products[best]))

    def _near(self, block: slice, queries: npt.NDArray[np.floating], lowest: int) -> tuple[Ints, Ints, Floats]:
        rounded = _round(queries)
        found = [_empty_near()]
        if self._cells is None:
            mine = rounded.astype(np.float32)
            found += [_products_from(mine, self._rounded, rows, lowest) for rows in blocks(len(self._rounded), COLUMNS)]
        else:
            nearest = _nearest(rounded, self._cells.centres, self._cells.reach(self._visits))
            visitors = _visitors(nearest, np.array([len(each) for each in self._cells.residents]), self._visits)
            for some, residents in zip(visitors, self._cells.residents, strict=True):
                place, at, product = _products_from(
                    rounded[some].astype(np.float32), self._rounded[residents], slice(0, len(residents)), lowest
                )
                found.append((some[place], residents[at], product))
        places, rows, products = (np.concatenate(part) for part in zip(*found, strict=True))
        return places + block.start, rows, products


def _empty_near() -> tuple[Ints, Ints, Floats]:
    return np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.float32)


def with_pairs(candidates: Candidates, first: Ints, second: Ints, cosines: Floats) -> Candidates:
    """Return candidates and more pairs, each once; of pairs that are listed already, the listed cosine stays."""
    count = len(candidates.full)
    listed = np.repeat(np.arange(count), np.diff(candidates.starts)), candidates.ids.astype(np.intp)
    key = np.concatenate([listed[0], first, second]) * count + np.concatenate([listed[1], second, first])
    values = np.concatenate([candidates.cosines, cosines, cosines])
    key, where = np.unique(key, return_index=True)  # the first of equals
    starts = np.searchsorted(key, np.arange(count + 1) * count)
    return candidates._replace(starts=starts, ids=(key % max(count, 1)).astype(np.int32), cosines=values[where])


def from_pairs(pairs: Sequence[tuple[int, int]], count: int) -> Candidates:
    """Return known pairs, each once, as the neighbours of `count` photos, all equally near."""
    first, second = np.array(pairs, np.int32).reshape(-1, 2).T
    starts, ids, products = _both_ways(first, second, np.full(len(first), STEPS**2, np.int32), count)
    nothing = np.empty((count, 0), np.int16)
    return Candidates(starts, ids, _cosines(products), np.zeros(count, np.bool_), 0, nothing)


def _round(vectors: npt.NDArray[np.floating]) -> Rounded:
    rounded = np.empty(vectors.shape, np.int16)
    for rows in blocks(len(vectors), ROWS):
        block = vectors[rows].astype(np.float32)
        lengths = np.square(block).sum(1)
        if not (np.abs(lengths - 1) < 0.02).all():
            worst = rows.start + int(np.argmax(~(np.abs(lengths - 1) < 0.02)))
            raise SameSpaceError(f"vector {worst} is not of length 1: neighbours are found among unit vectors only")
        rounded[rows] = np.rint(block * STEPS)
    return rounded


def _cosines(products: npt.NDArray[np.floating] | Whole) -> Floats:
    return np.minimum(products / STEPS**2, 1).astype(np.float32)


def _products_from(mine: Floats, rounded: Rounded, rows: slice, lowest: int) -> tuple[Ints, Ints, Floats]:
    """Return the products with these rows that reach `lowest`: (place in `mine`, row, product)."""
    products = mine @ rounded[rows].astype(np.float32).T
    place, column = np.nonzero(products >= lowest)
    return place, column + rows.start, products[place, column]


# Choosing which photos to compare


Meeting = tuple[Ints, Ints]  # visitors, and the residents that each of them is compared with; both rising


def _all_meet(count: int) -> Iterator[Meeting]:
    everyone = np.arange(count)
    for visitors in blocks(count, ROWS):
        yield everyone[visitors], everyone


def _cells_meet(rounded: Rounded, visits: int) -> Iterator[Meeting]:
    """Yield, cell by cell, its visitors and its residents."""
    cells = _cells(rounded)
    reach = cells.reach(visits)
    nearest = np.concatenate([_nearest(rounded[rows], cells.centres, reach) for rows in blocks(len(rounded), ROWS)])
    sizes = np.array([len(each) for each in cells.residents])
    for cell, visitors in enumerate(_visitors(nearest, sizes, visits)):
        for some in blocks(len(visitors), ROWS):
            yield visitors[some], cells.residents[cell]


class _Cells(NamedTuple):
    """Directions, and the rows that lie nearest to each."""

    centres: Rounded
    residents: list[Ints]

    def reach(self, visits: int) -> int:
        """Return how many cells hold `visits` rows: twice as many as cells of equal size."""
        count = sum(map(len, self.residents))
        return min(len(self.centres), 2 * visits * len(self.centres) // count + 1)


def _cells(rounded: Rounded) -> _Cells:
    centres = _find_centres(rounded)
    homes = np.concatenate([_nearest(rounded[rows], centres, 1)[:, 0] for rows in blocks(len(rounded), ROWS)])
    sizes = np.bincount(homes, minlength=len(centres))
    return _Cells(centres, np.split(np.argsort(homes, kind="stable"), np.cumsum(sizes)[:-1]))


def _nearest(block: Rounded, centres: Rounded, reach: int) -> Cells:
    """Return the `reach` nearest cells of each photo, the nearest first."""
    # Distance and cell in one number, so that sorting settles ties.
    keys = (TOP - _affinities(block, centres).astype(np.int64)) << 16 | np.arange(len(centres))
    return np.sort(np.partition(keys, reach - 1)[:, :reach]).astype(np.uint16)  # the low 16 bits: the cell


def _visitors(nearest: Cells, sizes: Ints, visits: int) -> list[Ints]:
    """Return each cell's visitors: a photo goes to its nearest cells until it has met `visits` residents."""
    photos, cells = [], []
    for rows in blocks(len(nearest), ROWS):
        met = sizes[nearest[rows]]
        photo, rank = np.nonzero(np.cumsum(met, axis=1) - met < visits)
        photos.append((photo + rows.start).astype(np.int32))
        cells.append(nearest[rows][photo, rank])
    cell = np.concatenate(cells)
    by_cell = np.concatenate(photos)[np.argsort(cell, kind="stable")].astype(np.intp)
    return np.split(by_cell, np.cumsum(np.bincount(cell, minlength=len(sizes)))[:-1])


def _find_centres(rounded: Rounded) -> Rounded:
    """Return about 3·√N directions with photos around each: k-means on a sample, the same at every run."""
    count = min(int(3 * len(rounded) ** 0.5), 1 << 16)
    random = np.random.default_rng(0)
    sample = rounded[np.sort(random.permutation(len(rounded))[: 20 * count])]
    centres = sample[np.sort(random.permutation(len(sample))[:count])]
    for _ in range(5):
        centres = _move(centres, sample)
    return centres


def _move(centres: Rounded, sample: Rounded) -> Rounded:
    """Move each centre to the middle of those nearest to it; drop one that is nearest to none."""
    homes = np.concatenate([_affinities(sample[rows], centres).argmax(1) for rows in blocks(len(sample), ROWS)])
    order = np.argsort(homes, kind="stable")
    firsts = np.unique(homes[order], return_index=True)[1]
    sums = np.add.reduceat(sample[order], firsts, axis=0, dtype=np.int64).astype(np.float64)
    lengths = np.sqrt(np.square(sums).sum(1, keepdims=True))
    return np.rint(sums * (STEPS / np.maximum(lengths, 1))).astype(np.int16)


def _affinities(block: Rounded, centres: Rounded) -> Floats:
    return block.astype(np.float32) @ centres.astype(np.float32).T


# Keeping the best pairs


class _BestPairs:
    """The pairs found so far, cut to each photo's best whenever many have come together."""

    def __init__(self, limits: Floats, full: Flags, most: int) -> None:
        self.limits = limits  # (N,) what a product must exceed to matter to a photo
        self.full = full
        self.most = most
        self.pairs: list[tuple[Ids, Ids, Ids]] = []  # photo, neighbour, product
        self.waiting = 0

    def add(self, pairs: tuple[Ids, Ids, Ids]) -> None:
        self.pairs.append(pairs)
        self.waiting += len(pairs[0])
        if self.waiting > PENDING:
            self.pairs = [self.best()]
            self.waiting = 0

    def best(self) -> tuple[Ids, Ids, Ids]:
        """Return each photo's best pairs, by photo, then falling product, then neighbour."""
        empty = (np.zeros(0, np.int32),) * 3
        photos, neighbours, products = (np.concatenate(part) for part in zip(empty, *self.pairs, strict=True))
        order = np.lexsort((neighbours, photos.astype(np.int64) << 25 | (TOP - products)))
        photos, neighbours, products = photos[order], neighbours[order], products[order]
        rank = ranks(photos)
        self.close(photos[rank >= self.most], photos[rank == self.most - 1], products[rank == self.most - 1])
        kept = rank < self.most
        return photos[kept], neighbours[kept], products[kept]

    def close(self, cut: Whole, last: Whole, products: Whole) -> None:
        """Note that photos whose lists were `cut` want only pairs that beat the `last` one kept."""
        self.full[cut] = True
        beaten = self.full[last]
        self.limits[last[beaten]] = np.maximum(self.limits[last[beaten]], products[beaten])


def _best_of_block(rows: Rounded | Floats, visitors: Ints, residents: Ints, found: _BestPairs) -> tuple[Ids, Ids, Ids]:
    """Return the pairs that visitors make with the residents, at most the best: (photo, neighbour, product)."""
    mine = rows[visitors].astype(np.float32, copy=False)
    keys = np.zeros(0, np.int64)  # visitor's place, product and resident in one number: sorting it sorts by all three
    for block in blocks(len(residents), COLUMNS):
        those = residents[block]
        products = mine @ rows[those].astype(np.float32, copy=False).T
        place, column = np.divmod(np.flatnonzero(products > found.limits[visitors, None]), len(those))
        product = products[place, column].astype(np.int64)
        new = place << 52 | (TOP - product) << 27 | those[column]
        keys = np.concatenate([keys, new[visitors[place] != those[column]]])
        if len(keys) > 4 * found.most * len(visitors):
            keys = _cut(keys, visitors, found)
    place, product, neighbour = _unpack(keys)
    return visitors[place].astype(np.int32), neighbour.astype(np.int32), product.astype(np.int32)


def _unpack(keys: Ints) -> tuple[Ints, Ints, Ints]:
    return keys >> 52, TOP - (keys >> 27 & (1 << 25) - 1), keys & (1 << 27) - 1


def _cut(keys: Ints, visitors: Ints, found: _BestPairs) -> Ints:
    keys = np.sort(keys)
    place, product, _ = _unpack(keys)
    rank = ranks(place)
    last = rank == found.most - 1
    found.close(visitors[place[rank >= found.most]], visitors[place[last]], product[last])
    return keys[rank < found.most]


def _both_ways(photos: Ids, neighbours: Ids, products: Ids, count: int) -> tuple[Ints, Ids, Ids]:
    """Return each pair as seen from both its photos, once: (starts, neighbours, products), by photo and neighbour."""
    key = np.concatenate([photos, neighbours]).astype(np.int64) << 32 | np.concatenate([neighbours, photos])
    order = np.argsort(key)
    key = key[order]
    once = order[np.diff(key, prepend=-1) != 0]
    key = key[np.diff(key, prepend=-1) != 0]
    starts = np.searchsorted(key, np.arange(count + 1, dtype=np.int64) << 32)
    return starts.astype(np.int64), (key & 0xFFFFFFFF).astype(np.int32), np.concatenate([products, products])[once]
