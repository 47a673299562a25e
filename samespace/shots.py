"""What a library remembers of pairs of its photos: how surely they are of one shot, which takes long to find out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from samespace import near
from samespace.base.arrays import Ints
from samespace.base.files import write_whole
from samespace.grouping import Scored
from samespace.library.library import Library

Keys = npt.NDArray[np.uint64]

# By the first 64 bits of both contents, the lower first: whatever the photos are called, and wherever they lie.
_PAIR = np.dtype([("first", "<u8"), ("second", "<u8"), ("score", "<f4")])

Pairs = npt.NDArray[np.void]
_NOTHING: Pairs = np.empty(0, _PAIR)


def recalled(libraries: Sequence[Library], contents: Sequence[str]) -> Scored:
    """What these libraries remember of pairs of contents, by their places in the list, which names each once."""
    pairs, keys = _once(np.concatenate([_NOTHING, *(_read(_path(library)) for library in libraries)])), _keys(contents)
    order = np.argsort(keys)
    first, second = (_places(pairs[side], keys[order]) for side in ("first", "second"))
    ours = (first >= 0) & (second >= 0)
    return Scored(order[first[ours]], order[second[ours]], pairs["score"][ours].astype(np.float64))


def remember(library: Library, contents: Sequence[str], scored: Scored) -> None:
    """Add these pairs of contents to what is remembered; forget pairs of photos that the library has not any more.

    Not while somebody else holds the library, and a full disk is no reason to fail: the pairs are then scored again.
    """
    if not library.is_writable:
        return
    with library.hold(wait=False) as held, suppress(OSError):
        if held:
            pairs = _once(np.concatenate([_as_pairs(_keys(contents), scored), _read(_path(library))]))
            there = np.sort(_keys(list(library.rows(near.Sketches()))))
            ours = (_places(pairs["first"], there) >= 0) & (_places(pairs["second"], there) >= 0)
            _write(_path(library), pairs[ours])


def _as_pairs(keys: Keys, scored: Scored) -> Pairs:
    pairs = np.empty(len(scored.scores), _PAIR)
    one, other = keys[scored.first], keys[scored.second]
    pairs["first"], pairs["second"], pairs["score"] = np.minimum(one, other), np.maximum(one, other), scored.scores
    return pairs


def _keys(contents: Sequence[str]) -> Keys:
    return np.array([int(content[:16], 16) for content in contents], np.uint64)


def _places(keys: Keys, known: Keys) -> Ints:
    """Where among the known ones, which rise, each of these is; -1 for those that are not."""
    if not len(known):
        return np.full(len(keys), -1, np.intp)
    places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    found: Ints = np.where(known[places] == keys, places, -1)
    return found


def _path(library: Library) -> Path:
    return library.features_folder(near.Sketches.fingerprint) / f"{near.SCORING}.npy"


def _read(path: Path) -> Pairs:
    """Nothing where the file is missing or damaged."""
    with suppress(OSError, ValueError, EOFError):
        pairs = np.load(path, allow_pickle=False)
        if pairs.dtype == _PAIR and pairs.ndim == 1:
            return np.asarray(pairs)
    return _NOTHING


def _write(path: Path, pairs: Pairs) -> None:
    file = BytesIO()
    np.save(file, pairs)
    write_whole(path, file.getvalue())


def _once(pairs: Pairs) -> Pairs:
    """Rising, and of those that are there twice the first."""
    pairs = pairs[np.lexsort((pairs["second"], pairs["first"]))]
    again = (pairs["first"][1:] == pairs["first"][:-1]) & (pairs["second"][1:] == pairs["second"][:-1])
    once: Pairs = pairs[np.append(True, ~again)[: len(pairs)]]
    return once
