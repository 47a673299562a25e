"""The library page: its figures against the photos, and scans as a person watches them in a browser."""

from __future__ import annotations

import html
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from samespace.base.photos import UnreadablePhoto
from samespace.cli.main import main
from samespace.library.library import Library, Photo
from samespace.library.scan import scan
from samespace.web.library import page as library_module
from samespace.web.library.page import Folder, tree
from samespace.web.state import LiveLibrary, photo_id
from tests.conftest import Served

if TYPE_CHECKING:
    from playwright.sync_api import Page

Token = dict[str, str]
WAIT = 60_000  # milliseconds, for what takes as long as the machine does


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


@pytest.fixture
def unscanned(live: LiveLibrary, tmp_path: Path) -> LiveLibrary:
    """The same photos, before the first scan."""
    live.folder = tmp_path / "library"
    Library(live.folder, create=True).close()
    live.refresh()
    return live


def remove_duplicates(client: Any, token: Token, groups: int) -> int:
    """What `client` removes of the first groups."""
    found = client.get("/api/groups")
    while found.status_code == 202:
        found = client.get("/api/groups")
    members = [[member["id"] for member in group["members"]] for group in found.json()["groups"][:groups]]
    told = [{"keep": group[:1], "remove": group[1:]} for group in members]
    answer = client.post("/api/apply", json={"groups": told}, headers=token).json()
    return int(answer["removed"])


# What is in it


def test_the_figures_are_those_of_the_photos(client: TestClient, live: LiveLibrary, album: Path) -> None:
    told = client.get("/api/library").json()
    files = [photo.path for photo in live.snapshot.photos.values()]
    assert (told["photos"], told["size"]) == (26, sum(path.stat().st_size for path in files))
    assert told["roots"] == [str(album)]
    folders = [(folder["address"], folder["photos"]) for folder in told["folders"]]
    assert folders == [("2023", 12), ("phone", 10), ("edited", 4)]
    assert told["formats"] == [{"format": "JPEG", "photos": 26}]
    assert told["look"] == {"name": "the same shot", "photos": 26, "lacking": 0, "why_not": ""}
    damaged = {"name": "2023/damaged.jpg", "more": ""}
    assert told["unreadable"] == [{"reason": "not an image this program knows", "number": 1, "files": [damaged]}]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", told["scanned"])


def test_a_network_that_cannot_be_had_here_is_not_offered(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "data-backbone" in client.get("/library").text
    monkeypatch.setitem(sys.modules, "torch", None)
    shown = client.get("/library").text
    assert "data-backbone" not in shown and "pip install &#39;samespace[train]&#39;" in shown


def test_commands_on_the_page_work_from_anywhere(
    client: TestClient, live: LiveLibrary, album: Path, token: Token
) -> None:
    assert "samespace apply" not in client.get("/library").text
    assert main(["dedupe", str(album)]) == 11
    remove_duplicates(client, token, 1)
    page = html.unescape(client.get("/library").text)
    (plan,) = client.get("/api/library").json()["plans"]
    assert plan["command"] == f"samespace apply {live.folder}/plans/{plan['plan']}" and plan["command"] in page
    assert f"<code>samespace undo --library {live.folder}</code>" in page
    assert f"<code>samespace scan {album}</code>" in page


def test_a_library_elsewhere_is_named_in_every_command(client: TestClient, unscanned: LiveLibrary, album: Path) -> None:
    page = html.unescape(client.get("/library").text)
    assert f"<code>samespace scan {album} --library {unscanned.folder}</code>" in page


def test_the_page_reads_without_javascript(client: TestClient) -> None:
    page = client.get("/library").text
    text = text_of(page)
    for words in ("photos 26", "2023/damaged.jpg", "Not an image this program knows", "phone 10", "Copies only"):
        assert words in text
    assert 'href="/search?folder=2023"' in page
    assert "style=" not in page


def test_every_folder_leads_to_its_photos(client: TestClient, album: Path, live: LiveLibrary) -> None:
    (album / "a & b" / "c#d").mkdir(parents=True)
    shutil.copy(next((album / "2023").glob("01*")), album / "a & b" / "c#d")
    with live.library() as library:
        scan(library, [album], [live.look.extractor])
    live.refresh()
    addresses = re.findall(r'href="(/search\?folder=[^"]+)"', client.get("/library").text)
    assert len(addresses) == 5
    for address in addresses:
        assert client.get(address.replace("&amp;", "&")).status_code == 200


def photo(path: str, size: int = 1, taken: str | None = None) -> Photo:
    return Photo(Path("/album", path), Path("/album"), "id", size, 0, path, 1, 1, taken, 0)


names = st.sampled_from(["a", "b", "c d"])


@given(st.lists(st.tuples(st.lists(names, max_size=4), st.integers(0, 99)), min_size=1, max_size=30))
def test_a_tree_counts_what_lies_in_it(paths: list[tuple[list[str], int]]) -> None:
    photos = [photo("/".join([*folders, f"{at}.jpg"]), size) for at, (folders, size) in enumerate(paths)]

    def check(folder: Folder) -> None:
        base = Path("/album", folder.address)
        below = [each for each in photos if each.path.is_relative_to(base)]
        assert (folder.photos, folder.size) == (len(below), sum(each.size for each in below))
        assert [child.photos for child in folder.folders] == sorted((c.photos for c in folder.folders), reverse=True)
        assert {child.address for child in folder.folders} == {
            str(inner.relative_to("/album"))
            for each in below
            for inner in each.path.parents
            if inner.parent == base and inner != Path("/album")
        }
        for child in folder.folders:
            check(child)

    check(tree(photos))


def test_a_tree_of_very_many_folders_has_the_upper_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samespace.web.folders.FOLDERS", 5)
    found = tree([photo(f"{year}/{month}/x.jpg") for year in range(4) for month in range(3)])
    assert [(folder.photos, folder.folders) for folder in found.folders] == [(3, [])] * 4


def test_years_are_told_where_they_are_known(client: TestClient, live: LiveLibrary) -> None:
    photos = [photo("a", taken="2019-05-01 10:00:00"), photo("b", taken="2021"), photo("c", taken="2021"), photo("d")]
    live.snapshot = live.snapshot._replace(photos={photo_id(each.path): each for each in photos})
    years = [{"year": 2019, "photos": 1}, {"year": 2021, "photos": 2}]
    assert client.get("/api/library").json()["years"] == years
    assert "1 photo without a date" in client.get("/library").text


def test_what_could_not_be_read_is_told_by_reason(
    client: TestClient, live: LiveLibrary, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_module, "NAMES", 2)
    empty = [UnreadablePhoto(album / f"{number}.jpg", "the file is empty") for number in range(3)]
    odd = UnreadablePhoto(album / "x\u202e<b>.jpg", "damaged: 5 bytes are missing")
    live.snapshot = live.snapshot._replace(unreadable=[odd, *empty])
    page = client.get("/library").text
    text = text_of(page)
    assert "4 files could not be read" in text
    assert "The file is empty 3 0.jpg 1.jpg and 1 more" in text
    assert "x\\u202e&lt;b&gt;.jpg" in page
    assert "Damaged 1" in text and "5 bytes are missing" in text


def test_photos_that_were_removed_lie_in_quarantine(client: TestClient, token: Token) -> None:
    removed = remove_duplicates(client, token, 2)
    told = client.get("/api/library").json()
    assert told["photos"] == 26 - removed
    (run,) = told["quarantine"]
    assert (run["photos"], run["state"]) == (removed, "complete")
    assert f'data-run="{run["run"]}"' in client.get("/library").text
    assert client.post("/api/undo", json={"run": run["run"]}, headers=token).status_code == 200
    assert client.get("/api/library").json()["quarantine"] == []
    assert client.get("/api/library").json()["photos"] == 26


def test_before_the_first_scan(client: TestClient, unscanned: LiveLibrary, album: Path) -> None:
    page = client.get("/library").text
    for words in ("Nothing has been scanned yet", str(album), "Scan these photos", f"samespace scan {album}"):
        assert words in page
    told = client.get("/api/library").json()
    assert (told["photos"], told["scanned"], told["folders"]) == (0, None, [])
    assert client.get("/api/map").json() == {"state": "none", "words": "Nothing has been scanned yet."}


def test_a_folder_without_photos(client: TestClient, unscanned: LiveLibrary, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with unscanned.library() as library:
        scan(library, [tmp_path / "empty"])
    assert "No photos found" in client.get("/library").text
    (tmp_path / "empty" / "film.mov").write_bytes(b"film")
    with unscanned.library() as library:
        scan(library, [tmp_path / "empty"])
    unscanned.refresh()
    assert "Not looked at: 1 MOV" in client.get("/library").text
    assert client.get("/api/library").json()["not_compared"] == {"MOV": 1}


# In a browser


def expect(what: Any) -> Any:
    from playwright.sync_api import expect

    return expect(what)


def test_a_first_scan_from_the_page(browser: Page, unscanned: LiveLibrary) -> None:
    browser.goto("/library")
    browser.get_by_role("button", name="Scan these photos").click()
    expect(browser.locator("#scan")).to_have_attribute("data-state", "done", timeout=WAIT)
    expect(browser.locator("#scan-words")).to_have_text("26 photos · 27 new files · 1 could not be read")
    expect(browser.locator("#about")).to_contain_text("26")
    expect(browser.locator("#scan-next")).to_have_text("10 groups of duplicates Review")
    expect(browser.locator("#unreadable")).to_contain_text("2023/damaged.jpg")
    browser.get_by_text("Files that could not be read").click()
    expect(browser.locator("#scan-unreadable")).to_contain_text("not an image this program knows")
    expect(browser.locator("#map-canvas")).to_have_attribute("data-sight", "26", timeout=WAIT)
    expect(browser.locator("#map-about")).to_contain_text("where other photos lie says nothing")
    expect(browser.locator("#map-alike")).to_be_hidden()
    expect(browser.get_by_role("button", name="Find photos that look alike")).to_be_enabled()
    browser.get_by_role("link", name="Review", exact=True).last.click()
    expect(browser.locator("h1")).to_have_text("10 groups to review")
    browser.goto("/library")
    expect(browser.locator("#scan")).to_be_hidden()


@pytest.fixture
def held(live: LiveLibrary) -> Iterator[Callable[[], None]]:
    """The library, held as by a scan in a terminal until this is called."""
    begun, over = threading.Event(), threading.Event()

    def hold() -> None:
        with live.library() as library, library.hold():
            begun.set()
            over.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait(60)

    def let_go() -> None:
        over.set()
        thread.join()

    yield let_go
    let_go()


def test_a_scan_is_watched_and_stopped(browser: Page, held: Callable[[], None]) -> None:
    browser.goto("/library")
    browser.get_by_role("button", name="Scan again").click()
    expect(browser.locator("#scan-words")).to_contain_text("Waiting for process", timeout=WAIT)
    expect(browser.get_by_role("button", name="Scan again")).to_be_disabled()
    browser.reload()
    expect(browser.locator("#scan-words")).to_contain_text("Waiting for process")
    browser.get_by_role("button", name="Stop").click()
    stopped = "Stopped with 26 photos remembered: scan again for the rest."
    expect(browser.locator("#scan-words")).to_have_text(stopped, timeout=WAIT)
    expect(browser.locator("#scan-said")).to_have_text(stopped)
    expect(browser.get_by_role("button", name="Stop")).to_be_hidden()
    expect(browser.get_by_role("button", name="Scan again")).to_be_enabled()


def test_a_folder_is_added_by_its_path(browser: Page, album: Path, tmp_path: Path, complaints: list[str]) -> None:
    (tmp_path / "other").mkdir()
    shutil.copy(next((album / "2023").glob("12*")), tmp_path / "other" / "new.jpg")
    browser.goto("/library")
    browser.get_by_text("Add a folder").click()
    expect(browser.get_by_label("Path of the folder on this machine")).to_be_focused()
    browser.keyboard.type("/no/such/folder")
    browser.keyboard.press("Enter")
    expect(browser.get_by_role("alert")).to_contain_text("/no/such/folder is not a folder")
    complaints.clear()  # of the 400
    browser.get_by_label("Path of the folder on this machine").fill(str(tmp_path / "other"))
    browser.get_by_role("button", name="Scan folder").click()
    expect(browser.locator("#scan")).to_have_attribute("data-state", "done", timeout=WAIT)
    expect(browser.locator("#about")).to_have_attribute("data-photos", "27")
    expect(browser.locator(".folders")).to_contain_text("other")


def test_what_was_removed_comes_back(browser: Page, served: Served, live: LiveLibrary) -> None:
    with httpx.Client(base_url=served.url, timeout=60) as client:
        removed = remove_duplicates(client, served.token, 3)
    browser.goto("/library")
    expect(browser.locator("#about")).to_have_attribute("data-photos", str(26 - removed))
    browser.get_by_role("button", name="Bring back").click()
    expect(browser.locator(".toast")).to_have_text(f"Brought back {removed} photos.")
    expect(browser.locator("#about")).to_have_attribute("data-photos", "26")
    expect(browser.locator("#quarantine")).to_have_count(0)


def test_nothing_runs_off_the_page(browser: Page) -> None:
    browser.goto("/library")
    expect(browser.locator("#map-canvas")).to_have_attribute("data-sight", "26", timeout=WAIT)
    for width in (1600, 400):
        browser.set_viewport_size({"width": width, "height": 800})
        assert browser.evaluate("document.documentElement.scrollWidth") == width
