"""Shorter vectors that keep who is near whom: along the directions of widest spread, or by an autoencoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import save

from samespace.base import sealed
from samespace.base.arrays import Array, Doubles, Floats, blocks, unit
from samespace.base.files import save_whole

METHODS = ("pca", "autoencoder")
DIM = 256
FORMAT = 1
# How far components are whitened: each is divided by its spread to this power. That loses nothing, but weighs what was
# kept otherwise: the further, the better photos of one space are found, and the fewer neighbours are those that vectors
# have as they are. With a quarter three of four still are. Chosen on training rooms.
WHITENING = 0.25
BLOCK = 4096  # vectors that are worked on at a time

Layer = tuple[Floats, Floats]  # weight (d, D) and bias (d,)


class Compression:
    """Turns vectors (N, dim_in) of any length into vectors (N, dim) of length 1. One layer, or several with ReLU."""

    def __init__(self, method: str, layers: Sequence[Layer]) -> None:
        self.method, self.layers = method, list(layers)
        self.dim_in, self.dim = layers[0][0].shape[1], layers[-1][0].shape[0]

    def __call__(self, vectors: Array) -> Floats:
        encoded = [self._encode(vectors[some]) for some in blocks(len(vectors), BLOCK)]
        return np.concatenate(encoded) if encoded else np.empty((0, self.dim), np.float32)

    def _encode(self, vectors: Array) -> Floats:
        values = unit(vectors.astype(np.float32))
        for number, (weight, bias) in enumerate(self.layers):
            if number:
                values = np.maximum(values, 0)
            values = values @ weight.T + bias
        return unit(values)

    @property
    def fingerprint(self) -> str:
        """Return a name that compressions share only if they give the same vectors."""
        return sealed.digest(self.method, self.arrays())[:16]

    def arrays(self) -> dict[str, Floats]:
        """Return the layers as the file has them, by name."""
        arrays = {}
        for number, (weight, bias) in enumerate(self.layers):
            arrays[f"{number} weight"] = np.ascontiguousarray(weight, np.float32)
            arrays[f"{number} bias"] = np.ascontiguousarray(bias, np.float32)
        return arrays

    def save(self, path: Path) -> None:
        """Write one safetensors file, whole or not at all."""
        arrays = self.arrays()
        about = {"format": FORMAT, "method": self.method, "sha256": sealed.digest(self.method, arrays)}
        save_whole(path, save(arrays, {"compression": json.dumps(about)}))

    @staticmethod
    def load(path: Path) -> Compression:
        """Read what `save` wrote. It is data alone: a file from a stranger is safe to load."""
        remedy = "make it again with `samespace compress`"
        return sealed.load(path, "compression", FORMAT, "", lambda about: str(about["method"]), _build, remedy)


def _build(about: dict[str, Any], arrays: dict[str, Floats]) -> Compression:
    if about["method"] not in METHODS:
        raise ValueError("another method")
    layers = [(arrays[f"{number} weight"], arrays[f"{number} bias"]) for number in range(len(arrays) // 2)]
    compression = Compression(about["method"], layers)
    compression(np.ones((1, compression.dim_in)))  # ValueError unless each layer takes what another gives
    return compression


def fit_pca(vectors: Array, dim: int = DIM, whitening: float = WHITENING) -> Compression:
    """Return the whitened directions in which vectors (N, D) differ most; fewer than `dim` if N or D are.

    The mean stays in: cosines are about 0, and are what must be kept.
    """
    spread, axes = main_directions(vectors)
    dim = min(dim, int((spread > 1e-7 * spread[0]).sum()))
    weight = (axes[:, :dim] * spread[:dim] ** (-whitening / 2)).T
    return Compression("pca", [(weight.astype(np.float32, order="C"), np.zeros(dim, np.float32))])


class Directions(NamedTuple):
    """D directions at right angles, those with the widest spread first."""

    spread: Doubles  # (D,) the mean square along each
    axes: Doubles  # (D, D), a column each


def main_directions(vectors: Array) -> Directions:
    """Return the main directions of vectors (N, D), each scaled to length 1; their mean stays in, as in `fit_pca`."""
    moments = np.zeros((vectors.shape[1], vectors.shape[1]))
    for some in blocks(len(vectors), BLOCK):
        rows = unit(vectors[some].astype(np.float32)).astype(np.float64)
        moments += rows.T @ rows
    spread, axes = np.linalg.eigh(moments / max(1, len(vectors)))
    spread, axes = spread[::-1], axes[:, ::-1]
    signs = np.sign(axes[np.abs(axes).argmax(0), np.arange(len(spread))])  # eigh leaves them open
    return Directions(spread, axes * signs)
