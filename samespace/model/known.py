"""Keep photos whose rooms are known: a model carries them, and a library's photos are whitened together with them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from samespace.base.arrays import Array, Ints
from samespace.base.errors import SameSpaceError

MOST = 1024  # photos that a model carries: 9 MB; more tell hardly more, and whitening takes the cube of their number


class Known(NamedTuple):
    """Photos whose rooms are known: their materials (M, D) of int8, and the numbers of their rooms (M,)."""

    rows: Array
    rooms: Ints


def choose_known(rows: Array, rooms: Ints) -> Known:
    """Return up to `MOST` of labelled photos, whole rooms, and rather such as have several photos."""
    numbers, counts = np.unique(rooms, return_counts=True)
    shuffled = np.random.default_rng(0).permutation(len(numbers))
    order = shuffled[np.argsort(counts[shuffled] < 2, kind="stable")]
    fits = order[counts[order].cumsum() <= MOST]
    chosen = np.flatnonzero(np.isin(rooms, numbers[fits]))
    if len(chosen) < 2:
        raise SameSpaceError(f"{len(chosen)} photos of known rooms are too few to learn from: give more")
    return Known(np.ascontiguousarray(rows[chosen]), rooms[chosen])
