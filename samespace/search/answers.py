"""Search for many photos, some at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from samespace.base import progress
from samespace.base.photos import SIZE, UnreadablePhoto, read_many
from samespace.library.library import Photo
from samespace.search.space import Hit, Space

AT_ONCE = 256  # photos that are searched for together

Item = TypeVar("Item")


class Answer(NamedTuple):
    """A photo and its hits."""

    path: Path
    hits: list[Hit]


def answers_to(
    photos: Sequence[Path], space: Space, top: int, threshold: float | None, folder: Path | None, collapse: bool
) -> Iterator[Answer | UnreadablePhoto]:
    """Yield the hits in a space for photos from anywhere, in their order, or why a photo could not be read."""
    for some in _blocks(photos, AT_ONCE):
        answers: dict[Path, Answer | UnreadablePhoto] = {}
        pixels = {}
        for path, photo in zip(some, read_many(some, SIZE), strict=True):
            if isinstance(photo, UnreadablePhoto):
                answers[path] = photo
            else:
                pixels[path] = photo
        if pixels:
            query = space.query(np.stack(list(pixels.values())), [Path(os.path.realpath(path)) for path in pixels])
            for path, hits in zip(pixels, space.search(query, top, threshold, folder, collapse), strict=True):
                answers[path] = Answer(path, hits)
        yield from (answers[path] for path in some)


def answers_of(
    photos: Sequence[Photo],
    source: Space,
    space: Space,
    top: int,
    threshold: float | None,
    folder: Path | None,
    collapse: bool,
) -> Iterator[Answer]:
    """Yield the hits in a space for photos of another, in their order."""
    for some in _blocks(photos, AT_ONCE):
        found = space.search(source.query_of(some), top, threshold, folder, collapse)
        yield from (Answer(photo.path, hits) for photo, hits in zip(some, found, strict=True))


def _blocks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    with progress.bar("searching", len(items), disable=len(items) == 1) as bar:
        for start in range(0, len(items), size):
            yield items[start : start + size]
            bar.update(len(items[start : start + size]))
