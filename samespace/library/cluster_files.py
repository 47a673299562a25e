"""Batches of photos that were read elsewhere, as files: a cluster writes them, `samespace scan --import` takes them in.

A file is a safetensors of `Batch.arrays` and of `about`, which holds this format's number and a checksum. It has the
same bytes whoever read the photos, in whatever order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from samespace.base import progress
from samespace.base.errors import SameSpaceError
from samespace.base.sealed import digest
from samespace.library.library import Library
from samespace.library.read_photos import Batch, Extractor, Rows, former
from samespace.library.scan import import_batch

FORMAT = 2  # 1 lacked colours
FILES = "batch_*.safetensors"


def name(number: int) -> str:
    """Return the name of a batch's file, by its number over all workers."""
    return FILES.replace("*", f"{number:08}")


def to_bytes(batch: Batch) -> bytes:
    """Return the bytes of this batch's file."""
    arrays = _in_order(batch).arrays()
    about = json.dumps({"format": FORMAT, "sha256": digest("", arrays)})
    return save({**arrays, "about": np.frombuffer(about.encode(), np.uint8)})


def read(path: Path) -> Batch:
    """Return the batch that a file holds; refuse a file that is not as it was written."""
    try:
        arrays = load(path.read_bytes())
        about = json.loads(arrays.pop("about").tobytes())
        version, seal = int(about["format"]), about["sha256"]
    except OSError as error:
        raise SameSpaceError(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path) from error
    if version > FORMAT:
        raise SameSpaceError(
            f"{path} was written by a newer samespace (its format is {version}, {FORMAT} is known here): "
            "update samespace"
        )
    if version < FORMAT:
        raise SameSpaceError(
            f"{path} was written by an older samespace, which stored less of each photo: embed them again with this one"
        )
    if seal != digest("", arrays):
        raise _damaged(path)
    return Batch.from_arrays(arrays)


def import_folder(library: Library, root: Path, folder: Path, extractors: Sequence[Extractor] = ()) -> int:
    """Take in every batch file below `folder`, or none if one cannot be used, and count the photos they hold.

    `root` is the folder that was embedded, or a copy of it. Files without the features of `extractors` are refused.
    """
    paths = sorted(folder.rglob(FILES))
    if not paths:
        raise SameSpaceError(f"{folder} holds no embedded photos: give the folder that `samespace export` fetched")
    names = {name: extractor.fingerprint for extractor in extractors for name in former(extractor)}
    photos, here = 0, False
    for path in progress.over(paths, "checking", unit=" files"):
        batch = _renamed(read(path), names)
        _check_features(path, batch, extractors)
        here = here or any(_lies_below(root, file.path) for file in batch.files)
        photos += len(batch.files)
    if not here:
        raise SameSpaceError(f"{folder} holds no photo that lies below {root}: scan the folder that was embedded")
    with library.hold():
        for path in progress.over(paths, "importing", unit=" files"):
            import_batch(library, root, _renamed(read(path), names))
    return photos


def _renamed(batch: Batch, names: Mapping[str, str]) -> Batch:
    """Return the batch with its features under their present fingerprints."""
    return batch._replace(features={names.get(name, name): rows for name, rows in batch.features.items()})


def _in_order(batch: Batch) -> Batch:
    """Return the batch sorted: which of several copies was read first is chance."""
    features = {}
    for fingerprint, (contents, fields) in batch.features.items():
        order = np.argsort(np.array(contents, "U64"))
        features[fingerprint] = Rows(sorted(contents), {field: values[order] for field, values in fields.items()})
    return Batch(sorted(batch.files), sorted(batch.contents), features, batch.decoders)


def _damaged(path: Path) -> SameSpaceError:
    return SameSpaceError(f"{path} is damaged: fetch it again, or delete it and its photos are read here")


def _check_features(path: Path, batch: Batch, extractors: Sequence[Extractor]) -> None:
    for extractor in extractors:
        rows = batch.features.get(extractor.fingerprint)
        found = {} if rows is None else {key: (values.shape[1:], values.dtype) for key, values in rows.fields.items()}
        if found != {key: (shape, np.dtype(dtype)) for key, (shape, dtype) in extractor.fields.items()}:
            raise SameSpaceError(
                f"{path} was made with another model (it holds {', '.join(sorted(batch.features))}, "
                f"not {extractor.fingerprint}): name the model it was made with, or leave --model and --backbone out"
            )


def _lies_below(root: Path, path: bytes) -> bool:
    return os.path.lexists(os.path.join(os.fsencode(root), path))  # noqa: PTH118 - pathlib has no bytes
