"""Put a network into one graph from photos to what is kept of them: what an ONNX file holds, and what torch runs."""

from __future__ import annotations

import hashlib
import inspect
import io
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samespace.base.errors import SameSpaceError
from samespace.base.photos import SIZE
from samespace.base.text import size_words
from samespace.model import materials
from samespace.model.backbone import Backbone
from samespace.model.engine import OPSET, Sheet
from samespace.model.feature_bank import frozen_maps
from samespace.model.layers import pooled
from samespace.model.network import TwinNetwork
from samespace.model.room_network import RoomNetwork

FINE, COARSE = 40, 96  # channels of a map that are looked at; of more, as many random mixtures
_MOST = 2_000_000_000  # bytes
TINTS = 6  # light, red and yellow of a place, and how much each varies in it
_SPREAD = (60.0, 15.0, 25.0, 25.0, 6.0, 8.0)  # of the tints among places of a room: it brings them to one scale


class Graph(NamedTuple):
    """A module that maps photos (N, 256, 256, 3) of 0..255 to the outputs that its sheet names."""

    module: nn.Module
    sheet: Sheet


def of_backbone(backbone: Backbone) -> Graph:
    """Return the graph of a bare backbone: its embedding, and the places that materials are described by."""
    state = backbone.state_dict()
    former = tuple(_fingerprint(kind, backbone, state) for kind in ("trunk float32", "trunk bfloat16"))
    trunk = _fingerprint("trunk", backbone, state)
    return _graph(_Seen(backbone), ("vectors", "fine", "coarse"), Sheet({}, trunk, _of_materials(trunk), former))


def of_network(network: TwinNetwork | RoomNetwork) -> Graph:
    """Return the graph of a trained network: all that it sees in a photo by itself. Its head compares photos later."""
    backbone = network.backbone
    if isinstance(network, RoomNetwork):
        # The odds weigh what was kept, so with others nothing needs to be extracted again.
        kept = {**backbone.state_dict(), **dict(network.named_buffers(recurse=False))}
        trunk = _fingerprint("trunk", backbone, backbone.state_dict())
        sheet = Sheet({}, _fingerprint("rooms", backbone, kept), _of_materials(trunk))
        return _graph(_Seen(backbone), ("vectors", "fine", "coarse"), sheet)
    # The head compares what was kept, so with another head nothing needs to be extracted again.
    kept = {name: value for name, value in network.state_dict().items() if not name.startswith("head.")}
    names = ("vectors", "parts") if network.head_name == "compare" else ("vectors",)
    return _graph(_Twin(network), names, Sheet({}, _fingerprint("model", backbone, kept)))


@torch.no_grad()
def _graph(module: nn.Module, names: Sequence[str], sheet: Sheet) -> Graph:
    photo = torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8, device=next(module.parameters()).device)
    found = dict(zip(names, module(photo), strict=True))
    outputs = {name: (tuple(value.shape[1:]), str(value.dtype)[6:]) for name, value in found.items()}
    return Graph(module, sheet._replace(outputs=outputs))


def to_onnx(graph: Graph) -> bytes:
    """Return the ONNX file of a graph: photos (N, 256, 256, 3) of uint8, any N, to the sheet's outputs."""
    size = sum(value.nbytes for value in graph.module.state_dict().values())
    if size > _MOST:
        raise SameSpaceError(f"a network of {size_words(size)} is too large for an ONNX file, 2 GB: choose another")
    names = list(graph.sheet.outputs)
    # From 2.5 on torch has another exporter besides, which needs another package and many seconds.
    which: Any = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    photo = torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8, device=next(graph.module.parameters()).device)
    content = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing turns the means into constants, as it should
        try:
            torch.onnx.export(
                graph.module,
                (photo,),
                cast(Any, content),  # torch 2.12 writes to it, and says that it wants a path
                input_names=["photos"],
                output_names=names,
                dynamic_axes={name: {0: "N"} for name in ("photos", *names)},
                opset_version=OPSET,
                **which,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise SameSpaceError(
                f"this network cannot be written as ONNX ({str(error).splitlines()[0][:120]}): choose another"
            ) from error
    return content.getvalue()


class _Seen(nn.Module):
    """A bare backbone: photos (N, S, S, 3) → embeddings, and the maps that materials are described by."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        pixels = photos.permute(0, 3, 1, 2)
        vectors, stages = self.backbone.see(pixels)
        return (vectors, *see(pixels, stages))


class _Twin(nn.Module):
    """A twin network: photos (N, S, S, 3) → embeddings in half precision, and codes of parts if its head has a use."""

    def __init__(self, network: TwinNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        # Maps are rounded to half precision on the way, as in training: else some probabilities move by 0.04.
        maps = frozen_maps(photos.permute(0, 3, 1, 2), self.network.backbone)
        vectors, parts = self.network.tower(self.network.freeze_block(*maps))
        return (vectors.half(), parts) if self.network.head_name == "compare" else (vectors.half(),)


def see(pixels: Tensor, stages: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return what a backbone's `stages` and the pixels show at each place of photos (N, 3, S, S) of 0..255.

    A fine map (N, TINTS + C, S / 8, S / 8) and a coarse one (N, TINTS + C', S / 16, S / 16), the tints first.
    """
    quarter, eighth, sixteenth = stages
    # Numbers, because sizes are tensors while the network is traced.
    side, half = int(eighth.shape[-1]), int(sixteenth.shape[-1])
    colours = _opponents(*torch.split(pixels.float(), 1, 1))
    moments = pooled(torch.cat([colours, colours.square()], 1), side)
    texture = [pooled(_few(quarter, FINE), side), _few(eighth, FINE)]
    fine = [_tints(moments), *map(_of_one_size, texture)]
    coarse = [_tints(pooled(moments, half)), _of_one_size(_few(sixteenth, COARSE))]
    return torch.cat(fine, 1), torch.cat(coarse, 1)


def _opponents(red: Tensor, green: Tensor, blue: Tensor) -> Tensor:
    """Return light, red against green, and yellow against blue, as three channels (N, 3, h, w)."""
    return torch.cat([(red + green + blue) / 3, red - green, (red + green) / 2 - blue], 1)


def _tints(moments: Tensor) -> Tensor:
    """Return the tints (N, TINTS, h, w) of places, given the means of their colours and of the squares of these."""
    mean, square = torch.split(moments, 3, 1)
    deviation = (square - mean.square()).clamp(min=0).sqrt()
    return torch.cat([mean, deviation], 1) / torch.tensor(_SPREAD, device=moments.device).view(1, TINTS, 1, 1)


def _few(maps: Tensor, most: int) -> Tensor:
    """Return maps (N, C, h, w) with `most` channels at most: mixtures of all, the same every time."""
    channels = maps.shape[1]
    if channels <= most:
        return maps
    return F.conv2d(maps, _mixtures(channels, most).to(maps.device))


@cache
def _mixtures(channels: int, most: int) -> Tensor:
    """Return the weights of a convolution, (most, channels, 1, 1)."""
    mixing, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((channels, most)))
    return torch.from_numpy(mixing.T.astype(np.float32))[:, :, None, None]


def _of_one_size(maps: Tensor) -> Tensor:
    """Scale each photo's map to a mean variance of 1, so that contrast does not decide how alike photos are."""
    centred = maps - maps.mean((2, 3), keepdim=True)
    return maps / centred.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-6)


def _of_materials(trunk: str) -> str:
    """Return the fingerprint of materials that a backbone of this fingerprint sees."""
    return hashlib.sha256(f"{materials.VERSION} {trunk}".encode()).hexdigest()[:16]


def _fingerprint(kind: str, backbone: Backbone, state: dict[str, Tensor]) -> str:
    """Return a fingerprint of all that decides the numbers; engine and processor, which only round, do not count."""
    digest = hashlib.sha256(f"{kind} {backbone.identity}".encode())
    for name, value in state.items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
