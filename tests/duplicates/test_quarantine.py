"""Emptying deletes what is old and nothing else, says what it freed, and may be killed at any moment."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from itertools import count
from pathlib import Path

import pytest

from samespace.duplicates.apply import apply
from samespace.duplicates.manifest import MANIFEST
from samespace.duplicates.quarantine import delete_runs, misdated_runs, runs, runs_older_than
from samespace.duplicates.undo import undo
from samespace.library.scan import scan
from tests.duplicates.conftest import MEMORY, Folder, InChild, delete_all, disk_full_after, make_plan, snapshot, write
from tests.library.conftest import draw


def test_emptying_takes_only_old_runs_and_says_what_it_freed(folder: Folder) -> None:
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


def test_runs_of_one_second_have_names_of_their_own_newest_first(folder: Folder) -> None:
    for path in (folder.b, folder.copy, folder.odd):
        apply(make_plan(folder.library, folder.root, ([folder.a], [path])))
    held = [sorted(path.name for path in run.folder.rglob("*.jpg")) for run in runs(folder.library.folder)]
    assert held == [[folder.odd.name], ["one.jpg"], ["one.jpg"]]


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


def test_what_lies_in_quarantine_is_its_owners_alone_and_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir(mode=0o755)
    folder = Folder(tmp_path / "photos", tmp_path / "library")
    [run] = apply(folder.plan).runs
    assert [path.stat().st_mode & 0o777 for path in (run.parent, run, run / "0" / "b" / "one.jpg")] == [
        *(0o700, 0o700, 0o600)
    ]
    assert (run / "0" / "c" / "deep" / "one.jpg").stat().st_mode & 0o777 == 0o640


# Last copies


def stays(folder: Folder, *paths: Path) -> None:
    """Empty the quarantine; these photos alone stay in it, each with the reason, and come back."""
    deleted = delete_runs(runs(folder.library.folder))
    [run] = runs(folder.library.folder)
    assert [skipped.path.name for skipped in deleted.skipped] == [path.name for path in paths]
    for skipped in deleted.skipped:
        assert "it may be the last copy" in skipped.reason
        assert skipped.reason.endswith(f"`samespace undo {run.folder}` brings it back")
    undo(run.folder)
    assert all(path.exists() for path in paths)


def test_a_last_copy_whose_folder_has_another_name_stays_and_nothing_is_promised(folder: Folder) -> None:
    [run] = apply(folder.plan).runs
    renamed = folder.root.rename(folder.root.with_name("renamed"))
    (renamed / "a" / "one.jpg").unlink()
    reason = delete_runs(runs(renamed / folder.library.folder.relative_to(folder.root))).skipped[0].reason
    assert f"stays: the folder {folder.root} is gone: give it its old name and place back" in reason
    assert reason.endswith("then `samespace undo` brings it back")
    renamed.rename(folder.root)
    assert undo(run).photos == 4


def test_a_photo_whose_keeper_is_gone_stays(folder: Folder) -> None:
    apply(folder.plan)
    folder.a.unlink()
    stays(folder, folder.b, folder.copy, folder.odd)
    assert not folder.linked.exists()


def test_a_photo_whose_keeper_has_other_bytes_stays(folder: Folder) -> None:
    apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b])))
    write(folder.a, folder.a.read_bytes()[::-1])
    stays(folder, folder.b)


@pytest.mark.parametrize(("name", "blind"), [("realpath", str), ("samestat", lambda *_: False)])
def test_a_photo_is_not_its_own_keeper(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, name: str, blind: Callable[..., object]
) -> None:
    """Nor is it by another mount, nor on a file system that makes inodes up."""
    [run] = apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b]))).runs
    folder.a.unlink()
    folder.a.parent.rmdir()
    folder.a.parent.symlink_to(run / "0" / "b")
    with monkeypatch.context() as patch:
        patch.setattr(os.path, name, blind)
        assert delete_runs(runs(folder.library.folder)).photos == 0
    folder.a.parent.unlink()
    stays(folder, folder.b)


def test_a_keeper_that_moved_counts_where_the_library_knows_it(folder: Folder) -> None:
    kept, small = draw(folder.root / "large.png", 1), draw(folder.root / "small.png", 2)
    apply(make_plan(folder.library, folder.root, ([kept], [small])))
    kept.rename(folder.root / "b" / "renamed.png")
    scan(folder.library, [folder.root])
    assert delete_runs(runs(folder.library.folder)).skipped == ()


def test_a_link_to_the_keeper_counts_when_the_keeper_is_gone(folder: Folder) -> None:
    apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b])), "hardlink")
    folder.a.unlink()
    assert delete_runs(runs(folder.library.folder)).skipped == ()
    assert folder.b.read_bytes() == b"the large one"


def test_a_keeper_removed_later_counts_while_its_own_keeper_is_there(folder: Folder) -> None:
    apply(make_plan(folder.library, folder.root, ([folder.b], [folder.odd])))
    apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b])))
    deleted = delete_runs(runs(folder.library.folder))
    assert (deleted.photos, deleted.skipped) == (2, ())


def test_photos_that_were_kept_for_each_other_are_not_all_deleted(folder: Folder) -> None:
    apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b])))
    write(folder.b, b"a small one")
    apply(make_plan(folder.library, folder.root, ([folder.b], [folder.a])))
    folder.b.unlink()
    stays(folder, folder.a)


def test_without_the_bytes_of_a_keeper_noted_it_must_be_a_whole_photo(folder: Folder) -> None:
    """As 0.1 wrote manifests."""
    kept = draw(folder.root / "large.png", 1)
    plan = make_plan(folder.library, folder.root, ([folder.a], [folder.b]), ([kept], [folder.odd]))
    [run] = apply(plan).runs
    manifest = run / MANIFEST
    manifest.write_text(re.sub(r', "keeper_content": "\w+"', "", manifest.read_text()))
    assert "keeper_content" not in manifest.read_text()
    stays(folder, folder.b)
    assert not folder.odd.exists()


# Clocks


def dated(run: Path, made: datetime) -> None:
    """Let a manifest say that its run was made then."""
    manifest = run / MANIFEST
    manifest.write_text(re.sub(r'"made": "[^"]+"', f'"made": "{made.isoformat()}"', manifest.read_text()))


def test_a_run_is_not_older_than_its_photos(folder: Folder) -> None:
    [run] = apply(folder.plan).runs
    dated(run, datetime(2020, 1, 1, tzinfo=timezone.utc))
    library = folder.library.folder
    assert runs_older_than(library, timedelta(days=30)) == []
    assert [each.folder for each in misdated_runs(library, timedelta(days=30))] == [run]
    assert [each.folder for each in runs_older_than(library, timedelta(0))] == [run]
    assert misdated_runs(library, timedelta(0)) == []


def test_a_run_of_a_day_to_come_is_not_old(folder: Folder) -> None:
    [run] = apply(folder.plan).runs
    tomorrow = datetime.now(timezone.utc) + timedelta(days=1)
    os.utime(run, (tomorrow.timestamp(), tomorrow.timestamp()))
    assert runs_older_than(folder.library.folder, timedelta(0)) == []
    os.utime(run)
    assert len(runs_older_than(folder.library.folder, timedelta(0))) == 1
    dated(run, tomorrow)
    assert runs_older_than(folder.library.folder, timedelta(0)) == []


def test_photos_of_a_day_to_come_do_not_keep_a_run_for_ever(folder: Folder) -> None:
    write(folder.b, b"a small one", 4_000_000_000_000_000_000)
    apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b])))
    assert len(runs_older_than(folder.library.folder, timedelta(0))) == 1
