"""Offer imagededup's functions: the same names, arguments and dictionaries. Photos are only read.

They find `near` duplicates, which need no network and no trained model.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from samespace.base import progress
from samespace.base.arrays import Array
from samespace.base.errors import SameSpaceError
from samespace.base.files import write_whole
from samespace.base.find import find
from samespace.base.photos import SIZE, UnreadablePhoto, glimpse, in_threads, open_photo
from samespace.duplicates.grouping import Similar, by_keeper
from samespace.search import same_shot
from samespace.search.copies import Copies

Encoding = npt.NDArray[np.uint8]
Encodings = Mapping[str, Encoding]
Result = TypeVar("Result")
SHOWN = 320  # pixels of a plotted photo's longer side


class _Encoded(NamedTuple):
    sketch: Encoding
    worth: tuple[int, int]  # pixels, then bytes, negative: the lowest is kept


def encode_images(image_dir: str | Path, recursive: bool = False) -> dict[str, Encoding]:
    """Return a sketch, (64, 64), of each photo in a folder, by name; with `recursive`, by path below the folder.

    Photos that cannot be read are left out, and named on stderr.
    """
    return {name: encoded.sketch for name, encoded in _encode(Path(image_dir), recursive).items()}


def find_duplicates(
    image_dir: str | Path | None = None,
    encoding_map: Encodings | None = None,
    min_similarity_threshold: float = same_shot.THRESHOLD,
    scores: bool = False,
    outfile: str | Path | None = None,
    recursive: bool = False,
) -> dict[str, list[Any]]:
    """Return the duplicates of every photo, the likeliest first: {'a.jpg': ['b.jpg', …], 'b.jpg': ['a.jpg', …], …}.

    With `scores`: {'a.jpg': [('b.jpg', 0.98), …], …}. `outfile` gets the same as JSON.
    """
    names, similar, _ = _compare(image_dir, encoding_map, min_similarity_threshold, recursive)
    duplicates: dict[str, list[Any]] = {}
    for row, name in enumerate(names):
        found = sorted(zip(*similar.of(row), strict=True), key=lambda pair: (-pair[1], names[pair[0]]))
        duplicates[name] = [(names[other], float(score)) if scores else names[other] for other, score in found]
    return _written(duplicates, outfile)


def find_duplicates_to_remove(
    image_dir: str | Path | None = None,
    encoding_map: Encodings | None = None,
    min_similarity_threshold: float = same_shot.THRESHOLD,
    outfile: str | Path | None = None,
    recursive: bool = False,
) -> list[str]:
    """Return photos that are duplicates of one to keep: the one with most pixels, then most bytes, then the first.

    With an `encoding_map`, the first is kept. Nothing is removed.
    """
    names, similar, order = _compare(image_dir, encoding_map, min_similarity_threshold, recursive)
    groups = by_keeper(order, similar)
    return _written(sorted(names[row] for group in groups for row in group[1:]), outfile)


def plot_duplicates(
    image_dir: str | Path, duplicate_map: Mapping[str, Sequence[Any]], filename: str, outfile: str | Path | None = None
) -> None:
    """Show a photo and its duplicates, or write the picture to `outfile`."""
    if filename not in duplicate_map:
        raise SameSpaceError(f"{filename} is not in the dictionary of duplicates: name one of its keys")
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise SameSpaceError("a plot needs matplotlib: pip install 'samespace[train]'") from error
    pairs = [each if isinstance(each, tuple) else (each, None) for each in duplicate_map[filename]]
    figure, axes = pyplot.subplots(1, 1 + len(pairs), figsize=(3 * (1 + len(pairs)), 3), squeeze=False)
    for place, (name, score) in zip(axes[0], [(filename, None), *pairs], strict=True):
        photo = open_photo(Path(image_dir, name), at_least=SHOWN)
        photo.thumbnail((SHOWN, SHOWN))
        place.imshow(photo)
        place.set_title(name if score is None else f"{name}\n{score:.3f}", fontsize=8)
        place.axis("off")
    if outfile:
        figure.savefig(outfile, bbox_inches="tight")
    else:
        pyplot.show()
    pyplot.close(figure)


def _encode(folder: Path, recursive: bool) -> dict[str, _Encoded]:
    paths = [path for path in find(folder) if recursive or path.parent == folder]
    reading = progress.over(in_threads(_encode_one, paths), "encoding", len(paths))
    encoded = dict(zip((os.fspath(path.relative_to(folder)) for path in paths), reading, strict=True))
    for error in encoded.values():
        if isinstance(error, UnreadablePhoto):
            print(f"left out {error}", file=sys.stderr)
    return {name: each for name, each in encoded.items() if not isinstance(each, UnreadablePhoto)}


def _encode_one(path: Path) -> _Encoded | UnreadablePhoto:
    try:
        seen = glimpse(path, SIZE)
        return _Encoded(same_shot.sketch(seen.pixels[None])[0], (-seen.width * seen.height, -path.stat().st_size))
    except UnreadablePhoto as error:
        return error


def _compare(
    image_dir: str | Path | None, encoding_map: Encodings | None, threshold: float, recursive: bool
) -> tuple[list[str], Similar, npt.NDArray[np.intp]]:
    """Return the names, which of them are similar, and their order, the best to keep first."""
    if (image_dir is None) == (encoding_map is None):
        raise SameSpaceError("give either image_dir, a folder of photos, or encoding_map, the result of encode_images")
    if not 0 < threshold <= 1:
        raise SameSpaceError(f"min_similarity_threshold {threshold} is out of range: use a number above 0, up to 1")
    paths = None  # without the photos, only sketches are compared
    if image_dir is not None:
        encoded = _encode(Path(image_dir), recursive)
        paths = [Path(image_dir, name) for name in encoded]
        names, sketches = list(encoded), [each.sketch for each in encoded.values()]
        order = sorted(range(len(names)), key=lambda row: (encoded[names[row]].worth, names[row]))
    else:
        encodings = encoding_map or {}
        names, sketches = list(encodings), list(encodings.values())
        order = list(range(len(names)))
    grey = np.stack(sketches) if sketches else np.empty((0, same_shot.SIDE, same_shot.SIDE), np.uint8)
    fields: dict[str, Array] = {"grey": grey, "outline": same_shot.outline(grey)}
    copies = Copies(lambda name, rows: fields[name][rows], paths, len(names))
    return names, Similar(copies.find(), copies, threshold), np.array(order, np.intp)


def _written(result: Result, outfile: str | Path | None) -> Result:
    if outfile:
        try:
            write_whole(Path(outfile), json.dumps(result, indent=1).encode())
        except OSError as error:
            raise SameSpaceError(f"cannot write {outfile} ({error.strerror}): name another outfile") from error
    return result
