"""Videos and RAW files of equal bytes are groups of the page, too: shown as tiles, removed and brought back."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from samespace.web.state import LiveLibrary
from tests.duplicates.conftest import write
from tests.web.review.test_page import Token, decided, files, listed, names, post, rescan


@pytest.fixture
def films(client: TestClient, live: LiveLibrary, album: Path) -> TestClient:
    for name in ("one.mov", "two/one.MOV"):
        write(album / name, b"film" * 500_000)
    rescan(live, album)
    return client


def test_they_are_decided_like_photos(films: TestClient, token: Token, album: Path, live: LiveLibrary) -> None:
    before = files(album)
    (group,) = [group for group in listed(films)["groups"] if names(group)[0].endswith("mov")]
    assert names(group) == ["one.mov", "two/one.MOV"]
    assert (group["kind"], group["bytes"], group["members"][1]["why"]) == (
        "exact",
        2_000_000,
        "same bytes, later by name",
    )
    told = post(films, token, "/api/apply", {"groups": [decided(group)]})
    assert told["removed"] == 1 and not (album / "two/one.MOV").exists()
    assert group["id"] not in [each["id"] for each in listed(films)["groups"]]
    assert post(films, token, "/api/undo", {})["photos"] == [member["id"] for member in group["members"]]
    assert files(album) == before
    assert group["id"] in [each["id"] for each in listed(films)["groups"]]
    counts = films.get("/api/groups/counts").json()["positions"]
    assert counts[-9]["groups"] == len(listed(films)["groups"])


@pytest.mark.parametrize("which", ["thumbnail", "photo"])
def test_a_tile_stands_for_them(films: TestClient, which: str) -> None:
    (group,) = [group for group in listed(films)["groups"] if names(group)[0].endswith("mov")]
    tile = films.get(group["members"][0][which])
    assert (tile.status_code, tile.headers["content-type"]) == (200, "image/svg+xml")
    assert ">MOV<" in tile.text and ">2.0 MB<" in tile.text
    page = films.get("/review?sort=largest").text
    article = page.partition(f'id="g-{group["id"]}"')[2].partition("</article>")[0]
    assert "2 files" in article and "0 × 0" not in article
    assert 'class="compare"' not in article and 'class="caption' not in article
    assert 'class="compare"' in page


def test_a_scan_that_finds_one_more_is_noticed(films: TestClient, album: Path, live: LiveLibrary) -> None:
    number = live.snapshot.number
    live.catch_up(moved=False)
    assert live.snapshot.number == number
    write(album / "three.mov", b"film" * 500_000)
    rescan(live, album)
    (group,) = [group for group in listed(films)["groups"] if names(group)[0].endswith("mov")]
    assert len(group["members"]) == 3
