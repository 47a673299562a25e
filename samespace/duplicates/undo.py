"""Put back what a run moved into quarantine."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import NamedTuple

from samespace.base import progress
from samespace.base.files import content_hash, copy_new, move_new, sync_folder
from samespace.duplicates.attributes import give_back
from samespace.duplicates.homes import around, scanned_by, why_gone, why_not_there
from samespace.duplicates.manifest import (
    LINKED,
    QUARANTINE,
    CannotMove,
    Manifest,
    Move,
    Skipped,
    finish,
    hold_if_sound,
    link_above,
    no_run_at,
    note,
    partial_name,
    photos_of,
    read_manifest,
)
from samespace.duplicates.mend import mend
from samespace.duplicates.sidecar_record import Sidecar
from samespace.duplicates.sidecars import take_back
from samespace.library.own_folder import refuse_links


class Undone(NamedTuple):
    """The result of `undo`; if `removed` is false, the run's folder still holds photos or other files."""

    photos: int  # back in their places
    removed: bool  # the run's folder
    skipped: tuple[Skipped, ...]
    partners: int = 0  # back beside their photos
    sidecars: int = 0  # that were removed again, or are as they were before


def undo(run: Path) -> Undone:
    """Put every photo of a run back in its place, wherever the apply or an earlier undo was stopped.

    A photo whose place is taken stays in quarantine, and so does the run.
    """
    named = run.absolute()
    library = Path(os.path.realpath(named.parent.parent))
    run = library / named.parent.name / named.name
    if run.parent.name != QUARANTINE:
        raise no_run_at(run)
    refuse_links(library)
    scanned = scanned_by(library)
    homes = [*scanned, *around(library)]
    with hold_if_sound(library):
        manifest = read_manifest(run)
        found = mend(manifest, scanned or homes)
        moves, broken = (*manifest.moves, *found.moves), max(0, manifest.broken - len(found.moves))
        manifest = manifest._replace(moves=moves, broken=broken)
        partners, back, skipped = photos_of(moves), 0, list(found.left)
        photos = 0
        for move in progress.over(manifest.moves, "undoing"):
            held = os.path.lexists(run / move.quarantined)
            reason = ""
            if held:
                reason = _why_gone(move) or why_not_there(move.path, move.root, library, homes, move.path in partners)
            reason = reason or put_back(manifest, move)
            if not reason and not held:
                reason = _loss(manifest, move)
            if reason:
                skipped.append(Skipped(move.path, reason))
            elif held:
                photos += move.path not in partners
                back += move.path in partners
                with contextlib.suppress(OSError):  # undo needs no notes, and must work on a full disk
                    note(manifest, move, "restored")
        merged = [sidecar for sidecar in manifest.sidecars if _are_back(manifest, sidecar)]
        unwritten = take_back(manifest, merged, library, homes)
        # While a sidecar could not be taken back, the manifest alone has what was there before.
        removed, others = (False, []) if unwritten.again else finish(manifest)
        return Undone(photos, removed, (*skipped, *unwritten.skipped, *others), back, unwritten.number)


def _are_back(manifest: Manifest, sidecar: Sidecar) -> bool:
    """Return whether the photos whose knowledge a sidecar holds are all in their places; a link there is none."""
    moves = [move for move in manifest.moves if move.number in sidecar.moves]
    return len(moves) == len(set(sidecar.moves)) and all(
        not os.path.lexists(manifest.folder / move.quarantined)
        and os.path.lexists(move.path)
        and not _is_our_link(manifest, move)
        for move in moves
    )


def _loss(manifest: Manifest, move: Move) -> str:
    """Return why a photo that is not in the quarantine cannot be brought back; "" if it is in its place."""
    if os.path.lexists(move.path):
        return ""
    reasons = {"deleted": "deleted for good from the quarantine", "moved": "no longer in the quarantine"}
    return reasons.get(manifest.states.get(move.number, ""), "")


def _why_gone(move: Move) -> str:
    gone = why_gone(move.root)
    return gone and f"{gone}, then undo again"


def put_back(manifest: Manifest, move: Move) -> str:
    """Undo one move, whatever step it reached; return "", or why it could not be undone."""
    try:
        _restore(manifest, move)
    except CannotMove as reason:
        return str(reason)
    except FileExistsError:
        return "its place is taken"
    except OSError as error:
        return f"it cannot be put back: {error.strerror}"
    return ""


def _restore(manifest: Manifest, move: Move) -> None:
    where = manifest.folder / move.quarantined
    if not os.path.lexists(where):
        return
    if where.is_symlink() or link_above(where, manifest.folder):
        raise CannotMove("a link lies in the quarantine in its place: remove that")
    if gone := _why_gone(move):
        raise CannotMove(gone)
    if folder := link_above(move.path, move.root):
        raise CannotMove(LINKED.format(folder))
    partial = partial_name(manifest, move, move.path)
    partial.unlink(missing_ok=True)
    if os.path.lexists(move.path):
        if _is_back(manifest, move, where):
            where.unlink()
            return
        if not _is_our_link(manifest, move):
            raise CannotMove("its place is taken")
        move.path.unlink()
    move.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        move_new(where, move.path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _restore_by_copy(move, where, partial)


def _restore_by_copy(move: Move, where: Path, partial: Path) -> None:
    copy_new(where, partial)
    try:
        # From the manifest: the quarantine's file system may keep all that less exactly, or not at all.
        try:
            give_back(partial, move.attributes, move.mode & 0o777)
        except PermissionError as error:
            raise CannotMove("it would not get its owner and permissions back: undo as root") from error
        os.utime(partial, ns=(where.stat().st_atime_ns, move.mtime_ns))
        move_new(partial, move.path)
    finally:
        partial.unlink(missing_ok=True)
    for folder in move.path.parents[: len(move.path.parts) - len(move.root.parts)]:  # some may be new
        sync_folder(folder)
    where.unlink()


def _is_back(manifest: Manifest, move: Move, where: Path) -> bool:
    """Return whether the photo is in its place as well as in quarantine: a kill between two steps leaves it there."""
    status = move.path.lstat()
    if os.path.samestat(status, where.lstat()):
        return True
    if not stat.S_ISREG(status.st_mode) or _is_our_link(manifest, move):
        return False
    if (status.st_size, status.st_mtime_ns) != (move.size, move.mtime_ns):
        return False
    return content_hash(move.path) == move.content == content_hash(where)


def _is_our_link(manifest: Manifest, move: Move) -> bool:
    """Return whether the apply's link to the keeper is in the photo's place: removing that loses no bytes."""
    if manifest.to in ("symlink", "") and move.path.is_symlink():
        return move.path.readlink() == move.keeper
    try:
        return manifest.to in ("hardlink", "") and os.path.samestat(move.path.lstat(), move.keeper.lstat())
    except OSError:
        return False
