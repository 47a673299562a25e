"""Compute once what many processes need, and leave it on disk for the others: the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from filelock import FileLock, Timeout

from samespace.base import progress
from samespace.base.errors import SameSpaceError


def default_cache() -> Path:
    """Return the folder in which what takes long is kept for all of a person's runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "samespace")


def fingerprint(paths: Iterable[Path]) -> str:
    """Return a fingerprint of the files' bytes and their order; their names and folders do not matter."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


@contextmanager
def written_whole(folder: Path, what: str = "a feature bank") -> Iterator[Path]:
    """Give a folder to write into, and rename it in the end: one of the name `folder` is always whole."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        yield partial
        partial.replace(folder)
    except OSError as error:
        raise SameSpaceError(
            f"cannot keep {what} in {folder.parent} ({error.strerror}): make room there, or make it writable"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def compute_once(path: Path, what: str, photos: int, compute: Callable[[], None], tell: Callable[[str], None]) -> None:
    """Call `compute` for the file at `path`, in one process at a time, unless it is there; `tell` what was done.

    `compute` must make the file appear whole or not at all.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f"{path.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tell(f"{what}: waiting for another process that computes the same")
            lock.acquire()
    except OSError as error:
        raise SameSpaceError(
            f"cannot keep {what} in {path.parent} ({error.strerror}): make room there, or change its permissions"
        ) from error
    try:
        start, how = monotonic(), "found"
        if not path.exists():
            compute()
            how = f"computed in {progress.duration(monotonic() - start)}, kept"
    finally:
        lock.release()
    tell(f"{what} of {photos:,} photos: {how} in {path}")
