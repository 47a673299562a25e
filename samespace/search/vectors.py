"""The vectors that are searched: a look's own, or shorter ones that a compression makes of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from samespace.base import arrays
from samespace.base.arrays import Array, Floats
from samespace.base.errors import SameSpaceError
from samespace.base.text import count, shell_word
from samespace.library.features import Features, Fields, UnusableFeatures
from samespace.library.library import FOLDER, Library, Photo
from samespace.search.look import Look

if TYPE_CHECKING:
    from samespace.search.compression import Compression

_COMPRESSION, _INDEX = "compression.safetensors", "hnsw.usearch"  # files among a look's features


class Vectors(NamedTuple):
    """A field to search whose rows are of length 1, an extractor's own or derived from it."""

    fingerprint: str
    fields: Fields
    field: str
    compress: Callable[[Array], Floats]  # from the extractor's own rows (N, D)
    compression: str = "none"  # the method


def index_path(library: Library, vectors: Vectors) -> Path:
    """Return the path of the approximate index."""
    return library.features_folder(vectors.fingerprint) / _INDEX


def vectors_of(library: Library, look: Look) -> Vectors:
    """Return what this look searches, made ready for every photo that has been scanned for it."""
    library.take_over(look.extractor)
    source, compression = look.extractor, compression_of(library, look)
    if compression is None and look.is_unit:
        return Vectors(source.fingerprint, source.fields, look.field, _unit)
    if compression is None:
        dim, compress, suffix = source.fields[look.field][0], _unit, "unit"
    else:
        dim, compress, suffix = (compression.dim,), compression, compression.fingerprint
    method = "none" if compression is None else compression.method
    derived = Vectors(f"{source.fingerprint}-{suffix}", {"vectors": (dim, "float16")}, "vectors", compress, method)

    def derive(features: Features) -> dict[str, Array]:
        return {"vectors": compress(features.take(look.field)).astype(np.float16)}

    library.derive(source, derived, derive)
    return derived


def compression_of(library: Library, look: Look) -> Compression | None:
    """Return the compression that the library keeps for the look's vectors; None if it keeps them as they are."""
    path = library.features_folder(look.extractor.fingerprint) / _COMPRESSION
    if not path.is_file():
        return None
    from samespace.search.compression import Compression  # few libraries have one

    return Compression.load(path)


def vectors_to_compress(library: Library, look: Look) -> Array:
    """Return vectors (N, D) to learn a compression from, the same in whatever order photos were scanned."""
    from samespace.search import choose_compression

    if look.meaning == "same shot":
        raise SameSpaceError(
            "vectors that find copies are short already: scan with --backbone or --model to compress those"
        )
    everything = library.photos()
    by_content = {photo.content: photo for photo in everything}
    rows = library.rows(look.extractor)
    photos = [by_content[content] for content in sorted(by_content.keys() & rows.keys())]
    if not photos:
        raise nothing_to_search(library, look, everything)
    step = -(-len(photos) // (2 * choose_compression.SAMPLE))
    with naming_the_scan(library, look.options):
        return library.features(look.extractor, photos[::step]).take(look.field)


def imported_compression(file: Path, look: Look) -> Compression:
    """Read a compression that was trained elsewhere; refuse it if it is for vectors of another length."""
    from samespace.search.compression import Compression

    compression = Compression.load(file)
    (dim,), _ = look.extractor.fields[look.field]
    if compression.dim_in != dim:
        raise SameSpaceError(
            f"{file} was trained on vectors of {compression.dim_in} numbers, and {look.name} has {dim}: "
            "give the --backbone or the --model that it was trained for"
        )
    return compression


def keep_compression(library: Library, look: Look, compression: Compression | None) -> None:
    """Search by vectors compressed like this from now on; drop those derived otherwise."""
    path = library.features_folder(look.extractor.fingerprint) / _COMPRESSION
    with library.hold():
        if compression is None:
            path.unlink(missing_ok=True)
        else:
            compression.save(path)
        library.drop_derived(look.extractor, but=vectors_of(library, look).fingerprint)


def _unit(vectors: Array) -> Floats:
    return arrays.unit(vectors.astype(np.float32))


def nothing_to_search(library: Library, look: Look, photos: Sequence[Photo]) -> SameSpaceError:
    """Return the error for a library none of whose photos can be searched by this look."""
    if not photos:
        return SameSpaceError(f"{library.folder} has no photos: scan the folder that holds them")
    scan = scan_for(library, look.options)
    return SameSpaceError(f"none of the {count(len(photos), 'photo')} has been scanned for {look.name}: {scan}")


def scan_for(library: Library, options: Sequence[str]) -> str:
    """Return the command that scans a library's folders with these options."""
    roots = library.roots
    words = ["samespace", "scan", *map(os.fspath, roots), *options]
    if [root / FOLDER for root in roots] != [library.folder]:
        words += ["--library", os.fspath(library.folder)]
    return " ".join(map(shell_word, words))


@contextmanager
def naming_the_scan(library: Library, options: Sequence[str]) -> Iterator[None]:
    """Have an error about features meanwhile name the scan with these options, which makes them again."""
    try:
        yield
    except UnusableFeatures as error:
        raise SameSpaceError(f"{error.what}: {scan_for(library, options)}") from error
