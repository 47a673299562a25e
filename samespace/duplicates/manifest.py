"""What a run in the quarantine writes down, so that a kill at any moment loses nothing."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from samespace.base.errors import SameSpaceError
from samespace.base.files import write_all
from samespace.base.find import DATABASE
from samespace.duplicates.plan import as_path, get, refuse_outside
from samespace.library.library import Library

FORMAT = 1  # of the manifest
WAYS = ("quarantine", "hardlink", "symlink")  # what is left in a removed photo's place: nothing, or a link
QUARANTINE = "quarantine"
MANIFEST = "manifest.jsonl"
LINKED = "its folder {} is a link: scan the folder that it leads to instead"


class Skipped(NamedTuple):
    """A file that was left as it is, and why."""

    path: Path
    reason: str


class CannotMove(Exception):
    """This photo is left alone; the message is the reason."""


class Move(NamedTuple):
    """One intended move, as the manifest holds it; nothing else is needed to undo it."""

    number: int
    path: Path
    root: Path
    quarantined: Path  # below the run's folder
    size: int
    mtime_ns: int
    mode: int
    content: str
    keeper: Path


class Manifest(NamedTuple):
    folder: Path  # the run's
    made: datetime
    to: str
    moves: tuple[Move, ...]
    states: dict[int, str]  # the last state noted of a move
    broken: int  # moves that cannot be read any more


@contextmanager
def held(libraries: Iterable[Library]) -> Iterator[None]:
    """One at a time in each library. Sorted by id, lest two that want the same libraries wait for each other."""
    with ExitStack() as stack:
        try:
            for library in sorted(libraries, key=lambda library: library.id):
                stack.enter_context(library.hold())
        except (OSError, sqlite3.Error) as error:
            raise SameSpaceError(f"the library {library.folder} cannot be held: {error}") from error
        yield


def same_file(status: os.stat_result, seen: os.stat_result) -> bool:
    """The same file, not written since."""
    return os.path.samestat(status, seen) and (status.st_size, status.st_mtime_ns) == (seen.st_size, seen.st_mtime_ns)


def link_above(path: Path, root: Path) -> Path | None:
    """Through a linked folder a move would reach out of `root`, or take a photo that is known by another path."""
    folders = path.parents[: len(path.parts) - len(root.parts) - 1]
    return next((folder for folder in folders if folder.is_symlink()), None)


def bytes_to_free(files: Iterable[os.stat_result]) -> int:
    """Of files that will be deleted: a hard link with a name elsewhere wins nothing."""
    seen = list(files)
    names = Counter((status.st_dev, status.st_ino) for status in seen)
    sizes = {
        (status.st_dev, status.st_ino): status.st_size
        for status in seen
        if names[status.st_dev, status.st_ino] == status.st_nlink
    }
    return sum(sizes.values())


@contextmanager
def held_if_sound(folder: Path) -> Iterator[None]:
    """A library whose database is damaged can be scanned by nobody else either, and its photos must come back."""
    with ExitStack() as stack:
        with contextlib.suppress(SameSpaceError, OSError, sqlite3.Error):
            library = Library(folder)
            stack.enter_context(held([library]))
        yield


def partial_name(manifest: Manifest, move: Move, beside: Path) -> Path:
    """Where a copy grows: a name that tells an undo, killed and run again, whose it is."""
    return beside.with_name(f".samespace-{manifest.folder.name}-{move.number}.partial")


def read_manifest(folder: Path) -> Manifest:
    """A folder without one is a run killed before it began, and holds nothing."""
    try:
        lines = (folder / MANIFEST).read_bytes().split(b"\n")
    except FileNotFoundError:
        ours = folder.parent.name == QUARANTINE and (folder.parent.parent / DATABASE).is_file()
        if not (ours and folder.is_dir()):
            raise SameSpaceError(f"no run at {folder}: name a folder in a library's {QUARANTINE}") from None
        return Manifest(folder, changed(folder), WAYS[0], (), {}, 0)
    except OSError as error:
        raise SameSpaceError(f"{folder / MANIFEST} cannot be read: {error.strerror}") from error
    header, *records = (_parsed(line) for line in lines)
    try:
        if header.get("format") != FORMAT or header.get("to") not in WAYS:
            raise SameSpaceError("another format")
        made = datetime.fromisoformat(get(header, "made", str)).astimezone(timezone.utc)
        intended = get(header, "moves", int)
    except (SameSpaceError, ValueError) as error:
        raise SameSpaceError(f"{folder / MANIFEST} is not a manifest that this version reads") from error
    moves = tuple(move for record in records if "path" in record for move in _move_from_json(record))
    states = {record["move"]: str(record["state"]) for record in records if "state" in record and numbered(record)}
    return Manifest(folder, made, header["to"], moves, states, intended - len(moves))


def numbered(record: dict[str, Any]) -> bool:
    return isinstance(record.get("move"), int)


def changed(folder: Path) -> datetime:
    return datetime.fromtimestamp(folder.stat().st_mtime, timezone.utc)


def _parsed(line: bytes) -> dict[str, Any]:
    """Nothing of a torn line."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _move_from_json(record: dict[str, Any]) -> Iterator[Move]:
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
        )
        refuse_outside(move.path, move.root)
        if not quarantined.is_absolute() and ".." not in quarantined.parts:
            yield move


def note(manifest: Manifest, move: Move, state: str, why: str = "") -> None:
    """Append what became of a move. Its line end comes first, so that a torn line before it spoils nothing."""
    record = {"move": move.number, "state": state} | ({"why": why} if why else {})
    descriptor = os.open(manifest.folder / MANIFEST, os.O_WRONLY | os.O_APPEND)
    try:
        write_all(descriptor, b"\n" + json.dumps(record).encode())
    finally:
        os.close(descriptor)


def finish(manifest: Manifest) -> tuple[bool, list[Skipped]]:
    """Take away a run that holds no photo any more: whether it is gone, and what of it is nobody's."""
    removed, problems = remove_run(manifest), []
    if manifest.broken:
        problems.append(Skipped(manifest.folder / MANIFEST, f"{manifest.broken} of its moves cannot be read any more"))
    if not removed and not held_photos(manifest):
        problems.append(Skipped(manifest.folder, "it holds other files than the photos moved there, which are left"))
    return removed, problems


def remove_run(manifest: Manifest) -> bool:
    """Take the run's folder away if no file is left in it, the manifest last; whether it is gone."""
    run = manifest.folder
    if not run.is_dir():
        return True
    try:
        for move in manifest.moves:
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
    """A run without photos."""
    try:
        (run / f".{MANIFEST}.partial").unlink(missing_ok=True)
        (run / MANIFEST).unlink(missing_ok=True)
        run.rmdir()
    except OSError:
        return False
    return True


def held_photos(manifest: Manifest) -> dict[Move, os.stat_result]:
    held = {}
    for move in manifest.moves:
        with contextlib.suppress(OSError):
            held[move] = (manifest.folder / move.quarantined).lstat()
    return held
