"""Name the files of an album that are no pictures to SameSpace: videos and RAW files, by their extensions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from samespace.base.photos import EXTENSIONS
from samespace.base.raw_preview import EXTRA, RAW, is_raw, reads_raw

VIDEOS = (".mov", ".mp4", ".m4v", ".avi", ".mkv", ".mts", ".m2ts", ".3gp", ".mpg", ".wmv", ".webm")
SIDECARS = (".xmp", ".aae", ".thm", ".json", ".pp3", ".dop", ".srt")  # edits and facts, in a file of their own


def is_album_file(name: str) -> bool:
    """Return whether a scan lists a file of this name: a photo, a video or a RAW file that is not hidden."""
    return not name.startswith(".") and (name.lower().endswith(EXTENSIONS) or bool(label(name)))


def label(name: str) -> str:
    """Return the extension of a video or RAW file in capitals; nothing for any other file."""
    stem, dot, extension = name.rpartition(".")
    return extension.upper() if stem and dot + extension.lower() in (*VIDEOS, *RAW) else ""


def by_label(names: Iterable[str]) -> dict[str, int]:
    """Return how many of these files have each label, those without one left out: {"CR2": 8, "MOV": 12}."""
    counted = Counter(map(label, names))
    del counted[""]
    return dict(sorted(counted.items()))


def label_words(counted: Mapping[str, int]) -> str:
    """Return what `by_label` counted in words: 8 CR2, 12 MOV."""
    return ", ".join(f"{number:,} {name}" for name, number in counted.items())


def not_compared(counted: Mapping[str, int]) -> str:
    """Say which files were not compared as photos are; nothing if there are none."""
    return f"Not compared: {label_words(counted)}; of these only copies with equal bytes are found." if counted else ""


def no_photos(counted: Mapping[str, int], extensions: Iterable[str] = EXTENSIONS) -> str:
    """Say that a folder has no photos, what was looked for, and what else is there."""
    sought = ", ".join(extension.lstrip(".") for extension in extensions)
    return f"No photos here (looked for {sought})." + (f" Not looked at: {label_words(counted)}." if counted else "")


def raw_hint(counted: Mapping[str, int]) -> list[str]:
    """Return a line that says how RAW files are compared, if there are some and the extra is missing."""
    if reads_raw() or not any(is_raw("." + name) for name in counted):
        return []
    return [f"To compare RAW files that have no photo beside them: {EXTRA}"]
