"""How sure it is that two photos are one shot: asked once for each pair, and kept in the library, for it takes long."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from samespace.base import progress
from samespace.base.arrays import Doubles, Ints
from samespace.base.files import write_whole
from samespace.library.library import Library
from samespace.search import same_shot

# Two arrays of photos to the score of each pair; which photo of a pair comes first must not matter.
ScorePairs = Callable[[Ints, Ints], npt.NDArray[np.floating]]

AT_ONCE = 1 << 12  # pairs that are scored in one call


class Scored(NamedTuple):
    """Pairs of photos and their scores, (n,) each."""

    first: Ints
    second: Ints
    scores: Doubles


class Remembered:
    """A score that asks for each pair once. Threads may share it: if two ask at once, one may have to ask again."""

    def __init__(
        self, score_pairs: ScorePairs, count: int, known: Scored | None = None, room: float = math.inf
    ) -> None:
        """Of `count` photos; what is `known` already, each pair once, is not asked for. `room` is for so many pairs."""
        self.score_pairs = score_pairs
        self.count = count
        self.room = room
        # Pairs, rising, and their scores, replaced as one; the last stands for none, and comes after all.
        self._known = np.array([count * count]), np.zeros(1)
        if known is not None:
            pairs = self._numbers(known.first, known.second)
            order = np.argsort(pairs)
            self._known = np.append(pairs[order], self._known[0]), np.append(known.scores[order], self._known[1])

    @property
    def known(self) -> Scored:
        """All pairs that have a score, each once."""
        pairs, scores = self._known
        return Scored(pairs[:-1] // self.count, pairs[:-1] % self.count, scores[:-1])

    def _numbers(self, first: Ints, second: Ints) -> Ints:
        """A pair as one number, whichever way round."""
        return np.minimum(first, second) * self.count + np.maximum(first, second)

    def __call__(self, first: Ints, second: Ints) -> Doubles:
        pairs = self._numbers(first, second)
        known, scores = self._known
        places = np.searchsorted(known, pairs)
        if (known[places] != pairs).any():
            new = np.unique(pairs[known[places] != pairs])
            found = score_in_blocks(new // self.count, new % self.count, self.score_pairs)
            before = np.searchsorted(known, new)
            known, scores = np.insert(known, before, new), np.insert(scores, before, found)
            if len(known) <= self.room:
                self._known = known, scores
            places = np.searchsorted(known, pairs)
        asked: Doubles = scores[places]
        return asked


def score_in_blocks(first: Ints, second: Ints, score_pairs: ScorePairs) -> Doubles:
    """The score of each pair, asked for a block at a time and with the lower number first."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    scores = np.empty(len(low))
    with progress.bar("comparing", len(low), " pairs", disable=len(low) <= AT_ONCE) as bar:
        for start in range(0, len(low), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            scores[rows] = score_pairs(low[rows], high[rows])
            bar.update(len(low[rows]))
    return scores


Keys = npt.NDArray[np.uint64]

# By the first 64 bits of both contents, the lower first: whatever the photos are called, and wherever they lie.
_PAIR = np.dtype([("first", "<u8"), ("second", "<u8"), ("score", "<f4")])

Pairs = npt.NDArray[np.void]
_NOTHING: Pairs = np.empty(0, _PAIR)


def recalled_scores(libraries: Sequence[Library], contents: Sequence[str]) -> Scored:
    """What these libraries remember of pairs of contents, by their places in the list, which names each once."""
    pairs, keys = _once(np.concatenate([_NOTHING, *(_read(_path(library)) for library in libraries)])), _keys(contents)
    order = np.argsort(keys)
    first, second = (_places(pairs[side], keys[order]) for side in ("first", "second"))
    ours = (first >= 0) & (second >= 0)
    return Scored(order[first[ours]], order[second[ours]], pairs["score"][ours].astype(np.float64))


def remember_scores(library: Library, contents: Sequence[str], scored: Scored) -> None:
    """Add these pairs of contents to what is remembered; forget pairs of photos that the library has not any more.

    Not while somebody else holds the library, and a full disk is no reason to fail: the pairs are then scored again.
    """
    if not library.is_writable:
        return
    with library.hold(wait=False) as held, suppress(OSError):
        if held:
            pairs = _once(np.concatenate([_as_pairs(_keys(contents), scored), _read(_path(library))]))
            there = np.sort(_keys(list(library.rows(same_shot.Sketches()))))
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
    return library.features_folder(same_shot.Sketches.fingerprint) / f"{same_shot.SCORING}.npy"


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
