"""Write a trained network into a model folder, as whole at any moment as it was before; and rebuild it from one."""

from __future__ import annotations

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from samespace.base.errors import SameSpaceError
from samespace.base.files import content_hash, write_whole
from samespace.base.own_files import refuse_foreign
from samespace.base.photos import SIZE
from samespace.model import graphs, room_network
from samespace.model.backbone import Backbone, make_unfilled_backbone
from samespace.model.engine import OPSET
from samespace.model.model_folder import FORMATS, OF_ANOTHER, Contents, per_colour
from samespace.model.network import TwinNetwork
from samespace.model.room_network import RoomNetwork

Network = TwinNetwork | RoomNetwork

# Files named by content, so that the old ones stay until the new description names the new ones.
_FILES = {"weights": "weights-{}.safetensors", "network": "network-{}.onnx"}

# Converted last, and for which sheet: an epoch writes its model twice, and while a head learns the rest stays the same.
_converted: dict[str, bytes] = {}


def describe(network: Network, metrics: dict[str, float], data: dict[str, Any]) -> dict[str, Any]:
    """Return what `model.json` holds: what it takes to rebuild the network, its metrics, and the data behind them."""
    return {
        "format": FORMATS[isinstance(network, RoomNetwork)],
        "trunk": network.backbone.name,
        **({"trunk_config": network.backbone.about} if network.backbone.about else {}),
        "cut": network.trainable,
        "size": SIZE,
        "mean": list(network.backbone.mean),
        "std": list(network.backbone.std),
        "head": network.head_name,
        "threshold": 0.5,
        "metrics": metrics,
        "data": data,
    }


def write_model(folder: Path, network: Network, description: dict[str, Any]) -> None:
    """Write the folder so that a reader finds a whole model at any moment: this one or the one before.

    Where the package onnx is missing, as on a cluster, the model is written without the file that runs without torch.
    """
    training = network.training
    network.eval()
    weights = save_tensors({name: value.contiguous().cpu() for name, value in network.state_dict().items()})
    contents = {"weights": weights}
    said: dict[str, dict[str, Any]] = {"weights": {}}
    if is_portable():
        graph = graphs.of_network(network)
        contents["network"] = _convert(graph)
        said["network"] = {"opset": OPSET, **graph.sheet.to_json()}
    network.train(training)
    names = {}
    for what, content in contents.items():
        digest = hashlib.sha256(content).hexdigest()
        names[what] = _FILES[what].format(digest[:16])
        said[what] = {"file": names[what], "sha256": digest, **said[what]}
    refuse_other_than_model(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for what, content in contents.items():
            write_whole(folder / names[what], content)
        write_whole(folder / "model.json", json.dumps({**description, **said}, indent=2).encode())
        for form in _FILES.values():
            for stale in folder.glob(form.format("*")):
                if stale.name not in names.values() and stale.name == form.format(content_hash(stale)[:16]):  # ours
                    stale.unlink()
            for torn in folder.glob(f".{form.format('*')}.partial"):
                torn.unlink()
    except OSError as error:
        raise SameSpaceError(f"cannot write the model to {folder} ({error}): name another folder") from error


def refuse_other_than_model(folder: Path) -> None:
    """Refuse to write a model where a file is, or somebody else's model.json."""
    if folder.exists() and not folder.is_dir():
        raise SameSpaceError(f"cannot write the model to {folder} (it is no folder): name another folder")
    refuse_foreign(folder / "model.json", _is_description, "a model of samespace", "folder")


def is_portable() -> bool:
    """Tell if models can be written so that they run without torch."""
    return find_spec("onnx") is not None


def _convert(graph: graphs.Graph) -> bytes:
    key = graph.sheet.of_graph
    if key not in _converted:
        content = graphs.to_onnx(graph)
        _converted.clear()
        _converted[key] = content
    return _converted[key]


def _is_description(file: BinaryIO) -> bool:
    try:
        return {"format", "trunk", "head"} <= json.load(file).keys()
    except (ValueError, AttributeError, RecursionError):
        return False


def rebuild(contents: Contents) -> Network:
    """Return the network of a model's folder, for torch."""
    description = contents.description
    state = {name: torch.from_numpy(values) for name, values in contents.weights.items()}
    try:
        backbone = make_unfilled_backbone(description["trunk"], description.get("trunk_config"))
        backbone.mean, backbone.std = (per_colour(description[name]) for name in ("mean", "std"))
        network = network_of(backbone, description["head"], description["cut"], state)
    except (RuntimeError, ValueError, KeyError) as error:
        raise SameSpaceError(f"{contents.folder} {OF_ANOTHER}") from error
    return network.eval()


def network_of(backbone: Backbone, head: str, trainable: str | None, state: dict[str, Tensor]) -> Network:
    """Return the network whose state this is."""
    if "matrix" in state:
        return room_network.rebuilt(backbone, state)
    network = TwinNetwork(backbone, head, trainable)
    network.load_state_dict(state)
    return network
