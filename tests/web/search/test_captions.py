"""What photos are captioned: shown wherever they are, edited in place, found by its words at once."""

from __future__ import annotations

import html
import os
import re
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from samespace.library.library import Library, Photo
from samespace.library.scan import scan
from samespace.search.same_shot import Sketches
from samespace.web.state import LiveLibrary, photo_id
from samespace.words.stored_captions import FILE, Caption, LibraryCaptions
from tests.conftest import Served

if TYPE_CHECKING:
    from playwright.sync_api import Page

Token = dict[str, str]
BEDROOM = "2023/01 bedroom.jpg"  # it has a smaller copy in phone and a brighter one in edited
PARROT = "A green parrot on the bed"
NASTY = '<b>"it\'s" </textarea><script>alert(1)</script>'


def named(live: LiveLibrary, name: str = BEDROOM) -> Photo:
    return live.snapshot.photos[photo_id(live.roots[0] / name)]


def address(live: LiveLibrary, name: str = BEDROOM) -> str:
    return f"/photos/{photo_id(live.roots[0] / name)}/caption"


@pytest.fixture
def put(client: TestClient, live: LiveLibrary, token: Token) -> Callable[..., Any]:
    """Caption a photo as a program does; what is answered."""

    def edit(caption: Any, name: str = BEDROOM, status: int = 200) -> Any:
        answer = client.put(f"/api{address(live, name)}", json={"caption": caption}, headers=token)
        assert answer.status_code == status, answer.text
        return answer.json()

    return edit


def write(live: LiveLibrary, caption: str, writer: str = "a captioner", name: str = BEDROOM) -> None:
    """As another process does, beside the server."""
    with live.library() as library, LibraryCaptions(library) as captions:
        captions.write({named(live, name).content: caption}, writer)


def shown(page: str, name: str = BEDROOM) -> str:
    """The caption below this photo's name."""
    found = re.search(
        rf'<p class="name" title="{re.escape(name)}".*?<summary title="([^"]*)">([^<]*)</summary>.*?</details>',
        page,
        re.DOTALL,
    )
    assert found, name
    full, words = map(html.unescape, found.groups())
    assert words == (full or "Add a caption")
    return full


def review(client: TestClient) -> dict[str, dict[str, Any]]:
    """The members of all groups, by name."""
    while (answer := client.get("/api/groups?count=100")).status_code == 202:
        pass
    return {member["name"]: member for group in answer.json()["groups"] for member in group["members"]}


# For programs


def test_a_caption_is_answered_with_its_photo_everywhere(client: TestClient, put: Callable[..., Any]) -> None:
    assert review(client)[BEDROOM] | {"caption": None, "caption_by_hand": False} == review(client)[BEDROOM]
    photo = put(f"  {PARROT}\n")
    assert (photo["name"], photo["caption"], photo["caption_by_hand"]) == (BEDROOM, PARROT, True)
    assert photo.items() <= review(client)[BEDROOM].items()
    (hit,) = client.post("/api/search", json={"sentence": "parrots"}).json()["hits"]
    assert photo.items() <= hit.items()
    found = client.post("/api/search", json={"like": "phone/01 bedroom.jpg"}).json()["hits"][0]
    assert photo in [{name: value for name, value in each.items() if name in photo} for each in (found, *found["also"])]


def test_an_empty_caption_means_that_none_is_wanted(
    client: TestClient, live: LiveLibrary, put: Callable[..., Any]
) -> None:
    write(live, "a bed")
    assert put(" ") | {"caption": None, "caption_by_hand": True} == put("")
    write(live, "a bed, once more")
    assert review(client)[BEDROOM]["caption"] is None
    assert not live.understands


def test_files_of_the_same_bytes_share_a_caption(
    client: TestClient, live: LiveLibrary, put: Callable[..., Any]
) -> None:
    shutil.copy(named(live).path, live.roots[0] / "2023" / "again.jpg")
    with live.library() as library:
        scan(library, live.roots, [Sketches()])
    live.refresh()
    put(PARROT)
    assert review(client)["2023/again.jpg"]["caption"] == PARROT


@pytest.mark.parametrize(
    ("caption", "sentence"),
    [
        (7, "`caption` must be text, not 7."),
        (None, "`caption` must be text."),
        ("x" * 1001, "A caption of 1,001 characters is too long: 1,000 at most."),
    ],
)
def test_what_is_no_caption_is_refused_in_a_sentence(
    live: LiveLibrary, put: Callable[..., Any], caption: Any, sentence: str
) -> None:
    put(PARROT)
    assert put(caption, status=400) == {"error": sentence}
    assert live.captions == {named(live).content: Caption(PARROT, True)}


def test_half_a_character_does_no_harm(client: TestClient, live: LiveLibrary, token: Token) -> None:
    kind = {"content-type": "application/json"}
    answer = client.put(f"/api{address(live)}", content=rb'{"caption": "a \ud800 bed"}', headers=token | kind)
    assert answer.json()["caption"] == "a ? bed"


def test_a_photo_that_is_not_there_has_no_caption(client: TestClient, token: Token) -> None:
    answer = client.put("/api/photos/0123456789abcdef/caption", json={"caption": "a bed"}, headers=token)
    assert (answer.status_code, "not in the library" in answer.json()["error"]) == (404, True)


def test_a_library_that_cannot_be_written_says_so(
    put: Callable[..., Any], live: LiveLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Library.__init__

    def read_only(self: Library, *given: Any) -> None:
        made(self, *given)
        self.is_writable = False

    monkeypatch.setattr(Library, "__init__", read_only)
    said = "Captions cannot be kept in a library that cannot be written: copy it elsewhere."
    assert put(PARROT, status=400) == {"error": said}


def test_without_the_token_nothing_changes(client: TestClient, live: LiveLibrary, token: Token) -> None:
    assert client.put(f"/api{address(live)}", json={"caption": PARROT}).status_code == 403
    for fields in ({}, {"token": ""}, {"token": "a guess"}):
        answer = client.post(address(live), data={"caption": PARROT, **fields}, headers={"accept": "text/html"})
        assert (answer.status_code, "This needs the token of the page" in answer.text) == (403, True)
    elsewhere = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
    fields = {"caption": PARROT, "token": token["X-SameSpace-Token"]}
    assert client.post(address(live), data=fields, headers=elsewhere).status_code == 403
    assert live.captions == {}


# On pages


@pytest.mark.parametrize(
    ("came_from", "back"),
    [
        ("http://127.0.0.1/search?q=a+bed&folder=2023", "/search?q=a+bed&folder=2023"),
        ("http://127.0.0.1/review", "/review"),
        ("http://evil.example/search?like=1", "/search?like=1"),
        ("http://evil.example//evil.example", "/search"),
        ("http://127.0.0.1/library?x=1", "/search"),
        ("", "/search"),
    ],
)
def test_a_form_leads_back_to_its_page(
    client: TestClient, live: LiveLibrary, token: Token, came_from: str, back: str
) -> None:
    fields = {"caption": PARROT, "token": token["X-SameSpace-Token"]}
    answer = client.post(address(live), data=fields, headers={"referer": came_from})
    assert (answer.status_code, answer.headers["location"]) == (303, back)
    assert live.captions == {named(live).content: Caption(PARROT, True)}


@pytest.mark.parametrize("page", ["/search", "/search?q=01&names=1", "/search?q=parrot+alert", "/review"])
def test_captions_are_text_and_what_pictures_are_called(client: TestClient, put: Callable[..., Any], page: str) -> None:
    put(f"parrot {NASTY}")
    review(client)  # until it has been compared
    told = client.get(page).text
    assert shown(told) == f"parrot {NASTY}"
    assert NASTY not in told
    assert f'alt="parrot {html.escape(NASTY)}"'.replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in told


def test_a_photo_without_a_caption_is_called_by_its_name(client: TestClient) -> None:
    review(client)
    for page in ("/search?like=phone/01+bedroom.jpg", "/review"):
        told = client.get(page).text
        assert shown(told) == ""
        assert f'alt="{BEDROOM}"' in told


def test_what_another_process_writes_is_shown(client: TestClient, live: LiveLibrary) -> None:
    for caption in ("a bed", "a wide bed", "no bed"):
        write(live, caption)
        assert shown(client.get("/search").text) == caption
    (live.folder / FILE).unlink()
    assert shown(client.get("/search").text) == ""


def test_changes_too_close_for_a_clock_are_seen(live: LiveLibrary) -> None:
    content = named(live).content
    for caption in ("a bed", "no bed"):
        live.caption(content, caption)
        os.utime(live.folder / FILE, (1, 1))
        assert live.captions[content].text == caption


def test_a_damaged_file_of_captions_stops_nothing_else(
    client: TestClient, live: LiveLibrary, put: Callable[..., Any]
) -> None:
    (live.folder / FILE).write_bytes(b"no database" * 100)
    for page in ("/search", "/search?like=2023/01+bedroom.jpg", "/review", "/library"):
        assert client.get(page).status_code == 200
    assert "captions.sqlite is damaged" in put(PARROT, status=400)["error"]


# In a browser


def caption(page: Page, name: str = BEDROOM) -> Any:
    return page.locator(f'li:has(> .name[title="{name}"]) > .caption')


def test_a_caption_is_edited_by_keyboard_and_found_by_its_words(browser: Page, live: LiveLibrary) -> None:
    from playwright.sync_api import expect

    browser.goto("/search?like=" + photo_id(live.roots[0] / "phone/01 bedroom.jpg") + "&all=1")
    name = browser.locator("#found .name").first.get_attribute("title")
    assert name
    browser.keyboard.press("ArrowRight")
    browser.keyboard.press("e")
    expect(caption(browser, name).locator("textarea")).to_be_focused()
    browser.keyboard.type("no, rather")
    browser.keyboard.press("Escape")
    expect(caption(browser, name).locator("summary")).to_have_text("Add a caption")
    expect(browser.locator("#found .hit .like").first).to_be_focused()
    browser.keyboard.press("e")
    browser.keyboard.type(f"{PARROT}: e o + /")
    browser.keyboard.press("Enter")
    expect(caption(browser, name).locator("summary")).to_have_text(f"{PARROT}: e o + /")
    expect(browser.locator("#found .open img").first).to_have_attribute("alt", f"{PARROT}: e o + /")
    assert live.captions[named(live, name).content] == Caption(f"{PARROT}: e o + /", True)
    expect(browser.locator("#found .hit .like").first).to_be_focused()
    browser.keyboard.press("/")
    browser.keyboard.type("parrots")
    browser.keyboard.press("Enter")
    expect(browser.locator("h2[title=parrots]")).to_be_visible()
    expect(browser.locator("#found .name")).to_have_attribute("title", name)
    browser.reload()
    expect(caption(browser, name).locator("summary")).to_have_text(f"{PARROT}: e o + /")


def test_a_caption_is_edited_in_the_large_view(browser: Page, live: LiveLibrary) -> None:
    from playwright.sync_api import expect

    live.caption(named(live).content, "a bed")
    browser.goto("/search?q=bed")
    browser.keyboard.press("ArrowRight")
    browser.keyboard.press("o")
    viewer = browser.locator("#viewer")
    expect(viewer.locator(".caption summary")).to_have_text("a bed")
    expect(viewer.locator(".stage img")).to_have_attribute("alt", "a bed")
    browser.keyboard.press("e")
    browser.keyboard.press("End")
    browser.keyboard.type(" on the left")
    browser.keyboard.press("Escape")
    expect(viewer).to_be_visible()
    expect(viewer.locator(".caption summary")).to_have_text("a bed")
    viewer.locator(".caption summary").click()
    viewer.locator("textarea").fill(PARROT)
    viewer.get_by_role("button", name="Save").click()
    expect(viewer.locator(".caption summary")).to_have_text(PARROT)
    browser.keyboard.press("o")
    expect(viewer).to_be_hidden()
    expect(caption(browser).locator("summary")).to_have_text(PARROT)
    browser.keyboard.press("o")
    expect(viewer.locator(".caption summary")).to_have_text(PARROT)


def test_the_key_is_told(browser: Page) -> None:
    from playwright.sync_api import expect

    browser.goto("/search")
    browser.keyboard.press("?")
    expect(browser.locator("#help")).to_contain_text("edit the caption")


def test_without_scripts(scriptless: Page, served: Served, live: LiveLibrary) -> None:
    from playwright.sync_api import expect

    live.caption(named(live, "2023/02 kitchen.jpg").content, "a sink and a parrot")
    page = scriptless
    page.goto(f"{served.url}/search?q=parrot&folder=2023")
    place = caption(page, "2023/02 kitchen.jpg")
    place.locator("summary").click()
    place.locator("textarea").fill("a parrot, and nothing else")
    place.get_by_role("button", name="Save").click()
    expect(caption(page, "2023/02 kitchen.jpg").locator("summary")).to_have_text("a parrot, and nothing else")
    assert page.url == f"{served.url}/search?q=parrot&folder=2023"
    page.goto(f"{served.url}/review")
    while "Comparing" in page.content():
        page.reload()
    place = page.locator(".caption").first
    place.locator("summary").click()
    place.locator("textarea").fill("reviewed")
    place.get_by_role("button", name="Save").click()
    expect(page.locator(".caption summary").first).to_have_text("reviewed")
    assert page.url == f"{served.url}/review"
