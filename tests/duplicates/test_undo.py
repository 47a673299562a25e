"""Undo brings every photo back, overwrites nothing, and may be killed and run again."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from samespace.base.errors import SameSpaceError
from samespace.duplicates.apply import apply
from samespace.duplicates.homes import why_gone
from samespace.duplicates.manifest import MANIFEST, WAYS, Skipped
from samespace.duplicates.quarantine import Run, delete_runs, runs
from samespace.duplicates.undo import undo
from samespace.library.library import Library
from tests.duplicates.conftest import NOON, Folder, Happened, InChild, assert_back, make_plan, snapshot, undo_all, write

BEGUN = 12  # steps of an apply before the first photo moves


@pytest.mark.parametrize("to", WAYS)
def test_undo_brings_everything_back_and_takes_the_run_away(folder: Folder, to: str) -> None:
    [run] = apply(folder.plan, to).runs
    assert not folder.back()
    undone = undo(run)
    assert (undone.photos, undone.removed, undone.skipped) == (4, True, ())
    assert folder.back()
    assert not run.exists()
    with pytest.raises(SameSpaceError, match="no run at"):
        undo(run)


@pytest.mark.parametrize("to", WAYS)
def test_undo_overwrites_nothing_and_the_run_can_be_undone_again(folder: Folder, to: str) -> None:
    [run] = apply(folder.plan, to).runs
    folder.b.unlink(missing_ok=True)
    write(folder.b, b"someone else's")
    undone = undo(run)
    assert (undone.photos, undone.removed) == (3, False)
    assert undone.skipped == (Skipped(folder.b, "its place is taken"),)
    assert folder.b.read_bytes() == b"someone else's"
    assert runs(folder.library.folder)[0].state == "undone in part"
    folder.b.unlink()
    assert undo(run).removed
    assert folder.back()


def test_undo_leaves_a_hard_link_that_is_the_keepers_last_name(folder: Folder) -> None:
    [run] = apply(folder.plan, "hardlink").runs
    folder.a.unlink()
    undone = undo(run)
    assert folder.b.read_bytes() == b"the large one"
    assert folder.b in {skipped.path for skipped in undone.skipped}


def test_undo_leaves_a_symbolic_link_to_something_else(folder: Folder) -> None:
    [run] = apply(folder.plan, "symlink").runs
    folder.b.unlink()
    folder.b.symlink_to(folder.two)
    assert [skipped.path for skipped in undo(run).skipped] == [folder.b]
    assert folder.b.readlink() == folder.two


GONE = "the folder {} is gone: give it its old name and place back, or connect its disk, then undo again"


def test_undo_makes_missing_folders_anew_but_not_the_root(folder: Folder, tmp_path: Path) -> None:
    root = tmp_path / "drive"
    away = Folder(root, tmp_path / "library")
    [run] = apply(away.plan).runs
    shutil.rmtree(root / "c")
    root.rename(tmp_path / "unplugged")
    undone = undo(run)
    assert (undone.photos, len(undone.skipped)) == (0, 4)
    assert undone.skipped[0].reason == GONE.format(root)
    (tmp_path / "unplugged").rename(root)
    assert undo(run).photos == 4
    assert away.back()


def test_an_album_that_was_renamed_with_its_library_gets_its_photos_once_it_has_its_name_again(folder: Folder) -> None:
    [run] = apply(folder.plan).runs
    renamed = folder.root.rename(folder.root.with_name("renamed"))
    undone = undo(renamed / run.relative_to(folder.root))
    assert (undone.photos, undone.removed) == (0, False)
    assert {skipped.reason for skipped in undone.skipped} == {GONE.format(folder.root)}
    renamed.rename(folder.root)
    assert undo(run).removed
    assert folder.back()


def test_a_folder_that_cannot_be_asked_for_is_gone() -> None:
    """A name that is too long gives an error of its own, as a disk does that no longer answers."""
    strange = Path("/", 300 * "x")
    assert why_gone(strange) == GONE.format(strange).removesuffix(", then undo again")


def test_undo_does_not_follow_a_folder_that_became_a_link(folder: Folder, tmp_path: Path) -> None:
    [run] = apply(folder.plan).runs
    shutil.rmtree(folder.root / "c")
    (folder.root / "c").symlink_to(tmp_path)
    undone = undo(run)
    assert {skipped.path for skipped in undone.skipped} == {folder.copy, folder.odd}
    assert not (tmp_path / "deep").exists()


def test_a_photo_edited_after_a_half_finished_undo_is_back(folder: Folder) -> None:
    [run] = apply(folder.plan).runs
    os.link(run / "0" / "b" / "one.jpg", folder.b)
    folder.b.write_bytes(b"edited")
    assert undo(run).removed
    assert folder.b.read_bytes() == b"edited"


def test_undo_needs_no_sound_database(folder: Folder) -> None:
    [run] = apply(folder.plan).runs
    for path in folder.library.folder.iterdir():
        if path.is_file():
            path.write_bytes(b"not a database" * 100)
    assert undo(run).removed
    assert folder.back()


def test_a_quarantine_on_another_file_system_gets_copies_that_come_back_whole(tmp_path: Path, elsewhere: Path) -> None:
    folder = Folder(tmp_path / "photos", elsewhere / "library")
    applied = apply(folder.plan)
    [run] = applied.runs
    assert applied.photos == 3
    assert "would come back as a copy" in applied.skipped[0].reason
    lying = run / "0" / "b" / "one.jpg"
    assert lying.stat().st_mtime_ns == NOON + 5
    lying.chmod(0o777)
    os.utime(lying, ns=(NOON, NOON - NOON % 10**9))  # as file systems do that know no permissions and whole seconds
    assert undo(run).removed
    assert folder.back()


@pytest.fixture
def plain(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file system that keeps neither attributes nor owners, as FAT does."""

    def refuse(work: Callable[..., None]) -> Callable[..., None]:
        def refused(path: Any, *args: Any, **named: Any) -> None:
            if Path(path).is_relative_to(elsewhere):
                raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), str(path))
            work(path, *args, **named)

        return refused

    for name in ("setxattr", "chown"):
        monkeypatch.setattr(os, name, refuse(getattr(os, name)))
    return elsewhere


def refuse_chown(path: Path, *owner: int) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))


def has_attributes(folder: Path) -> bool:
    try:
        os.setxattr(folder, "user.samespace", b"")
    except (OSError, AttributeError):
        return False
    return True


def test_attributes_and_owner_come_back_from_where_they_cannot_be_kept(
    tmp_path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path / "photos", plain / "library")
    if not has_attributes(folder.root):
        pytest.skip("no extended attributes here")
    os.setxattr(folder.b, "user.rating", b"5 \xff")
    owner = (1234, 4321) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    os.chown(folder.b, *owner)
    [run] = apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b]))).runs
    lying = run / "0" / "b" / "one.jpg"
    assert os.listxattr(lying) == []
    with monkeypatch.context() as patch:
        patch.setattr(os, "chown", refuse_chown)
        lying.chmod(0o400)
        if owner != (lying.stat().st_uid, lying.stat().st_gid):
            assert undo(run).skipped[0].reason.endswith("undo as root")
    assert undo(run).removed
    assert (folder.b.stat().st_uid, folder.b.stat().st_gid) == owner
    assert {name: os.getxattr(folder.b, name) for name in os.listxattr(folder.b)} == {"user.rating": b"5 \xff"}
    assert folder.back()


def test_a_photo_that_would_not_come_back_as_its_owners_is_left(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path / "photos", elsewhere / "library")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1000)
    [skipped] = apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b]))).skipped
    assert skipped.reason.startswith("it belongs to another user or group, and would come back as yours")
    assert folder.back()


def give_attribute(name: str, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it seem as if this photo, and no other file, had an attribute."""
    monkeypatch.setattr(os, "listxattr", lambda path, **_: [name] if Path(path) == photo else [])
    monkeypatch.setattr(os, "getxattr", lambda *_, **__: b"its value")


def test_a_photo_with_an_attribute_that_nobody_could_give_back_is_left(
    tmp_path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path / "photos", plain / "library")
    give_attribute("trusted.seal", folder.b, monkeypatch)
    [skipped] = apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b]))).skipped
    assert skipped.reason.startswith("its attribute trusted.seal would be lost")
    assert folder.back()


def test_an_attribute_that_comes_from_where_a_file_lies_hinders_nothing(
    tmp_path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path / "photos", plain / "library")
    give_attribute("security.selinux", folder.b, monkeypatch)
    assert apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b]))).photos == 1


@pytest.mark.parametrize("to", WAYS)
def test_an_undo_killed_at_any_step_can_be_run_again(quick: Folder, in_child: InChild, to: str) -> None:
    for step in count(1):
        apply(quick.plan, to)
        ended = in_child(undo_all, quick.library.folder, fatal=step)
        assert_back(quick)
        if ended:
            break
    assert step > 15


@pytest.mark.parametrize("to", WAYS)
def test_an_apply_and_then_its_undo_killed_at_any_two_steps_lose_nothing(
    quick: Folder, in_child: InChild, to: str
) -> None:
    plan = make_plan(quick.library, quick.root, ([quick.a], [quick.copy]))
    ended = False
    for applied in count(BEGUN, 3):
        for undone in count(1 + applied % 4, 4):  # others each time, in four rounds all
            ended = in_child(apply, plan, to, fatal=applied)
            if in_child(undo_all, quick.library.folder, fatal=undone):
                break
            assert_back(quick)
        assert_back(quick)
        if ended:
            break


def test_a_quarantined_photo_goes_only_when_its_copy_and_new_folders_are_on_the_disk(
    tmp_path: Path, elsewhere: Path, happened: Happened
) -> None:
    folder = Folder(tmp_path / "photos", elsewhere / "library")
    [run] = apply(make_plan(folder.library, folder.root, ([folder.a], [folder.copy]))).runs
    shutil.rmtree(folder.root / "c")
    happened.clear()
    assert undo(run).removed
    synced = happened.before("unlink", run / "0" / "c" / "deep" / "one.jpg")
    assert synced >= {folder.copy.parent, folder.root / "c", folder.root}
    assert any(path.name.endswith(".partial") and path.parent == folder.copy.parent for path in synced)


@pytest.mark.parametrize("which", ["its place", "the quarantine"])
def test_a_photo_of_the_same_size_and_date_is_not_taken_for_the_one_in_quarantine(folder: Folder, which: str) -> None:
    [run] = apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b]))).runs
    lying = run / "0" / "b" / "one.jpg"
    write(folder.b, b"a small one", NOON + 5)
    write(folder.b if which == "its place" else lying, b"A SMALL ONE", NOON + 5)
    before = lying.read_bytes(), folder.b.read_bytes()
    assert undo(run).skipped == (Skipped(folder.b, "its place is taken"),)
    assert (lying.read_bytes(), folder.b.read_bytes()) == before


# A library that came with an album


def forge(folder: Folder, tmp_path: Path, **changes: str) -> Path:
    """A run whose manifest moves b/one.jpg elsewhere."""
    [run] = apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b]))).runs
    header, line = (run / MANIFEST).read_text().splitlines()[:2]
    (run / MANIFEST).write_text("\n".join([header, json.dumps({**json.loads(line), **changes})]))
    return run


def test_undo_writes_nothing_outside_the_folders_of_its_library(folder: Folder, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    run = forge(folder, tmp_path, path=str(outside / "one.jpg"), root=str(outside))
    [skipped] = undo(run).skipped
    assert skipped.reason.startswith(f"the library {folder.library.folder} has not scanned {outside}: ")
    assert list(outside.iterdir()) == []
    assert (run / "0" / "b" / "one.jpg").exists()


def test_undo_does_not_follow_a_root_that_is_a_link(folder: Folder, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder.root / "in").symlink_to(outside)
    run = forge(folder, tmp_path, path=str(folder.root / "in" / "one.jpg"), root=str(folder.root / "in"))
    [skipped] = undo(run).skipped
    assert "in is a link" in skipped.reason
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", [".bashrc", ".ssh/one.jpg", "autorun.inf"])
def test_undo_puts_nothing_where_no_photo_was_scanned(folder: Folder, tmp_path: Path, name: str) -> None:
    run = forge(folder, tmp_path, path=str(folder.root / name))
    [skipped] = undo(run).skipped
    assert "no scan finds a photo there" in skipped.reason
    assert not (folder.root / name).exists()


def test_a_photo_that_undo_could_not_bring_back_is_not_moved(folder: Folder, tmp_path: Path) -> None:
    keeper, other = write(tmp_path / "other" / "a.jpg", b"one"), write(tmp_path / "other" / "b.jpg", b"one")
    [skipped] = apply(make_plan(folder.library, tmp_path / "other", ([keeper], [other]))).skipped
    assert "has not scanned" in skipped.reason
    assert other.exists()


def test_a_damaged_library_elsewhere_says_how_its_photos_come_back(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "photos", tmp_path / "library")
    [run] = apply(folder.plan).runs
    (folder.library.folder / "library.sqlite").write_bytes(b"not a database" * 100)
    reasons = {skipped.reason for skipped in undo(run).skipped}
    assert len(reasons) == 1
    assert f"`samespace scan {folder.root} --library {folder.library.folder}` first" in reasons.pop()
    (folder.library.folder / "library.sqlite").unlink()
    Library(folder.library.folder, create=True).add_root(folder.root)
    assert undo(run).removed
    assert folder.back()


@pytest.mark.parametrize("place", [".", "0", "0/b"])
def test_what_links_in_a_quarantine_lead_to_is_neither_moved_nor_deleted(
    folder: Folder, tmp_path: Path, place: str
) -> None:
    [run] = apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b]))).runs
    (run / place).rename(tmp_path / "theirs")
    (run / place).symlink_to(tmp_path / "theirs")
    theirs = snapshot(tmp_path / "theirs")
    with suppress(SameSpaceError):
        assert sum(run.photos for run in runs(folder.library.folder)) == 0
    for work in (lambda: delete_runs([Run(run, datetime.now(timezone.utc), 1, 0, "complete")]), lambda: undo(run)):
        with suppress(SameSpaceError):
            done = work()
            assert (done.photos, len(done.skipped) > 0) == (0, True)
    assert snapshot(tmp_path / "theirs") == theirs
    assert not folder.b.exists()
