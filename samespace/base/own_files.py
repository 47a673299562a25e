"""Write over our own files only: they are known by what is in them, and anybody else's stays."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from samespace.base.errors import SameSpaceError

PICTURE = "SameSpace"  # what pictures name as the software that drew them


def refuse_foreign(path: Path, is_ours: Callable[[BinaryIO], bool], ours: str, other: str = "file") -> None:
    """Refuse to write over a file that is not one of ours; `ours` says what that would be."""
    if not os.path.lexists(path):
        return
    with suppress(OSError):  # who cannot read it cannot know whose it is
        if path.is_file():
            with path.open("rb") as file:
                if is_ours(file):
                    return
    raise SameSpaceError(f"{path} already exists, and is not {ours}: name another {other}")


def refuse_missing_folder(path: Path) -> None:
    """Refuse to write a file into a folder that is not there."""
    if not path.parent.is_dir():
        raise SameSpaceError(f"cannot write {path}: make the folder {path.parent} first")


def is_own_picture(file: BinaryIO) -> bool:
    """Return whether a PNG, SVG or PDF says that this program drew it."""
    return PICTURE.encode() in file.read()
