"""Features are on disk before anything refers to them, are derived once, and outlive a change of their name."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from samespace.base.errors import SameSpaceError
from samespace.base.photos import glimpse
from samespace.library import features
from samespace.library.features import Features
from samespace.library.library import FOLDER, Library
from samespace.library.read_photos import read_batch
from samespace.library.scan import import_batch, scan
from tests.killing import Children
from tests.library.conftest import (
    Mean,
    Steps,
    draw,
    ended,
    in_another_process,
    opened,
    state,
)


def test_rows_of_the_forgotten_are_used_again(root: Path) -> None:
    library = opened(root)
    scan(library, [root], [Mean()])
    file = root / FOLDER / "features/mean-1/mean"
    assert file.stat().st_size == 5 * 12
    for name in ("a.jpg", "b/2.jpg"):
        (root / name).unlink()
    scan(library, [root], [Mean()])
    for seed in range(3):
        draw(root / f"new{seed}.jpg", 30 + seed)
    scan(library, [root], [Mean()])
    assert file.stat().st_size == 6 * 12
    fresh = Library(root.parent / "fresh", create=True)
    scan(fresh, [root], [Mean()])
    assert state(library) == state(fresh)


def test_features_come_in_the_order_of_the_photos(root: Path) -> None:
    library = opened(root)
    scan(library, [root], [Mean()])
    chosen = library.photos()[::-1]
    features = library.features(Mean(), chosen)
    wanted = Mean()
    wanted.batch = 5
    expected = wanted.extract(np.stack([glimpse(photo.path, 256).pixels for photo in chosen]))
    for name, (shape, dtype) in Mean.fields.items():
        assert (features.take(name).shape, features.take(name).dtype) == ((5, *shape), np.dtype(dtype))
        assert (features.take(name) == expected[name]).all()
        assert (features.take(name, slice(1, 3)) == expected[name][1:3]).all()
        assert (features.take(name, np.array([4, 0, 4])) == expected[name][[4, 0, 4]]).all()


def test_features_that_were_not_made_are_asked_for(root: Path) -> None:
    library = opened(root)
    scan(library, [root])
    with pytest.raises(SameSpaceError, match=r"no features yet for 5 photos, the first is .*a\.jpg: scan"):
        library.features(Mean(), library.photos())


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: os.truncate(path, 7)])
def test_lost_features_are_made_again(root: Path, damage: Callable[[Path], None]) -> None:
    library = opened(root)
    scan(library, [root], [Mean()])
    undamaged = state(library)
    damage(root / FOLDER / "features/mean-1/corner")
    with pytest.raises(SameSpaceError, match="no features yet for 5 photos"):
        library.features(Mean(), library.photos())
    scan(library, [root], [Mean()])
    assert state(library) == undamaged


def flip(path: Path, at: int) -> None:
    """Change one byte, and nothing that a listing shows."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[at] ^= 64
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("place", ["mean-1/corner", "mean-1/mean", "mean-1/checks", "mean-1-doubled/twice"])
def test_one_wrong_byte_is_noticed_and_the_next_scan_mends_it(root: Path, decoded: list[str], place: str) -> None:
    library = opened(root)
    scan(library, [root], [Mean()])
    library.derive(Mean(), Doubled(), double)
    undamaged, twice = state(library), doubled(library)
    flip(root / FOLDER / "features" / place, 5)
    with pytest.raises(
        SameSpaceError, match=r"features of 1 photo in .*mean-1.* are damaged: scan again with the same"
    ):
        _ = state(library), doubled(library)
    decoded.clear()
    scan(library, [root], [Mean()])
    library.derive(Mean(), Doubled(), double)
    assert len(decoded) == (0 if "doubled" in place else 1)
    assert state(library) == undamaged
    assert (doubled(library) == twice).all()


def test_features_that_0_1_wrote_without_checksums_get_some(root: Path, decoded: list[str]) -> None:
    library = opened(root)
    scan(library, [root], [Mean()])
    undamaged = state(library)
    (root / FOLDER / "features" / "mean-1" / "checks").unlink()
    assert state(library) == undamaged
    decoded.clear()
    scan(library, [root], [Mean()])
    flip(root / FOLDER / "features" / "mean-1" / "mean", 40)
    assert decoded == []
    scan(library, [root], [Mean()])
    assert len(decoded) == 1
    assert state(library) == undamaged


def test_features_are_on_the_disk_before_anything_refers_to_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened = list[str]()
    connect, pwrite = sqlite3.connect, os.pwrite

    def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(lambda statement: happened.append(statement.split(" (")[0]))
        return connection

    def written(file: int, content: bytes, offset: int) -> int:
        happened.append("write")
        return pwrite(file, content, offset)

    monkeypatch.setattr(os, "pwrite", written)
    monkeypatch.setattr(os, "fsync", lambda file: happened.append("sync"))
    monkeypatch.setattr(sqlite3, "connect", connected)
    scan(opened(root), [root], [Mean()])
    one_file = ["write", "sync", "sync"]  # the file, and its name in the folder
    start = happened.index("write")
    assert happened[start : start + 9] == 3 * one_file  # one has checksums
    assert happened[start + 9] == "BEGIN IMMEDIATE"
    committed = happened.index("COMMIT", start)
    assert happened[start:committed].count("INSERT OR IGNORE INTO rows") == 5
    assert "write" not in happened[committed:]


def test_a_full_disk_is_one_sentence_and_loses_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, content: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    library = opened(root)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(SameSpaceError, match="features/mean-1 cannot be written: No space left on device"):
            scan(library, [root], [Mean()])
    assert scan(library, [root], [Mean()]).photos == 5


def test_short_writes_are_continued(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda file, content, offset: pwrite(file, content[:5], offset))
        scan(opened(root), [root], [Mean()])
    fresh = Library(tmp_path / "fresh", create=True)
    scan(fresh, [root], [Mean()])
    assert state(opened(root)) == state(fresh)


# Features made of features


class Doubled(NamedTuple):
    """What is made of `Mean`."""

    fingerprint: str = "mean-1-doubled"
    fields: dict[str, Any] = {"twice": ((3,), "float32")}  # noqa: RUF012


def double(features: Features) -> dict[str, np.ndarray]:
    return {"twice": 2 * features.take("mean")}


def doubled(library: Library) -> np.ndarray:
    return library.features(Doubled(), library.photos()).take("twice")


def test_features_are_derived_once_and_follow_their_photos(root: Path) -> None:
    library, derived = opened(root), list[int]()

    def counted(features: Features) -> dict[str, np.ndarray]:
        derived.append(len(features))
        return double(features)

    library.derive(Mean(), Doubled(), counted)
    assert derived == []  # nothing to derive from
    scan(library, [root], [Mean()])
    for _ in range(2):
        library.derive(Mean(), Doubled(), counted)
        assert (doubled(library) == 2 * library.features(Mean(), library.photos()).take("mean")).all()
    (root / "a.jpg").unlink()
    draw(root / "new.jpg", 7)
    draw(root / "newer.jpg", 8)
    scan(library, [root], [Mean()])
    library.derive(Mean(), Doubled(), counted)
    assert derived == [5, 2]
    assert (doubled(library) == 2 * library.features(Mean(), library.photos()).take("mean")).all()
    path = library.features_folder("mean-1-doubled") / "twice"
    assert path.stat().st_size == 6 * 3 * 4  # the row of a.jpg has a new owner
    os.truncate(path, 10)
    library.derive(Mean(), Doubled(), counted)
    assert derived == [5, 2, 6]


def test_what_was_derived_before_a_stop_is_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = opened(root)
    scan(library, [root], [Mean()])
    monkeypatch.setattr(features, "BLOCK", 2)
    blocks = list[int]()

    def stopped(features: Features) -> dict[str, np.ndarray]:
        blocks.append(len(features))
        if len(blocks) == 2:
            raise KeyboardInterrupt
        return double(features)

    with pytest.raises(KeyboardInterrupt):
        library.derive(Mean(), Doubled(), stopped)
    library.derive(Mean(), Doubled(), stopped)
    assert blocks == [2, 2, 2, 1]
    assert (doubled(library) == 2 * library.features(Mean(), library.photos()).take("mean")).all()


def test_derived_features_but_one_are_let_go(root: Path) -> None:
    library = opened(root)
    scan(library, [root], [Mean(), Mean("mean-2")])
    for name in ("mean-1-x", "mean-1-y", "mean-2-x"):
        library.derive(Mean(name[:6]), Doubled(name), double)
    library.drop_derived(Mean(), but="mean-1-y")
    assert sorted(path.name for path in (root / FOLDER / "features").iterdir()) == [
        *("mean-1", "mean-1-y", "mean-2", "mean-2-x")
    ]
    assert [len(library.rows(Doubled(name))) for name in ("mean-1-x", "mean-1-y", "mean-2-x")] == [0, 5, 5]


def test_deriving_waits_for_nobody_and_needs_no_lock_where_nothing_is_lacking(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, other = opened(root), opened(root)
    scan(library, [root], [Mean()])
    with library.hold():
        other.derive(Mean(), Doubled(), double)
        assert not other.rows(Doubled())
        with other.hold(wait=False) as held:
            assert not held
        library.derive(Mean(), Doubled(), double)
    assert len(other.rows(Doubled())) == 5
    monkeypatch.setattr(Library, "hold", None)
    other.derive(Mean(), Doubled(), double)


def test_a_whole_field_is_seen_without_reading_it(root: Path) -> None:
    library = opened(root)
    scan(library, [root], [Mean()])
    some = library.features(Mean(), library.photos()[1:3])
    mapped = some.mapped("mean")
    assert isinstance(mapped, np.memmap) and mapped.shape == (5, 3)
    assert (mapped[some.rows] == some.take("mean")).all()
    assert library.features(Mean("none"), []).mapped("corner").shape == (0, 2, 2)


# Features that had other names


class Renamed(Mean):
    """`Mean`, which two earlier versions kept under other names."""

    fingerprint = "new"
    former = ("old0", "old1")

    def __init__(self) -> None:
        super().__init__("new")


@pytest.fixture
def outdated(root: Path) -> Path:
    """A library of both earlier versions: each with some of the photos, one in both, features derived of the first."""
    library = opened(root)
    import_batch(library, root, read_batch(root, [b"b/1.png", b"b/2.jpg", b"a.jpg"], [Mean("old0")]))
    library.derive(Mean("old0"), Doubled("old0-x"), double)
    (library.features_folder("old0") / "compression").write_text("how")
    import_batch(library, root, read_batch(root, [b"b/c/deep.jpg", b"z.webp", b"a.jpg"], [Mean("old1")]))
    library.close()
    return library.folder


def is_up_to_date(folder: Path) -> bool:
    library = Library(folder)
    kept, derived, photos = Renamed(), Doubled("new-x"), library.photos()
    twice = library.features(derived, [photo for photo in photos if photo.content in library.rows(derived)])
    means = library.features(kept, photos).take("mean")
    assert {tuple(row) for row in twice.take("twice").tolist()} <= {tuple(row) for row in (2 * means).tolist()}
    fresh = Library(folder.parent.parent / f"fresh of {folder.name}", create=True)
    scan(fresh, [folder.parent], [Mean("new")])
    assert {path.name for path in (folder / "features").iterdir()} - {"new-x"} == {"new"}
    with sqlite3.connect(folder / "library.sqlite") as db:
        assert {name for (name,) in db.execute("SELECT fingerprint FROM rows")} <= {"new", "new-x"}
    assert (library.features_folder("new") / "compression").read_text() == "how"
    features = [one.features(kept, one.photos()) for one in (library, fresh)]
    return all((features[0].take(name) == features[1].take(name)).all() for name in kept.fields)


def test_features_of_former_names_are_taken_over_undecoded(outdated: Path, decoded: list[str]) -> None:
    library, extractor = Library(outdated), Renamed()
    scan(library, [outdated.parent], [extractor])
    assert (extractor.seen, decoded) == (0, [])
    assert len(library.rows(Doubled("new-x"))) == 3
    assert is_up_to_date(outdated)


def test_a_library_takes_over_once(outdated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(outdated)
    library.take_over(Renamed())
    monkeypatch.setattr(Library, "hold", None)
    library.take_over(Renamed())
    assert len(library.rows(Renamed())) == 5


def test_a_library_that_cannot_be_written_is_read_under_a_former_name(outdated: Path) -> None:
    def files() -> list[Path]:
        return sorted(path for path in outdated.rglob("*") if path.name != "lock")

    library, before = Library(outdated), files()
    library.is_writable = False
    for _ in range(2):
        library.take_over(Renamed())
        kept, derived = library.rows(Renamed()), library.rows(Doubled("new-x"))
        assert len(kept) == 3 and kept.keys() == derived.keys()
        photos = [photo for photo in library.photos() if photo.content in kept]
        twice = library.features(Doubled("new-x"), photos).take("twice")
        assert (twice == 2 * library.features(Renamed(), photos).take("mean")).all()
    assert files() == before


def take_over_until(last: int, folder: Path, log: Path) -> None:
    steps = Steps(last)
    steps.watch()

    def watched(work: Callable[..., None], *given: Any, **named: Any) -> None:
        steps.step()
        work(*given, **named)
        steps.step()

    for name in ("rename", "unlink", "rmdir"):
        setattr(os, name, partial(watched, getattr(os, name)))
    Library(folder).take_over(Renamed())
    log.write_text(str(steps.done))


def test_taking_over_may_be_killed_at_any_moment(outdated: Path, decoded: list[str], children: Children) -> None:
    root, log = outdated.parent, outdated.parent.parent / "steps"
    shutil.copytree(outdated, root.parent / "before")

    def start() -> None:
        shutil.rmtree(outdated)
        shutil.copytree(root.parent / "before", outdated)

    assert children((take_over_until, (0, outdated, log))) == [0]
    steps = int(log.read_text())
    assert steps > 40
    for last in range(1, steps + 1):
        start()
        assert children((take_over_until, (last, outdated, log))) == [-signal.SIGKILL]
        unwritable, library, extractor = Library(outdated), Library(outdated), Renamed()
        unwritable.is_writable = False
        unwritable.take_over(extractor)
        assert len(unwritable.rows(extractor)) >= 3
        decoded.clear()
        scan(library, [root], [extractor])
        assert (extractor.seen, decoded) == (0, [])
        assert is_up_to_date(outdated)


def test_two_processes_may_take_over_at_once(outdated: Path) -> None:
    def work() -> None:
        extractor = Renamed()
        scan(Library(outdated), [outdated.parent], [extractor])
        assert extractor.seen == 0

    processes = [in_another_process(work) for _ in range(3)]
    assert [ended(process) for process in processes] == [0, 0, 0]
    assert is_up_to_date(outdated)


def test_what_comes_under_a_former_name_later_is_taken_over_too(root: Path) -> None:
    library, extractor = opened(root), Renamed()
    scan(library, [root / "b"], [extractor])
    import_batch(library, root, read_batch(root, [b"a.jpg", b"b/1.png", b"z.webp"], [Mean("old1")]))
    scan(library, [root], [extractor])
    assert extractor.seen == 3
    assert sorted(path.name for path in (library.folder / "features").iterdir()) == ["new"]
