"""Scans that pages start, watch and stop, one at a time, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import samespace
from samespace.base.errors import SameSpaceError
from samespace.base.text import count, readable
from samespace.library.scan import refuse_own_folders
from samespace.web.render import desk_of, takes_json, told
from samespace.web.schema import TEXT, WHOLE, answer, explained, fields, listed, record, takes
from samespace.web.state import Desk

OVER = ("idle", "done", "stopped", "failed")
STATES = ("idle", "waiting", "loading", "looking", "reading", "finishing", "done", "stopped", "failed")
NAMED = 200  # photos that could not be read, by name
GLANCE, HEARTBEAT = 0.2, 15.0  # seconds between looks at how far a scan is, and between signs of life
KEPT = "What was read is kept: scan again to continue."


class Scan(NamedTuple):
    """How far the latest scan is."""

    state: str  # one of `STATES`
    words: str = ""  # the same for a person
    done: int = 0  # photos that were read
    total: int = 0  # photos to read
    unreadable: tuple[dict[str, str], ...] = ()  # name and reason, the first of them
    more: int = 0  # further ones

    @property
    def is_over(self) -> bool:
        return self.state in OVER


class Scans:
    """The latest scan of a desk's library; any thread may start one, ask for it or stop it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._stopping = False
        self.latest = Scan("idle")

    def start(self, folders: Sequence[Path]) -> Scan:
        with self._lock:
            if not self.latest.is_over:
                raise HTTPException(409, "A scan is already running: wait for it, or stop it.")
            self._stopping = False
            self._process = process = _begin(self._desk, folders)
            self.latest = Scan("loading", "Starting …")
        # A daemon, for a server that ends does not wait; the scan then ends by itself.
        threading.Thread(target=self._follow, args=(process, list(folders)), daemon=True).start()
        return self.latest

    def stop(self) -> Scan:
        """What was read stays."""
        with self._lock:
            if not self.latest.is_over and self._process:
                self._stopping = True
                self._process.terminate()
                self.latest = self.latest._replace(state="finishing", words="Stopping …")
            return self.latest

    def _follow(self, process: subprocess.Popen[str], folders: list[Path]) -> None:
        """Until the process has ended and pages show what it left."""
        last, since = Scan("failed"), time.monotonic()
        assert process.stdin and process.stdout
        with process.stdin, process.stdout:
            for line in process.stdout:
                if not line.endswith("\n"):
                    break  # it was killed while it spoke
                news = json.loads(line)
                since = since if news.get("done") else time.monotonic()
                last = _told(news, time.monotonic() - since)
                if last.is_over:
                    break
                if not self._stopping:
                    self.latest = last
            status = process.wait()
        self.latest = self._ended(last, status, folders)

    def _ended(self, last: Scan, status: int, folders: list[Path]) -> Scan:
        try:
            self._desk.refresh()
        except SameSpaceError as error:
            return Scan("failed", told(error)[1])
        if last.state == "done":
            self._desk.roots = outermost([*self._desk.roots, *folders])
            return last
        if self._stopping:
            return Scan("stopped", f"Stopped. {KEPT}")
        if last.state == "failed" and last.words:
            return last
        why = "was killed, perhaps because memory ran out" if status < 0 else "failed; the terminal says why"
        return Scan("failed", f"The scan {why}. {KEPT}")


def _begin(desk: Desk, folders: Sequence[Path]) -> subprocess.Popen[str]:
    paths = map(os.fspath, (desk.folder, *folders))
    command = [sys.executable, "-m", "samespace.web.library.scan_process", *desk.look.options, "--", *paths]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # held as long as this server lives
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(samespace.__file__).parent.parent,  # where Python looks first; not in a folder of photos
        start_new_session=True,  # Ctrl-C is for the server
    )


def _told(news: dict[str, Any], seconds: float) -> Scan:
    """What the process says, with words to it; it has been at work for so long."""
    state, unreadable = news["state"], news.get("unreadable", [])
    if state == "reading":
        done, total = news["done"], news["total"]
        return Scan(state, progress_words(done, total, seconds), done, total)
    words = {
        "waiting": "Waiting for {whom}.",
        "loading": "Loading {what} …",
        "looking": "Looking through the folders …",
        "finishing": "Almost done …",
        "failed": "{sentence}",
        "done": "",
    }[state].format(**news)
    if state == "done":
        words = _summary(news)
    return Scan(state, words, unreadable=tuple(unreadable[:NAMED]), more=len(unreadable[NAMED:]))


def progress_words(done: int, total: int, seconds: float) -> str:
    """1,234 of 8,000 photos · 112 a second · about a minute left."""
    if not total:
        return "Nothing new."
    words = [f"{done:,} of {count(total, 'photo')}"]
    if done and seconds:
        words += [f"{done / seconds:,.0f} a second"] if done >= seconds else []
        words += [left_words((total - done) * seconds / done)] if done < total else []
    return " · ".join(words)


def left_words(seconds: float) -> str:
    """As a person says it: no more exact than it is known."""
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
    """1,702 photos · 12 new files, 3 missing files · 2 could not be read."""
    changes = {"new": "new file", "changed": "changed file", "moved": "moved file", "forgotten": "missing file"}
    said = [count(news[change], name) for change, name in changes.items() if news[change]]
    words = [count(news["photos"], "photo"), ", ".join(said) or "nothing has changed"]
    words += [f"{len(news['unreadable']):,} could not be read"] if news["unreadable"] else []
    return " · ".join(words)


def outermost(folders: Iterable[Path]) -> list[Path]:
    """Each once, without those that lie in others."""
    once = dict.fromkeys(folders)
    return [folder for folder in once if not any(above in once for above in folder.parents)]


# --- the addresses ----------------------------------------------------------------------------------------------------


def as_json(scan: Scan) -> dict[str, Any]:
    return {**scan._asdict(), "unreadable": list(scan.unreadable)}


def _scans(request: Request) -> Scans:
    scans: Scans = request.app.state.scans
    return scans


def _start(request: Request, sent: dict[str, Any]) -> Response:
    """Scan the folders that are shown, or others, which are shown from then on."""
    named, desk = sent.get("folders"), desk_of(request)
    desk.must_be_there()  # a scan would make another library in its place
    folders = desk.roots if named is None else _named(request, named)
    if not folders:
        raise SameSpaceError("there is no folder to scan yet: add one")
    for folder in folders:
        if not folder.is_dir():
            raise SameSpaceError(f"{readable(str(folder))} is not a folder: check its name, and that its disk is there")
    refuse_own_folders(folders)
    return JSONResponse(as_json(_scans(request).start(folders)), 202)


def _named(request: Request, named: Any) -> list[Path]:
    if not isinstance(named, list) or not named or not all(isinstance(each, str) and each.strip() for each in named):
        raise HTTPException(422, "`folders` is no list of folders.")
    if request.app.state.guard.locked:  # it would tell others what lies on this machine
        raise HTTPException(403, "Other machines can open this page, so add folders with `samespace scan` on this one.")
    paths = [Path(os.path.expanduser(each.strip())) for each in named]  # noqa: PTH111 - of nobody's home it makes none
    if relative := [path for path in paths if not path.is_absolute() or "\0" in str(path)]:
        raise SameSpaceError(f"give the full path, beginning with {os.sep} or ~, not {readable(str(relative[0]))}")
    return [Path(os.path.realpath(path)) for path in paths]


def _stop(request: Request) -> Response:
    return JSONResponse(as_json(_scans(request).stop()))


async def _events(request: Request) -> Response:
    """How far the scan is, now and whenever that changes, until it is over."""
    return StreamingResponse(_stream(_scans(request)), media_type="text/event-stream")


async def _stream(scans: Scans) -> AsyncIterator[str]:
    told, at = None, time.monotonic()
    while not (told and told.is_over):
        now = scans.latest
        if now is not told:
            yield f"data: {json.dumps(as_json(now))}\n\n"
            told, at = now, time.monotonic()
        elif time.monotonic() - at > HEARTBEAT:
            yield ": still there\n\n"
            at = time.monotonic()
        else:
            await asyncio.sleep(GLANCE)


SCAN = record(
    state={"enum": list(STATES)},
    words=explained(TEXT, "the same for a person"),
    done=explained(WHOLE, "photos that were read"),
    total=explained(WHOLE, "photos to read"),
    unreadable=listed(record(name=TEXT, reason=TEXT), f"once it is done: what could not be read, the first {NAMED}"),
    more=explained(WHOLE, "further ones that could not be read"),
)
DESCRIBED = {
    "/api/scan": {
        "post": {
            "summary": "Start a scan; there is one at a time",
            "requestBody": takes(
                required=False,
                json=fields({"folders": listed(TEXT, "whole paths; without them the folders that are shown")}),
            ),
            "responses": {"202": answer("It has begun.", SCAN)},
        },
        "delete": {
            "summary": "Stop the scan; what was read stays",
            "responses": {"200": answer("How far it was; that it has ended is told by the events.", SCAN)},
        },
    },
    "/api/scan/events": {
        "get": {
            "summary": "How far the scan is, as server-sent events, until it is over",
            "responses": {
                "200": {
                    "description": "Each event's data is a JSON object as POST /api/scan answers.",
                    "content": {"text/event-stream": {"schema": TEXT}},
                }
            },
        }
    },
}

ROUTES = [
    Route("/api/scan", takes_json(_start), methods=["POST"]),
    Route("/api/scan", _stop, methods=["DELETE"]),
    Route("/api/scan/events", _events),
]
