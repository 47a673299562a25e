"""Find photos whose names or verdicts say which space they show, and make labelled pairs of them."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from samespace.base import progress
from samespace.base.arrays import Doubles, Ints
from samespace.base.errors import SameSpaceError
from samespace.base.find import find
from samespace.base.hashes import Hashes, hamming, wavelet_hash
from samespace.base.photos import VARIANTS, UnreadablePhoto, in_threads, open_photo

AIRBNB = "Airbnb Data"
TRAINING, TEST = "Training Data", "Test Data"
VERDICTS = "verdicts"  # a folder beside the space types, with photos whose pairs people judged
FILE, COLUMNS = "verdicts.csv", ["first", "second", "same"]  # in that folder, the verdicts

Verdicts = dict[tuple[Path, Path], bool]  # by pair in sorted order: True for one space
_NAME = re.compile(r"(?P<city>.+)_(?P<room_id>[0-9]+)_[0-9]+")  # a city may contain underscores


@dataclass(frozen=True, eq=False)
class Photos:
    """A table of photos in path order, one a row, and beside it the photos that were left out.

    A judged photo is known by verdicts on its pairs alone. It has no city, and its room id is the name of the first
    photo that verdicts of one space join it to.
    """

    root: Path
    paths: tuple[Path, ...]
    cities: tuple[str, ...]
    room_ids: tuple[str, ...]
    space_types: tuple[str, ...]
    hashes: Hashes  # (N,) wavelet hashes
    unreadable: tuple[UnreadablePhoto, ...] = ()
    unparsed: tuple[Path, ...] = ()
    verdicts: Ints = field(default_factory=lambda: np.empty((0, 3), np.int64))  # rows of two, 1 or 0
    part: str = ""  # "held out", "not held out", or all

    def __len__(self) -> int:
        return len(self.paths)

    def listings(self) -> list[tuple[str, str]]:
        """Return city and room id of every photo."""
        return list(zip(self.cities, self.room_ids, strict=True))

    def named(self) -> Ints:
        """Return the rows whose names tell their space: all but the judged."""
        return np.array([row for row, city in enumerate(self.cities) if city], np.int64)

    def spaces(self, same_space_type: bool = False) -> Ints:
        """Number the space of each photo, (N,): equal numbers are one space; for judged photos they mean nothing.

        A space is a listing, or with `same_space_type` one room of a listing: its kitchen is not its bedroom.
        """
        types = self.space_types if same_space_type else [""] * len(self)
        numbers: dict[tuple[tuple[str, str], str], int] = {}
        keys = zip(self.listings(), types, strict=True)
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)

    def take(self, rows: Ints) -> Photos:
        """Return a table of these rows only, in this order; a verdict stays if both its photos do."""
        place = np.full(len(self), -1)
        place[rows] = np.arange(len(rows))
        verdicts = np.column_stack([place[self.verdicts[:, :2]], self.verdicts[:, 2]])
        return replace(
            self,
            paths=tuple(self.paths[row] for row in rows),
            cities=tuple(self.cities[row] for row in rows),
            room_ids=tuple(self.room_ids[row] for row in rows),
            space_types=tuple(self.space_types[row] for row in rows),
            hashes=self.hashes[rows],
            verdicts=verdicts[(verdicts >= 0).all(axis=1)],
        )


def find_photos(root: Path, split: str = TRAINING) -> Photos:
    """Return the photos of a split that can be read and whose name or verdicts say what they show."""
    folder = _split_folder(root, split)
    found = find(folder, follow_links=True)
    verdicts = read_verdicts(folder / VERDICTS)
    _check_there(verdicts, found, folder)
    judged = {path: ("", first.name) for path, first in joined(verdicts).items()}
    listings = [judged.get(path) or _listing(path) for path in found]
    named = [(path, *listing) for path, listing in zip(found, listings, strict=True) if listing]
    hashes = _hash_photos([path for path, _, _ in named])
    usable = [(*row, value) for row, value in zip(named, hashes, strict=True) if not isinstance(value, UnreadablePhoto)]
    unreadable = tuple(value for value in hashes if isinstance(value, UnreadablePhoto))
    unparsed = tuple(path for path, listing in zip(found, listings, strict=True) if not listing)
    if not usable:
        raise SameSpaceError(
            f"{folder} holds no usable photo ({len(unreadable)} cannot be read, {len(unparsed)} have another name): "
            "put photos named <city>_<room id>_<number>.jpg into a folder for each space type"
        )
    paths, cities, room_ids, values = zip(*usable, strict=True)
    types = tuple(_space_type(path, folder) for path in paths)
    rows = _verdict_rows(verdicts, paths)
    return Photos(root, paths, cities, room_ids, types, np.array(values, np.uint64), unreadable, unparsed, rows)


def _split_folder(root: Path, split: str) -> Path:
    folder = root / AIRBNB / split
    if not root.is_dir():
        raise SameSpaceError(f"{root} does not exist: run `python data.py download {root}` or give the right folder")
    if not folder.is_dir():
        raise SameSpaceError(f"{root} has no folder '{AIRBNB}/{split}': give the folder that holds '{AIRBNB}'")
    return folder


def _listing(path: Path) -> tuple[str, str] | None:
    name = _NAME.fullmatch(path.stem)
    return (name["city"], name["room_id"]) if name else None


def _space_type(path: Path, folder: Path) -> str:
    return path.relative_to(folder).parts[0] if path.parent != folder else ""


def _hash_photos(paths: Sequence[Path]) -> list[np.uint64 | UnreadablePhoto]:
    def hashed(path: Path) -> np.uint64 | UnreadablePhoto:
        try:
            return wavelet_hash(open_photo(path))
        except UnreadablePhoto as error:
            return error

    return list(progress.over(in_threads(hashed, paths), "hashing", len(paths)))


def read_verdicts(folder: Path) -> Verdicts:
    """Return the verdicts in a folder's verdicts.csv; none if it has no such file."""
    file = folder / FILE
    if not file.is_file():
        return {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:  # Excel writes the mark that -sig takes away
            header, *rows = [row for row in csv.reader(lines, strict=True) if row] or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise SameSpaceError(f"{file} cannot be read ({error}): {_MEND}") from error
    if header != COLUMNS:
        raise SameSpaceError(f"{file} does not begin with {','.join(COLUMNS)}: {_MEND}")
    verdicts: Verdicts = {}
    for row in rows:
        if len(row) != len(COLUMNS) or row[0] == row[1] or row[2] not in ("0", "1"):
            raise SameSpaceError(f"{file} has a line {','.join(row)!r}, not two photos and 1 or 0: {_MEND}")
        first, second = sorted(folder / name for name in row[:2])
        if (first, second) in verdicts:
            raise SameSpaceError(f"{file} judges {first.name} and {second.name} twice: {_MEND}")
        verdicts[first, second] = row[2] == "1"
    return verdicts


_MEND = "mend it, or delete it and export the verdicts again"


def _check_there(verdicts: Verdicts, found: Sequence[Path], folder: Path) -> None:
    there = set(found)
    for path in (path for pair in verdicts for path in pair):
        if path not in there:
            raise SameSpaceError(
                f"{folder / VERDICTS / FILE} names {path.name}, which is not a photo beside it: put it back, or "
                "export the verdicts again"
            )


def joined(verdicts: Mapping[tuple[Path, Path], bool]) -> dict[Path, Path]:
    """Map each judged photo to the first photo that verdicts of one space join it to, directly or through others.

    Such a chain is not a label: somebody may have said that its ends differ.
    """
    towards = {photo: photo for pair in verdicts for photo in pair}

    def first_of(photo: Path) -> Path:
        while towards[photo] != photo:
            photo = towards[photo]
        return photo

    for pair, same in verdicts.items():
        if same:
            first, second = sorted(map(first_of, pair))
            towards[second] = first
    return {photo: first_of(photo) for photo in towards}


def _verdict_rows(verdicts: Verdicts, paths: Sequence[Path]) -> Ints:
    """Return verdicts as (K, 3): the rows of two photos and 1 for one space; photos that did not open are left out."""
    place = {path: row for row, path in enumerate(paths)}
    rows = [(place[a], place[b], same) for (a, b), same in verdicts.items() if a in place and b in place]
    return np.array(rows, np.int64).reshape(-1, 3)


def hold_out(photos: Photos, fraction: float, seed: int = 0) -> tuple[Photos, Photos]:
    """Return (the rest, the held out): this fraction of the listings, all photos of a listing on the same side.

    A listing's place depends on its own name alone, so neither the order of photos nor other listings move it. Photos
    that verdicts of one space join count as a listing; a verdict on photos of both sides is dropped.
    """
    if not isinstance(fraction, float) or not 0 < fraction < 1:
        raise SameSpaceError(f"cannot hold out a fraction of {fraction!r}: give a number between 0 and 1")
    listings = photos.listings()
    shuffled = sorted(set(listings), key=lambda listing: hashlib.sha256(repr((seed, listing)).encode()).digest())
    if len(shuffled) < 2:
        raise SameSpaceError(f"{photos.root} holds a single listing: add photos of another before holding some out")
    count = min(max(1, round(fraction * len(shuffled))), len(shuffled) - 1)
    chosen = set(shuffled[:count])
    held = np.array([listing in chosen for listing in listings])
    rest, held_out = (photos.take(np.flatnonzero(rows)) for rows in (~held, held))
    return replace(rest, part="not held out"), replace(held_out, part="held out")


def splits(root: Path, held_out: float) -> tuple[Photos, Photos]:
    """Return (training, validation) photos: a share of the training spaces held out, or with 0 the Test Data folder."""
    photos = find_photos(root, TRAINING)
    return hold_out(photos, held_out) if held_out else (photos, find_photos(root, TEST))


RANKED = 400  # photos whose pairs a training run ranks after each epoch: 79,800 pairs at most


def known_pairs(photos: Photos, same_space_type: bool = False, most: int | None = None) -> Ints:
    """Return all unordered pairs of distinct photos whose label is known, by names or, if judged, by a verdict.

    They are (P, 3): two rows of the table, and 1 for one space. `most` limits the photos, to the same ones every time.
    """
    chosen = np.arange(len(photos))
    if most is not None:
        chosen = np.sort(np.random.default_rng(0).permutation(len(photos))[:most])
    few = photos.take(chosen)
    named, spaces = few.named(), few.spaces(same_space_type)
    first, second = named[np.stack(np.triu_indices(len(named), 1))]
    by_name = np.column_stack([first, second, spaces[first] == spaces[second]])
    pairs = np.concatenate([by_name, few.verdicts])
    pairs[:, :2] = chosen[pairs[:, :2]]
    return pairs


class Pairs(NamedTuple):
    """P labelled pairs as columns (P,): rows of the table, variants (indices in `VARIANTS`), 1 for one space."""

    first: npt.NDArray[np.int32]
    second: npt.NDArray[np.int32]
    first_variant: npt.NDArray[np.int8]
    second_variant: npt.NDArray[np.int8]
    label: npt.NDArray[np.int8]

    def rows(self) -> Ints:
        """Return (P, 3): first, second and label, where photo and variant make one row of photos × variants."""
        first = self.first.astype(np.int64) * len(VARIANTS) + self.first_variant
        second = self.second.astype(np.int64) * len(VARIANTS) + self.second_variant
        return np.stack([first, second, self.label], axis=1)


def make_pairs(photos: Photos, *, same_space_type: bool = False, seed: int = 0) -> Pairs:
    """Return all ordered pairs of one space, in all 16 pairs of variants, and as many pairs of two spaces.

    A photo with itself counts as a pair. Pairs of two spaces are drawn by likeness (`sample_negatives`; all if there
    are fewer), each in one random pair of variants: unchanged, they would let whatever marks a turned photo mark a
    duplicate. Nothing is shuffled.

    Judged photos come only in the pairs of their verdicts, of either label, in both orders and all pairs of variants.
    If more verdicts say same than different, more pairs of two spaces are drawn to make up for it.
    """
    named, same, different = photos.named(), _judged_pairs(photos, 1), _judged_pairs(photos, 0)
    spaces = photos.spaces(same_space_type)[named]
    of_names = named[_same_space_pairs(spaces)].astype(np.int32)
    has_same = len(of_names) > len(named) or len(same) > 0
    check_both_labels(photos, has_same, len(of_names) < len(named) ** 2 or len(different) > 0)
    kinds = len(VARIANTS)
    every = np.indices((kinds, kinds), np.int8).reshape(2, -1)
    count = kinds**2 * (len(of_names) + max(0, len(same) - len(different)))
    others = named[sample_negatives(photos.hashes[named], spaces, count, seed)].astype(np.int32)
    drawn = np.random.default_rng(seed).integers(0, kinds, (2, len(others)), np.int8)
    duplicates = np.concatenate([of_names, same])
    pairs = [np.repeat(duplicates, kinds**2, axis=0), others, np.repeat(different, kinds**2, axis=0)]
    first, second = np.concatenate(pairs).T.copy()
    variants = [np.tile(every, len(duplicates)), drawn, np.tile(every, len(different))]
    first_variant, second_variant = np.concatenate(variants, axis=1)
    label = np.repeat(np.array([1, 0, 0], np.int8), [len(part) for part in pairs])
    return Pairs(first, second, first_variant, second_variant, label)


def check_both_labels(photos: Photos, has_same: bool, has_different: bool) -> None:
    """Refuse photos without a pair of one space, or without one of two spaces."""
    if not has_same:
        raise _too_few(photos, "same", "no space twice", "add a second photo of some space, same city and id")
    if not has_different:
        raise _too_few(photos, "different", "a single space", "add photos of another city or room id")


def _too_few(photos: Photos, said: str, shown: str, advice: str) -> SameSpaceError:
    if len(photos.named()) != len(photos):
        return SameSpaceError(
            f"{photos.root} has too few photos told {said}, of which training and validation each need some: export "
            "more verdicts, or add other photos"
        )
    if photos.part:
        share = "more" if photos.part == "held out" else "fewer"
        return SameSpaceError(
            f"the spaces {photos.part} of {photos.root} show {shown}: hold out {share}, or add photos"
        )
    return SameSpaceError(f"{photos.root} shows {shown}: {advice}")


def _judged_pairs(photos: Photos, label: int) -> npt.NDArray[np.int32]:
    """Return both orders of every pair with this verdict, (P, 2)."""
    pairs = photos.verdicts[photos.verdicts[:, 2] == label, :2]
    return np.concatenate([pairs, pairs[:, ::-1]]).astype(np.int32)


def _same_space_pairs(spaces: Ints) -> npt.NDArray[np.int32]:
    """Return all ordered pairs of rows with equal numbers, each row with itself included, (P, 2)."""
    order = np.argsort(spaces, kind="stable")
    _, starts, sizes = np.unique(spaces[order], return_index=True, return_counts=True)
    partners = np.repeat(sizes, sizes)  # partners of each row of `order`
    begin_of_run = np.repeat(np.cumsum(partners) - partners, partners)
    place_in_space = np.arange(partners.sum()) - begin_of_run
    first = np.repeat(order, partners)
    second = order[np.repeat(np.repeat(starts, sizes), partners) + place_in_space]
    return np.stack([first, second], axis=1).astype(np.int32)


Race = list[tuple[Doubles, Ints]]  # arrivals, and pairs as first * total + second


def sample_negatives(
    hashes: Hashes, spaces: Ints, count: int, seed: int = 0, block: int = 2**15
) -> npt.NDArray[np.int32]:
    """Draw `count` ordered pairs of two spaces, without replacement, with weight e^(-Hamming): (count, 2), sorted.

    If there are fewer, all come. Only the seed decides which; `block`, the number of pairs weighed at once, does not.
    """
    if not len(hashes):
        return np.empty((0, 2), np.int32)
    # Keys -x + Gumbel noise, the largest kept, written as a race: Gumbel noise is -log E with E exponential, so the
    # largest -x - log E are the smallest E·e^x, and no logarithm is taken. Winners have a tiny E. E is float64
    # because numpy draws float32 in steps of 2^-23: one pair in 8 million would be 0 and win at any distance.
    noise = np.random.default_rng(seed)
    slowness = np.exp(np.arange(65.0))
    total = len(hashes)
    rows = max(1, block // total)
    race: Race = []
    held, latest = 0, np.inf
    for start in range(0, total, rows):
        here = slice(start, start + rows)
        arrival = noise.standard_exponential((len(hashes[here]), total))
        arrival *= slowness[hamming(hashes[here], hashes)]
        early = np.flatnonzero(arrival < latest)
        early = early[spaces[start + early // total] != spaces[early % total]]
        race.append((arrival.ravel()[early], start * total + early))
        held += len(early)
        if held >= 2 * count:
            race = [_first_to_arrive(race, count)]
            held, latest = count, race[0][0].max(initial=0)
    _, pairs = _first_to_arrive(race, count)
    return np.stack(np.divmod(np.sort(pairs), total), axis=1).astype(np.int32)


def _first_to_arrive(race: Race, count: int) -> tuple[Doubles, Ints]:
    """Return the `count` pairs that arrive first, or all if there are fewer."""
    arrivals, pairs = (np.concatenate(column) for column in zip(*race, strict=True))
    if len(arrivals) <= count:
        return arrivals, pairs
    first = np.argpartition(arrivals, count)[:count]
    return arrivals[first], pairs[first]
