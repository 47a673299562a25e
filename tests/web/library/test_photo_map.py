"""The map: photos that look alike beside each other, and how a person gets about on it in a browser."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import numpy as np
import pytest
from starlette.testclient import TestClient

from samespace.web.library import photo_map
from samespace.web.state import LiveLibrary
from tests.conftest import COLOUR_LOOK
from tests.web.library.test_page import WAIT, expect

if TYPE_CHECKING:
    from playwright.sync_api import Page


def the_map(client: TestClient) -> dict[str, Any]:
    while (answer := client.get("/api/map")).status_code == 202:
        assert answer.json() == {"state": "computing"}
    told: dict[str, Any] = answer.json()
    return told


def test_copies_lie_beside_their_originals(client: TestClient, live: LiveLibrary) -> None:
    told = the_map(client)
    assert told["photos"] == list(live.snapshot.photos)
    assert [told["folders"][at] for at in told["folder"]] == [
        photo.path.parent.name for photo in live.snapshot.photos.values()
    ]
    places = np.array([told["x"], told["y"]]).T
    apart = np.square(places[:, None] - places).sum(2)
    np.fill_diagonal(apart, np.inf)
    copied = [at for at, name in enumerate(told["names"]) if told["names"].count(name) > 1]
    beside = [told["names"][apart[at].argmin()] == told["names"][at] for at in copied]
    assert np.mean(beside) > 0.75


def test_a_map_is_made_once_for_a_snapshot(
    client: TestClient, live: LiveLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    real = photo_map.lay_out
    monkeypatch.setattr(photo_map, "lay_out", lambda vectors: [made.append(len(vectors)), real(vectors)][1])
    assert the_map(client) == the_map(client)
    assert made == [26]
    live.refresh()
    the_map(client)
    assert made == [26, 26]


def test_it_is_told_that_a_map_is_being_made(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    ready, real = threading.Event(), photo_map.lay_out
    monkeypatch.setattr(photo_map, "lay_out", lambda vectors: [ready.wait(), real(vectors)][1])
    monkeypatch.setattr(photo_map, "PATIENCE", 0)
    assert client.get("/api/map").status_code == 202
    ready.set()
    assert the_map(client)["state"] == "ready"


def test_a_removed_photo_is_not_on_the_map(client: TestClient, live: LiveLibrary) -> None:
    the_map(client)
    removed, gone = next(iter(live.snapshot.photos.items()))
    live.remove([gone.path])
    told = the_map(client)
    assert (len(told["photos"]), removed in told["photos"], told["total"]) == (25, False, 25)
    assert {len(told[name]) for name in ("x", "y", "names", "versions", "folder", "sides")} == {25}


def test_of_very_many_photos_some_are_on_the_map(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_map, "MAPPED", 7)
    told = the_map(client)
    assert (len(told["photos"]), told["total"]) == (7, 26)


def test_what_is_wrong_with_a_map_is_said(client: TestClient, live: LiveLibrary) -> None:
    assert live.snapshot.space
    live.snapshot.space.look = COLOUR_LOOK  # which the library was not scanned for
    assert the_map(client)["state"] == "none"
    assert the_map(client)["words"].startswith("No features yet for 26 photos, the first is ")


# In a browser


def opened_map(browser: Page) -> dict[str, Any]:
    """The map, as a person and as a program has it."""
    browser.goto("/library")
    expect(browser.locator("#map-canvas")).to_have_attribute("data-sight", "26", timeout=WAIT)
    browser.locator("#map-canvas").scroll_into_view_if_needed()
    told: dict[str, Any] = browser.request.get(urljoin(browser.url, "/api/map")).json()
    return told


def place_of(told: dict[str, Any], at: int, browser: Page) -> tuple[float, float]:
    """Where a photo lies on the canvas, at first."""
    box = browser.locator("#map-canvas").bounding_box()
    assert box
    sides = [(told["x"], box["width"]), (told["y"], box["height"])]
    scale = min((side - 56) / (max(values) - min(values)) for values, side in sides)
    left, top = ((values[at] - (min(values) + max(values)) / 2) * scale + side / 2 for values, side in sides)
    return left, top


def lonely(told: dict[str, Any]) -> int:
    """The photo that lies farthest from its neighbours."""
    places = np.array([told["x"], told["y"]]).T
    apart = np.square(places[:, None] - places).sum(2)
    np.fill_diagonal(apart, np.inf)
    return int(apart.min(1).argmax())


def test_the_map_shows_the_photo_under_the_pointer_and_leads_to_those_like_it(browser: Page) -> None:
    told = opened_map(browser)
    at = lonely(told)
    left, top = place_of(told, at, browser)
    browser.locator("#map-canvas").hover(position={"x": left + 2, "y": top})
    expect(browser.locator("#map-card b")).to_have_text(told["names"][at])
    expect(browser.locator("#map-card span")).to_have_text(told["folders"][told["folder"][at]])
    browser.locator("#map-canvas").click(position={"x": left + 2, "y": top})
    browser.wait_for_url(f"**/search?like={told['photos'][at]}")


def test_the_map_by_mouse(browser: Page) -> None:
    """Photos are drawn where few are in sight."""
    told = opened_map(browser)
    canvas = browser.locator("#map-canvas")
    expect(canvas).to_have_attribute("data-photos", re.compile(r"[1-9]\d*"))
    before = int(canvas.get_attribute("data-sight") or 0)
    canvas.hover(position={"x": 40, "y": 40})
    canvas.hover(position={"x": 20, "y": 20})
    for _ in range(6):
        browser.mouse.wheel(0, -300)
    expect(canvas).not_to_have_attribute("data-sight", str(before))
    browser.get_by_role("button", name="All").click()
    expect(canvas).to_have_attribute("data-sight", str(before))
    # What is under the pointer stays there as it comes closer.
    at = lonely(told)
    left, top = place_of(told, at, browser)
    canvas.hover(position={"x": left + 4, "y": top})
    canvas.hover(position={"x": left, "y": top})
    for _ in range(8):
        browser.mouse.wheel(0, -300)
    expect(canvas).not_to_have_attribute("data-sight", "26")
    expect(browser.locator("#map-card")).to_be_visible()
    expect(browser.locator("#map-card b")).to_have_text(told["names"][at])
    # It is dragged, and dragging opens nothing.
    browser.get_by_role("button", name="All").click()
    expect(canvas).to_have_attribute("data-sight", "26")
    box = canvas.bounding_box()
    assert box
    browser.mouse.move(box["x"] + left, box["y"] + top)
    browser.mouse.down()
    browser.mouse.move(box["x"] + left + 40, box["y"] + top + 30, steps=4)
    browser.mouse.up()
    canvas.hover(position={"x": left + 42, "y": top + 30})
    expect(browser.locator("#map-card b")).to_have_text(told["names"][at])
    assert browser.url.endswith("/library")
    # Colours tell folders or near duplicates.
    legend = browser.locator("#legend")
    expect(legend.get_by_role("button")).to_have_text(["202312", "phone10", "edited4"])
    legend.get_by_role("button").nth(1).click()
    expect(legend.get_by_role("button").nth(1)).to_have_attribute("aria-pressed", "true")
    browser.get_by_label("Colour by").select_option("group")
    words = "24 photos in 10 groups of near duplicates, one colour per group"
    expect(legend).to_contain_text(words, timeout=WAIT)


def test_the_map_by_keyboard_alone(browser: Page) -> None:
    told = opened_map(browser)
    browser.locator("#map-canvas").focus()
    for key in ("+", "+", "ArrowLeft", "ArrowUp", "-"):
        browser.keyboard.press(key)
    expect(browser.locator("#map-card")).to_be_visible()
    name = browser.locator("#map-card b").inner_text()
    expect(browser.locator("#map-spoken")).to_contain_text(name)
    browser.keyboard.press("Escape")
    expect(browser.locator("#map-card")).to_be_hidden()
    browser.keyboard.press("0")
    expect(browser.locator("#map-canvas")).to_have_attribute("data-sight", "26")
    shown = browser.locator("#map-card b").inner_text()
    browser.keyboard.press("Enter")
    browser.wait_for_url("**/search?like=*")
    assert told["names"][told["photos"].index(browser.url.partition("like=")[2])] == shown
