from __future__ import annotations

import errno
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samespace.base.errors import SameSpaceError
from samespace.base.files import content_hash
from samespace.duplicates import apply as cleanup
from samespace.duplicates.apply import apply
from samespace.duplicates.manifest import MANIFEST, QUARANTINE, WAYS, Skipped, note
from samespace.duplicates.plan import Plan, PlannedGroup, PlannedPhoto, read_plan, write_plan
from samespace.duplicates.quarantine import delete_runs, runs, runs_older_than
from samespace.duplicates.undo import undo
from samespace.library.library import FOLDER, Library

NOON = 1_700_000_000_000_000_123  # ns: no file system that rounds to seconds keeps it by chance


def write(path: Path, content: bytes, mtime_ns: int = NOON, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def planned(path: Path, library: Library, root: Path, **changes: Any) -> PlannedPhoto:
    status = path.lstat()
    photo = PlannedPhoto(path, root, library.id, status.st_size, status.st_mtime_ns, content_hash(path), "why", 0.95)
    return photo._replace(**changes)


def make_plan(library: Library, root: Path, *groups: tuple[Sequence[Path], Sequence[Path]]) -> Plan:
    return Plan(
        "2026-11-20T15:31:02+00:00",
        "near",
        0.9,
        "keeper",
        {library.id: library.folder},
        tuple(
            PlannedGroup(*(tuple(planned(path, library, root) for path in paths) for paths in group), weakest=0.9)
            for group in groups
        ),
    )


def snapshot(root: Path) -> dict[str, Any]:
    """Every path outside libraries: what it is, its bytes, date and permissions, and what is linked with what."""
    found: dict[str, Any] = {}
    names: dict[tuple[int, int], str] = {}
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(set(subfolders) - {FOLDER})
        for path in (Path(folder, name) for name in sorted(subfolders + files)):
            status, name = path.lstat(), str(path.relative_to(root))
            first = names.setdefault((status.st_dev, status.st_ino), name)
            if path.is_symlink():
                found[name] = ("link", path.readlink())
            elif path.is_dir():
                found[name] = ("folder", status.st_mode)
            else:
                found[name] = (path.read_bytes(), status.st_mtime_ns, status.st_mode, first)
    return found


def undo_all(library_folder: Path) -> None:
    for run in runs(library_folder):
        undo(run.folder)


def delete_all(library_folder: Path) -> None:
    delete_runs(runs(library_folder))


class Folder:
    """Photos with everything that has ever made a cleanup lose one, their library, and a plan that touches it all."""

    def __init__(self, root: Path, library_folder: Path | None = None) -> None:
        self.root = root
        self.a = write(root / "a" / "one.jpg", b"the large one", NOON, 0o640)
        self.b = write(root / "b" / "one.jpg", b"a small one", NOON + 5, 0o600)
        self.copy = write(root / "c" / "deep" / "one.jpg", b"the large one", NOON, 0o640)  # all like its keeper
        self.odd = write(root / "c" / os.fsdecode(b"caf\xe9 \n.jpg"), b"odd name", NOON - 7)
        self.two = write(root / "two.jpg", b"two")
        self.linked = root / "b" / "two too.jpg"
        os.link(self.two, self.linked)
        (root / "b" / "pointer").symlink_to(self.two)
        self.library = Library(library_folder or root / FOLDER, create=True)
        self.plan = make_plan(
            self.library,
            root,
            ([self.a], [self.b, self.copy, self.odd]),
            ([self.two], [self.linked]),
        )
        self.start = snapshot(root)

    def back(self) -> bool:
        return snapshot(self.root) == self.start


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "photos")


MEMORY = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None  # where waiting for the disk takes no time


@pytest.fixture
def quick() -> Iterator[Folder]:
    """A folder for loops of hundreds of runs."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Folder(Path(name, "photos"))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than `tmp_path`."""
    if MEMORY is None or MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system that this user can write to")
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)


# --- plans ----------------------------------------------------------------------------------------------------------


def test_a_plan_comes_back_as_it_was_written(folder: Folder, tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.json", folder.plan)
    assert read_plan(tmp_path / "plan.json") == folder.plan


def change(record: dict[str, Any], where: str, value: Any) -> None:
    *parents, last = (int(part) if part.isdigit() else part for part in where.split("."))
    for parent in parents:
        record = record[parent]  # type: ignore[index]
    record[last] = value  # type: ignore[index]


@pytest.mark.parametrize(
    ("where", "value", "complaint"),
    [
        ("format", 2, "its format is 2, this version reads 1"),
        ("groups", None, "`groups` is missing"),
        ("groups.0.keep", [], "its group 1 keeps no photo"),
        ("groups.0.keep.0.path", "{b}", "is both kept and removed"),
        ("groups.1.remove.0.path", "{b}", "is twice removed"),
        ("groups.0.remove.0.path", "/etc/passwd", "does not lie below its folder"),
        ("groups.0.remove.0.path", "{root}", "does not lie below its folder"),
        ("groups.0.remove.0.path", "{root}/../x.jpg", "is not a full path without `..`"),
        ("groups.0.remove.0.path", "b/one.jpg", "is not a full path without `..`"),
        ("groups.0.remove.0.path", "/a\0b", "is not a full path without `..`"),
        ("groups.0.remove.0.path", "/\ud800", "is not a full path without `..`"),
        ("groups.0.remove.0.path", "{root}/.samespace/library.sqlite", "the library's own folder"),
        ("groups.0.remove.0.size", "11", "`size` is missing or not of the right kind"),
        ("groups.0.remove.0.size", True, "`size` is missing or not of the right kind"),
        ("groups.0.remove.0.library", "another", "it does not say where the library"),
        ("groups.0.remove.0", "b.jpg", "`path` is missing"),
        ("libraries", [], "`libraries` is missing"),
    ],
)
def test_a_plan_that_is_none_is_refused_in_one_sentence(
    folder: Folder, tmp_path: Path, where: str, value: Any, complaint: str
) -> None:
    path = tmp_path / "plan.json"
    write_plan(path, folder.plan)
    record = json.loads(path.read_text())
    change(record, where, value.format(root=folder.root, b=folder.b) if isinstance(value, str) else value)
    path.write_text(json.dumps(record))
    with pytest.raises(SameSpaceError, match="is no plan that can be followed") as raised:
        read_plan(path)
    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b"null"])
def test_what_is_not_json_is_not_a_plan(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(SameSpaceError, match=r"plan\.json is no plan"):
        read_plan(tmp_path / "plan.json")
    with pytest.raises(SameSpaceError, match="cannot be read"):
        read_plan(tmp_path / "no such file")


def test_a_plan_that_contradicts_itself_is_not_written_and_not_followed(folder: Folder, tmp_path: Path) -> None:
    group = folder.plan.groups[0]
    plan = folder.plan._replace(groups=(group._replace(keep=()),))
    with pytest.raises(SameSpaceError, match="keeps no photo"):
        write_plan(tmp_path / "plan.json", plan)
    with pytest.raises(SameSpaceError, match="keeps no photo"):
        apply(plan)
    assert not (tmp_path / "plan.json").exists()
    assert folder.back()


# --- apply and undo -------------------------------------------------------------------------------------------------


def test_victims_lie_in_quarantine_under_their_own_relative_paths(folder: Folder) -> None:
    applied = apply(folder.plan)
    [run] = applied.runs
    lying = {path.relative_to(run / "0") for path in (run / "0").rglob("*") if path.is_file()}
    assert lying == {path.relative_to(folder.root) for path in (folder.b, folder.copy, folder.odd, folder.linked)}
    assert (applied.photos, applied.skipped) == (4, ())
    assert not any(os.path.lexists(path) for path in (folder.b, folder.copy, folder.odd, folder.linked))
    assert folder.a.exists()
    assert folder.two.exists()


def test_a_hard_link_wins_no_bytes(folder: Folder) -> None:
    applied = apply(folder.plan)
    assert applied.bytes_to_free == len(b"a small one" + b"the large one" + b"odd name")
    assert runs(folder.library.folder)[0].bytes_to_free == applied.bytes_to_free


def test_both_names_of_a_file_removed_win_its_bytes_once(folder: Folder) -> None:
    plan = make_plan(folder.library, folder.root, ([folder.a], [folder.two, folder.linked]))
    assert apply(plan).bytes_to_free == len(b"two")


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


def test_a_link_to_the_keeper_takes_the_place(folder: Folder) -> None:
    [run] = apply(folder.plan, "symlink").runs
    assert folder.b.readlink() == folder.a
    undo(run)
    apply(folder.plan, "hardlink")
    assert folder.b.samefile(folder.a)
    assert folder.linked.samefile(folder.two)


def test_a_dry_run_moves_nothing(folder: Folder) -> None:
    folder.odd.unlink()
    start = snapshot(folder.root)
    applied = apply(folder.plan, dry_run=True)
    assert (applied.photos, applied.runs, applied.skipped[0].path) == (3, (), folder.odd)
    assert snapshot(folder.root) == start
    assert runs(folder.library.folder) == []


def test_an_unknown_way_is_refused(folder: Folder) -> None:
    with pytest.raises(SameSpaceError, match="choose quarantine, hardlink, symlink"):
        apply(folder.plan, "bin")


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
    gone: "gone since the plan",
    longer: "changed since the plan",
    touched: "changed since the plan",
    edited_behind_its_date: "changed since the plan, though",
    made_a_link: "a link since the plan",
    made_a_folder: "not a file since the plan",
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
    assert all(f"kept for it, {folder.a}, is {CHANGES[alter]}" in skipped.reason for skipped in applied.skipped)
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
    assert "it is the very file" in skipped.reason
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
    assert "it is the very file" in apply(plan, dry_run=True).skipped[0].reason


def test_a_victim_that_a_kept_link_leads_to_is_left(folder: Folder) -> None:
    (folder.root / "kept.jpg").symlink_to(folder.b)
    plan = make_plan(folder.library, folder.root, ([folder.a, folder.root / "kept.jpg"], [folder.b, folder.odd]))
    assert [skipped.path for skipped in apply(plan).skipped] == [folder.b]


def test_quarantine_overwrites_nothing_either(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where two names become one because upper and lower case are."""
    intent = cleanup._intent
    monkeypatch.setattr(cleanup, "_intent", lambda *args: {**intent(*args), "quarantined": "0/same.jpg"})
    applied = apply(folder.plan)
    assert (applied.photos, len(applied.skipped)) == (1, 3)
    assert applied.skipped[0].reason.endswith("same.jpg is taken")


def test_a_keeper_that_goes_with_its_victim_brings_it_back(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two names of one file that no look before can tell apart, or another library's apply at the same moment."""
    take = cleanup._take

    def take_both(*args: Any) -> None:
        take(*args)
        folder.a.rename(folder.root / "away")

    monkeypatch.setattr(cleanup, "_take", take_both)
    applied = apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b])))
    (folder.root / "away").rename(folder.a)
    assert "went or changed with it" in applied.skipped[0].reason
    assert applied.runs == ()
    assert folder.back()


def test_a_victim_written_anew_between_check_and_move_is_left(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    check = cleanup._check

    def check_then_edit(plan: Plan) -> Any:
        found = check(plan)
        write(folder.b, b"edited just now")
        return found

    monkeypatch.setattr(cleanup, "_check", check_then_edit)
    assert [skipped.reason for skipped in apply(folder.plan).skipped] == ["changed since it was checked"]
    assert folder.b.read_bytes() == b"edited just now"


def test_a_victim_replaced_at_the_moment_of_its_move_comes_back(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def replace_and_rename(self: Path, target: Path) -> Path:
        if self == folder.b:
            self.unlink()
            write(self, b"saved by an editor")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", replace_and_rename)
    assert [skipped.path for skipped in apply(folder.plan).skipped] == [folder.b]
    assert folder.b.read_bytes() == b"saved by an editor"


def test_a_plan_for_another_library_is_refused(folder: Folder) -> None:
    shutil.rmtree(folder.library.folder)
    with pytest.raises(SameSpaceError, match="no library at"):
        apply(folder.plan)
    Library(folder.library.folder, create=True)
    with pytest.raises(SameSpaceError, match="made for another library"):
        apply(folder.plan)
    assert folder.back()


def test_two_libraries_make_a_run_of_one_name_in_each(folder: Folder, tmp_path: Path) -> None:
    other = Folder(tmp_path / "more photos")
    plan = folder.plan._replace(
        libraries=folder.plan.libraries | other.plan.libraries,
        groups=(*folder.plan.groups, folder.plan.groups[0]._replace(remove=other.plan.groups[0].remove)),
    )
    mine, others = sorted(apply(plan).runs, key=lambda run: run.parents[2].name, reverse=True)
    assert (mine.name, mine.parents[2], others.parents[2]) == (others.name, folder.root, other.root)
    assert [runs(each.library.folder)[0].photos for each in (folder, other)] == [4, 3]
    undo(mine)
    undo(others)
    assert folder.back()
    assert other.back()


def test_runs_of_one_second_have_names_of_their_own_newest_first(folder: Folder) -> None:
    for path in (folder.b, folder.copy, folder.odd):
        apply(make_plan(folder.library, folder.root, ([folder.a], [path])))
    held = [sorted(path.name for path in run.folder.rglob("*.jpg")) for run in runs(folder.library.folder)]
    assert held == [[folder.odd.name], ["one.jpg"], ["one.jpg"]]


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


def test_undo_makes_missing_folders_anew_but_not_the_root(folder: Folder, tmp_path: Path) -> None:
    root = tmp_path / "drive"
    away = Folder(root, tmp_path / "library")
    [run] = apply(away.plan).runs
    shutil.rmtree(root / "c")
    root.rename(tmp_path / "unplugged")
    undone = undo(run)
    assert (undone.photos, len(undone.skipped)) == (0, 4)
    assert "drive is gone: bring it back" in undone.skipped[0].reason
    (tmp_path / "unplugged").rename(root)
    assert undo(run).photos == 4
    assert away.back()


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


def test_a_run_with_others_files_in_it_stays_and_says_so(folder: Folder) -> None:
    [run] = apply(folder.plan).runs
    write(run / "0" / "mine.txt", b"mine")
    undone = undo(run)
    assert (undone.photos, undone.removed, undone.skipped[0].path) == (4, False, run)
    assert (run / "0" / "mine.txt").exists()
    assert (run / MANIFEST).exists()
    assert runs(folder.library.folder)[0].state == "empty"


def test_a_manifest_that_leads_elsewhere_or_is_none_is_not_followed(folder: Folder, tmp_path: Path) -> None:
    [run] = apply(folder.plan).runs
    manifest = run / MANIFEST
    manifest.write_text(manifest.read_text().replace(str(folder.root / "b" / "one.jpg"), str(tmp_path / "out.jpg")))
    undone = undo(run)
    assert undone.photos == 3
    assert "1 of its moves cannot be read" in undone.skipped[-2].reason
    assert not (tmp_path / "out.jpg").exists()
    manifest.write_text("gone")
    assert runs(folder.library.folder)[0].state == "unreadable"
    with pytest.raises(SameSpaceError, match="is not a manifest"):
        undo(run)
    with pytest.raises(SameSpaceError, match="no run at"):
        undo(tmp_path / "a" / "b")


# --- folders and disks that will not take it ------------------------------------------------------------------------


def test_victims_in_a_read_only_folder_are_left_and_the_rest_is_done(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.parent == folder.root / "b":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    applied = apply(folder.plan)
    assert {skipped.path for skipped in applied.skipped} == {folder.b, folder.linked}
    assert applied.skipped[0].reason == "it cannot be moved: Permission denied"
    assert applied.photos == 2
    undo_all(folder.library.folder)
    assert folder.back()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_nothing_moves_where_the_quarantine_cannot_be_made(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    mkdir = Path.mkdir

    def refuse(self: Path, *args: Any, **kwargs: Any) -> None:
        if QUARANTINE in self.parts:
            raise OSError(number, os.strerror(number), str(self))
        mkdir(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(SameSpaceError, match=f"quarantine cannot be written: {os.strerror(number)}; nothing was moved"):
        apply(folder.plan)
    assert folder.back()


def test_a_library_that_vanishes_before_the_first_move_is_not_made_anew(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = cleanup._check

    def check_then_vanish(plan: Plan) -> Any:
        found = check(plan)
        shutil.rmtree(folder.library.folder)
        return found

    monkeypatch.setattr(cleanup, "_check", check_then_vanish)
    with pytest.raises(SameSpaceError, match="nothing was moved"):
        apply(folder.plan)
    assert not folder.library.folder.exists()
    assert folder.back()


def test_a_quarantine_that_vanishes_between_two_moves_stops_the_rest(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, taken = cleanup._take, []

    def note_then_vanish(manifest: Any, move: Any, state: str, why: str = "") -> None:
        note(manifest, move, state, why)
        manifest.folder.rename(tmp_path / "run")

    monkeypatch.setattr(cleanup, "note", note_then_vanish)
    monkeypatch.setattr(cleanup, "_take", lambda *args: (taken.append(args), take(*args)))
    applied = apply(folder.plan)
    assert (applied.photos, len(applied.skipped), len(taken)) == (1, 3, 1)
    assert not any(folder.library.folder.glob("quarantine/*"))
    monkeypatch.undo()
    (tmp_path / "run").rename(folder.library.folder / "quarantine" / "run")
    undo_all(folder.library.folder)
    assert folder.back()


def test_a_quarantine_that_vanishes_during_a_move_gives_the_photo_back(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = cleanup._take

    def take_and_vanish(move: Any, where: Path, *args: Any) -> None:
        take(move, where, *args)
        for manifest in folder.library.folder.rglob(MANIFEST):
            manifest.unlink()

    monkeypatch.setattr(cleanup, "_take", take_and_vanish)
    applied = apply(folder.plan)
    assert (applied.photos, len(applied.skipped)) == (0, 4)
    assert folder.back()


def test_after_a_full_quarantine_no_other_photo_is_tried(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def take(move: Any, *args: Any) -> None:
        tried.append(move)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cleanup, "_take", take)
    reasons = [skipped.reason for skipped in apply(folder.plan).skipped]
    assert len(tried) == 1
    assert reasons[0] == "it cannot be moved: No space left on device"
    assert all(reason.startswith("not tried, because the quarantine") for reason in reasons[1:])
    assert folder.back()


@contextmanager
def disk_full_after(writes: int) -> Iterator[list[int]]:
    """So many writes succeed, the next writes half of what it should, all others nothing."""
    write_really, done = os.write, [0]

    def write_some(descriptor: int, content: bytes) -> int:
        done[0] += 1
        if done[0] <= writes:
            return write_really(descriptor, content)
        if done[0] == writes + 1 and len(content) > 1:
            return write_really(descriptor, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    os.write = write_some  # type: ignore[assignment]
    try:
        yield done
    finally:
        os.write = write_really


@pytest.mark.parametrize("to", WAYS)
def test_a_disk_full_at_any_write_leaves_a_run_that_a_still_full_disk_lets_undo(folder: Folder, to: str) -> None:
    for writes in count():
        with disk_full_after(writes) as done:
            try:
                applied = apply(folder.plan, to)
                assert applied.photos + len(applied.skipped) == 4
            except SameSpaceError as error:
                assert "nothing was moved" in str(error)
                assert folder.back()
            enough = done[0] <= writes
            undo_all(folder.library.folder)
        assert folder.back()
        assert runs(folder.library.folder) == []
        if enough:
            break
    assert writes >= 5


def test_a_full_disk_is_not_tried_again_for_each_photo(tmp_path: Path, elsewhere: Path) -> None:
    folder = Folder(tmp_path / "photos", elsewhere / "library")
    for writes in count():
        with disk_full_after(writes) as done:
            try:
                applied = apply(folder.plan)
            except SameSpaceError:
                assert folder.back()
                continue
            enough = done[0] <= writes
        assert enough or len({skipped.reason for skipped in applied.skipped}) <= 3
        undo_all(folder.library.folder)
        # A hard link stays where it is: it would come back as a copy.
        assert folder.back()
        if enough:
            break
    assert [skipped.path for skipped in applied.skipped] == [folder.linked]


# --- another file system --------------------------------------------------------------------------------------------


def test_a_quarantine_on_another_file_system_gets_copies_that_come_back_whole(tmp_path: Path, elsewhere: Path) -> None:
    folder = Folder(tmp_path / "photos", elsewhere / "library")
    applied = apply(folder.plan)
    [run] = applied.runs
    assert applied.photos == 3
    assert "would come back from the quarantine's other file system as a copy" in applied.skipped[0].reason
    lying = run / "0" / "b" / "one.jpg"
    assert lying.stat().st_mtime_ns == NOON + 5
    lying.chmod(0o777)
    os.utime(lying, ns=(NOON, NOON - NOON % 10**9))  # as file systems do that know no permissions and whole seconds
    assert undo(run).removed
    assert folder.back()


def test_an_original_edited_while_it_is_copied_is_left(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path / "photos", elsewhere / "library")
    sync = cleanup.sync_folder

    def edit(path: Path) -> None:
        sync(path)
        if "quarantine" in path.parts[-2:-1] and folder.b.read_bytes() == b"a small one" and path.name != "quarantine":
            write(folder.b, b"edited")

    monkeypatch.setattr(cleanup, "sync_folder", edit)
    plan = make_plan(folder.library, folder.root, ([folder.a], [folder.b]))
    [skipped] = apply(plan).skipped
    assert skipped.reason == "changed since it was checked"
    assert folder.b.read_bytes() == b"edited"
    assert runs(folder.library.folder) == []


def test_hard_links_across_file_systems_are_refused_before_anything_moves(folder: Folder, elsewhere: Path) -> None:
    keeper = write(elsewhere / "keeper.jpg", b"the large one")
    group = PlannedGroup((planned(keeper, folder.library, elsewhere),), folder.plan.groups[0].remove, 0.9)
    plan = folder.plan._replace(groups=(folder.plan.groups[1], group))
    with pytest.raises(SameSpaceError, match="lies on another file system: choose symlink or quarantine"):
        apply(plan, "hardlink")
    assert folder.back()
    assert apply(plan, "symlink").photos == 4
    undo_all(folder.library.folder)
    assert folder.back()


# --- killed ---------------------------------------------------------------------------------------------------------

BEGUN = 12  # steps before the first photo moves
NAMES = ("rename", "link", "symlink", "remove", "mkdir", "rmdir", "chmod", "chown", "utime", "setxattr")
STEPS = {f"os.{name}" for name in NAMES}


def die_at_step(fatal: int) -> None:
    """Kill this process before its so-many-th call that changes the file system; a fatal write is torn in two."""
    step, write_really = count(1), os.write

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (event in STEPS or writes) and next(step) == fatal:
            die()

    def torn_write(descriptor: int, content: bytes) -> int:
        if next(step) == fatal:
            write_really(descriptor, content[: len(content) // 2])
            die()
        return write_really(descriptor, content)

    def sync(descriptor: int) -> None:
        if next(step) == fatal:  # without the wait: what a kill leaves does not depend on it
            die()

    os.write, os.fsync = torn_write, sync  # type: ignore[assignment]
    sys.addaudithook(hook)


def serve() -> None:
    """Fork for each request on stdin, as this small process can do in a millisecond; pytest's has torch in it."""
    while True:
        try:
            works, fatal = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        gate, opener = os.pipe()
        children = [fork(gate, opener, work, args, fatal) for work, args in works]
        os.close(gate)
        os.close(opener)  # all of them start now
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        pickle.dump(statuses, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def fork(gate: int, opener: int, work: Callable[..., object], args: Sequence[object], fatal: int) -> int:
    if child := os.fork():
        return child
    try:
        os.close(opener)
        os.read(gate, 1)
        die_at_step(fatal)
        work(*args)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


Children = Callable[..., list[int]]


@pytest.fixture(scope="session")
def children() -> Iterator[Children]:
    """Runs each (function, arguments) in a process of its own, all at once; their exit codes."""
    code = f"import {__name__}; {__name__}.serve()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, env=environment) as server:
        assert server.stdin
        assert server.stdout

        def run(*works: tuple[Callable[..., object], tuple[object, ...]], fatal: int = 0) -> list[int]:
            pickle.dump((works, fatal), server.stdin)
            server.stdin.flush()
            return pickle.load(server.stdout)

        yield run
        server.stdin.close()


InChild = Callable[..., bool]


@pytest.fixture
def in_child(children: Children) -> InChild:
    """Does one thing in a process of its own, killed before its so-many-th step; whether it came to its end."""

    def run(work: Callable[..., object], *args: object, fatal: int = 0) -> bool:
        [code] = children((work, args), fatal=fatal)
        assert code in (0, -signal.SIGKILL)
        return code == 0

    return run


def assert_back(folder: Folder, in_child: InChild) -> None:
    assert in_child(undo_all, folder.library.folder)
    assert folder.back()
    assert runs(folder.library.folder) == []


@pytest.mark.parametrize("to", WAYS)
def test_an_apply_killed_at_any_step_can_be_undone(quick: Folder, in_child: InChild, to: str) -> None:
    for step in count(1):
        ended = in_child(apply, quick.plan, to, fatal=step)
        assert quick.a.read_bytes() == b"the large one"
        assert_back(quick, in_child)
        if ended:
            break
    assert step > 30


@pytest.mark.parametrize("to", WAYS)
def test_an_undo_killed_at_any_step_can_be_run_again(quick: Folder, in_child: InChild, to: str) -> None:
    for step in count(1):
        apply(quick.plan, to)
        ended = in_child(undo_all, quick.library.folder, fatal=step)
        assert_back(quick, in_child)
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
        for undone in count(1, 2):
            ended = in_child(apply, plan, to, fatal=applied)
            if in_child(undo_all, quick.library.folder, fatal=undone):
                break
            assert_back(quick, in_child)
        assert_back(quick, in_child)
        if ended:
            break


@pytest.mark.parametrize("to", ["quarantine", "symlink"])
def test_copies_to_another_file_system_killed_at_any_step_can_be_undone(
    tmp_path: Path, elsewhere: Path, in_child: InChild, to: str
) -> None:
    folder = Folder(elsewhere / "photos", tmp_path / "library")
    plan = make_plan(folder.library, folder.root, ([folder.a], [folder.copy]))
    for step in count(1):
        ended = in_child(apply, plan, to, fatal=step)
        assert_back(folder, in_child)
        if ended:
            break
    for step in count(1):
        apply(plan, to)
        ended = in_child(undo_all, folder.library.folder, fatal=step)
        assert_back(folder, in_child)
        if ended:
            break


def test_emptying_killed_at_any_step_leaves_a_run_that_tells_the_truth(in_child: InChild) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        for step in count(1):
            folder = Folder(Path(name, str(step)))
            apply(folder.plan)
            ended = in_child(delete_all, folder.library.folder, fatal=step)
            restored = 0
            for run in runs(folder.library.folder):
                undone = undo(run.folder)
                restored += undone.photos
                assert (undone.photos, undone.removed) == (run.photos, True)
                assert {skipped.reason for skipped in undone.skipped} <= {"deleted for good from the quarantine"}
                assert run.state == "empty" or undone.photos + len(undone.skipped) == 4
            now = snapshot(folder.root)
            assert len(now) == len(folder.start) - 4 + restored
            assert now.items() <= folder.start.items() | {"two.jpg": now["two.jpg"]}.items()
            if ended:
                break
    assert step > 8


# --- at the same time -----------------------------------------------------------------------------------------------


def test_two_applies_of_one_plan_at_once_move_each_photo_once(folder: Folder, children: Children) -> None:
    assert children((apply, (folder.plan,)), (apply, (folder.plan,))) == [0, 0]
    [run] = runs(folder.library.folder)
    assert (run.photos, run.state) == (4, "complete")
    undo(run.folder)
    assert folder.back()


def test_two_libraries_that_disagree_on_the_keeper_never_remove_both(tmp_path: Path, children: Children) -> None:
    root = tmp_path / "photos"
    pair = [write(root / f"{name}.jpg", b"same") for name in "ab"]
    libraries = [Library(tmp_path / name, create=True) for name in ("first", "second")]
    plans = [make_plan(libraries[0], root, (pair[:1], pair[1:])), make_plan(libraries[1], root, (pair[1:], pair[:1]))]
    for _ in range(10):
        assert children(*((apply, (plan,)) for plan in plans)) == [0, 0]
        assert any(path.exists() for path in pair)
        for library in libraries:
            undo_all(library.folder)
        assert all(path.exists() for path in pair)


# --- the quarantine -------------------------------------------------------------------------------------------------


def test_emptying_takes_only_old_runs_and_says_what_it_won(folder: Folder) -> None:
    apply(folder.plan)
    assert runs_older_than(folder.library.folder, timedelta(days=30)) == []
    [old] = runs_older_than(folder.library.folder, timedelta(0))
    deleted = delete_runs([old])
    assert (deleted.photos, deleted.bytes_freed, deleted.skipped) == (4, old.bytes_to_free, ())
    assert old.bytes_to_free == len(b"a small one" + b"the large one" + b"odd name")
    assert runs(folder.library.folder) == []
    assert folder.two.read_bytes() == b"two"


def test_emptying_leaves_others_files(folder: Folder) -> None:
    [run] = apply(folder.plan).runs
    write(run / "notes.txt", b"mine")
    [skipped] = delete_runs(runs(folder.library.folder)).skipped
    assert skipped.path == run
    assert {path.name for path in run.iterdir()} == {"notes.txt", MANIFEST}


def test_a_full_disk_can_be_emptied(folder: Folder) -> None:
    apply(folder.plan)
    with disk_full_after(0):
        assert delete_runs(runs(folder.library.folder)).photos == 4
    assert runs(folder.library.folder) == []


def test_a_library_that_never_removed_anything_has_no_runs(folder: Folder) -> None:
    assert runs(folder.library.folder) == []


# --- whatever the folder looks like ---------------------------------------------------------------------------------


@st.composite
def clutter(draw: st.DrawFn) -> tuple[int, list[int], list[int], list[int], str]:
    """A seed, each file's bytes by number, its group (0: none), what happens to it after the plan, and the way."""
    size = draw(st.integers(2, 9))
    numbers = st.lists(st.integers(0, 3), min_size=size, max_size=size)
    return draw(st.integers(0, 1000)), draw(numbers), draw(numbers), draw(numbers), draw(st.sampled_from(WAYS))


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(clutter())
def test_whatever_the_folder_a_group_keeps_a_photo_and_undo_restores(
    clutter: tuple[int, list[int], list[int], list[int], str],
) -> None:
    seed, contents, group_numbers, fates, to = clutter
    choose = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        root = Path(name, "photos")
        paths: list[Path] = []
        for number, content in enumerate(contents):
            path = root / choose.choice(["", "x", "x/y", "z"]) / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            if paths and content == 3:
                os.link(choose.choice(paths), path)
            else:
                write(path, bytes([content]) * 9, NOON + choose.randrange(2))
            paths.append(path)
        library = Library(root / FOLDER, create=True)
        members = [[path for path, group in zip(paths, group_numbers, strict=True) if group == n] for n in (1, 2, 3)]
        plan = make_plan(library, root, *((m[:1], m[1:]) for m in members if m))
        for path, fate in zip(paths, fates, strict=True):
            if fate == 1:
                write(path, b"edited")
            elif fate == 2 and choose.random() < 0.5:
                path.unlink()
        start = snapshot(root)
        applied = apply(plan, to)
        kept = [group.keep[0].path for group in plan.groups]
        assert {path: path.read_bytes() for path in kept if path.exists()} == {
            path: start[str(path.relative_to(root))][0] for path in kept if str(path.relative_to(root)) in start
        }
        assert applied.photos + len(applied.skipped) == sum(len(group.remove) for group in plan.groups)
        for group in plan.groups:
            if group.remove and any(
                not os.path.lexists(m.path) and str(m.path.relative_to(root)) in start for m in group.remove
            ):
                assert group.keep[0].path.exists()
        undo_all(library.folder)
        assert snapshot(root) == start
        assert runs(library.folder) == []
