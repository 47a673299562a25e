"""Gather the evidence on pairs of photos whose rooms are known: to learn its weights from, and to measure by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from samespace.base import progress
from samespace.base.arrays import Array, Flags, Floats, Ints, blocks
from samespace.base.errors import SameSpaceError
from samespace.base.once import compute_once, fingerprint, written_whole
from samespace.base.photos import SIZE, UnreadablePhoto, in_threads, read_many
from samespace.library.read_photos import Extractor
from samespace.model.heads import Weights
from samespace.model.known import Known, choose_known
from samespace.model.pairs import RANKED, Photos, check_both_labels, known_pairs
from samespace.model.points import BYTES, Points, count_partners, find_points, strength
from samespace.model.projection import MATERIALS, fit
from samespace.search.evidence import CountPartners, Evidence

VERSION = "evidence 3"  # another one for whatever changes the numbers
FOLDS, FEWEST = 3, 4  # libraries that are learnt from, if there are two spaces for each, and spaces that it takes
_PLAIN = Weights(1, 1, 0)  # only the pieces are looked at

LookAgain = Callable[[CountPartners], CountPartners]


class Seen(NamedTuple):
    """Hold what N photos are compared by: materials (N, D) of int8, and points (N, BYTES) of uint8."""

    materials: Array
    points: Array

    def take(self, rows: Ints) -> Seen:
        return Seen(self.materials[rows], self.points[rows])


Kept = TypeVar("Kept", Seen, "_Gathered")


class Pieces(NamedTuple):
    """The evidence on P pairs of photos."""

    evidence: Floats  # (P, 4): likeness and proof within a library, then of the two photos alone
    same: Flags  # (P,) of one room
    listed: Flags  # (P,) on the short list of either photo: others are never looked at

    def rows(self) -> Floats:
        """Return one table, (P, 6): the evidence, 1 for one room, 1 for the short list."""
        return np.column_stack([self.evidence, self.same, self.listed]).astype(np.float32)


def joined(parts: Sequence[Pieces]) -> Pieces:
    """Return the pairs of all parts."""
    evidence, same, listed = zip(*parts, strict=True)
    return Pieces(np.concatenate(evidence), np.concatenate(same), np.concatenate(listed))


def learn_from(
    photos: Photos,
    held_out: Photos,
    same_space_type: bool,
    extractor: Extractor,
    cache: Path,
    tell: Callable[[str], None],
) -> tuple[Known, Pieces, Pieces]:
    """Return what there is to learn: photos of known rooms, evidence on their pairs, and on pairs held out."""
    spaces = photos.spaces(same_space_type)
    seen, asked = (see(those.paths, extractor, cache, tell) for those in (photos, held_out))
    known = choose_known(seen.materials, spaces)
    pairs = known_pairs(held_out, same_space_type, RANKED)
    for those, label in ((photos, known_pairs(photos, same_space_type)[:, 2]), (held_out, pairs[:, 2])):
        check_both_labels(those, bool(label.any()), not label.all())

    def gather_all() -> _Gathered:
        learnt = gather_in_folds(seen, photos, same_space_type)
        return _Gathered(*learnt, *gather(asked, known, pairs))

    digest = hashlib.sha256(f"{VERSION} {extractor.fingerprint} {Points.fingerprint} {same_space_type}".encode())
    for said in (fingerprint(photos.paths), fingerprint(held_out.paths)):
        digest.update(said.encode())
    for told in (spaces, photos.verdicts, pairs):
        digest.update(told.tobytes())
    folder = cache / f"evidence-{digest.hexdigest()[:16]}"
    gathered = _kept(folder, "evidence", len(photos), _Gathered, gather_all, tell)
    return known, Pieces(*gathered[:3]), Pieces(*gathered[3:])


class _Gathered(NamedTuple):
    evidence: Array
    same: Array
    listed: Array
    evidence_held_out: Array
    same_held_out: Array
    listed_held_out: Array


def see(
    paths: Sequence[Path], extractor: Extractor, cache: Path | None = None, tell: Callable[[str], None] = lambda _: None
) -> Seen:
    """Return what photos are compared by, in the order of `paths`; with `cache` it is found once, and kept there."""
    if cache is None:
        return _see(paths, extractor)
    folder = cache / f"{fingerprint(paths)}-{extractor.fingerprint}-{Points.fingerprint}"
    return _kept(folder, "feature bank", len(paths), Seen, lambda: _see(paths, extractor), tell)


def _kept(
    folder: Path, what: str, photos: int, kind: type[Kept], compute: Callable[[], Kept], tell: Callable[[str], None]
) -> Kept:
    """Return what a folder keeps as arrays, computed once by one process while others wait."""

    def keep() -> None:
        with written_whole(folder) as partial:
            for name, array in zip(kind._fields, compute(), strict=True):
                np.save(partial / f"{name}.npy", array)

    compute_once(folder, what, photos, keep, tell)
    return kind(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in kind._fields))


def _see(paths: Sequence[Path], extractor: Extractor) -> Seen:
    photos = progress.over(read_many(paths, SIZE), "feature bank", len(paths))
    materials, waiting = [], []
    for photo in photos:
        if isinstance(photo, UnreadablePhoto):
            raise photo
        waiting.append(photo)
        if len(waiting) == extractor.batch:
            materials.append(extractor.extract(np.stack(waiting))[MATERIALS])
            waiting = []
    if waiting:
        materials.append(extractor.extract(np.stack(waiting))[MATERIALS])
    points = progress.over(in_threads(find_points, paths), "points", len(paths))
    nothing = np.zeros(BYTES, np.uint8)
    return Seen(np.concatenate(materials), np.stack([nothing if found is None else found for found in points]))


def gather(seen: Seen, known: Known, pairs: Ints, look_again: LookAgain | None = None) -> Pieces:
    """Return the evidence on pairs, rows (P, 3) of two photos and 1 for one room, of photos that are one library.

    The library is whitened together with photos of `known` rooms, none of which may be in it. `look_again` makes what
    counts shared points look twice.
    """
    together = fit(np.concatenate([known.rows, seen.materials]), known.rooms)
    count = len(seen.materials)
    shared = np.zeros((0, 2), np.int64)

    def count_once(first: Ints, second: Ints) -> Ints:
        return count_partners(lambda row: seen.points[row], first, second)

    count_shared = look_again(count_once) if look_again else count_once

    def count_and_note(first: Ints, second: Ints) -> Ints:
        nonlocal shared
        found = count_shared(first, second)
        shared = np.column_stack([first * count + second, found])
        return found

    evidence = Evidence(together(seen.materials), count_and_note, _PLAIN)
    first, second = pairs[:, :2].min(1), pairs[:, :2].max(1)
    alone = fit(known.rows, known.rooms)(seen.materials)
    alike = [np.einsum("nd,nd->n", alone[first[some]], alone[second[some]]) for some in blocks(len(pairs), 4096)]
    codes = first * count + second
    direct = np.zeros(len(pairs))
    if len(shared):
        at = np.searchsorted(shared[:, 0], codes).clip(max=len(shared) - 1)
        direct = np.where(shared[at, 0] == codes, strength(shared[at, 1]), 0)
    starts, ids = evidence.candidates.starts, evidence.candidates.ids.astype(np.int64)
    photo = np.repeat(np.arange(count), np.diff(starts))
    listed = np.isin(codes, np.minimum(photo, ids) * count + np.maximum(photo, ids))
    columns = [*evidence.pieces(first, second), np.concatenate([np.empty(0), *alike]), direct]
    return Pieces(np.column_stack(columns).astype(np.float32), pairs[:, 2] == 1, listed)


def gather_in_folds(seen: Seen, photos: Photos, same_space_type: bool) -> Pieces:
    """Return the evidence on pairs to learn from: each photo is in one of three libraries, and the others are known."""
    spaces = photos.spaces(same_space_type)
    if spaces.max() + 1 < FEWEST:
        beside = " beside those held out" if photos.part else ""
        raise SameSpaceError(
            f"{photos.root} shows {spaces.max() + 1} spaces{beside}, and compare learns from {FEWEST} or more: add "
            "photos of other spaces, or train the head concat"
        )
    folds = min(FOLDS, (spaces.max() + 1) // 2)
    fold = np.random.default_rng(0).permutation(spaces.max() + 1)[spaces] % folds
    parts = []
    for number in range(folds):
        asked, others = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        known = choose_known(seen.materials[others], spaces[others])
        pairs = known_pairs(photos.take(asked), same_space_type, RANKED)
        parts.append(gather(seen.take(asked), known, pairs))
    return joined(parts)
