"""Files are read once each, in pieces, and a batch of them says all that was found."""

from __future__ import annotations

import os
import shutil
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samespace.base import photos
from samespace.base.errors import SameSpaceError
from samespace.base.photos import UnreadablePhoto, glimpse
from samespace.library import read_photos
from samespace.library.library import FOLDER, Library
from samespace.library.read_photos import Batch, read_batch
from samespace.library.scan import import_batch
from tests.library.conftest import (
    Mean,
    relative,
)


def test_a_copy_is_read_when_the_file_read_for_it_fails(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(root / "a.jpg", root / "copy.jpg")
    claim, waits, failed = read_photos.Claims.claim, threading.Event(), threading.Event()

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

    monkeypatch.setattr(read_photos.Claims, "claim", claimed)
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


# Batches


def same(batch0: Batch, batch1: Batch) -> bool:
    return (*batch0[:2], batch0.decoders) == (*batch1[:2], batch1.decoders) and all(
        rows.contents == batch1.features[key].contents
        and all((rows.fields[name] == batch1.features[key].fields[name]).all() for name in rows.fields)
        for key, rows in batch0.features.items()
    )


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
