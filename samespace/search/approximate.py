"""Which vectors point nearly the same way as a query: by an index that misses a few, at a fraction of the cost.

As in `exact`, vectors are rows of length 1.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from samespace.base.arrays import Array, Flags, Floats, Ints, blocks
from samespace.base.errors import SameSpaceError
from samespace.search.compression import main_directions
from samespace.search.exact import Exact, Nearest

Keys = npt.NDArray[np.uint64]

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

    def keep(self, keys: Keys, vectors_of: Callable[[Ints], Array]) -> tuple[int, int]:
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
        for some in blocks(int(new.sum()), ALONE):
            threads = int(len(self) < ALONE)  # 0: one a core
            self._index.add(keys[new][some], self._shortened(vectors_of(rows[new][some])), threads=threads)
        return changes

    def _learn(self, vectors_of: Callable[[Ints], Array], rows: Ints) -> tuple[Floats, int]:
        """The directions in which these vectors differ most, and how many told."""
        if self._dim <= SHORT or not len(rows):
            return self._directions, self._learnt
        some = vectors_of(rows[:: -(-len(rows) // SAMPLE)])
        return main_directions(some).axes[:, :SHORT].astype(np.float32), len(some)

    def _shortened(self, vectors: Array) -> npt.NDArray[np.int8]:
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

    def nearest(self, queries: Array, k: int) -> tuple[Keys, Floats]:
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


def _eight_bits(vectors: Array) -> npt.NDArray[np.int8]:
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

    def nearest(self, queries: Array, k: int, allowed: Flags | None = None) -> Nearest:
        """As `Exact.nearest`, by which it is where only some rows are `allowed`: an index finds too few of them."""
        if allowed is not None:
            return self.exact.nearest(queries, k, allowed)
        queries = np.ascontiguousarray(queries, np.float32)
        keys, cosines = self.index.nearest(queries, max(SHORTLIST * k, self.index.expansion))
        there = cosines > -np.inf
        rows, counts = self._rows_of(keys[there])
        places = there.nonzero()[0]
        return self.exact.best_of(queries, np.repeat(places, counts), rows, k)

    def _rows_of(self, keys: Keys) -> tuple[Ints, Ints]:
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
