"""A manifest is followed as far as it can be read, and never out of its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from samespace.base.errors import SameSpaceError
from samespace.duplicates.apply import apply
from samespace.duplicates.manifest import MANIFEST, WAYS, note, read_manifest, write_manifest
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
    assert undone.photos == 4
    assert not (tmp_path / "out.jpg").exists()
    assert folder.back()  # the others in quarantine tell where it was
    with pytest.raises(SameSpaceError, match="no run at"):
        undo(tmp_path / "a" / "b")


def test_a_manifest_of_a_newer_version_is_not_followed(folder: Folder) -> None:
    [run] = apply(folder.plan).runs
    manifest = run / MANIFEST
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))
    assert runs(folder.library.folder)[0].state == "unreadable"
    with pytest.raises(SameSpaceError, match="made by a newer samespace: update samespace"):
        undo(run)


# Damage


def torn_header(manifest: Path) -> None:
    manifest.write_bytes(manifest.read_bytes()[9:])


def cut_short(manifest: Path) -> None:
    manifest.write_bytes(manifest.read_bytes()[:200])


def scribbled(manifest: Path) -> None:
    manifest.write_text("scribble")


def emptied(manifest: Path) -> None:
    manifest.write_bytes(b"")


def zeroed(manifest: Path) -> None:
    manifest.write_bytes(bytes(manifest.stat().st_size))


DAMAGES = (torn_header, cut_short, scribbled, emptied, zeroed, Path.unlink)


@pytest.mark.parametrize("to", WAYS)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_photos_come_back_though_their_manifest_is_damaged(
    folder: Folder, damage: Callable[[Path], None], to: str
) -> None:
    [run] = apply(folder.plan, to).runs
    damage(run / MANIFEST)
    [described] = runs(folder.library.folder)
    assert described.photos + described.strays == 4
    deleted = delete_runs([described])
    assert deleted.photos == (4 if damage is torn_header else 0)
    if damage is torn_header:
        return
    assert any(f"`samespace undo {run}` brings" in skipped.reason for skipped in deleted.skipped)
    if to == "hardlink" or to == "symlink":  # which nobody can tell from others' any more
        for path in (folder.b, folder.copy, folder.odd, folder.linked):
            path.unlink()
    undone = undo(run)
    assert (undone.photos, undone.removed, undone.skipped) == (4, True, ())
    assert folder.back()


@pytest.mark.parametrize("to", WAYS)
def test_moves_are_followed_though_the_head_of_their_manifest_is_torn(folder: Folder, to: str) -> None:
    [run] = apply(folder.plan, to).runs
    torn_header(run / MANIFEST)
    undone = undo(run)
    assert (undone.photos, undone.removed) == (4, True)
    assert folder.back()


def test_of_several_folders_the_one_with_a_strays_folder_is_chosen_or_both_are_named(
    folder: Folder, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    (other / "b").mkdir(parents=True)
    folder.library.add_root(other)
    [run] = apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b, folder.copy]))).runs
    (run / MANIFEST).unlink()
    undone = undo(run)
    assert (undone.photos, undone.removed) == (1, False)
    assert folder.copy.exists()
    reason = undone.skipped[0].reason
    assert f"`mv -n {run}/0/b/one.jpg PLACE`, where PLACE is {other}/b/one.jpg or {folder.b}" in reason


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
