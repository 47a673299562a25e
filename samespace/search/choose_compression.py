"""Choose how to compress a backbone's long vectors: by PCA with whitening, or by an autoencoder's encoder."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from samespace.base.arrays import Array, Floats, unit
from samespace.base.errors import SameSpaceError
from samespace.base.text import count
from samespace.search.compression import DIM, METHODS, Compression, fit_pca
from samespace.search.exact import Exact

FEWEST = 60  # photos: half of them are learnt from, and the neighbours of the other half are counted
SAMPLE = 20_000  # photos that are learnt from at most
NEIGHBOURS = 10
QUERIES = 1000


def fit(method: str, vectors: Array, dim: int = DIM) -> Compression:
    """Fit PCA or an autoencoder to these vectors (N, D)."""
    if method == "pca":
        return fit_pca(vectors, dim)
    from samespace.search.autoencoder import train  # which imports torch

    return train(vectors, dim)


class Row(NamedTuple):
    """A way to keep vectors, its cost and its recall."""

    method: str  # "none", one of METHODS, or "pca whitened"
    dim: int
    bytes: int  # per photo
    recall: float  # recall@10: the share of the 10 nearest by full vectors that are among the 10 nearest still


class Compared(NamedTuple):
    """All ways side by side, and the chosen one, fitted on all vectors."""

    rows: list[Row]
    chosen: Compression


def compare(vectors: Array, method: str = "auto", dim: int = DIM) -> Compared:
    """Fit on one half of the vectors (N, D), measure recall on the other; choose PCA unless the autoencoder is better.

    PCA counts as it is without whitening, which has a row of its own. A `method` given by name is the one chosen, and
    the only one measured.
    """
    if method not in ("auto", *METHODS):
        raise SameSpaceError(f"unknown method {method!r}: choose one of none, {', '.join(METHODS)} and auto")
    check(vectors, dim)
    order = np.random.default_rng(0).permutation(len(vectors))
    learnt, held = (vectors[np.sort(half[:SAMPLE])] for half in np.array_split(order, 2))
    rows = [Row("none", vectors.shape[1], 2 * vectors.shape[1], 1.0)]
    if method != "autoencoder":
        rows += [_row("pca", fit_pca(learnt, dim, 0), held), _row("pca whitened", fit_pca(learnt, dim), held)]
    if method != "pca":
        rows.append(_row("autoencoder", fit("autoencoder", learnt, dim), held))
    best = max((row for row in rows if row.method in METHODS), key=lambda row: row.recall)  # of equals the first, PCA
    return Compared(rows, fit(best.method, vectors[np.sort(order[:SAMPLE])], dim))


def _row(method: str, compression: Compression, held: Array) -> Row:
    return Row(method, compression.dim, 2 * compression.dim, recall(compression, held))


def check(vectors: Array, dim: int) -> None:
    """Refuse vectors (N, D) that are too few to learn from, or short as they are."""
    if vectors.shape[1] <= dim:
        raise SameSpaceError(
            f"vectors of {vectors.shape[1]} numbers need no compression to {dim}: keep them as they are"
        )
    if len(vectors) < FEWEST:
        raise SameSpaceError(f"{count(len(vectors), 'photo')} are too few to learn from: scan at least {FEWEST}")


def recall(compression: Compression, vectors: Array) -> float:
    """Return recall@10: the share of vectors' nearest others (N, D) that are their nearest still once compressed."""
    k = min(NEIGHBOURS, len(vectors) - 1)
    before, after = _nearest(unit(vectors.astype(np.float32)), k), _nearest(compression(vectors), k)
    return float(np.mean([len(set(one) & set(other)) / k for one, other in zip(before, after, strict=True)]))


def _nearest(vectors: Floats, k: int) -> list[list[int]]:
    """Return the `k` nearest of each of up to `QUERIES` rows, itself left out."""
    queries = np.arange(min(QUERIES, len(vectors)))
    found = Exact(vectors.astype(np.float16)).nearest(vectors[queries], k + 1).rows
    return [[row for row in rows.tolist() if row != query][:k] for query, rows in zip(queries, found, strict=True)]
