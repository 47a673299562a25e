"""Define the twin network of `concat`, and of models of format 1: one tower for both photos, and a head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samespace.base.errors import SameSpaceError
from samespace.model.backbone import Backbone
from samespace.model.feature_bank import frozen_maps
from samespace.model.heads import CODE, Embeddings

HEADS = ("compare", "concat")
TRAINABLE = ("head", "last_conv")
# What ranks held-out training spaces best; `benchmarks/quality.py --select` prints the table.
DEFAULT_TRAINABLE = {"compare": "head", "concat": "last_conv"}

VECTOR_DIM = 512
PART_DIM = 32
BLOCK = 256
WIDTHS = (2048, 1024, 512)  # of the hidden layers of `concat`


class Frozen(NamedTuple):
    """The inputs of the tower for N photos, which never change in training.

    start: (N, dim) embeddings, or (N, C, h, w) maps in half precision where the last convolution learns
    parts: (N, K, 32) codes, or (N, 0, 0) for a head that does not use them
    """

    start: Tensor
    parts: Tensor

    def take(self, rows: Tensor) -> Frozen:
        return Frozen(self.start[rows], self.parts[rows])


class Whitening(nn.Module):
    """A map that gives all axes equal spread, so that no common trait decides a cosine."""

    mean: Tensor
    matrix: Tensor

    def __init__(self, dim: int, kept: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("matrix", torch.eye(dim, kept))

    def forward(self, samples: Tensor) -> Tensor:
        """Map samples (..., dim) to (..., kept), of length 1."""
        return F.normalize((samples - self.mean) @ self.matrix, dim=-1)


class CompareHead(nn.Module):
    """The weights of the head that models of format 1 have for `compare`; heads.py weighs by them."""

    centre: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(2))
        self.register_buffer("spread", torch.ones(2))
        self.weight = nn.Parameter(torch.ones(2))
        self.bias = nn.Parameter(torch.zeros(()))


class ConcatHead(nn.Module):
    """The classic head: both embeddings side by side through an MLP. In use it takes the mean of both orders."""

    def __init__(self, dim: int, dropouts: Sequence[float]) -> None:
        super().__init__()
        sizes = (2 * dim, *WIDTHS)
        layers: list[nn.Module] = []
        for before, after, dropout in zip(sizes[:-1], sizes[1:], dropouts, strict=True):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        self.mlp = nn.Sequential(*layers, nn.Linear(WIDTHS[-1], 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, first: Embeddings, second: Embeddings) -> Tensor:
        logits = self._one_way(first, second)
        return logits if self.training else (logits + self._one_way(second, first)) / 2

    def _one_way(self, first: Embeddings, second: Embeddings) -> Tensor:
        return self.mlp(torch.cat([first.vectors, second.vectors], 1)).squeeze(1)


class TwinNetwork(nn.Module):
    """Photos → `freeze` → `tower` → `head` → a logit for each pair; `freeze` is never trained, so it runs once."""

    def __init__(
        self,
        backbone: Backbone,
        head: str = "compare",
        trainable: str | None = None,
        dropouts: Sequence[float] = (0.4, 0.4, 0.4),
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise SameSpaceError(f"unknown head {head!r}: choose one of {', '.join(HEADS)}")
        self.trainable = trainable or (DEFAULT_TRAINABLE[head] if backbone.has_last else "head")
        if self.trainable == "last_conv" and not backbone.has_last:
            raise SameSpaceError(f"{backbone.name} has no last convolution that could learn: set trainable to head")
        if self.trainable not in TRAINABLE:
            raise SameSpaceError(f"trainable cannot be {trainable!r}: choose one of {', '.join(TRAINABLE)}")
        self.trunk = backbone.requires_grad_(False)  # its name in saved weights
        self.trunk.last.requires_grad_(self.trainable == "last_conv")
        (channels, _, _), _, dim = backbone.shapes()
        self.head_name = head
        self.head: CompareHead | ConcatHead
        if head == "compare":
            self.whiten_vectors = Whitening(dim, min(VECTOR_DIM, dim))
            self.whiten_parts = Whitening(channels, min(PART_DIM, channels))
            self.head = CompareHead()
        else:
            self.head = ConcatHead(dim, dropouts)

    @property
    def backbone(self) -> Backbone:
        return self.trunk

    @torch.no_grad()
    def freeze(self, parts: Tensor, seen: Tensor) -> Frozen:
        """Return the tower's inputs, N or N·V rows, for maps of shape (N, C, h, w) or (N, V, C, h, w)."""
        parts, seen = (maps.flatten(0, -4) for maps in (parts, seen))
        blocks = [
            self.freeze_block(*both) for both in zip(torch.split(parts, BLOCK), torch.split(seen, BLOCK), strict=True)
        ]
        return Frozen(*(torch.cat(column) for column in zip(*blocks, strict=True)))

    def freeze_block(self, parts: Tensor, seen: Tensor) -> Frozen:
        """Return the tower's inputs for a few photos' maps, (N, C, h, w)."""
        start = seen.to(self._device) if self.trainable == "last_conv" else self._last(seen)
        if not isinstance(self.head, CompareHead):
            return Frozen(start, torch.empty(len(start), 0, 0, dtype=torch.int8, device=start.device))
        places = parts.to(self._device).float().flatten(2).transpose(1, 2)  # (N, K, C)
        return Frozen(start, (self.whiten_parts(places) * CODE).round().to(torch.int8))

    def _last(self, seen: Tensor) -> Tensor:
        return self.backbone.last(seen.to(self._device).float())

    @property
    def _device(self) -> torch.device:
        return next(self.backbone.parameters()).device

    def tower(self, frozen: Frozen) -> Embeddings:
        """Run the half that both photos share."""
        vectors = self._last(frozen.start) if self.trainable == "last_conv" else frozen.start
        if isinstance(self.head, CompareHead):
            vectors = self.whiten_vectors(vectors)
        return Embeddings(vectors, frozen.parts)

    def forward(self, start0: Tensor, parts0: Tensor, start1: Tensor, parts1: Tensor) -> Tensor:
        """Return logits (N,) of N pairs of frozen photos; plain tensors, as distributed wrappers expect.

        Only `concat` learns.
        """
        return self.head(self.tower(Frozen(start0, parts0)), self.tower(Frozen(start1, parts1)))

    @torch.no_grad()
    def embed(self, pixels: Tensor) -> Embeddings:
        """Return what is kept of photos (N, 3, S, S) of 0..255."""
        return self.embed_frozen(self.freeze(*frozen_maps(pixels.to(self._device), self.backbone)))

    @torch.no_grad()
    def embed_frozen(self, frozen: Frozen) -> Embeddings:
        """Run the tower on any number of photos, a block at a time."""
        blocks = [
            self.tower(Frozen(*both))
            for both in zip(torch.split(frozen.start, BLOCK), torch.split(frozen.parts, BLOCK), strict=True)
        ]
        return Embeddings(*(torch.cat(column) for column in zip(*blocks, strict=True)))
