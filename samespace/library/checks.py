"""Notice features that have changed on the disk since they were written: each row has a checksum, in a file beside.

Checksums are compared only if a file is not as it was left, by its size and dates: reading everything takes long.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from samespace.base.arrays import Array, Ints, blocks

NAME = "checks"  # the file; 0.1 wrote none
WIDTH = 4  # bytes a row
AT_ONCE = 4096  # rows

Widths = Mapping[str, int]  # the bytes that a row takes in each field's file


def checksums(fields: Mapping[str, Array]) -> Array:
    """Return the checksum of each row over all fields, (n,): never 0, which stands for a row without one."""
    sums = [0] * len(next(iter(fields.values())))
    for _, values in sorted(fields.items()):
        whole = memoryview(np.ascontiguousarray(values).tobytes())
        width = len(whole) // max(1, len(sums))
        for row, so_far in enumerate(sums):
            sums[row] = zlib.crc32(whole[row * width : (row + 1) * width], so_far)
    return np.array([number or 1 for number in sums], "<u4")


def stamp(folder: Path, fields: Iterable[str]) -> str:
    """Return what tells that the files are as they were left."""
    stamps = {}
    for name in (*sorted(fields), NAME):
        status = (folder / name).stat()
        stamps[name] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return json.dumps(stamps)


def compared(folder: Path, fields: Widths, rows: Ints) -> Iterator[tuple[Ints, Array, Array]]:
    """Yield rows block by block, each with the checksums that it has and the ones it should have; 0: not known."""
    known = np.fromfile(folder / NAME, "<u4") if (folder / NAME).is_file() else np.empty(0, "<u4")
    files = {name: np.memmap(folder / name, np.uint8, "r") for name in fields}
    for some in blocks(len(rows), AT_ONCE):
        block = rows[some]
        values = {}
        for name, width in fields.items():
            count = len(files[name]) // width
            values[name] = files[name][: count * width].reshape(count, width)[block]
        should = np.where(block < len(known), known[np.minimum(block, len(known) - 1)] if len(known) else 0, 0)
        yield block, checksums(values), should
