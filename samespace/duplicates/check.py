"""Check that the photos of a plan are still as they were when it was made."""

from __future__ import annotations

import contextlib
import os
import stat
import unicodedata
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from samespace.base import progress
from samespace.base.files import content_hash
from samespace.base.photos import in_threads
from samespace.duplicates.homes import homes_of, why_not_there
from samespace.duplicates.manifest import Skipped, same_file
from samespace.duplicates.plan import Plan, PlannedPhoto

GONE = "disappeared since the plan"


class Checked(NamedTuple):
    """A photo to remove, the victim, and its keeper, both found as planned."""

    victim: PlannedPhoto
    keeper: PlannedPhoto
    victim_seen: os.stat_result
    keeper_seen: os.stat_result
    also_kept: tuple[Path, ...]  # kept photos that are hard links to the victim


def check_plan(plan: Plan) -> tuple[list[Checked], list[Skipped]]:
    """Read every victim and keeper; return the victims that may go, and why the others may not."""
    groups = [group for group in plan.groups if group.remove]
    photos = list(dict.fromkeys(photo for group in groups for photo in (group.keep[0], *group.remove)))
    reading = progress.over(in_threads(_look, photos), "checking", len(photos))
    found = dict(zip(photos, reading, strict=True))
    kept, spelled = _kept_files(plan), _kept_spellings(plan)
    homes = {library: homes_of(folder) for library, folder in plan.libraries.items()}
    checked: list[Checked] = []
    skipped: list[Skipped] = []
    for group in groups:
        for victim in group.remove:
            library = plan.libraries[victim.library]
            twins = [path for path in spelled.get(_folded(victim.path), ()) if _is_one_name(victim.path, path)]
            result: Checked | Skipped
            if twins:
                result = _same_file_as(victim, twins[0])
            elif reason := why_not_there(victim.path, victim.root, library, homes[victim.library]):
                result = Skipped(victim.path, reason)
            else:
                result = _check_victim(victim, group.keep[0], found, kept)
            if isinstance(result, Checked):
                checked.append(result)
            else:
                skipped.append(result)
    return checked, skipped


def _look(photo: PlannedPhoto) -> os.stat_result | str:
    """Return the file's status if it is still what the plan saw, else the reason why not."""
    try:
        seen = photo.path.lstat()
        if stat.S_ISLNK(seen.st_mode):
            return "became a link since the plan"
        if not stat.S_ISREG(seen.st_mode):
            return "is no longer a file"
        if (seen.st_size, seen.st_mtime_ns) != (photo.size, photo.mtime_ns):
            return "changed since the plan"
        if content_hash(photo.path) == photo.content and same_file(photo.path.lstat(), seen):
            return seen
        return "changed since the plan, though its size and date look the same"
    except (FileNotFoundError, NotADirectoryError):
        if not photo.path.parent.is_dir():
            return f"disappeared with its folder {photo.path.parent}: if its disk is not connected, connect it"
        return GONE
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _check_victim(
    victim: PlannedPhoto,
    keeper: PlannedPhoto,
    found: dict[PlannedPhoto, os.stat_result | str],
    kept: dict[tuple[int, int], list[Path]],
) -> Checked | Skipped:
    keeper_seen, victim_seen = found[keeper], found[victim]
    if isinstance(keeper_seen, str):
        return Skipped(victim.path, f"the photo kept for it, {keeper.path}, {keeper_seen}")
    if isinstance(victim_seen, str):
        return Skipped(victim.path, victim_seen)
    also_kept = tuple(kept.get((victim_seen.st_dev, victim_seen.st_ino), ()))
    for path in also_kept:
        # One name spelled in two ways: through a link, or on a file system that ignores case. Not a hard link.
        if victim_seen.st_nlink == 1 or os.path.realpath(path) == os.path.realpath(victim.path):
            return _same_file_as(victim, path)
    return Checked(victim, keeper, victim_seen, keeper_seen, also_kept)


def _same_file_as(victim: PlannedPhoto, path: Path) -> Skipped:
    return Skipped(victim.path, f"it is the same file as {path}, which is kept")


def _kept_spellings(plan: Plan) -> dict[str, list[Path]]:
    """Return the kept paths of all groups, by what they are where the case of letters does not matter."""
    spelled: defaultdict[str, list[Path]] = defaultdict(list)
    for path in {photo.path for group in plan.groups for photo in group.keep}:
        spelled[_folded(path)].append(path)
    return spelled


def _folded(path: Path) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(path)).casefold())


def _is_one_name(path: Path, other: Path) -> bool:
    """Return whether two spellings of a path, alike but for the case or the form of letters, may name one file.

    They name two only if the folder where they part lists both. Inodes do not tell: a file system may make them up.
    """
    for depth, names in enumerate(zip(path.parts, other.parts, strict=True)):
        if names[0] != names[1] and _lists_both(Path(*path.parts[:depth]), set(names)):
            return False
    return True


def _lists_both(folder: Path, names: set[str]) -> bool:
    try:
        return names <= set(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return False


def _kept_files(plan: Plan) -> dict[tuple[int, int], list[Path]]:
    """Return the kept paths of all groups, by device and inode."""
    files: defaultdict[tuple[int, int], list[Path]] = defaultdict(list)
    for path in {photo.path for group in plan.groups for photo in group.keep}:
        with contextlib.suppress(OSError):  # `_look` says why
            status = path.stat()
            files[status.st_dev, status.st_ino].append(path)
    return files
