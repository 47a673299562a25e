"""Tell whether a photo in quarantine may be the last of its kind, just before it is deleted for good."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from samespace.base.errors import SameSpaceError
from samespace.base.files import content_hash
from samespace.base.photos import UnreadablePhoto, details
from samespace.base.text import shell_word
from samespace.duplicates.homes import why_gone
from samespace.duplicates.manifest import Manifest, Move, held_photos, read_manifest
from samespace.library.library import Library


class Copies:
    """Know where the photos of a library are: in its folders, and in the runs of its quarantine."""

    def __init__(self, library: Path, runs: Iterable[Path]) -> None:
        self._library = os.path.realpath(library)
        self._by_content: defaultdict[str, list[Path]] = defaultdict(list)
        self._content_at: dict[Path, str] = {}
        self._waiting: defaultdict[Path, list[Path]] = defaultdict(list)  # in quarantine, by where they were
        with contextlib.suppress(SameSpaceError, OSError, sqlite3.Error), contextlib.closing(Library(library)) as known:
            for photo in known.photos():
                self._by_content[photo.content].append(photo.path)
                self._content_at[photo.path] = photo.content
            for file in known.others():
                if file.content:
                    self._by_content[file.content].append(file.path)
                    self._content_at[file.path] = file.content
        for run in runs:
            with contextlib.suppress(SameSpaceError):
                for move in held_photos(read_manifest(run)):
                    self._waiting[move.path].append(run / move.quarantined)

    def why_last(self, manifest: Manifest, move: Move) -> str:
        """Return why a photo may be the last copy; "" if its bytes, or those of the photo kept for it, are elsewhere.

        They are read whole. A keeper that waits in quarantine itself counts: it goes only while its own is there.
        """
        where = manifest.folder / move.quarantined
        contents = {move.content, move.keeper_content or self._content_at.get(move.keeper, "")}
        places = [move.keeper, move.path, *(path for content in contents for path in self._by_content.get(content, ()))]
        if any(self._is_outside(path) and _holds(path, contents, where) for path in places):
            return ""
        if any(_holds(path, contents, where) for path in self._waiting.get(move.keeper, ())):
            return ""
        if not move.keeper_content and self._is_outside(move.keeper) and _is_whole(move.keeper, where):
            return ""
        if gone := why_gone(move.root):
            helps = f"{gone}, then `samespace undo` brings it back"
        else:
            helps = f"`samespace undo {shell_word(str(manifest.folder))}` brings it back"
        return (
            f"it may be the last copy, because the photo kept for it, {move.keeper}, is gone or has changed, so it "
            f"stays: {helps}"
        )

    def _is_outside(self, path: Path) -> bool:
        return not Path(os.path.realpath(path)).is_relative_to(self._library)


def _holds(path: Path, contents: set[str], other: Path) -> bool:
    """Return whether this file, which must be another than `other`, has one of these contents."""
    try:
        return _is_another(path, other) and content_hash(path) in contents
    except OSError:
        return False


def _is_whole(path: Path, other: Path) -> bool:
    """Return whether this file, which must be another than `other`, is a photo that can be decoded in full."""
    try:
        return _is_another(path, other) and bool(details(path))
    except (OSError, UnreadablePhoto):
        return False


def _is_another(path: Path, other: Path) -> bool:
    """Return whether it is a file, and stays when the other name is deleted."""
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and (status.st_nlink > 1 or not os.path.samestat(status, other.lstat()))
