"""Variants of photos, and the feature bank: computed once, whole or not at all, and never a stale one."""

from __future__ import annotations

import errno
import multiprocessing
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from PIL import Image
from torch import Tensor

from samespace.base.errors import SameSpaceError
from samespace.base.once import fingerprint
from samespace.base.photos import SIZE, VARIANTS, UnreadablePhoto, read_pixels
from samespace.model import feature_bank
from samespace.model.backbone import Backbone, make_backbone
from samespace.model.feature_bank import Maps, bank, frozen_maps, to_tensor, vary


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return make_backbone("mobilenet_v3_small", "none")


class Counter:
    """Stands in for `look`: counts its calls, and can break off at one of them."""

    def __init__(self, break_at: int | None = None) -> None:
        self.calls, self.break_at = 0, break_at

    def __call__(self, pixels: Tensor, backbone: Backbone) -> tuple[Tensor, Tensor]:
        self.calls += 1
        if self.calls == self.break_at:
            raise KeyboardInterrupt
        return frozen_maps(pixels, backbone)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Counter:
    counter = Counter()
    monkeypatch.setattr(feature_bank, "frozen_maps", counter)
    return counter


def equal(maps0: Maps, maps1: Maps) -> bool:
    return all(torch.equal(column0, column1) for column0, column1 in zip(maps0, maps1, strict=True))


def folders(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()]


# ---- variants


def test_the_first_bit_flips_and_the_second_turns() -> None:
    pixels = torch.randint(0, 256, (2, 3, 32, 32)).float()
    flipped, turned = vary(pixels, 1), vary(pixels, 2)
    assert torch.equal(vary(pixels, 0), pixels)
    assert torch.equal(flipped[..., 0], pixels[..., -1])
    assert torch.equal(vary(flipped, 1), pixels)
    assert torch.equal(vary(pixels, 3), vary(flipped, 2))
    assert not torch.allclose(turned, pixels)


def test_a_turn_keeps_the_centre_and_moves_the_edge_by_five_degrees() -> None:
    pixels = torch.zeros(1, 3, 257, 257)
    pixels[..., 124:133, :] = 255  # a horizontal bar through the centre
    turned = vary(pixels, 2)
    assert turned[..., 126:131, 126:131].min() > 254.9
    column = turned[0, 0, :, 228]
    centre = float((column * torch.arange(257)).sum() / column.sum())
    assert abs(centre - (128 - 100 * 0.0875)) < 1  # tan 5° up at 100 to the right: counterclockwise


def test_a_turn_brings_in_no_black_corners() -> None:
    white = torch.full((1, 3, 64, 64), 255.0)
    assert vary(white, 2).min() > 254.9
    assert vary(white, 3).max() < 255.1


# ---- the bank


def test_the_bank_holds_what_looking_at_each_variant_gives(
    blocks: list[Path], backbone: Backbone, tmp_path: Path
) -> None:
    maps = bank(blocks, backbone, tmp_path / "cache")
    assert equal(maps, bank(blocks, backbone))
    assert maps.parts.shape[:2] == maps.seen.shape[:2] == (3, len(VARIANTS))
    pixels = to_tensor([read_pixels(path, SIZE) for path in blocks])
    for variant in range(len(VARIANTS)):
        parts, seen = frozen_maps(vary(pixels, variant), backbone)
        assert torch.allclose(maps.parts[:, variant].float(), parts.float(), rtol=2e-3, atol=2e-3)
        assert torch.allclose(maps.seen[:, variant].float(), seen.float(), rtol=2e-3, atol=2e-3)


def test_the_second_call_only_reads(blocks: list[Path], backbone: Backbone, tmp_path: Path, looks: Counter) -> None:
    first = bank(blocks, backbone, tmp_path / "cache")
    assert looks.calls == len(VARIANTS)
    assert equal(bank(blocks, backbone, tmp_path / "cache"), first)
    assert looks.calls == len(VARIANTS)


def test_more_photos_than_one_batch_keep_their_order(blocks: list[Path], backbone: Backbone) -> None:
    many = [blocks[number % 3] for number in range(10)]
    maps = bank(many, backbone)
    assert torch.allclose(maps.seen[3:6].float(), maps.seen[:3].float(), rtol=2e-3, atol=2e-3)
    assert torch.allclose(maps.seen[9].float(), maps.seen[0].float(), rtol=2e-3, atol=2e-3)
    assert not torch.allclose(maps.seen[1].float(), maps.seen[0].float(), rtol=2e-3, atol=2e-3)


def test_a_changed_photo_is_looked_at_again(
    blocks: list[Path], backbone: Backbone, tmp_path: Path, looks: Counter
) -> None:
    before = bank(blocks, backbone, tmp_path / "cache")
    Image.new("RGB", (90, 60), "red").save(blocks[1])
    after = bank(blocks, backbone, tmp_path / "cache")
    assert looks.calls == 2 * len(VARIANTS)
    assert torch.equal(after.seen[0], before.seen[0]) and not torch.equal(after.seen[1], before.seen[1])


def test_a_changed_weight_is_a_new_bank(blocks: list[Path], tmp_path: Path, looks: Counter) -> None:
    backbone = make_backbone("mobilenet_v3_small", "none")
    bank(blocks[:1], backbone, tmp_path / "cache")
    with torch.no_grad():
        next(backbone.early.parameters()).mul_(1.5)
    changed = bank(blocks[:1], backbone, tmp_path / "cache")
    assert looks.calls == 2 * len(VARIANTS)
    assert equal(changed, bank(blocks[:1], backbone))


def test_the_fingerprint_follows_content_and_order_not_place(blocks: list[Path]) -> None:
    moved = [path.rename(path.with_name(f"moved{path.name}")) for path in blocks]
    copies = [path.with_name(path.name + ".copy") for path in moved]
    for path, copy in zip(moved, copies, strict=True):
        copy.write_bytes(path.read_bytes())
    assert fingerprint(moved) == fingerprint(copies)
    assert len({fingerprint(moved), fingerprint(moved[::-1]), fingerprint(moved[:2])}) == 3


@pytest.mark.parametrize("break_at", [1, 3])
def test_a_bank_broken_off_is_not_taken_for_whole(
    break_at: int, blocks: list[Path], backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_bank, "frozen_maps", Counter(break_at))
    with pytest.raises(KeyboardInterrupt):
        bank(blocks, backbone, tmp_path / "cache")
    assert folders(tmp_path / "cache") == []
    monkeypatch.undo()
    assert equal(bank(blocks, backbone, tmp_path / "cache"), bank(blocks, backbone))


def test_what_a_killed_process_left_is_written_over(blocks: list[Path], backbone: Backbone, tmp_path: Path) -> None:
    """Killed outright, it cleans nothing up: half an array stays."""
    bank(blocks, backbone, tmp_path / "cache")
    (whole,) = folders(tmp_path / "cache")
    content = (whole / "parts.npy").read_bytes()
    (whole / "parts.npy").write_bytes(content[: len(content) // 2])
    whole.rename(whole.with_name(f"{whole.name}.partial"))
    assert equal(bank(blocks, backbone, tmp_path / "cache"), bank(blocks, backbone))
    assert folders(tmp_path / "cache") == [whole]


def count_looks(blocks: list[Path], cache: Path, backbone: Backbone, ready: Any, counts: Any) -> None:
    calls: list[int] = []
    feature_bank.frozen_maps = lambda *given: (calls.append(1), frozen_maps(*given))[1]  # type: ignore[assignment]
    ready.wait(300)
    bank(blocks, backbone, cache)
    counts.put(len(calls))


def test_two_processes_at_once_compute_one_bank(blocks: list[Path], backbone: Backbone, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    counts = context.Queue()
    given = (blocks, tmp_path / "cache", backbone, context.Barrier(2), counts)
    processes = [context.Process(target=count_looks, args=given) for _ in range(2)]
    for process in processes:
        process.start()
    assert sorted(counts.get(timeout=300) for _ in processes) == [0, len(VARIANTS)]
    for process in processes:
        process.join(60)
    assert len(folders(tmp_path / "cache")) == 1


def test_it_is_told_whether_the_bank_was_there(blocks: list[Path], backbone: Backbone, tmp_path: Path) -> None:
    lines: list[str] = []
    for _ in range(2):
        bank(blocks, backbone, tmp_path / "cache", tell=lines.append)
    (folder,) = folders(tmp_path / "cache")
    assert re.fullmatch(rf"feature bank of 3 photos: computed in \d+ s, kept in {folder}", lines[0])
    assert lines[1:] == [f"feature bank of 3 photos: found in {folder}"]


def test_who_waits_for_another_process_says_so(blocks: list[Path], backbone: Backbone, tmp_path: Path) -> None:
    bank(blocks, backbone, tmp_path / "cache")
    (folder,) = folders(tmp_path / "cache")
    lines: list[str] = []
    lock = FileLock(f"{folder}.lock")
    lock.acquire()

    def tell(line: str) -> None:
        lines.append(line)
        lock.release()

    bank(blocks, backbone, tmp_path / "cache", tell=tell)
    assert lines[0] == "feature bank: waiting for another process that computes the same"


def test_where_there_is_no_room_nothing_is_left(
    blocks: list[Path], backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        SameSpaceError, match=r"cannot keep a feature bank in .*/cache \(No space left on device\): make"
    ):
        bank(blocks, backbone, tmp_path / "cache")
    assert not folders(tmp_path / "cache")


def test_a_cache_that_cannot_be_made_is_named(blocks: list[Path], backbone: Backbone, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(SameSpaceError, match=r"cannot keep feature bank in .*/cache \(File exists\): make room there"):
        bank(blocks, backbone, tmp_path / "cache")


@pytest.mark.parametrize("cached", [True, False])
def test_an_unreadable_photo_is_named_and_leaves_no_bank(
    cached: bool, blocks: list[Path], backbone: Backbone, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    blocks[1].write_text("no photo")
    with pytest.raises(UnreadablePhoto, match=r"boston_1_1\.png: not an image"):
        bank(blocks, backbone, cache if cached else None)
    assert folders(cache) == []
