"""What a backbone says of captioned photos, kept on disk for whoever comes next, or what a file of features says."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from samespace.base import progress
from samespace.base.arrays import Array, Floats
from samespace.base.errors import SameSpaceError
from samespace.base.files import content_hash, save_whole
from samespace.base.once import compute_once
from samespace.base.photos import Pixels, UnreadablePhoto, read_many
from samespace.library.features import Features
from samespace.library.read_photos import SIZE, Extractor
from samespace.words.caption_files import Note
from samespace.words.caption_set import CaptionSet, Located
from samespace.words.feature_files import read_features, unit_rows

# Of what extractors say: the share of a row's squared length that each field has. With a tenth of colours drawn rooms
# are found nearly as well as with a half, and photos of Flickr8k as well as without; with more these are found worse.
SHARES = {"vectors": 0.9, "colours": 0.1}
TOLD = ", ".join(f"{name} {share:g}" for name, share in SHARES.items())  # other shares, other features


class FeatureSource(NamedTuple):
    """What says features of photos; what is learnt from those of one is of no use to those of another."""

    name: str  # for persons: "mobilenet_v2", "vgg_feats.mat"
    origin: str  # of an extractor, or empty: where features of a file come from nobody knows
    options: tuple[str, ...] = ()  # what to type for it: --backbone mobilenet_v2

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> FeatureSource:
        """What `_asdict` gave, once it has been JSON."""
        return FeatureSource(told["name"], told["origin"], tuple(told["options"]))


class Featured(NamedTuple):
    """A caption set whose photos have features."""

    captions: CaptionSet
    features: Floats  # (N, D) of its photos, each of length 1
    feature_source: FeatureSource
    notes: tuple[Note, ...] = ()  # photos that were left out

    def only(self, split: str) -> Featured:
        """The photos of one split, at least one."""
        here = [image.split == split for image in self.captions.images]
        return self._replace(captions=self.captions.only(split), features=self.features[here])


def from_photos(
    located: Located,
    extractor: Extractor,
    name: str,
    cache: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Featured:
    """Of photos in a folder; `name` is the extractor's, for persons. Photos that cannot be read are left out.

    With `cache` they are computed once for these photos and this extractor; `tell` is told whether they were there.
    """
    features = _cached(located.paths, extractor, cache, tell) if cache else _computed(located.paths, extractor)
    readable = [bool(np.isfinite(row).all()) for row in features]
    if not any(readable):
        raise SameSpaceError(f"none of the photos of {located.captions.source} can be read: fetch them again")
    images = located.captions.images
    damaged = [image.file for image, read in zip(images, readable, strict=True) if not read]
    captions = replace(
        located.captions, images=tuple(image for image, read in zip(images, readable, strict=True) if read)
    )
    notes = (*located.notes, *([Note("photos that cannot be read", damaged)] if damaged else []))
    return Featured(captions, features[readable], FeatureSource(name, origin(extractor)), notes)


def from_file(path: Path, captions: CaptionSet) -> Featured:
    """Of all photos that the captions' source names, computed elsewhere: see `read_features`."""
    return Featured(captions, unit_rows(read_features(path, captions)), FeatureSource(path.name, ""))


def told(fields: Mapping[str, Array]) -> Floats:
    """(N, D) of length 1: what models of words are told of N photos, of an extractor's fields, N rows each."""
    parts = [share**0.5 * unit_rows(np.asarray(fields[name], np.float32)) for name, share in SHARES.items()]
    return unit_rows(np.concatenate(parts, 1))


def told_of(features: Features) -> Floats:
    """`told` of N photos whose features a library keeps."""
    return told({name: features.take(name) for name in SHARES})


def origin(extractor: Extractor) -> str:
    """Name what `told` makes of an extractor's numbers comes from."""
    return f"{extractor.fingerprint}, {TOLD}"


def _cached(paths: Sequence[Path], extractor: Extractor, cache: Path, tell: Callable[[str], None]) -> Floats:
    """Computed by one process while others wait."""
    digest = hashlib.sha256("".join(map(content_hash, paths)).encode()).hexdigest()[:16]
    file = cache / f"{digest}-{extractor.fingerprint}-{TOLD.replace(', ', '-').replace(' ', '-')}.npy"

    def compute() -> None:
        content = io.BytesIO()
        np.save(content, _computed(paths, extractor))
        save_whole(file, content.getvalue(), durable=False)

    compute_once(file, "features", len(paths), compute, tell)
    features: Floats = np.load(file, allow_pickle=False)
    return features


def _computed(paths: Sequence[Path], extractor: Extractor) -> Floats:
    """(N, D) as `told`, NaN for photos that cannot be read."""
    dim = sum(math.prod(extractor.fields[name][0]) for name in SHARES)
    features = np.full((len(paths), dim), np.nan, np.float32)
    read = iter(progress.over(read_many(paths, SIZE), "features", len(paths)))
    for rows in _blocks(len(paths), extractor.batch):
        photos = list(islice(read, len(rows)))
        good = [row for row, photo in zip(rows, photos, strict=True) if not isinstance(photo, UnreadablePhoto)]
        pixels: list[Pixels] = [photo for photo in photos if not isinstance(photo, UnreadablePhoto)]
        if pixels:
            features[good] = told(extractor.extract(np.stack(pixels)))
    return features


def _blocks(count: int, size: int) -> Iterator[range]:
    for at in range(0, count, size):
        yield range(at, min(at + size, count))
