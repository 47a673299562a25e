"""Safetensors files that notice damage: tensors, JSON that says what they are, and a digest of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open

from samespace.base.errors import SameSpaceError
from samespace.base.own_files import refuse_foreign

Built = TypeVar("Built")

_LONGEST = 100_000_000  # bytes of a header that safetensors reads


def digest(about: str, tensors: Mapping[str, Any], library: str = "") -> str:
    """Return the SHA-256, in hex, of a text and of arrays by name; `library` is put before the name of each dtype."""
    digest = hashlib.sha256(about.encode())
    for name, values in sorted(tensors.items()):
        digest.update(f"{name} {library}{values.dtype} {tuple(values.shape)} ".encode())
        digest.update(np.asarray(values).tobytes())
    return digest.hexdigest()


def refuse_unsealed(path: Path) -> None:
    """Refuse to write over a file that is not a sealed one, of any kind, damaged or not."""
    refuse_foreign(path, _is_sealed, "one that samespace wrote")


def _is_sealed(file: BinaryIO) -> bool:
    length = int.from_bytes(file.read(8), "little")
    if length > _LONGEST:
        return False
    try:
        metadata = json.loads(file.read(length)).get("__metadata__", {})
        return any("sha256" in json.loads(about) for about in metadata.values())
    except (ValueError, AttributeError, TypeError, RecursionError):
        return False


def load(
    path: Path,
    kind: str,
    version: int,
    library: str,
    sealed: Callable[[dict[str, Any]], str],
    build: Callable[[dict[str, Any], dict[str, Any]], Built],
    remedy: str,
) -> Built:
    """Return what `build` makes of the JSON and the arrays in a file of this kind; refuse any other in one sentence.

    `sealed` gives the text of the JSON that the digest is of; `library` is that of `digest`. A file is data alone: a
    stranger's is safe to load.
    """
    try:
        with safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {})[kind])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
        if about["format"] != version:
            raise SameSpaceError(
                f"{path} is of format {about['format']}, and {version} is known here: "
                "use the version of samespace that wrote it"
            )
        if about.pop("sha256") != digest(sealed(about), tensors, library):
            raise ValueError("not as it was written")
        return build(about, tensors)
    except FileNotFoundError as error:
        raise SameSpaceError(f"{path}: no such file") from error
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, RuntimeError, RecursionError) as error:
        raise SameSpaceError(f"{path} is not a {kind}, or damaged: {remedy}") from error
