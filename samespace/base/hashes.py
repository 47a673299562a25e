"""Perceptual hashes of photos, 64 bits each, and Hamming distances between many of them at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

Hashes = npt.NDArray[np.uint64]

HASHED_SIZE = 256
_CACHED_PAIRS = 2**16
_BITS_OF_16 = np.unpackbits(np.arange(2**16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16).sum(1, dtype=np.uint8)

_GREY_SIZE = 32
# The eight slowest of the 32 cosine waves that `phash` looks for along each side: (8, 32).
_LOW_WAVES = 2 * np.cos(np.pi / _GREY_SIZE * np.outer(np.arange(8), np.arange(_GREY_SIZE) + 0.5))


def wavelet_hash(photo: Image.Image) -> np.uint64:
    """ImageHash's `whash` of the photo at 256×256: where its wavelets lie above their median, on an 8×8 grid."""
    import imagehash

    return _packed(imagehash.whash(photo, image_scale=HASHED_SIZE))


def perceptual_hash(photo: Image.Image) -> np.uint64:
    """ImageHash's `phash`: the signs of the 64 lowest frequencies around their median."""
    import imagehash

    return _packed(imagehash.phash(photo))


def perceptual_hash_of_pixels(pixels: npt.NDArray[np.uint8]) -> np.uint64:
    """`perceptual_hash` of a photo that is an array (h, w, 3) already, many times faster."""
    grey = Image.fromarray(pixels).convert("L").resize((_GREY_SIZE, _GREY_SIZE), Image.Resampling.LANCZOS)
    # Rounded, because a flat photo's frequencies are zero but for the noise of the sums, and their signs chance.
    frequencies: npt.NDArray[np.float64] = (_LOW_WAVES @ np.asarray(grey, np.float64) @ _LOW_WAVES.T).round(6)
    bits = (frequencies > np.median(frequencies)).ravel()
    packed: np.uint64 = np.uint64(int.from_bytes(np.packbits(bits).tobytes(), "big"))
    return packed


def _packed(bits: object) -> np.uint64:
    """An ImageHash of 64 bits, which prints itself as 16 hexadecimal digits, as one number."""
    packed: np.uint64 = np.uint64(int(str(bits), 16))
    return packed


def hamming(hashes0: Hashes, hashes1: Hashes) -> npt.NDArray[np.uint8]:
    """How many bits differ between every hash of (N,) and every hash of (M,): (N, M), 0..64."""
    distances = np.empty((len(hashes0), len(hashes1)), np.uint8)
    # A few rows at a time, so that the differing bits, eight times as large as the answer, stay in the cache.
    rows = max(1, _CACHED_PAIRS // max(1, len(hashes1)))
    for start in range(0, len(hashes0), rows):
        here = slice(start, start + rows)
        distances[here] = _count_bits(hashes0[here, None] ^ hashes1)
    return distances


def _count_bits(numbers: Hashes) -> npt.NDArray[np.uint8]:
    if not hasattr(np, "bitwise_count"):  # numpy 1
        return _count_bits_by_table(numbers)
    counts: npt.NDArray[np.uint8] = np.bitwise_count(numbers)
    return counts


def _count_bits_by_table(numbers: Hashes) -> npt.NDArray[np.uint8]:
    quarters = np.ascontiguousarray(numbers).view(np.uint16).reshape(*numbers.shape, 4)
    counts: npt.NDArray[np.uint8] = _BITS_OF_16[quarters[..., 0]]
    for quarter in range(1, 4):
        counts += _BITS_OF_16[quarters[..., quarter]]
    return counts
