"""What models of words have in common: files that tell if they are as they were written, and a backbone of their own.

Others' features would be numbers like any, and what is made of them nonsense.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from samespace.base.arrays import Floats
from samespace.base.errors import SameSpaceError
from samespace.base.files import save_whole
from samespace.words.feature_files import unit_rows
from samespace.words.photo_features import FeatureSource

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


def kind_of(path: Path) -> str:
    """What `save` was told, or empty of a file of no kind at all: `load` says what is wrong with it."""
    try:
        with safe_open(path, "pt") as file:
            return next(iter(file.metadata() or {}), "")
    except (OSError, SafetensorError):
        return ""


def check_backbone(kind: str, own: FeatureSource, feature_source: FeatureSource) -> None:
    """Refuse features of another backbone than the model's own."""
    if feature_source.origin != own.origin:
        raise SameSpaceError(
            f"the {kind} was trained on features of {own.name}, and these are of {feature_source.name}"
            f"{' with other weights, or of another version' if feature_source.name == own.name else ''}: "
            "take those, or train one on these"
        )


def taken(kind: str, own: FeatureSource, features: npt.NDArray[Any], dim: int) -> Floats:
    """Features (N, dim) of any length as (N, dim) of length 1; others are refused."""
    if features.ndim != 2 or features.shape[1] != dim:
        raise SameSpaceError(
            f"the {kind} takes features of {dim:,} numbers, not of shape {features.shape}: give those of {own.name}"
        )
    return unit_rows(np.asarray(features, np.float32))


def _digest(about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
