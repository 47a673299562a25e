"""Find what stops a photo from moving before the first one moves, in a dry run as in an apply."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from samespace.base.errors import SameSpaceError
from samespace.duplicates import obstacles
from samespace.duplicates.apply import Applied, apply
from samespace.duplicates.quarantine import runs
from samespace.library.library import Library
from tests.duplicates.conftest import Folder, make_plan, planned, snapshot, undo_all, write
from tests.killing import Children


def alike(folder: Folder, plan: object = None) -> Applied:
    """The result of a dry run, which changes nothing, and then of an apply that leaves out the same photos."""
    plan = plan or folder.plan
    start = snapshot(folder.root)
    dry = apply(plan, dry_run=True)
    assert snapshot(folder.root) == start
    assert runs(folder.library.folder) == []
    assert not (folder.library.folder / "quarantine").exists()
    wet = apply(plan)
    assert (wet.photos, wet.bytes_to_free, wet.skipped) == (dry.photos, dry.bytes_to_free, dry.skipped)
    return wet


def renamed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Path]]:
    """Note which photos are renamed; return a function that tells."""
    moved: list[Path] = []
    rename = Path.rename

    def noted(self: Path, target: Path) -> Path:
        moved.append(self)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", noted)
    return lambda: moved


def test_a_folder_that_cannot_be_changed_is_found_before_a_photo_moves(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = renamed(monkeypatch)
    trial = obstacles.why_not_writable
    locked = folder.root / "b"
    monkeypatch.setattr(obstacles, "why_not_writable", lambda each: f"no: {each}" if each == locked else trial(each))
    applied = alike(folder)
    assert applied.skipped == tuple((path, f"no: {locked}") for path in (folder.b, folder.linked))
    assert not {folder.b, folder.linked} & {*moved()}
    undo_all(folder.library.folder)
    assert folder.back()


def try_without_rights(where: str) -> None:
    """As a user without rights: folders that are read-only, and a shared one where another user's photo lies."""
    root = Path(where, "photos")
    for name in ("free/a.jpg", "free/b.jpg", "closed/c.jpg", "shared/d.jpg"):
        write(root / name, name.encode())
    os.chown(root / "shared" / "d.jpg", 1, 1)
    (root / "shared").chmod(0o1777)
    for path in (root, root / "free", root / "free/a.jpg", root / "free/b.jpg", root / "closed/c.jpg"):
        os.chown(path, 65534, 65534)
    import concurrent.futures  # noqa: F401 - what this user may not read later

    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    assert obstacles.why_not_writable(root / "free") == ""
    assert "closed cannot be changed (Permission denied)" in obstacles.why_not_writable(root / "closed")
    assert obstacles.why_locked(root / "free" / "a.jpg") == ""
    assert "locked in its folder (Operation not permitted)" in obstacles.why_locked(root / "shared" / "d.jpg")

    library = Library(root / ".samespace", create=True)
    library.add_root(root)
    removed = [root / name for name in ("free/b.jpg", "closed/c.jpg", "shared/d.jpg")]
    plan = make_plan(library, root, ([root / "free" / "a.jpg"], removed))
    dry, wet = apply(plan, dry_run=True), apply(plan)
    assert (dry.photos, wet.photos, dry.skipped) == (1, 1, wet.skipped)
    assert [each.path for each in wet.skipped] == removed[1:]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_rights_is_told_before_a_photo_moves(children: Children) -> None:
    with tempfile.TemporaryDirectory() as where:
        Path(where).chmod(0o755)
        assert children((try_without_rights, (where,))) == [0]


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    photo = write(tmp_path / "a.jpg", b"a photo")
    assert obstacles.why_not_writable(tmp_path) == obstacles.why_locked(photo) == ""
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == {photo: b"a photo"}
    assert "(No such file or directory)" in obstacles.why_not_writable(tmp_path / "none")


@pytest.mark.parametrize("to", ["hardlink", "symlink"])
def test_a_folder_that_takes_no_links_is_found_before_a_photo_moves(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    """As on FAT. The trial is a real link, which is gone at once."""
    moved, tried, make = renamed(monkeypatch), list[Path](), getattr(Path, f"{to}_to")

    def make_outside_b(self: Path, target: Path) -> None:
        tried.append(self)
        if self.parent == folder.root / "b":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        make(self, target)

    monkeypatch.setattr(Path, f"{to}_to", make_outside_b)
    dry = apply(folder.plan, to, dry_run=True)
    assert {path.name for path in tried} == {obstacles.TRIAL_LINK}
    assert folder.back()
    applied = apply(folder.plan, to)
    assert (dry.photos, dry.skipped) == (applied.photos, applied.skipped)
    assert {each.path for each in applied.skipped} == {folder.b, folder.linked}
    assert all(f"no {to} to" in each.reason and "choose quarantine" in each.reason for each in applied.skipped)
    assert not {folder.b, folder.linked} & {*moved()}
    undo_all(folder.library.folder)
    assert folder.back()


def test_a_trial_link_that_a_kill_left_is_removed_by_the_next_trial(tmp_path: Path) -> None:
    photo = write(tmp_path / "a.jpg", b"a photo")
    (tmp_path / obstacles.TRIAL_LINK).symlink_to(photo)
    assert obstacles.why_not_linked("hardlink", photo, tmp_path) == ""
    assert [*tmp_path.iterdir()] == [photo]


def test_a_quarantine_on_a_disk_too_full_takes_what_fits(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(elsewhere / "photos", tmp_path / "library")
    big = [write(folder.root / f"{name}.jpg", name.encode() * 1_000_000) for name in "xyz"]
    plan = make_plan(folder.library, folder.root, ([folder.a], big), ([folder.two], [folder.linked]))
    folder.start = snapshot(folder.root)
    monkeypatch.setattr(obstacles, "free_bytes", lambda _: obstacles.NOTES + 2_100_000)
    applied = alike(folder, plan)
    assert applied.photos == 2
    link, full = applied.skipped
    assert link == (folder.linked, obstacles.HARD_LINK)
    assert full.path == big[2]
    assert full.reason == (
        f"no room to copy it to {folder.library.folder}/quarantine: 4.1 MB are needed there, and 3.1 MB are free"
    )
    undo_all(folder.library.folder)
    assert folder.back()


def test_a_full_disk_does_not_stop_photos_that_need_no_copy(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obstacles, "free_bytes", lambda _: 0)
    assert alike(folder).skipped == ()


def test_two_names_that_differ_only_in_case_do_not_share_one_in_quarantine(folder: Folder) -> None:
    """The library's disk seems to ignore case: its database answers to both spellings."""
    twins = [write(folder.root / name, name.encode()) for name in ("Beach.jpg", "beach.jpg")]
    (folder.library.folder / "LIBRARY.SQLITE").touch()
    applied = alike(folder, make_plan(folder.library, folder.root, ([folder.a], twins)))
    said = f"its name is taken in the quarantine, by {twins[0]}, which differs only in case"
    assert applied.skipped == ((twins[1], said),)


def test_photos_whose_folder_is_gone_are_named_with_it(folder: Folder) -> None:
    shutil.rmtree(folder.root / "b")
    applied = alike(folder)
    reason = f"disappeared with its folder {folder.root / 'b'}: if its disk is not connected, connect it"
    assert applied.skipped == ((folder.b, reason), (folder.linked, reason))
    assert applied.photos == 2


def test_a_folder_between_that_became_a_link_is_found_before(folder: Folder, tmp_path: Path) -> None:
    (folder.root / "c").rename(tmp_path / "c")
    (folder.root / "c").symlink_to(tmp_path / "c")
    assert {each.path for each in alike(folder).skipped} == {folder.copy, folder.odd}


def test_a_library_that_cannot_be_written_is_said_by_both(folder: Folder) -> None:
    (folder.library.folder / "quarantine").write_bytes(b"in the way")
    for dry_run in (True, False):
        with pytest.raises(SameSpaceError, match=r"quarantine cannot be written: .*; nothing was moved"):
            apply(folder.plan, dry_run=dry_run)
    assert folder.back()


def test_a_dry_run_leaves_earlier_runs(folder: Folder) -> None:
    apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b])))
    left = planned(folder.copy, folder.library, folder.root)
    plan = folder.plan._replace(groups=(folder.plan.groups[0]._replace(remove=(left,)),))
    assert apply(plan, dry_run=True).photos == 1
    (run,) = runs(folder.library.folder)
    assert (run.photos, run.state) == (1, "complete")
