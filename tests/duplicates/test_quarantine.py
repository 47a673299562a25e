"""Emptying deletes what is old and nothing else, says what it freed, and may be killed at any moment."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from itertools import count
from pathlib import Path

from samespace.duplicates.apply import apply
from samespace.duplicates.manifest import MANIFEST
from samespace.duplicates.quarantine import delete_runs, runs, runs_older_than
from samespace.duplicates.undo import undo
from tests.duplicates.conftest import MEMORY, Folder, InChild, delete_all, disk_full_after, make_plan, snapshot, write


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
