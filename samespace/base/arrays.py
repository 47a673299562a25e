"""Arrays by their plain names, and what is done to rows of them everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def unit(rows: Floats) -> Floats:
    """Scale rows to length 1; a row of zeros, which has no direction, becomes the first axis."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    first = np.eye(1, rows.shape[1], dtype=np.float32)
    return np.where(lengths > 1e-6, rows / np.maximum(lengths, 1e-6), first)


def ranks(places: Ints) -> Ints:
    """Count, for each element of a sorted array of numbers from 0 on, the equal ones before it."""
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    return np.arange(len(places)) - np.repeat(starts, np.diff(starts, append=len(places)))


def blocks(count: int, size: int) -> Iterator[slice]:
    """Cut 0 to `count` into slices of `size`."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
