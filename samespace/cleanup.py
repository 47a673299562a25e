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
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

from samespace.base import progress
from samespace.base.errors import SameSpaceError
from samespace.base.files import content_hash, copy_new, move_new, sync_folder, write_all, write_whole
from samespace.base.find import DATABASE
from samespace.base.photos import in_threads
from samespace.library.library import Library
from samespace.plans import Plan, PlannedPhoto, as_path, get, refuse_contradictions, refuse_outside

FORMAT = 1  # of the manifest
WAYS = ("quarantine", "hardlink", "symlink")  # what is left in a removed photo's place: nothing, or a link
QUARANTINE = "quarantine"
MANIFEST = "manifest.jsonl"
LINKED = "its folder {} is a link: scan the folder that it leads to instead"
CHANGED = "changed since it was checked"
FULL = (errno.ENOSPC, errno.EDQUOT)


class Skipped(NamedTuple):
    """A file that was left as it is, and why."""

    path: Path
    reason: str


class Applied(NamedTuple):
    """What `apply` did, or would do in a dry run; anything in `skipped` is a reason for exit status 1."""

    photos: int  # moved to quarantine
    bytes_to_free: int  # what emptying the quarantine will win: nothing is won before, and nothing by a hard link
    runs: tuple[Path, ...]  # a folder in each library that lost photos; none in a dry run
    skipped: tuple[Skipped, ...]


class Undone(NamedTuple):
    """What `undo` did; while `removed` is false the run's folder still holds photos or others' files."""

    photos: int  # back in their places
    removed: bool  # the run's folder, because nothing is left in it
    skipped: tuple[Skipped, ...]


class Run(NamedTuple):
    """One apply's photos in one library's quarantine, as they lie there now."""

    folder: Path
    made: datetime
    photos: int
    bytes_to_free: int
    state: str  # "complete", "interrupted" (by a kill), "undone in part", "emptied in part", "empty" or "unreadable"


class Deleted(NamedTuple):
    """What `delete_runs` did."""

    photos: int
    bytes_freed: int
    skipped: tuple[Skipped, ...]


class _Left(Exception):
    """This photo is left alone; the message is the reason."""


class _Move(NamedTuple):
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


class _Manifest(NamedTuple):
    folder: Path  # the run's
    made: datetime
    to: str
    moves: tuple[_Move, ...]
    states: dict[int, str]  # the last state noted of a move
    broken: int  # moves that cannot be read any more


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
    with _held(libraries.values()):
        checked, skipped = _check(plan)
        if to == "hardlink":
            _refuse_other_file_systems(checked)
        if dry_run or not checked:
            return Applied(len(checked), _bytes_to_free(each.victim_seen for each in checked), (), tuple(skipped))
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


@contextmanager
def _held(libraries: Iterable[Library]) -> Iterator[None]:
    """One at a time in each library. Sorted by id, lest two that want the same libraries wait for each other."""
    with ExitStack() as stack:
        try:
            for library in sorted(libraries, key=lambda library: library.id):
                stack.enter_context(library.hold())
        except (OSError, sqlite3.Error) as error:
            raise SameSpaceError(f"the library {library.folder} cannot be held: {error}") from error
        yield


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
        same = content_hash(photo.path) == photo.content and _same(photo.path.lstat(), seen)
        return seen if same else "changed since the plan, though its size and date look the same"
    except (FileNotFoundError, NotADirectoryError):
        return "gone since the plan"
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _same(status: os.stat_result, seen: os.stat_result) -> bool:
    """The same file, not written since."""
    return os.path.samestat(status, seen) and (status.st_size, status.st_mtime_ns) == (seen.st_size, seen.st_mtime_ns)


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
    if folder := _link_above(victim.path, victim.root):
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


def _link_above(path: Path, root: Path) -> Path | None:
    """Through a linked folder a move would reach out of `root`, or take a photo that is known by another path."""
    folders = path.parents[: len(path.parts) - len(root.parts) - 1]
    return next((folder for folder in folders if folder.is_symlink()), None)


def _refuse_other_file_systems(checked: Sequence[_Checked]) -> None:
    for each in checked:
        if each.victim_seen.st_dev != each.keeper_seen.st_dev:
            raise SameSpaceError(
                f"{each.victim.path} cannot become a hard link to {each.keeper.path}, which lies on another file"
                " system: choose symlink or quarantine; nothing was moved"
            )


def _bytes_to_free(files: Iterable[os.stat_result]) -> int:
    """Of files that will be deleted: a hard link with a name elsewhere wins nothing."""
    seen = list(files)
    names = Counter((status.st_dev, status.st_ino) for status in seen)
    sizes = {
        (status.st_dev, status.st_ino): status.st_size
        for status in seen
        if names[status.st_dev, status.st_ino] == status.st_nlink
    }
    return sum(sizes.values())


_Begun = list[tuple[_Manifest, list[_Checked]]]


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
            _discard(quarantine / name)
        raise SameSpaceError(f"{quarantine} cannot be written: {error.strerror}; nothing was moved") from error
    manifests = [_read_manifest(quarantine / name) for quarantine in quarantines]
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
    runs = tuple(manifest.folder for manifest, _ in begun if not _remove_run(manifest))
    return Applied(len(moved), _bytes_to_free(each.victim_seen for each in moved), runs, tuple(skipped))


def _remove(manifest: _Manifest, move: _Move, checked: _Checked) -> tuple[str, str]:
    """One photo into quarantine, noted: why it was left instead, and why no other should be tried; "" if neither."""
    reason = halted = ""
    try:
        _quarantine(manifest, move, checked)
    except _Left as left:
        reason = str(left)
    except OSError as error:
        reason = _sentence(error)
        if error.errno in FULL or not (manifest.folder / MANIFEST).exists():
            halted = f"not tried, because the quarantine {manifest.folder} is full or gone"
    try:
        held = os.path.lexists(manifest.folder / move.quarantined)
        _note(manifest, move, "moved" if held else "left", reason)
    except OSError as error:
        halted = f"not tried, because {manifest.folder / MANIFEST} cannot be written: {error.strerror}"
    return reason, halted


def _sentence(error: OSError | _Left) -> str:
    return f"it cannot be moved: {error.strerror}" if isinstance(error, OSError) else str(error)


def _quarantine(manifest: _Manifest, move: _Move, checked: _Checked) -> None:
    """All of it, or _Left or OSError with the photo in its place."""
    where = manifest.folder / move.quarantined
    (manifest.folder / MANIFEST).lstat()  # no photo goes where no manifest tells of it
    if folder := _link_above(move.path, move.root):
        raise _Left(LINKED.format(folder))
    if not _same(move.path.lstat(), checked.victim_seen):
        raise _Left(CHANGED)
    if os.path.lexists(where):
        raise _Left(f"{where} is taken")
    where.parent.mkdir(parents=True, exist_ok=True)
    try:
        _take(move, where, checked.victim_seen, _partial(manifest, move, where))
        _refuse_lost_keeper(checked)
        (manifest.folder / MANIFEST).lstat()
        _put_link(manifest.to, move)
    except (OSError, _Left) as error:
        why_not = _put_back(manifest, move)
        if why_not:
            raise _Left(f"{_sentence(error)}; it is in the quarantine, for it cannot be put back: {why_not}") from error
        raise


def _take(move: _Move, where: Path, seen: os.stat_result, partial: Path) -> None:
    # A plain rename, for it takes whatever has the name at that moment and nothing written there later gets lost;
    # `where` is free and stays so while the library is held.
    try:
        move.path.rename(where)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _take_by_copy(move, where, seen, partial)
    else:
        if not _same(where.lstat(), seen):
            raise _Left(CHANGED)


def _take_by_copy(move: _Move, where: Path, seen: os.stat_result, partial: Path) -> None:
    """The original goes last, when its copy is on the disk."""
    if seen.st_nlink > 1:
        raise _Left("it is a hard link, which would come back from the quarantine's other file system as a copy")
    if copy_new(move.path, partial) != move.content:
        partial.unlink()
        raise _Left(CHANGED)
    partial.rename(where)
    for folder in (where.parent, *where.parent.parents[: len(move.quarantined.parts) - 1]):
        sync_folder(folder)
    if not _same(move.path.lstat(), seen):
        where.unlink()
        raise _Left(CHANGED)
    move.path.unlink()


def _refuse_lost_keeper(checked: _Checked) -> None:
    """After the move: it shows what no look before can, two names of one file or another library's apply at work."""
    for path, seen in [(checked.keeper.path, checked.keeper_seen)] + [
        (path, checked.victim_seen) for path in checked.also_kept
    ]:
        try:
            there = _same(path.stat(), seen)
        except OSError:
            there = False
        if not there:
            raise _Left(f"the kept photo {path} went or changed with it")


def _put_link(to: str, move: _Move) -> None:
    if to == "hardlink":
        move.path.hardlink_to(move.keeper)
    elif to == "symlink":
        move.path.symlink_to(move.keeper)


# --- undo -----------------------------------------------------------------------------------------------------------


def undo(run: Path) -> Undone:
    """Every photo of this run back to its place, wherever the apply, or an undo before, was stopped.

    A photo whose place is taken stays in quarantine, and so does the run.
    """
    run = run.resolve()
    with _held_if_sound(run.parent.parent):
        manifest = _read_manifest(run)
        photos, skipped = 0, []
        for move in progress.over(manifest.moves, "undoing"):
            held = os.path.lexists(run / move.quarantined)
            reason = _put_back(manifest, move) or ("" if held else _loss(manifest, move))
            if reason:
                skipped.append(Skipped(move.path, reason))
            elif held:
                photos += 1
                with contextlib.suppress(OSError):  # lest a full disk hinder an undo, which needs no notes
                    _note(manifest, move, "restored")
        removed, others = _finish(manifest)
        return Undone(photos, removed, (*skipped, *others))


@contextmanager
def _held_if_sound(folder: Path) -> Iterator[None]:
    """A library whose database is damaged can be scanned by nobody else either, and its photos must come back."""
    with ExitStack() as stack:
        with contextlib.suppress(SameSpaceError, OSError, sqlite3.Error):
            library = Library(folder)
            stack.enter_context(_held([library]))
        yield


def _loss(manifest: _Manifest, move: _Move) -> str:
    """Why a photo that is not in the quarantine cannot be brought back; "" where it need not."""
    if os.path.lexists(move.path):
        return ""
    state = manifest.states.get(move.number)
    reasons = {"deleted": "deleted for good from the quarantine", "moved": "not in the quarantine any more"}
    return reasons.get(state or "", "")


def _put_back(manifest: _Manifest, move: _Move) -> str:
    """Undo one move, whatever step it reached; why it could not be, or ""."""
    try:
        _restore(manifest, move)
    except _Left as reason:
        return str(reason)
    except FileExistsError:
        return "its place is taken"
    except OSError as error:
        return f"it cannot be put back: {error.strerror}"
    return ""


def _restore(manifest: _Manifest, move: _Move) -> None:
    where = manifest.folder / move.quarantined
    if not os.path.lexists(where):
        return
    if not move.root.is_dir():
        # Not made anew: the drive that it was on may just not be there.
        raise _Left(f"the folder {move.root} is gone: bring it back, then undo again")
    if folder := _link_above(move.path, move.root):
        raise _Left(LINKED.format(folder))
    partial = _partial(manifest, move, move.path)
    partial.unlink(missing_ok=True)
    if os.path.lexists(move.path):
        if _is_back(manifest, move, where):
            where.unlink()
            return
        if not _is_our_link(manifest, move):
            raise _Left("its place is taken")
        move.path.unlink()
    move.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        move_new(where, move.path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _restore_by_copy(move, where, partial)


def _restore_by_copy(move: _Move, where: Path, partial: Path) -> None:
    copy_new(where, partial)
    try:
        # From the manifest: the quarantine's file system may keep dates and permissions less exactly.
        partial.chmod(move.mode)
        os.utime(partial, ns=(where.stat().st_atime_ns, move.mtime_ns))
        move_new(partial, move.path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(move.path.parent)
    where.unlink()


def _partial(manifest: _Manifest, move: _Move, beside: Path) -> Path:
    """Where a copy grows: a name that tells an undo, killed and run again, whose it is."""
    return beside.with_name(f".samespace-{manifest.folder.name}-{move.number}.partial")


def _is_back(manifest: _Manifest, move: _Move, where: Path) -> bool:
    """Whether the photo is in its place as well as in quarantine, as a kill between two steps leaves it."""
    status = move.path.lstat()
    if os.path.samestat(status, where.lstat()):
        return True
    if not stat.S_ISREG(status.st_mode) or _is_our_link(manifest, move):
        return False
    looks = (status.st_size, status.st_mtime_ns) == (move.size, move.mtime_ns)
    return looks and content_hash(move.path) == move.content == content_hash(where)


def _is_our_link(manifest: _Manifest, move: _Move) -> bool:
    """The link that the apply left, still leading to the keeper: removing it loses no bytes."""
    if manifest.to == "symlink":
        return move.path.is_symlink() and move.path.readlink() == move.keeper
    try:
        return manifest.to == "hardlink" and os.path.samestat(move.path.lstat(), move.keeper.lstat())
    except OSError:
        return False


# --- the manifest ---------------------------------------------------------------------------------------------------


def _read_manifest(folder: Path) -> _Manifest:
    """A folder without one is a run killed before it began, and holds nothing."""
    try:
        lines = (folder / MANIFEST).read_bytes().split(b"\n")
    except FileNotFoundError:
        ours = folder.parent.name == QUARANTINE and (folder.parent.parent / DATABASE).is_file()
        if not (ours and folder.is_dir()):
            raise SameSpaceError(f"no run at {folder}: name a folder in a library's {QUARANTINE}") from None
        return _Manifest(folder, _changed(folder), WAYS[0], (), {}, 0)
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
    states = {record["move"]: str(record["state"]) for record in records if "state" in record and _numbered(record)}
    return _Manifest(folder, made, header["to"], moves, states, intended - len(moves))


def _numbered(record: dict[str, Any]) -> bool:
    return isinstance(record.get("move"), int)


def _changed(folder: Path) -> datetime:
    return datetime.fromtimestamp(folder.stat().st_mtime, timezone.utc)


def _parsed(line: bytes) -> dict[str, Any]:
    """Nothing of a torn line."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _move_from_json(record: dict[str, Any]) -> Iterator[_Move]:
    with contextlib.suppress(SameSpaceError):
        quarantined = Path(get(record, "quarantined", str))
        move = _Move(
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


def _note(manifest: _Manifest, move: _Move, state: str, why: str = "") -> None:
    """Append what became of a move. Its line end comes first, so that a torn line before it spoils nothing."""
    record = {"move": move.number, "state": state} | ({"why": why} if why else {})
    descriptor = os.open(manifest.folder / MANIFEST, os.O_WRONLY | os.O_APPEND)
    try:
        write_all(descriptor, b"\n" + json.dumps(record).encode())
    finally:
        os.close(descriptor)


def _finish(manifest: _Manifest) -> tuple[bool, list[Skipped]]:
    """Take away a run that holds no photo any more: whether it is gone, and what of it is nobody's."""
    removed, problems = _remove_run(manifest), []
    if manifest.broken:
        problems.append(Skipped(manifest.folder / MANIFEST, f"{manifest.broken} of its moves cannot be read any more"))
    if not removed and not _held_photos(manifest):
        problems.append(Skipped(manifest.folder, "it holds other files than the photos moved there, which are left"))
    return removed, problems


def _remove_run(manifest: _Manifest) -> bool:
    """Take the run's folder away if no file is left in it, the manifest last; whether it is gone."""
    run = manifest.folder
    if not run.is_dir():
        return True
    try:
        for move in manifest.moves:
            _partial(manifest, move, run / move.quarantined).unlink(missing_ok=True)
        for folder, _, _ in os.walk(run, topdown=False):
            if Path(folder) != run:
                Path(folder).rmdir()
        if {path.name for path in run.iterdir()} - {MANIFEST, f".{MANIFEST}.partial"}:
            return False
    except OSError:
        return False
    return _discard(run)


def _discard(run: Path) -> bool:
    """A run without photos."""
    try:
        (run / f".{MANIFEST}.partial").unlink(missing_ok=True)
        (run / MANIFEST).unlink(missing_ok=True)
        run.rmdir()
    except OSError:
        return False
    return True


# --- the quarantine -------------------------------------------------------------------------------------------------


def runs(library: Path) -> list[Run]:
    """Every run in the quarantine of the library at this folder, newest first."""
    quarantine = library / QUARANTINE
    try:
        folders = [path for path in quarantine.iterdir() if path.is_dir() and not path.is_symlink()]
    except FileNotFoundError:
        if not (library / DATABASE).is_file():
            raise SameSpaceError(f"no library at {library}: give the .samespace of a scanned folder") from None
        return []
    except OSError as error:
        raise SameSpaceError(f"{quarantine} cannot be read: {error.strerror}") from error
    return sorted(map(_describe, folders), key=lambda run: (run.made, run.folder), reverse=True)


def _describe(folder: Path) -> Run:
    try:
        manifest = _read_manifest(folder)
    except SameSpaceError:
        return Run(folder, _changed(folder), 0, 0, "unreadable")
    held = _held_photos(manifest)
    return Run(folder, manifest.made, len(held), _bytes_to_free(held.values()), _state(manifest, len(held)))


def _held_photos(manifest: _Manifest) -> dict[_Move, os.stat_result]:
    held = {}
    for move in manifest.moves:
        with contextlib.suppress(OSError):
            held[move] = (manifest.folder / move.quarantined).lstat()
    return held


def _state(manifest: _Manifest, held: int) -> str:
    noted = set(manifest.states.values())
    if not held:
        return "empty"
    if "deleted" in noted:
        return "emptied in part"
    if "restored" in noted:
        return "undone in part"
    return "complete" if len(manifest.states) == len(manifest.moves) else "interrupted"


def runs_older_than(library: Path, age: timedelta) -> list[Run]:
    """What emptying the quarantine would delete: to be shown before `delete_runs` is asked for it."""
    now = datetime.now(timezone.utc)
    return [run for run in runs(library) if now - run.made >= age]


def delete_runs(old: Iterable[Run]) -> Deleted:
    """Delete for good what these runs still hold. Killed half-way, the rest can be undone or deleted."""
    photos = freed = 0
    skipped: list[Skipped] = []
    for run in old:
        with _held_if_sound(run.folder.parent.parent):
            try:
                manifest = _read_manifest(run.folder)
            except SameSpaceError as error:
                skipped.append(Skipped(run.folder, str(error)))
                continue
            for move in progress.over(_held_photos(manifest), "deleting"):
                won = _delete(manifest, move)
                if isinstance(won, Skipped):
                    skipped.append(won)
                else:
                    photos, freed = photos + 1, freed + won
            skipped += _finish(manifest)[1]
    return Deleted(photos, freed, tuple(skipped))


def _delete(manifest: _Manifest, move: _Move) -> int | Skipped:
    """The bytes won."""
    where = manifest.folder / move.quarantined
    with contextlib.suppress(OSError):  # emptying is what a full disk needs
        # Noted before: once the photo is gone no later look can tell why.
        _note(manifest, move, "deleted")
    try:
        status = where.lstat()
        where.unlink()
    except OSError as error:
        return Skipped(where, f"it cannot be deleted: {error.strerror}")
    return status.st_size if status.st_nlink == 1 else 0
