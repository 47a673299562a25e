"""Export the model folder that people take away from a checkpoint of Determined's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samespace.base.errors import SameSpaceError
from samespace.model.backbone import make_unfilled_backbone
from samespace.model.model_folder import read
from samespace.model.weights import UNPICKLES_SAFELY
from samespace.model.write import Network, describe, network_of, rebuild, write_model


def export(checkpoint: Path, output: Path) -> dict[str, Any]:
    """Write a checkpoint's model to `output`, the one it carries or one rebuilt from its raw state; describe it."""
    if not checkpoint.is_dir():
        raise SameSpaceError(f"{checkpoint} is not a folder: give one that `det checkpoint download` wrote")
    carried = [folder for folder in (checkpoint / "model", checkpoint) if (folder / "model.json").is_file()]
    if carried:
        contents = read(carried[0])
        network, description = rebuild(contents), contents.description
    else:
        network = _rebuild(checkpoint)
        description = describe(network, metrics={}, data={})
    write_model(output, network, description)
    return description


def _rebuild(checkpoint: Path) -> Network:
    """Rebuild the model from `state_dict.pth` and the hyperparameters beside it, without Determined or the photos."""
    try:
        hparams = json.loads((checkpoint / "load_data.json").read_text())["hparams"]
        backbone = make_unfilled_backbone(hparams["backbone"])
        state = _read_state(checkpoint / "state_dict.pth")
        return network_of(backbone, hparams["head"], hparams.get("trainable"), state)
    except FileNotFoundError as error:
        raise SameSpaceError(
            f"{checkpoint} is not a checkpoint of SameSpace: it lacks {Path(error.filename).name}"
        ) from error
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise SameSpaceError(f"{checkpoint} is damaged or not a checkpoint of SameSpace: download it again") from error


def _read_state(path: Path) -> dict[str, Tensor]:
    """Return the network's weights, without the `module.` that distributed training puts before every name."""
    if not (UNPICKLES_SAFELY and hasattr(torch.serialization, "safe_globals")):
        raise SameSpaceError(f"rebuilding a model from {path} needs torch 2.6 or later: install it, or take its model/")
    try:
        with torch.serialization.safe_globals(random_state_types()):
            checkpoint = torch.load(path, "cpu", weights_only=True)
        state: dict[str, Tensor] = checkpoint["models_state_dict"][0]
        return {name.removeprefix("module."): value for name, value in state.items()}
    except FileNotFoundError:
        raise
    except Exception as error:
        # Damaged data makes torch raise nearly anything.
        raise SameSpaceError(f"{path} is damaged or not a checkpoint of SameSpace: download it again") from error


def random_state_types() -> list[Any]:
    """Return the types in Determined's checkpoints that torch must be told are safe: those of numpy's random state.

    Without it torch 2.6 and later refuse to load them, and nothing resumes.
    """
    array = np.zeros(1, np.uint32)
    rebuild: Any = array.__reduce__()[0]

    def rebuild_of_numpy_1(*arguments: Any) -> Any:
        return rebuild(*arguments)

    # A checkpoint names the function as the numpy that wrote it did, and torch 2.5 compares that with `__name__`.
    rebuild_of_numpy_1.__module__ = "numpy.core.multiarray"
    rebuild_of_numpy_1.__name__ = rebuild_of_numpy_1.__qualname__ = "_reconstruct"
    return [np.ndarray, np.dtype, type(array.dtype), rebuild, rebuild_of_numpy_1]
