"""List the runs in a library's quarantine, and delete them for good."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    photos_of,
    read_manifest,
    strays,
)
from samespace.duplicates.sidecars import is_begun
from samespace.library.own_folder import no_library, refuse_links

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
    partners: int = 0  # files that belong to photos, and were moved with them
    sidecars: int = 0  # to take back, of a run that was killed and holds no photo

    @property
    def can_be_undone(self) -> bool:
        """Return whether `undo` has anything to bring back, or sidecars to take back."""
        return bool(self.photos or self.partners or self.strays or self.sidecars)


class Deleted(NamedTuple):
    """The result of `delete_runs`."""

    photos: int
    bytes_freed: int
    skipped: tuple[Skipped, ...]
    partners: int = 0  # with their photos


def runs(library: Path) -> list[Run]:
    """Return every run in the quarantine of the library at this folder, newest first."""
    return sorted(map(_describe, _folders(library.absolute())), key=lambda run: (run.made, run.folder), reverse=True)


def files_held(library: Path) -> set[Path]:
    """Return where the files in the quarantine of the library at this folder lay before; damaged runs are left out."""
    held: set[Path] = set()
    for folder in _folders(library):
        with contextlib.suppress(SameSpaceError):
            held.update(move.path for move in held_photos(read_manifest(folder)))
    return held


def _folders(library: Path) -> list[Path]:
    """Return the folder of every run in a library's quarantine."""
    quarantine = library / QUARANTINE
    refuse_links(library)
    try:
        return [path for path in quarantine.iterdir() if path.is_dir() and not path.is_symlink()]
    except FileNotFoundError:
        if not (library / DATABASE).is_file():
            raise no_library(library) from None
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
    belonging = photos_of(manifest.moves)
    partners = sum(move.path in belonging for move in held)
    photos, to_free = len(held) - partners, bytes_to_free(held.values())
    sidecars = 0 if held else sum(is_begun(manifest, sidecar) for sidecar in manifest.sidecars)
    return Run(folder, manifest.made, photos, to_free, state, lost, since, partners, sidecars)


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

    Partners go with their photos, and stay with them. If killed halfway, the rest can be undone or deleted.
    """
    photos = partners = freed = 0
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
            belonging = photos_of(manifest.moves)
            for item in progress.over(_items(manifest, belonging), "deleting", len(held_photos(manifest))):
                for move, result in _delete_item(manifest, item, copies[library]):
                    if isinstance(result, Skipped):
                        skipped.append(result)
                        continue
                    photos += move.path not in belonging
                    partners += move.path in belonging
                    freed += result
            skipped += _parted(manifest, belonging)
            if lost := len(strays(manifest)):
                bring = f"`samespace undo {shell_word(str(run.folder))}` brings back what it can"
                skipped.append(Skipped(run.folder, f"{lost} photos in it are not in its damaged manifest: {bring}"))
            skipped += finish(manifest)[1]
    return Deleted(photos, freed, tuple(skipped), partners)


def _items(manifest: Manifest, belonging: Mapping[Path, tuple[Path, ...]]) -> Iterator[list[Move]]:
    """Yield each photo in quarantine, followed by the partners that go with it, as the last of their photos.

    Then the partners whose photos are gone: whoever asks for the next item has deleted the one before, or has not.
    """
    held = list(held_photos(manifest))
    where = {move.path: manifest.folder / move.quarantined for move in manifest.moves}
    partners_of: defaultdict[Path, list[Move]] = defaultdict(list)
    for move in held:
        for photo in belonging.get(move.path, ()):
            partners_of[photo].append(move)

    def has_no_other(partner: Move, photo: Path | None) -> bool:
        others = [other for other in belonging[partner.path] if other != photo]
        return not any(os.path.lexists(path) for other in others for path in (other, where[other]))

    for move in held:
        if move.path not in belonging:
            yield [move, *(each for each in partners_of[move.path] if has_no_other(each, move.path))]
    for move in held:
        if move.path in belonging and os.path.lexists(where[move.path]) and has_no_other(move, None):
            yield [move]


def _delete_item(manifest: Manifest, item: Sequence[Move], copies: Copies) -> Iterator[tuple[Move, int | Skipped]]:
    """Delete a photo, then its partners, unless one of them may be the last copy; yield the bytes that each freed."""
    first = item[0]
    for move in item:
        if reason := copies.why_last(manifest, move):
            said = reason if move is first else f"{move.path.name}, which belongs to it, stays: {reason}"
            yield first, Skipped(manifest.folder / first.quarantined, said)
            return
    for move in item:
        result = _delete(manifest, move)
        yield move, result
        if isinstance(result, Skipped):
            return


def _parted(manifest: Manifest, belonging: Mapping[Path, tuple[Path, ...]]) -> list[Skipped]:
    """Return the partners in quarantine whose photos are back in their places."""
    parted = []
    for move in held_photos(manifest):
        if back := next(filter(os.path.lexists, belonging.get(move.path, ())), None):
            bring = f"`samespace undo {shell_word(str(manifest.folder))}` brings it back"
            parted.append(Skipped(manifest.folder / move.quarantined, f"it belongs to {back}, which stays: {bring}"))
    return parted


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
