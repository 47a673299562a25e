"""Find photos and open them: upright, RGB, at the size asked for. Nothing else in the project opens an image file."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from samespace.errors import SameSpaceError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")

# What a pair's two photos are shown as in training, by number; `features.vary` makes them.
VARIANTS = ("as is", "flipped", "turned 5°", "flipped and turned")

Pixels = npt.NDArray[np.uint8]
Item = TypeVar("Item")
Result = TypeVar("Result")


class UnreadablePhoto(SameSpaceError):
    """This file cannot be used as a photo; `reason` says why, without the path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type[UnreadablePhoto], tuple[Path, str]]:
        return UnreadablePhoto, (self.path, self.reason)


def find(root: Path, extensions: Sequence[str] = EXTENSIONS) -> list[Path]:
    """Every photo file below `root`, in path order; hidden files and folders are passed over."""
    if not root.is_dir():
        raise SameSpaceError(f"{root} is not a folder: give the folder that holds the photos")
    wanted = tuple(extension.lower() for extension in extensions)
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if name.lower().endswith(wanted) and not name.startswith(".")]
    return sorted(found)


def open_photo(path: Path, at_least: int | None = None) -> Image.Image:
    """The photo as a person sees it: first frame, upright, RGB, transparency on white.

    `at_least` lets a JPEG decode at a fraction of its size, no side below that many pixels: much faster.
    """
    try:
        with Image.open(path) as image:
            if at_least is not None:
                image.draft("RGB", (at_least, at_least))
            image.load()
            return _upright(image)
    except FileNotFoundError as error:
        raise UnreadablePhoto(path, "no such file") from error
    except UnidentifiedImageError as error:
        empty = path.stat().st_size == 0
        raise UnreadablePhoto(path, "the file is empty" if empty else "not an image this program knows") from error
    except Image.DecompressionBombError as error:
        raise UnreadablePhoto(path, "too many pixels to open safely") from error
    except (PermissionError, IsADirectoryError) as error:
        raise UnreadablePhoto(path, f"cannot be opened: {error.strerror}") from error
    except Exception as error:
        # Damaged data makes decoders raise nearly anything (AVIF RuntimeError, old TIFF AttributeError);
        # the text says what broke.
        raise UnreadablePhoto(path, f"damaged: {error}") from error


def _upright(image: Image.Image) -> Image.Image:
    return _as_rgb(ImageOps.exif_transpose(image) or image)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        # 16-bit grey: Pillow's own conversion clips at 255 and would turn every photo white.
        grey = np.asarray(image, dtype=np.float64)
        top = 255.0 if grey.max(initial=0) <= 255 else 65535.0
        return Image.fromarray((grey / top * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def read_pixels(path: Path, size: int) -> Pixels:
    """The whole photo squeezed to a square: (size, size, 3), 0..255."""
    return _squeeze(open_photo(path, at_least=size), size)


def as_pixels(image: Image.Image, size: int) -> Pixels:
    """`read_pixels` of an image that is open already."""
    return _squeeze(_upright(image), size)


def _squeeze(photo: Image.Image, size: int) -> Pixels:
    return np.array(photo.resize((size, size), Image.Resampling.BILINEAR))


def read_many(paths: Iterable[Path], size: int, threads: int | None = None) -> Iterator[Pixels | UnreadablePhoto]:
    """`read_pixels` of each path in order, decoded ahead in threads; a photo that cannot be read comes as its error."""

    def read(path: Path) -> Pixels | UnreadablePhoto:
        try:
            return read_pixels(path, size)
        except UnreadablePhoto as error:
            return error

    return in_threads(read, paths, threads)


def in_threads(work: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None) -> Iterator[Result]:
    """`map(work, items)` in threads, in order, only a few items ahead of the reader: memory stays flat."""
    threads = threads or os.cpu_count() or 1
    remaining = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(work, item) for item in islice(remaining, 16 * threads))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(remaining, 1))
