"""Whatever happens during a move, the photo is in its place or in the quarantine, and nothing is overwritten."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from samespace.base.errors import SameSpaceError
from samespace.duplicates import apply as apply_module
from samespace.duplicates import move as moving
from samespace.duplicates.apply import apply
from samespace.duplicates.manifest import MANIFEST, note
from samespace.duplicates.plan import Plan
from samespace.duplicates.quarantine import runs
from tests.duplicates.conftest import Folder, Happened, disk_full_after, make_plan, undo_all, write


def test_quarantine_overwrites_nothing_either(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that ignores case, where another photo may have taken the name."""
    write_manifest = apply_module.write_manifest

    def write_then_occupy(run: Path, *args: Any) -> None:
        write_manifest(run, *args)
        write(run / "0" / "b" / "one.jpg", b"another photo")

    monkeypatch.setattr(apply_module, "write_manifest", write_then_occupy)
    applied = apply(folder.plan)
    assert (applied.photos, [skipped.path for skipped in applied.skipped]) == (3, [folder.b])
    assert applied.skipped[0].reason.endswith("one.jpg already exists")
    assert (applied.runs[0] / "0" / "b" / "one.jpg").read_bytes() == b"another photo"
    assert folder.b.read_bytes() == b"a small one"


def test_a_keeper_that_goes_with_its_victim_brings_it_back(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two names of one file that no look before can tell apart, or another library's apply at the same moment."""
    take = moving.take

    def take_both(*args: Any) -> None:
        take(*args)
        folder.a.rename(folder.root / "away")

    monkeypatch.setattr(moving, "take", take_both)
    applied = apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b])))
    (folder.root / "away").rename(folder.a)
    assert "disappeared or changed with it" in applied.skipped[0].reason
    assert applied.runs == ()
    assert folder.back()


@pytest.mark.parametrize(
    "lost",
    [
        Path.unlink,
        lambda path: path.unlink() or path.mkdir(),
        lambda path: path.write_bytes(b""),
        lambda path: write(path.with_name("new.jpg"), path.read_bytes(), path.stat().st_mtime_ns).replace(path),
    ],
)
def test_a_keeper_that_only_seems_to_be_there_brings_its_victim_back(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, lost: Callable[[Path], object]
) -> None:
    """As on exFAT by FUSE: each spelling of a name has an inode, and for a while the status it had, of its own."""
    take, stat_really, seen = moving.take, os.stat, folder.a.stat()

    def take_both(*args: Any) -> None:
        take(*args)
        lost(folder.a)

    def stale(path: Any, *args: Any, **named: Any) -> os.stat_result:
        return seen if path == folder.a else stat_really(path, *args, **named)

    monkeypatch.setattr(moving, "take", take_both)
    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, stale)
        monkeypatch.setattr(Path, name, stale)
    applied = apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b])))
    monkeypatch.undo()
    assert "disappeared or changed with it" in applied.skipped[0].reason
    assert applied.runs == ()
    assert folder.b.read_bytes() == b"a small one"


def test_a_keeper_that_cannot_be_read_any_more_brings_its_victim_back(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, opened = moving.take, Path.open

    class Broken(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def take_and_break(*args: Any) -> None:
        take(*args)
        monkeypatch.setattr(Path, "open", lambda self, *args: (Broken if self == folder.a else opened)(self, *args))

    monkeypatch.setattr(moving, "take", take_and_break)
    [skipped] = apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b]))).skipped
    assert "disappeared or changed with it" in skipped.reason
    assert folder.b.exists()


def test_a_victim_written_anew_between_check_and_move_is_left(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    check_plan = apply_module.check_plan

    def check_then_edit(plan: Plan) -> Any:
        found = check_plan(plan)
        write(folder.b, b"edited just now")
        return found

    monkeypatch.setattr(apply_module, "check_plan", check_then_edit)
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


def test_a_quarantine_that_vanishes_between_two_moves_stops_the_rest(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, taken = moving.take, []

    def note_then_vanish(manifest: Any, move: Any, state: str, why: str = "") -> None:
        note(manifest, move, state, why)
        manifest.folder.rename(tmp_path / "run")

    monkeypatch.setattr(moving, "note", note_then_vanish)
    monkeypatch.setattr(moving, "take", lambda *args: (taken.append(args), take(*args)))
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
    take = moving.take

    def take_and_vanish(move: Any, where: Path, *args: Any) -> None:
        take(move, where, *args)
        for manifest in folder.library.folder.rglob(MANIFEST):
            manifest.unlink()

    monkeypatch.setattr(moving, "take", take_and_vanish)
    applied = apply(folder.plan)
    assert (applied.photos, len(applied.skipped)) == (0, 4)
    assert folder.back()


def test_after_a_full_quarantine_no_other_photo_is_tried(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def take(move: Any, *args: Any) -> None:
        tried.append(move)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(moving, "take", take)
    reasons = [skipped.reason for skipped in apply(folder.plan).skipped]
    assert len(tried) == 1
    assert reasons[0] == "it cannot be moved: No space left on device"
    assert all(reason.startswith("not tried, because the quarantine") for reason in reasons[1:])
    assert folder.back()


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


def test_an_original_edited_while_it_is_copied_is_left(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path / "photos", elsewhere / "library")
    sync = moving.sync_folder

    def edit(path: Path) -> None:
        sync(path)
        if "quarantine" in path.parts[-2:-1] and folder.b.read_bytes() == b"a small one" and path.name != "quarantine":
            write(folder.b, b"edited")

    monkeypatch.setattr(moving, "sync_folder", edit)
    plan = make_plan(folder.library, folder.root, ([folder.a], [folder.b]))
    [skipped] = apply(plan).skipped
    assert skipped.reason == "changed since it was checked"
    assert folder.b.read_bytes() == b"edited"
    assert runs(folder.library.folder) == []


def partials(paths: set[Path]) -> set[Path]:
    return {path for path in paths if path.name.startswith(".samespace-")}


def test_a_photo_is_moved_only_when_its_manifest_is_on_the_disk(folder: Folder, happened: Happened) -> None:
    [run] = apply(folder.plan).runs
    library = folder.library.folder
    synced = happened.before("rename", folder.b)
    assert synced >= {run / f".{MANIFEST}.partial", run, library / "quarantine", library}


def test_an_original_goes_only_when_its_copy_and_the_folders_to_it_are_on_the_disk(
    tmp_path: Path, elsewhere: Path, happened: Happened
) -> None:
    folder = Folder(tmp_path / "photos", elsewhere / "library")
    [run] = apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b]))).runs
    synced = happened.before("unlink", folder.b)
    assert synced >= {run / "0" / "b", run / "0", run}
    assert [path.parent for path in partials(synced)] == [run / "0" / "b"]


def test_an_original_with_other_bytes_behind_its_date_is_not_taken_for_its_copy(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path / "photos", elsewhere / "library")
    check_plan = apply_module.check_plan

    def check_then_edit(plan: Plan) -> Any:
        found = check_plan(plan)
        write(folder.b, b"A SMALL ONE", folder.b.stat().st_mtime_ns, 0o600)
        return found

    monkeypatch.setattr(apply_module, "check_plan", check_then_edit)
    [skipped] = apply(make_plan(folder.library, folder.root, ([folder.a], [folder.b]))).skipped
    assert skipped.reason == "changed since it was checked"
    assert folder.b.read_bytes() == b"A SMALL ONE"
    assert runs(folder.library.folder) == []
