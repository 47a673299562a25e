"""Keep photos' whitened vectors beside their materials while the photos stay the same: learning them takes a second."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np

from samespace.base.arrays import Array, Floats
from samespace.base.files import write_whole
from samespace.library.library import Library
from samespace.library.read_photos import Extractor
from samespace.model.known import Known

_VERSION = "whitened 1"  # another one for whatever changes the vectors
_DIGEST = hashlib.sha256().digest_size


def whitened(
    library: Library, extractor: Extractor, contents: Sequence[str], known: Known | None, learn: Callable[[], Floats]
) -> Floats:
    """Return the vectors (N, d) that `learn` gives for N contents, or those that the library has kept of these.

    They are learnt from all contents together, and with the photos that a model knows. Both ways give the same numbers,
    rounded to half precision. Nothing is kept while somebody else holds the library, or if the disk is full.
    """
    path, key = library.features_folder(extractor.fingerprint) / "whitened", _key(contents, known)
    kept = _read(path, key, len(contents))
    if kept is None:
        kept = learn().astype(np.float16)
        if library.is_writable:
            with library.hold(wait=False) as held, suppress(OSError):
                if held:
                    _write(path, key, kept)
    return kept.astype(np.float32)


def _key(contents: Sequence[str], known: Known | None) -> bytes:
    """Return a digest of all that decides the vectors, beside the extractor, whose folder they are kept in."""
    digest = hashlib.sha256(_VERSION.encode())
    for values in known or ():
        digest.update(np.ascontiguousarray(values).tobytes())
    digest.update("".join(contents).encode())
    return digest.digest()


def _read(path: Path, key: bytes, photos: int) -> Array | None:
    with suppress(OSError, ValueError, EOFError):
        content = path.read_bytes()
        told, seal, vectors = content[:_DIGEST], content[_DIGEST : 2 * _DIGEST], content[2 * _DIGEST :]
        if told == key and seal == hashlib.sha256(vectors).digest():
            kept = np.load(BytesIO(vectors), allow_pickle=False)
            return kept if kept.shape[0] == photos else None
    return None


def _write(path: Path, key: bytes, vectors: Array) -> None:
    file = BytesIO()
    np.save(file, vectors)
    write_whole(path, key + hashlib.sha256(file.getbuffer()).digest() + file.getvalue())
