"""Scans that pages start, watch and stop, one at a time, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import StreamingResponse

import samespace
from samespace.base.errors import SameSpaceError
from samespace.base.kinds import label_words, no_photos
from samespace.base.text import count, readable
from samespace.library.scan import refuse_own_folders
from samespace.web.address import Address
from samespace.web.render import live_of, told
from samespace.web.schema import WORD, Answer, Sent
from samespace.web.state import LiveLibrary

OVER = ("idle", "done", "stopped", "failed")
State = Literal["idle", "waiting", "loading", "looking", "reading", "finishing", "done", "stopped", "failed"]
NAMED = 200  # photos that could not be read, by name
GLANCE, HEARTBEAT = 0.2, 15.0  # seconds between looks at how far a scan is, and between signs of life
KEPT = "What was read is kept: scan again to continue."


class File(Answer):
    """A file that could not be read."""

    name: str
    reason: str


class Progress(Answer):
    """How far the latest scan is."""

    state: State
    words: str = Field(default="", description="the same for a person")
    done: int = Field(default=0, description="photos that were read")
    total: int = Field(default=0, description="photos to read")
    unreadable: list[File] = Field(default=[], description=f"files that could not be read, the first {NAMED}")
    more: int = Field(default=0, description="further files that could not be read")

    @property
    def is_over(self) -> bool:
        return self.state in OVER


def begin(live: LiveLibrary, folders: Sequence[Path], options: Sequence[str]) -> subprocess.Popen[str]:
    """Return the process in which these folders are scanned, for the look that has these options."""
    paths = map(os.fspath, (live.folder, *folders))
    command = [sys.executable, "-m", "samespace.web.library.scan_process", *options, "--", *paths]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # held as long as this server lives
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(samespace.__file__).parent.parent,  # where Python looks first; not in a folder of photos
        start_new_session=True,  # Ctrl-C is for the server
    )


class Scans:
    """The latest scan of the library; any thread may start one, ask for it or stop it."""

    def __init__(
        self,
        live: LiveLibrary,
        begin: Callable[[LiveLibrary, Sequence[Path], Sequence[str]], subprocess.Popen[str]] = begin,
    ) -> None:
        """`begin` starts the process of a scan."""
        self._live, self._begin = live, begin
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._stopping = False
        self._backbone: str | None = None
        self.latest = Progress(state="idle")

    def start(self, folders: Sequence[Path], backbone: str | None = None) -> Progress:
        """Start a scan, if none is running; with a backbone, photos are compared by it from its end on."""
        with self._lock:
            if not self.latest.is_over:
                raise HTTPException(409, "A scan is already running: wait for it, or stop it.")
            self._stopping = False
            self._backbone = backbone
            options = ("--backbone", backbone) if backbone else self._live.look.options
            self._process = process = self._begin(self._live, folders, options)
            self.latest = Progress(state="loading", words="Starting …")
        # A daemon, for a server that ends does not wait; the scan then ends by itself.
        threading.Thread(target=self._follow, args=(process, list(folders)), daemon=True).start()
        return self.latest

    def stop(self) -> Progress:
        """Stop the scan, if one is running; what it has read stays."""
        with self._lock:
            if not self.latest.is_over and self._process:
                self._stopping = True
                self._process.terminate()
                self.latest = self.latest.model_copy(update={"state": "finishing", "words": "Stopping …"})
            return self.latest

    def _follow(self, process: subprocess.Popen[str], folders: list[Path]) -> None:
        """Tell how far the process is until it has ended and pages show what it left."""
        last, since = Progress(state="failed"), time.monotonic()
        assert process.stdin and process.stdout
        with process.stdin, process.stdout:
            for line in process.stdout:
                if not line.endswith("\n"):
                    break  # it was killed while it spoke
                news = json.loads(line)
                since = since if news.get("done") else time.monotonic()
                last = progress_of(news, time.monotonic() - since)
                if last.is_over:
                    break
                if not self._stopping:
                    self.latest = last
            status = process.wait()
        self.latest = self._ended(last, status, folders)

    def _ended(self, last: Progress, status: int, folders: list[Path]) -> Progress:
        try:
            is_new = last.state == "done" and self._backbone
            self._live.refresh(self._live.remembered_look() if is_new else None)
        except SameSpaceError as error:
            return Progress(state="failed", words=told(error)[1])
        if last.state == "done":
            self._live.roots = outermost([*self._live.roots, *folders])
            return last
        if self._stopping:
            photos = count(len(self._live.snapshot.photos), "photo")
            return Progress(state="stopped", words=f"Stopped with {photos} remembered: scan again for the rest.")
        if last.state == "failed" and last.words:
            return last
        why = "was killed, perhaps because memory ran out" if status < 0 else "failed; the terminal says why"
        return Progress(state="failed", words=f"The scan {why}. {KEPT}")


def progress_of(news: dict[str, Any], seconds: float) -> Progress:
    """Return what the process says, with words for a person; it has been reading for so many seconds."""
    state, unreadable = news["state"], news.get("unreadable", [])
    if state == "reading":
        done, total = news["done"], news["total"]
        return Progress(state=state, words=progress_words(done, total, seconds), done=done, total=total)
    if state == "done":
        named = [File(**file) for file in unreadable[:NAMED]]
        return Progress(state=state, words=_summary(news), unreadable=named, more=len(unreadable[NAMED:]))
    words = {
        "waiting": "Waiting for {whom}.",
        "loading": "Loading {what} …",
        "looking": "Looking through the folders …",
        "finishing": "Almost done …",
        "failed": "{sentence}",
    }[state]
    return Progress(state=state, words=words.format(**news))


def progress_words(done: int, total: int, seconds: float) -> str:
    """Say how far it is: 1,234 of 8,000 photos · 112 a second · about a minute left."""
    if not total:
        return "Nothing new."
    words = [f"{done:,} of {count(total, 'photo')}"]
    if done and seconds:
        words += [f"{done / seconds:,.0f} a second"] if done >= seconds else []
        words += [left_words((total - done) * seconds / done)] if done < total else []
    return " · ".join(words)


def left_words(seconds: float) -> str:
    """Say how long it takes, no more exactly than is known."""
    minutes = seconds / 60
    if seconds < 10:
        return "a few seconds left"
    if seconds < 50:
        return f"about {round(seconds, -1):.0f} seconds left"
    if minutes < 1.5:
        return "about a minute left"
    if minutes < 55:
        return f"about {minutes:.0f} minutes left"
    hours = max(1, round(minutes / 60))
    return "about an hour left" if hours == 1 else f"about {hours} hours left"


def _summary(news: dict[str, Any]) -> str:
    """Say what a scan found: 1,702 photos · 12 new files, 3 forgotten files · 2 could not be read."""
    changes = {"new": "new file", "changed": "changed file", "moved": "moved file", "forgotten": "forgotten file"}
    said = [count(news[change], name) for change, name in changes.items() if news[change]]
    others = news.get("not_compared", {})
    found = count(news["photos"], "photo") if news["photos"] else no_photos(others).rstrip(".")
    words = [found, ", ".join(said) or "nothing has changed"]
    words += [f"not compared: {label_words(others)}"] if news["photos"] and others else []
    words += [f"{len(news['unreadable']):,} could not be read"] if news["unreadable"] else []
    return " · ".join(words)


def outermost(folders: Iterable[Path]) -> list[Path]:
    """Return each folder once, without those that lie in others."""
    once = dict.fromkeys(folders)
    return [folder for folder in once if not any(above in once for above in folder.parents)]


# --- the addresses ----------------------------------------------------------------------------------------------------


class Folders(Sent):
    folders: list[str] | None = Field(
        None, min_length=1, description="whole paths; without them the folders that are shown"
    )
    backbone: str | None = Field(
        None, pattern=WORD, description="compare photos by the features of this backbone from now on"
    )


def _scans(request: Request) -> Scans:
    scans: Scans = request.app.state.scans
    return scans


def _start(request: Request, sent: Folders) -> Progress:
    """Start a scan of the folders that are shown, or of others, which are then shown too; one runs at a time."""
    live = live_of(request)
    live.must_be_there()  # a scan would make another library in its place
    folders = live.roots if sent.folders is None else _named(request, sent.folders)
    if not folders:
        raise SameSpaceError("there is no folder to scan yet: add one")
    for folder in folders:
        if not folder.is_dir():
            raise SameSpaceError(f"{readable(str(folder))} is not a folder: check its name, and that its disk is there")
    refuse_own_folders(folders)
    return _scans(request).start(folders, sent.backbone)


def _named(request: Request, folders: Sequence[str]) -> list[Path]:
    """Return the folders of these names; only on this machine, or others would learn what lies on it."""
    if not all(name.strip() for name in folders):
        raise HTTPException(422, "`folders` has an empty name: give the whole path of each folder.")
    if request.app.state.guard.locked:
        raise HTTPException(403, "Other machines can open this page, so add folders with `samespace scan` on this one.")
    paths = [Path(os.path.expanduser(name.strip())) for name in folders]  # noqa: PTH111 - a Path fails without a home
    for path in paths:
        if not path.is_absolute() or "\0" in str(path):
            raise SameSpaceError(f"give the full path, beginning with {os.sep} or ~, not {readable(str(path))}")
    return [Path(os.path.realpath(path)) for path in paths]


def _stop(request: Request) -> Progress:
    """Stop the scan; what it has read stays."""
    return _scans(request).stop()


def _events(request: Request) -> StreamingResponse:
    """Tell how far the scan is as server-sent events, now and whenever that changes, until it is over."""
    return StreamingResponse(events(_scans(request)), media_type="text/event-stream")


async def events(scans: Scans) -> AsyncIterator[str]:
    """Yield the latest scan as server-sent events until it is over."""
    last, at = None, time.monotonic()
    while not (last and last.is_over):
        now = scans.latest
        if now is not last:
            yield f"data: {now.model_dump_json()}\n\n"
            last, at = now, time.monotonic()
        elif time.monotonic() - at > HEARTBEAT:
            yield ": still there\n\n"
            at = time.monotonic()
        else:
            await asyncio.sleep(GLANCE)


ROUTES = [
    Address("POST", "/api/scan", _start, {202: Progress}, takes=Folders),
    Address("DELETE", "/api/scan", _stop, {200: Progress}),
    Address("GET", "/api/scan/events", _events, {200: Progress}, media_type="text/event-stream"),
]
