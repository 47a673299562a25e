"""Move one photo into quarantine, or leave it in its place and say why."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from samespace.base.files import copy_new, sync_folder
from samespace.duplicates.attributes import why_lost
from samespace.duplicates.check import Checked
from samespace.duplicates.items import Item
from samespace.duplicates.manifest import (
    LINKED,
    MANIFEST,
    CannotMove,
    Manifest,
    Move,
    link_above,
    note,
    partial_name,
    same_file,
)
from samespace.duplicates.obstacles import HARD_LINK, put_link
from samespace.duplicates.undo import put_back

CHANGED = "changed since it was checked"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Outcome(NamedTuple):
    """The outcome for one photo; both reasons are empty if it was moved and all is well."""

    left: str = ""  # why it was left in its place
    stop: str = ""  # why no other photo should be tried


def move_item(manifest: Manifest, moves: Sequence[Move], item: Item) -> tuple[list[Checked], Outcome]:
    """Move a photo and its partners into quarantine, or leave all of them; return what was moved, and the outcome.

    The photo moves last. A partner that also belongs to a photo which is still there stays with that.
    """
    moved: list[tuple[Move, Checked]] = []
    others = [*(partner.others for partner in item.partners), ()]
    for move, each, staying in zip(moves, item.files, others, strict=True):
        if any(os.path.lexists(photo) for photo in staying):
            continue
        left, stop = move_to_quarantine(manifest, move, each)
        if not left:
            moved.append((move, each))
        if each is not item.photo and (left or stop):
            left = f"{move.path.name}, which belongs to it: {left or stop}"
        if left:
            return [], Outcome(_all_back(manifest, [before for before, _ in moved], left), stop)
    return [each for _, each in moved], Outcome("", stop)


def _all_back(manifest: Manifest, moves: Sequence[Move], left: str) -> str:
    """Put back what moved of an item that cannot move whole; return why it was left, and what could not be put back."""
    for move in moves:
        if why_not := put_back(manifest, move):
            left += f"; {move.path.name} stays in the quarantine, because {why_not}"
        else:
            with contextlib.suppress(OSError):
                note(manifest, move, "left", left)
    return left


def move_to_quarantine(manifest: Manifest, move: Move, checked: Checked) -> Outcome:
    """Move a photo into quarantine, leave a link in its place if the manifest asks for one, and note the outcome."""
    left = stop = ""
    try:
        _move(manifest, move, checked)
    except CannotMove as error:
        left = str(error)
    except OSError as error:
        left = _in_words(error)
        if error.errno in _FULL or not (manifest.folder / MANIFEST).exists():
            stop = f"not tried, because the quarantine {manifest.folder} is full or gone"
    try:
        is_moved = os.path.lexists(manifest.folder / move.quarantined)
        note(manifest, move, "moved" if is_moved else "left", left)
    except OSError as error:
        stop = f"not tried, because {manifest.folder / MANIFEST} cannot be written: {error.strerror}"
    return Outcome(left, stop)


def _move(manifest: Manifest, move: Move, checked: Checked) -> None:
    """Do the whole move, or raise CannotMove or OSError with the photo in its place."""
    where = manifest.folder / move.quarantined
    (manifest.folder / MANIFEST).lstat()  # without a manifest nothing could bring the photo back
    if folder := link_above(move.path, move.root):
        raise CannotMove(LINKED.format(folder))
    if not same_file(move.path.lstat(), checked.victim_seen):
        raise CannotMove(CHANGED)
    if os.path.lexists(where):
        raise CannotMove(f"{where} already exists")
    where.parent.mkdir(parents=True, exist_ok=True)
    try:
        take(move, where, checked.victim_seen, partial_name(manifest, move, where))
        _refuse_lost_keeper(checked)
        (manifest.folder / MANIFEST).lstat()
        put_link(manifest.to, move.path, move.keeper)
    except (OSError, CannotMove) as error:
        if why_not := put_back(manifest, move):
            raise CannotMove(f"{_in_words(error)}; it stays in the quarantine, because {why_not}") from error
        raise


def _in_words(error: OSError | CannotMove) -> str:
    return f"it cannot be moved: {error.strerror}" if isinstance(error, OSError) else str(error)


def take(move: Move, where: Path, seen: os.stat_result, partial: Path) -> None:
    """Move a file to `where`, which is free; through the copy `partial` if that is on another file system."""
    # A plain rename: it takes whatever has the name at that moment, so that nothing written there later is lost.
    # `where` stays free while the library is held.
    try:
        move.path.rename(where)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _take_by_copy(move, where, seen, partial)
    else:
        if not same_file(where.lstat(), seen):
            raise CannotMove(CHANGED)


def _take_by_copy(move: Move, where: Path, seen: os.stat_result, partial: Path) -> None:
    """Copy, and remove the original only when its copy is on the disk."""
    if seen.st_nlink > 1:
        raise CannotMove(HARD_LINK)
    if copy_new(move.path, partial) != move.content:
        partial.unlink()
        raise CannotMove(CHANGED)
    if lost := why_lost(move.path, partial, seen):
        partial.unlink()
        raise CannotMove(lost)
    partial.rename(where)
    for folder in (where.parent, *where.parent.parents[: len(move.quarantined.parts) - 1]):
        sync_folder(folder)
    if not same_file(move.path.lstat(), seen):
        where.unlink()
        raise CannotMove(CHANGED)
    move.path.unlink()


def _refuse_lost_keeper(checked: Checked) -> None:
    """Refuse a move that took a kept photo with it.

    Only after the move does it show: two names of one file that looked like two, or another library's apply at work.
    """
    kept = [(checked.keeper.path, checked.keeper_seen)]
    kept += [(path, checked.victim_seen) for path in checked.also_kept]
    for path, seen in kept:
        if not _can_be_read(path, seen):
            raise CannotMove(f"the kept photo {path} disappeared or changed with it")


def _can_be_read(path: Path, seen: os.stat_result) -> bool:
    """Open the file anew: a file system may show the status of a name for a while after its file has gone."""
    try:
        with path.open("rb") as file:
            return same_file(os.fstat(file.fileno()), seen) and len(file.read(1)) == min(1, seen.st_size)
    except OSError:
        return False
