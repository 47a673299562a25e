"""A library agrees with its folders whatever happened to either, reads nothing twice, and survives being killed."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import imagehash
import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from samespace.base import photos
from samespace.base.errors import SameSpaceError
from samespace.base.find import find
from samespace.base.hashes import perceptual_hash_of_pixels
from samespace.base.photos import Details, UnreadablePhoto, glimpse
from samespace.library import features, read_photos
from samespace.library import library as library_module
from samespace.library.features import Features
from samespace.library.library import FOLDER, Library
from samespace.library.read_photos import Batch, read_batch
from samespace.library.scan import Scan, import_batch, scan


class Mean:
    """Two fields of different width, exact for a photo whatever batch it comes in."""

    fingerprint = "mean-1"
    fields = {"mean": ((3,), "float32"), "corner": ((2, 2), "uint8")}  # noqa: RUF012
    batch = 2

    def __init__(self, fingerprint: str = "mean-1") -> None:
        self.fingerprint = fingerprint
        self.seen = 0

    def extract(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        assert pixels.shape[1:] == (256, 256, 3)
        assert 0 < len(pixels) <= self.batch
        self.seen += len(pixels)
        means = pixels.astype(np.int64).sum((1, 2)).astype(np.float32)
        return {"mean": means, "corner": np.ascontiguousarray(pixels[:, :2, :2, 0])}


def draw(path: Path, seed: int, **options: Any) -> Path:
    """A small photo of coarse random blocks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(colours).resize((60, 40)).save(path, **options)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five photos in three folders, no two alike."""
    for seed, name in enumerate(("a.jpg", "b/1.png", "b/2.jpg", "b/c/deep.jpg", "z.webp")):
        draw(tmp_path / "photos" / name, seed)
    return tmp_path / "photos"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of every file that is decoded from here on."""
    names: list[str] = []

    def counted(source: Any, size: int) -> photos.Glimpse:
        names.append(Path(os.fsdecode(source.name)).name)
        return glimpse(source, size)

    monkeypatch.setattr(read_photos, "glimpse", counted)
    return names


def opened(root: Path) -> Library:
    return Library(root / FOLDER, create=True)


def names(library: Library) -> list[str]:
    return [str(photo.path.relative_to(photo.root)) for photo in library.photos()]


def reasons(photos: list[UnreadablePhoto]) -> dict[str, str]:
    return {photo.path.name: photo.reason for photo in photos}


def counts(scan: Scan) -> dict[str, int]:
    """What is not nothing."""
    return {name: count for name, count in scan._asdict().items() if name not in ("unreadable", "seconds") and count}


def state(library: Library) -> list[Any]:
    """All that a person or a later step can see of a library, but for which one it is."""
    known = library.photos()
    features = library.features(Mean(), known)
    fields = [[row.tobytes() for row in features.take(name)] for name in Mean.fields]
    anonymous = [photo._replace(library="") for photo in known]
    return [*zip(anonymous, *fields, strict=True), *map(str, library.unreadable())]


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


def test_photos_are_sorted_by_the_bytes_of_their_paths(root: Path) -> None:
    draw(root / "b-side.jpg", 5)
    draw(root / "é.jpg", 6)
    library = opened(root)
    scan(library, [root])
    assert names(library) == ["a.jpg", "b-side.jpg", "b/1.png", "b/2.jpg", "b/c/deep.jpg", "z.webp", "é.jpg"]


@given(st.integers(0, 2**32 - 1))
def test_the_hash_of_pixels_is_imagehash(seed: int) -> None:
    random = np.random.default_rng(seed)
    blocks = Image.fromarray(random.integers(0, 256, (random.integers(2, 40), 9, 3), np.uint8))
    pixels = np.asarray(blocks.resize((256, 256), Image.Resampling.BICUBIC))
    assert int(perceptual_hash_of_pixels(pixels)) == int(str(imagehash.phash(Image.fromarray(pixels))), 16)


def test_flat_photos_share_one_hash() -> None:
    flat = {int(perceptual_hash_of_pixels(np.full((256, 256, 3), level, np.uint8))) for level in range(1, 256, 7)}
    assert flat == {1 << 63}


@pytest.mark.parametrize("value", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_hash_comes_back_with_all_its_bits(root: Path, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_photos, "perceptual_hash_of_pixels", lambda pixels: np.uint64(value))
    library = opened(root)
    scan(library, [root])
    assert {photo.hash for photo in library.photos()} == {value}


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
    tables = [library._db.query(f"SELECT count(*) FROM {table}")[0][0] for table in ("files", "contents", "rows")]
    assert tables == [4, 4, 4]


def test_one_copy_may_vanish(root: Path, decoded: list[str]) -> None:
    shutil.copyfile(root / "a.jpg", root / "copy.jpg")
    library = opened(root)
    scan(library, [root], [Mean()])
    (root / "a.jpg").unlink()
    scan(library, [root], [Mean()])
    assert names(library)[-2:] == ["copy.jpg", "z.webp"]
    assert len(library.features(Mean(), library.photos())) == 5
    assert len(decoded) == 5


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


# Extractors and their features


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
    with pytest.raises(
        SameSpaceError, match=r"5 photos have no features of this model yet, the first is .*a\.jpg: scan"
    ):
        library.features(Mean(), library.photos())


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: os.truncate(path, 7)])
def test_lost_features_are_made_again(root: Path, damage: Callable[[Path], None]) -> None:
    library = opened(root)
    scan(library, [root], [Mean()])
    undamaged = state(library)
    damage(root / FOLDER / "features/mean-1/corner")
    with pytest.raises(SameSpaceError, match="5 photos have no features"):
        library.features(Mean(), library.photos())
    scan(library, [root], [Mean()])
    assert state(library) == undamaged


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


# Files of all kinds


def test_a_scan_tells_how_far_it_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_photos, "AT_ONCE", 2)
    told: list[tuple[int, int]] = []
    library = opened(root)
    scan(library, [root], [Mean()], tell=lambda *now: told.append(now))
    assert told == [(0, 5), (2, 5), (4, 5), (5, 5)]
    told.clear()
    scan(library, [root], [Mean()], tell=lambda *now: told.append(now))
    assert told == [(0, 0)]


def test_a_library_knows_when_it_was_scanned_last(root: Path) -> None:
    library = opened(root)
    assert library.note("scanned") is None
    scan(library, [root])
    assert datetime.now() - datetime.fromisoformat(library.note("scanned") or "") < timedelta(hours=1)


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
    assert counts(scan(library, [root])) == {"photos": 5}
    assert library.unreadable() == []


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


def test_a_copy_is_read_when_the_file_read_for_it_fails(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(root / "a.jpg", root / "copy.jpg")
    claim, waits, failed = read_photos._Claims.claim, threading.Event(), threading.Event()

    def claimed(self: Any, content: str) -> Any:
        found = claim(self, content)
        if found is None:
            waits.set()  # one copy has been told that the other is being read
        return found

    def fail_once(source: Any, size: int) -> photos.Glimpse:
        if not failed.is_set() and os.fsdecode(source.name).endswith(("/a.jpg", "/copy.jpg")):
            assert waits.wait(10)
            failed.set()
            raise UnreadablePhoto(Path("x"), "damaged") from OSError(5, "Input/output error")
        return glimpse(source, size)

    monkeypatch.setattr(read_photos._Claims, "claim", claimed)
    monkeypatch.setattr(read_photos, "glimpse", fail_once)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    batch = read_batch(root, relative(root), [Mean()])
    assert failed.is_set()
    assert sorted(file.path for file in batch.files) == relative(root)
    assert [file.reason for file in batch.files if file.content is None] == ["damaged"]
    assert len(batch.contents) == len(batch.features["mean-1"].contents) == 5


def test_a_file_may_wait_for_a_copy_further_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(root / "a.jpg", root / "copy.jpg")
    claimed, hashed, decoded = threading.Event(), read_photos.hash_of, list[str]()

    def last(file: Any) -> str:
        if os.fsdecode(file.name).endswith("/a.jpg"):
            assert claimed.wait(10)
        return hashed(file)

    def noted(source: Any, size: int) -> photos.Glimpse:
        decoded.append(Path(os.fsdecode(source.name)).name)
        if decoded[-1] == "copy.jpg":
            claimed.set()
        return glimpse(source, size)

    monkeypatch.setattr(read_photos, "hash_of", last)
    monkeypatch.setattr(read_photos, "glimpse", noted)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    batch = read_batch(root, relative(root), [Mean()])
    assert sorted(decoded) == ["1.png", "2.jpg", "copy.jpg", "deep.jpg", "z.webp"]
    assert sorted(file.path for file in batch.files if file.content) == relative(root)


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


# Killed, and two at once


def in_another_process(work: Callable[[], object]) -> int:
    """The process id of a copy of this process that does it: exit status 0, or 3 if it raises."""
    child = os.fork()
    if child == 0:
        gc.disable()  # what other tests left to be collected may end threads that a fork does not have
        status = 3
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Steps:
    """Counts what a scan does to the disk, and kills its process at one of these steps."""

    def __init__(self, last: int) -> None:
        self.last, self.done, self.lock = last, 0, threading.Lock()

    def step(self, *_: object) -> None:
        with self.lock:
            self.done += 1
            if self.done == self.last:
                os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """For good: call it in a process that ends."""
        connect, pwrite = sqlite3.connect, os.pwrite

        def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*arguments, **options)
            connection.set_trace_callback(self.step)
            return connection

        def half_then_all(file: int, content: bytes, offset: int) -> int:
            pwrite(file, content[: len(content) // 2], offset)
            self.step()
            return pwrite(file, content, offset)

        sqlite3.connect, os.pwrite, os.fsync = connected, half_then_all, self.step  # type: ignore[assignment]


class Logging(Mean):
    """Notes each photo it has seen in a file, which outlives a kill."""

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
    many: Path, tmp_path: Path, first: bool, monkeypatch: pytest.MonkeyPatch
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

    assert ended(in_another_process(lambda: scan_until(0, start("whole"), many, tmp_path / "whole.log"))) == 0
    whole = Library(tmp_path / "whole")
    undisturbed, total = state(whole), (tmp_path / "whole.log").stat().st_size
    contents = {photo.content for photo in whole.photos()}
    steps = int((tmp_path / "whole.steps").read_text())
    assert steps > 40
    for last in range(1, steps + 1):
        folder, log = start(f"killed{last}"), tmp_path / f"{last}.log"
        assert ended(in_another_process(lambda: scan_until(last, folder, many, log))) == -signal.SIGKILL  # noqa: B023
        library, extractor = Library(folder, create=True), Mean()
        rows = {content for (content,) in library._db.query("SELECT content FROM rows")}
        done = (log.stat().st_size if log.exists() else 0) - (total - len(contents - rows))
        assert 0 <= done <= 3, "no more than the batch in hand is lost"
        scan(library, [many], [extractor])
        assert extractor.seen == len(contents - rows), "nothing that was committed is done again"
        assert state(library) == undisturbed
        library.close()
        shutil.rmtree(folder)


def test_features_are_on_the_disk_before_anything_refers_to_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, happened = opened(root), list[str]()
    pwrite = os.pwrite

    def written(file: int, content: bytes, offset: int) -> int:
        happened.append("write")
        return pwrite(file, content, offset)

    monkeypatch.setattr(os, "pwrite", written)
    monkeypatch.setattr(os, "fsync", lambda file: happened.append("sync"))
    library._db.connection.set_trace_callback(lambda statement: happened.append(statement.split(" (")[0]))
    scan(library, [root], [Mean()])
    one_file = ["write", "sync", "sync"]  # the file, and its name in the folder
    start = happened.index("write")
    assert happened[start : start + 6] == [*one_file, *one_file]
    assert happened[start + 6] == "BEGIN IMMEDIATE"
    committed = happened.index("COMMIT", start)
    assert happened[start:committed].count("INSERT OR IGNORE INTO rows") == 5
    assert "write" not in happened[committed:]


def test_a_commit_outlives_a_power_cut(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    library = opened(root)
    assert library._db.query("PRAGMA synchronous") == [(2,)]
    assert library._db.query("PRAGMA journal_mode") == [("delete",)]


def test_a_second_scan_waits_and_says_for_whom(root: Path, tmp_path: Path) -> None:
    begun, begin = os.pipe()
    told, tell = os.pipe()
    heard, say = os.pipe()

    class Waits(Mean):
        def extract(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
            if not self.seen:
                os.write(begin, b".")
                os.read(told, 1)
            return super().extract(pixels)

    def second() -> None:
        os.dup2(say, 2)
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        scan(opened(root), [root], [Mean()])

    one = in_another_process(lambda: scan(opened(root), [root], [Waits()]))
    os.read(begun, 1)
    other = in_another_process(second)
    os.close(say)
    with open(heard, closefd=True) as lines:  # noqa: PTH123
        said = lines.readline()
        os.write(tell, b".")
        assert (ended(one), ended(other)) == (0, 0)
        rest = lines.read()
    clock = said.rsplit(" ", 1)[1].strip()
    host = socket.gethostname()
    assert said == f"waiting for process {one} on {host}, which holds {root / FOLDER} since {clock}\n"
    assert "waiting" not in rest
    fresh = Library(tmp_path / "fresh", create=True)
    scan(fresh, [root], [Mean()])
    assert state(opened(root)) == state(fresh)


def test_whoever_holds_may_hold_again_and_a_killed_holder_lets_go(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def die() -> None:
        with opened(root).hold():
            os.kill(os.getpid(), signal.SIGKILL)

    opened(root)
    assert ended(in_another_process(die)) == -signal.SIGKILL
    assert (root / FOLDER / "holder.json").exists()
    library = opened(root)
    with library.hold():
        with library.hold():
            scan(library, [root])
        assert (root / FOLDER / "holder.json").exists()
    assert not (root / FOLDER / "holder.json").exists()
    assert "waiting" not in capsys.readouterr().err


def test_a_holder_that_has_not_signed_is_another_process(root: Path) -> None:
    library, signature = opened(root), root / FOLDER / "holder.json"
    assert library.holder == f"another process, which holds {root / FOLDER}"
    signature.write_text('{"pid": 1')
    assert library.holder == f"another process, which holds {root / FOLDER}"
    signature.write_text('{"pid": 1, "host": "h", "since": "2001-02-03 04:05"}')
    assert library.holder == f"process 1 on h, which holds {root / FOLDER} since 2001-02-03 04:05"


# The library's own files


def test_a_library_keeps_its_id(root: Path, tmp_path: Path) -> None:
    assert opened(root).id == opened(root).id == Library(root / FOLDER).id
    assert Library(tmp_path / "other", create=True).id != opened(root).id


def test_a_missing_library_is_not_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(SameSpaceError, match=r"no library at .*\.samespace: `samespace scan` makes one"):
        Library(tmp_path / FOLDER)
    assert list(tmp_path.iterdir()) == []


def test_a_newer_library_is_refused(root: Path) -> None:
    opened(root).close()
    with sqlite3.connect(root / FOLDER / "library.sqlite") as db:
        db.execute("PRAGMA user_version = 2")
    with pytest.raises(SameSpaceError, match=r"made by a newer samespace \(its format is 2, 1 is known here\): update"):
        Library(root / FOLDER)


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "library.sqlite") as db:
        db.execute("CREATE TABLE books (title)")
    with pytest.raises(SameSpaceError, match=r"library\.sqlite is no library: move it away"):
        Library(tmp_path, create=True)


def test_a_damaged_database_is_one_sentence(root: Path) -> None:
    library = opened(root)
    scan(library, [root])
    library.close()
    file = root / FOLDER / "library.sqlite"
    content = bytearray(file.read_bytes())
    for start in range(4096, len(content), 4096):  # every page but the first
        content[start : start + 64] = b"\xff" * 64
    file.write_bytes(content)
    with pytest.raises(SameSpaceError, match=r"library\.sqlite is damaged \(.*\): move it away, and scan again"):
        scan(Library(root / FOLDER), [root])
    file.write_bytes(b"this is no database, though it is long enough to be taken for one" * 99)
    with pytest.raises(SameSpaceError, match=r"library\.sqlite is damaged \(file is not a database\)"):
        Library(root / FOLDER)


def test_where_no_library_can_be_made_another_place_is_suggested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(
            SameSpaceError, match=r"cannot make a library at .* \(Read-only file system\): give --library"
        ):
            Library(tmp_path / FOLDER, create=True)
    (tmp_path / "file").touch()
    with pytest.raises(SameSpaceError, match=r"cannot make a library at .*: give --library PATH"):
        Library(tmp_path / "file" / FOLDER, create=True)


def test_a_library_that_cannot_be_written_can_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = opened(root)
    scan(library, [root], [Mean()])
    expected = state(library)
    library.close()
    before = sorted((root / FOLDER).rglob("*"))
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    library = Library(root / FOLDER)
    assert state(library) == expected
    assert library.details(library.photos())[0].sharpness > 0
    assert sorted((root / FOLDER).rglob("*")) == before
    with pytest.raises(SameSpaceError, match=r"library\.sqlite cannot be used: attempt to write a readonly database"):
        library.add_verdict("a", "b", True)
    monkeypatch.setattr(FileLock, "acquire", lambda *_, **__: os.open("/proc/none", os.O_CREAT))
    with pytest.raises(SameSpaceError, match=r"cannot be written \(.*\): give --library PATH"):
        scan(library, [root])


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


def test_a_large_file_is_read_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "large.tif").touch()
    os.truncate(tmp_path / "large.tif", 2**26)
    tracemalloc.start()
    try:
        batch = read_batch(tmp_path, [b"large.tif"])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert batch.contents[0].reason == "not an image this program knows"
    assert peak < 2**22


# Details and verdicts


def test_details_are_asked_of_a_photo_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = opened(root)
    shutil.copyfile(root / "a.jpg", root / "copy.jpg")
    scan(library, [root])
    known = library.photos()
    asked: list[Path] = []

    def counted(path: Path) -> Details:
        asked.append(path)
        return photos.details(path)

    monkeypatch.setattr(library_module, "details", counted)
    first = library.details(known[::-1])[::-1]
    assert first == [photos.details(photo.path) for photo in known]
    assert opened(root).details(known) == first
    assert len(asked) == 5


def test_details_of_what_is_not_as_it_was_equal_nothing_else(root: Path) -> None:
    library = opened(root)
    scan(library, [root])
    known = library.photos()
    draw(root / "a.jpg", 77)
    (root / "z.webp").unlink()
    first, *_, last = library.details(known)
    assert (first, last) == (Details(known[0].content, 0.0), Details(known[-1].content, 0.0))
    scan(library, [root])
    assert library.details(library.photos())[0] == photos.details(root / "a.jpg")


def test_verdicts_are_remembered_whatever_their_order(root: Path) -> None:
    library = opened(root)
    library.add_verdict("b", "a", True)
    library.add_verdict("a", "c", False)
    library.add_verdict("a", "b", False)
    assert opened(root).verdicts() == {frozenset("ab"): False, frozenset("ac"): False}
    library.add_verdict("b", "a", True)
    assert library.verdicts()[frozenset("ab")] is True
    with pytest.raises(SameSpaceError, match="a verdict needs two photos"):
        library.add_verdict("a", "a", True)


def test_a_verdict_is_forgotten_whatever_the_order(root: Path) -> None:
    library = opened(root)
    library.add_verdict("a", "b", True)
    library.add_verdict("a", "c", False)
    library.forget_verdict("b", "a")
    library.forget_verdict("b", "c")
    assert opened(root).verdicts() == {frozenset("ac"): False}


def test_verdicts_outlive_their_photos(root: Path) -> None:
    library = opened(root)
    scan(library, [root])
    contents = [photo.content for photo in library.photos()]
    library.add_verdict(contents[0], contents[1], False)
    (root / "a.jpg").unlink()
    scan(library, [root])
    assert library.verdicts() == {frozenset(contents[:2]): False}


# Batches that were read elsewhere


def relative(root: Path) -> list[bytes]:
    return [os.fsencode(path.relative_to(root)) for path in find(root)]


def same(batch0: Batch, batch1: Batch) -> bool:
    return (*batch0[:2], batch0.decoders) == (*batch1[:2], batch1.decoders) and all(
        rows.contents == batch1.features[key].contents
        and all((rows.fields[name] == batch1.features[key].fields[name]).all() for name in rows.fields)
        for key, rows in batch0.features.items()
    )


@pytest.fixture
def batch(root: Path) -> Batch:
    (root / "bad.jpg").write_text("a shopping list")
    shutil.copyfile(root / "a.jpg", root / os.fsdecode(b"\xff.jpg"))
    return read_batch(root, [*relative(root), b"gone.jpg"], [Mean()])


def test_a_batch_says_all_of_its_files(root: Path, batch: Batch) -> None:
    assert [file.path for file in batch.files] == [*relative(root), b"gone.jpg"]
    assert batch.files[-1].reason == "cannot be read: No such file or directory"
    assert len(batch.contents) == 6
    assert len(batch.features["mean-1"].contents) == len(batch.features["mean-1"].fields["mean"]) == 5


@pytest.mark.parametrize("form", ["safetensors", "npz"])
def test_a_batch_is_saved_without_loss(tmp_path: Path, batch: Batch, form: str) -> None:
    from safetensors.numpy import load_file, save_file

    if form == "npz":
        np.savez(tmp_path / "batch.npz", **batch.arrays())
        loaded = dict(np.load(tmp_path / "batch.npz"))
    else:
        save_file(batch.arrays(), tmp_path / "batch")
        loaded = load_file(tmp_path / "batch")
    assert same(batch, Batch.from_arrays(loaded))


def test_a_batch_of_nothing_is_a_batch(tmp_path: Path) -> None:
    batch = read_batch(tmp_path, [], [Mean()])
    assert batch.files == batch.contents == []
    assert same(batch, Batch.from_arrays(batch.arrays()))
    import_batch(Library(tmp_path / FOLDER, create=True), tmp_path, batch)


def test_arrays_that_are_no_batch_are_refused() -> None:
    for arrays in ({}, {"batch": np.zeros(3, np.uint8)}, {"batch": np.frombuffer(b"[]", np.uint8)}):
        with pytest.raises(SameSpaceError, match="these arrays hold no photos"):
            Batch.from_arrays(arrays)


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


def test_a_library_belongs_to_one_thread(root: Path) -> None:
    library, raised = opened(root), []

    def use() -> None:
        try:
            library.photos()
        except Exception as error:
            raised.append(type(error))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert raised == [sqlite3.ProgrammingError]


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


def test_notes_are_kept(root: Path) -> None:
    library = opened(root)
    assert library.note("look") is None
    library.write_note("look", "first")
    library.write_note("look", "second")
    assert opened(root).note("look") == "second"
    assert library.note("id") == library.id


def test_what_is_read_together_is_of_one_moment(root: Path) -> None:
    """A scan that ends meanwhile is not seen until the reader has finished."""
    library = opened(root)
    scan(library, [root], [Mean()])
    with library.unchanging():
        before = library.photos()
        writer = sqlite3.connect(root / FOLDER / "library.sqlite", timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"), writer:
            writer.execute("DELETE FROM files")
        assert library.photos() == before
    with writer:
        writer.execute("DELETE FROM files")
    assert library.photos() == []


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
    assert not library._db.query("SELECT 1 FROM rows WHERE fingerprint LIKE 'old%'")
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


def test_taking_over_may_be_killed_at_any_moment(outdated: Path, decoded: list[str]) -> None:
    root, log = outdated.parent, outdated.parent.parent / "steps"
    shutil.copytree(outdated, root.parent / "before")

    def start() -> None:
        shutil.rmtree(outdated)
        shutil.copytree(root.parent / "before", outdated)

    assert ended(in_another_process(lambda: take_over_until(0, outdated, log))) == 0
    steps = int(log.read_text())
    assert steps > 40
    for last in range(1, steps + 1):
        start()
        assert ended(in_another_process(lambda: take_over_until(last, outdated, log))) == -signal.SIGKILL  # noqa: B023
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
