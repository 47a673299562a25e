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
from samespace.base.text import shell_word
from samespace.duplicates.last_copies import Copies
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
    strays,
)
from samespace.duplicates.sidecars import is_begun
from samespace.library.own_folder import refuse_links

CLOCKS_DIFFER = timedelta(minutes=5)  # a run takes its time, and a file system's clock may be another machine's


class Run(NamedTuple):
    """The photos of one apply that are in a library's quarantine now."""

    folder: Path
    made: datetime
    photos: int
    bytes_to_free: int
    state: str  # "complete", "interrupted" (by a kill), "undone in part", "emptied in part", "empty" or "unreadable"
    strays: int = 0  # photos that its damaged manifest does not name: `undo` brings them back, emptying leaves them
    since: datetime | None = None  # what its age counts from, if a clock was wrong when it was made: later than `made`
    sidecars: int = 0  # to take back, of a run that was killed and holds no photo

    @property
    def can_be_undone(self) -> bool:
        """Return whether `undo` has anything to do."""
        return bool(self.photos or self.strays or self.sidecars)


class Deleted(NamedTuple):
    """The result of `delete_runs`."""

    photos: int
    bytes_freed: int
    skipped: tuple[Skipped, ...]


def runs(library: Path) -> list[Run]:
    """Return every run in the quarantine of the library at this folder, newest first."""
    return sorted(map(_describe, _folders(library.absolute())), key=lambda run: (run.made, run.folder), reverse=True)


def _folders(library: Path) -> list[Path]:
    """Return the folder of every run in a library's quarantine."""
    quarantine = library / QUARANTINE
    refuse_links(library)
    try:
        return [path for path in quarantine.iterdir() if path.is_dir() and not path.is_symlink()]
    except FileNotFoundError:
        if not (library / DATABASE).is_file():
            raise SameSpaceError(f"no library at {library}: give the .samespace of a scanned folder") from None
        return []
    except OSError as error:
        raise SameSpaceError(f"{quarantine} cannot be read: {error.strerror}") from error


def _describe(folder: Path) -> Run:
    try:
        manifest = read_manifest(folder)
    except SameSpaceError:
        return Run(folder, changed_at(folder), 0, 0, "unreadable")
    held = held_photos(manifest)
    lost = len(strays(manifest))
    state = "unreadable" if lost else _state(manifest, len(held))
    since = _since(manifest, held.values())
    sidecars = 0 if held else sum(is_begun(manifest, sidecar) for sidecar in manifest.sidecars)
    return Run(folder, manifest.made, len(held), bytes_to_free(held.values()), state, lost, since, sidecars)


def _since(manifest: Manifest, held: Iterable[os.stat_result]) -> datetime | None:
    """Return when the run can have been made at the earliest, if that is later than it says: a clock was wrong then.

    Its photos changed their names when they were moved, and were there before. Photos of a day to come prove nothing.
    """
    now = datetime.now(timezone.utc)
    folder = changed_at(manifest.folder)
    dates = [folder] if folder > now else []
    for status in held:
        dates.append(datetime.fromtimestamp(status.st_ctime, timezone.utc))
        if status.st_mtime <= now.timestamp():
            dates.append(datetime.fromtimestamp(status.st_mtime, timezone.utc))
    latest = max(dates, default=manifest.made)
    return latest if latest - manifest.made > CLOCKS_DIFFER else None


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
    found, now = runs(library), datetime.now(timezone.utc)
    return [run for run in found if now - (run.since or run.made) >= age]


def misdated_runs(library: Path, age: timedelta) -> list[Run]:
    """Return the runs that only seem to be so old: they were made when a clock was wrong."""
    found, now = runs(library), datetime.now(timezone.utc)
    return [run for run in found if run.since and now - run.since < age <= now - run.made]


def delete_runs(old: Iterable[Run]) -> Deleted:
    """Delete for good what these runs still hold; a photo that may be the last copy stays, and the reason is given.

    If killed halfway, the rest can be undone or deleted.
    """
    photos = freed = 0
    skipped: list[Skipped] = []
    copies: dict[Path, Copies] = {}
    for run in sorted(old, key=lambda run: (run.made, run.folder)):  # a keeper may have been removed by a later run
        library = run.folder.parent.parent
        refuse_links(library)
        with hold_if_sound(library):
            try:
                manifest = read_manifest(run.folder)
            except SameSpaceError as error:
                skipped.append(Skipped(run.folder, str(error)))
                continue
            if library not in copies:
                copies[library] = Copies(library, _folders(library))
            for move in progress.over(held_photos(manifest), "deleting"):
                result: int | Skipped
                if reason := copies[library].why_last(manifest, move):
                    result = Skipped(manifest.folder / move.quarantined, reason)
                else:
                    result = _delete(manifest, move)
                if isinstance(result, Skipped):
                    skipped.append(result)
                else:
                    photos += 1
                    freed += result
            if lost := len(strays(manifest)):
                bring = f"`samespace undo {shell_word(str(run.folder))}` brings back what it can"
                skipped.append(Skipped(run.folder, f"{lost} photos in it are not in its damaged manifest: {bring}"))
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
