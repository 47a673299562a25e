"""Perceptual hashes of photos, 64 bits each, and Hamming distances between many of them at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from samespace.base.arrays import blocks
from samespace.base.errors import SameSpaceError

Hashes = npt.NDArray[np.uint64]

HASHED_SIZE = 256
PAIRS_AT_ONCE = 2**16
_BITS_OF_16 = np.unpackbits(np.arange(2**16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16).sum(1, dtype=np.uint8)

_GREY_SIZE = 32
# The eight slowest of the 32 cosine waves that ImageHash's `phash` looks for along each side: (8, 32).
_LOW_WAVES = 2 * np.cos(np.pi / _GREY_SIZE * np.outer(np.arange(8), np.arange(_GREY_SIZE) + 0.5))


def wavelet_hash(photo: Image.Image) -> np.uint64:
    """Return ImageHash's `whash` of the photo at 256×256: which wavelets of an 8×8 grid lie above their median."""
    try:
        import imagehash
    except ImportError:
        raise SameSpaceError("labelled photos need ImageHash: pip install 'samespace[train]'") from None
    # An ImageHash of 64 bits prints itself as 16 hexadecimal digits.
    return np.uint64(int(str(imagehash.whash(photo, image_scale=HASHED_SIZE)), 16))


def perceptual_hash(photo: Image.Image) -> np.uint64:
    """Return ImageHash's `phash`, which of the 64 lowest frequencies lie above their median, without ImageHash."""
    grey = photo.convert("L").resize((_GREY_SIZE, _GREY_SIZE), Image.Resampling.LANCZOS)
    # Rounded, because a flat photo's frequencies are zero but for rounding noise, whose signs are chance.
    frequencies = (_LOW_WAVES @ np.asarray(grey, np.float64) @ _LOW_WAVES.T).round(6)
    bits = (frequencies > np.median(frequencies)).ravel()
    return np.uint64(int.from_bytes(np.packbits(bits).tobytes(), "big"))


def hamming(hashes0: Hashes, hashes1: Hashes) -> npt.NDArray[np.uint8]:
    """Count the bits that differ between every hash of (N,) and every hash of (M,): (N, M), 0..64."""
    distances = np.empty((len(hashes0), len(hashes1)), np.uint8)
    # A few rows at a time, so that the differing bits, eight times as large as the answer, stay in the cache.
    rows = max(1, PAIRS_AT_ONCE // max(1, len(hashes1)))
    count_bits = np.bitwise_count if hasattr(np, "bitwise_count") else count_bits_by_table  # numpy 1 has none
    for block in blocks(len(hashes0), rows):
        distances[block] = count_bits(hashes0[block, None] ^ hashes1)
    return distances


def count_bits_by_table(numbers: Hashes) -> npt.NDArray[np.uint8]:
    """Count the bits of each number, as numpy 2's `bitwise_count` does."""
    quarters = np.ascontiguousarray(numbers).view(np.uint16).reshape(*numbers.shape, 4)
    return _BITS_OF_16[quarters].sum(-1, dtype=np.uint8)
