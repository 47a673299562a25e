"""The directions in which vectors differ most: what a few of them tell is nearly all that many numbers tell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from samespace.base.arrays import Array, Doubles, unit

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
