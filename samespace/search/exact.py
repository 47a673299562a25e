"""Find the vectors nearest a query, exactly, by comparing it with all.

Vectors are rows of length 1, and how alike two are is their cosine. Nothing here knows of photos.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from threading import Lock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from samespace.base.arrays import Array, Flags, Floats, Ints, blocks, ranks
from samespace.base.one_thread import one_thread_each

QUERIES = 256  # looked up in one pass over the vectors
PANEL = 1 << 19  # numbers, of vectors or of scores, that a thread works on at once: they stay in a CPU's caches
WORTHWHILE = 1 << 22  # multiplications: sharing fewer between threads costs more than it saves
WIDE = 1 << 17  # numbers widened to single precision at once
PENDING = 1 << 20  # rows that wait for exact cosines, at most


class Nearest(NamedTuple):
    """The `k` vectors nearest each query, best first, of equals the lowest row first."""

    rows: Ints  # (Q, k), -1 if there are fewer
    cosines: Floats  # (Q, k), -inf there


class Exact:
    """Finds the nearest vectors by comparing with all, a block at a time. Any thread may ask."""

    def __init__(self, vectors: Array) -> None:
        """Take (N, D) rows of length 1, float16 or float32; a memory-mapped file is read anew each time."""
        self._vectors = np.asarray(vectors)  # as a plain array, of which rows are taken with less ado
        # Sums of D products are off by D/2**24 at most, so by twice that the order of two may be wrong.
        self._slack = 2 * vectors.shape[1] / 2**24

    def __len__(self) -> int:
        return len(self._vectors)

    def vectors(self, rows: Ints) -> Floats:
        """Return some of the vectors, (n, D), in memory."""
        return self._vectors[rows].astype(np.float32)

    def nearest(self, queries: Array, k: int, allowed: Flags | None = None) -> Nearest:
        """Return the `k` nearest to each query (Q, D), also of length 1, among the rows that are `allowed`, (N,)."""
        queries = np.ascontiguousarray(queries, np.float32)
        parts = [self._nearest(queries[some], k, allowed) for some in blocks(len(queries), QUERIES)]
        return Nearest(*map(np.concatenate, zip(_nothing(0, k), *parts, strict=True)))

    def _nearest(self, queries: Floats, k: int, allowed: Flags | None) -> Nearest:
        columns = queries.T
        candidates = _Candidates(self, queries, k, self._slack)

        def compare(rows: slice) -> None:
            scores = self._products(rows, columns)
            if allowed is not None:
                scores[~allowed[rows]] = -np.inf
            candidates.add(scores, rows.start)

        panels = [rows for rows in self._panels(len(queries)) if allowed is None or allowed[rows].any()]
        with one_thread_each():
            for _ in self._pool.map(compare, panels):
                pass
        return candidates.best()

    def _panels(self, queries: int) -> list[slice]:
        """Cut the rows so that their scores stay in a thread's cache, and no thread is without work."""
        rows = max(WORTHWHILE // (queries * self._vectors.shape[1]), len(self) // (4 * self._workers))
        panels = -(-len(self) // max(1, min(rows, PANEL // queries)))
        if panels > 1:
            panels = -(-panels // self._workers) * self._workers
        return list(blocks(len(self), max(1, -(-len(self) // max(1, panels)))))

    def _products(self, rows: slice, columns: Floats) -> Floats:
        """Return the products (n, Q) of some vectors with queries (D, Q); half precision is widened block by block."""
        vectors = self._vectors[rows]
        if vectors.dtype == np.float32:
            return vectors @ columns
        scores = np.empty((len(vectors), columns.shape[1]), np.float32)
        wide = np.empty((max(1, WIDE // vectors.shape[1]), vectors.shape[1]), np.float32)
        for some in blocks(len(vectors), len(wide)):
            np.matmul(widen(vectors[some], wide[: some.stop - some.start]), columns, out=scores[some])
        return scores

    @cached_property
    def _workers(self) -> int:
        return os.cpu_count() or 1

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        """Return one thread a core, each with blocks of its own: threads that share a block wait for each other."""
        return ThreadPoolExecutor(self._workers)

    def best_of(self, queries: Floats, places: Ints, rows: Ints, k: int) -> Nearest:
        """Return the `k` nearest of each query (Q, D) among a few rows: `rows[i]` is one for `queries[places[i]]`."""
        cosines, wide = np.empty(len(rows), np.float32), queries.astype(np.float64)
        for some in blocks(len(rows), max(1, PANEL // self._vectors.shape[1])):
            # In double precision, so that equal vectors tie wherever they lie.
            asked = wide[places[some]] if len(wide) > 1 else wide
            cosines[some] = np.einsum("nd,nd->n", self._vectors[rows[some]].astype(np.float64), asked)
        order = np.lexsort((rows, -cosines, places))
        places, rows, cosines = places[order], rows[order], cosines[order]
        rank = ranks(places)
        kept = rank < k
        nearest = _nothing(len(queries), k)
        nearest.rows[places[kept], rank[kept]] = rows[kept]
        nearest.cosines[places[kept], rank[kept]] = cosines[kept]
        return nearest


class _Candidates:
    """Rows that may be among a query's nearest, kept while several threads find them."""

    def __init__(self, exact: Exact, queries: Floats, k: int, slack: float) -> None:
        self._exact, self._queries, self._k, self._slack = exact, queries, k, slack
        self._lock = Lock()
        # A score that each query's k-th best surely reaches; rows that are not allowed are below any.
        self._limits = np.full(len(queries), np.finfo(np.float32).min, np.float32)
        self._pairs: list[tuple[Ints, Ints, Floats]] = []  # place of the query, row, score
        self._waiting, self._room = 0, 4 * k * len(queries) + 4096

    def add(self, scores: Floats, first: int) -> None:
        """Add the scores (n, Q) of the rows from `first` on."""
        limits = self._limits
        if whole := len(scores) // self._k * self._k:
            # The best of each of k parts are k rows, so the k-th best is no worse than the worst of them.
            bests = scores[:whole].reshape(self._k, -1, scores.shape[1]).max(1)
            np.maximum(limits, bests.min(0) - self._slack, out=limits)
        high = np.flatnonzero(scores >= limits)
        if not len(high):
            return
        row, place = np.divmod(high, len(limits))
        pairs = place, row + first, scores.ravel()[high]
        with self._lock:
            self._pairs.append(pairs)
            self._waiting += len(row)
            if self._waiting > self._room:
                self._cut()

    def _cut(self) -> None:
        """Drop what is surely not among the best; if very many are equally near, compute their cosines at once."""
        places, rows, scores = self._surely_not_dropped()
        if len(rows) > PENDING:
            nearest = self._exact.best_of(self._queries, places, rows, self._k)
            places, rank = np.nonzero(nearest.rows >= 0)
            rows, scores = nearest.rows[places, rank], nearest.cosines[places, rank]
        self._pairs, self._waiting = [(places, rows, scores)], len(rows)
        self._room = max(self._room, 2 * len(rows))

    def _surely_not_dropped(self) -> tuple[Ints, Ints, Floats]:
        empty = np.empty(0, np.int64)
        pairs = zip((empty, empty, np.empty(0, np.float32)), *self._pairs, strict=True)
        places, rows, scores = (np.concatenate(part) for part in pairs)
        order = np.lexsort((-scores, places))
        places, rows, scores = places[order], rows[order], scores[order]
        last = ranks(places) == self._k - 1
        self._limits[places[last]] = np.maximum(self._limits[places[last]], scores[last] - self._slack)
        near = scores >= self._limits[places]
        return places[near], rows[near], scores[near]

    def best(self) -> Nearest:
        places, rows, _ = self._surely_not_dropped()
        return self._exact.best_of(self._queries, places, rows, self._k)


def widen(halves: npt.NDArray[np.float16], wide: Floats) -> Floats:
    """Fill `wide` with the numbers of an array in half precision, and return it; numpy takes five times as long."""
    import cv2

    if hasattr(cv2, "convertFp16"):  # until OpenCV 5
        cv2.convertFp16(halves.view(np.int16), wide)
    else:
        cv2.addWeighted(halves, 1, halves, 0, 0, wide, cv2.CV_32F)
    return wide


def _nothing(queries: int, k: int) -> Nearest:
    return Nearest(np.full((queries, k), -1, np.int64), np.full((queries, k), -np.inf, np.float32))
