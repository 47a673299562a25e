"""Find photos and open them: upright, RGB, at the size asked for. Nothing else in the project opens an image file."""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from samespace.base.decode import decoded, exif_of, identified, orientation_of, why_unidentified
from samespace.base.errors import SameSpaceError
from samespace.base.raw_preview import NoPreview

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif")

MOST_PIXELS = 50_000_000  # of one from elsewhere; of a JPEG, which need not be decoded whole, twice as many

SIZE = 256  # the side of the square that extractors and networks see
BLOCK = 2**20  # pixels that a full decode looks at together

# How a pair's two photos are shown in training, by number; `vary` in model/feature_bank.py makes them.
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


class Details(NamedTuple):
    """The facts that only a full decode gives."""

    pixels: str  # SHA-256 of width, height and upright RGB: equal if two files hold the same picture
    sharpness: float  # how much neighbouring pixels differ, for the contrast that the photo has: see `details`


class Glimpse(NamedTuple):
    """A photo, small and square, and what else one quick decode tells."""

    pixels: Pixels  # (S, S, 3)
    width: int  # of the photo itself, upright
    height: int
    taken: str | None  # by EXIF, "2023-05-01 12:30:00"


def open_photo(path: Path, at_least: int | None = None) -> Image.Image:
    """Return the photo as a person sees it: first frame, upright, RGB, transparency on white.

    `at_least` decodes a JPEG at a fraction of its size, no side below that many pixels: much faster.
    """
    with opened(path, at_least) as photo:
        return photo.copy() if isinstance(photo, ImageFile) else photo  # which may need its file


@contextmanager
def opened(path: Path, at_least: int | None = None) -> Iterator[Image.Image]:
    """Open a photo as `open_photo` does, for as long as this block takes: photos in other threads wait for its memory.

    Open no other photo inside.
    """
    with _explained(path), path.open("rb") as file, identified(file) as image:
        if at_least is not None:
            image.draft("RGB", (at_least, at_least))
        with decoded(image) as photo:
            yield photo


def glimpse(source: Path | BinaryIO, size: int) -> Glimpse:
    """Return a photo's `read_pixels`, dimensions and date by one decode, at a fraction of a JPEG's size.

    An open file is read from its start and left open.
    """
    if isinstance(source, Path):
        with _explained(source), source.open("rb") as file:
            return _glimpse(file, size)
    with _explained(Path(os.fsdecode(source.name))):
        return _glimpse(source, size)


def glimpse_foreign(content: bytes, size: int) -> Glimpse:
    """Return the `glimpse` of a photo that anybody may have sent; refuse a large or strange one before decoding it."""
    name = Path("the photo")
    with _explained(name, content):
        with identified(BytesIO(content)) as image:
            if image.width * image.height > MOST_PIXELS * (2 if image.format in ("JPEG", "MPO") else 1):
                raise UnreadablePhoto(name, f"{image.width:,} × {image.height:,} pixels are too many to open safely")
        return _glimpse(BytesIO(content), size)


def _glimpse(file: BinaryIO, size: int) -> Glimpse:
    with identified(file) as image:
        whole = image.size
        image.draft("RGB", (size, size))
        drafted = image.size != whole
        with decoded(image) as photo:
            pixels, (width, height) = _squeeze(photo, size), photo.size
        exif = exif_of(image)
        if drafted:
            width, height = whole[::-1] if orientation_of(exif) >= 5 else whole
        return Glimpse(pixels, width, height, _taken(exif))


def details(path: Path) -> Details:
    """Decode a photo in full, and return which picture it is and how sharp.

    Sharpness is the variance of the Laplacian divided by the variance of the grey photo: a photo that was made brighter
    or richer in contrast has no more detail than before.
    """
    with opened(path) as photo:
        return _details(photo)


def _details(photo: Image.Image) -> Details:
    width, height = photo.size
    digest = hashlib.sha256(f"{width}x{height}".encode())
    total, squares = 0, 0
    rows = max(1, BLOCK // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        digest.update(photo.crop((0, top, width, bottom)).tobytes())
        # One row more above and below, which the Laplacian of this block's own rows needs.
        block = photo.crop((0, max(top - 1, 0), width, min(bottom + 1, height))).convert("L")
        laplacian = _laplacian(np.asarray(block, np.int32))
        total += int(laplacian.sum(dtype=np.int64))
        squares += int(np.square(laplacian).sum(dtype=np.int64))
    count = max(1, (width - 2) * (height - 2))
    variance = max(0, squares * count - total * total) / count**2
    return Details(digest.hexdigest(), variance / max(_variance(photo.convert("L")), 1.0))


def _variance(grey: Image.Image) -> float:
    counts, levels = np.array(grey.histogram(), float), np.arange(256)
    mean = counts @ levels / counts.sum()
    return float(counts @ (levels - mean) ** 2 / counts.sum())


def _laplacian(grey: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return how much the four neighbours of each inner pixel differ from it: (h, w) → (h - 2, w - 2)."""
    if min(grey.shape) < 3:
        return np.zeros((0, 0), np.int32)
    return grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]


def decoders() -> str:
    """Return what decodes photos here: a file that could not be read may open once this has changed."""
    known = [f"Pillow {PIL.__version__}", _version("rawpy"), _version("pillow-heif") or "no HEIC"]
    return ", ".join(filter(None, known))


def _version(package: str) -> str:
    from importlib import metadata  # which brings the modules for e-mail with it

    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return ""


@contextmanager
def _explained(path: Path, content: bytes | None = None) -> Iterator[None]:
    """Turn whatever goes wrong with this photo, at `path` or in memory, into an UnreadablePhoto."""
    try:
        yield
    except UnreadablePhoto:
        raise
    except FileNotFoundError as error:
        raise UnreadablePhoto(path, "no such file") from error
    except UnidentifiedImageError as error:
        with path.open("rb") if content is None else BytesIO(content) as file:
            raise UnreadablePhoto(path, why_unidentified(file.read(12))) from error
    except NoPreview as error:
        raise UnreadablePhoto(path, str(error)) from error
    except Image.DecompressionBombError as error:
        raise UnreadablePhoto(path, "too many pixels to open safely") from error
    except (PermissionError, IsADirectoryError) as error:
        raise UnreadablePhoto(path, f"cannot be opened: {error.strerror}") from error
    except Exception as error:
        # Damaged data makes decoders raise nearly anything (AVIF RuntimeError, old TIFF AttributeError); the text says
        # what broke.
        text = " ".join(str(error).split()).encode(errors="replace").decode()
        raise UnreadablePhoto(path, f"damaged: {text or type(error).__name__}") from error


_DATE_TIME, _EXIF_FOLDER, _DATE_TIME_ORIGINAL = 0x0132, 0x8769, 0x9003
_DATE = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)")


def _taken(exif: Image.Exif) -> str | None:
    """Return when the photo was taken by the camera's clock, or else when the file was written."""
    try:
        original = exif.get_ifd(_EXIF_FOLDER).get(_DATE_TIME_ORIGINAL)
    except Exception:  # a damaged folder of tags
        original = None
    return _date(original) or _date(exif.get(_DATE_TIME))


def _date(value: object) -> str | None:
    numbers = _DATE.match(value) if isinstance(value, str) else None
    if not numbers:
        return None
    try:
        return datetime(*map(int, numbers.groups())).isoformat(" ")  # type: ignore[arg-type]
    except ValueError:  # 0000:00:00, from a camera whose clock was never set
        return None


def read_pixels(path: Path, size: int) -> Pixels:
    """Return the whole photo squeezed to a square: (size, size, 3), 0..255."""
    with opened(path, at_least=size) as photo:
        return _squeeze(photo, size)


def as_pixels(image: Image.Image, size: int) -> Pixels:
    """Return the `read_pixels` of an image that is open already."""
    with decoded(image) as photo:
        return _squeeze(photo, size)


def _squeeze(photo: Image.Image, size: int) -> Pixels:
    return np.array(photo.resize((size, size), Image.Resampling.BILINEAR))


def read_many(paths: Iterable[Path], size: int, threads: int | None = None) -> Iterator[Pixels | UnreadablePhoto]:
    """Yield the `read_pixels` of each path in order, decoded ahead in threads, or the error of an unreadable photo."""

    def read(path: Path) -> Pixels | UnreadablePhoto:
        try:
            return read_pixels(path, size)
        except UnreadablePhoto as error:
            return error

    return in_threads(read, paths, threads)


def in_threads(work: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None) -> Iterator[Result]:
    """Do `map(work, items)` in threads, in order, only a few items ahead of the reader: memory stays flat."""
    threads = threads or os.cpu_count() or 1
    remaining = iter(items)
    first = list(islice(remaining, 16 * threads))
    if not first:
        return
    from concurrent.futures import ThreadPoolExecutor  # only now: there is often nothing to do

    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(work, item) for item in first)
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(work, item) for item in islice(remaining, 1))
        finally:
            for unwanted in waiting:  # the reader has left
                unwanted.cancel()
