"""A library agrees with its folders whatever happened to either, reads nothing twice, and survives being killed."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import weakref
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image

from samespace.base import photos
from samespace.base.errors import SameSpaceError, exit_status
from samespace.base.files import content_hash
from samespace.base.photos import UnreadablePhoto, glimpse
from samespace.library import library as library_module
from samespace.library import read_photos
from samespace.library.library import Library
from samespace.library.read_photos import Batch, read_batch
from samespace.library.scan import import_batch, scan
from tests.killing import Children
from tests.library.conftest import (
    Mean,
    Steps,
    counts,
    draw,
    names,
    opened,
    reasons,
    state,
)

# What is remembered


def test_a_scan_remembers_what_each_photo_is(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    exif.get_ifd(0x8769)[0x9003] = "2023:05:01 12:30:00"
    draw(root / "b/2.jpg", 9, exif=exif)
    library = opened(root)
    result = scan(library, [root])
    assert counts(result) == {"photos": 5, "new": 5}
    assert result.unreadable == []
    photo = {photo.path.name: photo for photo in opened(root).photos()}["2.jpg"]
    path = root / "b/2.jpg"
    assert (photo.path, photo.root, photo.library) == (path, root, library.id)
    assert (photo.size, photo.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert photo.content == subprocess.check_output(["sha256sum", path], text=True).split()[0]
    assert (photo.width, photo.height, photo.taken) == (40, 60, "2023-05-01 12:30:00")
    pixels = Image.fromarray(glimpse(path, 256).pixels)
    assert photo.hash == int(str(imagehash.phash(pixels)), 16)


def test_a_folder_of_one_photo_and_a_folder_of_none(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    draw(tmp_path / "one/a.jpg", 0)
    library = opened(tmp_path / "none")
    assert counts(scan(library, [tmp_path / "none"], [Mean()])) == {}
    assert library.photos() == library.unreadable() == []
    assert len(library.features(Mean(), [])) == 0
    assert library.features(Mean(), []).take("mean").shape == (0, 3)
    assert counts(scan(opened(tmp_path / "one"), [tmp_path / "one"], [Mean()])) == {"photos": 1, "new": 1}


# A second scan


def test_a_second_scan_opens_nothing(root: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "bad.jpg").write_text("a shopping list")
    scan(opened(root), [root], [Mean()])
    assert len(decoded) == 6
    monkeypatch.setattr(read_photos, "open", None, raising=False)
    extractor = Mean()
    result = scan(opened(root), [root], [extractor])
    assert (counts(result), len(decoded), extractor.seen) == ({"photos": 5}, 6, 0)
    assert reasons(result.unreadable) == {"bad.jpg": "not an image this program knows"}


def test_only_what_is_new_or_changed_is_decoded(root: Path, decoded: list[str]) -> None:
    library = opened(root)
    scan(library, [root])
    decoded.clear()
    draw(root / "new.jpg", 10)
    draw(root / "b/2.jpg", 11)
    assert counts(scan(library, [root])) == {"photos": 6, "new": 1, "changed": 1}
    assert sorted(decoded) == ["2.jpg", "new.jpg"]


def test_a_touched_file_is_hashed_and_not_decoded(root: Path, decoded: list[str]) -> None:
    library = opened(root)
    scan(library, [root], [Mean()])
    decoded.clear()
    os.utime(root / "a.jpg", ns=(1, 1))
    assert counts(scan(library, [root], [Mean()])) == {"photos": 5}
    assert decoded == []
    assert library.photos()[0].mtime_ns == 1


def test_a_rename_or_move_costs_no_decoding(root: Path, tmp_path: Path, decoded: list[str]) -> None:
    draw(tmp_path / "other/x.jpg", 20)
    library, folders = opened(root), [root, tmp_path / "other"]
    scan(library, folders, [Mean()])
    before = {photo.content: photo for photo in library.photos()}
    decoded.clear()
    (root / "a.jpg").rename(root / "b/renamed.jpg")
    (root / "z.webp").rename(tmp_path / "other/z.webp")  # to the other root
    (root / "b/1.png").unlink()
    extractor = Mean()
    assert counts(scan(library, folders, [extractor])) == {"photos": 5, "moved": 2, "forgotten": 1}
    assert (decoded, extractor.seen) == ([], 0)
    assert all(photo[2:] == before[photo.content][2:] for photo in library.photos())
    assert len(library.features(extractor, library.photos())) == 5


def test_a_copy_is_new_and_decoded_once(root: Path, decoded: list[str]) -> None:
    for number in range(20):
        shutil.copyfile(root / "a.jpg", root / f"copy{number:02}.jpg")
    library, extractor = opened(root), Mean()
    assert counts(scan(library, [root], [extractor])) == {"photos": 25, "new": 25}
    assert (len(decoded), extractor.seen) == (5, 5)
    means = library.features(extractor, library.photos()).take("mean")
    assert (means[:21:20] == means[0]).all()
    shutil.copyfile(root / "a.jpg", root / "later.jpg")
    assert counts(scan(library, [root], [extractor])) == {"photos": 26, "new": 1}
    assert len(decoded) == 5


def test_a_vanished_photo_is_forgotten_and_so_are_its_bytes(root: Path) -> None:
    library = opened(root)
    scan(library, [root], [Mean()])
    (root / "a.jpg").unlink()
    assert counts(scan(library, [root], [Mean()])) == {"photos": 4, "forgotten": 1}
    assert "a.jpg" not in names(library)
    assert len(library.seen([])) == len(library.rows(Mean())) == 4


def test_one_copy_may_vanish(root: Path, decoded: list[str]) -> None:
    shutil.copyfile(root / "a.jpg", root / "copy.jpg")
    library = opened(root)
    scan(library, [root], [Mean()])
    (root / "a.jpg").unlink()
    scan(library, [root], [Mean()])
    assert names(library)[-2:] == ["copy.jpg", "z.webp"]
    assert len(library.features(Mean(), library.photos())) == 5
    assert len(decoded) == 5


# Extractors


def test_a_new_extractor_decodes_only_what_it_lacks(root: Path, decoded: list[str]) -> None:
    library, old, new = opened(root), Mean(), Mean("mean-2")
    scan(library, [root], [old])
    draw(root / "new.jpg", 10)
    shutil.copyfile(root / "a.jpg", root / "copy.jpg")
    scan(library, [root], [new])
    assert (len(decoded), old.seen, new.seen) == (5 + 6, 5, 6)
    scan(library, [root], [old, new])
    assert (len(decoded), old.seen, new.seen) == (5 + 6 + 1, 6, 6)
    everything = library.photos()
    assert (library.features(old, everything).take("mean") == library.features(new, everything).take("mean")).all()


def test_a_new_extractor_reads_one_of_several_copies(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(root / "a.jpg", root / "copy.jpg")
    library, read, hashed = opened(root), list[str](), read_photos.hash_of
    scan(library, [root])
    monkeypatch.setattr(read_photos, "hash_of", lambda file: read.append(os.fsdecode(file.name)) or hashed(file))
    scan(library, [root], [Mean()])
    assert len(read) == 5


def test_batches_are_committed_one_by_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_photos, "AT_ONCE", 2)

    class Stops(Mean):
        def extract(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
            if self.seen >= 4:
                raise MemoryError("the third batch")
            return super().extract(pixels)

    with pytest.raises(MemoryError):
        scan(opened(root), [root], [Stops()])
    library, extractor = opened(root), Mean()
    assert len(library.photos()) == 4
    scan(library, [root], [extractor])
    assert (len(library.photos()), extractor.seen) == (5, 1)


def test_a_scan_tells_how_far_it_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_photos, "AT_ONCE", 2)
    told: list[tuple[int, int]] = []
    library = opened(root)
    scan(library, [root], [Mean()], tell=lambda *now: told.append(now))
    assert told == [(done, 5) for done in range(6)]
    told.clear()
    scan(library, [root], [Mean()], tell=lambda *now: told.append(now))
    assert told == [(0, 0)]


def test_a_scan_that_is_stopped_says_what_is_remembered(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(read_photos, "SECONDS", 0.0)  # large photos: each is remembered as soon as it is read

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    library = opened(root)
    assert exit_status(lambda: scan(library, [root], [Mean()], tell=stop)) == 130
    said = "stopped: 2 of 5 files were read and are remembered: type the same command to go on"
    assert capsys.readouterr().err.splitlines()[-1] == said
    assert len(library.photos()) == 2
    assert scan(library, [root], [Mean()]).new == 3


def test_a_library_knows_when_it_was_scanned_last(root: Path) -> None:
    library = opened(root)
    assert library.note("scanned") is None
    scan(library, [root])
    assert datetime.now() - datetime.fromisoformat(library.note("scanned") or "") < timedelta(hours=1)


# Files of all kinds


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "png", "webp", "BMP", "gif", "tif", "tiff", "avif", "heic", "HEIF"])
def test_every_format_is_read(tmp_path: Path, suffix: str) -> None:
    if suffix.lower() in ("heic", "heif"):
        pytest.importorskip("pillow_heif").register_heif_opener()
    if f".{suffix.lower()}" not in Image.registered_extensions():
        pytest.skip(f"this Pillow writes no {suffix}")
    draw(tmp_path / f"a.{suffix}", 0)
    library = opened(tmp_path)
    assert counts(scan(library, [tmp_path])) == {"photos": 1, "new": 1}
    photo = library.photos()[0]
    assert (photo.width, photo.height) == (60, 40)


def test_what_is_no_photo_is_named_with_its_reason(root: Path, decoded: list[str]) -> None:
    (root / "empty.jpg").touch()
    (root / "text.jpg").write_text("a shopping list")
    draw(root / "cut.jpg", 12, quality=95)
    os.truncate(root / "cut.jpg", 700)
    library = opened(root)
    result = scan(library, [root], [Mean()])
    assert counts(result) == {"photos": 5, "new": 8}
    assert reasons(result.unreadable) == reasons(library.unreadable())
    found = reasons(result.unreadable)
    assert found.pop("cut.jpg").startswith("damaged: ")
    assert found == {"empty.jpg": "the file is empty", "text.jpg": "not an image this program knows"}
    assert len(library.photos()) == len(library.features(Mean(), library.photos())) == 5


def test_a_folder_of_nothing_but_bad_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_photos, "AT_ONCE", 4)
    for number in range(10):
        (tmp_path / f"{number}.jpg").write_text(f"note {number}")
    library, extractor = opened(tmp_path), Mean()
    result = scan(library, [tmp_path], [extractor])
    assert (result.photos, len(result.unreadable), extractor.seen) == (0, 10, 0)
    assert library.photos() == []


def test_other_decoders_try_again(root: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "bad.jpg").write_text("a shopping list")
    library = opened(root)
    scan(library, [root])
    decoded.clear()
    for module in (library_module, read_photos):
        monkeypatch.setattr(module, "decoders", lambda: "Pillow 99")
    scan(library, [root], [Mean()])
    scan(library, [root], [Mean()])
    assert sorted(decoded) == ["1.png", "2.jpg", "a.jpg", "bad.jpg", "deep.jpg", "z.webp"]


def test_a_file_that_cannot_be_read_is_tried_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: bytes, mode: str) -> Any:
        if path.endswith(b"a.jpg"):
            raise PermissionError(13, "Permission denied")
        return open(path, mode)  # noqa: PTH123

    library = opened(root)
    with monkeypatch.context() as patch:
        patch.setattr(read_photos, "open", refuse, raising=False)
        result = scan(library, [root])
    assert (counts(result), reasons(result.unreadable)) == (
        {"photos": 4, "new": 4},
        {"a.jpg": "cannot be read: Permission denied"},
    )
    assert counts(scan(library, [root])) == {"photos": 5, "new": 1}
    assert library.unreadable() == []
    os.utime(root / "a.jpg")
    with monkeypatch.context() as patch:
        patch.setattr(read_photos, "open", refuse, raising=False)
        assert counts(scan(library, [root])) == {"photos": 4, "changed": 1}
        assert counts(scan(library, [root])) == {"photos": 4}


def test_a_date_that_sqlite_cannot_hold_is_named_and_the_rest_is_read(root: Path) -> None:
    (root / "film.mov").write_bytes(b"film")
    names = {"a.jpg", "film.mov"}
    for name in names:
        os.utime(root / name, (2**34, 2**34))  # in 2514; some file systems end before
    if (root / "a.jpg").stat().st_mtime_ns < 2**63:
        pytest.skip("this file system keeps no such dates")
    library = opened(root)
    result = scan(library, [root], [Mean()])
    assert counts(result) == {"photos": 4, "new": 4, "not_compared": {"MOV": 1}}
    assert reasons(result.unreadable).keys() == names
    assert all("date is before 1678 or after 2261" in reason for reason in reasons(result.unreadable).values())
    for name in names:
        os.utime(root / name)
    assert (scan(library, [root], [Mean()]).unreadable, len(library.photos()), len(library.others())) == ([], 5, 1)


def test_a_disk_that_fails_while_decoding_is_no_fault_of_the_photo(
    root: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: Any, size: int) -> photos.Glimpse:
        raise UnreadablePhoto(Path("x"), "damaged: [Errno 5]") from OSError(5, "Input/output error")

    shutil.copyfile(root / "a.jpg", root / "copy.jpg")
    library = opened(root)
    with monkeypatch.context() as patch:
        patch.setattr(read_photos, "glimpse", fail)
        result = scan(library, [root])
    assert (result.photos, len(result.unreadable)) == (0, 6)
    assert scan(library, [root]).photos == 6


def test_a_file_that_changes_while_it_is_read_is_not_remembered(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meddle(source: Any, size: int) -> photos.Glimpse:
        found = glimpse(source, size)
        if os.fsdecode(source.name).endswith("a.jpg"):
            draw(root / "a.jpg", 99, quality=30)
        return found

    library = opened(root)
    with monkeypatch.context() as patch:
        patch.setattr(read_photos, "glimpse", meddle)
        result = scan(library, [root], [Mean()])
    assert reasons(result.unreadable) == {"a.jpg": "it changed while it was being read"}
    assert scan(library, [root], [Mean()]).photos == 5
    assert library.photos()[0].size == (root / "a.jpg").stat().st_size


def test_extensions_are_adjustable_and_narrow_what_is_known(root: Path) -> None:
    library = opened(root)
    scan(library, [root], extensions=["PNG", ".webp"])
    assert names(library) == ["b/1.png", "z.webp"]
    assert counts(scan(library, [root], extensions=["webp"])) == {"photos": 1, "forgotten": 1}


def test_hidden_files_and_other_libraries_are_passed_over(root: Path) -> None:
    draw(root / ".hidden.jpg", 7)
    draw(root / "b/.samespace/quarantine/1/x.jpg", 8)
    library = Library(root / "my index", create=True)
    draw(root / "my index/quarantine/1/y.jpg", 9)
    scan(library, [root])
    assert names(library) == ["a.jpg", "b/1.png", "b/2.jpg", "b/c/deep.jpg", "z.webp"]


def test_names_that_are_not_utf8_survive(tmp_path: Path, decoded: list[str]) -> None:
    folder = tmp_path / "photos"
    draw(folder / "a.jpg", 0)
    strange = os.fsdecode(b"\xe9t\xe9 \xff\n.JPG")
    (folder / "a.jpg").rename(folder / strange)
    (folder / os.fsdecode(b"d\xfc")).mkdir()
    draw(folder / "b.jpg", 1).rename(folder / os.fsdecode(b"d\xfc/b.jpg"))
    library = opened(folder)
    scan(library, [folder])
    assert sorted(os.fsencode(name) for name in names(library)) == [b"d\xfc/b.jpg", b"\xe9t\xe9 \xff\n.JPG"]
    library = Library(tmp_path / "index", create=True)
    scan(library, [folder / os.fsdecode(b"d\xfc")])
    decoded.clear()
    assert counts(scan(library, [folder])) == {"photos": 2, "new": 1}  # a wider root takes over the strange name
    assert [os.fsencode(photo.path.name) for photo in library.photos()] == [b"b.jpg", b"\xe9t\xe9 \xff\n.JPG"]
    assert len(decoded) == 1


# Roots


def test_links_are_followed_only_when_asked_and_count_once(root: Path, tmp_path: Path) -> None:
    draw(tmp_path / "far/away.jpg", 40)
    draw(tmp_path / "file.jpg", 41)
    (root / "loop").symlink_to(root)
    (root / "b/up").symlink_to("..")
    (root / "far").symlink_to(tmp_path / "far")
    (root / "again").symlink_to(tmp_path / "far")
    (root / "linked.jpg").symlink_to(tmp_path / "file.jpg")
    (root / "linked2.jpg").symlink_to(tmp_path / "file.jpg")
    (root / "twin.jpg").symlink_to("a.jpg")
    (root / "nowhere.jpg").symlink_to("gone.jpg")
    (root / "itself.jpg").symlink_to("itself.jpg")
    own = ["a.jpg", "b/1.png", "b/2.jpg", "b/c/deep.jpg", "z.webp"]
    library = opened(root)
    assert counts(scan(library, [root])) == {"photos": 5, "new": 5}
    assert names(library) == own
    scan(library, [root], follow_links=True)
    assert names(library) == sorted([*own, "again/away.jpg", "linked.jpg"])
    scan(library, [root, tmp_path / "far"], follow_links=True)
    assert sorted(names(library)) == sorted([*own, "away.jpg", "linked.jpg"])


def test_hard_links_are_photos_of_their_own(root: Path) -> None:
    (root / "hard.jpg").hardlink_to(root / "a.jpg")
    library = opened(root)
    scan(library, [root], follow_links=True)
    assert names(library)[:3] == ["a.jpg", "b/1.png", "b/2.jpg"]
    assert "hard.jpg" in names(library)


def test_roots_in_each_other_or_written_otherwise_are_one(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(root)
    monkeypatch.chdir(tmp_path)
    library = opened(root)
    result = scan(library, [root, root / "b", "photos", "photos/", "./photos/../photos", tmp_path / "link", root])
    assert counts(result) == {"photos": 5, "new": 5}
    assert {photo.root for photo in library.photos()} == {root}


def test_a_wider_root_takes_over_and_a_narrower_belongs_to_it(root: Path, decoded: list[str]) -> None:
    library = opened(root)
    assert counts(scan(library, [root / "b/c"])) == {"photos": 1, "new": 1}
    assert counts(scan(library, [root / "b"])) == {"photos": 3, "new": 2}
    assert counts(scan(library, [root])) == {"photos": 5, "new": 2}
    assert {photo.root for photo in library.photos()} == {root}
    (root / "a.jpg").unlink()
    (root / "b/1.png").unlink()
    assert counts(scan(library, [root / "b"])) == {"photos": 2, "forgotten": 1}
    assert names(library) == ["a.jpg", "b/2.jpg", "b/c/deep.jpg", "z.webp"]  # only below the folder scanned
    assert len(decoded) == 5


def test_a_folder_that_holds_its_library_can_be_moved(root: Path, decoded: list[str]) -> None:
    scan(opened(root), [root], [Mean()])
    decoded.clear()
    moved = root.parent / "elsewhere"
    root.rename(moved)
    library = opened(moved)
    assert [photo.root for photo in library.photos()] == [moved] * 5
    assert counts(scan(library, [moved], [Mean()])) == {"photos": 5}
    assert decoded == []


def test_a_root_that_is_moved_to_where_another_was_is_that_root(root: Path, decoded: list[str]) -> None:
    other = root.parent / "other"
    draw(other / "a.jpg", 50)  # another photo of that name
    shutil.copyfile(root / "z.webp", other / "z.webp")
    for folder in (root, other):
        (folder / "broken.jpg").write_bytes(b"no photo")
        (folder / "film.mov").write_bytes(b"film")
    scan(opened(root), [root, other], [Mean()])
    before = opened(root).photos()
    shutil.rmtree(other)
    root.rename(other)
    library = opened(other)
    assert library.roots == [other]
    assert [file.path for file in library.others()] == [other / "film.mov"]
    assert [photo.path for photo in library.unreadable()] == [other / "broken.jpg"]
    assert [photo._replace(root=root, path=root / photo.path.relative_to(other)) for photo in library.photos()] == [
        photo for photo in before if photo.root == root
    ]
    for name in ("z.webp", "broken.jpg", "film.mov"):
        (other / name).unlink()
    decoded.clear()
    assert counts(scan(library, [other], [Mean()])) == {"photos": 4, "forgotten": 2}
    assert names(library) == ["a.jpg", "b/1.png", "b/2.jpg", "b/c/deep.jpg"]
    assert decoded == []


def test_a_root_that_is_moved_into_another_belongs_to_it(root: Path, decoded: list[str]) -> None:
    wide = draw(root.parent / "wide/x.jpg", 50).parent
    scan(opened(root), [root, wide], [Mean()])
    decoded.clear()
    root.rename(wide / "photos")
    library = opened(wide / "photos")
    assert counts(scan(library, [wide / "photos"], [Mean()])) == {"photos": 5}
    assert counts(scan(library, [wide], [Mean()])) == {"photos": 6}
    assert library.roots == [wide]
    assert decoded == []
    wide.rename(root)  # with the library in it
    assert opened(root / "photos").roots == [root]


@pytest.mark.parametrize("seed", range(8))
def test_every_file_is_known_once_wherever_folders_are_moved(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    for name in "abcd":
        draw(tmp_path / name / "same.jpg", ord(name))
        draw(tmp_path / name / f"{name}.jpg", ord(name))
    library = opened(tmp_path / "a")
    scan(library, [tmp_path / name for name in "abcd"])
    for _ in range(6):
        library.close()
        folders = [path for path in tmp_path.rglob("[a-d]") if path.is_dir()]
        moved, there = (folders[number] for number in rng.choice(len(folders), 2, replace=len(folders) < 2))
        if not there.is_relative_to(moved):
            target = there / moved.name
            if rng.integers(2) and not moved.is_relative_to(there) and not list(there.rglob("library.sqlite")):
                shutil.rmtree(there)
                target = there
            if not target.exists():
                moved.rename(target)
        library = Library(next(tmp_path.rglob("library.sqlite")).parent)
        scan(library, list(tmp_path.iterdir()))
        assert not [root for root in library.roots for other in library.roots if other in root.parents]
        known = [photo for photo in library.photos() if photo.path.exists()]
        assert [photo.path for photo in known] == sorted(tmp_path.rglob("*.jpg"))
        assert [photo.content for photo in known] == [content_hash(photo.path) for photo in known]


def test_nothing_is_forgotten_where_nothing_can_be_seen(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(tmp_path / "index", create=True)
    scan(library, [root])
    root.rename(tmp_path / "unmounted")
    with pytest.raises(SameSpaceError, match="photos is not a folder"):
        scan(library, [root])
    root.mkdir()  # what is left of a disk that is not mounted
    with pytest.raises(SameSpaceError, match=r"is empty, but the library .* remembers 5 photos there: mount the disk"):
        scan(library, [root])
    listing = os.scandir

    def refuse(folder: str) -> Any:
        if Path(folder) == root:
            raise PermissionError(13, "Permission denied")
        return listing(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SameSpaceError, match=r"photos cannot be listed \(Permission denied\)"):
        scan(library, [root])
    assert len(library.photos()) == 5


def test_a_folder_that_cannot_be_listed_keeps_its_photos(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = opened(root)
    scan(library, [root])
    listing = os.scandir

    def refuse(folder: str) -> Any:
        if Path(folder).name == "b":
            raise PermissionError(13, "Permission denied")
        return listing(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    (root / "a.jpg").unlink()
    result = scan(library, [root])
    assert result.forgotten == 1
    assert [str(photo) for photo in result.unreadable] == [f"{root}/b: cannot be listed: Permission denied"]
    assert names(library) == ["b/1.png", "b/2.jpg", "b/c/deep.jpg", "z.webp"]


# Killed


class Logging(Mean):
    """Note each photo that was seen in a file, which outlives a kill."""

    def __init__(self, log: Path, step: Callable[[], None]) -> None:
        super().__init__()
        self.log, self.step = log, step

    def extract(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        found = super().extract(pixels)
        with self.log.open("ab") as file:
            file.write(b"." * len(pixels))
        self.step()
        return found


def scan_until(last: int, folder: Path, root: Path, log: Path) -> None:
    read_photos.AT_ONCE, read_photos.SECONDS = 3, math.inf  # a busy machine takes the same steps
    steps = Steps(last)
    steps.watch()
    scan(Library(folder, create=True), [root], [Logging(log, steps.step)])
    log.with_suffix(".steps").write_text(str(steps.done))


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Six photos, a copy of one and a text."""
    for seed in range(6):
        draw(tmp_path / f"many/{seed}.jpg", seed)
    shutil.copyfile(tmp_path / "many/2.jpg", tmp_path / "many/z.jpg")
    (tmp_path / "many/bad.jpg").write_text("a shopping list")
    return tmp_path / "many"


def change(many: Path) -> None:
    (many / "0.jpg").unlink()
    (many / "1.jpg").rename(many / "moved.jpg")
    draw(many / "3.jpg", 30)
    for seed in range(40, 43):
        draw(many / f"{seed}.jpg", seed)


@pytest.mark.parametrize("first", [True, False], ids=["first scan", "later scan"])
def test_a_scan_may_be_killed_at_any_moment(
    many: Path, tmp_path: Path, first: bool, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_photos, "AT_ONCE", 3)
    if not first:
        gap = draw(many / "1 gap.jpg", 90)
        for _ in range(2):
            scan(Library(tmp_path / "before", create=True), [many], [Mean()])
            gap.unlink(missing_ok=True)  # the second scan leaves its row free between others
        change(many)
    else:
        (tmp_path / "before").mkdir()

    def start(name: str) -> Path:
        return Path(shutil.copytree(tmp_path / "before", tmp_path / name))

    assert children((scan_until, (0, start("whole"), many, tmp_path / "whole.log"))) == [0]
    whole = Library(tmp_path / "whole")
    undisturbed, total = state(whole), (tmp_path / "whole.log").stat().st_size
    contents = {photo.content for photo in whole.photos()}
    steps = int((tmp_path / "whole.steps").read_text())
    assert steps > 40
    for last in range(1, steps + 1):
        folder, log = start(f"killed{last}"), tmp_path / f"{last}.log"
        assert children((scan_until, (last, folder, many, log))) == [-signal.SIGKILL]
        library, extractor = Library(folder, create=True), Mean()
        rows = library.rows(extractor).keys()
        done = (log.stat().st_size if log.exists() else 0) - (total - len(contents - rows))
        assert 0 <= done <= 3, "no more than the batch in hand is lost"
        scan(library, [many], [extractor])
        assert extractor.seen == len(contents - rows), "nothing that was committed is done again"
        assert state(library) == undisturbed
        library.close()
        shutil.rmtree(folder)


# Memory


def test_memory_does_not_grow_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive, most = weakref.WeakSet[Any](), 0

    class Held:
        pass

    def watched(source: Any, size: int) -> photos.Glimpse:
        nonlocal most
        found = glimpse(source, size)
        held = Held()
        alive.add(held)
        weakref.finalize(found.pixels, lambda held: None, held)
        most = max(most, len(alive))
        return found

    for seed in range(120):
        draw(tmp_path / f"{seed}.png", seed)
    monkeypatch.setattr(read_photos, "glimpse", watched)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(read_photos, "AT_ONCE", 16)
    assert scan(opened(tmp_path), [tmp_path], [Mean()]).photos == 120
    assert 0 < most <= 16 + 4  # what threads decode ahead, what the extractor waits for, and one in each hand


# Batches that were read elsewhere


def test_an_imported_batch_is_as_good_as_a_scan(root: Path, tmp_path: Path, batch: Batch, decoded: list[str]) -> None:
    library, extractor = Library(tmp_path / "imported", create=True), Mean()
    import_batch(library, root, batch)
    import_batch(library, root, batch)
    result = scan(library, [root], [extractor])
    assert (counts(result), decoded, extractor.seen) == ({"photos": 6}, [], 0)
    fresh = Library(tmp_path / "fresh", create=True)
    scan(fresh, [root], [Mean()])
    assert state(library) == state(fresh)


def test_what_other_decoders_could_not_read_is_tried_here(root: Path, batch: Batch, decoded: list[str]) -> None:
    library = opened(root)
    import_batch(library, root, batch._replace(decoders="Pillow 1, no HEIC"))
    scan(library, [root], [Mean()])
    assert decoded == ["bad.jpg"]


def test_an_imported_batch_of_a_copy_costs_hashing_alone(root: Path, batch: Batch, decoded: list[str]) -> None:
    """The copy has other mtimes, one file less and one of another size; its folder lies in a root already known."""
    copy = root.parent / "more/copy"
    shutil.copytree(root, copy, copy_function=shutil.copyfile)
    (copy / "z.webp").unlink()
    draw(copy / "b/1.png", 50)
    library = Library(root.parent / "index", create=True)
    draw(root.parent / "more/own.jpg", 51)
    scan(library, [root.parent / "more"], extensions=["none"])
    import_batch(library, copy, batch)
    assert set(names(library)) == {
        "copy/a.jpg",
        "copy/b/2.jpg",
        "copy/b/c/deep.jpg",
        "copy/" + os.fsdecode(b"\xff.jpg"),
    }
    scan(library, [root.parent / "more"], [Mean()])
    assert sorted(decoded) == ["1.png", "own.jpg"]
    assert names(library)[:2] == ["copy/a.jpg", "copy/b/1.png"]
    assert len(library.photos()) == 6


def test_an_import_does_not_write_past_features_that_are_lost(tmp_path: Path) -> None:
    for seed in range(4):
        draw(tmp_path / "photos" / f"{seed}.png", seed)
    library = Library(tmp_path / "library", create=True)
    scan(library, [tmp_path / "photos"], [Mean()])
    expected = library.features(Mean(), library.photos()).take("mean")
    (tmp_path / "library" / "features" / Mean.fingerprint / "mean").unlink()
    import_batch(library, tmp_path / "photos", read_batch(tmp_path / "photos", [b"3.png"], [Mean()]))
    scan(library, [tmp_path / "photos"], [Mean()])
    assert np.array_equal(library.features(Mean(), library.photos()).take("mean"), expected)


def test_a_batch_that_names_other_places_is_refused(root: Path, batch: Batch) -> None:
    library = opened(root)
    for path in (b"/etc/a.jpg", b"b/../../a.jpg"):
        with pytest.raises(SameSpaceError, match="which lies elsewhere"):
            import_batch(library, root, batch._replace(files=[batch.files[0]._replace(path=path)]))
    for fingerprint in ("../x", "", ".."):
        with pytest.raises(SameSpaceError, match="the batch has features named"):
            import_batch(library, root, batch._replace(features={fingerprint: batch.features["mean-1"]}))
    short = batch.features["mean-1"]._replace(fields={"mean": batch.features["mean-1"].fields["mean"][:2]})
    with pytest.raises(SameSpaceError, match="the batch's features mean-1 are incomplete"):
        import_batch(library, root, batch._replace(features={"mean-1": short}))
