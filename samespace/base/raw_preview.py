"""See RAW files by the JPEG that the camera put into them: those with no photo of their name beside them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from typing import BinaryIO

RAW = (
    *(".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".dng", ".orf", ".rw2", ".raf"),
    *(".pef", ".srw", ".x3f", ".3fr", ".iiq", ".kdc", ".dcr", ".mos", ".raw", ".rwl", ".erf"),
)
EXTRA = "pip install 'samespace[raw]'"


class NoPreview(Exception):
    """Say that a RAW file holds no JPEG that can be read."""


@cache
def reads_raw() -> bool:
    """Tell whether the extra is installed that reads RAW files."""
    return find_spec("rawpy") is not None


def is_raw(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is a RAW file, by its name."""
    return os.fspath(path).lower().endswith(RAW)


def raw_photos(names: Iterable[str], photo_kinds: tuple[str, ...]) -> set[str]:
    """Return the RAW files of a folder that are photos of their own: no file of these kinds has their name.

    `names` are those of all its files. Without the extra there are none.
    """
    names = list(names)
    raw = [name for name in names if is_raw(name)] if reads_raw() else []
    photos = {stem(name) for name in names if name.lower().endswith(photo_kinds)} if raw else set()
    return {name for name in raw if photos.isdisjoint((stem(name), name.casefold()))}


def stem(name: str) -> str:
    """Return a file's name without its extension, the same for names that differ in case."""
    return name.rpartition(".")[0].casefold()


def preview_in(file: BinaryIO) -> BinaryIO | None:
    """Return the JPEG in an open RAW file, which says how it lies; None for any other file.

    LibRaw gives it the camera, the date and the turn of the RAW file if it says nothing itself.
    """
    name = getattr(file, "name", None)
    if not isinstance(name, str | bytes) or not is_raw(os.fsdecode(name)) or not reads_raw():
        return None
    import rawpy

    try:
        with rawpy.imread(os.fsdecode(name)) as raw:
            preview = raw.extract_thumb()
    except rawpy.LibRawError as error:
        raise NoPreview("no preview in it that can be read") from error
    if preview.format != rawpy.ThumbFormat.JPEG:
        raise NoPreview("no JPEG preview in it")
    return BytesIO(bytes(preview.data))


def photo_bytes(path: os.PathLike[str]) -> bytes:
    """Return what a photo's file holds; of a RAW file the JPEG in it."""
    with open(path, "rb") as file:  # noqa: PTH123
        return (preview_in(file) or file).read()


def has_preview(path: str) -> bool:
    """Return whether a RAW file can be seen."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return preview_in(file) is not None
    except (OSError, NoPreview):
        return False
