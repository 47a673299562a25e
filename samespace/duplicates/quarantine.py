"""List the runs in a library's quarantine, and delete them for good."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

from samespace.base import progress
from samespace.base.errors import SameSpaceError
from samespace.base.files import reached
from samespace.base.find import DATABASE
from samespace.duplicates.manifest import (
    QUARANTINE,
    Manifest,
    Move,
    Skipped,
    bytes_to_free,
    changed_at,
    finish,
    held_photos,
    hold_if_sound,
    note,
    read_manifest,
)
from samespace.library.own_folder import refuse_links


class Run(NamedTuple):
    """The photos of one apply that are in a library's quarantine now."""

    folder: Path
    made: datetime
    photos: int
    bytes_to_free: int
    state: str  # "complete", "interrupted" (by a kill), "undone in part", "emptied in part", "empty" or "unreadable"


class Deleted(NamedTuple):
    """The result of `delete_runs`."""

    photos: int
    bytes_freed: int
    skipped: tuple[Skipped, ...]


def runs(library: Path) -> list[Run]:
    """Return every run in the quarantine of the library at this folder, newest first."""
    quarantine = library / QUARANTINE
    refuse_links(library)
    try:
        folders = [path for path in quarantine.iterdir() if path.is_dir() and not path.is_symlink()]
    except FileNotFoundError:
        if not (library / DATABASE).is_file():
            raise SameSpaceError(f"no library at {library}: give the .samespace of a scanned folder") from None
        return []
    except OSError as error:
        raise SameSpaceError(f"{quarantine} cannot be read: {error.strerror}") from error
    return sorted(map(_describe, folders), key=lambda run: (run.made, run.folder), reverse=True)


def _describe(folder: Path) -> Run:
    try:
        manifest = read_manifest(folder)
    except SameSpaceError:
        return Run(folder, changed_at(folder), 0, 0, "unreadable")
    held = held_photos(manifest)
    return Run(folder, manifest.made, len(held), bytes_to_free(held.values()), _state(manifest, len(held)))


def _state(manifest: Manifest, held: int) -> str:
    noted = set(manifest.states.values())
    if not held:
        return "empty"
    if "deleted" in noted:
        return "emptied in part"
    if "restored" in noted:
        return "undone in part"
    return "complete" if len(manifest.states) == len(manifest.moves) else "interrupted"


def runs_older_than(library: Path, age: timedelta) -> list[Run]:
    """Return the runs that emptying the quarantine would delete, to show before `delete_runs` deletes them."""
    now = datetime.now(timezone.utc)
    return [run for run in runs(library) if now - run.made >= age]


def delete_runs(old: Iterable[Run]) -> Deleted:
    """Delete for good what these runs still hold. If killed halfway, the rest can be undone or deleted."""
    photos = freed = 0
    skipped: list[Skipped] = []
    for run in old:
        refuse_links(run.folder.parent.parent)
        with hold_if_sound(run.folder.parent.parent):
            try:
                manifest = read_manifest(run.folder)
            except SameSpaceError as error:
                skipped.append(Skipped(run.folder, str(error)))
                continue
            for move in progress.over(held_photos(manifest), "deleting"):
                result = _delete(manifest, move)
                if isinstance(result, Skipped):
                    skipped.append(result)
                else:
                    photos += 1
                    freed += result
            skipped += finish(manifest)[1]
    return Deleted(photos, freed, tuple(skipped))


def _delete(manifest: Manifest, move: Move) -> int | Skipped:
    """Delete a photo; return the bytes freed."""
    with contextlib.suppress(OSError):  # a full disk must be allowed to empty its quarantine
        # Noted first: once the photo is gone, nothing else tells why.
        note(manifest, move, "deleted")
    try:
        with reached(manifest.folder, move.quarantined) as (name, folder):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            os.unlink(name, dir_fd=folder)
    except OSError as error:
        return Skipped(manifest.folder / move.quarantined, f"it cannot be deleted: {error.strerror}")
    return status.st_size if status.st_nlink == 1 else 0
