"""Tell damaged photos from edited ones: a bit that flips on a disk changes few bytes and, in a JPEG, many pixels."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from samespace.base.arrays import Array
from samespace.base.photos import UnreadablePhoto, opened

_EQUAL = 0.9  # share of the bytes; two encodings of one picture share a few percent


def have_nearly_equal_bytes(one: Path, other: Path) -> bool:
    """Return whether two files differ in few of their bytes, a few of which may be missing; False if one is gone."""
    try:
        first, second = (np.memmap(path, np.uint8, "r") for path in (one, other))
    except (OSError, ValueError):  # gone, or empty
        return False
    length = min(len(first), len(second))
    # Most pairs are told apart by a few bytes of each.
    some = np.linspace(0, length - 1, 1000).astype(np.intp)
    if max((first[some] == second[some]).mean(), (first[-1 - some] == second[-1 - some]).mean()) < _EQUAL / 3:
        return False
    from_start, from_end = first[:length] == second[:length], first[-length:] == second[-length:]
    until, after = _leading(from_start), _leading(from_end[::-1])
    equal = max(from_start.sum(), from_end.sum(), min(until + after, length))
    return bool(equal >= _EQUAL * max(len(first), len(second)))


def _leading(flags: Array) -> int:
    """Count the flags before the first that is false."""
    return len(flags) if flags.all() else int(flags.argmin())


def decodes_with_warnings(path: Path) -> bool:
    """Return whether the decoder complains of this photo's data; it notices some damage, not all."""
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # of a photo that is large, and no worse
        try:
            with opened(path):
                pass
        except UnreadablePhoto:
            return True
    return bool(complaints) or _is_corrupt_jpeg(path)


def _is_corrupt_jpeg(path: Path) -> bool:
    """Ask libjpeg's strict interface: Pillow keeps its warnings to itself."""
    try:
        import simplejpeg
    except ImportError:  # as in Determined's image, where nobody looks for damage
        return False
    content = path.read_bytes()
    if not simplejpeg.is_jpeg(content):
        return False
    try:
        simplejpeg.decode_jpeg(content, strict=True)
    except ValueError as error:
        return "Corrupt JPEG data" in str(error)
    return False
