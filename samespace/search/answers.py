"""What is found for many photos, some at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import numpy as np

from samespace.base import progress
from samespace.base.photos import UnreadablePhoto, read_many
from samespace.library.library import Photo
from samespace.library.read_photos import SIZE
from samespace.search.space import Hit, Space

_AT_ONCE = 256  # photos that are asked for together

Item = TypeVar("Item")


class Answer(NamedTuple):
    """What was found for a photo."""

    path: Path
    hits: list[Hit]


def answers_to(
    photos: Sequence[Path], space: Space, top: int, threshold: float | None, folder: Path | None, collapse: bool
) -> Iterator[Answer | UnreadablePhoto]:
    """What is found for photos from anywhere, as they are now."""
    for some in _blocks(photos, _AT_ONCE):
        read = dict(zip(some, read_many(some, SIZE), strict=True))
        pixels = {path: found for path, found in read.items() if not isinstance(found, UnreadablePhoto)}
        if pixels:
            query = space.query(np.stack(list(pixels.values())), [Path(os.path.realpath(path)) for path in pixels])
            found = dict(zip(pixels, space.search(query, top, threshold, folder, collapse), strict=True))
        for path in some:
            yield Answer(path, found[path]) if path in pixels else cast(UnreadablePhoto, read[path])


def answers_of(
    photos: Sequence[Photo],
    source: Space,
    space: Space,
    top: int,
    threshold: float | None,
    folder: Path | None,
    collapse: bool,
) -> Iterator[Answer]:
    """What is found for photos of one space in another."""
    for some in _blocks(photos, _AT_ONCE):
        found = space.search(source.query_of(some), top, threshold, folder, collapse)
        yield from (Answer(photo.path, hits) for photo, hits in zip(some, found, strict=True))


def _blocks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    with progress.bar("searching", len(items), disable=len(items) == 1) as bar:
        for start in range(0, len(items), size):
            yield items[start : start + size]
            bar.update(len(items[start : start + size]))
