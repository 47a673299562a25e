"""Scans that pages start: watched, stopped, killed and refused, with real processes on real photos."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from samespace.base.errors import SameSpaceError
from samespace.library.library import FOLDER, Library
from samespace.web.app import make_app
from samespace.web.guard import Guard
from samespace.web.library import scan_job, scan_process
from samespace.web.library.scan_job import Progress, Scans, left_words, outermost, progress_of, progress_words
from samespace.web.state import LiveLibrary
from tests.conftest import BACKBONE, Served

Token = dict[str, str]


def told(scans: Scans) -> list[Progress]:
    """All that a page is told until the scan is over."""

    async def listen() -> list[str]:
        return [line async for line in scan_job.events(scans) if line.startswith("data: ")]

    return [Progress(**json.loads(line.removeprefix("data: "))) for line in asyncio.run(listen())]


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]


def draw(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", (16, 16), (number % 256, number // 256, 99)).save(folder / f"{number:04}.png")


# From beginning to end


def test_a_scan_shows_what_is_new_and_names_what_is_broken(
    client: TestClient, live: LiveLibrary, token: Token, album: Path
) -> None:
    draw(album / "new", 3)
    (album / "new" / "broken.jpg").write_bytes(b"nothing")
    before = len(live.snapshot.photos)
    begun = client.post("/api/scan", headers=token)
    assert (begun.status_code, begun.json()["state"]) == (202, "loading")
    last = events(client.get("/api/scan/events"))[-1]
    assert (last["state"], last["words"]) == ("done", "29 photos · 4 new files · 2 could not be read")
    assert [Path(file["name"]).name for file in last["unreadable"]] == ["damaged.jpg", "broken.jpg"]
    assert len(live.snapshot.photos) == before + 3
    assert live.snapshot.space and len(live.snapshot.space.photos) == before + 3


def test_it_says_what_it_did_not_compare() -> None:
    news = {"state": "done", "photos": 1000, **dict.fromkeys(("new", "changed", "moved", "forgotten"), 0)}
    news |= {"unreadable": [], "not_compared": {"CR2": 8, "MOV": 12}}
    assert progress_of(news, 0).words == "1,000 photos · nothing has changed · not compared: 8 CR2, 12 MOV"
    words = progress_of({**news, "photos": 0}, 0).words
    assert words.startswith("No photos here (looked for jpg, ")
    assert words.endswith("heif). Not looked at: 8 CR2, 12 MOV · nothing has changed")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Progress]:
    """All that a scan's process has said, also what no page had the time to ask for."""
    said: list[Progress] = []

    def noted(news: dict[str, Any], seconds: float) -> Progress:
        said.append(real(news, seconds))
        return said[-1]

    real = scan_job.progress_of
    monkeypatch.setattr(scan_job, "progress_of", noted)
    return said


def test_it_tells_how_far_it_is(live: LiveLibrary, album: Path, seen: list[Progress]) -> None:
    draw(album / "new", 300)
    scans = Scans(live)
    scans.start([album])
    assert told(scans)[-1].state == "done"
    reading = [("reading", done, 300) for done in range(300)]
    expected = [("looking", 0, 0), *reading, ("finishing", 0, 0), ("done", 0, 0)]
    assert [(scan.state, scan.done, scan.total) for scan in seen] == expected


def test_a_network_looks_at_the_photos_for_the_first_time_and_then_again(
    live: LiveLibrary, seen: list[Progress]
) -> None:
    begun: list[list[str]] = []

    def begin(live: LiveLibrary, folders: Any, options: Any) -> subprocess.Popen[str]:
        begun.append([*options])
        if len(begun) == 1:
            return scan_job.begin(live, folders, [*options, "--weights", "none"])
        return process_that_prints({"state": "done", **NOTHING_NEW})

    assert (live.look.meaning, live.snapshot.number) == ("same shot", 1)
    scans = Scans(live, begin)
    scans.start(live.roots, BACKBONE)
    assert told(scans)[-1].state == "done"
    assert [*dict.fromkeys(scan.state for scan in seen)] == ["loading", "looking", "reading", "finishing", "done"]
    assert seen[0].words == f"Loading {BACKBONE} …"
    assert {scan.state for scan in seen} <= {*get_args(scan_job.State)}
    assert (live.look.name, live.look.meaning) == (BACKBONE, "cosine")
    assert live.snapshot.space and live.snapshot.space.look is live.look and len(live.snapshot.space.photos) == 26
    scans.start(live.roots)
    assert told(scans)[-1].state == "done"
    assert begun == [["--backbone", BACKBONE], ["--backbone", BACKBONE, "--weights", "none"]]


NOTHING_NEW = {"photos": 3, "new": 0, "changed": 0, "moved": 0, "forgotten": 0, "unreadable": []}


def process_that_prints(news: dict[str, Any], then: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", f"import os, sys; print({json.dumps(news)!r}, flush=True); {then}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_backbone_is_a_word(client: TestClient, token: Token) -> None:
    answer = client.post("/api/scan", json={"backbone": "--"}, headers=token)
    assert answer.status_code == 422 and "`backbone`" in answer.json()["error"]


def test_where_no_scan_runs_that_is_told_and_the_stream_ends(client: TestClient, token: Token) -> None:
    assert [event["state"] for event in events(client.get("/api/scan/events"))] == ["idle"]
    assert client.delete("/api/scan", headers=token).json()["state"] == "idle"


def test_a_scan_needs_the_token(client: TestClient, live: LiveLibrary) -> None:
    assert client.post("/api/scan").status_code == 403
    assert client.delete("/api/scan").status_code == 403
    assert live.snapshot.number == 1


# While something else holds the library, a scan waits


@pytest.fixture
def held(album: Path) -> Iterator[Callable[[], None]]:
    """The library, held as by a scan in a terminal until this is called."""
    begun, over = threading.Event(), threading.Event()

    def hold() -> None:
        library = Library(album / FOLDER)
        with library.hold():
            begun.set()
            over.wait(60)
        library.close()

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait(60)

    def let_go() -> None:
        over.set()
        thread.join()

    yield let_go
    let_go()


def until(served: Served, state: str) -> str:
    """What a client that joins now is told when it comes to this."""
    with httpx.stream("GET", f"{served.url}/api/scan/events", timeout=60) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: ") and json.loads(line[6:])["state"] == state:
                return str(json.loads(line[6:])["words"])
    raise AssertionError(f"never {state}")


def test_it_says_whom_it_waits_for_and_goes_on(
    served: Served, held: Callable[[], None], live: LiveLibrary, album: Path
) -> None:
    draw(album / "new", 2)
    httpx.post(f"{served.url}/api/scan", headers=served.token, timeout=60)
    assert until(served, "waiting").startswith(f"Waiting for process {os.getpid()} on ")
    held()
    assert until(served, "done").startswith("28 photos")


def test_a_second_scan_is_refused(served: Served, held: Callable[[], None]) -> None:
    answers = [httpx.post(f"{served.url}/api/scan", headers=served.token, timeout=60) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 409]
    assert answers[1].json()["error"] == "A scan is already running: wait for it, or stop it."
    held()
    until(served, "done")
    assert httpx.post(f"{served.url}/api/scan", headers=served.token, timeout=60).status_code == 202
    until(served, "done")


def test_a_scan_is_stopped(served: Served, held: Callable[[], None], live: LiveLibrary) -> None:
    httpx.post(f"{served.url}/api/scan", headers=served.token, timeout=60)
    until(served, "waiting")
    answer = httpx.delete(f"{served.url}/api/scan", headers=served.token, timeout=60).json()
    assert answer["state"] in ("finishing", "stopped")
    assert until(served, "stopped") == "Stopped with 26 photos remembered: scan again for the rest."
    assert live.snapshot.number == 2


def test_whoever_hangs_up_ends_its_stream(
    served: Served, held: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, real = threading.Event(), scan_job.events

    async def noted(scans: Scans) -> AsyncIterator[str]:
        try:
            async for line in real(scans):
                yield line
        finally:
            ended.set()

    monkeypatch.setattr(scan_job, "events", noted)
    httpx.post(f"{served.url}/api/scan", headers=served.token, timeout=60)
    assert until(served, "waiting")
    assert ended.wait(30)
    held()
    monkeypatch.undo()
    until(served, "done")


def test_a_stream_gives_signs_of_life(live: LiveLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_job, "HEARTBEAT", -1)
    scans = Scans(live)
    scans.latest = Progress(state="reading")

    async def first_lines() -> list[str]:
        stream = scan_job.events(scans)
        return [await anext(stream) for _ in range(3)]

    lines = asyncio.run(first_lines())
    assert lines[0].startswith("data: ")
    assert lines[1:] == [": still there\n\n"] * 2


# What goes wrong


def test_a_scan_that_is_killed_says_so_and_the_library_is_sound(
    live: LiveLibrary, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(album / "new", 600)
    begun: list[subprocess.Popen[str]] = []

    def begin(live: LiveLibrary, folders: Any, options: Any) -> subprocess.Popen[str]:
        begun.append(scan_job.begin(live, folders, options))
        return begun[-1]

    scans, real = Scans(live, begin), scan_job.progress_of

    def kill_after_a_batch(news: dict[str, Any], seconds: float) -> Progress:
        if news.get("done") == 257:
            begun[0].kill()
        return real(news, seconds)

    monkeypatch.setattr(scan_job, "progress_of", kill_after_a_batch)
    scans.start([album])
    last = told(scans)[-1]
    assert last.state == "failed"
    assert last.words.startswith("The scan was killed, perhaps because memory ran out. What was read")
    assert 26 + 256 <= len(live.snapshot.photos) < 626
    missing = 626 - len(live.snapshot.photos)
    monkeypatch.undo()
    scans.start([album])
    assert told(scans)[-1].words == f"626 photos · {missing} new files · 1 could not be read"
    assert len(live.snapshot.photos) == 626


def test_a_scan_that_breaks_off_says_so(live: LiveLibrary) -> None:
    def broken(live: LiveLibrary, folders: Any, options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "print('{\"state\": \"loo', end=''); raise SystemExit(3)"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    scans = Scans(live, broken)
    scans.start(live.roots)
    last = told(scans)[-1]
    assert (last.state, last.words) == ("failed", f"The scan failed; the terminal says why. {scan_job.KEPT}")


def test_a_scan_is_over_when_it_says_so_whoever_holds_its_pipe(live: LiveLibrary) -> None:
    def begin(live: LiveLibrary, folders: Any, options: Any) -> subprocess.Popen[str]:
        return process_that_prints({"state": "done", **NOTHING_NEW}, "os.fork() or sys.stdin.read()")

    scans = Scans(live, begin)
    scans.start(live.roots)
    assert told(scans)[-1].words == "3 photos · nothing has changed"


def test_a_mistake_of_a_person_is_told_in_its_sentence(live: LiveLibrary, tmp_path: Path) -> None:
    scans = Scans(live)
    scans.start([tmp_path / "gone"])
    last = told(scans)[-1]
    assert (last.state, last.words) == (
        "failed",
        f"{tmp_path / 'gone'} is not a folder: give the folder that holds the photos.",
    )


def test_the_model_that_is_loaded_is_named(
    live: LiveLibrary, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SameSpaceError, match=f"no model in {tmp_path / 'gone'}: "):
        scan_process.scan(("--model", str(tmp_path / "gone")), live.folder, live.roots)
    (line,) = capsys.readouterr().out.splitlines()
    assert scan_job.progress_of(json.loads(line), 0).words == "Loading the model gone …"


SCAN_PROCESS = [sys.executable, "-m", "samespace.web.library.scan_process"]


def test_a_scan_ends_with_the_server(held: Callable[[], None], album: Path) -> None:
    command = [*SCAN_PROCESS, "--", str(album / FOLDER), str(album)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        assert json.loads(process.stdout.readline())["state"] == "waiting"
        process.stdin.close()
        assert process.wait(60) == 1


def test_a_scan_that_nobody_listens_to_any_more_ends_without_a_word(album: Path) -> None:
    listens, speaks = os.pipe()
    os.close(listens)
    command = [*SCAN_PROCESS, "--", str(album / FOLDER), str(album)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=speaks, stderr=subprocess.PIPE) as process:
        os.close(speaks)
        assert process.stdin and process.stderr
        assert (process.stderr.read(), process.wait(60)) == (b"", 1)


def test_a_mistake_of_this_program_is_told_whole() -> None:
    with subprocess.Popen(SCAN_PROCESS, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stderr
        said = process.stderr.read()  # while its standard input is open
        assert process.wait(60) == 1
    assert said.startswith(b"Traceback") and said.endswith(b"ValueError: '--' is not in list\n")


# Which folders


def test_another_folder_is_added(
    client: TestClient, live: LiveLibrary, token: Token, tmp_path: Path, album: Path
) -> None:
    draw(tmp_path / "more photos" / "2024", 2)
    folders = {"folders": [f" {tmp_path / 'more photos'} "]}
    assert client.post("/api/scan", json=folders, headers=token).status_code == 202
    assert events(client.get("/api/scan/events"))[-1]["state"] == "done"
    assert live.roots == [album, tmp_path / "more photos"]
    assert len(live.snapshot.photos) == 28


def test_what_is_no_folder_of_photos_is_refused(client: TestClient, token: Token, album: Path) -> None:
    def refusal(named: Any) -> tuple[int, str]:
        answer = client.post("/api/scan", json={"folders": named}, headers=token)
        return answer.status_code, answer.json()["error"]

    assert refusal(["/no/such\u202e/folder"]) == (
        400,
        "/no/such\\u202e/folder is not a folder: check its name, and that its disk is there.",
    )
    assert refusal([str(album / "2023" / "damaged.jpg")])[0] == 400
    assert refusal(["pictures"]) == (400, "Give the full path, beginning with / or ~, not pictures.")
    assert refusal(["/a\0b"])[0] == 400
    assert "belongs to a library" in refusal([str(album / FOLDER / "features")])[1]
    for nonsense in ([], "", [""], [3], {}, str(album)):
        status, sentence = refusal(nonsense)
        assert (status, "`folders`" in sentence) == (422, True)
    assert refusal([3])[1] == "Each of `folders` must be text, not 3."
    assert events(client.get("/api/scan/events"))[0]["state"] == "idle"


def test_without_a_folder_there_is_nothing_to_scan(client: TestClient, live: LiveLibrary, token: Token) -> None:
    live.roots = []
    answer = client.post("/api/scan", headers=token)
    assert (answer.status_code, answer.json()["error"]) == (400, "There is no folder to scan yet: add one.")


def test_other_machines_may_not_name_folders(live: LiveLibrary, album: Path) -> None:
    token = "sixteen-letters-or-more"
    bearer = {"authorization": f"Bearer {token}"}
    with TestClient(make_app(live, Guard(token)), base_url="http://photos.example", headers=bearer) as client:
        answer = client.post("/api/scan", json={"folders": [str(album)]})
        assert (answer.status_code, "Other machines can open this page" in answer.json()["error"]) == (403, True)
        assert "Add a folder" not in client.get("/library").text
        assert client.post("/api/scan").status_code == 202
        assert events(client.get("/api/scan/events"))[-1]["state"] == "done"


def test_folders_in_others_are_shown_once() -> None:
    a, b = Path("/photos/a"), Path("/photos/a/b")
    assert outermost([b, a, b, Path("/photos/ab")]) == [a, Path("/photos/ab")]


# Words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "a few seconds left"),
        (12, "about 10 seconds left"),
        (49, "about 50 seconds left"),
        (80, "about a minute left"),
        (150, "about 2 minutes left"),
        (3400, "about an hour left"),
        (9000, "about 2 hours left"),
    ],
)
def test_what_remains_as_a_person_says_it(seconds: float, words: str) -> None:
    assert left_words(seconds) == words


def test_progress_in_words() -> None:
    assert progress_words(0, 0, 1.0) == "Nothing new."
    assert progress_words(0, 1, 0.0) == "0 of 1 photo"
    assert progress_words(1280, 8000, 10.0) == "1,280 of 8,000 photos · 128 a second · about a minute left"
    assert progress_words(2, 8, 100.0) == "2 of 8 photos · about 5 minutes left"
    assert progress_words(8, 8, 4.0) == "8 of 8 photos · 2 a second"


@given(st.floats(0, 1e7))
def test_there_are_words_for_every_time(seconds: float) -> None:
    assert left_words(seconds).endswith(" left")
    assert " 0 " not in left_words(seconds)
