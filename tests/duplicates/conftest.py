"""What the tests of cleaning share: a folder with everything in it, full disks, and processes that are killed."""

from __future__ import annotations

import errno
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from samespace.base.files import content_hash
from samespace.duplicates.obstacles import TRIAL_LINK
from samespace.duplicates.plan import Plan, PlannedGroup, PlannedPhoto
from samespace.duplicates.quarantine import delete_runs, runs
from samespace.duplicates.undo import undo
from samespace.library.library import FOLDER, Library
from tests.killing import Children

NOON = 1_700_000_000_000_000_123  # ns: no file system that rounds to seconds keeps it by chance
MEMORY = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None  # where waiting for the disk takes no time

InChild = Callable[..., bool]


def write(path: Path, content: bytes, mtime_ns: int = NOON, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def planned(path: Path, library: Library, root: Path, **changes: Any) -> PlannedPhoto:
    status = path.lstat()
    photo = PlannedPhoto(path, root, library.id, status.st_size, status.st_mtime_ns, content_hash(path), "why", 0.95)
    return photo._replace(**changes)


def make_plan(library: Library, root: Path, *groups: tuple[Sequence[Path], Sequence[Path]]) -> Plan:
    return Plan(
        "2026-11-20T15:31:02+00:00",
        "near",
        0.9,
        "keeper",
        {library.id: library.folder},
        tuple(
            PlannedGroup(*(tuple(planned(path, library, root) for path in paths) for paths in group), weakest=0.9)
            for group in groups
        ),
    )


def snapshot(root: Path) -> dict[str, Any]:
    """Every path outside libraries: what it is, its bytes, date and permissions, and what is linked with what.

    But for a trial link, which a kill may leave: the next trial removes it.
    """
    found: dict[str, Any] = {}
    names: dict[tuple[int, int], str] = {}
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(set(subfolders) - {FOLDER})
        for path in (Path(folder, name) for name in sorted({*subfolders, *files} - {TRIAL_LINK})):
            status, name = path.lstat(), str(path.relative_to(root))
            first = names.setdefault((status.st_dev, status.st_ino), name)
            if path.is_symlink():
                found[name] = ("link", path.readlink())
            elif path.is_dir():
                found[name] = ("folder", status.st_mode)
            else:
                found[name] = (path.read_bytes(), status.st_mtime_ns, status.st_mode, first)
    return found


def undo_all(library_folder: Path) -> None:
    for run in runs(library_folder):
        undo(run.folder)


def delete_all(library_folder: Path) -> None:
    delete_runs(runs(library_folder))


class Folder:
    """Photos with everything that has ever made a cleanup lose one, their library, and a plan that touches it all."""

    def __init__(self, root: Path, library_folder: Path | None = None) -> None:
        self.root = root
        self.a = write(root / "a" / "one.jpg", b"the large one", NOON, 0o640)
        self.b = write(root / "b" / "one.jpg", b"a small one", NOON + 5, 0o600)
        self.copy = write(root / "c" / "deep" / "one.jpg", b"the large one", NOON, 0o640)  # all like its keeper
        self.odd = write(root / "c" / os.fsdecode(b"caf\xe9 \n.jpg"), b"odd name", NOON - 7)
        self.two = write(root / "two.jpg", b"two")
        self.linked = root / "b" / "two too.jpg"
        os.link(self.two, self.linked)
        (root / "b" / "pointer").symlink_to(self.two)
        self.library = Library(library_folder or root / FOLDER, create=True)
        self.library.add_root(root)
        self.plan = make_plan(
            self.library,
            root,
            ([self.a], [self.b, self.copy, self.odd]),
            ([self.two], [self.linked]),
        )
        self.start = snapshot(root)

    def back(self) -> bool:
        return snapshot(self.root) == self.start


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "photos")


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder for loops of hundreds of runs."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)


@pytest.fixture
def quick(in_memory: Path) -> Folder:
    return Folder(in_memory / "photos")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than `tmp_path`."""
    if MEMORY is None or MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system that this user can write to")
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)


@contextmanager
def disk_full_after(writes: int) -> Iterator[list[int]]:
    """So many writes succeed, the next writes half of what it should, all others nothing."""
    write_really, done = os.write, [0]

    def write_some(descriptor: int, content: bytes) -> int:
        done[0] += 1
        if done[0] <= writes:
            return write_really(descriptor, content)
        if done[0] == writes + 1 and len(content) > 1:
            return write_really(descriptor, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    os.write = write_some  # type: ignore[assignment]
    try:
        yield done
    finally:
        os.write = write_really


@pytest.fixture
def in_child(children: Children) -> InChild:
    """Does one thing in a process of its own, killed before its so-many-th step; whether it came to its end."""

    def run(work: Callable[..., object], *args: object, fatal: int = 0) -> bool:
        [code] = children((work, args), fatal=fatal)
        assert code in (0, -signal.SIGKILL)
        return code == 0

    return run


def assert_back(folder: Folder) -> None:
    undo_all(folder.library.folder)
    assert folder.back()
    assert runs(folder.library.folder) == []


class Happened(list[tuple[str, Path]]):
    """Note what was done to the disk, in order: ("sync", path), ("rename", from), ("unlink", path)."""

    def before(self, what: str, path: Path) -> set[Path]:
        """Return what was on the disk for sure when this happened for the first time."""
        return {synced for kind, synced in self[: self.index((what, path))] if kind == "sync"}


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> Happened:
    """Record it from here on."""
    happened = Happened()

    def recorded(what: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def record(path: Path, *args: Any, **named: Any) -> Any:
            happened.append((what, path))
            return work(path, *args, **named)

        return record

    for name in ("rename", "unlink"):
        monkeypatch.setattr(Path, name, recorded(name, getattr(Path, name)))
    monkeypatch.setattr(os, "fsync", lambda file: happened.append(("sync", Path(os.readlink(f"/proc/self/fd/{file}")))))  # noqa: PTH115
    return happened
