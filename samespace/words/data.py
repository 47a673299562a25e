"""Captioned photos for training and evaluation: captions, photos and features, brought together by where they lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from samespace.base.errors import SameSpaceError
from samespace.search.look import Look
from samespace.words.caption_set import locate, read_captions
from samespace.words.photo_features import Featured, FeatureSource, from_file, from_photos, origin

CAPTIONS = "dataset.json"


def captions_in(root: Path) -> Path:
    """What captions the photos of a folder have, where nobody names a file: a `dataset.json`, or a .txt beside each."""
    return root / CAPTIONS if (root / CAPTIONS).is_file() else root


def read(
    root: Path,
    captions: Path | None,
    features: Path | None,
    look: Callable[[], Look],
    cache: Path,
    tell: Callable[[str], None] = lambda line: None,
) -> Featured:
    """The captioned photos below `root` as a look sees them, which is not asked for where a file has `features`."""
    if not root.is_dir():
        raise SameSpaceError(f"{root} is not a folder: give the folder that holds the photos")
    said = read_captions(captions or captions_in(root))
    if features:
        return from_file(features, said)
    seen = look()
    return from_photos(locate(said, root), seen.extractor, seen.name, cache, tell)._replace(
        feature_source=feature_source_of(seen)
    )


def feature_source_of(look: Look) -> FeatureSource:
    """What models of words know a look's features by."""
    return FeatureSource(look.name, origin(look.extractor), look.options)
