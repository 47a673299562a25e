"""Find an encoder's files, in a folder or on the Hugging Face Hub, and hash what decides its numbers.

Only data is read: safetensors, ONNX and JSON. Pickles and code that lie beside them are neither opened nor fetched.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from samespace.base.errors import SameSpaceError
from samespace.base.files import content_hash
from samespace.model.hub import folder_of, pickled_in, read_config, weights_in
from samespace.model.preprocessing import read_preprocessing

# Whatever tells how an encoder is used. `.txt` and `.model` are vocabularies of older tokenizers.
_SMALL = ["*.json", "*.txt", "*.model"]
_PAIRS = ("onnx/vision_model.onnx", "onnx/text_model.onnx"), ("vision_model.onnx", "text_model.onnx")
_WANTED = "a CLIP or SigLIP model"
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

    def is_whole(folder: Path) -> bool:
        return bool(_pair_in(folder) or weights_in(folder))

    pair = [f"{path}*" for names in _PAIRS for path in names]
    return _files_in(folder_of(source, _WANTED, is_whole, [*_SMALL, *pair], [*_SMALL, "model*.safetensors"]))


def _files_in(folder: Path) -> Files:
    config, pair = read_config(folder, _WANTED), _pair_in(folder)
    if pair:
        return Files(folder, config, tuple(sorted(beside for path in pair for beside in _with_data(path))), pair)
    weights = weights_in(folder)
    if not weights:
        raise SameSpaceError(
            f"{folder} has no model.safetensors and no {' with '.join(_PAIRS[0])}{pickled_in(folder)}: "
            "give another model"
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
