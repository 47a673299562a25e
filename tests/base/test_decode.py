"""Only photos are decoded, whatever a file is called, and only as many at once as fit into memory."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samespace.base import decode
from samespace.base.decode import decoded, identified
from samespace.base.photos import UnreadablePhoto, glimpse, open_photo

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n9 9 moveto showpage\n%%EOF\n"


def test_postscript_in_a_jpg_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ghostscript = tmp_path / "bin" / "gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(ghostscript.parent), prepend=os.pathsep)
    (tmp_path / "photo.jpg").write_bytes(POSTSCRIPT)
    with pytest.raises(UnreadablePhoto, match="not an image this program knows"):
        glimpse(tmp_path / "photo.jpg", 32)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["ICO", "PCX", "PPM", "TGA", "SGI", "ICNS", "JPEG2000"])
def test_no_other_format_is_opened(kind: str, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), "red").save(tmp_path / "photo", kind)
    (tmp_path / "photo").rename(tmp_path / "photo.png")
    with pytest.raises(UnreadablePhoto, match="not an image this program knows"):
        open_photo(tmp_path / "photo.png")


def photo_file(side: int, mode: str = "RGB") -> BytesIO:
    file = BytesIO()
    Image.new(mode, (side, side)).save(file, "PNG")
    return file


def test_photos_wait_until_there_is_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three fit at once, and do come at once; one that is too large for all of the budget goes alone."""
    monkeypatch.setattr(decode, "BUDGET", 3 * 16**2 * decode.PER_PIXEL)
    at_once: list[int] = []
    lock, three = threading.Lock(), threading.Barrier(3, timeout=60)

    def work(side: int) -> None:
        with identified(photo_file(side)) as image, decoded(image):
            with lock:
                at_once.append(side)
                assert at_once == [64] or (64 not in at_once and len(at_once) <= 3)
            if side == 16:
                three.wait()
            with lock:
                at_once.remove(side)

    with ThreadPoolExecutor(7) as pool:
        list(pool.map(work, [16, 16, 64, 16, 16, 16, 16]))


def test_a_decode_that_fails_gives_its_memory_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "BUDGET", 16 * 16 * decode.PER_PIXEL)
    torn = photo_file(16).getvalue()[:45]
    for _ in range(3):
        with pytest.raises(OSError), identified(BytesIO(torn)) as image, decoded(image):
            pass
    with identified(photo_file(16)) as image, decoded(image) as photo:
        assert photo.size == (16, 16)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "P"])
def test_strips_give_what_the_whole_would(mode: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (37, 23, 4), np.uint8)
    values[30:, :, 0] = 255  # the brightest is in the last strip
    if mode == "I;16":
        photo = Image.fromarray(values[..., 0].astype(np.uint16) * 250)
    else:
        photo = Image.fromarray(values).convert(mode)
    options = {"transparency": 3} if mode == "P" else {}
    photo.save(tmp_path / "photo.png", **options)
    whole = open_photo(tmp_path / "photo.png")
    monkeypatch.setattr(decode, "STRIP", 100)
    assert open_photo(tmp_path / "photo.png").tobytes() == whole.tobytes()
