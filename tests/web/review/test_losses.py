"""The review page says what only removed copies know, and keeps it beside the photo that stays if asked to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from samespace.base.metadata import Metadata
from samespace.base.xmp import new_sidecar, read_xmp
from samespace.web.state import LiveLibrary
from tests.web.review.test_page import Token, decided, files, group_of, listed, names, post

GARDEN = Metadata(gps=(48.0, 11.5), rating=4, keywords=('a "quoted" <word>',))


@pytest.fixture
def noted(album: Path, client: TestClient) -> dict[str, Any]:
    """A group of three; a program noted something of the second photo, and less of the third."""
    group = group_of(client, 3)
    for name, known in zip(names(group)[1:], (GARDEN, Metadata(rating=2)), strict=True):
        (album / f"{name}.xmp").write_bytes(new_sidecar(known))
    return next(each for each in listed(client)["groups"] if each["id"] == group["id"])


def test_programs_are_told_what_would_be_lost(noted: dict[str, Any]) -> None:
    assert [member["only_here"] for member in noted["members"]] == [[], ["GPS", "rating", "keywords"], ["rating"]]


def test_the_page_says_it_without_scripts_too(noted: dict[str, Any], client: TestClient) -> None:
    listed(client)
    text = client.get("/review").text
    assert "only this copy has: GPS, keywords; only removed copies have: rating" in text
    assert "&#34;keywords:a \\&#34;quoted\\&#34; \\u003cword\\u003e&#34;" in text
    assert "Keep what only removed copies know" in text


def test_apply_keeps_it_if_asked_and_undo_takes_it_back(
    noted: dict[str, Any], client: TestClient, token: Token, album: Path, live: LiveLibrary
) -> None:
    before, sidecar = files(album), album / f"{names(noted)[0]}.xmp"
    post(client, token, "/api/apply", {"groups": [decided(noted)]})
    assert not sidecar.exists()
    post(client, token, "/api/undo", {})
    answer = post(client, token, "/api/apply", {"groups": [decided(noted)], "merge_metadata": True})
    assert answer["words"].endswith("What only they knew is in 1 sidecar now.")
    assert read_xmp(sidecar.read_bytes()) == GARDEN
    post(client, token, "/api/undo", {})
    assert files(album) == before and live.gone == frozenset()


def test_the_words_follow_the_marks_and_the_switch_keeps_it(
    noted: dict[str, Any], browser: Any, album: Path, complaints: list[str]
) -> None:
    from playwright.sync_api import expect

    browser.goto("/review")
    group = browser.locator(f"#g-{noted['id']}.ready")
    only = group.locator(".only")
    shared = "only removed copies have: rating"
    expect(only).to_have_text(["", f"only this copy has: GPS, keywords; {shared}", shared])
    group.get_by_role("switch").nth(2).click()  # keep the third, which is rated
    expect(only).to_have_text(["", "only this copy has: GPS, keywords", ""])
    group.get_by_role("switch").nth(2).click()
    browser.get_by_label("Keep what only removed copies know").check()
    browser.reload()
    expect(browser.get_by_label("Keep what only removed copies know")).to_be_checked()
    group.get_by_role("button", name="Remove 2").click()
    expect(browser.locator("#toasts")).to_contain_text("What only they knew is in 1 sidecar now.")
    assert read_xmp((album / f"{names(noted)[0]}.xmp").read_bytes()) == GARDEN
    assert complaints == []
