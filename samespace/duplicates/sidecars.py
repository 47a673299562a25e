"""Write what only removed photos know to sidecars of those that are kept, and take that back."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from samespace.base.files import move_new, sync_folder, write_no_link
from samespace.base.find import DATABASE
from samespace.base.metadata import NOTHING, Metadata, only_in, united
from samespace.base.photo_metadata import known_of_each, sidecar_names
from samespace.base.xmp import MOST, CannotComplete, completed, new_sidecar
from samespace.duplicates.check import Checked
from samespace.duplicates.homes import homes_of, why_not_there
from samespace.duplicates.manifest import LINKED, CannotMove, Manifest, Skipped, link_above
from samespace.duplicates.plan import Plan, PlannedPhoto
from samespace.duplicates.sidecar_record import Before, Sidecar
from samespace.library.own_folder import FOLDER


class Merge(NamedTuple):
    """A sidecar to write for one keeper before the photos that know more leave one library."""

    library: str  # id
    sidecar: Sidecar  # whose moves have no numbers yet
    knowing: tuple[Path, ...]  # photos to remove


class Merged(NamedTuple):
    """The photos that may go, what is to be written first, and why other photos may not go."""

    checked: list[Checked]
    merges: list[Merge]
    skipped: list[Skipped]


def plan_merges(plan: Plan, checked: Sequence[Checked]) -> Merged:
    """Read what the photos know, and return what to write; a photo whose knowledge has no place is not to be moved."""
    kept = {victim.path: group.keep for group in plan.groups for victim in group.remove}
    paths = list({photo.path for each in checked for photo in (each.victim, *kept[each.victim.path])})
    known = known_of_each(paths)
    homes = {library: homes_of(folder) for library, folder in plan.libraries.items()}
    by_keeper: defaultdict[str, defaultdict[Path, list[Checked]]] = defaultdict(lambda: defaultdict(list))
    for each in checked:
        by_keeper[each.victim.library][each.keeper.path].append(each)
    merges: list[Merge] = []
    skipped: list[Skipped] = []
    latest: dict[Path, Merge] = {}  # two keepers may share a sidecar, and two libraries a keeper
    for library, mine in ((library, mine) for library, keepers in by_keeper.items() for mine in keepers.values()):
        keeper = mine[0].keeper
        said = united(known[photo.path] for each in mine for photo in kept[each.victim.path])
        knowing = tuple(each.victim.path for each in mine if only_in(known[each.victim.path], said) != NOTHING)
        lost = only_in(united(known[path] for path in knowing), said)
        if lost == NOTHING:
            continue
        try:
            if reason := why_not_at(keeper.path, keeper.root, plan.libraries[library], homes[library]):
                raise CannotMove(reason)
            merge = Merge(library, _sidecar(keeper, lost, latest), knowing)
        except CannotMove as error:
            what = f"what only it knows cannot be written beside {keeper.path}: {error}"
            skipped += [Skipped(path, what) for path in knowing]
            continue
        earlier = latest.get(merge.sidecar.path)
        if earlier and earlier.library == library:  # one file is written once in a run
            sidecar = merge.sidecar._replace(before=earlier.sidecar.before)
            merge = Merge(library, sidecar, (*earlier.knowing, *knowing))
            merges.remove(earlier)
        latest[merge.sidecar.path] = merge
        merges.append(merge)
    left = {skip.path for skip in skipped}
    return Merged([each for each in checked if each.victim.path not in left], merges, skipped)


def why_not_at(keeper: Path, root: Path, library: Path, homes: Sequence[Path]) -> str:
    """Return why a library may not write beside a keeper, which another library may have scanned; "" if it may."""
    others = [folder for folder in keeper.parents if (folder / FOLDER / DATABASE).is_file()]
    return why_not_there(keeper, root, library, [*homes, *others])


def _sidecar(keeper: PlannedPhoto, lost: Metadata, latest: Mapping[Path, Merge]) -> Sidecar:
    """Return the sidecar to write: the keeper's own, completed if there is one, else a new one."""
    names = sidecar_names(keeper.path)
    path = next((name for name in names if name in latest or os.path.lexists(name)), names[0])
    before: Before | None = None
    try:
        if path in latest:
            there = latest[path].sidecar
            before = Before(there.content, *(there.before[1:] if there.before else (0, 0)))
        elif os.path.lexists(path):
            before = _read(path)
        content = completed(before.content, lost) if before else new_sidecar(lost)
    except CannotComplete as error:
        raise CannotMove(f"{path.name} cannot be completed, because {error}") from error
    except OSError as error:
        raise CannotMove(f"{path.name} cannot be read: {error.strerror}") from error
    return Sidecar(path, keeper.path, keeper.root, (), content, before)


def _read(path: Path) -> Before:
    """Read a sidecar; raise CannotComplete for what is not a file of its own, of a size to complete."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise CannotComplete("it is a link or a folder")
    if status.st_size > MOST:
        raise CannotComplete("it is too large")
    return Before(path.read_bytes(), status.st_mtime_ns, stat.S_IMODE(status.st_mode))


# --- in a run ---------------------------------------------------------------------------------------------------------


def write_sidecar(manifest: Manifest, sidecar: Sidecar) -> str:
    """Write a sidecar that the manifest names; return "", or why not: what was there then is there still."""
    try:
        if folder := link_above(sidecar.path, sidecar.root):
            return LINKED.format(folder)
        partial = _partial(manifest, sidecar)
        if sidecar.before is None:
            _place(partial, sidecar.content)
            move_new(partial, sidecar.path)
        elif _read(sidecar.path).content == sidecar.before.content:
            _place(partial, sidecar.content, sidecar.before.mode)
            partial.replace(sidecar.path)
        else:
            return f"{sidecar.path.name} changed since it was checked"
        sync_folder(sidecar.path.parent)
    except FileExistsError:
        return f"{sidecar.path.name} came since it was checked"
    except CannotComplete as error:
        return f"{sidecar.path.name} changed since it was checked: {error}"
    except OSError as error:
        with contextlib.suppress(OSError):
            _partial(manifest, sidecar).unlink(missing_ok=True)
        return f"{sidecar.path.name} cannot be written: {error.strerror}"
    return ""


def _partial(manifest: Manifest, sidecar: Sidecar) -> Path:
    """Return where a sidecar grows: a name by which an undo knows it as its own."""
    return sidecar.path.with_name(f".samespace-{manifest.folder.name}-{sidecar.path.name}.partial")


def _place(partial: Path, content: bytes, mode: int = 0) -> None:
    write_no_link(partial, content, durable=True)
    if mode:
        partial.chmod(mode & 0o777)


def is_written(sidecar: Sidecar) -> bool:
    """Return whether a sidecar is there as it was written."""
    try:
        return _read(sidecar.path).content == sidecar.content
    except (OSError, CannotComplete):
        return False


def is_begun(manifest: Manifest, sidecar: Sidecar) -> bool:
    """Return whether a sidecar is there as it was written, or a part of it is."""
    return is_written(sidecar) or os.path.lexists(_partial(manifest, sidecar))


class Unwritten(NamedTuple):
    """Sidecars that were taken back, why others were not, and whether that can be tried again."""

    number: int
    skipped: tuple[Skipped, ...]
    again: bool


def take_back(manifest: Manifest, sidecars: Sequence[Sidecar], library: Path, homes: Sequence[Path]) -> Unwritten:
    """Remove sidecars that are as they were written, the last one first, and restore those that were there before."""
    number, again = 0, False
    skipped = []
    for sidecar in reversed(sidecars):
        reason = why_not_at(sidecar.keeper, sidecar.root, library, homes)
        try:
            if reason:
                raise CannotMove(reason)
            number += _take_back(manifest, sidecar)
        except CannotMove as error:
            skipped.append(Skipped(sidecar.path, str(error)))
        except OSError as error:
            again = True
            skipped.append(Skipped(sidecar.path, f"it cannot be taken back: {error.strerror}"))
    return Unwritten(number, tuple(skipped), again)


def _take_back(manifest: Manifest, sidecar: Sidecar) -> bool:
    """Take one back; return whether there was anything to do, and raise CannotMove if a person changed it."""
    path, before, partial = sidecar.path, sidecar.before, _partial(manifest, sidecar)
    partial.unlink(missing_ok=True)
    if not os.path.lexists(path) or (before and not path.is_symlink() and path.read_bytes() == before.content):
        return False
    if not is_written(sidecar):
        raise CannotMove("it was changed since it was written, and stays")
    if before is None:
        path.unlink()
    else:
        _place(partial, before.content, before.mode)
        if before.mtime_ns:
            os.utime(partial, ns=(before.mtime_ns, before.mtime_ns))
        partial.replace(path)
    sync_folder(path.parent)
    return True
