"""Tell whether a photo shows something beyond the edge of another that lies over it, as a crop's original does."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from samespace.base.arrays import Doubles, Flags

SLACK = 0.03  # of a side: what a copy may lose at an edge, by a slight turn or by pixels that were cut off evenly
SIDE = 192  # pixels of the long side at which edges are looked at
DETAIL = 4  # grey levels: less contrast is a plain border, or the corners that a turn left
LEAST = 0.003  # of a photo's area: less is noise

Grey = npt.NDArray[np.uint8]


def which_show_more(first: Grey, second: Grey, there: Doubles) -> tuple[bool, bool]:
    """Return of each of two photos whether it shows something beyond the other; if both do, neither is a copy.

    `there`, (3, 3), takes a pixel of the first to its place in the second.
    """
    back = np.asarray(np.linalg.inv(there), np.float64)
    return _shows_more(first, second, there), _shows_more(second, first, back)


def _shows_more(photo: Grey, other: Grey, there: Doubles) -> bool:
    beyond = _beyond(photo.shape, other.shape, there)
    if beyond.mean() < LEAST:
        return False
    small = np.asarray(cv2.resize(photo, beyond.shape[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    return bool((beyond & (_contrast(small, beyond) > DETAIL)).mean() >= LEAST)


def _beyond(shape: tuple[int, ...], other: tuple[int, ...], there: Doubles) -> Flags:
    """Return which places of a photo, seen small, lie outside another by more than the slack: (H, W)."""
    high, wide = (max(1, round(side * min(1.0, SIDE / max(shape)))) for side in shape)
    rows, columns = np.mgrid[:high, :wide].astype(np.float64)
    places = np.stack([(columns + 0.5) * shape[1] / wide, (rows + 0.5) * shape[0] / high, np.ones_like(rows)])
    across, down = np.einsum("ij,jhw->ihw", there[:2], places) / np.array(other[::-1])[:, None, None]
    return np.asarray(np.maximum(abs(across - 0.5), abs(down - 0.5)) > 0.5 + SLACK)


def _contrast(photo: Grey, where: Flags) -> npt.NDArray[np.float64]:
    """Return how much tones vary around each place, by the places that are marked, (H, W)."""
    mask, tones = where.astype(np.float64), photo.astype(np.float64)

    def around(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(cv2.boxFilter(values * mask, -1, (7, 7), normalize=False))

    count = np.maximum(around(np.ones_like(mask)), 1)
    mean = around(tones) / count
    return np.sqrt(np.maximum(around(tones**2) / count - mean**2, 0))
