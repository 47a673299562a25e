"""Show what proves that two photos show one place: the points that they share, in a picture or in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from samespace.base.arrays import Array, Floats
from samespace.base.photos import opened
from samespace.base.pictures import save_picture
from samespace.model.points import PROOF, SIDE, partners, points_of

_HEIGHT = 480  # pixels, of each photo in the picture
_GAP = 12
_PAPER = (255, 255, 255)
_LINE = (9, 105, 218)


class Seen(NamedTuple):
    """A photo's points as bytes, and its sides in pixels, upright."""

    points: Array
    size: tuple[int, int]


class Proof(NamedTuple):
    """The places of the points that two photos share, (n, 2) each: shares of the width and the height, from 0 to 1."""

    here: Floats
    there: Floats
    shared: int  # how many points both show; of learnt ones, how many of SIFT's they are worth


def see(path: Path) -> Seen:
    """Find the points of a photo, as many as a library keeps."""
    with opened(path, SIDE) as photo:
        return Seen(points_of(photo), photo.size)


def find_proof(first: Seen, second: Seen) -> Proof:
    """Find the points that two photos share."""
    here, there = partners(first.points, second.points)
    return Proof(_shares(here, first.size), _shares(there, second.size), len(here))


def _shares(places: Floats, size: tuple[int, int]) -> Floats:
    sides = np.array(size, np.float32) * min(1.0, SIDE / max(size))  # of the photo in which points are found
    return np.clip(places / sides, 0, 1)


def draw(proof: Proof, photos: Sequence[Path], path: Path) -> None:
    """Draw the two photos side by side into a PNG, and a line for every point that they share."""
    left, right = map(_resized, photos)
    start = left.width + _GAP
    picture = Image.new("RGB", (start + right.width, _HEIGHT), _PAPER)
    picture.paste(left, (0, 0))
    picture.paste(right, (start, 0))
    brush = ImageDraw.Draw(picture)
    places = proof.here * left.size, proof.there * right.size + [start, 0]
    for (x0, y0), (x1, y1) in zip(*(ends.tolist() for ends in places), strict=True):
        brush.line((x0, y0, x1, y1), _LINE)
        for x, y in ((x0, y0), (x1, y1)):
            brush.ellipse((x - 3, y - 3, x + 3, y + 3), outline=_PAPER, fill=_LINE)
    save_picture(picture, path)


def _resized(path: Path) -> Image.Image:
    with opened(path, _HEIGHT) as photo:
        return photo.resize((max(1, round(photo.width * _HEIGHT / photo.height)), _HEIGHT))


def in_words(shared: int) -> str:
    """Say what so many shared points prove."""
    if shared >= PROOF:
        return f"proof: {shared} points lie in both where a moved camera would see them"
    return f"no proof: {shared} points fit, and it takes {PROOF}"
