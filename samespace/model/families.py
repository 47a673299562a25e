"""Know where each of torchvision's networks that can be a backbone is cut in three."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from samespace.model.layers import Cells, PooledConv
from samespace.model.names import SIZES

Pieces = tuple[nn.Module, nn.Module, nn.Module]  # see `Backbone`
Net = Any  # a torchvision network, whose layers are attributes without types
Cut = Callable[[Net], Pieces]


def _mobilenet(cut: int) -> Cut:
    def cut_up(net: Net) -> Pieces:
        head = [layer for layer in net.classifier[:-1] if not isinstance(layer, nn.Dropout)]
        last = nn.Sequential(PooledConv(*net.features[-1]), *head)
        return net.features[:cut], net.features[cut:-1], last

    return cut_up


def _resnet(net: Net) -> Pieces:
    early = (net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3)
    return _before_the_last_block(early, net.layer4, net.avgpool, nn.Flatten())


def _regnet(net: Net) -> Pieces:
    stages = net.trunk_output
    early = (net.stem, stages.block1, stages.block2, stages.block3)
    return _before_the_last_block(early, stages.block4, net.avgpool, nn.Flatten())


def _convnext(net: Net) -> Pieces:
    *early, smaller, blocks = net.features
    return _before_the_last_block(early, (smaller, *blocks), net.avgpool, *net.classifier[:2])


def _swin(net: Net) -> Pieces:
    embed, *stages, smaller, blocks = net.features
    early = (nn.Sequential(embed, net.permute), *map(ChannelsFirst, stages))
    late = map(ChannelsFirst, (smaller, *blocks))
    return _before_the_last_block(early, late, ChannelsFirst(net.norm), net.avgpool, nn.Flatten())


def _before_the_last_block(early: Iterable[nn.Module], late: Iterable[nn.Module], *after: nn.Module) -> Pieces:
    """Return the pieces of a network whose late blocks see maps of a 32nd: the last one learns, and what follows it."""
    *middle, last = late
    return nn.Sequential(*early), nn.Sequential(*middle), nn.Sequential(last, *after)


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


class ChannelsFirst(nn.Module):
    """A layer of maps (N, h, w, C), for maps (N, C, h, w) as everything else takes them."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, maps: Tensor) -> Tensor:
        return self.layer(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


# What is measured, and what tests run in full.
CUTS: dict[str, Cut] = {
    "mobilenet_v3_large": _mobilenet(13),
    "mobilenet_v3_small": _mobilenet(9),
    "mobilenet_v2": _mobilenet(14),
    "resnet50": _resnet,
    "inception_v3": _inception,
    "vgg16": _vgg,
}

_FAMILIES: dict[str, Cut | None] = {
    "resnet": _resnet,
    "resnext": _resnet,
    "wide_resnet": _resnet,
    "regnet_x_": _regnet,
    "regnet_y_": _regnet,
    "efficientnet_": _mobilenet(6),
    "convnext_": _convnext,
    "swin_": _swin,
    "vit_": None,
}

# How to cut each network; None for transformers, which are used whole: see whole.py.
NAMES: dict[str, Cut | None] = {
    **CUTS,
    **{family + size: cut for family, cut in _FAMILIES.items() for size in SIZES[family]},
}
