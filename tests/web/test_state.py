"""The library that pages show: as it goes away and comes back, and without what was removed from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from samespace.library.library import FOLDER
from samespace.web.library import photo_map
from samespace.web.library.photo_map import Maps
from samespace.web.review import groups as comparing
from samespace.web.review.groups import Comparings
from samespace.web.state import LibraryAway, LiveLibrary

Token = dict[str, str]


@contextmanager
def away(folder: Path) -> Iterator[None]:
    """As if its disk had been unplugged."""
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(folder)


def settled(ask: Callable[[], Any]) -> Any:
    """The answer as soon as nothing is made in the background any more."""
    while (answer := ask()).status_code == 202:
        pass
    return answer


PAGES = ["/review", "/search", "/search?like={photo}", "/search?q=a+bed", "/search/names?q=01", "/library"]
ASKED: list[tuple[str, Any]] = [
    ("/api/groups", None),
    ("/api/groups/counts", None),
    ("/api/library", None),
    ("/api/search", {"like": "{photo}"}),
    ("/api/search", {"sentence": "a bed"}),
    ("/api/verdicts", {"photo0": "{photo}", "photo1": "{other}", "said": "same"}),
    ("/api/apply", {"groups": [{"keep": ["0" * 16], "remove": []}]}),
    ("/api/undo", {}),
    ("/api/scan", {}),
]


@pytest.mark.parametrize("part", [".", FOLDER])
@pytest.mark.parametrize("first", [True, False])
def test_while_the_library_is_away_everything_says_so_and_then_works_again(
    client: TestClient, token: Token, live: LiveLibrary, album: Path, part: str, first: bool
) -> None:
    photo, other, *_ = live.snapshot.photos

    def named(text: str) -> str:
        return text.replace("{photo}", photo).replace("{other}", other)

    def works() -> None:
        assert settled(lambda: client.get("/api/groups")).json()["total"] == 10
        assert settled(lambda: client.get("/api/map")).json()["state"] == "ready"
        assert client.post("/api/search", json={"like": photo}).json()["hits"]
        for address in PAGES:
            assert client.get(named(address), headers={"accept": "text/html"}).status_code == 200

    if not first:
        works()
    said = (
        f"The library's folder {live.folder} is not there any more, perhaps because its disk is not: "
        "this page works again once it is back."
    )
    with away(album / part):
        for address in PAGES:
            page = client.get(named(address), headers={"accept": "text/html"})
            assert (page.status_code, said.replace("'", "&#39;") in page.text) == (503, True), address
        for address, sent in ASKED:
            given = {name: named(value) if isinstance(value, str) else value for name, value in (sent or {}).items()}
            ask = client.get(address) if sent is None else client.post(address, json=given, headers=token)
            assert (ask.status_code, ask.json()) == (503, {"error": said}), address
        assert not live.folder.exists()
    works()


def test_what_was_begun_while_it_was_away_is_begun_again(live: LiveLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "PATIENCE", 60)
    monkeypatch.setattr(photo_map, "PATIENCE", 60)
    comparings, maps = Comparings(live), Maps(live)
    with away(live.folder):
        with pytest.raises(LibraryAway):
            comparings.of("near").groups(0.6, live, {})
        with pytest.raises(LibraryAway):
            maps.latest()
    groups, made = comparings.of("near").groups(0.6, live, {}), maps.latest()
    assert groups is not None and len(groups) == 10
    assert made is not None and len(made.photos) == 26


@pytest.mark.parametrize("fails", [True, False])
def test_what_went_on_while_it_went_away_is_begun_again(
    live: LiveLibrary, album: Path, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it noticed, or took the photos for damaged ones."""
    monkeypatch.setattr(comparing, "PATIENCE", 60)
    real, elsewhere = comparing.Comparison, album.with_name("elsewhere")

    def compared(*given: Any) -> Any:
        album.rename(elsewhere)
        if fails:
            raise FileNotFoundError("a file of features")
        return real(*given)

    comparings = Comparings(live)
    with monkeypatch.context() as patched:
        patched.setattr(comparing, "Comparison", compared)
        with pytest.raises(LibraryAway):
            comparings.of("exact").groups(1, live, {})
    elsewhere.rename(album)
    assert comparings.of("exact").groups(1, live, {}) == []


def test_other_mistakes_keep_their_sentence(live: LiveLibrary) -> None:
    with pytest.raises(FileNotFoundError, match="features"), live.library():
        raise FileNotFoundError("a file of features")


# What was removed


def test_photos_that_were_removed_and_restored_are_known(live: LiveLibrary) -> None:
    first, second, *_ = (photo.path for photo in live.snapshot.photos.values())
    live.remove([first, second])
    live.restore([second])
    assert live.gone == {first}
    second.unlink()
    live.refresh()
    assert live.gone == {second}
