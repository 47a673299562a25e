"""Draw the proof that two photos show one place: both side by side, and a line for every point that they share."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from samespace.base.arrays import Array, Floats
from samespace.base.photos import opened
from samespace.base.pictures import save_picture
from samespace.model.learnt_points import LearntPoints, as_sift
from samespace.model.points import PROOF, SIDE, partners, points_of, strength

_HEIGHT = 480  # pixels, of each photo in the picture
_GAP = 12
_PAPER = (255, 255, 255)
_LINE = (9, 105, 218)


class Proof(NamedTuple):
    """Two photos, a picture's worth of each, and where in these they show the same points: (n, 2) each."""

    photos: tuple[Image.Image, Image.Image]
    places: tuple[Floats, Floats]
    shared: int  # how many points both show; learnt ones by how many of SIFT's they are worth


def find_proof(photo0: Path, photo1: Path, learnt: LearntPoints | None = None) -> Proof:
    """Look for points that two photos share; if SIFT leaves it open, a second time for `learnt` ones."""
    (shown0, points0, scale0), (shown1, points1, scale1) = map(_look_at, (photo0, photo1))
    here, there = partners(points0, points1)
    if learnt and strength(np.array([len(here)]))[0] == 0:
        seen0, seen1 = learnt.see([photo0, photo1])
        if seen0 and seen1:
            (again,) = learnt.partners([(seen0, seen1)])
            scale0, scale1 = (np.float32(_HEIGHT / seen.size[1]) for seen in (seen0, seen1))
            worth = int(as_sift(again.scores.sum(keepdims=True))[0])
            return Proof((shown0, shown1), (again.here * scale0, again.there * scale1), worth)
    return Proof((shown0, shown1), (here * scale0, there * scale1), len(here))


def _look_at(path: Path) -> tuple[Image.Image, Array, np.float32]:
    """Return a photo as it is drawn, its points, and by what to multiply their places."""
    with opened(path, at_least=_HEIGHT) as photo:
        shrunk = max(1.0, max(photo.size) / SIDE)
        size = max(1, round(photo.width * _HEIGHT / photo.height)), _HEIGHT
        return photo.resize(size), points_of(photo), np.float32(shrunk * _HEIGHT / photo.height)


def draw(proof: Proof, path: Path) -> None:
    """Draw a proof into a PNG."""
    left, right = proof.photos
    start = left.width + _GAP
    picture = Image.new("RGB", (start + right.width, _HEIGHT), _PAPER)
    picture.paste(left, (0, 0))
    picture.paste(right, (start, 0))
    brush = ImageDraw.Draw(picture)
    for (x0, y0), (x1, y1) in zip(*(places.tolist() for places in proof.places), strict=True):
        brush.line((x0, y0, start + x1, y1), _LINE)
        for x, y in ((x0, y0), (start + x1, y1)):
            brush.ellipse((x - 3, y - 3, x + 3, y + 3), outline=_PAPER, fill=_LINE)
    save_picture(picture, path)


def in_words(shared: int) -> str:
    """Say what so many shared points prove."""
    if shared >= PROOF:
        return f"proof: {shared} points lie in both where a moved camera would see them"
    return f"no proof: {shared} points fit, and it takes {PROOF}"
