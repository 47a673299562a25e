"""Shorter vectors in place of a trunk's long ones: by PCA with whitening, or by an autoencoder's encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from samespace.base.arrays import Array, Floats, unit
from samespace.base.errors import SameSpaceError
from samespace.base.files import save_whole
from samespace.base.text import count
from samespace.directions import BLOCK, main_directions
from samespace.exact import Exact

METHODS = ("pca", "autoencoder")
DIM = 256
FORMAT = 1
# How far components are whitened: each is divided by its spread to this power. That loses nothing, but weighs what was
# kept otherwise: the further, the better photos of one space are found, and the fewer neighbours are those that vectors
# have as they are. With a quarter three of four still are. Chosen on training rooms.
WHITENING = 0.25
FEWEST = 60  # photos: half of them are learnt from, and the neighbours of the other half are counted
SAMPLE = 20_000  # photos that are learnt from at most
NEIGHBOURS = 10
QUERIES = 1000

Layer = tuple[Floats, Floats]  # weight (d, D) and bias (d,)


class Compression:
    """Turns vectors (N, dim_in) of any length into vectors (N, dim) of length 1. One layer, or several with ReLU."""

    def __init__(self, method: str, layers: Sequence[Layer]) -> None:
        self.method, self.layers = method, list(layers)
        self.dim_in, self.dim = layers[0][0].shape[1], layers[-1][0].shape[0]

    def __call__(self, vectors: Array) -> Floats:
        blocks = [self._encode(vectors[at : at + BLOCK]) for at in range(0, len(vectors), BLOCK)]
        return np.concatenate(blocks) if blocks else np.empty((0, self.dim), np.float32)

    def _encode(self, vectors: Array) -> Floats:
        values = unit(vectors.astype(np.float32))
        for number, (weight, bias) in enumerate(self.layers):
            values = (np.maximum(values, 0) if number else values) @ weight.T + bias
        return unit(values)

    @property
    def fingerprint(self) -> str:
        return _digest(self.method, self._arrays())[:16]

    def _arrays(self) -> dict[str, Floats]:
        return {
            f"{number} {part}": np.ascontiguousarray(values, np.float32)
            for number, layer in enumerate(self.layers)
            for part, values in zip(("weight", "bias"), layer, strict=True)
        }

    def save(self, path: Path) -> None:
        """One safetensors file, whole or not at all."""
        arrays = self._arrays()
        about = {"format": FORMAT, "method": self.method, "sha256": _digest(self.method, arrays)}
        save_whole(path, save(arrays, {"compression": json.dumps(about)}))

    @staticmethod
    def load(path: Path) -> Compression:
        """What `save` wrote; it is data alone, and one sentence says so if it is damaged."""
        try:
            with safe_open(path, "numpy") as file:
                about = json.loads((file.metadata() or {})["compression"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
            method, layers = about["method"], range(len(arrays) // 2)
            if about["format"] != FORMAT or method not in METHODS or about["sha256"] != _digest(method, arrays):
                raise ValueError("not as it was written")
            compression = Compression(method, [(arrays[f"{at} weight"], arrays[f"{at} bias"]) for at in layers])
            compression(np.ones((1, compression.dim_in)))  # ValueError unless each layer takes what another gives
            return compression
        except FileNotFoundError as error:
            raise SameSpaceError(f"{path}: no such file") from error
        except (OSError, SafetensorError, LookupError, TypeError, ValueError) as error:
            raise SameSpaceError(
                f"{path} is no compression, or damaged: make it again with `samespace compress`"
            ) from error


def _digest(method: str, arrays: dict[str, Floats]) -> str:
    digest = hashlib.sha256(method.encode())
    for name, values in sorted(arrays.items()):
        digest.update(f"{name} {values.dtype} {values.shape} ".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def fit_pca(vectors: Array, dim: int = DIM, whitening: float = WHITENING) -> Compression:
    """The directions in which vectors (N, D) differ most, whitened; fewer than `dim` where N or D are.

    The mean stays in: cosines are about 0, and are what is to be kept.
    """
    spread, axes = main_directions(vectors)
    dim = min(dim, int((spread > 1e-7 * spread[0]).sum()))
    weight = (axes[:, :dim] * spread[:dim] ** (-whitening / 2)).T
    return Compression("pca", [(weight.astype(np.float32, order="C"), np.zeros(dim, np.float32))])


def fit(method: str, vectors: Array, dim: int = DIM) -> Compression:
    """PCA, or an autoencoder, of these vectors (N, D)."""
    if method == "pca":
        return fit_pca(vectors, dim)
    from samespace.autoencoder import train  # which imports torch

    return train(vectors, dim)


class Row(NamedTuple):
    """What a way of keeping vectors costs, and what it keeps."""

    method: str  # "none", one of METHODS, or "pca whitened"
    dim: int
    bytes: int  # a photo
    recall: float  # of the 10 nearest by vectors as they are, the share that is among the 10 nearest still


class Compared(NamedTuple):
    """The ways side by side, and the one to use, fitted on all."""

    rows: list[Row]
    chosen: Compression


def compare(vectors: Array, method: str = "auto", dim: int = DIM) -> Compared:
    """Fit on one half of the vectors (N, D), count neighbours in the other; choose PCA unless the other is better.

    Both are judged by the numbers that they keep. PCA's are whitened to search by, which has a row of its own. A
    `method` asked for by name is the one chosen, and the only one measured.
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
    """Refuse vectors (N, D) that nothing can be learnt from, or that are short as they are."""
    if vectors.shape[1] <= dim:
        raise SameSpaceError(
            f"vectors of {vectors.shape[1]} numbers need no compression to {dim}: keep them as they are"
        )
    if len(vectors) < FEWEST:
        raise SameSpaceError(f"{count(len(vectors), 'photo')} are too few to learn from: scan at least {FEWEST}")


def recall(compression: Compression, vectors: Array) -> float:
    """How many of some vectors' nearest others (N, D) are their nearest still, once all are compressed."""
    k = min(NEIGHBOURS, len(vectors) - 1)
    before, after = (_nearest(kept, k) for kept in (unit(vectors.astype(np.float32)), compression(vectors)))
    return float(np.mean([len(set(one) & set(other)) / k for one, other in zip(before, after, strict=True)]))


def _nearest(vectors: Floats, k: int) -> list[list[int]]:
    """The `k` nearest of each of up to `QUERIES` rows, itself left out."""
    queries = np.arange(min(QUERIES, len(vectors)))
    found = Exact(vectors.astype(np.float16)).nearest(vectors[queries], k + 1).rows
    return [[row for row in rows.tolist() if row != query][:k] for query, rows in zip(queries, found, strict=True)]
