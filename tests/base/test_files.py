from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest

from samespace.base.files import content_hash, copy_new, move_new, write_all, write_whole

MTIME = 1_700_000_000_000_000_123


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"photo" * 1000)
    path.chmod(0o640)
    os.utime(path, ns=(MTIME, MTIME))
    return path


def refuse_links(*args: object, **kwargs: object) -> None:
    raise OSError(errno.EPERM, "this file system knows no hard links")


def full(descriptor: int, content: bytes) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_written_whole_over_what_was_there(tmp_path: Path, durable: bool) -> None:
    for content in (b"first", b"second"):
        write_whole(tmp_path / "file", content, durable)
        assert (tmp_path / "file").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "file", b"first")
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "file", b"second", durable=True)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"first"]


def test_a_durable_file_and_its_name_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").is_dir()))
    write_whole(tmp_path / "file", b"content", durable=True)
    assert synced == [False, True]


def test_writes_that_take_only_a_part_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:3]))
    with (tmp_path / "file").open("wb") as file:
        write_all(file.fileno(), b"ten bytes!")
    assert (tmp_path / "file").read_bytes() == b"ten bytes!"


class NoRenameat2:
    """A C library of another system."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass


@pytest.mark.parametrize("hard_links", [True, False])
@pytest.mark.parametrize("renameat2", [True, False])
def test_a_move_never_overwrites(
    photo: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool, renameat2: bool
) -> None:
    if not hard_links:
        monkeypatch.setattr(os, "link", refuse_links)
    if not renameat2:
        monkeypatch.setattr(ctypes, "CDLL", NoRenameat2)
    taken, free = photo.with_name("taken.jpg"), photo.with_name(os.fsdecode(b"caf\xe9.jpg"))
    taken.write_bytes(b"another")
    with pytest.raises(FileExistsError):
        move_new(photo, taken)
    assert (taken.read_bytes(), photo.exists()) == (b"another", True)
    move_new(photo, free)
    assert (free.read_bytes(), photo.exists()) == (b"photo" * 1000, False)
    with pytest.raises(FileNotFoundError):
        move_new(photo, photo.with_name("other.jpg"))


def test_a_copy_keeps_bytes_date_and_permissions(photo: Path) -> None:
    copy = photo.with_name("copy.jpg")
    assert copy_new(photo, copy) == content_hash(photo) == content_hash(copy)
    assert (copy.stat().st_mtime_ns, copy.stat().st_mode) == (MTIME, photo.stat().st_mode)


def test_a_copy_is_on_the_disk_before_it_is_compared(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def lose_what_is_written_later(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115
        copy.write_bytes(b"other bytes")

    copy = photo.with_name("copy.jpg")
    monkeypatch.setattr(os, "fsync", lose_what_is_written_later)
    with pytest.raises(OSError, match="reads back"):
        copy_new(photo, copy)
    assert synced == [str(copy)]


def test_a_copy_never_overwrites(photo: Path) -> None:
    taken = photo.with_name("taken.jpg")
    taken.write_bytes(b"another")
    with pytest.raises(FileExistsError):
        copy_new(photo, taken)
    assert taken.read_bytes() == b"another"


def test_a_copy_that_fails_or_reads_back_otherwise_is_taken_away(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    for faulty, complaint in ((full, "No space"), (lambda d, c: write(d, bytes(len(c))), "reads back")):
        monkeypatch.setattr(os, "write", faulty)
        with pytest.raises(OSError, match=complaint):
            copy_new(photo, photo.with_name("copy.jpg"))
        assert [path.name for path in photo.parent.iterdir()] == ["photo.jpg"]
