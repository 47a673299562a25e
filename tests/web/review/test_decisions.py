"""Decisions: what is moved, kept together and told apart, what is refused, and undoing all of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from samespace.duplicates import quarantine, undo
from samespace.duplicates.manifest import MANIFEST
from samespace.web.review import decisions
from samespace.web.state import LiveLibrary, photo_id
from tests.web.review.test_page import Token, decided, files, group_of, listed, names, post, rescan, restarted

# Apply and undo


def test_apply_moves_what_is_to_be_removed_and_undo_brings_every_byte_back(
    client: TestClient, token: Token, album: Path, live: LiveLibrary
) -> None:
    before, groups = files(album), listed(client)["groups"]
    told = post(client, token, "/api/apply", {"groups": [decided(group) for group in groups[:3]]})
    gone = {member["name"] for group in groups[:3] for member in group["members"] if not member["keep"]}
    assert told["removed"] == len(gone) and told["skipped"] == []
    assert told["bytes"] == sum(group["bytes"] for group in groups[:3])
    assert told["words"].startswith(f"Removed {len(gone)} photos from 3 groups, which frees ")
    assert before.keys() - files(album).keys() == gone
    assert {path.relative_to(album).as_posix() for path in live.gone} == gone
    assert [group["id"] for group in listed(client)["groups"]] == [group["id"] for group in groups[3:]]
    back = post(client, token, "/api/undo", {})
    assert (back["undone"], back["run"], back["skipped"]) == ("apply", told["run"], [])
    assert back["words"] == f"Brought back {len(gone)} photos." and back["groups"] == [
        each["id"] for each in groups[:3]
    ]
    assert files(album) == before and live.gone == frozenset()
    assert listed(client)["groups"] == groups
    assert post(client, token, "/api/undo", {}, 409)["error"] == "There is nothing to undo."


def test_partners_are_named_and_go_and_come_back_with_their_photos(
    client: TestClient, token: Token, album: Path, live: LiveLibrary
) -> None:
    for photo in [*album.rglob("*.jpg"), *album.rglob("*.png")]:
        photo.with_name(f"{photo.name}.xmp").write_bytes(b"five stars")
    group = listed(client)["groups"][0]
    gone = [member for member in group["members"] if not member["keep"]]
    assert all(member["partners"][0]["label"] == "XMP" for member in group["members"])
    assert [member["partners"][0]["photos"] for member in gone] == [[member["id"]] for member in gone]
    assert group["bytes"] == sum(member["size"] + len(b"five stars") for member in gone)
    assert "+ XMP</p>" in client.get("/review").text
    (album / f"{gone[0]['name']}.xmp").write_bytes(b"four stars, since the photos were compared")
    before = files(album)
    told = post(client, token, "/api/apply", {"groups": [decided(group)]})
    assert (told["removed"], told["partners"], told["skipped"]) == (len(gone), len(gone), [])
    assert " that belong" in told["words"]
    taken = {name for member in gone for name in (member["name"], f"{member['name']}.xmp")}
    assert before.keys() - files(album).keys() == taken
    [run] = client.get("/api/library").json()["quarantine"]
    assert (run["photos"], run["partners"]) == (len(gone), len(gone))
    assert " that belong" in post(client, token, "/api/undo", {})["words"]
    assert files(album) == before


def test_a_person_may_keep_another_than_the_suggestion(
    client: TestClient, token: Token, album: Path, live: LiveLibrary
) -> None:
    group = group_of(client, 3)
    post(client, token, "/api/apply", {"groups": [decided(group, keep=[2])]})
    assert not (album / names(group)[0]).exists() and (album / names(group)[2]).exists()
    (run,) = quarantine.runs(live.folder)
    manifest = (run.folder / MANIFEST).read_text()
    assert manifest.count(f'"keeper": "{album / names(group)[2]}"') == 2


def test_what_was_undone_last_comes_first(client: TestClient, token: Token, album: Path) -> None:
    before, groups = files(album), listed(client)["groups"]
    runs = [post(client, token, "/api/apply", {"groups": [decided(group)]})["run"] for group in groups[:3]]
    assert [post(client, token, "/api/undo", {})["run"] for _ in runs] == runs[::-1]
    assert files(album) == before
    runs = [post(client, token, "/api/apply", {"groups": [decided(group)]})["run"] for group in groups[:2]]
    assert post(client, token, "/api/undo", {"run": runs[0]})["groups"] == [groups[0]["id"]]
    assert post(client, token, "/api/undo", {})["run"] == runs[1]
    assert files(album) == before


def test_what_was_undone_elsewhere_is_not_undone_again(
    client: TestClient, token: Token, album: Path, live: LiveLibrary
) -> None:
    before, groups = files(album), listed(client)["groups"]
    post(client, token, "/api/apply", {"groups": [decided(groups[0])]})
    post(client, token, "/api/apply", {"groups": [decided(groups[1])]})
    undo.undo(quarantine.runs(live.folder)[0].folder)
    assert post(client, token, "/api/undo", {"earlier": False})["groups"] == [groups[0]["id"]]
    post(client, token, "/api/undo", {}, 409)
    assert files(album) == before


def test_undo_works_after_a_restart_and_asks_first_where_it_may_surprise(
    client: TestClient, token: Token, album: Path, live: LiveLibrary
) -> None:
    before, group = files(album), listed(client)["groups"][0]
    run = post(client, token, "/api/apply", {"groups": [decided(group)]})["run"]
    again, its_token = restarted(live, album)
    assert group["id"] not in [each["id"] for each in listed(again)["groups"]]
    removed = files(album)
    told = post(again, its_token, "/api/undo", {"earlier": False})
    assert (told["undone"], told["run"]) == (None, run) and files(album) == removed
    assert re.fullmatch(r"Nothing was decided .* Bring back \d photos? removed on \d{4}-.*\?", told["words"])
    assert post(again, its_token, "/api/undo", {"run": run})["undone"] == "apply"
    assert files(album) == before and group["id"] in [each["id"] for each in listed(again)["groups"]]


@pytest.mark.parametrize("run", ["..", "../..", "", "2020-01-01_00-00-00", 7, []])
def test_only_a_run_of_this_library_is_undone(client: TestClient, token: Token, run: Any, album: Path) -> None:
    post(client, token, "/api/apply", {"groups": [decided(listed(client)["groups"][0])]})
    before = files(album)
    why = "There is no run" if isinstance(run, str) else "`run` must be text"
    assert why in post(client, token, "/api/undo", {"run": run}, 409)["error"]
    assert files(album) == before


def refusals() -> dict[str, tuple[Callable[[list[dict[str, Any]]], Any], str]]:
    """What is sent of two groups, as `decided` gives them, and the sentence that refuses it."""
    return {
        "no groups": (lambda _: {}, "`groups` is missing: it must be a list of one or more."),
        "an empty list": (lambda _: {"groups": []}, "`groups` must be a list of one or more."),
        "a group that is none": (lambda _: {"groups": ["a"]}, "Each of `groups` must be an object, not 'a'."),
        "no keep": (lambda g: {"groups": [{"remove": g[0]["remove"]}]}, "`keep` is missing: it must be a list."),
        "ids that are none": (lambda g: {"groups": [{**g[0], "keep": [1]}]}, "Each of `keep` must be text, not 1."),
        "an unknown photo": (
            lambda g: {"groups": [{**g[0], "keep": [*g[0]["keep"], "0" * 16]}]},
            "There is no photo '0000000000000000': it may have been removed.",
        ),
        "a path": (
            lambda g: {"groups": [{**g[0], "keep": ["/etc/passwd"]}]},
            "There is no photo '/etc/passwd': it may",
        ),
        "nothing kept": (
            lambda g: {"groups": [{"keep": [], "remove": g[0]["keep"] + g[0]["remove"]}]},
            decisions.LAST,
        ),
        "both": (
            lambda g: {"groups": [{**g[0], "remove": g[0]["keep"] + g[0]["remove"]}]},
            "is both to be kept and to be removed.",
        ),
        "part of a group": (
            lambda g: {"groups": [{**g[0], "remove": g[0]["remove"][1:]}]},
            "and those named with it are no group, each photo once: look at it again.",
        ),
        "two groups as one": (
            lambda g: {"groups": [{name: g[0][name] + g[1][name] for name in g[0]}]},
            "are no group, each photo once",
        ),
        "a photo twice": (
            lambda g: {"groups": [{**g[0], "remove": g[0]["remove"] * 2}]},
            "are no group, each photo once",
        ),
        "a group twice": (lambda g: {"groups": [g[1], g[0], g[1]]}, "A group is named twice."),
        "one good, one bad": (lambda g: {"groups": [g[1], {"keep": [], "remove": []}]}, decisions.LAST),
        "another kind": (lambda g: {"groups": [g[0]], "kind": "exact"}, "are no group, each photo once"),
        "another threshold": (lambda g: {"groups": [g[0]], "threshold": 1}, "are no group, each photo once"),
    }


@pytest.mark.parametrize("case", refusals())
def test_a_decision_that_is_not_whole_is_refused_and_nothing_moves(
    client: TestClient, token: Token, album: Path, case: str, live: LiveLibrary
) -> None:
    before, (sent, sentence) = files(album), refusals()[case]
    groups = [decided(group) for group in listed(client)["groups"] if len(group["members"]) == 3]
    assert sentence in post(client, token, "/api/apply", sent(groups), 422)["error"]
    assert files(album) == before and quarantine.runs(live.folder) == [] and live.gone == frozenset()


def test_what_has_changed_since_it_was_scanned_is_left_and_told(client: TestClient, token: Token, album: Path) -> None:
    group = group_of(client, 3)
    changed = album / names(group)[2]
    changed.write_bytes(b"somebody has edited this")
    told = post(client, token, "/api/apply", {"groups": [decided(group)]})
    assert told["removed"] == 1 and changed.exists() and not (album / names(group)[1]).exists()
    assert told["skipped"] == [{"photo": group["members"][2]["id"], "name": names(group)[2], "reason": "changed"}]
    assert told["words"].endswith(" 1 photo could not be moved: changed.")
    (left,) = [each for each in listed(client)["groups"] if each["members"][0]["id"] == group["members"][0]["id"]]
    assert names(left) == [names(group)[0], names(group)[2]]


def test_a_taken_place_is_told_by_undo(client: TestClient, token: Token, album: Path) -> None:
    group = group_of(client, 2)
    post(client, token, "/api/apply", {"groups": [decided(group)]})
    (album / names(group)[1]).write_bytes(b"another file")
    told = post(client, token, "/api/undo", {})
    assert [(each["name"], each["reason"]) for each in told["skipped"]] == [(names(group)[1], "its place is taken")]
    assert (album / names(group)[1]).read_bytes() == b"another file"


def test_while_a_scan_holds_the_library_nothing_waits_for_it(
    client: TestClient, token: Token, album: Path, live: LiveLibrary
) -> None:
    first, second, *_ = listed(client)["groups"]
    post(client, token, "/api/apply", {"groups": [decided(first)]})
    before = files(album)
    with live.library() as library, library.hold():
        assert post(client, token, "/api/apply", {"groups": [decided(second)]}, 409)["error"] == decisions.BUSY
        assert post(client, token, "/api/undo", {}, 409)["error"] == decisions.BUSY
    assert files(album) == before
    assert post(client, token, "/api/apply", {"groups": [decided(second)]})["removed"]
    assert len(post(client, token, "/api/undo", {})["groups"]) == 1


def test_what_was_kept_together_does_not_come_back(
    client: TestClient, token: Token, album: Path, live: LiveLibrary
) -> None:
    before, three, two = files(album), group_of(client, 3), group_of(client, 2)
    assert post(client, token, "/api/apply", {"groups": [decided(two, keep=[0, 1])]})["words"] == "Kept all 2 photos."
    assert files(album) == before
    post(client, token, "/api/apply", {"groups": [decided(three, keep=[0, 2])]})
    rescan(live, album)
    for asker in (client, restarted(live, album)[0]):
        left = listed(asker)
        assert left["total"] == 8 and not {*names(two), *names(three)} & {
            n for each in left["groups"] for n in names(each)
        }
    post(client, token, "/api/undo", {})
    back = post(client, token, "/api/undo", {})
    assert (back["words"], back["groups"]) == ("Undone: the group is back.", [two["id"]])
    rescan(live, album)
    assert listed(client)["total"] == 10 and files(album) == before


def test_another_server_of_the_library_forgets_nothing_that_was_kept_together(
    client: TestClient, token: Token, album: Path, live: LiveLibrary
) -> None:
    other, its_token = restarted(live, album)
    first, second, *_ = [group for group in listed(client)["groups"] if len(group["members"]) == 2]
    assert listed(other)["total"] == 10
    post(client, token, "/api/apply", {"groups": [decided(first, keep=[0, 1])]})
    post(other, its_token, "/api/apply", {"groups": [decided(second, keep=[0, 1])]})
    assert listed(client)["total"] == listed(other)["total"] == 8
    post(client, token, "/api/undo", {})
    for asker in (client, other, restarted(live, album)[0]):
        groups = [group["id"] for group in listed(asker)["groups"]]
        assert first["id"] in groups and second["id"] not in groups


def test_a_new_copy_makes_a_group_of_what_was_kept_together(
    client: TestClient, token: Token, album: Path, live: LiveLibrary
) -> None:
    group = group_of(client, 2)
    post(client, token, "/api/apply", {"groups": [decided(group, keep=[0, 1])]})
    shutil.copy(album / names(group)[0], album / "new.jpg")
    rescan(live, album)
    assert sorted([*names(group), "new.jpg"]) in [sorted(names(each)) for each in listed(client)["groups"]]


def test_a_group_whose_keeper_somebody_took_away_can_still_be_decided(
    client: TestClient, token: dict[str, str], album: Path
) -> None:
    group = next(group for group in listed(client)["groups"] if len(group["members"]) == 3)
    keeper, *others = [member["id"] for member in group["members"]]
    (album / group["members"][0]["name"]).unlink()
    sent = {"groups": [{"keep": [keeper], "remove": others}]}
    answer = client.post("/api/apply", json=sent, headers=token).json()
    assert len(answer["skipped"]) == 2
    assert str(album) not in json.dumps(answer)
    left = next(
        group for group in listed(client)["groups"] if {member["id"] for member in group["members"]} == set(others)
    )
    keep, remove = (member["id"] for member in left["members"])
    answer = client.post("/api/apply", json={"groups": [{"keep": [keep], "remove": [remove]}]}, headers=token).json()
    assert answer["removed"] == 1


# What is said of photos


def test_photos_told_apart_stay_apart_until_it_is_unsaid(
    client: TestClient, token: Token, album: Path, live: LiveLibrary
) -> None:
    group = group_of(client, 2)
    pair = dict(zip(("photo0", "photo1"), (member["id"] for member in group["members"]), strict=True))
    told = post(client, token, "/api/verdicts", {**pair, "said": "different"})
    assert told == {"said": "different", "pairs": 1, "words": "Won't be grouped again."}
    assert listed(client)["total"] == 9
    assert all(each["groups"] <= 9 for each in listed(client, "/api/groups/counts")["positions"])
    rescan(live, album)
    assert listed(client)["total"] == 9 == listed(restarted(live, album)[0])["total"]
    post(client, token, "/api/verdicts", {**pair, "said": "unsaid"})
    assert listed(client)["total"] == 10
    with live.library() as library:
        assert library.verdicts() == {}


def test_undo_brings_back_what_was_said_before(client: TestClient, token: Token, live: LiveLibrary) -> None:
    ids = [member["id"] for member in group_of(client, 3)["members"]]
    contents = [live.snapshot.photos[each].content for each in ids]
    with live.library() as library:
        library.add_verdict(contents[0], contents[1], True)
        before = library.verdicts()
    post(client, token, "/api/verdicts", {"photos": ids, "said": "different", "group": "g"})
    told = post(client, token, "/api/undo", {"earlier": False})
    assert (told["undone"], told["groups"], sorted(told["photos"])) == ("verdicts", ["g"], sorted(ids))
    with live.library() as library:
        assert library.verdicts() == before


def test_one_photo_is_told_apart_from_the_others(client: TestClient, token: Token) -> None:
    group = group_of(client, 3)
    keeper, odd, other = group["members"]
    sent = {"photo0": odd["id"], "photos": [keeper["id"], other["id"]], "said": "different"}
    assert post(client, token, "/api/verdicts", sent)["pairs"] == 2
    assert sorted([keeper["name"], other["name"]]) in [sorted(names(each)) for each in listed(client)["groups"]]


def test_every_two_of_a_group_are_told_apart(client: TestClient, token: Token, live: LiveLibrary) -> None:
    group = group_of(client, 3)
    sent = {"photos": [member["id"] for member in group["members"]], "said": "different"}
    assert post(client, token, "/api/verdicts", sent)["pairs"] == 3
    assert listed(client)["total"] == 9
    with live.library() as library:
        assert list(library.verdicts().values()) == [False] * 3


def test_photos_of_the_same_bytes_cannot_be_told_apart(
    client: TestClient, token: Token, album: Path, live: LiveLibrary
) -> None:
    group = group_of(client, 2)
    shutil.copy(album / names(group)[0], album / "copy.jpg")
    rescan(live, album)
    ids = {name: photo_id(album / name) for name in ("copy.jpg", *names(group))}
    sent = {"photo0": ids["copy.jpg"], "photo1": ids[names(group)[0]], "said": "different"}
    assert "the same bytes" in post(client, token, "/api/verdicts", sent, 422)["error"].lower()
    told = post(client, token, "/api/verdicts", {"photos": [*ids.values()], "said": "different"})
    assert told["words"] == "Won't be grouped again; identical photos stay together."
    assert sorted(["copy.jpg", names(group)[0]]) in [sorted(names(each)) for each in listed(client)["groups"]]


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ({}, "`said` is missing: it must be same, different or unsaid."),
        ({"said": "maybe"}, "`said` must be same, different or unsaid, not 'maybe'."),
        ({"said": "same"}, "Name at least two photos, each once."),
        ({"said": "same", "photo0": "A"}, "Name at least two photos, each once."),
        ({"said": "same", "photo0": "A", "photo1": "A"}, "Name at least two photos, each once."),
        ({"said": "same", "photos": ["A", "B", "A"]}, "Name at least two photos, each once."),
        ({"said": "same", "photos": "AB"}, "`photos` must be a list, not 'AB'."),
        ({"said": "same", "photo0": "A", "photo1": "nobody"}, "There is no photo 'nobody': it may have been removed."),
        ({"said": "same", "photo0": "A", "photo1": {}}, "`photo1` must be text."),
    ],
)
def test_a_verdict_on_nothing_is_refused(
    client: TestClient, token: Token, live: LiveLibrary, sent: dict[str, Any], sentence: str
) -> None:
    ids = dict(zip("AB", live.snapshot.photos, strict=False))
    named = {
        name: [ids.get(each, each) for each in value] if isinstance(value, list) else value
        for name, value in sent.items()
    }
    named = {name: ids.get(value, value) if isinstance(value, str) else value for name, value in named.items()}
    assert post(client, token, "/api/verdicts", named, 422) == {"error": sentence}
    with live.library() as library:
        assert library.verdicts() == {}
