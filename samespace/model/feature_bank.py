"""Run a backbone's frozen half over many photos once, and keep the result on disk for later runs: the feature bank."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samespace.base import progress
from samespace.base.once import compute_once, fingerprint, written_whole
from samespace.base.photos import SIZE, VARIANTS, Pixels, UnreadablePhoto, read_many
from samespace.model.backbone import Backbone

EVERY_VARIANT = tuple(range(len(VARIANTS)))


class Maps(NamedTuple):
    """Maps that a backbone's frozen half makes of N photos in V variants: half precision, on disk or in memory."""

    parts: Tensor  # (N, V, C, h, w), a sixteenth of the photo's size
    seen: Tensor  # (N, V, C', h', w'), what the last convolution sees


def photos_at_once(device: str | torch.device) -> int:
    """Return how many photos to run through a backbone at once; more would fall out of a CPU's caches."""
    return 8 if torch.device(device).type == "cpu" else 128


def vary(pixels: Tensor, variant: int) -> Tensor:
    """Return photos (N, 3, S, S) of 0..255 in one of `VARIANTS`: the first bit flips, the second turns by 5°."""
    pixels = pixels.float()
    if variant & 1:
        pixels = pixels.flip(3)
    if variant & 2:
        pixels = _turn(pixels, 5)
    return pixels


def _turn(pixels: Tensor, degrees: float) -> Tensor:
    """Turn photos counterclockwise. Corners repeat the edge: black ones would give turned photos away."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]], device=pixels.device)
    grid = F.affine_grid(turn.expand(len(pixels), 2, 3), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


@torch.no_grad()
def frozen_maps(pixels: Tensor, backbone: Backbone) -> tuple[Tensor, Tensor]:
    """Run the frozen half of the backbone on photos (N, 3, S, S) of 0..255; return parts and what the last layer sees.

    Maps are rounded to half precision everywhere, so that a model in use sees what it was trained on.
    """
    parts, seen = backbone.frozen(pixels)
    return parts.half().contiguous(), seen.half().contiguous()


def bank(
    paths: Sequence[Path],
    backbone: Backbone,
    cache: Path | None = None,
    device: str = "cpu",
    tell: Callable[[str], None] = lambda line: None,
) -> Maps:
    """Return the maps of every photo in every variant, in the order of `paths`.

    With `cache` they are computed once for these photos and this backbone, by one process while others wait, and then
    read from disk; `tell` hears which.
    """
    if cache is None:
        return _bank_in_memory(paths, backbone, device)
    folder = cache / f"{fingerprint(paths)}-{backbone.fingerprint()}"
    compute_once(folder, "feature bank", len(paths), lambda: _write_bank(folder, paths, backbone, device), tell)
    return Maps(*(torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c")) for name in Maps._fields))


def _bank_in_memory(paths: Sequence[Path], backbone: Backbone, device: str) -> Maps:
    shapes = backbone.shapes()[:2]
    maps = Maps(*(torch.empty((len(paths), len(VARIANTS), *shape), dtype=torch.half) for shape in shapes))
    _fill(maps, paths, backbone, device)
    return maps


def _write_bank(folder: Path, paths: Sequence[Path], backbone: Backbone, device: str) -> None:
    with written_whole(folder) as partial:
        arrays = [
            _new_array(partial / f"{name}.npy", (len(paths), len(VARIANTS), *shape))
            for name, shape in zip(Maps._fields, backbone.shapes()[:2], strict=True)
        ]
        _fill(Maps(*(torch.from_numpy(array) for array in arrays)), paths, backbone, device)
        for array in arrays:
            array.flush()


def _new_array(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.float16]]:
    """Make an array on disk and reserve its room: on a full disk, writing into a map would end the process."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _fill(maps: Maps, paths: Sequence[Path], backbone: Backbone, device: str) -> None:
    backbone.to(device)
    with progress.bar("feature bank", len(paths)) as bar:
        start = 0
        for photos in _batches(read_many(paths, SIZE), photos_at_once(device)):
            rows = slice(start, start + len(photos))
            pixels = to_tensor(photos).to(device)
            for variant in EVERY_VARIANT:
                parts, seen = frozen_maps(vary(pixels, variant), backbone)
                maps.parts[rows, variant] = parts.cpu()
                maps.seen[rows, variant] = seen.cpu()
            start += len(photos)
            bar.update(len(photos))


def _batches(photos: Iterator[Pixels | UnreadablePhoto], size: int) -> Iterator[list[Pixels]]:
    while batch := list(islice(photos, size)):
        for photo in batch:
            if isinstance(photo, UnreadablePhoto):
                raise photo
        yield [photo for photo in batch if not isinstance(photo, UnreadablePhoto)]


def to_tensor(photos: Sequence[Pixels]) -> Tensor:
    """Stack N photos (S, S, 3) into (N, 3, S, S) of 0..255."""
    return torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2)
