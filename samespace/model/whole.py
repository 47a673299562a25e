"""Networks that are used whole: transformers, in which a class token sees every place, and others of Hugging Face.

Each maps photos (N, 3, S, S), normalised, to three maps of early, middle and later blocks and to an embedding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samespace.base.errors import SameSpaceError
from samespace.base.photos import SIZE
from samespace.model.hub import Files
from samespace.model.preprocessing import read_preprocessing
from samespace.model.pretrained import foreign_weights, model_of, open_model

# The attention that the exporter of ONNX can write, and hidden states of every block.
_OPTIONS = {"attn_implementation": "eager"}
_OUT_OF_ORDER = ("hiera",)  # kinds whose hidden states are not places row by row
_NOISE = ("architectures", "auto_map", "dtype", "id2label", "label2id", "torch_dtype", "transformers_version")
_BILINEAR, _BICUBIC = 2, 3  # as Pillow numbers them


class Resize(nn.Module):
    """Photos (N, 3, S, S) scaled to `side` as Pillow does it, smoothed where they shrink.

    Two matrix products, because ONNX has no such operation in the opset that is written.
    """

    def __init__(self, side: int, resample: int = _BILINEAR) -> None:
        super().__init__()
        mode = {_BILINEAR: "bilinear", _BICUBIC: "bicubic"}.get(resample, "bicubic")
        columns = torch.eye(SIZE)[None, None]
        self.weights = F.interpolate(columns, (side, SIZE), mode=mode, antialias=True)[0, 0]  # not of the state
        self.side = side

    def forward(self, photos: Tensor) -> Tensor:
        if self.side == SIZE:
            return photos
        weights = self.weights.to(photos.device)
        return weights @ photos @ weights.T


class VisionTransformer(nn.Module):
    """A ViT of torchvision's, which takes photos of its own size."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net, self.resize = net, Resize(net.image_size)

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        places = self.net._process_input(self.resize(photos))
        first = self.net.class_token.expand(places.shape[0], -1, -1)
        tokens = [torch.cat([first, places], 1) + self.net.encoder.pos_embedding]
        for block in self.net.encoder.layers:
            tokens.append(_block(block, tokens[-1]))
        return (*_three([_map(each) for each in tokens], self.net.image_size), self.net.encoder.ln(tokens[-1])[:, 0])


def _block(block: Any, tokens: Tensor) -> Tensor:
    """Run a block of torchvision's ViT; the fast path of torch's own attention cannot be written as ONNX."""
    attention, seen = block.self_attention, block.ln_1(tokens)
    heads, dim = attention.num_heads, attention.head_dim
    mixed = F.linear(seen, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = (
        each.reshape(-1, each.shape[1], heads, dim).transpose(1, 2) for each in torch.split(mixed, heads * dim, dim=2)
    )
    weights = (query @ key.transpose(2, 3) / math.sqrt(dim)).softmax(-1)
    tokens = tokens + attention.out_proj((weights @ value).transpose(1, 2).flatten(2))
    return tokens + block.mlp(block.ln_2(tokens))


class Pretrained(nn.Module):
    """A vision model of Hugging Face's transformers, which takes photos of its own size."""

    def __init__(self, model: Any, side: int, resample: int) -> None:
        super().__init__()
        self.model, self.resize = model, Resize(side, resample)

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        found = self.model(pixel_values=self.resize(photos), output_hidden_states=True, return_dict=True)
        maps = [_map(each) for each in found.hidden_states]
        pooled, last = getattr(found, "pooler_output", None), found.last_hidden_state
        if pooled is not None:
            vectors = pooled.flatten(1)
        elif last.ndim == 3 and last.shape[1] > maps[-1].shape[2] ** 2:
            vectors = last[:, 0]  # the class token
        else:
            vectors = last.mean(1) if last.ndim == 3 else last.mean((2, 3))
        return (*_three(maps, self.resize.side), vectors)


def _map(hidden: Tensor) -> Tensor:
    """Return hidden states as a map (N, C, h, w), without tokens that stand for no place."""
    if hidden.ndim == 4:
        return hidden
    count, channels = int(hidden.shape[1]), int(hidden.shape[2])
    side = math.isqrt(count)  # there are always fewer other tokens than the next larger square would take
    return hidden[:, count - side**2 :].transpose(1, 2).reshape(-1, channels, side, side)


def _three(maps: Sequence[Tensor], side: int) -> list[Tensor]:
    """Return the last maps of about a quarter, an eighth and a sixteenth of a photo's side; or early to later ones."""
    last = {int(each.shape[-1]): each for each in maps}
    sizes = sorted((size for size in last if 3 * size <= side), reverse=True)
    if len(sizes) >= 3:
        return [last[size] for size in sizes[:3]]
    return [maps[max(1, round((len(maps) - 1) * part / 4))] for part in (1, 2, 3)]


# ---- models of Hugging Face


def described(files: Files) -> tuple[dict[str, Any], tuple[float, ...], tuple[float, ...]]:
    """Return what is known of a model without its weights, for JSON; and the mean and deviation of pixels of 0..1."""
    said = read_preprocessing(files.folder)
    # A crop is taken for the size: a photo comes squeezed to a square, and its edges show the room, too.
    height, width = said.crop or said.size or (SIZE, SIZE)
    if height != width:
        raise SameSpaceError(f"{files.folder} takes photos of {width} × {height}, not squares: give another model")
    config = {name: value for name, value in files.config.items() if name not in _NOISE and name[0] != "_"}
    mean, std = (tuple(number / (255 * said.scale) for number in numbers) for numbers in (said.mean, said.std))
    if not (all(abs(number) <= 10 for number in (*mean, *std)) and min(std) >= 0.01):
        raise SameSpaceError(f"{files.folder} says that pixels are scaled to strange numbers: give another model")
    return {"config": config, "side": height, "resample": said.resample}, mean, std


def opened(files: Files, about: dict[str, Any]) -> Pretrained:
    """Return the network of a model's files."""
    _refuse_kind(about["config"], str(files.folder))
    model, missing = open_model(files.folder, **_OPTIONS)
    if any(not name.startswith("pooler.") for name in missing):
        raise foreign_weights(files.folder)
    return _checked(model, about, str(files.folder), bool(missing))


def unfilled(about: dict[str, Any], name: str) -> Pretrained:
    """Return the network that `described` tells of, with random weights."""
    _refuse_kind(about["config"], name)
    return _checked(model_of(about["config"], name, **_OPTIONS), about, name)


def _refuse_kind(config: dict[str, Any], name: str) -> None:
    kind = config.get("model_type")
    if kind in _OUT_OF_ORDER:
        raise SameSpaceError(f"{name} is of kind {kind}, whose places are in an order of its own: give another model")


def _keep_positions(model: Any) -> None:
    """Take a transformer's interpolated positions for constants while it is traced: some cannot be written as ONNX.

    Whoever traces a network has run it on a photo before.
    """
    embeddings: Any = getattr(model, "embeddings", None)
    interpolate = getattr(embeddings, "interpolate_pos_encoding", None)
    if interpolate is None:
        return
    latest: list[Tensor] = []

    def positions(*given: Any, **named: Any) -> Tensor:
        if not (torch.onnx.is_in_onnx_export() and latest):
            latest[:] = [interpolate(*given, **named)]
        return latest[0]

    embeddings.interpolate_pos_encoding = positions


def _checked(model: Any, about: dict[str, Any], name: str, lacks_pooler: bool = False) -> Pretrained:
    if getattr(model, "main_input_name", "") != "pixel_values":
        raise SameSpaceError(f"{name} is no model of photos alone ({type(model).__name__}): give a vision model")
    # A pooler with a layer of its own is trained for other ends, or not at all; many files lack it.
    if lacks_pooler or hasattr(getattr(model, "pooler", None), "dense"):
        model.pooler = None
    _keep_positions(model)
    network = Pretrained(model, about["side"], about["resample"]).eval()
    try:
        with torch.no_grad():
            photo = torch.linspace(-1, 1, 3 * SIZE**2).view(1, 3, SIZE, SIZE)  # no two places are alike
            *maps, vectors = network(photo)
            again = network(photo)[-1]
        if vectors.ndim != 2 or any(min(each.shape[2:]) < 2 for each in maps):
            raise ValueError("no places")
    except Exception as error:  # of many kinds, by network
        raise SameSpaceError(
            f"{name} gives no maps of its blocks for photos of {about['side']} × {about['side']}: give another model"
        ) from error
    if not torch.equal(vectors, again):  # a masked autoencoder looks at other places each time
        raise SameSpaceError(f"{name} gives other numbers each time that it sees a photo: give another model")
    return network
