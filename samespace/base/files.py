"""Files that appear whole or not at all, and moves that never overwrite."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from samespace.base.errors import SameSpaceError

# os.link raises these if the file system has no hard links, or the kernel lets nobody link others' files.
NO_HARD_LINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}

NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # os.open then raises OSError for a link


def write_whole(path: Path, content: bytes, durable: bool = False) -> None:
    """Write a file whole or not at all: beside `path`, then renamed, so that no reader finds a part of it.

    `durable` also waits for the disk, so that the file outlives a power cut.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        if partial.is_symlink():  # not ours
            partial.unlink()
        write_no_link(partial, content, durable)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    if durable:
        sync_folder(path.parent)


def save_whole(path: Path, content: bytes, durable: bool = True) -> None:
    """Make the folders that lead there, then `write_whole`; raise SameSpaceError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content, durable)
    except OSError as error:
        raise SameSpaceError(f"cannot write {path} ({error.strerror}): make room, or change its permissions") from error


def write_no_link(path: Path, content: bytes, durable: bool = False) -> None:
    """Write a file, over what was there, but not where a link leads to; see `write_whole` for `durable`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0) | NO_LINK
    descriptor = os.open(path, flags, 0o666)
    try:
        write_all(descriptor, content)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of it: one os.write may take less than it was given."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in `folder`: fsync of a file keeps its bytes, not its name."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def reached(top: Path, below: Path) -> Iterator[tuple[str, int | None]]:
    """Yield the name of a file below `top`, and the `dir_fd` of its folder; raise OSError if a link leads there.

    Folders are opened one in the other, so that none can become a link meanwhile. Systems without `dir_fd` look first.
    """
    if os.open not in os.supports_dir_fd or os.unlink not in os.supports_dir_fd:
        for folder in (top / below).parents[: len(below.parts)]:
            if folder.is_symlink():
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))
        yield str(top / below), None
        return
    flags = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | NO_LINK
    descriptor = os.open(top, flags)
    try:
        for part in below.parts[:-1]:
            outer = descriptor
            descriptor = os.open(part, flags, dir_fd=outer)
            os.close(outer)
        yield below.name, descriptor
    finally:
        os.close(descriptor)


def content_hash(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, in hex."""
    with path.open("rb") as file:
        return hash_of(file)


def hash_of(file: BinaryIO) -> str:
    """Return the `content_hash` of an open file, from its current position."""
    digest = hashlib.sha256()
    chunk = memoryview(bytearray(1 << 18))
    while count := file.readinto(chunk):  # type: ignore[attr-defined]
        digest.update(chunk[:count])
    return digest.hexdigest()


def move_new(source: Path, target: Path) -> None:
    """Rename within a file system, but raise FileExistsError where os.rename would silently overwrite `target`.

    A hard link is made only if its name is free, in one step, on every system. After a kill before the unlink the file
    has both names, and nothing is lost.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        _rename_new(source, target)
    else:
        source.unlink()


def _rename_new(source: Path, target: Path) -> None:
    """Do `move_new` without hard links: Linux has a call for it; elsewhere the name is checked first."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if rename is not None:
        here, no_replace = -100, 1  # AT_FDCWD, RENAME_NOREPLACE
        if rename(here, os.fsencode(source), here, os.fsencode(target), no_replace) == 0:
            return
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOSYS):  # these say that the file system or the kernel lacks the call
            raise OSError(number, os.strerror(number), str(source), None, str(target))
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    source.rename(target)


def copy_new(source: Path, target: Path) -> str:
    """Copy bytes, times, permissions and, if allowed, the owner to a new file, and return the bytes' SHA-256.

    The copy is on the disk when this returns, and was read back. A failure leaves no target, or the one that was there.
    """
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        try:
            content = _copy_bytes(source, descriptor)
            _copy_owner(source, target)
            shutil.copystat(source, target)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if content_hash(target) != content:
            raise OSError(errno.EIO, "the copy reads back other bytes", str(target))
    except OSError:
        target.unlink(missing_ok=True)
        raise
    return content


def _copy_bytes(source: Path, descriptor: int) -> str:
    digest = hashlib.sha256()
    with source.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            write_all(descriptor, block)
    return digest.hexdigest()


def _copy_owner(source: Path, target: Path) -> None:
    if hasattr(os, "chown"):
        status = source.stat()
        with contextlib.suppress(OSError):  # only root may give files away, and not every file system has owners
            os.chown(target, status.st_uid, status.st_gid)
