"""Describe what a photo's places are made of: how textures and colours vary together, and the colours of its details.

Views of one room differ in what stands where, and agree in materials, light and colours. So places are pooled into
covariances, of early and middle layers, where textures live: a classifier's last layer forgets them. Covariances are
kept as logarithms, among which plain distances make sense. graphs.py says what a place is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from samespace.base.arrays import Array, Floats
from samespace.base.photos import Pixels

VERSION = "materials 1"  # another one for whatever changes the numbers
_FLOOR = 0.01  # of the mean variance; directions that hardly vary say nothing, and have no logarithm
_LEVELS, _TONES = 6, 16  # of light, and of red and of yellow
DETAILS = _LEVELS * _TONES**2
# Whole numbers a unit: of the logarithms of fine and of coarse maps, and of shares of colours. With these, plain
# distances weigh all three well.
_STEPS = (45.0, 30.0, 180.0)


class Maps(NamedTuple):
    """The places of N photos, and what a network sees at each."""

    fine: Floats  # (N, C, S / 8, S / 8)
    coarse: Floats  # (N, C', S / 16, S / 16)


def length(*channels: int) -> int:
    """Return how many numbers `describe` makes of one photo's maps, which have so many channels."""
    return DETAILS + sum(count * (count + 1) // 2 for count in channels)


def describe(maps: Maps, pixels: Pixels) -> Array:
    """Return what photos (N, S, S, 3) are made of, given their maps: (N, D) of int8, D as `length` says."""
    parts = [*map(_log_covariance, maps), details(pixels)]
    scaled = [part * np.float32(step) for part, step in zip(parts, _STEPS, strict=True)]
    return np.concatenate(scaled, 1).round().clip(-127, 127).astype(np.int8)


def details(pixels: Pixels) -> Floats:
    """Return the colours of the more textured half of photos (N, S, S, 3): roots of their shares, (N, DETAILS)."""
    shares = np.empty((len(pixels), DETAILS), np.float32)
    for photo, row in zip(pixels, shares, strict=True):
        # Sums of four pixels, in whole numbers: a third of the time that means take.
        pairs = np.add(photo[::2], photo[1::2], dtype=np.int16)
        red, green, blue = np.moveaxis(pairs[:, ::2] + pairs[:, 1::2], -1, 0)
        light = red + green + blue  # up to 12 times a pixel's
        slope = np.zeros(light.shape, np.int16)
        slope[:, 1:-1] += np.abs(light[:, 2:] - light[:, :-2])
        slope[1:-1] += np.abs(light[2:] - light[:-2])
        textured = slope >= np.partition(slope, slope.size // 2, axis=None)[slope.size // 2]
        light, red, green, blue = (channel[textured] for channel in (light, red, green, blue))
        tones = [(tone + 256 >> 5).clip(0, _TONES - 1) for tone in (red - green, (red + green >> 1) - blue)]
        level = light.astype(np.int32) * _LEVELS // (12 * 256)
        code = (level * _TONES + tones[0]) * _TONES + tones[1]
        row[:] = np.sqrt(np.bincount(code, minlength=DETAILS) / len(code))
    return shares


def _log_covariance(maps: Floats) -> Floats:
    """Return the upper half of each photo's log-covariance, (N, C (C + 1) / 2), of maps (N, C, h, w)."""
    places = maps.reshape(*maps.shape[:2], -1)
    centred = places - places.mean(2, keepdims=True)
    spread, axes = np.linalg.eigh(centred @ centred.transpose(0, 2, 1) / places.shape[2])
    floor = (_FLOOR * spread.mean(1, keepdims=True)).clip(1e-9)
    logarithm = (axes * np.log(spread.clip(0) + floor)[:, None]) @ axes.transpose(0, 2, 1)
    row, column = np.triu_indices(logarithm.shape[1])
    # An entry off the diagonal stands for two, and a length counts it twice.
    return logarithm[:, row, column] * np.where(row == column, 1.0, 2**0.5).astype(np.float32)
