"""Shorter vectors that keep who is near whom: along the directions of widest spread, or by an autoencoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from samespace.base.arrays import Array, Doubles, Floats, unit
from samespace.base.errors import SameSpaceError
from samespace.base.files import save_whole

METHODS = ("pca", "autoencoder")
DIM = 256
FORMAT = 1
# How far components are whitened: each is divided by its spread to this power. That loses nothing, but weighs what was
# kept otherwise: the further, the better photos of one space are found, and the fewer neighbours are those that vectors
# have as they are. With a quarter three of four still are. Chosen on training rooms.
WHITENING = 0.25

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
        return digest(self.method, self._arrays())[:16]

    def _arrays(self) -> dict[str, Floats]:
        return {
            f"{number} {part}": np.ascontiguousarray(values, np.float32)
            for number, layer in enumerate(self.layers)
            for part, values in zip(("weight", "bias"), layer, strict=True)
        }

    def save(self, path: Path) -> None:
        """One safetensors file, whole or not at all."""
        arrays = self._arrays()
        about = {"format": FORMAT, "method": self.method, "sha256": digest(self.method, arrays)}
        save_whole(path, save(arrays, {"compression": json.dumps(about)}))

    @staticmethod
    def load(path: Path) -> Compression:
        """What `save` wrote; it is data alone, and one sentence says so if it is damaged."""
        try:
            with safe_open(path, "numpy") as file:
                about = json.loads((file.metadata() or {})["compression"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
            method, layers = about["method"], range(len(arrays) // 2)
            if about["format"] != FORMAT or method not in METHODS or about["sha256"] != digest(method, arrays):
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


def digest(method: str, arrays: dict[str, Floats]) -> str:
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


BLOCK = 4096


class Directions(NamedTuple):
    """D directions at right angles, those with the widest spread first."""

    spread: Doubles  # (D,) the mean square along each
    axes: Doubles  # (D, D), a column each


def main_directions(vectors: Array) -> Directions:
    """Of vectors (N, D), each taken as of length 1. Their mean stays in: cosines are about 0."""
    moments = np.zeros((vectors.shape[1], vectors.shape[1]))
    for at in range(0, len(vectors), BLOCK):
        rows = unit(vectors[at : at + BLOCK].astype(np.float32)).astype(np.float64)
        moments += rows.T @ rows
    spread, axes = np.linalg.eigh(moments / max(1, len(vectors)))
    spread, axes = spread[::-1], axes[:, ::-1]
    signs = np.sign(axes[np.abs(axes).argmax(0), np.arange(len(spread))])  # eigh leaves them open
    return Directions(spread, axes * signs)
