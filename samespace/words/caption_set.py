"""Photos and what was said of them: one caption set, read from any of the formats that `formats` knows."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from samespace.base.arrays import Ints
from samespace.base.errors import SameSpaceError
from samespace.base.find import find
from samespace.base.text import count, readable
from samespace.words.caption_files import KNOWN, Note, Said, read_said, read_text
from samespace.words.tokens import split_words

SPLITS = ("train", "val", "test")
SHARES = (0.8, 0.1, 0.1)  # of the photos, where a format has no splits

# What Flickr8k's captions come with. Photos that are in none of the lists have no split.
LISTS = {"train": "Flickr_8k.trainImages.txt", "val": "Flickr_8k.devImages.txt", "test": "Flickr_8k.testImages.txt"}


class Captioned(NamedTuple):
    """A photo with the captions it has: one or more, each with a word in it."""

    file: str  # as the source names it, below whatever folder the photos are in
    split: str  # one of SPLITS
    captions: tuple[str, ...]  # as they were written, but for white space
    row: int  # its place among all photos of the source, captioned or not: its row of precomputed features


@dataclass(frozen=True)
class CaptionSet:
    """Captioned photos in the order of their source, each in one split; and what of the source was left out."""

    source: Path
    format: str  # what the source was taken for: "Karpathy's dataset.json"
    images: tuple[Captioned, ...]
    listed: int  # photos that the source names: as many as precomputed features have rows
    notes: tuple[Note, ...] = field(default=(), compare=False)

    @cached_property
    def captions(self) -> tuple[str, ...]:
        """All C of them, those of one photo together."""
        return tuple(caption for image in self.images for caption in image.captions)

    @cached_property
    def image_of(self) -> Ints:
        """(C,): the number of each caption's photo."""
        return np.repeat(np.arange(len(self.images)), [len(image.captions) for image in self.images])

    @cached_property
    def rows(self) -> Ints:
        """(N,): the row of each photo in features of all photos of the source."""
        return np.array([image.row for image in self.images], np.int64)

    def counts(self) -> dict[str, int]:
        """How many photos each split has."""
        return {split: sum(image.split == split for image in self.images) for split in SPLITS}

    def only(self, split: str) -> CaptionSet:
        """The photos of one split, at least one."""
        assert split in SPLITS, split
        images = tuple(image for image in self.images if image.split == split)
        if not images:
            raise SameSpaceError(f"{self.source} has no {split} photos: give more photos, or other splits")
        return replace(self, images=images)


def read_captions(path: Path, split: str | None = None, shares: Sequence[float] = SHARES) -> CaptionSet:
    """The captions in a file, or beside the photos of a folder; the format is told by what is in it.

    With `split` all photos are of that one, whatever the source says: COCO has one file for each. Else they have the
    source's own splits; or those of Flickr8k's lists, if these lie beside and name any of the photos; or else the
    hash of a photo's name decides, by `shares` of train, val and test, so that photos added later move no other.
    """
    assert split is None or split in SPLITS, split
    read = read_said(path)
    photos = _by_file(path, read.said)
    splits, unheard = _splits(path, photos, split, shares)
    images: list[Captioned] = []
    empty: list[str] = []
    silent: list[str] = []
    nowhere: list[str] = []
    for row, (file, (captions, _)) in enumerate(photos.items()):
        kept = tuple(caption for caption in captions if split_words(caption))
        empty += [file] * (len(captions) - len(kept))
        own = splits[file]
        if kept and own:
            images.append(Captioned(file, own, kept, row))
        else:
            (nowhere if kept else silent).append(file)
    notes = [
        *read.notes,
        Note("empty captions", empty),
        Note("photos without captions", silent),
        Note("photos in no split", nowhere),
        Note("photos in a split that have no captions", unheard),
    ]
    told = tuple(note for note in notes if note.items)
    if not images:
        remedy = f" ({'; '.join(map(str, told))}): mend it" if told else f": give {KNOWN}"
        raise SameSpaceError(f"{path} has no photo with a caption{remedy}")
    return CaptionSet(path, read.format, tuple(images), len(photos), told)


def _splits(
    path: Path, photos: Mapping[str, _Gathered], split: str | None, shares: Sequence[float]
) -> tuple[Mapping[str, str | None], list[str]]:
    """The split of each photo, None for one that is left out; and what split lists name beside."""
    if split:
        return dict.fromkeys(photos, split), []
    if any(one.split for one in photos.values()):
        return {file: one.split for file, one in photos.items()}, []
    lists = _split_lists(path.parent) if path.is_file() else {}
    listed = {file: lists.get(_base(file)) for file in photos}
    if any(listed.values()):
        return listed, sorted(lists.keys() - set(map(_base, photos)))
    return {file: split_of(file, shares) for file in photos}, []


def join(sets: Sequence[CaptionSet]) -> CaptionSet:
    """Several sets as one, such as COCO's train and val, in this order; no photo may be in two splits.

    Features of all photos of the first, then of the second, and so on, are features of its photos.
    """
    images: dict[str, Captioned] = {}
    offset = 0
    for one in sets:
        for image in one.images:
            known = images.get(image.file)
            if known and known.split != image.split:
                raise SameSpaceError(_in_two_splits(one.source, image.file, known.split, image.split))
            captions = (*known.captions, *image.captions) if known else image.captions
            images[image.file] = image._replace(captions=captions, row=known.row if known else offset + image.row)
        offset += one.listed
    notes = tuple(note for one in sets for note in one.notes)
    return CaptionSet(sets[0].source, sets[0].format, tuple(images.values()), offset, notes)


def split_of(file: str, shares: Sequence[float] = SHARES) -> str:
    """The split of a photo by the hash of its name alone, whatever folder it is in: always the same one."""
    digest = hashlib.sha256(unicodedata.normalize("NFC", _base(file)).encode("utf-8", "surrogatepass"))
    place = int.from_bytes(digest.digest()[:8], "big") / 2**64 * sum(shares)
    return next((split for split, end in zip(SPLITS, np.cumsum(shares), strict=True) if place < end), SPLITS[-1])


def _base(file: str) -> str:
    return file.replace("\\", "/").rpartition("/")[2]


class _Gathered(NamedTuple):
    captions: list[str]
    split: str | None


def _by_file(path: Path, said: Sequence[Said]) -> dict[str, _Gathered]:
    """Photos in the order they are first named in, each with all its captions and the one split it is said to be in."""
    by_file: dict[str, _Gathered] = {}
    for file, captions, split in said:
        known = by_file.get(file)
        if known is None:
            by_file[file] = _Gathered([*map(_tidy, captions)], split)
            continue
        if known.split and split and known.split != split:
            raise SameSpaceError(_in_two_splits(path, file, known.split, split))
        known.captions.extend(map(_tidy, captions))
        by_file[file] = known._replace(split=known.split or split)
    return by_file


def _tidy(caption: str) -> str:
    """On one line, and in characters that UTF-8 has: JSON can hold halves of some."""
    return " ".join(caption.split()).encode("utf-8", "replace").decode()


def _in_two_splits(path: Path, file: str, one: str, other: str) -> str:
    return f"{path} has {readable(file)} in {one} and in {other}: a photo may be in one split, or scores mean nothing"


def _split_lists(folder: Path) -> dict[str, str]:
    """The split of each photo by Flickr8k's lists in this folder; empty if it has none."""
    splits: dict[str, str] = {}
    for split, name in LISTS.items():
        path = folder / name
        if not path.is_file():
            continue
        for file in read_text(path).split():
            if splits.setdefault(file, split) != split:
                raise SameSpaceError(_in_two_splits(folder, file, splits[file], split))
    return splits


class Located(NamedTuple):
    """A caption set's photos in a folder."""

    captions: CaptionSet  # those whose photo is there
    paths: list[Path]  # (N,) of its photos
    notes: tuple[Note, ...]  # captioned photos that are not there or not certain, photos that have no caption


def locate(captions: CaptionSet, root: Path) -> Located:
    """Find the photos of a caption set below `root`: where it says they are, else anywhere by their name."""
    photos = find(root, follow_links=True)
    by_name: dict[str, list[Path]] = {}
    for photo in photos:
        by_name.setdefault(photo.name, []).append(photo)
    there = {photo.relative_to(root).as_posix(): photo for photo in photos}
    namesakes = Counter(_base(image.file) for image in captions.images)
    images: list[Captioned] = []
    paths: list[Path] = []
    missing: list[str] = []
    unclear: list[str] = []
    for image in captions.images:
        name = _base(image.file)
        named = [there[image.file]] if image.file in there else by_name.get(name, []) * namesakes[name]
        if len(named) == 1:
            images.append(image)
            paths += named
        else:
            (unclear if named else missing).append(image.file)
    if not images:
        raise SameSpaceError(
            f"none of the {count(len(captions.images), 'photo')} that {captions.source} describes is in {root}: "
            "give the folder that holds them"
        )
    extra = sorted(set(there) - {path.relative_to(root).as_posix() for path in paths})
    notes = (
        Note("photos with captions that are not there", missing),
        Note("photos with captions of whose name there are several", unclear),
        Note("photos without captions", extra),
    )
    return Located(replace(captions, images=tuple(images)), paths, tuple(note for note in notes if note.items))
