"""Layers that backbones are made of: convolutions merged with the batch norm behind them, and means of cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def merge(module: nn.Module, both: Callable[[nn.Conv2d, nn.BatchNorm2d], nn.Module]) -> nn.Module:
    """Merge each convolution with the batch norm behind it: the same answers in about half the time."""
    names, children = [name for name, _ in module.named_children()], list(module.children())
    for name, after, child, norm in zip(names, names[1:], children, children[1:], strict=False):
        if isinstance(child, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, both(child, norm))
            setattr(module, after, nn.Identity())
    for child in module.children():
        if not isinstance(child, (FoldedConv, PooledConv)):
            merge(child, both)
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
    if here == side:
        return maps
    if here % side == 0:
        if torch.onnx.is_in_onnx_export():  # which knows no sizes after attention, and writes the same
            return F.avg_pool2d(maps, here // side)
        return F.adaptive_avg_pool2d(maps, side)
    edges = np.arange(side + 1) * here / side
    inside = (np.arange(here) + 1 > edges[:-1, None]) & (np.arange(here) < edges[1:, None])
    cells = torch.from_numpy((inside / inside.sum(1, keepdims=True)).astype(np.float32)).to(maps.device)
    return cells @ maps @ cells.T
