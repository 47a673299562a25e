"""Write over our own files only: they are known by what is in them, and anybody else's stays."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from samespace.base.errors import SameSpaceError

PICTURE = "SameSpace"  # what pictures name as the software that drew them


def refuse_foreign(path: Path, is_ours: Callable[[bytes], bool], ours: str, other: str = "file") -> None:
    """Refuse to write over a file that is not one of ours; `ours` says what that would be."""
    if not os.path.lexists(path):
        return
    try:
        if path.is_file() and is_ours(path.read_bytes()):
            return
    except OSError:
        pass  # who cannot read it cannot know whose it is
    raise SameSpaceError(f"{path} already exists, and is not {ours}: name another {other}")


def is_own_picture(content: bytes) -> bool:
    """Return whether a PNG, SVG or PDF says that this program drew it."""
    return PICTURE.encode() in content
