"""What others do to a library while it is served: the server takes it in, and open pages show it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from socket import gethostname
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from samespace.cli.main import main
from samespace.duplicates.plan_files import plan_files
from samespace.library.library import FOLDER, Library
from samespace.web import changes
from samespace.web.changes import Changes
from samespace.web.state import LiveLibrary
from samespace.words.stored_captions import LibraryCaptions
from tests.conftest import BACKBONE, Served


@pytest.fixture
def live(album: Path) -> LiveLibrary:
    """As it is served when neither --model nor --backbone was given."""
    live = LiveLibrary(album / FOLDER, [album], None)
    live.refresh()
    return live


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += changes.GLANCE
        return self.now


def terminal(*words: object) -> None:
    """A command, as somebody types it in a terminal while the server runs."""
    assert main([str(word) for word in words]) in (None, 0, 11)


def cleaned_up(album: Path) -> None:
    terminal("dedupe", album, "--library", album / FOLDER)
    terminal("apply", plan_files(album / FOLDER)[0])


def copied(album: Path) -> None:
    shutil.copy(next((album / "2023").glob("12*")), album / "copy.jpg")
    terminal("scan", album)


def looked_at(album: Path) -> None:
    terminal("scan", album, "--backbone", BACKBONE, "--weights", "none")


def judged(album: Path) -> None:
    one, other = (next((album / folder).glob("01*")) for folder in ("2023", "phone"))
    terminal("verdict", one, other, "different")


def captioned(album: Path) -> None:
    library = Library(album / FOLDER)
    with LibraryCaptions(library) as captions:
        captions.edit(library.photos()[0].content, "a bed")
    library.close()


@pytest.mark.parametrize("act", [cleaned_up, copied, judged, captioned])
def test_what_a_terminal_does_is_noticed_once(live: LiveLibrary, album: Path, act: Callable[[Path], None]) -> None:
    noticed = Changes(live, Clock())
    first, before = noticed.look(), live.snapshot
    assert noticed.look() == first
    act(album)
    assert noticed.look() == noticed.look() == first + 1
    assert len(live.snapshot.photos) == 27 if act is copied else live.snapshot is before
    assert len(live.gone) == (14 if act is cleaned_up else 0)
    if act is cleaned_up:
        terminal("undo", "--library", album / FOLDER)
        assert noticed.look() == first + 2 and not live.gone


def test_a_scan_under_way_is_waited_for_but_not_for_ever(live: LiveLibrary, album: Path) -> None:
    clock = Clock()
    noticed = Changes(live, clock)
    first = noticed.look()
    with live.library() as library, library.hold():
        captioned(album)
        assert noticed.look() == noticed.look() == first
        clock.now += changes.PATIENCE
        assert noticed.look() == first + 1
        captioned(album)
        assert noticed.look() == first + 1
    assert noticed.look() == first + 2
    # One that was killed is not waited for.
    (live.folder / "holder.json").write_text(json.dumps({"pid": 2**22 + 1, "host": gethostname()}))
    captioned(album)
    assert noticed.look() == first + 3


def test_a_program_gets_what_is_there_now(client: TestClient, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "GLANCE", 0.0)
    assert client.get("/api/library").json()["photos"] == 26
    copied(album)
    assert client.get("/api/library").json()["photos"] == 27


def test_a_network_that_looked_at_the_photos_in_a_terminal_compares_them(
    client: TestClient, live: LiveLibrary, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "GLANCE", 0.0)
    chosen = LiveLibrary(live.folder, [album], live.look)  # by an option of `samespace serve`
    chosen.refresh()
    assert client.get("/api/groups?kind=same-space").status_code == 422
    looked_at(album)
    assert "26 are too few" in client.get("/api/groups?kind=same-space").json()["error"]  # to learn from
    assert client.get("/api/library").json()["look"] == {"name": BACKBONE, "photos": 26, "lacking": 0, "why_not": ""}
    assert live.snapshot.space and live.snapshot.space.look is live.look
    chosen.catch_up(moved=False)
    assert (chosen.look.name, chosen.snapshot.number) == ("the same shot", 1)


def test_a_model_that_cannot_be_loaded_changes_nothing(live: LiveLibrary, album: Path) -> None:
    noticed = Changes(live, Clock())
    first, before = noticed.look(), live.snapshot
    with live.library() as library:
        library.write_note("look", json.dumps({"options": ["--model", "/no/such/model"], "fingerprint": "0"}))
    assert noticed.look() == noticed.look() == first + 1
    assert live.snapshot is before and live.look.name == "the same shot"
    looked_at(album)
    assert noticed.look() == first + 2 and live.look.name == BACKBONE


def test_a_stream_tells_of_each_change(served: Served, album: Path) -> None:
    with httpx.stream("GET", f"{served.url}/api/events", timeout=60) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        numbers = (json.loads(line[6:])["number"] for line in stream.iter_lines() if line.startswith("data: "))
        first = next(numbers)
        captioned(album)
        assert next(numbers) == first + 1


# In a browser


def expect(thing: Any) -> Any:
    from playwright.sync_api import expect

    return expect(thing)


@pytest.fixture
def reviewing(browser: Any) -> Any:
    browser.goto("/review")
    expect(browser.locator("h1")).to_have_text("10 groups to review")
    expect(browser.locator(".group.current")).to_be_visible()
    return browser


def test_the_review_page_follows_a_terminal_and_keeps_what_was_marked(reviewing: Any, album: Path) -> None:
    group = reviewing.locator(".group:has(li:nth-child(3))").first
    named = reviewing.locator(f"#{group.get_attribute('id')}")
    named.get_by_role("switch").nth(2).click()
    expect(named.locator(".apply")).to_contain_text("Remove 1, keep 2")
    name = named.locator("li").first.get_attribute("data-name")
    copied(album)
    expect(reviewing.locator("h1")).to_have_text("11 groups to review")
    expect(reviewing.locator("#toasts")).to_have_text("The library was changed elsewhere: 1 group came.")
    expect(named).to_be_focused()
    expect(named.locator(".apply")).to_contain_text("Remove 1, keep 2")
    library = Library(album / FOLDER)
    with LibraryCaptions(library) as captions:
        captions.edit(next(each.content for each in library.photos() if each.path == album / name), "a sofa")
    library.close()
    expect(named.locator(".caption summary").first).to_have_text("a sofa")
    expect(named.locator(".apply")).to_contain_text("Remove 1, keep 2")
    judged(album)  # the group is another one now, or none
    expect(reviewing.locator("#toasts")).to_contain_text("1 group left the list")
    expect(reviewing.locator(".group.current")).to_have_count(1)
    cleaned_up(album)
    expect(reviewing.locator("h1")).to_have_text("Nothing to review")
    terminal("undo", "--library", album / FOLDER)
    expect(reviewing.locator("h1")).to_have_text(re.compile("1[01] groups to review"))


def test_the_review_page_offers_what_a_network_in_a_terminal_finds(reviewing: Any, album: Path) -> None:
    pair = reviewing.locator(".group:not(:has(li:nth-child(3)))").first
    named = reviewing.locator(f"#{pair.get_attribute('id')}")
    named.get_by_role("switch").nth(1).click()
    expect(named.locator(".apply")).to_contain_text("Keep all 2")
    looked_at(album)
    expect(reviewing.locator(".kinds a")).to_have_text(["Near", "Exact", "Same space"])
    expect(named.locator(".apply")).to_contain_text("Keep all 2")
    reviewing.get_by_role("link", name="Same space").click()
    expect(reviewing.locator(".kinds [aria-current]")).to_have_text("Same space")


def test_two_windows_follow_each_other(reviewing: Any, album: Path) -> None:
    with reviewing.expect_popup() as popup:
        reviewing.evaluate("window.open('/review')")
    other = popup.value
    expect(other.locator(".group.current .apply")).to_contain_text("Remove")
    first = other.locator(".group.current").get_attribute("id")
    other.keyboard.press("Enter")
    expect(reviewing.locator("h1")).to_have_text("9 groups to review")
    expect(reviewing.locator(f"#{first}")).to_have_count(0)
    expect(reviewing.locator(".group.current")).to_have_count(1)
    other.keyboard.press("u")
    expect(reviewing.locator("h1")).to_have_text("10 groups to review")
    expect(reviewing.locator(f"#{first} .apply")).to_contain_text("Remove")
    reviewing.keyboard.press("n")
    expect(other.locator("h1")).to_have_text("9 groups to review")
    other.close()


def test_the_library_page_and_a_search_follow_a_terminal(browser: Any, live: LiveLibrary, album: Path) -> None:
    browser.goto("/library")
    expect(browser.locator(".figures dd").first).to_have_text("26")
    copied(album)
    expect(browser.locator(".figures dd").first).to_have_text("27")
    like = next(iter(live.snapshot.photos))
    browser.goto(f"/search?like={like}&all=1")
    expect(browser.locator("#found .hit")).to_have_count(26)
    next((album / "phone").glob("01*")).unlink()
    terminal("scan", album)
    expect(browser.locator("#found .hit")).to_have_count(25)
