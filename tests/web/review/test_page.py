"""The review page: its groups for programs, and what a person does with them in a browser, by keyboard alone."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from samespace.base.errors import SameSpaceError
from samespace.duplicates import quarantine
from samespace.duplicates.keeper import PREFERRED
from samespace.library.library import FOLDER, Library
from samespace.library.scan import scan
from samespace.search.same_shot import Sketches
from samespace.web import pictures
from samespace.web.app import make_app
from samespace.web.guard import Guard
from samespace.web.review import decisions, evidence
from samespace.web.review import groups as comparing
from samespace.web.review import page as review
from samespace.web.state import LiveLibrary
from tests.conftest import Served
from tests.web.test_app import check

Token = dict[str, str]


def files(album: Path) -> dict[str, tuple[bytes, int]]:
    """Every file outside the library: its bytes and its date."""
    paths = [path for path in album.rglob("*") if path.is_file() and FOLDER not in path.parts]
    return {str(path.relative_to(album)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def listed(client: TestClient, address: str = "/api/groups?count=100") -> dict[str, Any]:
    """What a program is told as soon as it has been compared; every answer is as it is described."""
    for _ in range(600):
        answer = client.get(address)
        described(client, answer)
        if answer.status_code != 202:
            assert answer.status_code == 200, answer.text
            told: dict[str, Any] = answer.json()
            return told
    raise AssertionError("never compared")


def described(client: TestClient, answer: Any) -> None:
    document = client.get("/api/openapi.json").json()
    operation = document["paths"][answer.request.url.path][answer.request.method.lower()]
    told = operation["responses"].get(str(answer.status_code)) or document["components"]["responses"]["Problem"]
    check(answer.json(), told["content"]["application/json"]["schema"], document)


def post(client: TestClient, token: Token, address: str, sent: Any, status: int = 200) -> dict[str, Any]:
    answer = client.post(address, json=sent, headers=token)
    described(client, answer)
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    return told


def decided(group: dict[str, Any], keep: list[int] | None = None) -> dict[str, list[str]]:
    """A group as apply takes it: what to keep by number, else as suggested."""
    ids = [member["id"] for member in group["members"]]
    kept = [ids[number] for number in keep] if keep else [each["id"] for each in group["members"] if each["keep"]]
    return {"keep": kept, "remove": [each for each in ids if each not in kept]}


def names(group: dict[str, Any]) -> list[str]:
    return [member["name"] for member in group["members"]]


def group_of(client: TestClient, photos: int) -> dict[str, Any]:
    """The first group of so many photos."""
    return next(group for group in listed(client)["groups"] if len(group["members"]) == photos)


def rescan(live: LiveLibrary, album: Path) -> None:
    with live.library() as library:
        scan(library, [album], [Sketches()])
    live.refresh()


def restarted(live: LiveLibrary, album: Path) -> tuple[TestClient, Token]:
    """The same library as the next start finds it."""
    again = LiveLibrary(live.folder, [album], live.look)
    again.refresh()
    guard = Guard()
    client = TestClient(make_app(again, guard), base_url="http://127.0.0.1")
    return client, {"X-SameSpace-Token": guard.csrf}


# Which groups


def test_what_is_preferred_is_suggested_to_be_kept(client: TestClient, live: LiveLibrary, album: Path) -> None:
    removed = group_of(client, 3)["members"][1]
    assert not removed["keep"]
    preferring = LiveLibrary(live.folder, [album], live.look, [live.snapshot.photos[removed["id"]].path])
    preferring.refresh()
    with TestClient(make_app(preferring, Guard()), base_url="http://127.0.0.1") as another:
        keepers = {group["members"][0]["id"]: group["members"][0] for group in listed(another)["groups"]}
    assert keepers[removed["id"]]["why"] == PREFERRED


def test_the_groups_name_their_photos_and_say_why(client: TestClient) -> None:
    told = listed(client)
    assert (told["total"], len(told["groups"]), told["duplicates"]) == (10, 10, 14)
    assert sorted(len(group["members"]) for group in told["groups"]) == [2] * 6 + [3] * 4
    for group in told["groups"]:
        keeper, *others = group["members"]
        assert keeper["keep"] and keeper["score"] == 1 and not any(member["keep"] for member in others)
        assert all(member["why"].startswith("same photo, ") and member["score"] >= 0.6 for member in others)
        assert group["bytes"] == sum(member["size"] for member in others)
    assert told["bytes"] == sum(group["bytes"] for group in told["groups"])


def test_groups_come_in_the_order_that_is_asked_for_and_in_parts(client: TestClient) -> None:
    largest, certain = listed(client)["groups"], listed(client, "/api/groups?sort=certain&count=100")["groups"]
    assert [group["bytes"] for group in largest] == sorted((group["bytes"] for group in largest), reverse=True)
    assert [group["weakest"] for group in certain] == sorted((group["weakest"] for group in certain), reverse=True)
    assert certain != largest and {each["id"] for each in certain} == {each["id"] for each in largest}
    assert listed(client, "/api/groups?start=3&count=2")["groups"] == largest[3:5]
    assert listed(client, "/api/groups?start=9")["groups"] == largest[9:]


def test_a_group_keeps_its_id_through_a_restart(client: TestClient, live: LiveLibrary, album: Path) -> None:
    again, _ = restarted(live, album)
    assert [group["id"] for group in listed(again)["groups"]] == [group["id"] for group in listed(client)["groups"]]


def test_other_kinds_and_thresholds(client: TestClient) -> None:
    assert listed(client, "/api/groups?kind=exact")["total"] == 0
    assert listed(client, "/api/groups?threshold=1")["total"] < 10
    counts = listed(client, "/api/groups/counts")["positions"]
    assert [each["threshold"] for each in counts] == comparing.POSITIONS
    for each in counts:
        assert each["groups"] == listed(client, f"/api/groups?threshold={each['threshold']}")["total"]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("kind=twin", "`kind` must be near, exact or same-space, not 'twin'."),
        (
            "kind=same-space",
            "To find same-space duplicates, scan the library with --model or --backbone.",
        ),
        ("sort=best", "`sort` must be largest or certain, not 'best'."),
        ("threshold=0.2", "A threshold of 0.2 is out of range: use 0.5 to 1."),
        ("threshold=high", "`threshold` must be a number from 0 to 1, not 'high'."),
        ("threshold=nan", "`threshold` must be a number from 0 to 1, not 'nan'."),
        ("start=-1", "`start` must be a whole number from 0 to 1,000,000,000, not '-1'."),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(client: TestClient, asked: str, sentence: str) -> None:
    answer = client.get(f"/api/groups?{asked}")
    assert (answer.status_code, answer.json()) == (422, {"error": sentence})
    assert client.get(f"/review?{asked}").status_code == 422


def test_the_usual_goes_without_saying_in_an_address() -> None:
    asked = review.GroupsQuery()
    assert asked.address() == "/review"
    assert asked.address(start=20, sort="certain") == "/review?sort=certain&start=20"
    assert asked.model_copy(update={"threshold": 0.8}).of("exact").address() == "/review?kind=exact"


# The page without a browser


def test_the_page_can_be_read_without_scripts(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review, "PAGE", 4)
    groups = listed(client)["groups"]
    page = client.get("/review", headers={"accept": "text/html"}).text
    assert "10 groups" in page and page.count("<article") == 4
    for name in [name for group in groups[:4] for name in names(group)]:
        assert name.rpartition("/")[2] in page
    assert "same photo, fewer pixels" in page and "Suggested" in page
    seen = re.findall(r'<article[^>]*data-id="(\w+)"', page)
    while more := re.search(r'<a href="([^"]*)">More groups', page):
        page = client.get(more[1].replace("&amp;", "&")).text
        seen += re.findall(r'<article[^>]*data-id="(\w+)"', page)
    assert seen == [group["id"] for group in groups]
    assert "Previous groups" in page


def test_dates_say_what_they_are(client: TestClient, live: LiveLibrary, album: Path) -> None:
    exif = Image.Exif()
    exif[306] = "2023:05:01 12:30:00"
    with Image.open(next((album / "2023").glob("12*"))) as photo:
        photo.save(album / "dated.jpg", exif=exif)
    rescan(live, album)
    assert listed(client)["total"] == 11
    page = client.get("/review").text
    assert "taken 2023-05-01 12:30" in page and re.search(r">file changed \d{4}-\d\d-\d\d \d\d:\d\d<", page)
    like = next(photo for photo, each in live.snapshot.photos.items() if each.path.name == "dated.jpg")
    assert "taken 2023-05-01 12:30" in client.get(f"/search?like={like}").text


def test_htmx_gets_the_part_it_asks_for(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review, "PAGE", 4)
    group = listed(client)["groups"][7]
    body = client.get("/review", headers={"hx-request": "true", "hx-target": "review"}).text
    assert "<html" not in body and "10 groups" in body
    further = client.get("/review?start=4", headers={"hx-request": "true", "hx-target": "more"}).text
    assert "<html" not in further and '<form class="bar"' not in further and further.count("<article") == 4
    asked = f"/review?photos={group['members'][1]['id']},0123"
    of_photo = client.get(asked, headers={"hx-request": "true", "hx-target": "more"}).text
    assert re.findall(r'<article[^>]*data-id="(\w+)"', of_photo) == [group["id"]]
    back = {"hx-request": "true", "hx-history-restore-request": "true"}
    assert "<html" in client.get("/review", headers=back).text


def test_names_cannot_bring_markup_into_the_page(client: TestClient, live: LiveLibrary, album: Path) -> None:
    odd = '<img src=x onerror=alert(1)> "quoted" \udcff\u202e.jpg'
    shutil.copy(next((album / "2023").glob("12*")), album / odd)
    rescan(live, album)
    assert listed(client)["total"] == 11
    page = client.get("/review").text
    assert "<img src=x" not in page and "&lt;img src=x onerror=alert(1)&gt;" in page and r"\xff\u202e" in page


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Comparing lasts until this is set."""
    done, compare = threading.Event(), comparing.Comparison

    def compared(*given: Any) -> Any:
        done.wait()
        return compare(*given)

    monkeypatch.setattr(comparing, "Comparison", compared)
    monkeypatch.setattr(comparing, "PATIENCE", 0.01)
    yield done
    done.set()


def test_while_it_is_compared_every_answer_comes_at_once(
    client: TestClient, token: Token, slow: threading.Event, album: Path
) -> None:
    before = files(album)
    page = client.get("/review").text
    assert "Comparing 26 photos" in page and 'hx-trigger="load delay:1s"' in page
    answer = client.get("/api/groups")
    assert answer.status_code == 202 and answer.json()["state"] == "comparing"
    assert client.get("/api/groups/counts").status_code == 202
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "comparing"] == [True]
    sent = {"groups": [{"keep": ["0"], "remove": ["1"]}]}
    assert post(client, token, "/api/apply", sent, 409)["error"] == decisions.COMPARING
    slow.set()
    assert listed(client)["total"] == 10 and files(album) == before


def test_a_newer_scan_is_compared_instead(slow: threading.Event, live: LiveLibrary, album: Path) -> None:
    comparings, older = comparing.Comparings(live), []
    for number in range(3):
        older.append(comparings.of("near"))
        assert older[-1].groups(0.6, live, {}) is None
        shutil.copy(next((album / "2023").glob("12*")), album / f"copy {number}.jpg")
        rescan(live, album)
    newest = comparings.of("near")
    slow.set()
    groups = next(filter(None, (newest.groups(0.6, live, {}) for _ in range(6000))))
    assert len(groups) == 11 and max(len(each.ids) for each in groups) == 4
    assert older[0].groups(0.6, live, {}) is not None and older[1].groups(0.6, live, {}) is None


def test_what_cannot_be_compared_says_why(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: Any) -> Any:
        raise SameSpaceError("the first of 3 photos has no features of this model yet: scan again")

    monkeypatch.setattr(comparing, "Comparison", fails)
    said = "The first of 3 photos has no features of this model yet: scan again."
    assert said in client.get("/review").text
    answer = client.get("/api/groups")
    assert (answer.status_code, answer.json()) == (400, {"error": said})


def test_an_empty_library_and_one_without_duplicates(client: TestClient, live: LiveLibrary, tmp_path: Path) -> None:
    assert "No duplicates" in client.get("/review?kind=exact").text
    library = Library(tmp_path / "other", create=True)
    library.close()
    empty = LiveLibrary(tmp_path / "other", [tmp_path], live.look)
    empty.refresh()
    with TestClient(make_app(empty, Guard()), base_url="http://127.0.0.1") as other:
        assert "No photos yet" in other.get("/review").text


# In a browser, as a person does it

KEYS = {  # on the sheet, and the test that presses them
    "j k ↓ ↑": "test_the_keys_of_the_list",
    "1 9": "test_the_keys_of_the_list",
    "Enter": "test_ten_groups_by_keyboard_alone_and_all_of_it_undone",
    "n": "test_not_the_same_sticks_and_is_undone",
    "e": "test_captions_are_edited_and_nothing_is_decided",
    "u": "test_ten_groups_by_keyboard_alone_and_all_of_it_undone",
    "c": "test_comparing_by_keyboard",
    "s w d": "test_comparing_by_keyboard",
    "p": "test_shared_points_by_keyboard",
    "Space": "test_comparing_by_keyboard",
    "+ − 0": "test_zoom_and_pan_in_step",
    "z": "test_one_pixel_of_the_photo_is_one_of_the_screen",
    "← → ↑ ↓": "test_zoom_and_pan_in_step",
    "j k": "test_comparing_by_keyboard",
    "1 2": "test_comparing_by_keyboard",
    "/": "test_the_keys_of_every_page",
    "?": "test_the_keys_of_every_page",
    "Esc": "test_the_keys_of_every_page",
}


def expect(thing: Any) -> Any:
    from playwright.sync_api import expect

    return expect(thing)


@pytest.fixture
def reviewing(browser: Any) -> Any:
    """The page with its groups."""
    browser.goto("/review")
    expect(browser.locator("h1")).to_have_text("10 groups to review")
    expect(focused(browser)).to_be_visible()  # by the script, which listens from then on
    return browser


def focused(page: Any) -> Any:
    return page.locator(".group.current:not(.done)")


def states(page: Any) -> list[str]:
    """Of the photos of the group in focus: keep or remove."""
    switches = focused(page).get_by_role("switch").all()
    return ["keep" if switch.get_attribute("aria-checked") == "true" else "remove" for switch in switches]


def told(page: Any) -> Any:
    return expect(page.locator("#toasts"))


def test_ten_groups_by_keyboard_alone_and_all_of_it_undone(
    reviewing: Any, album: Path, live: LiveLibrary, complaints: list[str]
) -> None:
    before = files(album)
    for _ in range(4):  # a quick hand is not kept waiting
        reviewing.keyboard.press("Enter")
    expect(reviewing.locator("h1")).to_have_text("6 groups to review")
    for _ in range(4):
        reviewing.keyboard.press("u")
    expect(reviewing.locator("h1")).to_have_text("10 groups to review")
    told(reviewing).to_contain_text("Brought back")
    assert files(album) == before
    for left in range(9, -1, -1):
        reviewing.keyboard.press("Enter")
        told(reviewing).to_contain_text("Removed")
        expect(reviewing.locator("h1")).to_have_text(
            f"{left} group{'' if left == 1 else 's'} to review" if left else "Nothing to review"
        )
    expect(reviewing.locator(".empty h2")).to_have_text("All done")
    assert len(files(album)) == len(before) - 14 and len(quarantine.runs(live.folder)) == 10
    for back in range(1, 11):
        reviewing.keyboard.press("u")
        told(reviewing).to_contain_text("Brought back")
        expect(reviewing.locator("h1")).to_have_text(f"{back} group{'s' if back > 1 else ''} to review")
    assert files(album) == before and quarantine.runs(live.folder) == []
    reviewing.keyboard.press("u")
    told(reviewing).to_have_text("There is nothing to undo.")
    complaints.clear()  # the browser tells of the refusal
    expect(focused(reviewing).locator(".apply")).to_contain_text("Remove")
    reviewing.keyboard.press("Enter")
    told(reviewing).to_contain_text("Removed")
    expect(reviewing.locator("h1")).to_have_text("9 groups to review")


def test_undo_of_what_was_done_before_the_start_asks_first(
    browser: Any, client: TestClient, token: Token, album: Path
) -> None:
    before = files(album)
    post(client, token, "/api/apply", {"groups": [decided(listed(client)["groups"][0])]})
    removed = files(album)
    browser.goto("/review")
    expect(browser.locator("h1")).to_have_text("9 groups to review")
    expect(focused(browser)).to_be_visible()
    for answer in ("Escape", "Enter"):
        browser.keyboard.press("u")
        expect(browser.get_by_role("dialog")).to_contain_text("Nothing was decided since SameSpace started.")
        assert files(album) == removed
        browser.keyboard.press(answer)
    expect(browser.locator("h1")).to_have_text("10 groups to review")
    assert files(album) == before


def test_the_keys_of_the_list(reviewing: Any, album: Path) -> None:
    ids = [group.get_attribute("data-id") for group in reviewing.locator(".group").all()]
    at = 0
    reviewing.keyboard.press("j")  # to the first, which had no focus yet
    for key, step in [("j", 1), ("ArrowDown", 1), ("k", -1), ("j", 1), ("ArrowUp", -1), ("k", -1), ("k", 0)]:
        at += step
        reviewing.keyboard.press(key)
        expect(focused(reviewing)).to_have_attribute("data-id", ids[at])
        expect(focused(reviewing)).to_be_focused()
    three = reviewing.locator(".group:has(li:nth-child(3))").first
    while focused(reviewing).get_attribute("data-id") != three.get_attribute("data-id"):
        reviewing.keyboard.press("j")
    assert states(reviewing) == ["keep", "remove", "remove"]
    reviewing.keyboard.press("3")
    assert states(reviewing) == ["keep", "remove", "keep"]
    expect(three.locator(".apply")).to_contain_text("Remove 1, keep 2")
    reviewing.keyboard.press("2")
    expect(three.locator(".apply")).to_contain_text("Keep all 3")
    assert is_of_colour(three.locator(".apply"), "color", "--keep")
    reviewing.keyboard.press("2")
    reviewing.keyboard.press("1")
    reviewing.keyboard.press("9")
    assert states(reviewing) == ["remove", "remove", "keep"]
    gone = [three.locator("li").nth(number).get_attribute("data-name") for number in (0, 1)]
    reviewing.keyboard.press("Enter")
    told(reviewing).to_contain_text("Removed 2 photos")
    assert not any((album / name).exists() for name in gone)
    # By mouse, Enter applies after a click.
    reviewing.keyboard.press("u")
    told(reviewing).to_contain_text("Brought back")
    group = reviewing.locator(".group:not(.done)").nth(2)
    group.get_by_role("switch").nth(1).click()
    assert states(reviewing)[1] == "keep"
    group.get_by_role("switch").first.click()
    name = group.locator("li").first.get_attribute("data-name")
    reviewing.keyboard.press("Enter")
    told(reviewing).to_contain_text("Removed")
    assert not (album / name).exists()
    reviewing.get_by_role("button", name="Undo").click()
    told(reviewing).to_contain_text("Brought back")
    assert (album / name).exists()


def test_a_group_stays_while_a_scan_runs_and_never_loses_its_last_photo(
    reviewing: Any, live: LiveLibrary, album: Path, complaints: list[str]
) -> None:
    before = files(album)
    with live.library() as library, library.hold():
        reviewing.keyboard.press("Enter")
        told(reviewing).to_have_text(decisions.BUSY)
    expect(reviewing.locator("h1")).to_have_text("10 groups to review")
    assert files(album) == before
    complaints.clear()  # the browser tells of the refusal
    group = focused(reviewing)
    reviewing.keyboard.press("1")
    expect(group.locator(".note")).to_have_text(decisions.LAST)
    expect(group.locator(".apply")).to_be_disabled()
    reviewing.keyboard.press("Enter")
    told(reviewing).to_have_text(decisions.LAST)
    expect(reviewing.locator("h1")).to_have_text("10 groups to review")
    assert files(album) == before


def test_captions_are_edited_and_nothing_is_decided(
    reviewing: Any, album: Path, live: LiveLibrary, complaints: list[str]
) -> None:
    group = focused(reviewing)
    first, second = (group.locator(".caption").nth(number) for number in (0, 1))
    reviewing.keyboard.press("e")
    expect(first.locator("textarea")).to_be_focused()
    reviewing.keyboard.type("1 n u c j")
    reviewing.keyboard.press("Enter")
    expect(first.locator("summary")).to_have_text("1 n u c j")
    expect(group).to_be_focused()
    group.locator(".members > li").nth(1).hover()
    second.locator("summary").click()
    second.locator("textarea").click()
    expect(second.locator("textarea")).to_be_focused()
    reviewing.keyboard.insert_text("x" * 1001)
    reviewing.keyboard.press("Enter")
    expect(reviewing.locator(".toast.bad")).to_have_text("A caption of 1,001 characters is too long: 1,000 at most.")
    expect(second.locator("textarea")).to_be_visible()
    reviewing.keyboard.press("Escape")
    expect(second.locator("summary")).to_be_focused()
    reviewing.keyboard.press("Enter")
    reviewing.keyboard.type("a bed")
    reviewing.keyboard.press("Enter")
    expect(second.locator("summary")).to_have_text("a bed")
    expect(reviewing.locator(".group.done")).to_have_count(0)
    assert {each.text for each in live.captions.values()} == {"1 n u c j", "a bed"}
    complaints.clear()  # the browser's own, of a refused request
    # What had to be left says why, and the caption's keys are the group's again.
    found = reviewing.locator(".group:has(li:nth-child(3))").first.get_attribute("data-id")
    group = reviewing.locator(f"#g-{found}")
    name = group.locator("li").nth(2).get_attribute("data-name")
    (album / name).write_bytes(b"edited meanwhile")
    group.locator(".apply").click()
    expect(group.locator(".note")).to_have_text(f"{name}: changed")
    expect(group.locator("li")).to_have_count(2)
    assert (album / name).read_bytes() == b"edited meanwhile"


def test_not_the_same_sticks_and_is_undone(reviewing: Any, album: Path, live: LiveLibrary) -> None:
    before = files(album)
    first = focused(reviewing).get_attribute("data-id")
    reviewing.keyboard.press("n")
    told(reviewing).to_contain_text("Won't be grouped again.")
    expect(reviewing.locator("h1")).to_have_text("9 groups to review")
    rescan(live, album)
    reviewing.reload()
    expect(reviewing.locator("h1")).to_have_text("9 groups to review")
    expect(focused(reviewing)).to_be_visible()
    assert first not in [group.get_attribute("data-id") for group in reviewing.locator(".group").all()]
    reviewing.keyboard.press("u")
    expect(reviewing.locator("h1")).to_have_text("10 groups to review")
    expect(focused(reviewing)).to_have_attribute("data-id", first)
    assert files(album) == before
    # One photo alone
    group = reviewing.locator(".group:has(li:nth-child(3))").first
    ids = [each.get_attribute("data-id") for each in group.locator("li").all()]
    group.locator("li").nth(1).get_by_role("button", name="Not a duplicate").click()
    told(reviewing).to_contain_text("Won't be grouped again.")
    expect(reviewing.locator(f'li[data-id="{ids[1]}"]')).to_have_count(0)
    left = reviewing.locator(f'.group:has(li[data-id="{ids[0]}"])')
    expect(left.locator("li")).to_have_count(2)
    expect(left.locator(".apply")).to_contain_text("Remove 1, keep 1")
    reviewing.keyboard.press("u")
    expect(reviewing.locator(f'.group:has(li[data-id="{ids[1]}"]) li')).to_have_count(3)
    expect(reviewing.locator("h1")).to_have_text("10 groups to review")


def test_the_slider_tells_and_shows_how_many_groups(reviewing: Any, client: TestClient) -> None:
    slider, positions = reviewing.get_by_label("Threshold"), listed(client, "/api/groups/counts")["positions"]
    slider.focus()
    for each in [each for each in positions if each["threshold"] > 0.6]:
        reviewing.keyboard.press("ArrowRight")
        expect(reviewing.locator("#at")).to_contain_text(f"{each['groups']} group")
    assert positions[-1]["groups"] < 10
    left = positions[-1]["groups"]
    expect(reviewing.locator("h1")).to_have_text(f"{left} groups to review" if left else "Nothing to review")
    expect(reviewing).to_have_url(re.compile(r"threshold=1\b"))
    reviewing.reload()
    expect(slider).to_have_value("1")
    reviewing.goto("/review?threshold=0.7&sort=certain")
    expect(reviewing.locator("#sort")).to_have_value("certain")
    reviewing.get_by_role("link", name="Exact").click()
    expect(reviewing.locator("h1")).to_have_text("Nothing to review")
    expect(reviewing).to_have_url(re.compile(r"kind=exact"))
    reviewing.go_back()
    expect(reviewing.locator("h1")).to_have_text("10 groups to review")


def test_the_keys_work_after_the_slider_and_the_sort_have_moved(reviewing: Any, album: Path) -> None:
    first = focused(reviewing).get_attribute("data-id")
    reviewing.get_by_label("Threshold").focus()
    reviewing.keyboard.press("ArrowLeft")
    expect(reviewing).to_have_url(re.compile("threshold=0.55"))
    assert_prepared(reviewing)
    reviewing.get_by_label("Sort").select_option("certain")
    expect(reviewing).to_have_url(re.compile("sort=certain"))
    assert_prepared(reviewing)
    reviewing.keyboard.press("j")
    expect(focused(reviewing)).to_be_focused()
    chosen = focused(reviewing)
    assert chosen.get_attribute("data-id") != first
    name = chosen.locator("li").nth(1).get_attribute("data-name")
    reviewing.keyboard.press("Enter")
    told(reviewing).to_contain_text("Removed")
    assert not (album / name).exists()


def assert_prepared(page: Any) -> None:
    """Every group says what its button does, and one of them is the current one."""
    buttons = page.locator(".group .apply > span:first-child")
    expect(buttons).to_have_text([re.compile(r"Remove \d, keep 1")] * 10)
    expect(focused(page)).to_have_count(1)


def is_of_colour(thing: Any, part: str, name: str) -> bool:
    """Whether it has one of the house's colours, by its name."""
    is_so: bool = thing.evaluate(
        """(thing, [part, name]) => {
          const sample = document.body.appendChild(document.createElement("i"));
          sample.style.color = `var(${name})`;
          const right = getComputedStyle(sample).color;
          sample.remove();
          return getComputedStyle(thing)[part] === right;
        }""",
        [part, name],
    )
    return is_so


def test_apply_all_asks_first_and_the_list_goes_on(
    browser: Any, album: Path, monkeypatch: pytest.MonkeyPatch, live: LiveLibrary, client: TestClient
) -> None:
    monkeypatch.setattr(review, "PAGE", 2)
    before, groups = files(album), listed(client)["groups"]
    browser.goto("/review")
    expect(focused(browser)).to_be_visible()
    kept = browser.locator(".group li").nth(1)
    kept.get_by_role("switch").click()
    everything = browser.get_by_role("button", name="Remove all suggested")
    everything.click()
    dialog = browser.get_by_role("dialog")
    still = 13
    expect(dialog).to_contain_text(f"Remove {still} photos?")
    expect(dialog).to_contain_text("10 groups")
    expect(dialog).to_contain_text("not been shown yet")
    browser.keyboard.press("Escape")
    assert files(album) == before
    everything.click()
    assert is_of_colour(dialog.get_by_role("button", name=f"Remove {still} photos"), "backgroundColor", "--go")
    assert is_of_colour(browser.locator(".apply").nth(1), "color", "--go")
    dialog.get_by_role("button", name=f"Remove {still} photos").click()
    told(browser).to_contain_text(f"Removed {still} photos from 10 groups")
    expect(browser.locator("h1")).to_have_text("Nothing to review")
    assert len(files(album)) == len(before) - still and (album / names(groups[0])[1]).exists()
    browser.keyboard.press("u")
    expect(browser.locator("h1")).to_have_text("10 groups to review")
    assert files(album) == before
    # By and by, the list goes on.
    browser.reload()
    expect(browser.locator("h1")).to_have_text("10 groups to review")
    for left in range(9, -1, -1):
        expect(focused(browser)).to_have_attribute("data-id", groups[9 - left]["id"])
        browser.keyboard.press("Enter")
        expect(browser.locator("h1")).to_have_text(
            f"{left} group{'' if left == 1 else 's'} to review" if left else "Nothing to review"
        )
    assert len(files(album)) == len(before) - 14


def test_apply_all_says_that_nothing_was_removed_when_others_were_faster(
    reviewing: Any, album: Path, complaints: list[str]
) -> None:
    with reviewing.expect_popup() as popup:
        reviewing.evaluate("window.open('/review')")
    other = popup.value
    expect(focused(other).locator(".apply")).to_contain_text("Remove")
    marked = reviewing.locator(".group:has(li:nth-child(3))").last
    marked.get_by_role("switch").nth(1).click()
    reviewing.get_by_role("button", name="Remove all suggested").click()
    expect(reviewing.get_by_role("dialog")).to_be_visible()
    other.keyboard.press("Enter")
    told(other).to_contain_text("Removed")
    other.close()
    left = files(album)
    reviewing.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(reviewing.locator(".toast.bad")).to_have_text(
        "Nothing was removed: the library was changed elsewhere. Look at the list again."
    )
    expect(reviewing.locator("h1")).to_have_text("9 groups to review")
    expect(marked.locator(".apply")).to_contain_text("Remove 1, keep 2")
    assert files(album) == left
    complaints.clear()  # the browser tells of the refusal


def test_news_of_the_library_hides_no_refusal(
    reviewing: Any, served: Served, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = listed(client)["groups"][:2]
    reviewing.evaluate("document.addEventListener('changed', () => { document.body.dataset.told = 'yes'; })")
    may_answer, known_in = threading.Event(), review.known_in
    monkeypatch.setattr(review, "known_in", lambda groups: may_answer.wait(60) and known_in(groups))
    reviewing.keyboard.press("1")
    expect(reviewing.locator(f"#g-{first['id']} .note")).to_have_text(decisions.LAST)
    reviewing.get_by_role("button", name="Remove all suggested").click()
    httpx.post(f"{served.url}/api/apply", json={"groups": [decided(second)]}, headers=served.token, timeout=60)
    expect(reviewing.locator("body")).to_have_attribute("data-told", "yes")  # and waits its turn
    may_answer.set()
    expect(reviewing.locator("h1")).to_have_text("9 groups to review")
    told(reviewing).to_have_text(decisions.LAST)


def test_groups_stay_when_others_change_the_library_during_a_decision(
    browser: Any, monkeypatch: pytest.MonkeyPatch, client: TestClient
) -> None:
    monkeypatch.setattr(review, "PAGE", 2)
    groups, asked = listed(client)["groups"], []
    browser.goto("/review")
    expect(browser.locator(".group.ready").nth(3)).to_be_attached()
    third = browser.locator(".group").nth(2).element_handle()
    browser.route("**/review?start=0", lambda route: asked.append(route))
    with browser.expect_request("**/review?start=0"):
        browser.evaluate("document.dispatchEvent(new Event('changed'))")
    for number in range(2):  # while the list is being fetched: the server still has these two in it
        expect(focused(browser)).to_have_attribute("data-id", groups[number]["id"])
        browser.keyboard.press("Enter")
    asked[0].continue_()
    browser.unroute("**/review?start=0")
    told(browser).to_contain_text("Removed")
    expect(browser.locator(".group.sent")).to_have_count(2)
    assert third.evaluate("group => group.isConnected")
    expect(focused(browser)).to_have_attribute("data-id", groups[2]["id"])
    expect(browser.locator("h1")).to_have_text("8 groups to review")


def test_groups_appear_when_they_are_compared(browser: Any, slow: threading.Event) -> None:
    browser.goto("/review")
    expect(browser.locator(".comparing h2")).to_have_text("Comparing 26 photos")
    slow.set()
    expect(browser.locator("h1")).to_have_text("10 groups to review")
    expect(focused(browser)).to_be_visible()
    browser.keyboard.press("Enter")
    told(browser).to_contain_text("Removed")


def test_a_change_while_photos_are_compared_asks_for_no_second_answer(browser: Any, slow: threading.Event) -> None:
    """It could come after the groups, and take away what a person has begun with them."""
    browser.goto("/review")
    expect(browser.locator(".comparing h2")).to_have_text("Comparing 26 photos")
    asked: list[str] = []
    browser.route("**/review*", lambda route: asked.append(route.request.url))  # and no answer comes
    browser.evaluate("document.dispatchEvent(new Event('changed'))")
    with browser.expect_request("**/review*"):  # the page's own, a second after it came
        pass
    browser.evaluate("document.dispatchEvent(new Event('changed'))")
    browser.evaluate("new Promise((done) => setTimeout(done))")
    assert len(asked) == 1
    browser.unroute("**/review*")
    slow.set()


def test_the_keys_of_every_page(reviewing: Any) -> None:
    """Among them the one that shows them all, and each of those has its test."""
    reviewing.keyboard.press("?")
    expect(reviewing.get_by_role("dialog")).to_be_visible()
    rows = reviewing.locator("#help dt").all()
    assert [" ".join(row.locator("kbd").all_inner_texts()) for row in rows] == list(KEYS)
    assert {*KEYS.values()} <= globals().keys()
    reviewing.keyboard.press("j")
    reviewing.keyboard.press("Enter")  # on its button
    expect(reviewing.locator("dialog[open]")).to_have_count(0)
    reviewing.keyboard.press("?")
    reviewing.keyboard.press("Escape")
    expect(reviewing.locator("dialog[open]")).to_have_count(0)
    expect(reviewing.locator("h1")).to_have_text("10 groups to review")
    reviewing.keyboard.press("/")
    expect(reviewing).to_have_url(re.compile("/search"))


# Comparing


@pytest.fixture
def compared(reviewing: Any) -> Any:
    """The compare view, open on a group of three."""
    reviewing.locator(".group:has(li:nth-child(3))").first.locator("header").click()
    reviewing.keyboard.press("c")
    expect(reviewing.get_by_role("dialog")).to_be_visible()
    return reviewing


def box(page: Any, name: str) -> dict[str, float]:
    """Where a photo lies, as shares of its view: its middle, and its sides against those it has when it just fits."""
    measured: dict[str, float] = page.evaluate(
        """(name) => {
          const photo = document.getElementById(name).getBoundingClientRect();
          const view = document.getElementById(name).parentElement.getBoundingClientRect();
          return {
            x: (view.left + view.width / 2 - photo.left) / photo.width,
            y: (view.top + view.height / 2 - photo.top) / photo.height,
            scale: Math.max(photo.width / view.width, photo.height / view.height),
          };
        }""",
        name,
    )
    return measured


def assert_in_step(page: Any) -> dict[str, float]:
    left, right = box(page, "left-photo"), box(page, "right-photo")
    assert left == pytest.approx(right, abs=0.01)
    return left


def test_comparing_by_keyboard(compared: Any) -> None:
    dialog, keys = compared.get_by_role("dialog"), compared.keyboard
    title = dialog.get_by_role("heading")
    expect(title).to_have_text("Photo 2 of 3 compared with the first")
    for key, at in [("j", 3), ("j", 3), ("k", 2), ("k", 2), ("j", 3)]:
        keys.press(key)
        expect(title).to_have_text(f"Photo {at} of 3 compared with the first")
    shown = compared.locator("#right-photo")
    third = focused(compared).locator("li").nth(2)
    expect(shown).to_have_attribute("alt", third.get_attribute("data-name"))
    expect(shown).to_have_attribute("src", re.compile(re.escape(third.get_attribute("data-photo")) + "$"))
    for key, name in [("w", "Swipe"), ("d", "Difference"), ("s", "Side by side")]:
        keys.press(key)
        expect(dialog.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "true")
    keys.press("w")
    divider = dialog.get_by_role("slider")
    keys.press("ArrowRight")
    keys.press("ArrowRight")
    keys.press("ArrowLeft")
    expect(divider).to_have_attribute("aria-valuenow", "52")
    keys.press("s")
    left = compared.locator("#left-photo")
    x = left.bounding_box()["x"]
    keys.down("Space")
    assert left.bounding_box()["x"] > x and shown.bounding_box()["x"] == pytest.approx(x, abs=2)
    keys.up("Space")
    assert left.bounding_box()["x"] == x
    keys.press("2")
    assert states(compared) == ["keep", "remove", "keep"]
    expect(compared.locator("#right-facts").get_by_role("switch")).to_have_attribute("aria-checked", "true")
    keys.press("1")
    assert states(compared) == ["remove", "remove", "keep"]
    keys.press("Escape")
    expect(dialog).to_have_count(0)
    expect(focused(compared).locator(".apply")).to_contain_text("Remove 2, keep 1")
    expect(focused(compared)).to_be_focused()
    # By mouse
    group = compared.locator(".group:has(li:nth-child(3))").first
    group.locator(".shot").nth(2).click()
    expect(compared.get_by_role("dialog").get_by_role("heading")).to_have_text("Photo 3 of 3 compared with the first")
    assert compared.locator("#right-facts .differs").count() > 0
    compared.get_by_role("button", name="Close").click()
    expect(group).to_be_focused()
    compared.keyboard.press("c")
    compared.keyboard.press("w")
    divider = compared.get_by_role("dialog").get_by_role("slider")
    at = divider.bounding_box()
    compared.mouse.move(at["x"] + at["width"] / 2, at["y"] + 40)
    compared.mouse.down()
    compared.mouse.move(compared.locator("#stage").bounding_box()["x"] + 140, at["y"] + 40)
    compared.mouse.up()
    expect(divider).to_have_attribute("aria-valuenow", "10")
    assert "10" in compared.locator("#right-photo").evaluate("(photo) => photo.parentElement.style.clipPath")


def told_scales(page: Any) -> list[float]:
    """What the zoom says of the left photo and of the right one."""
    scales = [int(share.rstrip("%")) / 100 for share in page.locator("#scale").inner_text().split(" · ")]
    return scales * 2 if len(scales) == 1 else scales


def drawn_scales(page: Any) -> list[float]:
    """How many pixels of the screen a pixel of either photo takes, once the whole photos have been loaded."""
    for name in ("left-photo", "right-photo"):
        expect(page.locator(f"#{name}")).to_have_attribute("src", re.compile(r"/photos/\w+\?"))
    scales: list[float] = page.evaluate(
        """() => ["left-photo", "right-photo"].map((name) => {
          const photo = document.getElementById(name);
          return photo.getBoundingClientRect().width * devicePixelRatio / photo.naturalWidth;
        })"""
    )
    return scales


@pytest.mark.parametrize("ratio", [1, 2])
def test_one_pixel_of_the_photo_is_one_of_the_screen(compared: Any, ratio: int) -> None:
    """The photos are 320 and 200 pixels wide, on a screen of so many pixels to each of the page's."""
    devtools = compared.context.new_cdp_session(compared)
    screen = {"width": 1401, "height": 701, "deviceScaleFactor": ratio, "mobile": False}
    devtools.send("Emulation.setDeviceMetricsOverride", screen)
    compared.wait_for_function("(ratio) => innerWidth === 1401 && devicePixelRatio === ratio", arg=ratio)
    compared.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    whole, one_to_one = (compared.get_by_role("button", name=name, exact=True) for name in ("Fit", "1:1"))
    expect(whole).to_have_attribute("aria-pressed", "true")
    fitted = drawn_scales(compared)
    assert fitted[0] > 1.2 and told_scales(compared) == pytest.approx(fitted, abs=0.006)
    for act in (lambda: compared.keyboard.press("z"), one_to_one.click):
        act()
        expect(one_to_one).to_have_attribute("aria-pressed", "true")
        assert drawn_scales(compared) == pytest.approx([1, 1.6])
        assert told_scales(compared) == [1, 1.6]
        at = compared.locator("#left-photo").evaluate("(photo) => photo.getBoundingClientRect().x * devicePixelRatio")
        assert at == pytest.approx(round(at), abs=0.02), "between pixels, it would be blurred"
        compared.keyboard.press("z")
        expect(whole).to_have_attribute("aria-pressed", "true")
        assert drawn_scales(compared) == pytest.approx(fitted)
    compared.keyboard.press("+")
    whole.click()
    assert drawn_scales(compared) == pytest.approx(fitted)
    devtools.send("Emulation.clearDeviceMetricsOverride")


def test_zoom_and_pan_in_step(compared: Any, album: Path) -> None:
    """The photos differ in size: 320 × 240 and 200 × 150."""
    keys = compared.keyboard
    keys.press("j")
    whole = assert_in_step(compared)
    assert (whole["x"], whole["y"], whole["scale"]) == pytest.approx((0.5, 0.5, 1), abs=0.01)
    for _ in range(5):
        keys.press("+")
    zoomed = assert_in_step(compared)
    assert zoomed["scale"] == pytest.approx(1.25**5, abs=0.02)
    assert told_scales(compared) == pytest.approx(drawn_scales(compared), abs=0.006)
    for key, side, sign in [
        ("ArrowRight", "x", 1),
        ("ArrowDown", "y", 1),
        ("ArrowLeft", "x", -1),
        ("ArrowUp", "y", -1),
    ]:
        before = assert_in_step(compared)
        keys.press(key)
        assert (assert_in_step(compared)[side] - before[side]) * sign > 0.01
    for _ in range(60):
        keys.press("ArrowRight")
    edge = assert_in_step(compared)
    assert edge["x"] < 1, "the photo's edge is as far as it goes"
    keys.press("-")
    assert assert_in_step(compared)["scale"] < zoomed["scale"]
    keys.press("0")
    assert assert_in_step(compared) == pytest.approx(whole)
    view = compared.locator("#left-photo").bounding_box()
    compared.mouse.move(view["x"] + view["width"] / 4, view["y"] + view["height"] / 4)
    compared.mouse.wheel(0, -300)
    expect(compared.locator("#fit")).to_have_attribute("aria-pressed", "false")
    assert assert_in_step(compared)["x"] < 0.5
    before = assert_in_step(compared)
    compared.mouse.down()
    compared.mouse.move(view["x"] + view["width"] / 4 - 60, view["y"] + view["height"] / 4)
    compared.mouse.up()
    assert assert_in_step(compared)["x"] > before["x"]
    compared.locator("#stage").dblclick()
    assert assert_in_step(compared)["scale"] == pytest.approx(1, abs=0.01)
    # The brighter copy is further off than the smaller one, by as much as the photos say.
    compared.keyboard.press("k")
    keeper = focused(compared).locator("li").first.get_attribute("data-name")
    brightness = """() => {
      const canvas = document.getElementById("difference");
      const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      return pixels.reduce((sum, value, i) => sum + (i % 4 < 3 ? value : 0), 0) / (pixels.length * 0.75);
    }"""
    for key in ("d", "j"):
        compared.keyboard.press(key)
        name = compared.locator("#right-photo").get_attribute("alt")
        photos = [Image.open(album / each).convert("RGB").resize((320, 240)) for each in (keeper, name)]
        mean = np.abs(np.subtract(*[np.asarray(photo, float) for photo in photos])).mean()
        told = compared.locator("#finding")
        expect(compared.locator("#right-photo")).to_have_attribute("src", re.compile(r"/photos/\w+\?"))
        expect(told).to_contain_text("difference")
        share, brighter = re.match(r"([\d.]+)% difference on average, shown (\d+) times", told.inner_text()).groups()  # type: ignore[union-attr]
        assert float(share) == pytest.approx(mean / 2.55, rel=0.25)
        assert compared.evaluate(brightness) == pytest.approx(float(share) * 2.55 * int(brighter), rel=0.2)
        assert_in_step(compared)


def drawn_lines(page: Any) -> Any:
    """Where the lines end, (n, 4): shares of the left photo's width and height, then of the right photo's."""
    return np.array(
        page.evaluate(
            """() => {
              const box = (id) => document.getElementById(id).getBoundingClientRect();
              const from = box("stage"), photos = [box("left-photo"), box("right-photo")];
              const lines = document.querySelector("#points .line").getAttribute("d").match(/M[^M]+/g) || [];
              return lines.map((line) => line.match(/[\\d.]+/g).map((at, i) => {
                const to = photos[i >> 1];
                return i % 2 ? (+at + from.top - to.top) / to.height : (+at + from.left - to.left) / to.width;
              }));
            }"""
        )
    )


def test_shared_points_by_keyboard(
    compared: Any, album: Path, complaints: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dialog, keys, finding = compared.get_by_role("dialog"), compared.keyboard, compared.locator("#finding")
    with compared.expect_response("**/api/evidence?*") as answered:
        keys.press("p")
    found = answered.value.json()
    assert found["shared"] >= found["needed"]
    expect(dialog.get_by_role("button", name="Shared points")).to_have_attribute("aria-pressed", "true")
    expect(dialog.get_by_role("status").get_by_text(found["words"])).to_be_visible()
    places = np.array([[point[name] for name in ("x0", "y0", "x1", "y1")] for point in found["points"]])
    assert drawn_lines(compared) == pytest.approx(places, abs=0.003)
    keys.down("Space")
    assert drawn_lines(compared) == pytest.approx(places, abs=0.003)
    keys.up("Space")
    for _ in range(4):
        keys.press("+")
    zoomed = drawn_lines(compared)  # those whose ends are both in sight
    assert 0 < len(zoomed) < len(places)
    assert np.abs(zoomed[:, None] - places).max(2).min(1).max() < 0.003
    keys.press("s")
    expect(finding).to_be_hidden()
    expect(compared.locator("#points")).to_be_hidden()
    # It says that it looks, and why it found nothing.
    may_look = threading.Event()
    monkeypatch.setattr(evidence, "check", lambda photo: may_look.wait(60) and pictures.check(photo))
    keys.press("j")
    keys.press("p")
    expect(finding).to_have_text("Looking for points that both photos show…")
    assert not len(drawn_lines(compared))
    name = compared.locator("#right-photo").get_attribute("alt")
    (album / name).unlink()
    may_look.set()
    expect(finding).to_have_text(f"The photo {name} has gone or changed since it was scanned: scan again.")
    complaints.clear()


def test_nothing_is_wider_than_a_phone(reviewing: Any) -> None:
    """Not even what is said of photos without a date of their own, as all are here."""
    reviewing.set_viewport_size({"width": 390, "height": 844})
    expect(focused(reviewing).locator(".facts").first).to_contain_text("file changed")
    wide = "(thing) => thing.scrollWidth - thing.clientWidth"
    assert reviewing.locator("html").evaluate(wide) == 0
    reviewing.keyboard.press("c")
    compared = reviewing.get_by_role("dialog")
    expect(compared.locator(".facts").first).to_contain_text("file changed")
    assert compared.evaluate(wide) == 0


def test_copies_byte_by_byte_cannot_be_told_apart(live: LiveLibrary, album: Path, browser: Any) -> None:
    from playwright.sync_api import expect

    alone = sorted((album / "2023").glob("11 *.jpg"))[0]
    for name in ("a.jpg", "b.jpg"):
        shutil.copyfile(alone, album / name)
    library = Library(live.folder)
    scan(library, [album], [Sketches()])
    library.close()
    live.refresh()
    browser.goto("/review?kind=exact")
    expect(browser.locator(".group.ready")).to_have_count(1)
    expect(browser.get_by_role("button", name="Not")).to_have_count(0)
    browser.keyboard.press("n")
    expect(browser.get_by_text("These photos are identical")).to_be_visible()
