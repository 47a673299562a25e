"""Tell which files belong to a photo, by the names in its folder: its RAW, the video of a Live Photo, its sidecars.

A partner goes only with the last of its photos: as long as one of them stays, it stays.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from samespace.base.kinds import SIDECARS
from samespace.base.photos import EXTENSIONS
from samespace.base.raw_preview import RAW, is_raw, raw_photos

VIDEO = frozenset((".mov", ".mp4", ".mp"))
_BESIDE = frozenset((*RAW, *VIDEO, *SIDECARS))

_TAKEOUT = ".supplemental-metadata"  # what Google puts between the name of a photo and .json
_CUT = 46  # characters of that which Google leaves
_NUMBERED = re.compile(r"(.+)(\(\d+\))(\.[^.]+)")
_EDITED = re.compile(r"IMG_E(\d+)")  # by Apple, whose sidecar is then IMG_O1234.AAE

_Key = tuple[str, str]  # what is compared, and its value


class Partner(NamedTuple):
    """A file that belongs to a photo, or to several of one stem, as it was when it was looked at."""

    path: Path
    photos: tuple[Path, ...]  # all that it belongs to, in its folder
    size: int
    mtime_ns: int

    @property
    def label(self) -> str:
        """Return what a person calls it: CR2, MOV, XMP."""
        return self.path.suffix[1:].upper()

    @property
    def is_raw(self) -> bool:
        """Return whether it is a RAW file."""
        return is_raw(self.path)

    @property
    def is_picture(self) -> bool:
        """Return whether it shows something itself, as a RAW file or a video does and a sidecar does not."""
        return self.path.suffix.lower() in {*RAW, *VIDEO}


class Partners:
    """The partners of photos, wherever they lie. Each folder is listed once, and a file that is no partner not asked.

    Links are left alone: what they lead to belongs to somebody else.
    """

    def __init__(self) -> None:
        self._names: dict[Path, dict[str, list[tuple[str, tuple[str, ...]]]]] = {}  # by folder and photo
        self._known: dict[Path, tuple[Partner, ...]] = {}

    def of(self, photo: Path) -> tuple[Partner, ...]:
        """Return the partners of a photo: RAW files first, then videos, then sidecars, each by name."""
        if photo not in self._known:
            folder = photo.parent
            if folder not in self._names:
                self._names[folder] = _names_by_photo(folder)
            found = (_partner(folder, *names) for names in self._names[folder].get(photo.name, ()))
            self._known[photo] = tuple(partner for partner in found if partner)
        return self._known[photo]


def going(partners: Iterable[Partner], photos: Collection[Path]) -> list[Partner]:
    """Return the partners that go when these photos go: those that leave no photo behind. Each is named once."""
    return [each for each in dict.fromkeys(partners) if all(photo in photos for photo in each.photos)]


def labels(partners: Iterable[Partner]) -> str:
    """Name partners in a few letters: CR2, XMP."""
    return ", ".join(dict.fromkeys(partner.label for partner in partners))


def photos_by_partner(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return each name of a folder that belongs to photos there, and theirs, sorted."""
    kinds = {name: _parted(name)[1] for name in sorted(names)}
    raw = raw_photos(kinds, EXTENSIONS)
    others = [name for name, kind in kinds.items() if kind in _BESIDE and name not in raw]
    if not others:  # as in most folders
        return {}
    photos: dict[_Key, list[str]] = {}
    for name, kind in kinds.items():
        if kind in EXTENSIONS or name in raw:
            for key in dict.fromkeys(_keys_of_photo(name)):
                photos.setdefault(key, []).append(name)
    found = {}
    for name in others:
        theirs = next((photos[key] for key in _keys_of_partner(name) if key in photos), None)
        if theirs:
            found[name] = tuple(theirs)
    return found


def _names_by_photo(folder: Path) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Return the partners of each photo in a folder, each with all its photos; none if it cannot be listed."""
    try:
        with os.scandir(folder) as listing:
            is_file = {each.name: each.is_file(follow_symlinks=False) for each in listing if each.name[0] != "."}
    except OSError:
        return {}
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    photos_of = photos_by_partner(is_file)
    for name in sorted(photos_of, key=_rank):
        for photo in photos_of[name] if is_file[name] else ():
            found.setdefault(photo, []).append((name, photos_of[name]))
    return found


def _partner(folder: Path, name: str, photos: Iterable[str]) -> Partner | None:
    path = folder / name
    try:
        status = path.lstat()
    except OSError:  # it has just gone
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Partner(path, tuple(folder / photo for photo in photos), status.st_size, status.st_mtime_ns)


def _parted(name: str) -> tuple[str, str]:
    """Return the stem of a name, and its extension in lower case."""
    stem, dot, kind = name.rpartition(".")
    return (stem, dot + kind.lower()) if stem else (name, "")


def _rank(name: str) -> tuple[int, bytes]:
    _, kind = _parted(name)
    return (0 if kind in RAW else 1 if kind in VIDEO else 2), os.fsencode(name)


def _keys_of_photo(name: str) -> Iterator[_Key]:
    """Yield what partners of this photo are known by."""
    stem, kind = _parted(name)
    yield "stem", stem
    yield "name", stem + kind
    numbered = _NUMBERED.fullmatch(name)
    for whole, number in ((name, ""), *([(numbered[1] + numbered[3], numbered[2])] if numbered else [])):
        yield "takeout", whole[:_CUT] + number
        yield "takeout", (whole + _TAKEOUT)[:_CUT] + number
    if edited := _EDITED.fullmatch(stem):
        yield "edited", f"IMG_O{edited[1]}"


def _keys_of_partner(name: str) -> Sequence[_Key]:
    """Return what the photos of this partner are known by; the first that is the key of any photo decides."""
    stem, kind = _parted(name)
    keys: list[_Key] = []
    inner, inner_kind = _parted(stem)
    if kind in SIDECARS:
        keys.append(("name", inner + inner_kind))
    if kind == ".json":
        keys.append(("takeout", stem))
    if kind == ".aae":
        keys.append(("edited", stem))
    if kind == ".mp":  # PXL_1.MP is the video of PXL_1.MP.jpg
        keys.append(("stem", name))
    keys.append(("stem", stem))
    if kind in SIDECARS and inner_kind in {*RAW, *VIDEO}:  # IMG_1.CR2.xmp goes where IMG_1.CR2 goes
        keys += _keys_of_partner(stem)
    return keys
