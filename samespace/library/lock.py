"""One process at a time changes a library; the others wait, and say for whom."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from samespace.base.errors import SameSpaceError
from samespace.base.files import write_no_link


class Lock:
    """A library's lock, and the file that names its holder. Belongs to one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(str(folder / "lock"))
        self._signature = folder / "holder.json"
        self._times_held = 0

    @contextmanager
    def hold(self, wait: bool = True) -> Iterator[bool]:
        """Hold the lock; see `Library.hold`."""
        if not self._acquire(wait):
            yield False
            return
        self._times_held += 1
        try:
            if self._times_held == 1:
                self._sign()
            yield True
        finally:
            if self._times_held == 1:
                with suppress(OSError):
                    self._signature.unlink()
            self._times_held -= 1
            self._lock.release()

    def _acquire(self, wait: bool) -> bool:
        try:
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                if not wait:
                    return False
                print(f"waiting for {self.holder}", file=sys.stderr, flush=True)
                self._lock.acquire()
        except OSError as error:
            raise SameSpaceError(
                f"{self._folder} cannot be written ({error.strerror}): make it writable, or give --library PATH"
            ) from error
        return True

    def _sign(self) -> None:
        """Name this process for those who have to wait; the lock itself does not need it."""
        who = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now().strftime("%Y-%m-%d %H:%M")}
        with suppress(OSError):  # a full disk
            write_no_link(self._signature, json.dumps(who).encode())

    @property
    def is_signed(self) -> bool:
        """Return True if somebody seems to hold the lock, without trying to: even a try would be in others' way."""
        try:
            who = json.loads(self._signature.read_text())
            if who["host"] == socket.gethostname():
                os.kill(who["pid"], 0)
        except (FileNotFoundError, ProcessLookupError):  # it was killed, and left its signature
            return False
        except (OSError, ValueError, KeyError, TypeError, OverflowError):  # of another user, or half written
            return True
        return True

    @property
    def holder(self) -> str:
        """Return who holds the lock, in words: `process 12 on desk, which holds /photos/.samespace since 10:30`."""
        try:
            who = json.loads(self._signature.read_text())
            date, _, clock = who["since"].partition(" ")
            since = clock if date == datetime.now().strftime("%Y-%m-%d") else who["since"]
            return f"process {who['pid']} on {who['host']}, which holds {self._folder} since {since}"
        except (OSError, ValueError, KeyError, TypeError):  # it has not signed yet, or was killed while it did
            return f"another process, which holds {self._folder}"
