"""What the tests of a library share: a folder of small photos, an extractor, and processes to kill."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samespace.base import photos
from samespace.base.find import find
from samespace.base.photos import UnreadablePhoto, glimpse
from samespace.library import read_photos
from samespace.library.library import FOLDER, Library
from samespace.library.read_photos import Batch, read_batch
from samespace.library.scan import Scan


class Mean:
    """Two fields of different width, exact for a photo whatever batch it comes in."""

    fingerprint = "mean-1"
    fields = {"mean": ((3,), "float32"), "corner": ((2, 2), "uint8")}  # noqa: RUF012
    batch = 2

    def __init__(self, fingerprint: str = "mean-1") -> None:
        self.fingerprint = fingerprint
        self.seen = 0

    def extract(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        assert pixels.shape[1:] == (256, 256, 3)
        assert 0 < len(pixels) <= self.batch
        self.seen += len(pixels)
        means = pixels.astype(np.int64).sum((1, 2)).astype(np.float32)
        return {"mean": means, "corner": np.ascontiguousarray(pixels[:, :2, :2, 0])}


def draw(path: Path, seed: int, **options: Any) -> Path:
    """A small photo of coarse random blocks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(colours).resize((60, 40)).save(path, **options)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five photos in three folders, no two alike."""
    for seed, name in enumerate(("a.jpg", "b/1.png", "b/2.jpg", "b/c/deep.jpg", "z.webp")):
        draw(tmp_path / "photos" / name, seed)
    return tmp_path / "photos"


def draw_mixture(root: Path) -> Path:
    """21 files, in the worst order: copies within a batch and far apart, no photos, a name that is not UTF-8."""
    for seed in range(15):
        draw(root / f"{'abc'[seed % 3]}/{seed}.png", seed)
    for copy in ("a/0 again.png", "a/0 once more.png", "z.png"):
        shutil.copyfile(root / "a/0.png", root / copy)
    (root / "b/bad.jpg").write_bytes(b"\xff\xd8\xff no photo")
    (root / "b/empty.jpg").touch()
    shutil.copyfile(root / "b/1.png", os.fsdecode(os.fsencode(root) + b"/\xff.png"))
    (root / ".hidden.png").touch()
    (root / "notes.txt").touch()
    return root


def paths_in(root: Path, size: int) -> list[list[bytes]]:
    """Return the photos below a folder in the order of their paths, so many at a time."""
    paths = sorted(relative(root))
    return [paths[at : at + size] for at in range(0, len(paths), size)]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the name of every file that is decoded from here on."""
    names: list[str] = []

    def counted(source: Any, size: int) -> photos.Glimpse:
        names.append(Path(os.fsdecode(source.name)).name)
        return glimpse(source, size)

    monkeypatch.setattr(read_photos, "glimpse", counted)
    return names


def opened(root: Path) -> Library:
    return Library(root / FOLDER, create=True)


def names(library: Library) -> list[str]:
    return [str(photo.path.relative_to(photo.root)) for photo in library.photos()]


def reasons(photos: list[UnreadablePhoto]) -> dict[str, str]:
    return {photo.path.name: photo.reason for photo in photos}


def counts(scan: Scan) -> dict[str, int]:
    """Return the counts of a scan that are not 0."""
    return {name: count for name, count in scan._asdict().items() if name not in ("unreadable", "seconds") and count}


def state(library: Library) -> list[Any]:
    """Return all that a person or a later step can see of a library, but not its id."""
    known = library.photos()
    features = library.features(Mean(), known)
    fields = [[row.tobytes() for row in features.take(name)] for name in Mean.fields]
    anonymous = [photo._replace(library="") for photo in known]
    return [*zip(anonymous, *fields, strict=True), *map(str, library.unreadable())]


def in_another_process(work: Callable[[], object]) -> int:
    """Work in a copy of this process, and return its id; its exit status is 0, or 3 if the work raises."""
    child = os.fork()
    if child == 0:
        gc.disable()  # what other tests left to be collected may end threads that a fork does not have
        status = 3
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Steps:
    """Count what a scan does to the disk, and kill its process at one of these steps."""

    def __init__(self, last: int) -> None:
        self.last, self.done, self.lock = last, 0, threading.Lock()

    def step(self, *_: object) -> None:
        with self.lock:
            self.done += 1
            if self.done == self.last:
                os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Count from now on, for good: call it in a process that ends."""
        connect, pwrite = sqlite3.connect, os.pwrite

        def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*arguments, **options)
            connection.set_trace_callback(changed)
            return connection

        def changed(statement: str) -> None:
            if not statement.startswith("SELECT"):  # the disk is as it was at the step before
                self.step()

        def half_then_all(file: int, content: bytes, offset: int) -> int:
            pwrite(file, content[: len(content) // 2], offset)
            self.step()
            return pwrite(file, content, offset)

        sqlite3.connect, os.pwrite, os.fsync = connected, half_then_all, self.step  # type: ignore[assignment]


def relative(root: Path) -> list[bytes]:
    return [os.fsencode(path.relative_to(root)) for path in find(root)]


@pytest.fixture
def batch(root: Path) -> Batch:
    (root / "bad.jpg").write_text("a shopping list")
    shutil.copyfile(root / "a.jpg", root / os.fsdecode(b"\xff.jpg"))
    return read_batch(root, [*relative(root), b"gone.jpg"], [Mean()])
