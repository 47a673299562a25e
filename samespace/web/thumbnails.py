"""Small copies of photos, made when first asked for and kept in the library's folder by content."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from PIL import Image

from samespace.base.files import NO_LINK, reached
from samespace.base.photos import opened
from samespace.library.own_folder import PRIVATE

SIDE = 480  # pixels, the longer one


def kept_thumbnail(folder: Path, content: str) -> bytes | None:
    """Return the WebP that was made before, if any; `folder` is the library's."""
    with suppress(OSError), reached(folder, _place(content)) as (name, place):
        descriptor = os.open(name, os.O_RDONLY | getattr(os, "O_BINARY", 0) | NO_LINK, dir_fd=place)
        with os.fdopen(descriptor, "rb") as file:
            return file.read()
    return None


def make_thumbnail(folder: Path, content: str, photo: Path) -> bytes:
    """Return a WebP of the photo, which has this content, and keep it if the folder can be written."""
    with opened(photo, at_least=SIDE) as image:
        profile = _profile(image)
        image.thumbnail((SIDE, SIDE))
    file = BytesIO()
    image.save(file, "WEBP", quality=80, method=2, icc_profile=profile)
    _keep(folder, _place(content), file.getvalue())
    return file.getvalue()


def converted(photo: Path) -> bytes:
    """Return a JPEG as large as the photo, for formats that browsers do not show."""
    file = BytesIO()
    with opened(photo) as image:
        image.save(file, "JPEG", quality=92, icc_profile=_profile(image))
    return file.getvalue()


def forget_thumbnails(folder: Path, but: Collection[str]) -> None:
    """Delete those of contents that the library does not have any more, and what a kill has left half written."""
    for path in (folder / "thumbnails").glob("??/*"):
        if path.name.removesuffix(".webp") not in but:
            with suppress(OSError), reached(folder, path.relative_to(folder)) as (name, place):
                os.unlink(name, dir_fd=place)


def _place(content: str) -> Path:
    return Path("thumbnails", content[:2], f"{content}.webp")


def _profile(image: Image.Image) -> bytes:
    """Return the profile of the colours, unless the colours were converted, as CMYK is."""
    profile: bytes = image.info.get("icc_profile") or b""
    return profile if profile[16:20] == b"RGB " else b""


def _keep(folder: Path, below: Path, content: bytes) -> None:
    """Write under another name until it is whole: two may make the same one. A full disk is no reason to fail."""
    with suppress(OSError):
        (folder / below.parts[0]).mkdir(mode=PRIVATE, exist_ok=True)
        (folder / below).parent.mkdir(parents=True, exist_ok=True)
        with reached(folder, below) as (name, place):
            partial = os.path.join(os.path.dirname(name), f".{secrets.token_hex(8)}")  # noqa: PTH118, PTH120
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
                with os.fdopen(os.open(partial, flags, 0o666, dir_fd=place), "wb") as file:
                    file.write(content)
                os.replace(partial, name, src_dir_fd=place, dst_dir_fd=place)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(partial, dir_fd=place)
