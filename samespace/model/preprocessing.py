"""Prepare photos for a network, as the `preprocessor_config.json` beside its weights says.

A scan hands every extractor a photo squeezed to 256 × 256, whatever its shape was. Sizes, crops, means and so on are
applied to that square: sides keep no proportion, a crop loses nothing that its photo still had at the edges unless it
is smaller than the size before it, and an encoder for more than 256 pixels sees no more detail than that.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from samespace.base.arrays import Floats
from samespace.base.errors import SameSpaceError
from samespace.base.photos import Pixels

FILES = ("preprocessor_config.json", "processor_config.json")  # the second since transformers 5, with more in it
_MOST = 2048  # pixels a side


class Preprocessing(NamedTuple):
    """The steps from a square photo to what a network takes."""

    size: tuple[int, int] | None  # height and width that a photo is resized to
    resample: int  # Pillow's number of the filter
    crop: tuple[int, int] | None  # height and width that are cut from the middle
    scale: float  # that pixels of 0..255 are multiplied by
    mean: tuple[float, ...]  # that is subtracted then, a number a channel
    std: tuple[float, ...]  # that it is divided by then

    def apply(self, pixels: Pixels) -> Floats:
        """Return photos (N, 256, 256, 3) as a network takes them, (N, 3, height, width)."""
        resized = np.stack([np.asarray(self._resized(Image.fromarray(photo))) for photo in pixels])
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        scaled = (resized.astype(np.float32) * np.float32(self.scale) - mean) / std
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))

    def _resized(self, photo: Image.Image) -> Image.Image:
        if self.size:
            photo = photo.resize(self.size[::-1], Image.Resampling(self.resample))
        if self.crop:
            (height, width), (across, down) = self.crop, photo.size
            left, top = (across - width) // 2, (down - height) // 2
            photo = photo.crop((left, top, left + width, top + height))  # black where it is larger than the photo
        return photo


def read_preprocessing(folder: Path) -> Preprocessing:
    """Read what is said beside an encoder's weights."""
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        raise SameSpaceError(f"{folder} has no {FILES[0]}, which says how photos are prepared: copy it from the model")
    try:
        said = json.loads(path.read_text("utf-8"))
        return _parsed(said.get("image_processor", said))
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise SameSpaceError(f"{path} is damaged, or says too little of photos: copy it again") from error


def _parsed(said: Mapping[str, Any]) -> Preprocessing:
    resizes, crops = said.get("do_resize", True), said.get("do_center_crop", False)
    normal = said.get("do_normalize", True)
    mean = tuple(map(float, said["image_mean"])) if normal else (0.0,) * 3
    std = tuple(map(float, said["image_std"])) if normal else (1.0,) * 3
    scale = float(said.get("rescale_factor", 1 / 255)) if said.get("do_rescale", True) else 1.0
    if len(mean) != 3 or len(std) != 3 or not all(map(math.isfinite, (*mean, *std, scale))) or min(std) <= 0:
        raise ValueError("no means and deviations")
    resample = int(Image.Resampling(said.get("resample", Image.Resampling.BICUBIC)))
    size = _sides(said["size"]) if resizes else None
    return Preprocessing(size, resample, _sides(said["crop_size"]) if crops else None, scale, mean, std)


def _sides(said: Any) -> tuple[int, int]:
    """Return height and width. The shortest edge of a square is both."""
    if isinstance(said, int):
        sides = said, said
    elif "shortest_edge" in said:
        sides = said["shortest_edge"], said["shortest_edge"]
    else:
        sides = said["height"], said["width"]
    if not all(isinstance(side, int) and 1 <= side <= _MOST for side in sides):
        raise ValueError("no size")
    return sides
