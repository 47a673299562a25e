"""Find the vectors nearest a query by an approximate index, which misses a few, at a fraction of the cost.

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
SHORT = 96  # numbers that the graph keeps of each vector
SAMPLE = 20_000  # vectors that the directions are learnt from, at most
SHORTLIST = 2  # candidates for each result, at least; exact cosines choose among all candidates
ALONE = 4096  # vectors that one thread adds: in a small graph, threads leave each other's vectors out of reach
# The index is built anew once one vector in so many was removed, for what takes the place of removed vectors is found
# less surely; and once it has so many times as many vectors as the directions were learnt from.
RENEWED = 4
STEADY = 10  # it is tuned again once one vector in so many has come or gone


class Approximate:
    """A graph of neighbours (HNSW, by usearch) in one file; it finds the few vectors that may be nearest.

    It keeps each vector's part along the `SHORT` directions in which they differ most, rounded to eight bits.
    One thread at a time may change it; any thread may call `nearest`.
    """

    def __init__(self, path: Path, identity: str, dim: int) -> None:
        self._path, self._dim = path, dim
        settings = f"{dim} {SHORT} i8 cos {CONNECTIVITY} {EXPANSION_ADD}"
        self._identity = f"{identity} usearch {_usearch().__version__.split('.')[0]} {settings}"
        self._searching = Lock()  # usearch gives every caller the same workspace
        self._begin(np.eye(dim, min(SHORT, dim), dtype=np.float32), SAMPLE if dim <= SHORT else 0)

    def _begin(self, directions: Floats, learnt: int) -> None:
        """Start without any vector."""
        self.directions = directions  # (D, d), those that the graph keeps
        self._learnt = learnt  # vectors that the directions were learnt from
        self._removed = self._changed = 0
        self._index = self._empty()
        self._file: npt.NDArray[np.uint8] | None = None  # if it is mapped, not loaded

    @classmethod
    def open(cls, path: Path, identity: str, dim: int) -> Approximate:
        """Open what `save` wrote; an empty index if nothing is there, or it is damaged or of another identity.

        `identity` names what made the vectors; the index's own settings are added to it.
        """
        index = cls(path, identity, dim)
        index._view()
        return index

    def _view(self) -> None:
        """Map the file, if it is whole: a damaged one could crash usearch."""
        try:
            file = np.memmap(self._path, np.uint8, "r")
        except (OSError, ValueError):
            return
        graph = len(file) - self.directions.nbytes - 32 - 32
        if graph < 0 or file[-32:].tobytes() != self._seal(file[:-32]):
            return
        try:
            self._index.view(file[:graph])
        except (RuntimeError, ValueError):  # whole, but not of this version of usearch
            self._index = self._empty()
            return
        self._file = file[:graph]
        self.directions = np.frombuffer(file[graph:-64].tobytes(), "<f4").reshape(self.directions.shape)
        numbers = np.frombuffer(file[-64:-32].tobytes(), "<i8").tolist()
        self._learnt, self._removed, self._changed, self.expansion = numbers

    def _seal(self, content: npt.NDArray[np.uint8]) -> bytes:
        digest = hashlib.sha256(self._identity.encode())
        digest.update(content.data)
        return digest.digest()

    def _empty(self) -> Any:
        return _usearch().index.Index(
            ndim=self.directions.shape[1],
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
        """Return the number of candidates in a search: more find more, and take longer. Kept in the file."""
        return int(self._index.expansion_search)

    @expansion.setter
    def expansion(self, candidates: int) -> None:
        self._index.expansion_search = candidates

    @property
    def wants_tuning(self) -> bool:
        """Return True if many vectors have come or gone since `Indexed.tune`."""
        return self._changed * STEADY > len(self)

    def tuned(self) -> None:
        """Note that `expansion` is now what these vectors need."""
        self._changed = 0

    def keep(self, keys: Keys, vectors_of: Callable[[Ints], Array]) -> tuple[int, int]:
        """Make it hold exactly the vectors of these keys (N,); return how many were added, and removed.

        `vectors_of` returns the rows that are new, (n,) → (n, D), block by block. Equal keys have equal vectors.
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
        """Return the directions in which these vectors differ most, and how many they were learnt from."""
        if self._dim <= SHORT or not len(rows):
            return self.directions, self._learnt
        some = vectors_of(rows[:: -(-len(rows) // SAMPLE)])
        return main_directions(some).axes[:, :SHORT].astype(np.float32), len(some)

    def _shortened(self, vectors: Array) -> npt.NDArray[np.int8]:
        """Return the parts of vectors (n, D) that the graph keeps, (n, d)."""
        return _eight_bits(np.asarray(vectors, np.float32) @ self.directions)

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
        """Write the file, whole or not at all, if anything has changed since `open`."""
        if self._file is not None:
            return
        partial = self._path.with_name(f".{self._path.name}.partial")
        try:
            if os.fsencode(partial).decode(errors="ignore") == os.fspath(partial):
                self._index.save(os.fspath(partial))
            else:  # usearch takes no such path, but gives the bytes, which need memory
                partial.write_bytes(self._index.save())
            with partial.open("ab") as file:
                file.write(self.directions.astype("<f4").tobytes())
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
        """Return keys and cosines (Q, k) of those nearest the queries (Q, D), best first; -inf if there are fewer.

        Some are missed, and the cosines are of the parts that the graph keeps: `Indexed` computes them exactly.
        """
        keys = np.zeros((len(queries), k), np.uint64)
        cosines = np.full(keys.shape, -np.inf, np.float32)
        if not len(queries) or not len(self):
            return keys, cosines
        single = len(queries) == 1
        with self._searching:
            threads = int(single)  # 0: one a core
            found = self._index.search(self._shortened(queries), min(k, len(self)), threads=threads)
        if single:  # usearch then gives rows, not tables
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
    """Round vectors to whole numbers up to ±127, each by a scale of its own: cosines do not depend on it."""
    wide = np.asarray(vectors, np.float32)
    scales = 127 / np.maximum(np.abs(wide).max(1, keepdims=True), 1e-9)
    return np.rint(wide * scales).astype(np.int8)


class Indexed:
    """`Exact` on the few vectors that an index finds: nearly as good on very many vectors, and much faster."""

    def __init__(self, exact: Exact, keys: Keys, index: Approximate) -> None:
        """Take the keys (N,) of the rows of `exact`, which the index holds."""
        self.exact, self.index = exact, index
        keys = np.asarray(keys, np.uint64)
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self._once = bool((self._keys[1:] != self._keys[:-1]).all())

    def nearest(self, queries: Array, k: int, allowed: Flags | None = None) -> Nearest:
        """Return what `Exact.nearest` does, but for a few misses."""
        if allowed is not None:  # the index would find too few of these
            return self.exact.nearest(queries, k, allowed)
        queries = np.ascontiguousarray(queries, np.float32)
        keys, cosines = self.index.nearest(queries, max(SHORTLIST * k, self.index.expansion))
        there = cosines > -np.inf
        rows, counts = self._rows_of(keys[there])
        places = there.nonzero()[0]
        return self.exact.best_of(queries, np.repeat(places, counts), rows, k)

    def _rows_of(self, keys: Keys) -> tuple[Ints, Ints]:
        """Return all rows of each of the keys (n,), and how many each has."""
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
        """Set `expansion` to the fewest candidates that find `RECALL` of the nearest; return the recall reached.

        Whitened vectors, which lie in nearly all directions, need many more than others.
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
    """Return recall@k: the share of some vectors' `k` nearest others that the index finds; equally near ones count.

    `allowed` (N,) marks the rows whose keys the index holds, if these are not all.
    """
    return _share_found(indexed, *_some(indexed.exact, allowed, k, sample))


def _some(exact: Exact, allowed: Flags | None, k: int, sample: int) -> tuple[Floats, Floats]:
    """Return some of the vectors (n, D) and the exact cosines of their nearest: itself and `k` others, (n, k + 1)."""
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
