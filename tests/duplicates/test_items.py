"""A photo and its partners are one item: they go together, come back together, and are deleted together."""

from __future__ import annotations

import errno
import json
import os
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from samespace.duplicates import obstacles
from samespace.duplicates.apply import apply
from samespace.duplicates.manifest import MANIFEST, Skipped
from samespace.duplicates.plan import Plan, PlannedPartner, read_plan, write_plan
from samespace.duplicates.quarantine import delete_runs, runs
from samespace.duplicates.undo import undo
from samespace.library.library import FOLDER, Library
from tests.duplicates.conftest import InChild, disk_full_after, make_plan, snapshot, undo_all, write


class Pair:
    """A photo with a RAW file and a sidecar, a copy of all three to remove, and what the copy alone has."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kept, self.kept_raw = write(root / "a" / "1.jpg", b"photo"), write(root / "a" / "1.CR2", b"raw")
        self.photo, self.raw = write(root / "b" / "1.jpg", b"photo"), write(root / "b" / "1.CR2", b"raw", mode=0o600)
        self.sidecar = write(root / "b" / "1.xmp", b"five stars")
        self.other = write(root / "b" / "10.CR2", b"of another photo")
        self.library = Library(root / FOLDER, create=True)
        self.library.add_root(root)
        self.partners: dict[Path, Path | None] = {self.raw: self.kept_raw, self.sidecar: None}
        self.plan = self.planned(self.photo, self.partners)
        self.start = snapshot(root)

    def planned(self, photo: Path, partners: dict[Path, Path | None]) -> Plan:
        plan = make_plan(self.library, self.root, ([self.kept], [photo]))
        group = plan.groups[0]
        return plan._replace(groups=(group._replace(remove=(self.named(group.remove[0], partners),)),))

    @staticmethod
    def named(photo: Any, partners: dict[Path, Path | None]) -> Any:
        seen = [(path, path.stat(), keeper) for path, keeper in partners.items()]
        named = (PlannedPartner(path, status.st_size, status.st_mtime_ns, keeper) for path, status, keeper in seen)
        return photo._replace(partners=tuple(named))

    def there(self) -> set[str]:
        return {str(path.relative_to(self.root)) for path in self.root.glob("[ab]/*")}

    def back(self) -> bool:
        return snapshot(self.root) == self.start


ALL = {"a/1.jpg", "a/1.CR2", "b/1.jpg", "b/1.CR2", "b/1.xmp", "b/10.CR2"}
KEPT = {"a/1.jpg", "a/1.CR2", "b/10.CR2"}


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path / "photos")


@pytest.fixture
def quick(in_memory: Path) -> Pair:
    return Pair(in_memory / "photos")


def test_partners_go_and_come_back_with_their_photo(pair: Pair) -> None:
    applied = apply(pair.plan)
    assert (applied.photos, applied.partners, applied.skipped) == (1, 2, ())
    assert applied.bytes_to_free == len(b"photo" + b"raw" + b"five stars")
    assert pair.there() == KEPT
    [run] = runs(pair.library.folder)
    assert (run.photos, run.partners, run.bytes_to_free, run.state) == (1, 2, applied.bytes_to_free, "complete")
    undone = undo(run.folder)
    assert (undone.photos, undone.partners, undone.skipped, undone.removed) == (1, 2, (), True)
    assert pair.back()


def test_a_dry_run_counts_partners_and_moves_nothing(pair: Pair) -> None:
    applied = apply(pair.plan, dry_run=True)
    assert (applied.photos, applied.partners, applied.bytes_to_free) == (1, 2, 18)
    assert pair.back()


def test_a_plan_carries_partners_through_a_file(pair: Pair, tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.json", pair.plan)
    assert read_plan(tmp_path / "plan.json") == pair.plan


@pytest.mark.parametrize("way", ["hardlink", "symlink"])
def test_partners_stay_where_a_link_keeps_the_name(pair: Pair, way: str) -> None:
    new = write(pair.root / "b" / "1.mov", b"come since the plan")
    applied = apply(pair.plan, way)
    assert (applied.photos, applied.partners, applied.skipped) == (1, 0, ())
    assert pair.there() == {*ALL, "b/1.mov"}
    new.unlink()
    undo_all(pair.library.folder)
    assert pair.back()


def edit(path: Path) -> None:
    path.write_bytes(b"edited since")


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (lambda pair: edit(pair.sidecar), "1.xmp, which belongs to it, changed since the plan"),
        (lambda pair: pair.raw.unlink(), "1.CR2, which belongs to it, disappeared since the plan"),
        (lambda pair: pair.kept_raw.unlink(), "the file kept for 1.CR2, {}, disappeared since the plan"),
        (lambda pair: edit(pair.kept_raw), "the file kept for 1.CR2, {}, has other bytes"),
        (lambda pair: (pair.kept_raw.unlink(), pair.kept_raw.symlink_to(pair.raw)), "{}, is no longer a file"),
    ],
)
def test_an_item_that_is_not_as_planned_stays_whole(pair: Pair, happens: Any, said: str) -> None:
    happens(pair)
    there = pair.there()
    applied = apply(pair.plan)
    [skipped] = applied.skipped
    assert (applied.photos, applied.partners, skipped.path) == (0, 0, pair.photo)
    assert skipped.reason.endswith(said.format(pair.kept_raw))
    assert pair.there() == there


@pytest.mark.parametrize("name", ["1.NEF", "1.mov", "1.jpg.xmp"])
def test_a_photo_stays_whole_if_a_partner_has_come_since_the_plan(pair: Pair, name: str) -> None:
    new = write(pair.root / "b" / name, b"new")
    applied = apply(pair.plan)
    assert applied.skipped == (Skipped(pair.photo, f"{name}, which belongs to it, has come since the plan"),)
    assert (applied.photos, pair.there()) == (0, {*ALL, f"b/{name}"})
    new.unlink()
    assert pair.back()


def test_a_plan_says_that_a_photo_had_no_partners(pair: Pair, tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.json", pair.planned(pair.photo, {}))
    applied = apply(read_plan(tmp_path / "plan.json"))
    assert applied.skipped == (Skipped(pair.photo, "1.CR2, which belongs to it, has come since the plan"),)
    assert pair.back()


def test_a_plan_of_0_1_leaves_partners_behind(pair: Pair, tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.json", pair.plan)
    record = json.loads((tmp_path / "plan.json").read_bytes())
    del record["groups"][0]["remove"][0]["partners"]
    (tmp_path / "plan.json").write_text(json.dumps(record))
    applied = apply(read_plan(tmp_path / "plan.json"))
    assert (applied.photos, applied.partners, applied.skipped) == (1, 0, ())
    assert pair.there() == ALL - {"b/1.jpg"}


def test_a_new_partner_that_also_belongs_to_a_photo_which_stays_hinders_nothing(pair: Pair) -> None:
    write(pair.root / "b" / "1.heic", b"another photo")
    clip = write(pair.root / "b" / "1.mov", b"clip of both")
    applied = apply(pair.plan)
    assert (applied.photos, applied.skipped, clip.exists()) == (1, (), True)


def test_a_new_partner_of_two_photos_that_go_keeps_both(pair: Pair) -> None:
    second = write(pair.root / "b" / "1.heic", b"photo")
    plan = make_plan(pair.library, pair.root, ([pair.kept], [pair.photo, second]))
    named = [pair.named(photo, pair.partners) for photo in plan.groups[0].remove]
    clip = write(pair.root / "b" / "1.mov", b"clip of both")
    applied = apply(plan._replace(groups=(plan.groups[0]._replace(remove=tuple(named)),)))
    assert (applied.photos, [each.path for each in applied.skipped]) == (0, [pair.photo, second])
    assert clip.exists()


@pytest.mark.parametrize("name", ["1.xmp", "1.CR2", "1.jpg"])
def test_an_item_of_which_one_file_cannot_move_stays_whole(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path == pair.photo.with_name(name):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    applied = apply(pair.plan)
    [skipped] = applied.skipped
    assert (applied.photos, applied.partners, applied.runs, skipped.path) == (0, 0, (), pair.photo)
    belongs = "" if name == "1.jpg" else f"{name}, which belongs to it: "
    assert skipped.reason == f"{belongs}it cannot be moved: Permission denied"
    assert pair.back()


def test_a_full_disk_leaves_items_whole(pair: Pair) -> None:
    for writes in count():
        with disk_full_after(writes) as done:
            try:
                apply(pair.plan)
            except Exception:
                assert pair.back()
        there = pair.there()
        assert there in (ALL, KEPT)
        undo_all(pair.library.folder)
        assert pair.back()
        if done[0] <= writes:
            break
    assert writes > 3


def test_undo_brings_all_back_wherever_apply_was_killed(quick: Pair, in_child: InChild) -> None:
    halves = 0
    for fatal in count(1):
        ended = in_child(apply, quick.plan, fatal=fatal)
        halves += quick.there() not in (ALL, KEPT)
        undo_all(quick.library.folder)
        assert quick.back()
        assert runs(quick.library.folder) == []
        if ended:
            break
    assert halves > 2  # it was killed within the item, too


def test_undo_killed_anywhere_can_be_done_again(quick: Pair, in_child: InChild) -> None:
    for fatal in count(1):
        apply(quick.plan)
        ended = in_child(undo_all, quick.library.folder, fatal=fatal)
        undo_all(quick.library.folder)
        assert quick.back()
        if ended:
            break
    assert fatal > 5


def test_a_partner_of_two_photos_goes_with_the_last_of_them(pair: Pair) -> None:
    second = write(pair.root / "b" / "1.heic", b"photo")
    plan = make_plan(pair.library, pair.root, ([pair.kept], [pair.photo, second]))
    named = [pair.named(photo, pair.partners) for photo in plan.groups[0].remove]
    both = plan._replace(groups=(plan.groups[0]._replace(remove=tuple(named)),))
    one = plan._replace(groups=(plan.groups[0]._replace(remove=tuple(named[:1])),))
    assert (apply(one).partners, pair.raw.exists()) == (0, True)
    undo_all(pair.library.folder)
    second.write_bytes(b"another since the plan")
    assert (apply(both).photos, pair.raw.exists()) == (1, True)
    undo_all(pair.library.folder)
    write(second, b"photo")
    applied = apply(both)
    assert (applied.photos, applied.partners, pair.raw.exists()) == (2, 2, False)
    undo_all(pair.library.folder)
    assert pair.raw.exists()


def test_a_partner_stays_with_a_photo_that_cannot_move(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    second = write(pair.root / "b" / "1.heic", b"photo")
    plan = make_plan(pair.library, pair.root, ([pair.kept], [second, pair.photo]))
    named = [pair.named(photo, pair.partners) for photo in plan.groups[0].remove]
    plan = plan._replace(groups=(plan.groups[0]._replace(remove=tuple(named)),))
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path == second:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    applied = apply(plan)
    assert (applied.photos, applied.partners, [each.path for each in applied.skipped]) == (1, 0, [second])
    assert pair.raw.exists()


@pytest.mark.parametrize("is_named", [True, False])
def test_a_partner_that_the_plan_removes_or_keeps_by_itself_is_left_to_that(pair: Pair, is_named: bool) -> None:
    clip, kept_clip = write(pair.root / "b" / "1.mov", b"clip"), write(pair.root / "a" / "1.mov", b"clip")
    photo = pair.named(pair.plan.groups[0].remove[0], {clip: None} if is_named else {})
    pair.raw.unlink()
    pair.sidecar.unlink()
    groups = make_plan(pair.library, pair.root, ([pair.kept], [pair.photo]), ([kept_clip], [clip])).groups
    plan = pair.plan._replace(groups=(groups[0]._replace(remove=(photo,)), groups[1]))
    assert apply(plan).partners == 0
    undo_all(pair.library.folder)
    groups = make_plan(pair.library, pair.root, ([pair.kept], [pair.photo]), ([clip], [kept_clip])).groups
    applied = apply(pair.plan._replace(groups=(groups[0]._replace(remove=(photo,)), groups[1])))
    assert (pair.photo.exists(), applied.partners, clip.exists()) == (False, 0, True)


def test_a_plan_edited_to_remove_what_a_partner_was_kept_for_leaves_that_item(pair: Pair) -> None:
    third = write(pair.root / "c" / "1.jpg", b"photo")
    plan = make_plan(pair.library, pair.root, ([third], [pair.photo, pair.kept]))
    photo, kept = plan.groups[0].remove
    edited = (pair.named(photo, pair.partners), pair.named(kept, {pair.kept_raw: None}))
    applied = apply(plan._replace(groups=(plan.groups[0]._replace(remove=edited),)))
    assert (applied.photos, applied.partners, [each.path for each in applied.skipped]) == (1, 1, [pair.photo])
    assert applied.skipped[0].reason.endswith("is to be removed as well")
    assert pair.raw.exists()


def test_emptying_deletes_partners_with_their_photo(pair: Pair) -> None:
    applied = apply(pair.plan)
    deleted = delete_runs(runs(pair.library.folder))
    assert (deleted.photos, deleted.partners, deleted.skipped) == (1, 2, ())
    assert deleted.bytes_freed == applied.bytes_to_free
    assert runs(pair.library.folder) == []
    assert pair.there() == KEPT


@pytest.mark.parametrize("name", ["1.jpg", "1.CR2"])
def test_an_item_stays_in_quarantine_if_one_of_its_files_may_be_the_last_copy(pair: Pair, name: str) -> None:
    apply(pair.plan)
    pair.kept.with_name(name).unlink()
    deleted = delete_runs(runs(pair.library.folder))
    assert (deleted.photos, deleted.partners) == (0, 0)
    assert "it may be the last copy" in deleted.skipped[0].reason
    undo_all(pair.library.folder)
    assert {"b/1.jpg", "b/1.CR2", "b/1.xmp"} <= pair.there()


def test_a_partner_whose_photo_is_back_is_not_deleted(pair: Pair) -> None:
    [run] = apply(pair.plan).runs
    write(pair.sidecar, b"another")
    assert [each.reason for each in undo(run).skipped] == ["its place is taken"]
    assert runs(pair.library.folder)[0].can_be_undone
    deleted = delete_runs(runs(pair.library.folder))
    assert (deleted.photos, deleted.partners) == (0, 0)
    assert f"it belongs to {pair.photo}, which stays" in deleted.skipped[0].reason
    pair.sidecar.unlink()
    undo_all(pair.library.folder)
    assert pair.back()


def test_emptying_killed_anywhere_leaves_no_partner_without_its_photo(quick: Pair, in_child: InChild) -> None:
    held = {"1.jpg", "1.CR2", "1.xmp"}
    for fatal in count(1):
        [run] = apply(quick.plan).runs
        ended = in_child(delete_runs, runs(quick.library.folder), fatal=fatal)
        left = {path.name for path in run.rglob("1.*")}
        assert left in (held, held - {"1.jpg"}, {"1.xmp"}, set())
        if "1.jpg" in left:
            undo_all(quick.library.folder)
            assert quick.back()
        elif left or run.exists():
            delete_runs(runs(quick.library.folder))
            assert runs(quick.library.folder) == []
        for path, content in ((quick.photo, b"photo"), (quick.raw, b"raw"), (quick.sidecar, b"five stars")):
            write(path, content, mode=0o600 if path == quick.raw else 0o644)
        if ended:
            break
    assert fatal > 5


def test_partners_come_back_when_their_lines_in_the_manifest_are_damaged(pair: Pair) -> None:
    [run] = apply(pair.plan).runs
    lines = (run / MANIFEST).read_text().splitlines()
    (run / MANIFEST).write_text("\n".join(line for line in lines if "1.xmp" not in line and "1.CR2" not in line))
    undo(run)
    assert pair.there() == ALL


def test_a_manifest_brings_no_file_that_is_nobodys_partner(pair: Pair) -> None:
    [run] = apply(pair.plan).runs
    (run / MANIFEST).write_text((run / MANIFEST).read_text().replace("1.xmp", "x.xmp"))
    (run / "0" / "b" / "1.xmp").rename(run / "0" / "b" / "x.xmp")
    assert [each.reason.split(":")[0] for each in undo(run).skipped] == ["no scan finds a photo there"]
    assert not (pair.root / "b" / "x.xmp").exists()


def test_a_dry_run_finds_that_a_partner_has_no_room(
    pair: Pair, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(elsewhere / "library", create=True)
    library.add_root(pair.root)
    plan = make_plan(library, pair.root, ([pair.kept], [pair.photo]))
    photo = pair.named(plan.groups[0].remove[0], pair.partners)
    plan = plan._replace(groups=(plan.groups[0]._replace(remove=(photo,)),))
    monkeypatch.setattr(obstacles, "free_bytes", lambda folder: obstacles.NOTES + 4096)  # one block
    [skipped] = apply(plan, dry_run=True).skipped
    assert (skipped.path, "no room to copy it" in skipped.reason) == (pair.photo, True)
    assert pair.back()
