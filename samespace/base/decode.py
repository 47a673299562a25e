"""Decode image files: of allowed formats only, upright, in RGB, and not so many at once that memory runs out."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from samespace.base.arrays import Doubles
from samespace.base.raw_preview import is_raw, preview_in

# All that Pillow may open, whatever a file is called: it knows more formats, and runs Ghostscript for one of them.
FORMATS = frozenset({"AVIF", "BMP", "GIF", "HEIF", "JPEG", "PNG", "TIFF", "WEBP"})
for _plugin in ("Avif", "Bmp", "Gif", "Jpeg", "Png", "Tiff", "WebP"):
    with suppress(ImportError):  # AVIF came with Pillow 11.3
        import_module(f"PIL.{_plugin}ImagePlugin")

# Pillow warns of photos half as large as those it refuses, but the budget below lets only one of these in at a time.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# Bytes that photos being decoded may take together. One alone may take more: Pillow refuses what is still larger.
BUDGET = 1 << 30
PER_PIXEL = 12  # bytes at most: as it is in the file, turned, and in RGB, which Pillow keeps in four

STRIP = 1 << 22  # pixels that are converted together


class _Budget:
    """Memory that threads share; who wants more than is left waits."""

    def __init__(self) -> None:
        self.used = 0
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, amount: int) -> Iterator[None]:
        """Wait until so many bytes are free, or all are, and hold them."""
        with self._changed:
            self._changed.wait_for(lambda: not self.used or self.used + amount <= BUDGET)
            self.used += amount
        try:
            yield
        finally:
            with self._changed:
                self.used -= amount
                self._changed.notify_all()


_budget = _Budget()


@contextmanager
def decoded(image: Image.Image) -> Iterator[Image.Image]:
    """Decode an image that was identified, as a person sees it, and hold its memory; it may be the same object.

    Decode no other inside this block: two threads that do could wait for each other.
    """
    with _budget.reserve(image.width * image.height * PER_PIXEL):
        image.load()
        turn = _TURNS.get(orientation_of(exif_of(image)))
        yield _as_rgb(image if turn is None else image.transpose(turn))


@cache
def learn_heif() -> bool:
    """Teach Pillow HEIC, if the extra is installed; tell whether it is."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _is_heif(head: bytes) -> bool:
    """Tell whether a file that begins like this is HEIC or a relative: an `ftyp` box with one of their brands."""
    return head[4:8] == b"ftyp" and head[8:11] in (b"hei", b"hev", b"mif", b"msf")


def identified(file: BinaryIO) -> Image.Image:
    """Open a file by Pillow from its start, without decoding it yet; of a RAW file the preview in it."""
    file = preview_in(file) or file
    file.seek(0)
    head = file.read(12)
    file.seek(0)
    if _is_heif(head):  # whatever its name: phones have called such files .jpg
        learn_heif()
    return Image.open(file, formats=sorted(FORMATS & Image.OPEN.keys()))


def is_seen_in_part(path: Path) -> bool:
    """Tell whether a file holds more than the picture that is decoded: it is RAW, moves, or has several pages.

    What cameras add to a JPEG, such as a smaller picture, does not count.
    """
    if is_raw(path):
        return True
    try:
        with path.open("rb") as file, identified(file) as image:
            return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except Exception:  # as many ways to be damaged as decoders have
        return False


def why_unidentified(head: bytes) -> str:
    """Say why a file that begins like this was not identified."""
    if not head:
        return "the file is empty"
    if _is_heif(head) and not learn_heif():
        return "HEIC photos need an extra: pip install 'samespace[heic]'"
    return "not an image this program knows"


_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def exif_of(image: Image.Image) -> Image.Exif:
    """Return a photo's EXIF, empty if it is damaged."""
    try:
        return image.getexif()
    except Exception:  # as many ways to be damaged as decoders have; the photo itself may be whole
        return Image.Exif()


def xmp_of(image: Image.Image) -> bytes:
    """Return the XMP packet of an image that was opened; empty if there is none."""
    packet = image.info.get("xmp", b"")
    return packet if isinstance(packet, bytes) else str(packet).encode()


def orientation_of(exif: Image.Exif) -> int:
    """Return how the photo lies in its file, from 1, upright, to 8."""
    value = exif.get(_ORIENTATION)
    return value if isinstance(value, int) and value in _TURNS else 1


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        # 16-bit grey: Pillow's own conversion clips at 255 and would turn every photo white.
        brightest = max(float(_grey(strip).max(initial=0)) for _, strip in _strips(image))
        top = 255.0 if brightest <= 255 else 65535.0
        return _by_strips(
            image, lambda strip: Image.fromarray((_grey(strip) / top * 255).clip(0, 255).astype(np.uint8))
        )
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        return _by_strips(image, _on_white)
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey(strip: Image.Image) -> Doubles:
    return np.asarray(strip, dtype=np.float64)


def _on_white(strip: Image.Image) -> Image.Image:
    rgba = strip.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield an image in strips, each with the row that it begins at."""
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _by_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Return the image in RGB, converted strip by strip: a whole one would take many times its memory."""
    whole = Image.new("RGB", image.size)
    for top, strip in _strips(image):
        whole.paste(convert(strip).convert("RGB"), (0, top))
    return whole
