"""Describe what a photo's places are made of: how textures and colours vary together, and the colours of its details.

Views of one room differ in what stands where, and agree in materials, light and colours. So places are pooled into
covariances, of early and middle layers, where textures live: a classifier's last layer forgets them. Covariances are
kept as logarithms, among which plain distances make sense.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samespace.base.arrays import Array, Floats
from samespace.base.photos import Pixels

VERSION = "materials 1"  # another one for whatever changes the numbers
FINE, COARSE = 40, 96  # channels of a map that are looked at; of more, as many random mixtures
TINTS = 6  # light, red and yellow of a place, and how much each varies in it
_SPREAD = (60.0, 15.0, 25.0, 25.0, 6.0, 8.0)  # of the tints among places of a room: it brings them to one scale
_FLOOR = 0.01  # of the mean variance; directions that hardly vary say nothing, and have no logarithm
_LEVELS, _TONES = 6, 16  # of light, and of red and of yellow
DETAILS = _LEVELS * _TONES**2
# Whole numbers a unit: of the logarithms of fine and of coarse maps, and of shares of colours. With these, plain
# distances weigh all three well.
_STEPS = (45.0, 30.0, 180.0)


class Maps(NamedTuple):
    """The places of N photos, with the tints as their first channels."""

    fine: Tensor  # (N, TINTS + C, S / 8, S / 8)
    coarse: Tensor  # (N, TINTS + C', S / 16, S / 16)


def length(maps: Maps) -> int:
    """Return how many numbers `describe` makes of one photo's maps."""
    return DETAILS + sum(map_.shape[1] * (map_.shape[1] + 1) // 2 for map_ in maps)


def see(pixels: Tensor, stages: Sequence[Tensor]) -> Maps:
    """Return what a backbone's `stages` and the pixels show at each place of photos (N, 3, S, S) of 0..255."""
    quarter, eighth, sixteenth = stages
    # Numbers, because sizes are tensors while the network is traced.
    side, half = int(eighth.shape[-1]), int(sixteenth.shape[-1])
    colours = _opponents(*torch.split(pixels.float(), 1, 1))
    moments = F.adaptive_avg_pool2d(torch.cat([colours, colours.square()], 1), side)
    texture = [F.adaptive_avg_pool2d(_few(quarter, FINE), side), _few(eighth, FINE)]
    fine = [_tints(moments), *map(_of_one_size, texture)]
    coarse = [_tints(F.adaptive_avg_pool2d(moments, half)), _of_one_size(_few(sixteenth, COARSE))]
    return Maps(torch.cat(fine, 1), torch.cat(coarse, 1))


def describe(maps: Maps, pixels: Pixels) -> Array:
    """Return what photos (N, S, S, 3) are made of, given their maps: (N, D) of int8, D as `length` says."""
    parts = [*(_log_covariance(map_).cpu().numpy() for map_ in maps), details(pixels)]
    scaled = [part * step for part, step in zip(parts, _STEPS, strict=True)]
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


def _opponents(red: Tensor, green: Tensor, blue: Tensor) -> Tensor:
    """Return light, red against green, and yellow against blue, as three channels (N, 3, h, w)."""
    return torch.cat([(red + green + blue) / 3, red - green, (red + green) / 2 - blue], 1)


def _tints(moments: Tensor) -> Tensor:
    """Return the tints (N, TINTS, h, w) of places, given the means of their colours and of the squares of these."""
    mean, square = torch.split(moments, 3, 1)
    deviation = (square - mean.square()).clamp(min=0).sqrt()
    return torch.cat([mean, deviation], 1) / torch.tensor(_SPREAD, device=moments.device).view(1, TINTS, 1, 1)


def _few(maps: Tensor, most: int) -> Tensor:
    """Return maps (N, C, h, w) with `most` channels at most: mixtures of all, the same every time."""
    channels = maps.shape[1]
    if channels <= most:
        return maps
    return F.conv2d(maps, _mixtures(channels, most).to(maps.device))


@cache
def _mixtures(channels: int, most: int) -> Tensor:
    """Return the weights of a convolution, (most, channels, 1, 1)."""
    mixing, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((channels, most)))
    return torch.from_numpy(mixing.T.astype(np.float32))[:, :, None, None]


def _of_one_size(maps: Tensor) -> Tensor:
    """Scale each photo's map to a mean variance of 1, so that contrast does not decide how alike photos are."""
    centred = maps - maps.mean((2, 3), keepdim=True)
    return maps / centred.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-6)


def _log_covariance(maps: Tensor) -> Tensor:
    """Return the upper half of each photo's log-covariance, (N, C (C + 1) / 2), of maps (N, C, h, w)."""
    places = maps.float().flatten(2)
    centred = places - places.mean(2, keepdim=True)
    spread, axes = torch.linalg.eigh(centred @ centred.transpose(1, 2) / places.shape[2])
    floor = (_FLOOR * spread.mean(1, keepdim=True)).clamp(min=1e-9)
    logarithm = (axes * (spread.clamp(min=0) + floor).log()[:, None]) @ axes.transpose(1, 2)
    row, column = torch.triu_indices(*logarithm.shape[1:], device=maps.device)
    # An entry off the diagonal stands for two, and a length counts it twice.
    return logarithm[:, row, column] * torch.where(row == column, 1.0, 2**0.5).to(maps.device)
