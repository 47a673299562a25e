"""Make a torchvision backbone by name: fetch its weights, cut it in three, and name it by a fingerprint."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from samespace.base.errors import SameSpaceError, exit_status
from samespace.base.photos import SIZE
from samespace.model.weights import fetch_imagenet, read_state

# Every torchvision classifier here was trained on photos scaled to 0..1, then normalised with these; Inception,
# once its own input rescaling is left out, with 0.5 and 0.5.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INCEPTION_MEAN, INCEPTION_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


class Backbone(nn.Module):
    """A classifier without its last layer, in three pieces that run one after another.

    early:  photo (N, 3, S, S) → a map at a sixteenth of its size, whose cells are the photo's parts
    middle: → what the last convolution sees, or the residual block that it is in
    last:   → embedding (N, dim); all that learns when `trainable` is `last_conv`
    """

    def __init__(self, name: str, early: nn.Module, middle: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.early, self.middle, self.last = early, middle, last
        inception = name == "inception_v3"
        self.mean: tuple[float, ...] = INCEPTION_MEAN if inception else IMAGENET_MEAN
        self.std: tuple[float, ...] = INCEPTION_STD if inception else IMAGENET_STD

    def normalise(self, pixels: Tensor) -> Tensor:
        """Scale photos (N, 3, S, S) of 0..255 to what the network was trained on."""
        mean = torch.tensor(self.mean, device=pixels.device).view(3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(3, 1, 1)
        return (pixels.float() / 255 - mean) / std

    def forward(self, pixels: Tensor) -> Tensor:
        """Turn photos (N, 3, S, S) of 0..255 into embeddings (N, dim)."""
        return self.last(self.middle(self.early(self.normalise(pixels))))

    def stages(self, pixels: Tensor) -> list[Tensor]:
        """Return the early half's last maps at each of its three smallest sizes, the largest first.

        For photos (N, 3, S, S) of 0..255 they are about a quarter, an eighth and a sixteenth of the photo's size.
        """
        maps = self.normalise(pixels).contiguous(memory_format=torch.channels_last)
        by_size: dict[int, Tensor] = {}
        for layer in cast(nn.Sequential, self.early):
            maps = layer(maps)
            by_size[int(maps.shape[-1])] = maps  # a tensor while the network is traced
        return [by_size[size] for size in sorted(by_size)[2::-1]]

    def shapes(self) -> tuple[tuple[int, int, int], tuple[int, int, int], int]:
        """Return shapes for one photo: parts (C, h, w), what the last convolution sees (C, h, w), and the size dim."""
        device = next(self.parameters()).device
        with torch.no_grad():
            parts = self.early(torch.zeros(1, 3, SIZE, SIZE, device=device))
            seen = self.middle(parts)
            return tuple(parts.shape[1:]), tuple(seen.shape[1:]), self.last(seen).shape[1]

    def fingerprint(self) -> str:
        """Return a fingerprint of the frozen half: its weights, its cut, and the size that photos are squeezed to."""
        digest = hashlib.sha256(f"{self.name} {SIZE} {self.mean} {self.std}".encode())
        for piece in (self.early, self.middle):
            for name, value in piece.state_dict().items():
                digest.update(name.encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


Pieces = tuple[nn.Module, nn.Module, nn.Module]
Net = Any  # a torchvision network, whose layers are attributes without types


def _mobilenet(cut: int) -> Callable[[Net], Pieces]:
    def cut_up(net: Net) -> Pieces:
        head = [layer for layer in net.classifier[:-1] if not isinstance(layer, nn.Dropout)]
        last = nn.Sequential(PooledConv(*net.features[-1]), *head)
        return net.features[:cut], net.features[cut:-1], last

    return cut_up


def _resnet(net: Net) -> Pieces:
    early = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3)
    return early, net.layer4[:-1], nn.Sequential(net.layer4[-1], net.avgpool, nn.Flatten())


def _inception(net: Net) -> Pieces:
    children = {name: child for name, child in net.named_children() if name != "AuxLogits"}
    names = list(children)
    parts, last = names.index("Mixed_6e") + 1, names.index("Mixed_7c")
    layers = list(children.values())
    tail = nn.Sequential(children["Mixed_7c"], children["avgpool"], nn.Flatten())
    return nn.Sequential(*layers[:parts]), nn.Sequential(*layers[parts:last]), tail


def _vgg(net: Net) -> Pieces:
    fully = [layer for layer in net.classifier[:-1] if not isinstance(layer, nn.Dropout)]
    return net.features[:24], net.features[24:28], nn.Sequential(net.features[28:], Cells(7), nn.Flatten(), *fully)


CUTS: dict[str, Callable[[Net], Pieces]] = {
    "mobilenet_v3_large": _mobilenet(13),
    "mobilenet_v3_small": _mobilenet(9),
    "mobilenet_v2": _mobilenet(14),
    "resnet50": _resnet,
    "inception_v3": _inception,
    "vgg16": _vgg,
}


def make_backbone(name: str, weights: str = "imagenet") -> Backbone:
    """Return the backbone called `name` with `weights`: "imagenet", "none" (random, seeded) or a state-dict file."""
    if weights == "none":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = _torchvisions(name)
            _initialise(net)
    else:
        net = _unfilled(name)
        state = fetch_imagenet(name) if weights == "imagenet" else read_state(Path(weights), name)
        _load(net, state, name, weights)
    return _cut(net, name)


def make_unfilled_backbone(name: str) -> Backbone:
    """Return the backbone called `name`, whose weights are still to be loaded: quicker than with random ones."""
    return _cut(_unfilled(name), name)


def _torchvisions(name: str) -> Net:
    import torchvision  # takes as long as torch itself

    if name not in CUTS:
        raise SameSpaceError(f"unknown backbone {name!r}: choose one of {', '.join(CUTS)}")
    options = {"transform_input": False, "init_weights": False} if name == "inception_v3" else {}
    return torchvision.models.get_model(name, weights=None, **options)


def _unfilled(name: str) -> Net:
    with torch.device("meta"):
        net = _torchvisions(name)
    return net.to_empty(device="cpu")


def _cut(net: Net, name: str) -> Backbone:
    early, middle, last = CUTS[name](net.eval())
    early, middle = (_merge(piece, fuse_conv_bn_eval) for piece in (early, middle))
    backbone = Backbone(name, early, middle, _merge(last, FoldedConv)).eval()
    return backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _initialise(net: nn.Module) -> None:
    """Draw random weights; torchvision's own, without batch norm in training mode, vanish in half precision."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)


def _merge(module: nn.Module, merge: Callable[[nn.Conv2d, nn.BatchNorm2d], nn.Module]) -> nn.Module:
    """Merge each convolution with the batch norm behind it: the same answers in about half the time."""
    names, children = [name for name, _ in module.named_children()], list(module.children())
    for name, after, child, norm in zip(names, names[1:], children, children[1:], strict=False):
        if isinstance(child, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, merge(child, norm))
            setattr(module, after, nn.Identity())
    for child in module.children():
        if not isinstance(child, (FoldedConv, PooledConv)):
            _merge(child, merge)
    return module


class FoldedConv(nn.Module):
    """A convolution and its batch norm whose weights, scale and shift still learn; ImageNet's statistics stay.

    With fixed statistics a batch norm only scales and shifts. So at each step it is folded into the weights, which are
    small, instead of being run over the maps, which are large.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the one convolution that does what both do."""
        mean, variance = cast(Tensor, self.norm.running_mean), cast(Tensor, self.norm.running_var)
        scale = self.norm.weight * torch.rsqrt(variance + self.norm.eps)
        return self.conv.weight * scale[:, None, None, None], self.norm.bias - mean * scale

    def forward(self, maps: Tensor) -> Tensor:
        conv, padding = self.conv, cast(tuple[int, int], self.conv.padding)
        return F.conv2d(maps, *self.folded(), conv.stride, padding, conv.dilation, conv.groups)


class PooledConv(nn.Module):
    """A 1×1 convolution, its batch norm, activation and global mean, (N, C, h, w) → (N, C'), as one matrix product.

    Places stay rows from the product to the mean, forward and backward: half the time of the separate layers.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, activation: nn.Module) -> None:
        super().__init__()
        self.conv, self.activation = FoldedConv(conv, norm), activation

    def forward(self, maps: Tensor) -> Tensor:
        weight, bias = self.conv.folded()
        places = F.linear(maps.flatten(2).transpose(1, 2), weight.flatten(1), bias)
        return self.activation(places).mean(1)


class Cells(nn.Module):
    """Means of maps (N, C, S, S) in side × side cells, without weights."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, maps: Tensor) -> Tensor:
        return pooled(maps, self.side)


def pooled(maps: Tensor, side: int) -> Tensor:
    """Return the means of maps (N, C, S, S) in side × side cells, as torch's adaptive pooling has them.

    Cells that overlap are matrix products: ONNX has nothing else for them.
    """
    here = int(maps.shape[-1])
    if here % side == 0:
        return F.adaptive_avg_pool2d(maps, side)
    edges = np.arange(side + 1) * here / side
    inside = (np.arange(here) + 1 > edges[:-1, None]) & (np.arange(here) < edges[1:, None])
    cells = torch.from_numpy((inside / inside.sum(1, keepdims=True)).astype(np.float32)).to(maps.device)
    return cells @ maps @ cells.T


def _load(net: Net, state: dict[str, Tensor], name: str, source: str) -> None:
    """Load all weights but those of the classifier's last layer and of auxiliary heads, which a backbone lacks."""
    last = "fc." if hasattr(net, "fc") else f"classifier.{len(net.classifier) - 1}."
    unused = (last, "AuxLogits.")
    wanted = {key: value for key, value in net.state_dict().items() if not key.startswith(unused)}
    given = {key: value for key, value in state.items() if not key.startswith(unused)}
    strange = sorted(
        {key for key in wanted.keys() ^ given.keys() if not key.endswith("num_batches_tracked")}
        | {key for key in wanted.keys() & given.keys() if wanted[key].shape != given[key].shape}
    )
    if strange:
        raise SameSpaceError(
            f"{source} does not hold weights of {name}: {len(strange)} layers differ, the first is {strange[0]}"
        )
    if not all(value.isfinite().all() for value in given.values()):
        raise SameSpaceError(f"{source} holds values that are not finite: fetch the file again")
    net.load_state_dict(given, strict=False)


def main(words: Sequence[str] | None = None) -> int:
    """Fetch a backbone's ImageNet weights into torch's cache, so that training needs no network later."""
    parser = argparse.ArgumentParser(prog="python -m samespace.model.backbone", description=main.__doc__)
    parser.add_argument("name", choices=CUTS, metavar="NAME", help=", ".join(CUTS))
    name = parser.parse_args(words).name
    return exit_status(lambda: make_backbone(name))


if __name__ == "__main__":
    sys.exit(main())
