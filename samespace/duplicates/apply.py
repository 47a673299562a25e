"""Carry out a plan: move photos into quarantine, from where `undo` brings every one back.

What a manifest intends is on the disk before the first photo moves. From there on the truth is where the photos lie:
`undo` looks for each one and needs no note written after a move, so it works wherever an apply or an undo was killed.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from samespace.base.errors import SameSpaceError
from samespace.duplicates.attributes import attributes_of
from samespace.duplicates.check import GONE, Checked, check_plan
from samespace.duplicates.homes import homes_of
from samespace.duplicates.items import Item, check_items
from samespace.duplicates.manifest import (
    QUARANTINE,
    WAYS,
    Manifest,
    Move,
    Skipped,
    bytes_to_free,
    discard,
    hold_all,
    note,
    read_manifest,
    remove_run,
    write_manifest,
)
from samespace.duplicates.move import move_item
from samespace.duplicates.obstacles import movable
from samespace.duplicates.plan import Plan, refuse_contradictions
from samespace.duplicates.quarantine import files_held
from samespace.duplicates.sidecar_record import Sidecar
from samespace.duplicates.sidecars import Merge, Unwritten, is_written, plan_merges, take_back, write_sidecar
from samespace.library.library import Library


class Applied(NamedTuple):
    """The result of `apply`, or of its dry run; anything in `skipped` is a reason for exit status 1."""

    photos: int  # moved to quarantine
    bytes_to_free: int  # by emptying the quarantine: nothing is freed before, and nothing by a hard link
    runs: tuple[Path, ...]  # a folder in each library that lost photos; none in a dry run
    skipped: tuple[Skipped, ...]
    partners: int = 0  # moved with their photos
    sidecars: int = 0  # written beside kept photos


def apply(plan: Plan, to: str = "quarantine", dry_run: bool = False, merge_metadata: bool = False) -> Applied:
    """Check every photo to remove and its keeper, then move the photos; `to` can leave a link to the keeper.

    A photo that is not as planned, or cannot be moved, is left alone, and so is a group whose keeper is not as planned;
    the rest is done. A dry run stops before the first move, and finds all that can be found before it.
    `merge_metadata` writes what only removed photos know to a sidecar of the keeper, before they go.
    """
    if to not in WAYS:
        raise SameSpaceError(f"cannot remove photos to {to!r}: choose {', '.join(WAYS)}")
    refuse_contradictions(plan)
    libraries = {library: _open(library, folder) for library, folder in sorted(plan.libraries.items())}
    with hold_all(libraries.values()):
        checked, skipped = check_plan(plan)
        if to == "hardlink":
            _refuse_other_file_systems(checked)
        items = [Item(each) for each in checked]
        if to == "quarantine":  # a link leaves the photo's name in place, and so its partners
            items, changed = check_items(plan, checked)
            skipped += changed
        skipped = _said_where(skipped, [opened.folder for opened in libraries.values()])
        items, hindered = _movable(items, {library: opened.folder for library, opened in libraries.items()}, to)
        skipped += hindered
        merges: list[Merge] = []
        if merge_metadata:
            merged = plan_merges(plan, [item.photo for item in items])
            may_go = {each.victim.path for each in merged.checked}
            items, merges = [item for item in items if item.photo.victim.path in may_go], merged.merges
            skipped += merged.skipped
        begun = _begin(libraries, items, to, merges)
        if not dry_run:
            return _carry_out(begun, skipped)
        for manifest, _ in begun:
            _leave_no_trace(manifest.folder)
        files = [file for item in items for file in item.files]
        return _applied(files, len(items), (), skipped, {merge.sidecar.path for merge in merges})


def _applied(
    moved: Sequence[Checked],
    photos: int,
    runs: Sequence[Path],
    skipped: Sequence[Skipped],
    sidecars: Collection[Path],
) -> Applied:
    to_free = bytes_to_free(each.victim_seen for each in moved)
    return Applied(photos, to_free, tuple(runs), tuple(skipped), len(moved) - photos, len(sidecars))


def _said_where(skipped: Sequence[Skipped], libraries: Sequence[Path]) -> list[Skipped]:
    """Say of photos that have gone which of them an earlier run has moved."""
    if not any(each.reason == GONE for each in skipped):
        return [*skipped]
    held = set[Path]().union(*map(files_held, libraries))
    return [
        each._replace(reason="is in quarantine already") if each.reason == GONE and each.path in held else each
        for each in skipped
    ]


def _movable(items: Sequence[Item], libraries: dict[str, Path], to: str) -> tuple[list[Item], list[Skipped]]:
    """Return the items of which every file can be moved, and why the others cannot."""
    item_of = {file.victim.path: item for item in items for file in item.files}
    _, hindered = movable([file for item in items for file in item.files], libraries, to)
    skipped: dict[Path, Skipped] = {}
    for stuck in hindered:
        photo = item_of[stuck.path].photo.victim.path
        belongs = "" if stuck.path == photo else f"{stuck.path.name}, which belongs to it: "
        skipped.setdefault(photo, Skipped(photo, belongs + stuck.reason))
    return [item for item in items if item.photo.victim.path not in skipped], [*skipped.values()]


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


def _refuse_other_file_systems(checked: Sequence[Checked]) -> None:
    for each in checked:
        if each.victim_seen.st_dev != each.keeper_seen.st_dev:
            raise SameSpaceError(
                f"{each.victim.path} cannot become a hard link to {each.keeper.path}, which is on another file"
                " system, so nothing was moved: choose symlink or quarantine"
            )


_Begun = list[tuple[Manifest, list[Item]]]


def _begin(libraries: dict[str, Library], items: Sequence[Item], to: str, merges: Sequence[Merge]) -> _Begun:
    """Write the manifests of a run, of one name in each library that will lose photos; or nothing at all."""
    by_library: defaultdict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_library[item.photo.victim.library].append(item)
    made = datetime.now(timezone.utc)
    quarantines = [libraries[library].folder / QUARANTINE for library in by_library]
    name = _free_name(quarantines, made)
    try:
        for quarantine, (library, mine) in zip(quarantines, by_library.items(), strict=True):
            moves = _moves([file for item in mine for file in item.files])
            sidecars = _sidecars(moves, [merge for merge in merges if merge.library == library])
            write_manifest(quarantine / name, made, to, moves, sidecars)
    except OSError as error:
        for quarantine in quarantines:
            discard(quarantine / name)
        raise SameSpaceError(f"{quarantine} cannot be written: {error.strerror}; nothing was moved") from error
    manifests = [read_manifest(quarantine / name) for quarantine in quarantines]
    return list(zip(manifests, by_library.values(), strict=True))


def _leave_no_trace(run: Path) -> None:
    discard(run)
    with suppress(OSError):  # it holds other runs
        run.parent.rmdir()


def _free_name(quarantines: Sequence[Path], made: datetime) -> str:
    """Return the local time, with a number if that is taken: 2026-11-20_15-31-02, 2026-11-20_15-31-02_2, …"""
    stem = name = made.astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    number = 1
    while any(os.path.lexists(quarantine / name) for quarantine in quarantines):
        number += 1
        name = f"{stem}_{number}"
    return name


def _moves(checked: Sequence[Checked]) -> list[Move]:
    """Return the move of each file, to its path below its root in a folder numbered for that root."""
    roots = sorted({each.victim.root for each in checked})
    moves = []
    for number, each in enumerate(checked):
        victim = each.victim
        below_root = victim.path.relative_to(victim.root)
        move = Move(
            number=number,
            path=victim.path,
            root=victim.root,
            quarantined=Path(str(roots.index(victim.root)), below_root),
            size=victim.size,
            mtime_ns=victim.mtime_ns,
            mode=stat.S_IMODE(each.victim_seen.st_mode),
            content=victim.content,
            keeper=each.keeper.path,
            keeper_content=each.keeper.content,
            attributes=attributes_of(victim.path, each.victim_seen),
        )
        moves.append(move)
    return moves


def _sidecars(moves: Sequence[Move], merges: Sequence[Merge]) -> list[Sidecar]:
    """Return the sidecars to write, with the numbers of the photos that know."""
    numbers = {move.path: move.number for move in moves}
    return [merge.sidecar._replace(moves=tuple(numbers[path] for path in merge.knowing)) for merge in merges]


def _carry_out(begun: _Begun, skipped: list[Skipped]) -> Applied:
    moved: list[Checked] = []
    runs: list[Path] = []
    sidecars: set[Path] = set()
    photos, stop = 0, ""
    for manifest, items in begun:
        reasons: dict[Path, str] = {}  # by sidecar, "" if it was written
        gone: set[int] = set()
        moves = iter(manifest.moves)
        for item in items:
            mine = list(islice(moves, len(item.files)))
            if stop:
                skipped.append(Skipped(item.photo.victim.path, stop))
                continue
            left = _write_first(manifest, mine[-1], reasons)
            if left:
                with suppress(OSError):
                    for move in mine:
                        note(manifest, move, "left", left)
            else:
                went, (left, stop) = move_item(manifest, mine, item)
                gone.update(move.number for move in mine if os.path.lexists(manifest.folder / move.quarantined))
            if left:
                skipped.append(Skipped(item.photo.victim.path, left))
            else:
                moved += went
                photos += 1
        tried = [sidecar for sidecar in manifest.sidecars if sidecar.path in reasons]
        in_vain = [sidecar for sidecar in tried if gone.isdisjoint(sidecar.moves) and is_written(sidecar)]
        unwritten = _take_back(manifest, in_vain)
        skipped += unwritten.skipped
        sidecars |= {sidecar.path for sidecar in tried if not gone.isdisjoint(sidecar.moves)}
        # While a sidecar could not be taken back, the manifest alone has what was there before.
        if unwritten.again or not remove_run(manifest):
            runs.append(manifest.folder)
    return _applied(moved, photos, runs, skipped, sidecars)


def _write_first(manifest: Manifest, photo: Move, reasons: dict[Path, str]) -> str:
    """Write the sidecar that holds what a photo knows, unless it was written; return "", or why the photo must stay."""
    for sidecar in manifest.sidecars:
        if photo.number in sidecar.moves:
            if sidecar.path not in reasons:
                reasons[sidecar.path] = write_sidecar(manifest, sidecar)
            if reasons[sidecar.path]:
                return f"what only it knows was not kept: {reasons[sidecar.path]}"
    return ""


def _take_back(manifest: Manifest, sidecars: Sequence[Sidecar]) -> Unwritten:
    """Take back sidecars of photos that were all left in their places."""
    if not sidecars:
        return Unwritten(0, (), False)
    library = manifest.folder.parent.parent
    return take_back(manifest, sidecars, library, homes_of(library))
