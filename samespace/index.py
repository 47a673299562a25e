"""Which vectors point nearly the same way as a query: of all of them exactly, or by an index at a fraction of the cost.

Vectors are rows of length 1, and how alike two are is their cosine. Nothing here knows of photos.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from samespace.directions import main_directions
from samespace.errors import SameSpaceError

if TYPE_CHECKING:
    from torch import Tensor

Rows = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Vectors = npt.NDArray[np.floating[Any]]

QUERIES = 256  # looked up in one pass over the vectors
PANEL = 1 << 19  # numbers, of vectors or of scores, that a thread works on at once: they stay in a CPU's caches
WORTHWHILE = 1 << 22  # multiplications: sharing fewer between threads costs more than it saves
PENDING = 1 << 20  # so many rows wait at most to be looked at closely

# Measured on a million vectors as photos have them, in benchmarks/search.py.
CONNECTIVITY = 32
EXPANSION_ADD = 256
# Candidates of a search: `tune` takes what is enough.
EXPANSIONS = (48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024)
RECALL = 0.97  # of photos that are in the index; of others a hundredth less is found
SHORT = 96  # numbers that the graph has of each vector
SAMPLE = 20_000  # vectors that tell, at most, in which directions they differ
SHORTLIST = 2  # at least so many candidates for each that is asked for; exact cosines choose among all candidates
ALONE = 4096  # so many are added by one thread: in a small graph, threads leave each other's vectors out of reach
# Built anew once one in so many was removed, for what takes the place of removed vectors is found less surely; and once
# there are so many times as many as the directions were learnt from.
RENEWED = 4
STEADY = 10  # tuned again once one in so many has come or gone


class Nearest(NamedTuple):
    """For each query its `k` nearest vectors, the best first and of equals the lowest row."""

    rows: Rows  # (Q, k), -1 where there are fewer
    cosines: Floats  # (Q, k), -inf there


class Exact:
    """Finds the nearest vectors by comparing with all, a block at a time. Any thread may ask."""

    def __init__(self, vectors: Vectors) -> None:
        """(N, D) rows of length 1, float16 or float32; a memory-mapped file is read anew each time, and not held."""
        import torch

        self._vectors = np.asarray(vectors)  # as a plain array, of which rows are taken with less ado
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a file is not writable: nobody writes
            self._tensor = torch.from_numpy(vectors)
        # Sums of D products are off by D/2**24 at most, so by twice that the order of two may be wrong.
        self._slack = 2 * vectors.shape[1] / 2**24

    def __len__(self) -> int:
        return len(self._vectors)

    def vectors(self, rows: Rows) -> Floats:
        """(n, D): some of them, in memory."""
        some: Floats = self._vectors[rows].astype(np.float32)
        return some

    def nearest(self, queries: Vectors, k: int, allowed: Flags | None = None) -> Nearest:
        """The `k` nearest to each of the queries (Q, D), also of length 1, among the rows that are `allowed`, (N,)."""
        queries = np.ascontiguousarray(queries, np.float32)
        parts = [self._nearest(queries[some], k, allowed) for some in _blocks(len(queries), QUERIES)]
        return Nearest(*map(np.concatenate, zip(_nothing(0, k), *parts, strict=True)))

    def _nearest(self, queries: Floats, k: int, allowed: Flags | None) -> Nearest:
        import torch

        columns = torch.from_numpy(queries).T
        found = _Found(self, queries, k, self._slack)

        def look(rows: slice) -> None:
            scores = self._products(rows, columns)
            if allowed is not None:
                scores[torch.from_numpy(~allowed[rows])] = -torch.inf
            found.add(scores, rows.start)

        panels = [rows for rows in self._panels(len(queries)) if allowed is None or allowed[rows].any()]
        for _ in self._pool.map(look, panels):
            pass
        return found.best()

    def _panels(self, queries: int) -> list[slice]:
        """Rows to go through at a time: their scores stay in a thread's cache, and no thread is without work."""
        rows = max(WORTHWHILE // (queries * self._vectors.shape[1]), len(self) // (4 * self._workers))
        panels = -(-len(self) // max(1, min(rows, PANEL // queries)))
        if panels > 1:
            panels = -(-panels // self._workers) * self._workers
        return list(_blocks(len(self), max(1, -(-len(self) // max(1, panels)))))

    def _products(self, rows: slice, columns: Tensor) -> Tensor:
        """Of some vectors with the queries (D, Q): (n, Q). Half precision is widened in small blocks, in the cache."""
        import torch

        vectors = self._tensor[rows]
        if vectors.dtype == torch.float32:
            return vectors @ columns
        scores = torch.empty(len(vectors), columns.shape[1])
        wide = torch.empty(max(1, PANEL // vectors.shape[1]), vectors.shape[1])
        for some in _blocks(len(vectors), len(wide)):
            block = wide[: some.stop - some.start].copy_(vectors[some])
            torch.mm(block, columns, out=scores[some])
        return scores

    @cached_property
    def _workers(self) -> int:
        import torch

        return torch.get_num_threads()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        """One thread a core, each with blocks of its own: several that share a block wait for each other."""
        import torch

        return ThreadPoolExecutor(self._workers, initializer=torch.set_num_threads, initargs=(1,))

    def best_of(self, queries: Floats, places: Rows, rows: Rows, k: int) -> Nearest:
        """The `k` nearest to each of the queries (Q, D) among a few rows: `rows[i]` is one for `queries[places[i]]`."""
        cosines, wide = np.empty(len(rows), np.float32), queries.astype(np.float64)
        for some in _blocks(len(rows), max(1, PANEL // self._vectors.shape[1])):
            # In double precision, so that equal vectors tie wherever they lie.
            asked = wide[places[some]] if len(wide) > 1 else wide
            cosines[some] = np.einsum("nd,nd->n", self._vectors[rows[some]].astype(np.float64), asked)
        order = np.lexsort((rows, -cosines, places))
        places, rows, cosines = places[order], rows[order], cosines[order]
        rank = _ranks(places)
        kept = rank < k
        nearest = _nothing(len(queries), k)
        nearest.rows[places[kept], rank[kept]] = rows[kept]
        nearest.cosines[places[kept], rank[kept]] = cosines[kept]
        return nearest


class _Found:
    """Rows that may be among a query's nearest, kept while several threads find them."""

    def __init__(self, exact: Exact, queries: Floats, k: int, slack: float) -> None:
        self._exact, self._queries, self._k, self._slack = exact, queries, k, slack
        self._lock = Lock()
        # Of each query a score that its k-th best surely reaches; rows that are not allowed are below any.
        self._limits = np.full(len(queries), np.finfo(np.float32).min, np.float32)
        self._pairs: list[tuple[Rows, Rows, Floats]] = []  # place of the query, row, score
        self._waiting, self._room = 0, 4 * k * len(queries) + 4096

    def add(self, scores: Tensor, first: int) -> None:
        """Scores (n, Q) of the rows from `first` on."""
        import torch

        limits = torch.from_numpy(self._limits)
        if whole := len(scores) // self._k * self._k:
            # The best of each of k parts are k rows, so the k-th best is no worse than the worst of them.
            bests = scores[:whole].view(self._k, -1, scores.shape[1]).amax(1)
            torch.maximum(limits, bests.amin(0) - self._slack, out=limits)
        high = np.flatnonzero((scores >= limits).numpy())
        if not len(high):
            return
        row, place = np.divmod(high, len(limits))
        pairs = place, row + first, scores.numpy().ravel()[high]
        with self._lock:
            self._pairs.append(pairs)
            self._waiting += len(row)
            if self._waiting > self._room:
                self._cut()

    def _cut(self) -> None:
        """Drop what is surely not among the best; where very many are equally near, look at once which are."""
        places, rows, scores = self._surely_not_dropped()
        if len(rows) > PENDING:
            nearest = self._exact.best_of(self._queries, places, rows, self._k)
            places, rank = np.nonzero(nearest.rows >= 0)
            rows, scores = nearest.rows[places, rank], nearest.cosines[places, rank]
        self._pairs, self._waiting = [(places, rows, scores)], len(rows)
        self._room = max(self._room, 2 * len(rows))

    def _surely_not_dropped(self) -> tuple[Rows, Rows, Floats]:
        empty = np.empty(0, np.int64)
        pairs = zip((empty, empty, np.empty(0, np.float32)), *self._pairs, strict=True)
        places, rows, scores = (np.concatenate(part) for part in pairs)
        order = np.lexsort((-scores, places))
        places, rows, scores = places[order], rows[order], scores[order]
        last = _ranks(places) == self._k - 1
        self._limits[places[last]] = np.maximum(self._limits[places[last]], scores[last] - self._slack)
        near = scores >= self._limits[places]
        return places[near], rows[near], scores[near]

    def best(self) -> Nearest:
        places, rows, _ = self._surely_not_dropped()
        return self._exact.best_of(self._queries, places, rows, self._k)


def _ranks(places: Rows) -> Rows:
    """How many equal ones come before each, in a sorted array."""
    ranks: Rows = np.arange(len(places)) - np.searchsorted(places, places)
    return ranks


def _nothing(queries: int, k: int) -> Nearest:
    return Nearest(np.full((queries, k), -1, np.int64), np.full((queries, k), -np.inf, np.float32))


def _blocks(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


class Approximate:
    """A graph of neighbours (HNSW, by usearch) in one file, that finds which few may be nearest.

    Of each vector it has the part along the `SHORT` directions in which they differ most, rounded to eight bits.
    For one thread at a time that keeps it; `nearest` is for any.
    """

    def __init__(self, path: Path, identity: str, dim: int) -> None:
        self._path, self._dim = path, dim
        settings = f"{dim} {SHORT} i8 cos {CONNECTIVITY} {EXPANSION_ADD}"
        self._identity = f"{identity} usearch {_usearch().__version__.split('.')[0]} {settings}"
        self._searching = Lock()  # usearch gives every caller the same workspace
        self._begin(np.eye(dim, min(SHORT, dim), dtype=np.float32), SAMPLE if dim <= SHORT else 0)

    def _begin(self, directions: Floats, learnt: int) -> None:
        """Without any vector."""
        self._directions = directions  # (D, d)
        self._learnt = learnt  # vectors that they were learnt from
        self._removed = self._changed = 0
        self._index = self._empty()
        self._file: npt.NDArray[np.uint8] | None = None  # where it is only looked at, not loaded

    @classmethod
    def open(cls, path: Path, identity: str, dim: int) -> Approximate:
        """What `save` wrote; empty where there is nothing, or something damaged, or of another identity.

        `identity` says what made the vectors; the index's own settings are added to it.
        """
        index = cls(path, identity, dim)
        index._view()
        return index

    def _view(self) -> None:
        """Look at the file where it lies. Damaged ones must not come near usearch, which they could crash."""
        try:
            file = np.memmap(self._path, np.uint8, "r")
        except (OSError, ValueError):
            return
        graph = len(file) - self._directions.nbytes - 32 - 32
        if graph < 0 or file[-32:].tobytes() != self._seal(file[:-32]):
            return
        try:
            self._index.view(file[:graph])
        except (RuntimeError, ValueError):  # whole, but not of this version of usearch
            self._index = self._empty()
            return
        self._file = file[:graph]
        self._directions = np.frombuffer(file[graph:-64].tobytes(), "<f4").reshape(self._directions.shape)
        numbers = np.frombuffer(file[-64:-32].tobytes(), "<i8").tolist()
        self._learnt, self._removed, self._changed, self.expansion = numbers

    def _seal(self, content: npt.NDArray[np.uint8]) -> bytes:
        digest = hashlib.sha256(self._identity.encode())
        digest.update(content.data)
        return digest.digest()

    def _empty(self) -> Any:
        return _usearch().index.Index(
            ndim=self._directions.shape[1],
            metric="cos",
            dtype="i8",
            connectivity=CONNECTIVITY,
            expansion_add=EXPANSION_ADD,
            expansion_search=EXPANSIONS[1],
        )

    def __len__(self) -> int:
        return len(self._index)

    @property
    def expansion(self) -> int:
        """How many candidates a search looks at: more find more, and take longer. Kept in the file."""
        return int(self._index.expansion_search)

    @expansion.setter
    def expansion(self, candidates: int) -> None:
        self._index.expansion_search = candidates

    @property
    def wants_tuning(self) -> bool:
        """Whether much of it is other than it was when `Indexed.tune` last looked."""
        return self._changed * STEADY > len(self)

    def tuned(self) -> None:
        """`expansion` is now what these vectors need."""
        self._changed = 0

    def keep(self, keys: Keys, vectors_of: Callable[[Rows], Vectors]) -> tuple[int, int]:
        """Make it hold exactly the vectors of these keys (N,): how many were added, and removed.

        `vectors_of` is asked for the rows that are new, (n,) → (n, D), block by block. Equal keys are of equal vectors.
        """
        keys, rows = np.unique(np.asarray(keys, np.uint64), return_index=True)
        held = self._index.keys[:] if len(self) else np.empty(0, np.uint64)
        gone, new = np.setdiff1d(held, keys), ~np.isin(keys, held)
        changes = int(new.sum()), len(gone)
        if not any(changes):
            return changes
        worn = (self._removed + len(gone)) * RENEWED > len(held)
        if worn or min(len(keys), SAMPLE) > RENEWED * self._learnt:
            self._begin(*self._learn(vectors_of, rows))
            new[:] = True
        else:
            self._remove(gone)
        self._changed += sum(changes)
        for some in _blocks(int(new.sum()), ALONE):
            threads = int(len(self) < ALONE)  # 0: one a core
            self._index.add(keys[new][some], self._shortened(vectors_of(rows[new][some])), threads=threads)
        return changes

    def _learn(self, vectors_of: Callable[[Rows], Vectors], rows: Rows) -> tuple[Floats, int]:
        """The directions in which these vectors differ most, and how many told."""
        if self._dim <= SHORT or not len(rows):
            return self._directions, self._learnt
        some = vectors_of(rows[:: -(-len(rows) // SAMPLE)])
        return main_directions(some).axes[:, :SHORT].astype(np.float32), len(some)

    def _shortened(self, vectors: Vectors) -> npt.NDArray[np.int8]:
        """(n, D) → (n, d)."""
        return _eight_bits(np.asarray(vectors, np.float32) @ self._directions)

    def _remove(self, keys: Keys) -> None:
        if self._file is not None:
            expansion, file = self.expansion, self._file
            self._index, self._file = self._empty(), None
            self._index.load(file)
            self.expansion = expansion
        if len(keys):
            self._index.remove(keys)
            self._removed += len(keys)

    def save(self) -> None:
        """Write the file, whole or not at all, where anything has changed since `open`."""
        if self._file is not None:
            return
        partial = self._path.with_name(f".{self._path.name}.partial")
        try:
            self._index.save(os.fspath(partial))
            with partial.open("ab") as file:
                file.write(self._directions.astype("<f4").tobytes())
                file.write(np.array([self._learnt, self._removed, self._changed, self.expansion], "<i8").tobytes())
            seal = self._seal(np.memmap(partial, np.uint8, "r"))
            with partial.open("ab") as file:
                file.write(seal)
            partial.replace(self._path)
        except (OSError, RuntimeError) as error:  # usearch raises the latter
            raise SameSpaceError(
                f"cannot write the index {self._path} ({error}): make room, or let it be written"
            ) from error
        finally:
            partial.unlink(missing_ok=True)

    def nearest(self, queries: Vectors, k: int) -> tuple[Keys, Floats]:
        """Keys and cosines (Q, k) of what lies nearest the queries (Q, D), the best first; -inf where there are fewer.

        Some are missed, and the cosines are those of what the graph has: `Indexed` looks closely at what this finds.
        """
        keys = np.zeros((len(queries), k), np.uint64)
        cosines = np.full(keys.shape, -np.inf, np.float32)
        if not len(queries) or not len(self):
            return keys, cosines
        single = len(queries) == 1
        with self._searching:
            found = self._index.search(
                self._shortened(queries), min(k, len(self)), threads=int(single)
            )  # 0: one a core
        if single:  # usearch then answers otherwise
            keys[0, : len(found)], cosines[0, : len(found)] = found.keys, 1 - found.distances
        else:
            there = np.nonzero(np.arange(found.keys.shape[1]) < found.counts[:, None])
            keys[there], cosines[there] = found.keys[there], 1 - found.distances[there]
        return keys, cosines


def _usearch() -> Any:
    try:
        import usearch.index
    except ImportError as error:
        raise SameSpaceError("an index needs usearch: `pip install 'samespace[search]'`") from error
    return usearch


def _eight_bits(vectors: Vectors) -> npt.NDArray[np.int8]:
    """Whole numbers up to ±127, each vector by a scale of its own: cosines do not depend on it."""
    wide = np.asarray(vectors, np.float32)
    scales = 127 / np.maximum(np.abs(wide).max(1, keepdims=True), 1e-9)
    rounded: npt.NDArray[np.int8] = np.rint(wide * scales).astype(np.int8)
    return rounded


class Indexed:
    """`Exact`, but for the few that an index finds: nearly as good on very many vectors, and much faster."""

    def __init__(self, exact: Exact, keys: Keys, index: Approximate) -> None:
        """`keys` (N,) are those of the rows of `exact`; the index holds them."""
        self.exact, self.index = exact, index
        keys = np.asarray(keys, np.uint64)
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self._once = bool((self._keys[1:] != self._keys[:-1]).all())

    def nearest(self, queries: Vectors, k: int, allowed: Flags | None = None) -> Nearest:
        """As `Exact.nearest`, by which it is where only some rows are `allowed`: an index finds too few of them."""
        if allowed is not None:
            return self.exact.nearest(queries, k, allowed)
        queries = np.ascontiguousarray(queries, np.float32)
        keys, cosines = self.index.nearest(queries, max(SHORTLIST * k, self.index.expansion))
        there = cosines > -np.inf
        rows, counts = self._rows_of(keys[there])
        places = there.nonzero()[0]
        return self.exact.best_of(queries, np.repeat(places, counts), rows, k)

    def _rows_of(self, keys: Keys) -> tuple[Rows, Rows]:
        """All rows of each of the keys (n,), and how many each has."""
        start = self._keys.searchsorted(keys)
        if self._once:
            counts = (self._keys.take(start, mode="clip") == keys).astype(np.intp)
        else:
            counts = self._keys.searchsorted(keys, "right") - start
        if not (counts == 1).all():  # `start`, `start` + 1, … as many as there are
            step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            start = np.repeat(start, counts) + step
        return self._order[start], counts

    def tune(self, allowed: Flags | None = None, k: int = 10, sample: int = 500) -> float:
        """Let searches look at as few candidates as find `RECALL` of the nearest; how much they then find.

        Whitened vectors, which lie in nearly all directions, need many more than others. For an index that has changed.
        """
        queries, best = _some(self.exact, allowed, k, sample)
        found = 0.0
        for self.index.expansion in EXPANSIONS:
            found = _share_found(self, queries, best)
            if found >= RECALL:
                break
        self.index.tuned()
        return found


def recall(indexed: Indexed, allowed: Flags | None = None, k: int = 10, sample: int = 1000) -> float:
    """The share of some vectors' `k` nearest others that the index finds; equally near ones are as good.

    `allowed` (N,) are the rows whose keys the index holds, where these are not all.
    """
    return _share_found(indexed, *_some(indexed.exact, allowed, k, sample))


def _some(exact: Exact, allowed: Flags | None, k: int, sample: int) -> tuple[Floats, Floats]:
    """Some of the vectors (n, D) and, exactly, how near the nearest of each are: itself and `k` others, (n, k + 1)."""
    rows = np.arange(len(exact)) if allowed is None else np.flatnonzero(allowed)
    k = max(0, min(k, len(rows) - 1))
    queries = exact.vectors(np.sort(np.random.default_rng(0).permutation(rows)[:sample]))
    return queries, exact.nearest(queries, k + 1, allowed).cosines


def _share_found(indexed: Indexed, queries: Floats, best: Floats) -> float:
    others = best.shape[1] - 1
    if others < 1:
        return 1.0
    found = (indexed.nearest(queries, others + 1).cosines >= best[:, -1:]).sum(1) - 1  # each is its own nearest
    return float(np.maximum(found, 0).mean() / others)
