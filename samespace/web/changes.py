"""Notice what others do to the library that is served, at a terminal or in another window, and tell pages of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import anyio
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse

from samespace.base.errors import SameSpaceError
from samespace.base.find import DATABASE
from samespace.duplicates.manifest import MANIFEST, QUARANTINE
from samespace.library.lock import Lock
from samespace.web.address import Address
from samespace.web.schema import Answer
from samespace.web.state import LiveLibrary
from samespace.words import stored_captions

GLANCE, HEARTBEAT = 1.0, 15.0  # seconds from one look to the next, and between signs of life
PATIENCE = 60.0  # seconds that a change waits for whoever holds the library: a scan commits every second


class Change(Answer):
    """Say that the library has changed."""

    number: int = Field(description="higher with every change")


class _Seen(NamedTuple):
    """Tell whether somebody has written to a library. Opening its files would let go of SQLite's locks on them."""

    database: tuple[int, ...]
    captions: tuple[int, ...]
    runs: frozenset[tuple[str, tuple[int, ...]]]  # in quarantine, each with its manifest


class Changes:
    """Counts the changes of the library since the server's start, whoever made them; any thread may look."""

    def __init__(self, live: LiveLibrary, clock: Callable[[], float] = time.monotonic) -> None:
        self._live, self._clock, self._looking = live, clock, threading.Lock()
        self._seen, self._looked = _seen(live.folder), clock()
        self._held_since: float | None = None
        self.number = int(time.time())  # not one that a page from before a restart has

    def look(self) -> int:
        """Return the number of the last change, after a look at the library unless there was one a moment ago."""
        if self._clock() - self._looked >= GLANCE and self._looking.acquire(blocking=False):
            try:
                with suppress(SameSpaceError, OSError):  # it is away: pages that need it say so
                    self._catch_up()
                self._looked = self._clock()
            finally:
                self._looking.release()
        return self.number

    def _catch_up(self) -> None:
        now, before = _seen(self._live.folder), self._seen
        if now == before or not now.database or self._is_held():
            return
        self._live.catch_up(moved=now.runs != before.runs)
        self._seen = now
        self.number += 1

    def _is_held(self) -> bool:
        """Return True while a scan or a cleanup is at work, for a minute at most: then what it did so far counts."""
        if not Lock(self._live.folder).is_signed:
            self._held_since = None
            return False
        if self._held_since is None:
            self._held_since = self._clock()
        if self._clock() - self._held_since < PATIENCE:
            return True
        self._held_since = None
        return False


def _seen(folder: Path) -> _Seen:
    runs = []
    with suppress(OSError):
        runs = os.listdir(folder / QUARANTINE)  # noqa: PTH208 - quicker
    stamps = frozenset((run, _stamp(folder / QUARANTINE / run / MANIFEST)) for run in runs)
    return _Seen(_stamp(folder / DATABASE), _stamp(folder / stored_captions.FILE), stamps)


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        status = file.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _events(request: Request) -> StreamingResponse:
    """Tell the number of the library's last change as server-sent events, now and whenever there is another."""
    return StreamingResponse(_events_of(request.app.state.changes), media_type="text/event-stream")


async def _events_of(changes: Changes) -> AsyncIterator[str]:
    last, at = None, time.monotonic()
    while True:
        number = await run_in_threadpool(changes.look)
        if number != last:
            yield f"data: {Change(number=number).model_dump_json()}\n\n"
            last, at = number, time.monotonic()
        elif time.monotonic() - at > HEARTBEAT:
            yield ": still there\n\n"
            at = time.monotonic()
        await anyio.sleep(GLANCE)


ROUTES = [Address("GET", "/api/events", _events, {200: Change}, media_type="text/event-stream")]
