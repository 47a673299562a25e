"""The files beside photos: what must not be lost with a photo, because no kept photo has the like beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path

from samespace.base.partners import Partner, Partners, labels

_PART = 1 << 16  # bytes that are compared at the beginning, in the middle and at the end


class Beside:
    """The partners of photos, and which RAW files and videos seem to be equal; files are read once."""

    def __init__(self, moving: Collection[Path] = ()) -> None:
        """Go by which photos are `moving`: those that hold a video themselves."""
        self._moving = moving
        self._partners = Partners()
        self._looks: dict[Path, str] = {}

    def of(self, photo: Path) -> tuple[Partner, ...]:
        """Return the partners of a photo."""
        return self._partners.of(photo)

    def pictures(self, photo: Path) -> list[Partner]:
        """Return the RAW files and videos that belong to a photo."""
        return [partner for partner in self._partners.of(photo) if partner.is_picture]

    def equal(self, partner: Partner, kept: Iterable[Path]) -> Path | None:
        """Return a RAW file or video beside kept photos that seems to have a partner's bytes: `apply` reads all."""
        for photo in kept:
            for other in self.pictures(photo):
                if other.path != partner.path and other.size == partner.size and self._look_equal(partner, other):
                    return other.path
        return None

    def needed(self, photos: Iterable[Path], kept: Collection[Path]) -> dict[Path, str]:
        """Return which photos to keep as well, and why: no kept one has a RAW file or video equal to theirs.

        The first of several with equal ones is enough; of those that hold a video themselves, any.
        """
        staying, needed = list(kept), {}
        for photo in photos:
            alone = [each for each in self.pictures(photo) if not self._stays(each, staying)]
            if alone:
                needed[photo] = f"nothing kept has its {labels(alone)} beside it"
            elif photo in self._moving and not any(other in self._moving for other in staying):
                needed[photo] = "nothing kept holds its video"
            else:
                continue
            staying.append(photo)
        return needed

    def _stays(self, partner: Partner, kept: Collection[Path]) -> bool:
        return any(photo in kept for photo in partner.photos) or self.equal(partner, kept) is not None

    def _look_equal(self, one: Partner, other: Partner) -> bool:
        looks = [self._look(each) for each in (one, other)]
        return looks[0] == looks[1] != ""

    def _look(self, partner: Partner) -> str:
        if partner.path not in self._looks:
            self._looks[partner.path] = _hash_of_parts(partner)
        return self._looks[partner.path]


def _hash_of_parts(partner: Partner) -> str:
    """Return a hash of the beginning, the middle and the end of a file; "" if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with partner.path.open("rb") as file:
            for start in (0, (partner.size - _PART) // 2, partner.size - _PART):
                file.seek(max(0, start))
                digest.update(file.read(_PART))
    except OSError:
        return ""
    return digest.hexdigest()
