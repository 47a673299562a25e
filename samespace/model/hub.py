"""Find a model in the format of Hugging Face's transformers, in a folder or on the Hub.

Only data is read: safetensors, ONNX and JSON. Pickles and code that lie beside them are neither opened nor fetched.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from samespace.base.errors import SameSpaceError

_WANTED = "a vision model"


class Files(NamedTuple):
    """The files of a vision model."""

    folder: Path
    config: dict[str, Any]  # of config.json
    weights: tuple[Path, ...]  # safetensors, sorted


def is_named(backbone: str) -> bool:
    """Tell if a backbone's name is a folder's, or a model's on the Hub: it has a slash, and torchvision's have none."""
    return "/" in backbone or os.sep in backbone


def files_of(source: str) -> Files:
    """Return the files of a vision model that is named by its folder or as on the Hub."""
    folder = folder_of(source, _WANTED, lambda folder: bool(weights_in(folder)), ["*.json", "model*.safetensors"])
    config, weights = read_config(folder, _WANTED), weights_in(folder)
    if not weights:
        raise SameSpaceError(f"{folder} has no model.safetensors{pickled_in(folder)}: give another model")
    return Files(folder, config, weights)


def folder_of(source: str, wanted: str, is_whole: Callable[[Path], bool], *kinds: Sequence[str]) -> Path:
    """Return a model's folder: that of this name, or the one that is fetched from the Hub.

    Of the Hub's files those that patterns of the first kind match are fetched, and if the folder is not whole then,
    those of the next.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise SameSpaceError(f"{source} is not a folder: give one with {wanted}, or its name on the Hub")
    return _fetched(source, is_whole, kinds)


def _fetched(name: str, is_whole: Callable[[Path], bool], kinds: Sequence[Sequence[str]]) -> Path:
    """Return the folder of a model of the Hub, in huggingface_hub's cache; what is there is not fetched again."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise SameSpaceError(
            f"{name} is not a folder, and fetching it from the Hugging Face Hub needs pip install 'samespace[clip]'"
        ) from error

    def fetch(patterns: Sequence[str], locally: bool) -> Path:
        return Path(snapshot_download(name, allow_patterns=list(patterns), local_files_only=locally))

    try:
        folder = fetch(kinds[0], locally=True)
        if is_whole(folder):
            return folder
    except Exception:  # it was never fetched, or only in part: the next lines tell why it cannot be
        pass
    try:
        for patterns in kinds:
            folder = fetch(patterns, locally=False)
            if is_whole(folder):
                break
        return folder
    except SameSpaceError:
        raise
    except Exception as error:  # of several libraries, by version
        why = " ".join(str(error).split())[:200]
        raise SameSpaceError(
            f"{name} is not a folder, and cannot be fetched from the Hugging Face Hub: check the name and the network, "
            f"or give a folder ({why})"
        ) from error


def read_config(folder: Path, wanted: str) -> dict[str, Any]:
    """Return what a model's config.json holds."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        if not isinstance(config, dict):
            raise ValueError("no object")
        return config
    except FileNotFoundError as error:
        raise SameSpaceError(f"{folder} has no config.json: give a folder with {wanted}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise SameSpaceError(f"{folder / 'config.json'} is damaged: copy it again") from error


def weights_in(folder: Path) -> tuple[Path, ...]:
    """Return a model's files of safetensors."""
    return tuple(sorted(folder.glob("model*.safetensors")))


def pickled_in(folder: Path) -> str:
    """Return in words that a folder has weights which are not opened; "" if it has none."""
    pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
    return ", only weights that would have to be unpickled, which can run code" if pickled else ""
