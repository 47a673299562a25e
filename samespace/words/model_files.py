"""The files that matchers, captioners and borrowers are kept in, and checks that features come from their backbone.

Features of another backbone would be numbers like any, and what a model makes of them nonsense.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_arrays

from samespace.base import sealed
from samespace.base.arrays import Array, Floats
from samespace.base.errors import SameSpaceError
from samespace.base.files import save_whole
from samespace.base.text import shell_word
from samespace.words.feature_files import unit_rows
from samespace.words.photo_features import FeatureSource

FORMAT = 1
_LIBRARY = "torch."  # whose names of dtypes are part of the digest, though nothing here needs PyTorch

Model = TypeVar("Model")


def save(path: Path, kind: str, about: Mapping[str, Any], arrays: Mapping[str, Array], durable: bool = True) -> None:
    """Write arrays and `about`, which JSON must be able to hold, as one safetensors file, whole or not at all."""
    here = {name: np.asarray(values, order="C") for name, values in arrays.items()}
    about = {"format": FORMAT, **about}
    digest = sealed.digest(_as_text(about), here, _LIBRARY)
    sealed.refuse_unsealed(path)
    save_whole(path, save_arrays(here, {kind: json.dumps({**about, "sha256": digest})}), durable)


def load(
    path: Path,
    kind: str,
    build: Callable[[dict[str, Any], dict[str, Array]], Model],
    remedy: str = "train it again, or copy it again",
) -> Model:
    """Return what `build` makes of what `save` was given. A file is data alone: one from a stranger is safe to load."""
    return sealed.load(path, kind, FORMAT, _LIBRARY, _as_text, build, remedy)


def _as_text(about: Mapping[str, Any]) -> str:
    return json.dumps(about, sort_keys=True)


def kind_of(path: Path) -> str:
    """Return the kind that a file was saved as, or "" if it has none: `load` says what is wrong with it."""
    try:
        with safe_open(path, "numpy") as file:
            return next(iter(file.metadata() or {}), "")
    except (OSError, SafetensorError):
        return ""


def check_backbone(kind: str, own: FeatureSource, feature_source: FeatureSource) -> None:
    """Refuse features of another backbone than the model's own."""
    if feature_source.origin == own.origin:
        return
    other = " with other weights, or of another version" if feature_source.name == own.name else ""
    typed = "" if own.options == feature_source.options else " ".join(map(shell_word, own.options))
    raise SameSpaceError(
        f"the {kind} was trained on features of {own.name}, and these are of {feature_source.name}{other}: "
        f"{f'give {typed}' if typed else 'take those'}, or train one on these"
    )


def unit_features(kind: str, own: FeatureSource, features: Array, dim: int) -> Floats:
    """Return features (N, dim) of any length as (N, dim) of length 1; refuse any other shape."""
    if features.ndim != 2 or features.shape[1] != dim:
        raise SameSpaceError(
            f"the {kind} takes features of {dim:,} numbers, not of shape {features.shape}: give those of {own.name}"
        )
    return unit_rows(np.asarray(features, np.float32))
