"""Photos and their captions: one caption set, read from any of the formats that `caption_files` knows."""

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

# The split lists that come with Flickr8k's captions. Photos in none of them have no split.
LISTS = {"train": "Flickr_8k.trainImages.txt", "val": "Flickr_8k.devImages.txt", "test": "Flickr_8k.testImages.txt"}


class Captioned(NamedTuple):
    """A photo and its captions: one or more, each with at least one word."""

    file: str  # as the source names it, relative to the folder of photos
    split: str  # one of SPLITS
    captions: tuple[str, ...]  # as written, but for white space
    row: int  # its place among all photos of the source, captioned or not: its row of precomputed features


@dataclass(frozen=True)
class CaptionSet:
    """Captioned photos in the order of their source, each in one split, and notes on what was left out."""

    source: Path
    format: str  # that the source was read as: "Karpathy's dataset.json"
    images: tuple[Captioned, ...]
    listed: int  # photos that the source names: as many as precomputed features have rows
    notes: tuple[Note, ...] = field(default=(), compare=False)

    @cached_property
    def captions(self) -> tuple[str, ...]:
        """Return all C captions, those of one photo together."""
        return tuple(caption for image in self.images for caption in image.captions)

    @cached_property
    def image_of(self) -> Ints:
        """Return the number of each caption's photo, (C,)."""
        return np.repeat(np.arange(len(self.images)), [len(image.captions) for image in self.images])

    @cached_property
    def rows(self) -> Ints:
        """Return each photo's row in features of all photos of the source, (N,)."""
        return np.array([image.row for image in self.images], np.int64)

    def counts(self) -> dict[str, int]:
        """Count the photos of each split."""
        return {split: sum(image.split == split for image in self.images) for split in SPLITS}

    def only(self, split: str) -> CaptionSet:
        """Return the photos of one split, at least one."""
        assert split in SPLITS, split
        images = tuple(image for image in self.images if image.split == split)
        if not images:
            raise SameSpaceError(f"{self.source} has no {split} photos: give more photos, or other splits")
        return replace(self, images=images)


def read_captions(path: Path, split: str | None = None, shares: Sequence[float] = SHARES) -> CaptionSet:
    """Read the captions in a file, or beside the photos of a folder; the format is recognised by the contents.

    With `split`, all photos are in that one, whatever the source says: COCO has one file for each. Without it, photos
    have the source's own splits; if there are none, those of Flickr8k's lists, if these lie beside and name any of the
    photos; otherwise the hash of a photo's name decides, by `shares` of train, val and test, so that photos added
    later move no others.
    """
    assert split is None or split in SPLITS, split
    read = read_said(path)
    photos = _by_file(path, read.said)
    splits, uncaptioned = _splits(path, photos, split, shares)
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
        Note("photos in a split that have no captions", uncaptioned),
    ]
    left_out = tuple(note for note in notes if note.items)
    if not images and left_out:
        raise SameSpaceError(f"{path} has no photo with a caption ({'; '.join(map(str, left_out))}): mend it")
    if not images:
        raise SameSpaceError(f"{path} has no photo with a caption: give {KNOWN}")
    return CaptionSet(path, read.format, tuple(images), len(photos), left_out)


def _splits(
    path: Path, photos: Mapping[str, _Gathered], split: str | None, shares: Sequence[float]
) -> tuple[Mapping[str, str | None], list[str]]:
    """Return the split of each photo, None for one in no split, and the other photos that split lists name."""
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
    """Join several sets, such as COCO's train and val, in this order; refuse a photo in two splits.

    Features of all photos of the first set, then of the second, and so on, are features of the joined set.
    """
    images: dict[str, Captioned] = {}
    offset = 0
    for one in sets:
        for image in one.images:
            known = images.get(image.file)
            if known and known.split != image.split:
                raise SameSpaceError(_in_two_splits(one.source, image.file, known.split, image.split))
            if known:
                images[image.file] = known._replace(captions=(*known.captions, *image.captions))
            else:
                images[image.file] = image._replace(row=offset + image.row)
        offset += one.listed
    notes = tuple(note for one in sets for note in one.notes)
    return CaptionSet(sets[0].source, sets[0].format, tuple(images.values()), offset, notes)


def split_of(file: str, shares: Sequence[float] = SHARES) -> str:
    """Return a photo's split by the hash of its name alone: the same one whatever its folder and the other photos."""
    digest = hashlib.sha256(unicodedata.normalize("NFC", _base(file)).encode("utf-8", "surrogatepass"))
    place = int.from_bytes(digest.digest()[:8], "big") / 2**64 * sum(shares)
    for split, end in zip(SPLITS, np.cumsum(shares), strict=True):
        if place < end:
            return split
    return SPLITS[-1]  # sums round


def _base(file: str) -> str:
    return file.replace("\\", "/").rpartition("/")[2]


class _Gathered(NamedTuple):
    captions: list[str]
    split: str | None


def _by_file(path: Path, said: Sequence[Said]) -> dict[str, _Gathered]:
    """Return photos in the order they are first named, each with all its captions and its one split."""
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
    """Put a caption on one line, in characters that UTF-8 has: JSON can hold halves of some."""
    return " ".join(caption.split()).encode("utf-8", "replace").decode()


def _in_two_splits(path: Path, file: str, one: str, other: str) -> str:
    return f"{path} has {readable(file)} in {one} and in {other}: a photo may be in one split, or scores mean nothing"


def _split_lists(folder: Path) -> dict[str, str]:
    """Return each photo's split by Flickr8k's lists in this folder; empty if it has none."""
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
    notes: tuple[Note, ...]  # captioned photos that are missing or ambiguous, photos without captions


def locate(captions: CaptionSet, root: Path) -> Located:
    """Find the photos of a caption set below `root`: at the path it gives, otherwise anywhere by name."""
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
        namesake_files = by_name.get(name, [])
        if image.file in there:
            images.append(image)
            paths.append(there[image.file])
        elif not namesake_files:
            missing.append(image.file)
        elif len(namesake_files) == 1 and namesakes[name] == 1:
            images.append(image)
            paths += namesake_files
        else:
            unclear.append(image.file)
    if not images:
        raise SameSpaceError(
            f"none of the {count(len(captions.images), 'photo')} that {captions.source} describes is in {root}: "
            "give the folder that holds them"
        )
    extra = sorted(set(there) - {path.relative_to(root).as_posix() for path in paths})
    notes = (
        Note("captioned photos that are not there", missing),
        Note("photos whose name several files have", unclear),
        Note("photos without captions", extra),
    )
    return Located(replace(captions, images=tuple(images)), paths, tuple(note for note in notes if note.items))
