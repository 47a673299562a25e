"""Write the smallest RAW files that LibRaw opens: an uncompressed DNG, with a JPEG preview in a folder of its own."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64
_BYTES, _TEXT, _SHORT, _LONG = 1, 2, 3, 4

Tag = tuple[int, int, list[int] | str]


def write_dng(path: Path, preview: Image.Image, orientation: int = 1) -> Path:
    """Write a RAW file of noise, whatever its preview shows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    preview.save(buffer, "JPEG", quality=90)
    jpeg, sensor = buffer.getvalue(), (np.arange(SIDE**2) * 7 % 4096).astype("<u2").tobytes()
    places = [8, 0, 0, 0]
    for _ in range(2):  # the first time learns how long the folders are
        folder, seen, data, shown = places
        main = _folder(folder, _raw_tags(orientation, seen, data, len(sensor)))
        small = _folder(seen, _preview_tags(preview, shown, len(jpeg)))
        places = [8, 8 + len(main), 8 + len(main) + len(small), 8 + len(main) + len(small) + len(sensor)]
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8) + main + small + sensor + jpeg)
    return path


def _raw_tags(orientation: int, preview: int, data: int, size: int) -> list[Tag]:
    return [
        (254, _LONG, [0]),
        (256, _LONG, [SIDE]),
        (257, _LONG, [SIDE]),
        (258, _SHORT, [16]),
        (259, _SHORT, [1]),
        (262, _SHORT, [32803]),  # a colour filter array
        (271, _TEXT, "Maker"),
        (272, _TEXT, "Model"),
        (273, _LONG, [data]),
        (274, _SHORT, [orientation]),
        (277, _SHORT, [1]),
        (278, _LONG, [SIDE]),
        (279, _LONG, [size]),
        (306, _TEXT, "2024:05:01 12:30:00"),
        (330, _LONG, [preview]),
        (33421, _SHORT, [2, 2]),
        (33422, _BYTES, [0, 1, 1, 2]),
        (50706, _BYTES, [1, 4, 0, 0]),  # DNG 1.4
        (50708, _TEXT, "Maker Model"),
        (50717, _LONG, [4095]),
    ]


def _preview_tags(preview: Image.Image, data: int, size: int) -> list[Tag]:
    return [
        (254, _LONG, [1]),
        (256, _LONG, [preview.width]),
        (257, _LONG, [preview.height]),
        (258, _SHORT, [8, 8, 8]),
        (259, _SHORT, [7]),  # JPEG
        (262, _SHORT, [6]),
        (273, _LONG, [data]),
        (277, _SHORT, [3]),
        (278, _LONG, [preview.height]),
        (279, _LONG, [size]),
    ]


def _folder(start: int, tags: list[Tag]) -> bytes:
    """Return a folder of tags that lies at `start`, and after it what is too long for it."""
    entries, rest = struct.pack("<H", len(tags)), b""
    after = start + 2 + 12 * len(tags) + 4
    for tag, kind, value in tags:
        data = value.encode() + b"\0" if isinstance(value, str) else _packed(kind, value)
        entries += struct.pack("<HHI", tag, kind, len(data) if kind == _TEXT else len(value))
        if len(data) <= 4:
            entries += data.ljust(4, b"\0")
        else:
            entries += struct.pack("<I", after + len(rest))
            rest += data + b"\0" * (len(data) % 2)
    return entries + struct.pack("<I", 0) + rest


def _packed(kind: int, values: list[int]) -> bytes:
    return struct.pack(f"<{len(values)}{ {_BYTES: 'B', _SHORT: 'H', _LONG: 'I'}[kind] }", *values)
