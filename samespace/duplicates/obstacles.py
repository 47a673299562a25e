"""Find what stops a photo from moving into quarantine, before the first one moves."""

from __future__ import annotations

import errno
import os
import shutil
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import NamedTuple

from samespace.base.errors import SameSpaceError
from samespace.base.find import DATABASE
from samespace.base.text import size_words
from samespace.duplicates.attributes import why_lost
from samespace.duplicates.check import Checked
from samespace.duplicates.manifest import LINKED, QUARANTINE, Skipped, link_above

HARD_LINK = "it is a hard link, and would come back as a copy: the quarantine is on another file system"
NOTES = 1 << 20  # bytes to leave free for a run's manifest and what is noted in it
_TRIAL = ".samespace-"  # hidden, so that no scan sees it
TRIAL_LINK = f"{_TRIAL}link"  # one name: what a kill in between leaves, the next trial removes
_BLOCK = 4096


class _Quarantine(NamedTuple):
    folder: Path
    device: int
    ignores_case: bool


def movable(checked: Sequence[Checked], libraries: Mapping[str, Path], to: str) -> tuple[list[Checked], list[Skipped]]:
    """Return the victims that can be moved to the quarantines of their libraries, and why the others cannot.

    It is tried, with files that are gone at once: permissions alone do not tell on every file system; and so are links,
    if `to` asks for them. Where photos must be copied to another disk, those that fit may go.
    """
    link_trials = cache(why_not_linked)
    quarantines = {each: _quarantine(libraries[each]) for each in {one.victim.library for one in checked}}
    folder_trials = cache(why_not_writable)
    ready, skipped = [], []
    names: dict[tuple[str, Path, str], Path] = {}
    for each in checked:
        victim, quarantine = each.victim, quarantines[each.victim.library]
        folder = link_above(victim.path, victim.root)
        reason = LINKED.format(folder) if folder else folder_trials(victim.path.parent) or why_locked(victim.path)
        if not reason and to != "quarantine":
            reason = link_trials(to, each.keeper.path, victim.path.parent)
        if not reason and _is_copied(each, quarantine):
            reason = why_not_copied(each, quarantine.folder)
        if not reason and quarantine.ignores_case:
            name = victim.library, victim.root, _folded(str(victim.path.relative_to(victim.root)))
            if names.setdefault(name, victim.path) != victim.path:
                reason = f"its name is taken in the quarantine, by {names[name]}, which differs only in case"
        if reason:
            skipped.append(Skipped(victim.path, reason))
        else:
            ready.append(each)
    fitting, left = _fitting(ready, quarantines)
    return fitting, skipped + left


def why_not_writable(folder: Path) -> str:
    """Return why no photo can be taken out of a folder; "" if a file can be made and removed there."""
    try:
        with TemporaryFile(prefix=_TRIAL, dir=folder):
            return ""
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # a move out of it needs no room
            return ""
        return f"its folder {folder} cannot be changed ({error.strerror}): make it writable, then try again"


def why_not_linked(to: str, keeper: Path, folder: Path) -> str:
    """Return why a folder can hold no link to a keeper, as on FAT or with too many hard links; "" if it can."""
    trial = folder / TRIAL_LINK
    try:
        trial.unlink(missing_ok=True)
        put_link(to, trial, keeper)
        trial.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # the photo leaves its name behind
            return ""
        return f"no {to} to {keeper} can be made in its folder ({error.strerror}): choose quarantine"
    return ""


def put_link(to: str, path: Path, keeper: Path) -> None:
    """Make a link to a keeper if `to` asks for one."""
    if to == "hardlink":
        path.hardlink_to(keeper)
    elif to == "symlink":
        path.symlink_to(keeper)


def why_locked(path: Path) -> str:
    """Return why a file cannot be taken out of its folder though others can; "" if it can.

    A file that is immutable, or of another user in a shared folder.
    """
    try:
        path.rmdir()  # which removes no file: it fails in any case, and first because of permissions
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.EROFS):
            return f"it is locked in its folder ({error.strerror}): unlock it, then try again"
    return ""


def why_not_copied(each: Checked, library: Path) -> str:
    """Return why a copy in a library's quarantine would not be the whole photo; "" if it would."""
    if each.victim_seen.st_nlink > 1:
        return HARD_LINK
    try:
        with NamedTemporaryFile(prefix=_TRIAL, dir=library) as trial:
            shutil.copystat(each.victim.path, trial.name)
            return why_lost(each.victim.path, Path(trial.name), each.victim_seen)
    except OSError as error:
        return f"it cannot be copied to {library}: {error.strerror}"


def free_bytes(folder: Path) -> int:
    """Return the bytes that this user can still write to the file system of a folder."""
    return shutil.disk_usage(folder).free


def _quarantine(library: Path) -> _Quarantine:
    try:
        folder = library / QUARANTINE
        device = (folder if folder.is_dir() else library).stat().st_dev
    except OSError as error:
        raise SameSpaceError(f"{library} cannot be read: {error.strerror}; nothing was moved") from error
    return _Quarantine(library, device, os.path.lexists(library / DATABASE.upper()))


def _is_copied(each: Checked, quarantine: _Quarantine) -> bool:
    """Return whether a move copies: by the photo's folder, for a file may show another number on layered disks."""
    return each.victim.path.parent.stat().st_dev != quarantine.device


def _fitting(ready: Sequence[Checked], quarantines: Mapping[str, _Quarantine]) -> tuple[list[Checked], list[Skipped]]:
    """Return the victims that the disks of their quarantines have room for, in order, and the others."""
    needed: Counter[int] = Counter()
    for each in ready:
        quarantine = quarantines[each.victim.library]
        if _is_copied(each, quarantine):
            needed[quarantine.device] += _on_disk(each)
    free = {each.device: free_bytes(each.folder) for each in quarantines.values() if each.device in needed}
    left = {device: room - NOTES for device, room in free.items()}
    fitting, skipped = [], []
    for each in ready:
        quarantine = quarantines[each.victim.library]
        device = quarantine.device
        if not _is_copied(each, quarantine):
            fitting.append(each)
        elif _on_disk(each) <= left[device]:
            left[device] -= _on_disk(each)
            fitting.append(each)
        else:
            room = f"{size_words(needed[device] + NOTES)} are needed there, and {size_words(free[device])} are free"
            skipped.append(Skipped(each.victim.path, f"no room to copy it to {quarantine.folder / QUARANTINE}: {room}"))
    return fitting, skipped


def _on_disk(each: Checked) -> int:
    return -(-each.victim.size // _BLOCK) * _BLOCK


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
