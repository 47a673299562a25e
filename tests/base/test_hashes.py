"""Hashes agree with ImageHash, and distances with counting the bits one by one."""

from __future__ import annotations

import sys
from pathlib import Path

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from samespace.base import hashes as hashes_module
from samespace.base.errors import SameSpaceError
from samespace.base.hashes import count_bits_by_table, hamming, perceptual_hash, wavelet_hash
from samespace.base.photos import open_photo
from samespace.model.pairs import TEST, find_photos

hash_lists = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6).map(lambda bits: np.array(bits, np.uint64))


def scene(seed: int) -> Image.Image:
    """A photo-like picture: smooth light, a few things, some grain."""
    random = np.random.default_rng(seed)
    light = Image.fromarray(random.integers(0, 256, (5, 7, 3), np.uint8)).resize((310, 240), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(light)
    for left, top in random.integers(0, 200, (5, 2)).tolist():
        draw.rectangle((left, top, left + 60, top + 30), tuple(random.integers(0, 256, 3).tolist()))
    grain = random.integers(0, 9, (240, 310, 3), np.uint8)
    return Image.fromarray((np.asarray(light) // 2 + grain).astype(np.uint8))


def bits_apart(hash0: np.uint64, hash1: np.uint64) -> int:
    return bin(int(hash0) ^ int(hash1)).count("1")


@pytest.mark.parametrize("seed", range(5))
def test_wavelet_hash_is_imagehash_at_256(seed: int) -> None:
    photo = scene(seed)
    theirs = np.uint64(int(str(imagehash.whash(photo.resize((256, 256)), image_scale=256)), 16))
    # Grey before resizing instead of after may round a bit or two the other way.
    assert bits_apart(wavelet_hash(photo), theirs) <= 2


def test_the_perceptual_hash_of_photos_is_imagehash(rooms: Path) -> None:
    photos = [open_photo(path) for path in find_photos(rooms, TEST).paths]
    photos += [scene(seed) for seed in range(20)]
    photos += [photo.resize((256, 256)).convert("L") for photo in photos]
    assert len(photos) > 50
    assert [int(perceptual_hash(photo)) for photo in photos] == [int(str(imagehash.phash(one)), 16) for one in photos]


def test_where_imagehash_is_missing_only_training_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagehash", None)
    assert perceptual_hash(scene(1))
    with pytest.raises(SameSpaceError, match=r"^labelled photos need ImageHash: pip install 'samespace\[train\]'$"):
        wavelet_hash(scene(1))


@pytest.mark.parametrize("hashed", [wavelet_hash, perceptual_hash])
def test_hashes_tell_scenes_apart_and_survive_resizing(hashed) -> None:
    photo = scene(1)
    assert isinstance(hashed(photo), np.uint64)
    assert bits_apart(hashed(photo), hashed(photo.resize((200, 150)))) <= 6
    assert bits_apart(hashed(photo), hashed(scene(2))) >= 16


def test_flat_photos_share_one_wavelet_hash() -> None:
    flat = [wavelet_hash(Image.new("RGB", (300, 200), (level, level, level))) for level in range(0, 256, 15)]
    assert set(flat) == {np.uint64(0)}


@given(hash_lists, hash_lists)
def test_hamming_counts_differing_bits(hashes0: np.ndarray, hashes1: np.ndarray) -> None:
    distances = hamming(hashes0, hashes1)
    assert distances.dtype == np.uint8
    assert distances.tolist() == [[bits_apart(one, other) for other in hashes1] for one in hashes0]


@given(hash_lists)
def test_hamming_is_a_metric(hashes: np.ndarray) -> None:
    distances = hamming(hashes, hashes).astype(int)
    assert (distances == distances.T).all()
    assert ((distances == 0) == (hashes[:, None] == hashes)).all()
    assert (distances[:, None, :] <= distances[:, :, None] + distances).all()


@given(hash_lists)
def test_the_table_for_numpy_1_counts_the_same(hashes: np.ndarray) -> None:
    assert count_bits_by_table(hashes).tolist() == [bin(int(value)).count("1") for value in hashes]


def test_hamming_goes_on_past_its_first_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, 50, dtype=np.uint64)
    whole = hamming(hashes, hashes)
    monkeypatch.setattr(hashes_module, "PAIRS_AT_ONCE", 150)  # three rows at a time: the last block holds two
    assert (hamming(hashes, hashes) == whole).all()
    assert whole[49, 0] == bits_apart(hashes[49], hashes[0])


def test_hamming_of_nothing_keeps_its_shape() -> None:
    none, two = np.empty(0, np.uint64), np.array([1, 2], np.uint64)
    assert hamming(none, two).shape == (0, 2)
    assert hamming(two, none).shape == (2, 0)


@given(st.integers(0, 2**32 - 1))
def test_the_perceptual_hash_of_anything_is_imagehash(seed: int) -> None:
    random = np.random.default_rng(seed)
    blocks = Image.fromarray(random.integers(0, 256, (random.integers(2, 40), 9, 3), np.uint8))
    photo = blocks.resize((256, 256), Image.Resampling.BICUBIC)
    assert int(perceptual_hash(photo)) == int(str(imagehash.phash(photo)), 16)


def test_flat_photos_share_one_hash() -> None:
    flat = {int(perceptual_hash(Image.new("L", (256, 256), level))) for level in range(1, 256, 7)}
    assert flat == {1 << 63}
