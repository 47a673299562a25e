"""Find an encoder's files, in a folder or on the Hugging Face Hub, and hash what decides its numbers.

Only data is read: safetensors, ONNX and JSON. Pickles and code that lie beside them are neither opened nor fetched.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from samespace.base.errors import SameSpaceError
from samespace.base.files import content_hash
from samespace.words.preprocessing import read_preprocessing

# Whatever tells how an encoder is used. `.txt` and `.model` are vocabularies of older tokenizers.
_SMALL = ["*.json", "*.txt", "*.model"]
_PAIRS = ("onnx/vision_model.onnx", "onnx/text_model.onnx"), ("vision_model.onnx", "text_model.onnx")
_VERSION = "encoder 1"  # other steps in our own code, other numbers


class Files(NamedTuple):
    """The files of an encoder."""

    folder: Path
    config: dict[str, Any]  # of config.json
    weights: tuple[Path, ...]  # that numbers depend on, sorted
    pair: tuple[Path, Path] | None  # ONNX files for photos and for sentences; None for safetensors

    def fingerprint(self) -> str:
        """Return the name of this encoder's numbers: a hash of its weights and of how photos are prepared."""
        digest = hashlib.sha256(f"{_VERSION} {read_preprocessing(self.folder)}".encode())
        for path in self.weights:
            digest.update(path.name.encode())
            digest.update(content_hash(path).encode())
        return digest.hexdigest()[:16]


def files_of(source: str) -> Files:
    """Return the files of an encoder that is named by its folder or as on the Hub, where it is fetched from if need be.

    An ONNX pair is preferred to safetensors, because it needs less to run.
    """
    folder = Path(source)
    if folder.is_dir():
        return _files_in(folder)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise SameSpaceError(f"{source} is not a folder: give one with a CLIP or SigLIP model, or its name on the Hub")
    return _files_in(_fetched(source))


def _files_in(folder: Path) -> Files:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        if not isinstance(config, dict):
            raise ValueError("no object")
    except FileNotFoundError as error:
        raise SameSpaceError(f"{folder} has no config.json: give a folder with a CLIP or SigLIP model") from error
    except (OSError, ValueError, RecursionError) as error:
        raise SameSpaceError(f"{folder / 'config.json'} is damaged: copy it again") from error
    pair = _pair_in(folder)
    if pair:
        return Files(folder, config, tuple(sorted(beside for path in pair for beside in _with_data(path))), pair)
    weights = tuple(sorted(folder.glob("model*.safetensors")))
    if not weights:
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        beside = ", only weights that would have to be unpickled, which can run code" if pickled else ""
        raise SameSpaceError(
            f"{folder} has no model.safetensors and no {' with '.join(_PAIRS[0])}{beside}: give another model"
        )
    return Files(folder, config, weights, None)


def _pair_in(folder: Path) -> tuple[Path, Path] | None:
    for names in _PAIRS:
        seeing, reading = (folder / name for name in names)
        if seeing.is_file() and reading.is_file():
            return seeing, reading
    for names in _PAIRS:
        there, lacking = sorted((folder / name for name in names), key=lambda path: not path.is_file())
        if there.is_file():
            raise SameSpaceError(f"{there} needs {lacking.name} beside it: copy that, too")
    return None


def _with_data(path: Path) -> list[Path]:
    """Return an ONNX file, and what weights of more than 2 GB lie in beside it."""
    beside = (path.with_name(path.name + end) for end in ("_data", ".data"))
    return [path, *(other for other in beside if other.is_file())]


def _fetched(name: str) -> Path:
    """Return the folder of a model of the Hub, in huggingface_hub's cache; what is there is not fetched again."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise SameSpaceError(
            f"{name} is not a folder, and fetching it from the Hugging Face Hub needs pip install 'samespace[clip]'"
        ) from error

    def fetch(patterns: list[str], locally: bool) -> Path:
        return Path(snapshot_download(name, allow_patterns=[*_SMALL, *patterns], local_files_only=locally))

    pair, tensors = [f"{path}*" for names in _PAIRS for path in names], ["model*.safetensors"]
    try:
        folder = fetch([], locally=True)
        if _pair_in(folder) or any(folder.glob("model*.safetensors")):
            return folder
    except Exception:  # it was never fetched, or only in part: the next lines tell why it cannot be
        pass
    try:
        folder = fetch(pair, locally=False)
        return folder if _pair_in(folder) else fetch(tensors, locally=False)
    except SameSpaceError:
        raise
    except Exception as error:  # of several libraries, by version
        why = " ".join(str(error).split())[:200]
        raise SameSpaceError(
            f"{name} is not a folder, and cannot be fetched from the Hugging Face Hub: check the name and the network, "
            f"or give a folder ({why})"
        ) from error
