"""Damage is told from edits by the bytes that two files share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from samespace.base.damage import decodes_with_warnings, have_nearly_equal_bytes


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("damage") / "photo.jpg"
    blocks = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8)
    Image.fromarray(blocks).resize((320, 240)).save(path, quality=92)
    return path


@given(st.data())
def test_few_bytes_changed_lost_or_added_are_few(photo: Path, data: st.DataObject) -> None:
    content = photo.read_bytes()
    at = data.draw(st.integers(0, len(content)))
    lost, added = data.draw(st.integers(0, len(content) // 20)), data.draw(st.binary(max_size=len(content) // 20))
    other = write(photo.with_name("other"), content[:at] + added + content[at + lost :])
    assert have_nearly_equal_bytes(photo, other)
    assert have_nearly_equal_bytes(other, photo)


def test_the_same_picture_saved_again_shares_few_bytes(photo: Path, tmp_path: Path) -> None:
    Image.open(photo).save(tmp_path / "again.jpg", quality=91)
    assert not have_nearly_equal_bytes(photo, tmp_path / "again.jpg")


def test_what_is_gone_or_empty_is_like_nothing(photo: Path, tmp_path: Path) -> None:
    assert not have_nearly_equal_bytes(photo, write(tmp_path / "empty", b""))
    assert not have_nearly_equal_bytes(tmp_path / "gone", photo)


def test_a_photo_that_ends_too_early_decodes_with_warnings(photo: Path, tmp_path: Path) -> None:
    content = photo.read_bytes()
    assert not decodes_with_warnings(photo)
    assert decodes_with_warnings(write(tmp_path / "cut.jpg", content[: len(content) * 9 // 10] + b"\xff\xd9"))
    assert decodes_with_warnings(write(tmp_path / "torn.jpg", content[: len(content) // 2]))


@pytest.mark.parametrize("kind", ["png", "bmp", "webp", "gif", "tiff"])
def test_whole_photos_of_other_kinds_do_not(photo: Path, tmp_path: Path, kind: str) -> None:
    Image.open(photo).save(tmp_path / f"photo.{kind}")
    assert not decodes_with_warnings(tmp_path / f"photo.{kind}")
