"""Say where the files of a scanned folder are in its library."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Subtree(NamedTuple):
    """A scanned folder: a root, or a folder below one. The library names files by their root and path below it."""

    number: int  # of the root
    root: Path
    prefix: bytes  # what paths below the root begin with if they lie in the folder


def prefix_of(folder: Path, root: Path) -> bytes:
    """Return what paths below a root begin with if they lie in this folder."""
    return b"" if folder == root else os.fsencode(folder.relative_to(root)) + b"/"
