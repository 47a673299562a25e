"""A manifest is followed as far as it can be read, and never out of its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from samespace.base.errors import SameSpaceError
from samespace.duplicates.apply import apply
from samespace.duplicates.manifest import MANIFEST, note, read_manifest, write_manifest
from samespace.duplicates.quarantine import delete_runs, runs
from samespace.duplicates.undo import undo
from tests.duplicates.conftest import Folder, make_plan, write


def test_a_manifest_comes_back_as_it_was_written_and_a_torn_note_spoils_nothing(folder: Folder) -> None:
    [run] = apply(folder.plan).runs
    manifest = read_manifest(run)
    again = run.with_name("again")
    write_manifest(again, manifest.made, manifest.to, manifest.moves)
    first, second, *_ = manifest.moves
    note(manifest._replace(folder=again), first, "moved")
    with (again / MANIFEST).open("ab") as file:
        file.write(b'\n{"move": 1, "sta')
    note(manifest._replace(folder=again), second, "left", "its place is taken")
    assert read_manifest(again) == manifest._replace(
        folder=again, states={first.number: "moved", second.number: "left"}
    )


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
    assert "1 of its moves can no longer be read" in undone.skipped[-2].reason
    assert not (tmp_path / "out.jpg").exists()
    manifest.write_text("gone")
    assert runs(folder.library.folder)[0].state == "unreadable"
    with pytest.raises(SameSpaceError, match="is not a manifest"):
        undo(run)
    with pytest.raises(SameSpaceError, match="no run at"):
        undo(tmp_path / "a" / "b")


@pytest.mark.parametrize("quarantined", ["../../../../b/mine.jpg", "0/../../mine.jpg", "{run}/0/b/one.jpg"])
def test_a_place_outside_the_run_is_not_believed(folder: Folder, quarantined: str) -> None:
    [run] = apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b]))).runs
    write(folder.root / "b" / "mine.jpg", b"mine")
    write(run.parent / "mine.jpg", b"mine")
    manifest = run / MANIFEST
    manifest.write_text(manifest.read_text().replace("0/b/one.jpg", quarantined.format(run=run)))
    assert (read_manifest(run).moves, read_manifest(run).broken) == ((), 1)
    delete_runs(runs(folder.library.folder))
    assert (folder.root / "b" / "mine.jpg").exists()
    assert (run.parent / "mine.jpg").exists()
