"""The manifest of a run: what it moves into quarantine, written down so that a kill at any moment loses nothing."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from samespace.base.errors import SameSpaceError
from samespace.base.files import NO_LINK, sync_folder, write_all, write_whole
from samespace.base.find import DATABASE
from samespace.base.kinds import is_album_file
from samespace.base.partners import photos_by_partner
from samespace.duplicates import sidecar_record
from samespace.duplicates.attributes import Attributes, as_json, from_json
from samespace.duplicates.plan import as_path, get, refuse_outside
from samespace.duplicates.sidecar_record import Sidecar
from samespace.library.library import Library
from samespace.library.own_folder import PRIVATE

FORMAT = 1  # of the manifest
WAYS = ("quarantine", "hardlink", "symlink")  # what is left in a removed photo's place: nothing, or a link
QUARANTINE = "quarantine"
MANIFEST = "manifest.jsonl"
LINKED = "its folder {} is a link: scan the folder it points to instead"


class Skipped(NamedTuple):
    """A file that was left as it is, and why."""

    path: Path
    reason: str


class CannotMove(Exception):
    """This photo stays where it is; the message is the reason."""


class Move(NamedTuple):
    """One intended move, as the manifest holds it; undo needs nothing else."""

    number: int
    path: Path
    root: Path
    quarantined: Path  # below the run's folder
    size: int
    mtime_ns: int
    mode: int
    content: str
    keeper: Path
    keeper_content: str = ""  # not noted by 0.1
    attributes: Attributes = Attributes()


class Manifest(NamedTuple):
    """The moves of one run, and the states noted of them."""

    folder: Path  # the run's
    made: datetime
    to: str  # one of WAYS; "" if that can no longer be read
    moves: tuple[Move, ...]
    states: dict[int, str]  # the last state noted of each move
    broken: int  # lines that can no longer be read
    sidecars: tuple[Sidecar, ...] = ()  # written before the moves, in this order; unknown to 0.1


# --- libraries and files ----------------------------------------------------------------------------------------------


@contextmanager
def hold_all(libraries: Iterable[Library]) -> Iterator[None]:
    """Hold these libraries, so that nobody else scans or moves photos there."""
    with ExitStack() as stack:
        try:
            # Sorted, lest two that want the same libraries wait for each other.
            for library in sorted(libraries, key=lambda library: library.id):
                stack.enter_context(library.hold())
        except (OSError, sqlite3.Error) as error:
            raise SameSpaceError(f"the library {library.folder} cannot be held: {error}") from error
        yield


@contextmanager
def hold_if_sound(folder: Path) -> Iterator[None]:
    """Hold a library unless its database is damaged: nobody can scan it then, and its photos must come back."""
    with ExitStack() as stack:
        with contextlib.suppress(SameSpaceError, OSError, sqlite3.Error):
            stack.enter_context(hold_all([Library(folder)]))
        yield


def same_file(status: os.stat_result, seen: os.stat_result) -> bool:
    """Return whether this is the file that was seen, not written since."""
    return os.path.samestat(status, seen) and (status.st_size, status.st_mtime_ns) == (seen.st_size, seen.st_mtime_ns)


def link_above(path: Path, root: Path) -> Path | None:
    """Return a linked folder between `root` and `path`: a move through one could reach out of `root`."""
    folders = path.parents[: len(path.parts) - len(root.parts) - 1]
    return next((folder for folder in folders if folder.is_symlink()), None)


def bytes_to_free(files: Iterable[os.stat_result]) -> int:
    """Return what deleting these files frees; a file that has another name elsewhere frees nothing."""
    seen = list(files)
    names = Counter((status.st_dev, status.st_ino) for status in seen)
    sizes = {
        (status.st_dev, status.st_ino): status.st_size
        for status in seen
        if names[status.st_dev, status.st_ino] == status.st_nlink
    }
    return sum(sizes.values())


# --- writing and reading ----------------------------------------------------------------------------------------------


def write_manifest(
    folder: Path, made: datetime, to: str, moves: Sequence[Move], sidecars: Sequence[Sidecar] = ()
) -> None:
    """Make the run's folder and put its manifest on the disk."""
    # One level at a time: a library that has vanished must not be made anew by its quarantine.
    folder.parent.mkdir(mode=PRIVATE, exist_ok=True)
    folder.mkdir(mode=PRIVATE)
    header = {"format": FORMAT, "made": made.isoformat(), "to": to, "moves": len(moves)}
    records = (header, *map(_move_as_json, moves), *map(sidecar_record.as_json, sidecars))
    lines = [json.dumps(record) for record in records]
    write_whole(folder / MANIFEST, "\n".join(lines).encode(), durable=True)
    sync_folder(folder.parent)
    sync_folder(folder.parent.parent)


def _move_as_json(move: Move) -> dict[str, Any]:
    return {
        "move": move.number,
        "path": str(move.path),
        "root": str(move.root),
        "quarantined": str(move.quarantined),
        "size": move.size,
        "mtime_ns": move.mtime_ns,
        "mode": move.mode,
        "content": move.content,
        "keeper": str(move.keeper),
        "keeper_content": move.keeper_content,
        **as_json(move.attributes),
    }


def note(manifest: Manifest, move: Move, state: str, why: str = "") -> None:
    """Append what became of a move. Its line end comes first, so that a torn line before it spoils nothing."""
    record = {"move": move.number, "state": state}
    if why:
        record["why"] = why
    descriptor = os.open(manifest.folder / MANIFEST, os.O_WRONLY | os.O_APPEND | NO_LINK)
    try:
        write_all(descriptor, b"\n" + json.dumps(record).encode())
    finally:
        os.close(descriptor)


def read_manifest(folder: Path) -> Manifest:
    """Read a run's manifest. A folder without one is a run killed before it began, and holds nothing."""
    try:
        lines = (folder / MANIFEST).read_bytes().split(b"\n")
    except FileNotFoundError:
        is_ours = folder.parent.name == QUARANTINE and (folder.parent.parent / DATABASE).is_file()
        if not (is_ours and folder.is_dir()):
            raise no_run_at(folder) from None
        return Manifest(folder, changed_at(folder), WAYS[0], (), {}, 0)
    except OSError as error:
        raise SameSpaceError(f"{folder / MANIFEST} cannot be read: {error.strerror}") from error
    header, *records = (_parsed(line) for line in lines)
    if header.get("format", FORMAT) != FORMAT:
        raise SameSpaceError(f"{folder / MANIFEST} was made by a newer samespace: update samespace")
    moves = tuple(move for record in records if "path" in record for move in _move_from_json(record))
    sidecars = tuple(each for record in records if "sidecar" in record for each in sidecar_record.from_json(record))
    states = {}
    for record in records:
        if "state" in record and isinstance(record.get("move"), int):
            states[record["move"]] = str(record["state"])
    try:
        made = datetime.fromisoformat(get(header, "made", str)).astimezone(timezone.utc)
        way, intended = get(header, "to", str), get(header, "moves", int)
    except (SameSpaceError, ValueError):  # torn
        made, way, intended = changed_at(folder), "", len(moves) + 1
    return Manifest(folder, made, way, moves, states, intended - len(moves), sidecars)


def no_run_at(folder: Path) -> SameSpaceError:
    """Return what to raise for a folder that is no run."""
    return SameSpaceError(f"no run at {folder}: name a folder in a library's {QUARANTINE}")


def changed_at(folder: Path) -> datetime:
    """Return when a folder was last changed."""
    return datetime.fromtimestamp(folder.stat().st_mtime, timezone.utc)


def _parsed(line: bytes) -> dict[str, Any]:
    """Return a line's record; an empty one for a torn line."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _move_from_json(record: dict[str, Any]) -> Iterator[Move]:
    """Yield the move, unless it is damaged or leads out of its folder."""
    with contextlib.suppress(SameSpaceError):
        quarantined = Path(get(record, "quarantined", str))
        move = Move(
            number=get(record, "move", int),
            path=as_path(get(record, "path", str)),
            root=as_path(get(record, "root", str)),
            quarantined=quarantined,
            size=get(record, "size", int),
            mtime_ns=get(record, "mtime_ns", int),
            mode=get(record, "mode", int),
            content=get(record, "content", str),
            keeper=as_path(get(record, "keeper", str)),
            keeper_content=get(record, "keeper_content", str) if "keeper_content" in record else "",
            attributes=from_json(record),
        )
        refuse_outside(move.path, move.root)
        if not quarantined.is_absolute() and ".." not in quarantined.parts:
            yield move


# --- the run's folder -------------------------------------------------------------------------------------------------


def partial_name(manifest: Manifest, move: Move, beside: Path) -> Path:
    """Return where a copy grows: a name by which an undo, killed and run again, knows it as its own."""
    return beside.with_name(f".samespace-{manifest.folder.name}-{move.number}.partial")


def held_photos(manifest: Manifest) -> dict[Move, os.stat_result]:
    """Return the moves whose photos are in the quarantine now, each with its file's status."""
    held = {}
    for move in manifest.moves:
        where = manifest.folder / move.quarantined
        with contextlib.suppress(OSError):
            status = where.lstat()
            if stat.S_ISREG(status.st_mode) and not link_above(where, manifest.folder):
                held[move] = status
    return held


def photos_of(moves: Iterable[Move]) -> dict[Path, tuple[Path, ...]]:
    """Return each partner among these moves, and its photos among them, by where they were."""
    names: defaultdict[Path, list[str]] = defaultdict(list)
    for move in moves:
        names[move.path.parent].append(move.path.name)
    return {
        folder / partner: tuple(folder / photo for photo in photos)
        for folder, some in names.items()
        for partner, photos in photos_by_partner(some).items()
    }


def strays(manifest: Manifest) -> list[Path]:
    """Return the photos and partners in the run's folder that a sound manifest would name, below that folder."""
    if manifest.moves and not manifest.broken:
        return []
    named = {move.quarantined for move in manifest.moves}
    found = []
    names_in: defaultdict[Path, list[str]] = defaultdict(list)
    for path in named:
        names_in[path.parent].append(path.name)
    for folder, _, names in os.walk(manifest.folder):
        below = Path(folder).relative_to(manifest.folder)
        partners = photos_by_partner([*names, *names_in[below]])
        for name in names:
            path = below / name
            is_ours = is_album_file(name) or name in partners
            is_in_root = len(path.parts) > 1 and path.parts[0].isdecimal() and not name.startswith(".")
            if is_ours and is_in_root and path not in named and not (manifest.folder / path).is_symlink():
                found.append(path)
    return sorted(found)


def finish(manifest: Manifest) -> tuple[bool, list[Skipped]]:
    """Remove a run that holds no photo any more; return whether it is gone, and what in it stays."""
    removed = remove_run(manifest)
    left = []
    if manifest.broken:
        left.append(Skipped(manifest.folder / MANIFEST, f"{manifest.broken} of its lines can no longer be read"))
    if not removed and not held_photos(manifest) and not strays(manifest):
        left.append(Skipped(manifest.folder, "it also holds files that were not moved there by a run; they stay"))
    return removed, left


def remove_run(manifest: Manifest) -> bool:
    """Remove the run's folder if no file is left in it, the manifest last; return whether it is gone."""
    run = manifest.folder
    if not run.is_dir():
        return True
    try:
        for move in manifest.moves:
            if not link_above(run / move.quarantined, run):
                partial_name(manifest, move, run / move.quarantined).unlink(missing_ok=True)
        for folder, _, _ in os.walk(run, topdown=False):
            if Path(folder) != run:
                Path(folder).rmdir()
        if {path.name for path in run.iterdir()} - {MANIFEST, f".{MANIFEST}.partial"}:
            return False
    except OSError:
        return False
    return discard(run)


def discard(run: Path) -> bool:
    """Remove a run that holds nothing but its manifest; return whether it is gone."""
    try:
        (run / f".{MANIFEST}.partial").unlink(missing_ok=True)
        (run / MANIFEST).unlink(missing_ok=True)
        run.rmdir()
    except OSError:
        return False
    return True
