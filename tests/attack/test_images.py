"""A photo that somebody spoilt is read, or refused with a reason; nothing else comes of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from samespace.base.damage import decodes_with_warnings
from samespace.base.photos import UnreadablePhoto, details, glimpse
from tests.attack.conftest import spoilt

KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]


def test_a_spoilt_photo_is_read_or_refused(rounds: Iterator[random.Random], tmp_path: Path) -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    photo, exif, whole = Image.fromarray(blocks).resize((160, 120)), Image.Exif(), {}
    exif[0x0112], exif[0x0132] = 6, "2023:05:01 12:30:00"
    for kind in KINDS:
        file = BytesIO()
        photo.save(file, kind, exif=exif) if kind not in ("GIF", "BMP") else photo.save(file, kind)
        whole[kind] = file.getvalue()
    for chance in rounds:
        path = tmp_path / "photo.jpg"
        path.write_bytes(spoilt(whole[chance.choice(KINDS)], chance))
        try:
            assert glimpse(path, 64).pixels.shape == (64, 64, 3)
            assert details(path).sharpness >= 0
        except UnreadablePhoto as error:
            assert error.reason
            assert "\n" not in error.reason
        assert decodes_with_warnings(path) in (True, False)
