"""Carry out a plan: move photos to quarantine, bring every one back, and, only when asked again, delete them.

What a manifest intends is on the disk before the first photo moves. From there on the truth is where the photos lie:
`undo` looks for each one and needs no line written after a move, so it works wherever an apply or an undo was killed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
import stat
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from samespace.base import progress
from samespace.base.errors import SameSpaceError
from samespace.base.files import content_hash, copy_new, sync_folder, write_whole
from samespace.base.photos import in_threads
from samespace.duplicates.manifest import (
    FORMAT,
    LINKED,
    MANIFEST,
    QUARANTINE,
    WAYS,
    CannotMove,
    Manifest,
    Move,
    Skipped,
    bytes_to_free,
    discard,
    held,
    link_above,
    note,
    partial_name,
    read_manifest,
    remove_run,
    same_file,
)
from samespace.duplicates.plan import Plan, PlannedPhoto, refuse_contradictions
from samespace.duplicates.undo import put_back
from samespace.library.library import Library

CHANGED = "changed since it was checked"
FULL = (errno.ENOSPC, errno.EDQUOT)


class Applied(NamedTuple):
    """What `apply` did, or would do in a dry run; anything in `skipped` is a reason for exit status 1."""

    photos: int  # moved to quarantine
    bytes_to_free: int  # what emptying the quarantine will win: nothing is won before, and nothing by a hard link
    runs: tuple[Path, ...]  # a folder in each library that lost photos; none in a dry run
    skipped: tuple[Skipped, ...]


class _Checked(NamedTuple):
    """A victim and its keeper, both found as planned."""

    victim: PlannedPhoto
    keeper: PlannedPhoto
    victim_seen: os.stat_result
    keeper_seen: os.stat_result
    also_kept: tuple[Path, ...]  # kept photos that are hard links to the victim


# --- apply ----------------------------------------------------------------------------------------------------------


def apply(plan: Plan, to: str = "quarantine", dry_run: bool = False) -> Applied:
    """Check every victim and keeper, then move the victims; with `to` a link to the keeper takes each one's place.

    A photo that is not as planned is left alone, a group whose keeper is not as planned entirely; the rest is done.
    """
    if to not in WAYS:
        raise SameSpaceError(f"cannot remove to {to!r}: choose {', '.join(WAYS)}")
    refuse_contradictions(plan)
    libraries = {library: _open(library, folder) for library, folder in sorted(plan.libraries.items())}
    with held(libraries.values()):
        checked, skipped = _check(plan)
        if to == "hardlink":
            _refuse_other_file_systems(checked)
        if dry_run or not checked:
            return Applied(len(checked), bytes_to_free(each.victim_seen for each in checked), (), tuple(skipped))
        return _carry_out(_begin(libraries, checked, to), skipped)


def _open(library: str, folder: Path) -> Library:
    try:
        opened = Library(folder)
    except (OSError, sqlite3.Error) as error:
        raise SameSpaceError(f"the library {folder} cannot be opened: {error}") from error
    if opened.id != library:
        raise SameSpaceError(
            f"this plan was made for another library than the one at {folder}: make a new one with `samespace dedupe`"
        )
    return opened


def _check(plan: Plan) -> tuple[list[_Checked], list[Skipped]]:
    """Read every victim and keeper: those that may go, and why the others may not."""
    groups = [group for group in plan.groups if group.remove]
    photos = list(dict.fromkeys(photo for group in groups for photo in (group.keep[0], *group.remove)))
    reading = progress.over(in_threads(_look, photos), "checking", len(photos))
    found = dict(zip(photos, reading, strict=True))
    kept = _kept_places(plan)
    results = [_check_victim(victim, group.keep[0], found, kept) for group in groups for victim in group.remove]
    return (
        [result for result in results if isinstance(result, _Checked)],
        [result for result in results if isinstance(result, Skipped)],
    )


def _look(photo: PlannedPhoto) -> os.stat_result | str:
    """The file's status if it is still what the plan saw, else the reason why not."""
    try:
        seen = photo.path.lstat()
        if not stat.S_ISREG(seen.st_mode):
            return "a link since the plan" if stat.S_ISLNK(seen.st_mode) else "not a file since the plan"
        if (seen.st_size, seen.st_mtime_ns) != (photo.size, photo.mtime_ns):
            return "changed since the plan"
        same = content_hash(photo.path) == photo.content and same_file(photo.path.lstat(), seen)
        return seen if same else "changed since the plan, though its size and date look the same"
    except (FileNotFoundError, NotADirectoryError):
        return "gone since the plan"
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _check_victim(
    victim: PlannedPhoto,
    keeper: PlannedPhoto,
    found: dict[PlannedPhoto, os.stat_result | str],
    kept: dict[tuple[int, int], list[Path]],
) -> _Checked | Skipped:
    keeper_seen, victim_seen = found[keeper], found[victim]
    if isinstance(keeper_seen, str):
        return Skipped(victim.path, f"the photo kept for it, {keeper.path}, is {keeper_seen}")
    if isinstance(victim_seen, str):
        return Skipped(victim.path, victim_seen)
    if folder := link_above(victim.path, victim.root):
        return Skipped(victim.path, LINKED.format(folder))
    also_kept = tuple(kept.get((victim_seen.st_dev, victim_seen.st_ino), ()))
    for path in also_kept:
        # One name of one file, spelled in two ways: through a link, or where upper and lower case are one.
        if victim_seen.st_nlink == 1 or os.path.realpath(path) == os.path.realpath(victim.path):
            return Skipped(victim.path, f"it is the very file {path} that is kept, under another name")
    return _Checked(victim, keeper, victim_seen, keeper_seen, also_kept)


def _kept_places(plan: Plan) -> dict[tuple[int, int], list[Path]]:
    """Every kept path, of whatever group, by device and inode."""
    places: defaultdict[tuple[int, int], list[Path]] = defaultdict(list)
    for path in {photo.path for group in plan.groups for photo in group.keep}:
        with contextlib.suppress(OSError):  # its own check says so
            status = path.stat()
            places[status.st_dev, status.st_ino].append(path)
    return places


def _refuse_other_file_systems(checked: Sequence[_Checked]) -> None:
    for each in checked:
        if each.victim_seen.st_dev != each.keeper_seen.st_dev:
            raise SameSpaceError(
                f"{each.victim.path} cannot become a hard link to {each.keeper.path}, which lies on another file"
                " system: choose symlink or quarantine; nothing was moved"
            )


_Begun = list[tuple[Manifest, list[_Checked]]]


def _begin(libraries: dict[str, Library], checked: Sequence[_Checked], to: str) -> _Begun:
    """A run of one name in each library that will lose photos, every manifest on the disk; or nothing at all."""
    by_library: defaultdict[str, list[_Checked]] = defaultdict(list)
    for each in checked:
        by_library[each.victim.library].append(each)
    made = datetime.now(timezone.utc)
    quarantines = [libraries[library].folder / QUARANTINE for library in by_library]
    name = _free_name(quarantines, made)
    try:
        for quarantine, mine in zip(quarantines, by_library.values(), strict=True):
            _write_manifest(quarantine / name, made, to, mine)
    except OSError as error:
        for quarantine in quarantines:
            discard(quarantine / name)
        raise SameSpaceError(f"{quarantine} cannot be written: {error.strerror}; nothing was moved") from error
    manifests = [read_manifest(quarantine / name) for quarantine in quarantines]
    return list(zip(manifests, by_library.values(), strict=True))


def _free_name(quarantines: Sequence[Path], made: datetime) -> str:
    """The local time, with a number where that is taken: 2026-11-20_15-31-02, 2026-11-20_15-31-02_2, …"""
    stem = name = made.astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    number = 1
    while any(os.path.lexists(quarantine / name) for quarantine in quarantines):
        number += 1
        name = f"{stem}_{number}"
    return name


def _write_manifest(folder: Path, made: datetime, to: str, checked: Sequence[_Checked]) -> None:
    # One level at a time: a library that has vanished must not be made anew by its quarantine.
    folder.parent.mkdir(exist_ok=True)
    folder.mkdir()
    roots = sorted({each.victim.root for each in checked})
    moves = [_intent(number, each, str(roots.index(each.victim.root))) for number, each in enumerate(checked)]
    header = {"format": FORMAT, "made": made.isoformat(), "to": to, "moves": len(moves)}
    lines = "\n".join(json.dumps(record) for record in (header, *moves))
    write_whole(folder / MANIFEST, lines.encode(), durable=True)
    sync_folder(folder.parent)
    sync_folder(folder.parent.parent)


def _intent(number: int, checked: _Checked, root: str) -> dict[str, Any]:
    victim = checked.victim
    return {
        "move": number,
        "path": str(victim.path),
        "root": str(victim.root),
        "quarantined": str(Path(root, victim.path.relative_to(victim.root))),
        "size": victim.size,
        "mtime_ns": victim.mtime_ns,
        "mode": stat.S_IMODE(checked.victim_seen.st_mode),
        "content": victim.content,
        "keeper": str(checked.keeper.path),
    }


def _carry_out(begun: _Begun, skipped: list[Skipped]) -> Applied:
    moved = []
    halted = ""
    for manifest, checked in begun:
        for move, each in zip(manifest.moves, checked, strict=True):
            reason, halted = (halted, halted) if halted else _remove(manifest, move, each)
            if reason:
                skipped.append(Skipped(move.path, reason))
            else:
                moved.append(each)
    runs = tuple(manifest.folder for manifest, _ in begun if not remove_run(manifest))
    return Applied(len(moved), bytes_to_free(each.victim_seen for each in moved), runs, tuple(skipped))


def _remove(manifest: Manifest, move: Move, checked: _Checked) -> tuple[str, str]:
    """One photo into quarantine, noted: why it was left instead, and why no other should be tried; "" if neither."""
    reason = halted = ""
    try:
        _quarantine(manifest, move, checked)
    except CannotMove as left:
        reason = str(left)
    except OSError as error:
        reason = _sentence(error)
        if error.errno in FULL or not (manifest.folder / MANIFEST).exists():
            halted = f"not tried, because the quarantine {manifest.folder} is full or gone"
    try:
        held = os.path.lexists(manifest.folder / move.quarantined)
        note(manifest, move, "moved" if held else "left", reason)
    except OSError as error:
        halted = f"not tried, because {manifest.folder / MANIFEST} cannot be written: {error.strerror}"
    return reason, halted


def _sentence(error: OSError | CannotMove) -> str:
    return f"it cannot be moved: {error.strerror}" if isinstance(error, OSError) else str(error)


def _quarantine(manifest: Manifest, move: Move, checked: _Checked) -> None:
    """All of it, or `CannotMove` or OSError with the photo in its place."""
    where = manifest.folder / move.quarantined
    (manifest.folder / MANIFEST).lstat()  # no photo goes where no manifest tells of it
    if folder := link_above(move.path, move.root):
        raise CannotMove(LINKED.format(folder))
    if not same_file(move.path.lstat(), checked.victim_seen):
        raise CannotMove(CHANGED)
    if os.path.lexists(where):
        raise CannotMove(f"{where} is taken")
    where.parent.mkdir(parents=True, exist_ok=True)
    try:
        _take(move, where, checked.victim_seen, partial_name(manifest, move, where))
        _refuse_lost_keeper(checked)
        (manifest.folder / MANIFEST).lstat()
        _put_link(manifest.to, move)
    except (OSError, CannotMove) as error:
        why_not = put_back(manifest, move)
        if why_not:
            raise CannotMove(
                f"{_sentence(error)}; it is in the quarantine, for it cannot be put back: {why_not}"
            ) from error
        raise


def _take(move: Move, where: Path, seen: os.stat_result, partial: Path) -> None:
    # A plain rename, for it takes whatever has the name at that moment and nothing written there later gets lost;
    # `where` is free and stays so while the library is held.
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
    """The original goes last, when its copy is on the disk."""
    if seen.st_nlink > 1:
        raise CannotMove("it is a hard link, which would come back from the quarantine's other file system as a copy")
    if copy_new(move.path, partial) != move.content:
        partial.unlink()
        raise CannotMove(CHANGED)
    partial.rename(where)
    for folder in (where.parent, *where.parent.parents[: len(move.quarantined.parts) - 1]):
        sync_folder(folder)
    if not same_file(move.path.lstat(), seen):
        where.unlink()
        raise CannotMove(CHANGED)
    move.path.unlink()


def _refuse_lost_keeper(checked: _Checked) -> None:
    """After the move: it shows what no look before can, two names of one file or another library's apply at work."""
    for path, seen in [(checked.keeper.path, checked.keeper_seen)] + [
        (path, checked.victim_seen) for path in checked.also_kept
    ]:
        try:
            there = same_file(path.stat(), seen)
        except OSError:
            there = False
        if not there:
            raise CannotMove(f"the kept photo {path} went or changed with it")


def _put_link(to: str, move: Move) -> None:
    if to == "hardlink":
        move.path.hardlink_to(move.keeper)
    elif to == "symlink":
        move.path.symlink_to(move.keeper)


# --- undo -----------------------------------------------------------------------------------------------------------


# --- the manifest ---------------------------------------------------------------------------------------------------


# --- the quarantine -------------------------------------------------------------------------------------------------
