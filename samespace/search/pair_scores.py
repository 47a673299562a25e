"""Scores of pairs of photos, computed once; those of copies are kept in the library, because they take long."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from samespace.base import progress
from samespace.base.arrays import Doubles, Flags, Ints, blocks
from samespace.base.files import write_whole
from samespace.library.features import Kept
from samespace.library.library import Library
from samespace.search import same_shot

# Takes two arrays of photos and returns the score of each pair, whichever photo of a pair comes first.
ScorePairs = Callable[[Ints, Ints], npt.NDArray[np.floating]]

AT_ONCE = 1 << 12  # pairs that are scored in one call


class Scored(NamedTuple):
    """Pairs of photos and their scores, (n,) each."""

    first: Ints
    second: Ints
    scores: Doubles


class Remembered:
    """A score computed once for each pair. Threads may share it: if two ask at once, one may compute it again."""

    def __init__(
        self, score_pairs: ScorePairs, count: int, known: Scored | None = None, room: float = math.inf
    ) -> None:
        """Score pairs of `count` photos but those `known`, each once; keep the scores of up to `room` pairs."""
        self.score_pairs = score_pairs
        self.count = count
        self.room = room
        # Pairs, rising, and their scores, replaced together; the last is no pair, and comes after all.
        self._known = np.array([count * count]), np.zeros(1)
        if known is not None:
            pairs = self._numbers(known.first, known.second)
            order = np.argsort(pairs)
            self._known = np.append(pairs[order], self._known[0]), np.append(known.scores[order], self._known[1])

    @property
    def known(self) -> Scored:
        """Return all pairs that have a score, each once."""
        pairs, scores = self._known
        return Scored(pairs[:-1] // self.count, pairs[:-1] % self.count, scores[:-1])

    def lacks(self, first: Ints, second: Ints) -> Flags:
        """Return which pairs have no score yet, (n,)."""
        pairs, (known, _) = self._numbers(first, second), self._known
        return known[np.searchsorted(known, pairs)] != pairs

    def _numbers(self, first: Ints, second: Ints) -> Ints:
        """Return each pair as one number, whichever photo comes first."""
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
        return scores[places]


def score_in_blocks(first: Ints, second: Ints, score_pairs: ScorePairs) -> Doubles:
    """Return the score of each pair, computed a block at a time and with the lower number first."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    scores = np.empty(len(low))
    with progress.bar("comparing", len(low), " pairs", disable=len(low) <= AT_ONCE) as bar:
        for rows in blocks(len(low), AT_ONCE):
            scores[rows] = score_pairs(low[rows], high[rows])
            bar.update(len(low[rows]))
    return scores


Keys = npt.NDArray[np.uint64]

# By the first 64 bits of both contents, the lower first: whatever the photos are called, and wherever they lie.
_PAIR = np.dtype([("first", "<u8"), ("second", "<u8"), ("score", "<f4")])

Pairs = npt.NDArray[np.void]
_NOTHING: Pairs = np.empty(0, _PAIR)
_NO_KEYS: Keys = np.empty(0, np.uint64)
_COMPLETE = "all pairs compared"  # the note's name
_SEAL = hashlib.sha256().digest_size


class Remembrance(NamedTuple):
    """A file of scores that a library keeps beside the features they were computed from."""

    kept: Kept
    name: str  # another one for whatever changes the scores


SAME_SHOT = Remembrance(same_shot.Sketches(), same_shot.SCORING)


def recalled_scores(libraries: Sequence[Library], contents: Sequence[str], which: Remembrance = SAME_SHOT) -> Scored:
    """Return the scores these libraries remember for pairs of `contents`, each named once, by their places in it."""
    pairs = _once(np.concatenate([_NOTHING, *(_read(_path(library, which))[0] for library in libraries)]))
    keys = _keys(contents)
    order = np.argsort(keys)
    first, second = (_places(pairs[side], keys[order]) for side in ("first", "second"))
    ours = (first >= 0) & (second >= 0)
    return Scored(order[first[ours]], order[second[ours]], pairs["score"][ours].astype(np.float64))


def searched(libraries: Sequence[Library], contents: Sequence[str], which: Remembrance) -> Flags:
    """Return which of `contents` were all searched for among each other, (n,): pairs worth a score are remembered.

    None of several libraries: no one of them remembers pairs with the photos of another.
    """
    known = _read(_path(libraries[0], which))[1] if len(libraries) == 1 else _NO_KEYS
    return _places(_keys(contents), known) >= 0


def is_complete(libraries: Sequence[Library], contents: Sequence[str], which: Remembrance) -> bool:
    """Return whether a library remembers all pairs worth a score among exactly these photos: none need be looked for.

    None of several libraries does, as in `searched`.
    """
    known = len(libraries) == 1 and libraries[0].note(_COMPLETE)
    return bool(known and known == _all_of(contents, which)) and bool(searched(libraries, contents, which).all())


def note_complete(library: Library, contents: Sequence[str], which: Remembrance) -> None:
    """Note that a library remembers all pairs worth a score among these photos."""
    if library.is_writable and library.note(_COMPLETE) != _all_of(contents, which):
        with library.hold(wait=False) as held:
            if held:
                library.write_note(_COMPLETE, _all_of(contents, which))


def _all_of(contents: Sequence[str], which: Remembrance) -> str:
    """Return a fingerprint of these photos and of how their scores are computed."""
    digest = hashlib.sha256(f"{which.kept.fingerprint} {which.name}".encode())
    digest.update(np.sort(_keys(contents)).tobytes())
    return digest.hexdigest()


def remember_scores(
    library: Library,
    contents: Sequence[str],
    scored: Scored,
    which: Remembrance = SAME_SHOT,
    all_searched: bool = False,
) -> None:
    """Remember the scores of these pairs of contents; forget pairs of photos that the library no longer has.

    If `all_searched`, the contents count as `searched` from now on, unless more others do already. Nothing is written
    while somebody else holds the library or if the disk is full: the pairs are then scored again.
    """
    if not library.is_writable:
        return
    with library.hold(wait=False) as held, suppress(OSError):
        if held:
            before, known = _read(_path(library, which))
            pairs = _once(np.concatenate([_as_pairs(_keys(contents), scored), before]))
            there = np.sort(_keys(list(library.rows(which.kept))))
            ours = (_places(pairs["first"], there) >= 0) & (_places(pairs["second"], there) >= 0)
            known, new = (np.intersect1d(keys, there) for keys in (known, _keys(contents)))
            _write(_path(library, which), pairs[ours], new if all_searched and len(new) >= len(known) else known)


def score_and_remember(
    libraries: Sequence[Library],
    contents: Sequence[str],
    which: Remembrance,
    score_new: ScorePairs,
    at_once: int,
    doing: str = "",
) -> Callable[[Ints, Ints], Doubles]:
    """Return a function that scores pairs of `contents`, by `score_new` those that no library remembers.

    Libraries remember new ones, `at_once` together: a search that is stopped has to do little of it again. NaN, for a
    pair that cannot be scored, is not remembered. Progress is shown if it has a name.
    """

    def score(first: Ints, second: Ints) -> Doubles:
        before = recalled_scores(libraries, contents, which)
        remembered, kept = Remembered(score_new, len(contents), before), len(before.scores)
        new = np.flatnonzero(remembered.lacks(first, second))
        with progress.bar(doing, len(new), " pairs", disable=not (doing and len(new))) as bar:
            for some in blocks(len(new), at_once):
                remembered(first[new[some]], second[new[some]])
                one, other, scores = remembered.known
                told = np.isfinite(scores)
                if told.sum() > kept:
                    kept = told.sum()
                    for library in libraries:
                        remember_scores(library, contents, Scored(one[told], other[told], scores[told]), which)
                bar.update(len(new[some]))
        return remembered(first, second)

    return score


def _as_pairs(keys: Keys, scored: Scored) -> Pairs:
    pairs = np.empty(len(scored.scores), _PAIR)
    one, other = keys[scored.first], keys[scored.second]
    pairs["first"], pairs["second"], pairs["score"] = np.minimum(one, other), np.maximum(one, other), scored.scores
    return pairs


def _keys(contents: Sequence[str]) -> Keys:
    return np.array([int(content[:16], 16) for content in contents], np.uint64)


def _places(keys: Keys, known: Keys) -> Ints:
    """Return each key's place among the known ones, which rise; -1 for those not known."""
    if not len(known):
        return np.full(len(keys), -1, np.intp)
    places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[places] == keys, places, -1)


def _path(library: Library, which: Remembrance) -> Path:
    return library.features_folder(which.kept.fingerprint) / f"{which.name}.npy"


def _read(path: Path) -> tuple[Pairs, Keys]:
    """Return the pairs in a file, and the keys that were searched; none if it is missing or damaged."""
    with suppress(OSError, ValueError, EOFError):
        file = BytesIO(path.read_bytes())
        pairs, keys = np.load(file, allow_pickle=False), _NO_KEYS
        if len(file.getbuffer()) - file.tell() > _SEAL:
            keys = np.load(file, allow_pickle=False)
        end = file.tell()
        seal = file.read()
        is_sound = seal in (b"", _seal(file.getbuffer()[:end]))  # 0.1 wrote none
        if is_sound and (pairs.dtype, pairs.ndim, keys.dtype, keys.ndim) == (_PAIR, 1, _NO_KEYS.dtype, 1):
            return np.asarray(pairs), np.asarray(keys)
    return _NOTHING, _NO_KEYS


def _write(path: Path, pairs: Pairs, keys: Keys) -> None:
    file = BytesIO()
    np.save(file, pairs)
    if len(keys):
        np.save(file, keys)
    write_whole(path, file.getvalue() + _seal(file.getbuffer()))


def _seal(content: memoryview) -> bytes:
    """Return what follows the array, where numpy does not look."""
    return hashlib.sha256(content).digest()


def _once(pairs: Pairs) -> Pairs:
    """Sort the pairs, and keep the first of those that are there twice."""
    pairs = pairs[np.lexsort((pairs["second"], pairs["first"]))]
    again = (pairs["first"][1:] == pairs["first"][:-1]) & (pairs["second"][1:] == pairs["second"][:-1])
    return pairs[np.append(True, ~again)[: len(pairs)]]
