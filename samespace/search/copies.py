"""Compare two photos as copies are compared: no library, no model, nothing to download."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from samespace.base.photos import read_pixels
from samespace.library.read_photos import SIZE
from samespace.search import same_shot

LOOK_TWICE = 0.4  # the score from which two photos may be of one shot, and a person should look


def compare_photos(path0: Path, path1: Path) -> float:
    """Return how surely two photo files are copies of one shot, 0 to 1; raise SameSpaceError if one cannot be read."""
    grey = same_shot.sketch(np.stack([read_pixels(path, SIZE) for path in (path0, path1)]))
    return float(same_shot.same_shot(grey[:1], grey[1:])[0])


def copies_in_words(score: float) -> str:
    """Return what a score says of two photos."""
    if score >= same_shot.THRESHOLD:
        return "same shot"
    return "look twice" if score >= LOOK_TWICE else "different shots"
