"""Small copies of photos, made when first asked for and kept in the library's folder by content."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from PIL import Image

from samespace.base.photos import opened

SIDE = 480  # pixels, the longer one


def kept_thumbnail(folder: Path, content: str) -> bytes | None:
    """Return the WebP that was made before, if any; `folder` is the library's."""
    with suppress(OSError):
        return _place(folder, content).read_bytes()
    return None


def make_thumbnail(folder: Path, content: str, photo: Path) -> bytes:
    """Return a WebP of the photo, which has this content, and keep it if the folder can be written."""
    with opened(photo, at_least=SIDE) as image:
        profile = _profile(image)
        image.thumbnail((SIDE, SIDE))
    file = BytesIO()
    image.save(file, "WEBP", quality=80, method=2, icc_profile=profile)
    _keep(_place(folder, content), file.getvalue())
    return file.getvalue()


def converted(photo: Path) -> bytes:
    """Return a JPEG as large as the photo, for formats that browsers do not show."""
    file = BytesIO()
    with opened(photo) as image:
        image.save(file, "JPEG", quality=92, icc_profile=_profile(image))
    return file.getvalue()


def forget_thumbnails(folder: Path, but: Collection[str]) -> None:
    """Delete those of contents that the library does not have any more, and what a kill has left half written."""
    for place in (folder / "thumbnails").glob("??/*"):
        if place.name.removesuffix(".webp") not in but:
            with suppress(OSError):
                place.unlink()


def _place(folder: Path, content: str) -> Path:
    return folder / "thumbnails" / content[:2] / f"{content}.webp"


def _profile(image: Image.Image) -> bytes:
    """Return the profile of the colours, unless the colours were converted, as CMYK is."""
    profile: bytes = image.info.get("icc_profile") or b""
    return profile if profile[16:20] == b"RGB " else b""


def _keep(place: Path, content: bytes) -> None:
    """Write under another name until it is whole: two may make the same one. A full disk is no reason to fail."""
    partial = place.with_name(f".{secrets.token_hex(8)}")
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content)
            partial.replace(place)
        finally:
            partial.unlink(missing_ok=True)
