"""Captioned photos with a feature vector each: computed by a look and kept on disk, or read from a file."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from samespace.base import progress
from samespace.base.arrays import Array, Floats, blocks
from samespace.base.errors import SameSpaceError
from samespace.base.files import content_hash, save_whole
from samespace.base.once import compute_once
from samespace.base.photos import SIZE, UnreadablePhoto, read_many
from samespace.library.features import Features
from samespace.library.read_photos import Extractor
from samespace.search.look import Look
from samespace.words.caption_files import Note
from samespace.words.caption_set import CaptionSet, Located, locate, read_captions
from samespace.words.feature_files import read_features, unit_rows

CAPTIONS = "dataset.json"
# How much of a row's squared length each field of an extractor gets. With a tenth of colours drawn rooms are found
# nearly as well as with a half, and photos of Flickr8k as well as without; with more these are found worse.
SHARES = {"vectors": 0.9, "colours": 0.1}
COMBINATION = ", ".join(f"{name} {share:g}" for name, share in SHARES.items())  # other shares, other features


class FeatureSource(NamedTuple):
    """Where features come from; a model trained on those of one source cannot use those of another."""

    name: str  # for people: "mobilenet_v2", "vgg_feats.mat"
    origin: str  # of an extractor, or empty: where features of a file come from nobody knows
    options: tuple[str, ...] = ()  # what to type for it: --backbone mobilenet_v2

    @staticmethod
    def from_json(fields: Mapping[str, Any]) -> FeatureSource:
        """Read what `_asdict` gave, once it has been JSON."""
        return FeatureSource(fields["name"], fields["origin"], tuple(fields["options"]))


class Featured(NamedTuple):
    """A caption set whose photos have features."""

    captions: CaptionSet
    features: Floats  # (N, D) of its photos, each of length 1
    feature_source: FeatureSource
    notes: tuple[Note, ...] = ()  # photos that were left out

    def only(self, split: str) -> Featured:
        """Return the photos of one split, at least one."""
        here = [image.split == split for image in self.captions.images]
        return self._replace(captions=self.captions.only(split), features=self.features[here])


def captions_in(root: Path) -> Path:
    """Return where captions are by default: in a folder's `dataset.json`, or in the folder, a .txt a photo."""
    return root / CAPTIONS if (root / CAPTIONS).is_file() else root


def read_featured(
    root: Path,
    captions: Path | None,
    features: Path | None,
    look: Callable[[], Look],
    cache: Path,
    tell: Callable[[str], None] = lambda line: None,
) -> Featured:
    """Return the captioned photos below `root` as a look sees them; if `features` is a file, `look` is not called."""
    if not root.is_dir():
        raise SameSpaceError(f"{root} is not a folder: give the folder that holds the photos")
    captioned = read_captions(captions or captions_in(root))
    if features:
        return from_file(features, captioned)
    seen = look()
    featured = from_photos(locate(captioned, root), seen.extractor, seen.name, cache, tell)
    return featured._replace(feature_source=feature_source_of(seen))


def from_photos(
    located: Located,
    extractor: Extractor,
    name: str,
    cache: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Featured:
    """Return photos in a folder with their features, without those that cannot be read; `name` is the extractor's.

    With `cache` they are computed once for these photos and this extractor; `tell` gets a line about what was found.
    """
    features = _cached(located.paths, extractor, cache, tell) if cache else _computed(located.paths, extractor)
    readable = [bool(np.isfinite(row).all()) for row in features]
    if not any(readable):
        raise SameSpaceError(f"none of the photos of {located.captions.source} can be read: fetch them again")
    images, damaged = [], []
    for image, was_read in zip(located.captions.images, readable, strict=True):
        if was_read:
            images.append(image)
        else:
            damaged.append(image.file)
    notes = (*located.notes, *([Note("photos that cannot be read", damaged)] if damaged else []))
    captions = replace(located.captions, images=tuple(images))
    return Featured(captions, features[readable], FeatureSource(name, origin(extractor)), notes)


def from_file(path: Path, captions: CaptionSet) -> Featured:
    """Return captioned photos with features computed elsewhere, for all photos of the source: see `read_features`."""
    return Featured(captions, unit_rows(read_features(path, captions)), FeatureSource(path.name, ""))


def feature_source_of(look: Look) -> FeatureSource:
    """Return the source of features that a look gives."""
    return FeatureSource(look.name, origin(look.extractor), look.options)


def origin(extractor: Extractor) -> str:
    """Name the origin of what `combine_fields` makes of an extractor's numbers."""
    return f"{extractor.fingerprint}, {COMBINATION}"


def combine_fields(fields: Mapping[str, Array]) -> Floats:
    """Return one feature row a photo, (N, D) of length 1, from an extractor's fields, N rows each."""
    parts = [share**0.5 * unit_rows(np.asarray(fields[name], np.float32)) for name, share in SHARES.items()]
    return unit_rows(np.concatenate(parts, 1))


def combine_features(features: Features) -> Floats:
    """Return `combine_fields` of N photos whose features a library keeps."""
    return combine_fields({name: features.take(name) for name in SHARES})


def _cached(paths: Sequence[Path], extractor: Extractor, cache: Path, tell: Callable[[str], None]) -> Array:
    """Return `_computed`, computed by one process while others wait."""
    digest = hashlib.sha256("".join(map(content_hash, paths)).encode()).hexdigest()[:16]
    combination = COMBINATION.replace(", ", "-").replace(" ", "-")
    file = cache / f"{digest}-{extractor.fingerprint}-{combination}.npy"

    def compute() -> None:
        content = io.BytesIO()
        np.save(content, _computed(paths, extractor))
        save_whole(file, content.getvalue(), durable=False)

    compute_once(file, "features", len(paths), compute, tell)
    return np.load(file, allow_pickle=False)


def _computed(paths: Sequence[Path], extractor: Extractor) -> Floats:
    """Return `combine_fields` of N photos, (N, D); NaN for photos that cannot be read."""
    dim = sum(math.prod(extractor.fields[name][0]) for name in SHARES)
    features = np.full((len(paths), dim), np.nan, np.float32)
    read = iter(progress.over(read_many(paths, SIZE), "features", len(paths)))
    for rows in blocks(len(paths), extractor.batch):
        photos = enumerate(islice(read, rows.stop - rows.start), rows.start)
        pixels = {row: photo for row, photo in photos if not isinstance(photo, UnreadablePhoto)}
        if pixels:
            features[list(pixels)] = combine_fields(extractor.extract(np.stack(list(pixels.values()))))
    return features
