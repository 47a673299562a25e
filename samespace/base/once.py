"""Compute once what many processes need, and leave it on disk for the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic

from filelock import FileLock, Timeout

from samespace.base import progress
from samespace.base.errors import SameSpaceError


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
