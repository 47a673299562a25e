"""Read what a model's folder holds: `model.json` describes it, files beside it hold weights and network."""

from __future__ import annotations

import hashlib
import json
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays

from samespace.base.arrays import Array
from samespace.base.errors import SameSpaceError
from samespace.base.photos import SIZE
from samespace.base.text import readable

FORMATS = (1, 2)  # twin networks, and room networks
OF_ANOTHER = "holds weights of another network than model.json says: export it again"


class Thresholds(NamedTuple):
    """Probabilities that two photos show one space: where 99 % of pairs do, and that part pairs best from others."""

    sure: float
    even: float


class Contents(NamedTuple):
    """Hold what a model's folder holds, checked as far as can be without its network."""

    folder: Path
    description: dict[str, Any]
    weights: dict[str, Array]
    network: bytes | None  # an ONNX file; earlier versions wrote none


def read(folder: Path) -> Contents:
    """Return what a model's folder holds; refuse one that is damaged."""
    description, files = _read(folder)
    try:
        for name in ("mean", "std"):
            per_colour(description[name])
        if description["head"] not in ("compare", "concat") or not isinstance(description["trunk"], str):
            raise ValueError("it names no head or no trunk")
        if not (min(description["std"]) >= 0.01 and all(0 <= at <= 1 for at in _thresholds_in(description))):
            raise ValueError("a number is out of range")
        if not 0 <= (description.get("data", {}).get("held_out") or 0) < 1:  # null is none, too
            raise ValueError("it held out no share")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(folder, error) from error
    if description.get("size") != SIZE:
        size = readable(str(description.get("size")))
        raise SameSpaceError(f"{folder} wants photos of {size} pixels: this version takes {SIZE}")
    try:
        weights = load_arrays(files["weights"])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise SameSpaceError(f"{folder} {OF_ANOTHER}") from error
    if not all(np.isfinite(values).all() for values in weights.values()):
        raise SameSpaceError(f"{folder} holds weights that are not finite numbers: train or export the model again")
    return Contents(folder, description, weights, files.get("network"))


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the description and the files it names; read all again if a newer model has just replaced them."""
    description = read_description(folder)
    files: dict[str, bytes] = {}
    for what in ("weights", "network") if "network" in description else ("weights",):
        try:
            name, digest = Path(description[what]["file"]).name, description[what]["sha256"]
        except (KeyError, TypeError) as error:
            raise damaged(folder, error) from error
        try:
            files[what] = (folder / name).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a name with a NUL
            if read_description(folder) != description:
                return _read(folder)
            raise SameSpaceError(f"{folder} lacks its {what} {readable(name)}: copy the whole folder") from error
        if hashlib.sha256(files[what]).hexdigest() != digest:
            raise SameSpaceError(f"{folder / name} is damaged: it is not what model.json says; copy or export it again")
    return description, files


def damaged(folder: Path, error: Exception) -> SameSpaceError:
    """Return what to raise if a model's description cannot be read."""
    return SameSpaceError(f"{folder / 'model.json'} is damaged ({error!r}): export the model again")


def read_description(folder: Path) -> dict[str, Any]:
    """Return what a model's `model.json` holds; refuse one that is damaged or of another format."""
    path = folder / "model.json"
    if not path.is_file():
        raise SameSpaceError(f"no model in {folder}: give a folder that holds model.json, as `samespace export` writes")
    try:
        description = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise SameSpaceError(f"{path} is damaged: export the model again") from error
    if not isinstance(description, dict) or description.get("format") not in FORMATS:
        raise SameSpaceError(f"{path} is not of format 1 or 2: use the version of samespace that wrote it")
    return description


def _thresholds_in(description: dict[str, Any]) -> list[float]:
    """Return every threshold that a description names."""
    found = [Thresholds(**named) for named in description.get("thresholds", {}).values()]
    return [description["threshold"], *chain(*found)]


def per_colour(values: Any) -> tuple[float, ...]:
    """Return three finite numbers; raise TypeError or ValueError for anything else."""
    red, green, blue = (float(value) for value in values)
    if not all(abs(value) <= 10 for value in (red, green, blue)):  # pixels are from 0 to 1
        raise ValueError("a number is out of range")
    return red, green, blue
