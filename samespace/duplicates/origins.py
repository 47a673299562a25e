"""Learn where similar photos come from: from their headers, and by which of them are others saved again."""

from __future__ import annotations

from collections.abc import Sequence

from samespace.base.origin import Origin, origin_of
from samespace.base.photos import in_threads
from samespace.base.resaved import is_resaved
from samespace.duplicates.keeper import loss
from samespace.duplicates.photo_table import Columns, PhotoTable, look_alike


def origins_of(photos: PhotoTable, similar: Columns) -> dict[int, Origin]:
    """Return the origins of similar rows, read from their files: no library remembers them.

    A photo that was made by saving a harder compressed one again counts as compressed like that one, and as saved
    again. Only photos of one size that look alike and are equal by their camera data are decoded for that.
    """
    first, second = similar
    rows = sorted({*first.tolist()})
    paths = {row: photos.copies[row][0].path for row in rows}
    origins = dict(zip(rows, in_threads(origin_of, paths.values()), strict=True))
    alike = look_alike(photos, first, second)
    pairs = [
        (fine, coarse)
        for fine, coarse in zip(first[alike].tolist(), second[alike].tolist(), strict=True)
        if origins[fine].camera == origins[coarse].camera and _fineness(origins[fine]) > _fineness(origins[coarse])
    ]
    resaved = in_threads(lambda pair: is_resaved(*(paths[row] for row in pair)), pairs)
    return _corrected(origins, [pair for pair, is_so in zip(pairs, resaved, strict=True) if is_so])


def _corrected(origins: dict[int, Origin], resaved: Sequence[tuple[int, int]]) -> dict[int, Origin]:
    """Return the origins, photos that were saved again as those they were made of; pairs name the copy first."""
    corrected = dict(origins)
    for copy, original in sorted(resaved, key=lambda pair: _fineness(origins[pair[0]])):
        if _fineness(corrected[original]) < _fineness(corrected[copy]):
            name, quality = corrected[original].format, corrected[original].quality
            corrected[copy] = corrected[copy]._replace(format=name, quality=quality, resaved=True)
    return corrected


def _fineness(origin: Origin) -> tuple[int, int]:
    """Return how much of a photo was left, by its format and quality alone: more is finer."""
    return -loss(origin), origin.quality
