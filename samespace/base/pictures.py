"""Write PNG pictures that name this program as the one that drew them, and no others over anybody's files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from samespace.base.errors import SameSpaceError
from samespace.base.files import write_whole
from samespace.base.own_files import PICTURE, is_own_picture, refuse_foreign, refuse_missing_folder


def refuse_foreign_picture(path: Path) -> None:
    """Refuse to draw over anything but an earlier picture, or where there is no folder."""
    if path.suffix.lower() != ".png":
        raise SameSpaceError(f"{path} cannot be drawn: give a name that ends in .png")
    refuse_missing_folder(path)
    refuse_foreign(path, is_own_picture, "a picture that samespace drew")


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a PNG that appears whole or not at all."""
    refuse_foreign_picture(path)
    content, about = BytesIO(), PngInfo()
    about.add_text("Software", PICTURE)
    picture.save(content, format="PNG", pnginfo=about)
    try:
        write_whole(path, content.getvalue())
    except OSError as error:
        raise SameSpaceError(f"cannot write {path} ({error.strerror}): give a file that can be written") from error
