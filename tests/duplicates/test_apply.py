"""Apply moves what the plan removes, at most once, and whatever the folder looks like a group keeps a photo."""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samespace.base.errors import SameSpaceError
from samespace.duplicates import apply as apply_module
from samespace.duplicates.apply import apply
from samespace.duplicates.manifest import QUARANTINE, WAYS
from samespace.duplicates.plan import Plan, PlannedGroup
from samespace.duplicates.quarantine import runs
from samespace.duplicates.undo import undo
from samespace.library.library import FOLDER, Library
from tests.duplicates.conftest import (
    MEMORY,
    NOON,
    Children,
    Folder,
    InChild,
    assert_back,
    disk_full_after,
    make_plan,
    planned,
    snapshot,
    undo_all,
    write,
)


def test_victims_lie_in_quarantine_under_their_own_relative_paths(folder: Folder) -> None:
    applied = apply(folder.plan)
    [run] = applied.runs
    lying = {path.relative_to(run / "0") for path in (run / "0").rglob("*") if path.is_file()}
    assert lying == {path.relative_to(folder.root) for path in (folder.b, folder.copy, folder.odd, folder.linked)}
    assert (applied.photos, applied.skipped) == (4, ())
    assert not any(os.path.lexists(path) for path in (folder.b, folder.copy, folder.odd, folder.linked))
    assert folder.a.exists()
    assert folder.two.exists()


def test_a_hard_link_frees_no_bytes(folder: Folder) -> None:
    applied = apply(folder.plan)
    assert applied.bytes_to_free == len(b"a small one" + b"the large one" + b"odd name")
    assert runs(folder.library.folder)[0].bytes_to_free == applied.bytes_to_free


def test_both_names_of_a_file_removed_free_its_bytes_once(folder: Folder) -> None:
    plan = make_plan(folder.library, folder.root, ([folder.a], [folder.two, folder.linked]))
    assert apply(plan).bytes_to_free == len(b"two")


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


def test_of_photos_that_have_gone_those_in_quarantine_are_told(folder: Folder) -> None:
    folder.odd.unlink()
    run = apply(folder.plan).runs[0]
    again = apply(folder.plan)
    assert (again.photos, again.runs) == (0, ())
    reasons = {each.path: each.reason for each in again.skipped}
    assert reasons.pop(folder.odd) == "disappeared since the plan"
    assert set(reasons.values()) == {"is in quarantine already"}
    assert len(reasons) == 3
    undo(run)
    assert apply(folder.plan).photos == 3


def test_an_unknown_way_is_refused(folder: Folder) -> None:
    with pytest.raises(SameSpaceError, match="choose quarantine, hardlink, symlink"):
        apply(folder.plan, "bin")


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


def test_hard_links_across_file_systems_are_refused_before_anything_moves(folder: Folder, elsewhere: Path) -> None:
    keeper = write(elsewhere / "keeper.jpg", b"the large one")
    group = PlannedGroup((planned(keeper, folder.library, elsewhere),), folder.plan.groups[0].remove, 0.9)
    plan = folder.plan._replace(groups=(folder.plan.groups[1], group))
    with pytest.raises(SameSpaceError, match="is on another file system, so nothing was moved: choose symlink"):
        apply(plan, "hardlink")
    assert folder.back()
    assert apply(plan, "symlink").photos == 4
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
    check_plan = apply_module.check_plan

    def check_then_vanish(plan: Plan) -> Any:
        found = check_plan(plan)
        shutil.rmtree(folder.library.folder)
        return found

    monkeypatch.setattr(apply_module, "check_plan", check_then_vanish)
    with pytest.raises(SameSpaceError, match="nothing was moved"):
        apply(folder.plan)
    assert not folder.library.folder.exists()
    assert folder.back()


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


@pytest.mark.parametrize("to", WAYS)
def test_an_apply_killed_at_any_step_can_be_undone(quick: Folder, in_child: InChild, to: str) -> None:
    for step in count(1):
        ended = in_child(apply, quick.plan, to, fatal=step)
        assert quick.a.read_bytes() == b"the large one"
        assert_back(quick)
        if ended:
            break
    assert step > 30


@pytest.mark.parametrize("to", ["quarantine", "symlink"])
def test_copies_to_another_file_system_killed_at_any_step_can_be_undone(
    tmp_path: Path, elsewhere: Path, in_child: InChild, to: str
) -> None:
    folder = Folder(elsewhere / "photos", tmp_path / "library")
    plan = make_plan(folder.library, folder.root, ([folder.a], [folder.copy]))
    for step in count(1):
        ended = in_child(apply, plan, to, fatal=step)
        assert_back(folder)
        if ended:
            break
    for step in count(1):
        apply(plan, to)
        ended = in_child(undo_all, folder.library.folder, fatal=step)
        assert_back(folder)
        if ended:
            break


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
    for library in libraries:
        library.add_root(root)
    plans = [make_plan(libraries[0], root, (pair[:1], pair[1:])), make_plan(libraries[1], root, (pair[1:], pair[:1]))]
    for _ in range(10):
        assert children(*((apply, (plan,)) for plan in plans)) == [0, 0]
        assert any(path.exists() for path in pair)
        for library in libraries:
            undo_all(library.folder)
        assert all(path.exists() for path in pair)


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
        library.add_root(root)
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
