"""Models of words as files: one safetensors file each, which tells its kind and whether it is as it was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from samespace.errors import SameSpaceError
from samespace.files import save_whole

FORMAT = 1

Model = TypeVar("Model")


def save(path: Path, kind: str, about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Whole or not at all; `about` is what JSON can hold."""
    here = {name: value.cpu().contiguous() for name, value in tensors.items()}
    told = {"format": FORMAT, **about}
    told["sha256"] = _digest(told, here)
    save_whole(path, save_tensors(here, {kind: json.dumps(told)}))


def load(path: Path, kind: str, build: Callable[[dict[str, Any], dict[str, Tensor]], Model]) -> Model:
    """What `build` makes of what `save` was given. It is data alone: a file from a stranger is safe to load."""
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})[kind])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
        if about["format"] != FORMAT:
            raise SameSpaceError(
                f"{path} is of format {about['format']}, and {FORMAT} is known here: "
                "use the version of samespace that wrote it"
            )
        if about.pop("sha256") != _digest(about, tensors):
            raise ValueError("not as it was written")
        return build(about, tensors)
    except FileNotFoundError as error:
        raise SameSpaceError(f"{path}: no such file") from error
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, RuntimeError, RecursionError) as error:
        raise SameSpaceError(f"{path} is no {kind}, or damaged: train it again, or copy it again") from error


def _digest(about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
