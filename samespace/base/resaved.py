"""Tell a photo that was saved again from its original: a finer JPEG, or a PNG, made from a coarse one adds nothing."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, JpegImagePlugin

from samespace.base.arrays import Floats
from samespace.base.decode import identified
from samespace.base.photos import UnreadablePhoto, opened

_SIDE, _GRID = 512, 16  # pixels of the part that is compared, and between the places where one may begin
_SAME = 0.2  # levels of 256 that decoders may differ by; the finest JPEG differs from what it was made of by 0.4


def is_resaved(copy: Path, original: Path) -> bool:
    """Return whether the pixels of one photo were made from those of another, as they are, by saving them again.

    Saving the original's pixels as the copy was saved then gives the copy. The other way round it does not: a JPEG
    made from the finer copy would differ from it by more than the copy's own steps.
    """
    try:
        ours, theirs = _part(copy), _part(original)
        again = _saved_as(copy, theirs)
    except (UnreadablePhoto, OSError, ValueError):  # gone, damaged, or with tables that cannot be used
        return False
    if ours.size != theirs.size:
        return False
    if again is None:
        return _difference(ours, theirs) < _SAME
    return _difference(ours, again) < _difference(ours, theirs) / 2


def _part(path: Path) -> Image.Image:
    """Return the middle of a photo, cut where blocks of a JPEG begin."""
    with opened(path) as photo:
        left, top = (max(0, side - _SIDE) // 2 // _GRID * _GRID for side in photo.size)
        return photo.crop((left, top, min(left + _SIDE, photo.width), min(top + _SIDE, photo.height)))


def _saved_as(copy: Path, part: Image.Image) -> Image.Image | None:
    """Return a part as it is once saved as the copy was; None if that is not a JPEG."""
    saved = BytesIO()
    with copy.open("rb") as file, identified(file) as image:
        if not isinstance(image, JpegImagePlugin.JpegImageFile):
            return None
        sampling = JpegImagePlugin.get_sampling(image)
        tables = [image.quantization[number] for number in sorted(image.quantization)]
        part.save(saved, "JPEG", qtables=tables[:2], subsampling=max(sampling, 0))
    return Image.open(saved, formats=["JPEG"])


def _difference(one: Image.Image, other: Image.Image) -> float:
    """Return by how many levels the pixels of two photos differ on average."""
    return float(abs(_levels(one) - _levels(other)).mean())


def _levels(photo: Image.Image) -> Floats:
    return np.asarray(photo.convert("RGB"), np.float32)
