"""A photo, or a keeper, that is not as planned is left alone, and the rest is done."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from samespace.duplicates.apply import apply
from samespace.duplicates.plan import Plan, PlannedGroup
from samespace.library.library import Library
from tests.duplicates.conftest import NOON, Folder, make_plan, planned, snapshot, undo_all, write


def gone(folder: Folder, path: Path) -> None:
    path.unlink()


def longer(folder: Folder, path: Path) -> None:
    write(path, b"longer than it was", path.stat().st_mtime_ns)


def touched(folder: Folder, path: Path) -> None:
    os.utime(path, ns=(NOON + 1000, NOON + 1000))


def edited_behind_its_date(folder: Folder, path: Path) -> None:
    write(path, path.read_bytes()[::-1], path.stat().st_mtime_ns)


def made_a_link(folder: Folder, path: Path) -> None:
    path.rename(folder.root / "other.jpg")
    path.symlink_to(folder.root / "other.jpg")


def made_a_folder(folder: Folder, path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES = {
    gone: "disappeared since the plan",
    longer: "changed since the plan",
    touched: "changed since the plan",
    edited_behind_its_date: "changed since the plan, though",
    made_a_link: "became a link since the plan",
    made_a_folder: "is no longer a file",
}


@pytest.mark.parametrize("alter", CHANGES, ids=lambda change: change.__name__)
def test_a_victim_that_is_not_as_planned_is_left_and_the_rest_is_done(
    folder: Folder, alter: Callable[..., None]
) -> None:
    alter(folder, folder.b)
    start = snapshot(folder.root)
    applied = apply(folder.plan)
    assert applied.photos == 3
    assert [skipped.path for skipped in applied.skipped] == [folder.b]
    assert applied.skipped[0].reason.startswith(CHANGES[alter])
    assert not folder.copy.exists()
    undo_all(folder.library.folder)
    assert snapshot(folder.root) == start


@pytest.mark.parametrize("alter", CHANGES, ids=lambda change: change.__name__)
def test_a_group_whose_keeper_is_not_as_planned_is_left_alone(folder: Folder, alter: Callable[..., None]) -> None:
    alter(folder, folder.a)
    applied = apply(folder.plan)
    assert {skipped.path for skipped in applied.skipped} == {folder.b, folder.copy, folder.odd}
    assert all(f"kept for it, {folder.a}, {CHANGES[alter]}" in skipped.reason for skipped in applied.skipped)
    assert all(path.exists() for path in (folder.b, folder.copy, folder.odd))
    assert not folder.linked.exists()  # the other group's


def test_a_group_is_not_carried_out_on_a_reference_alone(folder: Folder) -> None:
    plan = make_plan(folder.library, folder.root, ([folder.a, folder.two], [folder.b]))
    folder.a.unlink()
    assert apply(plan).photos == 0
    assert folder.b.exists()


def test_a_victim_behind_a_folder_that_became_a_link_is_left(folder: Folder, tmp_path: Path) -> None:
    (folder.root / "b").rename(tmp_path / "outside")
    (folder.root / "b").symlink_to(tmp_path / "outside")
    applied = apply(folder.plan)
    assert {skipped.path for skipped in applied.skipped} == {folder.b, folder.linked}
    undo_all(folder.library.folder)
    assert apply(folder.plan, dry_run=True).skipped == applied.skipped
    assert all("b is a link: scan the folder" in skipped.reason for skipped in applied.skipped)
    assert (tmp_path / "outside" / "one.jpg").exists()


@pytest.mark.parametrize("names", [1, 2])
def test_two_paths_of_one_file_through_a_linked_folder_never_lose_it(folder: Folder, names: int) -> None:
    (folder.root / "z").symlink_to(folder.root / "a")
    if names == 2:
        os.link(folder.a, folder.root / "third name")
    plan = make_plan(folder.library, folder.root, ([folder.root / "z" / "one.jpg"], [folder.a]))
    [skipped] = apply(plan).skipped
    assert "it is the same file as" in skipped.reason
    assert folder.a.read_bytes() == b"the large one"


def test_a_victim_that_another_groups_keeper_leads_to_is_left(folder: Folder) -> None:
    (folder.root / "z").symlink_to(folder.root / "b")
    plan = make_plan(
        folder.library,
        folder.root,
        ([folder.root / "z" / "one.jpg"], [folder.odd]),
        ([folder.a], [folder.b]),
    )
    applied = apply(plan)
    assert [skipped.path for skipped in applied.skipped] == [folder.b]
    assert folder.b.exists()


def test_one_file_under_two_spellings_is_noticed_where_links_do_not_explain_it(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where upper and lower case are one."""
    monkeypatch.setattr(os.path, "realpath", str)
    (folder.root / "A").symlink_to(folder.root / "a")
    plan = make_plan(folder.library, folder.root, ([folder.root / "A" / "one.jpg"], [folder.a]))
    assert "it is the same file as" in apply(plan, dry_run=True).skipped[0].reason


@pytest.mark.parametrize("keep", ["ALBUM", "album"])
def test_one_folder_in_two_spellings_is_noticed_though_each_has_inodes_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    """As on exFAT by FUSE. Here a copy stands for the other spelling, and the folder above lists but one."""
    library = Library(tmp_path / "library", create=True)
    for spelling in ("ALBUM", "album"):
        write(tmp_path / spelling / "one.jpg", b"one")
        library.add_root(tmp_path / spelling)
    remove = {"ALBUM": "album", "album": "ALBUM"}[keep]
    group = (tmp_path / keep / "one.jpg", tmp_path / remove / "one.jpg")
    plan = Plan("", "near", 0.9, "keeper", {library.id: library.folder}, ())
    plan = plan._replace(
        groups=(PlannedGroup(*((planned(path, library, path.parent),) for path in group), weakest=1.0),)
    )
    assert apply(plan, dry_run=True).photos == 1  # two folders, where the case of letters matters
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: [name for name in listdir(folder) if name != "album"])
    applied = apply(plan)
    assert [each.reason for each in applied.skipped] == [f"it is the same file as {group[0]}, which is kept"]
    assert all(path.exists() for path in group)


def test_a_victim_that_a_kept_link_leads_to_is_left(folder: Folder) -> None:
    (folder.root / "kept.jpg").symlink_to(folder.b)
    plan = make_plan(folder.library, folder.root, ([folder.a, folder.root / "kept.jpg"], [folder.b, folder.odd]))
    assert [skipped.path for skipped in apply(plan).skipped] == [folder.b]
