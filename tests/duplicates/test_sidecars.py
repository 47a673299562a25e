"""Sidecars keep what only removed photos know; undo takes them back, and they survive every kill."""

from __future__ import annotations

import errno
import json
import os
from itertools import count
from pathlib import Path

import pytest
from PIL import Image

from samespace.base.metadata import Metadata
from samespace.base.partners import Partners
from samespace.base.photo_metadata import known_of
from samespace.base.xmp import new_sidecar, read_xmp
from samespace.duplicates import sidecars
from samespace.duplicates.apply import apply
from samespace.duplicates.group import Duplicates, Group, Member
from samespace.duplicates.manifest import MANIFEST, WAYS, Skipped, read_manifest
from samespace.duplicates.only_here import loss_words, with_only_here
from samespace.duplicates.plan import Plan, PlannedPartner, read_plan, write_plan
from samespace.duplicates.plan import make_plan as plan_of
from samespace.duplicates.quarantine import delete_runs, runs
from samespace.duplicates.undo import undo
from samespace.library.library import FOLDER, Library, Photo
from tests.duplicates.conftest import NOON, InChild, make_plan, snapshot, undo_all, write

GARDEN = Metadata("2023-05-01T12:30:00", None, 4, ("garden",), "In the garden", None)
SEA = Metadata("2024-01-01T00:00:00", (54.0, 8.5), None, ("Garden", "sea"), None, "Sea")
BOTH = Metadata("2023-05-01T12:30:00", (54.0, 8.5), 4, ("garden", "sea"), "In the garden", "Sea")


def photo(path: Path, known: Metadata | None = None, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (shade, 0, 0)).save(path, **({"xmp": new_sidecar(known)} if known else {}))
    os.utime(path, ns=(NOON, NOON))
    return path


class Album:
    """A keeper that knows nothing, two copies that do, and one that does not."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.keeper = photo(root / "a" / "one.jpg")
        self.garden, self.sea = photo(root / "b" / "one.jpg", GARDEN), photo(root / "c" / "one.jpg", SEA)
        self.plain = photo(root / "c" / "two.jpg", shade=1)
        self.sidecar = root / "a" / "one.jpg.xmp"
        self.library = Library(root / FOLDER, create=True)
        self.library.add_root(root)
        self.start = snapshot(root)

    @property
    def plan(self) -> Plan:
        return make_plan(self.library, self.root, ([self.keeper], [self.garden, self.sea, self.plain]))

    def back(self) -> bool:
        return snapshot(self.root) == self.start


@pytest.fixture
def album(tmp_path: Path) -> Album:
    return Album(tmp_path / "photos")


@pytest.mark.parametrize("to", WAYS)
def test_what_only_removed_photos_know_is_beside_the_keeper_until_undo(album: Album, to: str) -> None:
    keeper = album.keeper.read_bytes()
    applied = apply(album.plan, to, merge_metadata=True)
    assert (applied.photos, applied.sidecars, applied.skipped) == (3, 1, ())
    assert read_xmp(album.sidecar.read_bytes()) == BOTH  # the first that knows a thing wins, keywords are united
    assert album.keeper.read_bytes() == keeper
    undone = undo(applied.runs[0])
    assert (undone.photos, undone.sidecars, undone.removed, undone.skipped) == (3, 1, True, ())
    assert album.back()


def test_without_being_asked_nothing_is_written(album: Album) -> None:
    applied = apply(album.plan)
    assert applied.sidecars == 0 and not album.sidecar.exists()
    assert "sidecar" not in (applied.runs[0] / MANIFEST).read_text()


def test_a_dry_run_counts_sidecars_and_writes_none(album: Album) -> None:
    applied = apply(album.plan, dry_run=True, merge_metadata=True)
    assert (applied.photos, applied.sidecars) == (3, 1)
    assert album.back()


def test_nothing_is_written_if_nothing_would_be_lost(album: Album) -> None:
    album.sidecar.write_bytes(new_sidecar(BOTH))
    applied = apply(album.plan, merge_metadata=True)
    assert (applied.photos, applied.sidecars) == (3, 0)
    assert album.sidecar.read_bytes() == new_sidecar(BOTH)


def test_what_another_kept_photo_knows_is_not_lost(album: Album) -> None:
    plan = make_plan(album.library, album.root, ([album.keeper, album.garden], [album.sea]))
    apply(plan, merge_metadata=True)
    known = read_xmp(album.sidecar.read_bytes())
    assert (known.date, known.gps, known.keywords) == (None, (54.0, 8.5), ("sea",))


@pytest.mark.parametrize("name", ["one.jpg.xmp", "one.xmp"])
def test_a_sidecar_is_completed_and_undo_restores_it(album: Album, name: str) -> None:
    mine = Metadata(rating=1, keywords=("mine",))
    sidecar = write(album.root / "a" / name, new_sidecar(mine), NOON - 5, 0o640)
    start = snapshot(album.root)
    [run] = apply(album.plan, merge_metadata=True).runs
    known = read_xmp(sidecar.read_bytes())
    assert (known.rating, known.keywords, known.title) == (1, ("mine", "garden", "sea"), "Sea")
    assert sidecar.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in sidecar.parent.iterdir()) == ["one.jpg", name]
    assert undo(run).sidecars == 1
    assert snapshot(album.root) == start


def test_a_sidecar_that_a_person_changed_stays(album: Album) -> None:
    [run] = apply(album.plan, merge_metadata=True).runs
    changed = album.sidecar.read_bytes().replace(b"In the garden", b"In my garden")
    album.sidecar.write_bytes(changed)
    undone = undo(run)
    assert (undone.photos, undone.sidecars, undone.removed) == (3, 0, True)
    assert undone.skipped == (Skipped(album.sidecar, "it was changed since it was written, and stays"),)
    assert album.sidecar.read_bytes() == changed


def test_while_a_sidecar_cannot_be_restored_the_run_stays(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    write(album.sidecar, new_sidecar(Metadata(rating=1)), NOON - 5)
    start = snapshot(album.root)
    [run] = apply(album.plan, merge_metadata=True).runs

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(sidecars, "write_no_link", refuse)
        undone = undo(run)
    assert (undone.photos, undone.sidecars, undone.removed) == (3, 0, False)
    assert undone.skipped == (Skipped(album.sidecar, "it cannot be taken back: Permission denied"),)
    assert runs(album.library.folder)[0].can_be_undone
    assert undo(run).sidecars == 1
    assert snapshot(album.root) == start and not run.exists()


def test_a_full_disk_leaves_the_photos_that_know(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sidecars, "write_no_link", refuse)
    applied = apply(album.plan, merge_metadata=True)
    assert (applied.photos, applied.sidecars) == (1, 0)
    assert {skipped.reason for skipped in applied.skipped} == {
        "what only it knows was not kept: one.jpg.xmp cannot be written: No space left on device"
    }
    assert album.garden.exists() and album.sea.exists() and not album.plain.exists()


def test_a_sidecar_that_a_person_removed_does_not_come_back(album: Album) -> None:
    [run] = apply(album.plan, merge_metadata=True).runs
    album.sidecar.unlink()
    undone = undo(run)
    assert (undone.sidecars, undone.skipped) == (0, ())
    assert album.back()


def test_a_sidecar_stays_until_every_photo_that_knew_is_back(album: Album) -> None:
    [run] = apply(album.plan, merge_metadata=True).runs
    write(album.sea, b"someone else's")
    assert undo(run).sidecars == 0
    assert album.sidecar.exists()
    album.sea.unlink()
    assert undo(run).sidecars == 1
    assert album.back()


@pytest.mark.parametrize("to", WAYS)
def test_a_sidecar_stays_when_a_photo_that_knew_was_deleted(album: Album, to: str) -> None:
    album.library.add_root(album.root)
    [run] = apply(album.plan, to, merge_metadata=True).runs
    (run / "0" / "b" / "one.jpg").unlink()
    undo(run)
    assert album.sea.exists()
    assert read_xmp(album.sidecar.read_bytes()) == BOTH


def test_emptying_the_quarantine_leaves_the_sidecar_alone(album: Album) -> None:
    [run] = apply(make_plan(album.library, album.root, ([album.keeper], [album.garden])), merge_metadata=True).runs
    delete_runs(runs(album.library.folder))
    assert not run.exists()
    assert read_xmp(album.sidecar.read_bytes()).caption == "In the garden"


def test_a_photo_stays_if_what_it_knows_has_no_place(album: Album) -> None:
    write(album.root / "a" / "one.xmp", b"not XMP")
    applied = apply(album.plan, merge_metadata=True)
    assert applied.photos == 1 and not album.plain.exists()
    assert [skipped.path for skipped in applied.skipped] == [album.garden, album.sea]
    assert "one.xmp cannot be completed, because it is not XMP" in applied.skipped[0].reason
    assert (album.root / "a" / "one.xmp").read_bytes() == b"not XMP"


def test_a_sidecar_that_is_a_link_is_not_followed(album: Album, tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere.xmp", new_sidecar(Metadata(rating=1)))
    album.sidecar.symlink_to(elsewhere)
    assert [skipped.path for skipped in apply(album.plan, merge_metadata=True).skipped] == [album.garden, album.sea]
    assert elsewhere.read_bytes() == new_sidecar(Metadata(rating=1)) and album.sidecar.is_symlink()


def test_a_sidecar_that_comes_or_changes_meanwhile_is_not_overwritten(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_really = sidecars.write_sidecar

    def write_late(*args: object) -> str:
        album.sidecar.write_bytes(b"somebody's")
        return write_really(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("samespace.duplicates.apply.write_sidecar", write_late)
    for before in (None, new_sidecar(Metadata(rating=1))):
        album.sidecar.unlink(missing_ok=True)
        if before:
            album.sidecar.write_bytes(before)
        applied = apply(album.plan, merge_metadata=True)
        assert [skipped.path for skipped in applied.skipped] == [album.garden, album.sea]
        assert "since it was checked" in applied.skipped[0].reason
        assert album.sidecar.read_bytes() == b"somebody's"
        undo_all(album.library.folder)
        assert album.garden.exists() and album.sea.exists()
        assert album.sidecar.read_bytes() == b"somebody's"


def test_a_sidecar_goes_again_if_no_photo_that_knew_could_be_moved(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(album.library, album.root, ([album.keeper], [album.garden]))
    write_really = sidecars.write_sidecar

    def change(*args: object) -> str:
        os.utime(album.garden, ns=(NOON, NOON + 1))
        return write_really(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("samespace.duplicates.apply.write_sidecar", change)
    applied = apply(plan, merge_metadata=True)
    assert (applied.photos, applied.sidecars, applied.runs) == (0, 0, ())
    assert not album.sidecar.exists()
    assert album.garden.exists()


def test_two_keepers_that_share_a_sidecar_are_both_completed(album: Album) -> None:
    shared = write(album.root / "a" / "one.xmp", new_sidecar(Metadata(rating=1)))
    other = photo(album.root / "a" / "one.png", shade=2)
    start = snapshot(album.root)
    plan = make_plan(album.library, album.root, ([album.keeper], [album.garden]), ([other], [album.sea]))
    [run] = apply(plan, merge_metadata=True).runs
    known = read_xmp(shared.read_bytes())
    assert (known.rating, known.caption, known.title, known.keywords) == (1, "In the garden", "Sea", ("garden", "sea"))
    assert undo(run).sidecars == 1
    assert snapshot(album.root) == start


def test_a_keeper_in_another_library_gets_a_sidecar_too(album: Album, tmp_path: Path) -> None:
    other = Album(tmp_path / "other")
    start = snapshot(tmp_path)
    plan = make_plan(album.library, album.root, ([album.keeper], [album.garden]))
    away = make_plan(other.library, other.root, ([], [other.sea])).groups[0].remove
    libraries = {**plan.libraries, other.library.id: other.library.folder}
    plan = plan._replace(libraries=libraries, groups=(plan.groups[0]._replace(remove=(*plan.groups[0].remove, *away)),))
    applied = apply(plan, merge_metadata=True)
    assert (applied.photos, applied.sidecars) == (2, 1)
    assert read_xmp(album.sidecar.read_bytes()) == BOTH
    for run in applied.runs[::-1]:  # the second completed what the first wrote
        assert undo(run).sidecars == 1
    assert snapshot(tmp_path) == start


# --- kills ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["quarantine", "symlink"])
@pytest.mark.parametrize("completes", [False, True])
def test_an_apply_killed_at_any_step_can_be_undone(tmp_path: Path, in_child: InChild, to: str, completes: bool) -> None:
    album = Album(tmp_path / "photos")
    if completes:
        write(album.sidecar, new_sidecar(Metadata(rating=1)), NOON - 5)
        write(album.root / "b" / "one.xmp", new_sidecar(Metadata(rating=2)), NOON - 5)
        album.start = snapshot(album.root)
    for step in count(1):
        ended = in_child(apply, with_partners(album.plan), to, False, True, fatal=step)
        lost = [each for each in (album.garden, album.sea) if not each.is_file() or each.is_symlink()]
        if lost:  # what they know was written before they went
            assert read_xmp(album.sidecar.read_bytes()).caption == "In the garden"
        undo_all(album.library.folder)
        assert album.back()
        if ended:
            break
    assert step > 20


@pytest.mark.parametrize("completes", [False, True])
def test_an_undo_killed_at_any_step_can_be_run_again(tmp_path: Path, in_child: InChild, completes: bool) -> None:
    album = Album(tmp_path / "photos")
    if completes:
        write(album.sidecar, new_sidecar(Metadata(rating=1)), NOON - 5)
        write(album.root / "b" / "one.xmp", new_sidecar(Metadata(rating=2)), NOON - 5)
        album.start = snapshot(album.root)
    plan = with_partners(make_plan(album.library, album.root, ([album.keeper], [album.garden])))
    for step in count(1):
        apply(plan, merge_metadata=True)
        ended = in_child(undo_all, album.library.folder, fatal=step)
        undo_all(album.library.folder)
        assert album.back() and runs(album.library.folder) == []
        if ended:
            break
    assert step > 5


def test_a_run_that_was_killed_before_the_first_move_can_still_be_undone(album: Album, in_child: InChild) -> None:
    for step in count(1):
        in_child(apply, album.plan, "quarantine", False, True, fatal=step)
        if album.sidecar.exists():
            break
        undo_all(album.library.folder)
    [run] = runs(album.library.folder)
    assert (run.photos, run.sidecars, run.can_be_undone) == (0, 1, True)


# --- manifests of others ----------------------------------------------------------------------------------------------


def forged(album: Album, **changes: object) -> Path:
    [run] = apply(album.plan, merge_metadata=True).runs
    lines = (run / MANIFEST).read_text().split("\n")
    at = next(number for number, line in enumerate(lines) if "sidecar" in line)
    lines[at] = json.dumps({**json.loads(lines[at]), **changes})
    (run / MANIFEST).write_text("\n".join(lines))
    return run


@pytest.mark.parametrize("name", ["a/one.jpg", "a/.one.jpg.xmp", "a/other.xmp", "notes.txt"])
def test_undo_touches_nothing_but_sidecars_of_the_keeper(album: Album, name: str) -> None:
    run = forged(album, sidecar=str(album.root / name))
    assert read_manifest(run).sidecars == ()
    target = album.root / name
    target.write_bytes(album.sidecar.read_bytes())
    undo(run)
    assert target.exists()


def test_undo_touches_nothing_outside_scanned_folders(album: Album, tmp_path: Path) -> None:
    outside = write(tmp_path / "outside" / "one.jpg.xmp", b"")
    run = forged(album, sidecar=str(outside), keeper=str(outside.with_suffix("")), root=str(outside.parent))
    outside.write_bytes(album.sidecar.read_bytes())
    assert "has not scanned" in undo(run).skipped[0].reason
    assert outside.exists()


@pytest.mark.parametrize("field", ["written", "of", "keeper", "root"])
def test_a_damaged_line_costs_no_photo(album: Album, field: str) -> None:
    run = forged(album, **{field: "not this"})
    undone = undo(run)
    assert (undone.photos, undone.sidecars) == (3, 0)
    assert album.sidecar.exists() and known_of(album.garden) == GARDEN


# --- what is shown ----------------------------------------------------------------------------------------------------


def found(album: Album, *paths: Path) -> Duplicates:
    members = []
    for path in paths:
        status = path.stat()
        photo = Photo(path, album.root, album.library.id, status.st_size, status.st_mtime_ns, path.name, 8, 6, None, 0)
        members.append(Member(photo, 1.0, not members, "why"))
    return Duplicates("near", 0.6, "keeper", 3, [Group("near", tuple(members), 0.9)], 2, 100, [], {})


def test_each_photo_says_what_only_it_has(album: Album) -> None:
    [group] = with_only_here(found(album, album.keeper, album.garden, album.sea)).groups
    keeper, garden, sea = group.members
    assert keeper.only_here == () and loss_words(keeper, group) == ""
    assert garden.only_here == ("date", "rating", "keywords", "caption")
    assert loss_words(garden, group) == (
        "only this copy has: rating, caption; only removed copies have: date, keywords"
    )
    assert loss_words(sea, group) == "only this copy has: GPS, title; only removed copies have: date, keywords"


def test_a_plan_says_it_too_and_older_plans_are_read(album: Album, tmp_path: Path) -> None:
    looked_at = with_only_here(found(album, album.keeper, album.garden))
    plan = plan_of(looked_at, [album.library])
    write_plan(tmp_path / "plan.json", plan)
    assert read_plan(tmp_path / "plan.json") == plan
    text = (tmp_path / "plan.json").read_text()
    [group] = json.loads(text)["groups"]
    assert group["remove"][0]["only_here"] == ["date", "rating", "keywords", "caption"]
    assert "only_here" not in group["keep"][0]
    del group["remove"][0]["only_here"]
    (tmp_path / "old.json").write_text(json.dumps({**json.loads(text), "groups": [group]}))
    assert read_plan(tmp_path / "old.json").groups[0].remove[0].only_here is None


# --- sidecars that travel with photos ---------------------------------------------------------------------------------


def with_partners(plan: Plan) -> Plan:
    """Return a plan with the sidecars that lie beside its photos to remove."""
    partners = Partners()
    groups = []
    for group in plan.groups:
        remove = (
            each._replace(partners=tuple(PlannedPartner(one.path, one.size, one.mtime_ns) for one in found))
            for each, found in ((each, partners.of(each.path)) for each in group.remove)
        )
        groups.append(group._replace(remove=tuple(remove)))
    return plan._replace(groups=tuple(groups))


def test_a_sidecar_that_a_kept_photo_shares_is_completed_and_stays(album: Album) -> None:
    keeper = photo(album.root / "d" / "one.png")
    removed = photo(album.root / "d" / "one.jpg", SEA)
    shared = write(album.root / "d" / "one.xmp", new_sidecar(GARDEN), NOON - 5)
    start = snapshot(album.root)
    plan = with_partners(make_plan(album.library, album.root, ([keeper], [removed])))
    assert [partner.path for partner in plan.groups[0].remove[0].partners] == [shared]
    applied = apply(plan, merge_metadata=True)
    assert (applied.photos, applied.partners, applied.sidecars, applied.skipped) == (1, 0, 1, ())
    assert known_of(keeper).title == "Sea" and known_of(keeper).caption == "In the garden"
    undone = undo(applied.runs[0])
    assert (undone.photos, undone.partners, undone.sidecars) == (1, 0, 1)
    assert snapshot(album.root) == start


def test_the_sidecar_of_a_removed_photo_is_merged_and_travels(album: Album) -> None:
    mine = write(album.root / "c" / "two.xmp", new_sidecar(Metadata(rating=5)), NOON - 5)
    start = snapshot(album.root)
    applied = apply(with_partners(album.plan), merge_metadata=True)
    assert (applied.photos, applied.partners, applied.sidecars, applied.skipped) == (3, 1, 1, ())
    assert not mine.exists() and known_of(album.keeper).rating == 4  # the first that knows
    [run] = runs(album.library.folder)
    assert (run.photos, run.partners) == (3, 1)
    undone = undo(run.folder)
    assert (undone.photos, undone.partners, undone.sidecars, undone.removed) == (3, 1, 1, True)
    assert snapshot(album.root) == start


def test_the_sidecar_of_a_photo_that_must_stay_stays(album: Album) -> None:
    mine = write(album.root / "b" / "one.xmp", new_sidecar(Metadata(rating=5)), NOON - 5)
    write(album.sidecar, b"no XMP", NOON - 5)
    start = snapshot(album.root)
    plan = with_partners(make_plan(album.library, album.root, ([album.keeper], [album.garden])))
    applied = apply(plan, merge_metadata=True)
    [skipped] = applied.skipped
    assert (applied.photos, applied.partners, applied.sidecars, applied.runs) == (0, 0, 0, ())
    assert "one.jpg.xmp cannot be completed" in skipped.reason and mine.exists()
    assert snapshot(album.root) == start


def test_no_sidecar_that_travels_is_completed(album: Album) -> None:
    """One run may complete a keeper's sidecar only if no photo takes that along: it would no longer be as planned."""
    keeper = photo(album.root / "d" / "one.jpg.png")
    removed = photo(album.root / "d" / "one.jpg", SEA)
    travels = write(album.root / "d" / "one.jpg.xmp", new_sidecar(GARDEN), NOON - 5)
    start = snapshot(album.root)
    applied = apply(with_partners(make_plan(album.library, album.root, ([keeper], [removed]))), merge_metadata=True)
    assert (applied.photos, applied.partners, applied.sidecars, applied.skipped) == (1, 1, 1, ())
    assert not travels.exists() and read_xmp((album.root / "d" / "one.jpg.png.xmp").read_bytes()) == BOTH
    undo(applied.runs[0])
    assert snapshot(album.root) == start


def test_a_photo_whose_knowledge_could_not_be_written_keeps_its_sidecar(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = write(album.root / "b" / "one.xmp", new_sidecar(Metadata(rating=5)), NOON - 5)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sidecars, "write_no_link", refuse)
    applied = apply(with_partners(album.plan), merge_metadata=True)
    assert (applied.photos, applied.partners, applied.sidecars) == (1, 0, 0)
    assert album.garden.exists() and mine.exists()
    assert runs(album.library.folder)[0].state == "complete"
