"""Define what `head: compare` trains: how much each piece of evidence counts that two photos show one room.

Beside that it carries the materials of photos whose rooms are known. A library's photos are whitened together with
these, so that what tells rooms apart is learnt from both.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from samespace.base.arrays import Array, Ints
from samespace.base.errors import SameSpaceError
from samespace.model import materials
from samespace.model.backbone import Backbone
from samespace.model.network import Embeddings
from samespace.model.projection import Projection, fit

MOST = 1024  # photos that a model carries: 9 MB; more tell hardly more, and whitening takes the cube of their number
PRIOR = 20.0  # pairs that stand against as much surprise
USUAL = (7.5, 2.0)  # what likeness and proof count before anything is learnt
LIBRARY, ALONE = -6.0, -3.0  # the bias, where most pairs are of two rooms, and where half are


class Known(NamedTuple):
    """Photos whose rooms are known: their materials (M, D) of int8, and the numbers of their rooms (M,)."""

    rows: Array
    rooms: Ints


class Odds(nn.Module):
    """A logistic of likeness and proof, (N,) each, that can only rise with either; returns logits (N,)."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.logarithms = nn.Parameter(torch.tensor(USUAL).log())  # of the weights, which so stay above 0
        self.bias = nn.Parameter(torch.tensor(bias))

    def weights(self) -> tuple[float, float, float]:
        """Return what likeness and proof weigh, and the bias."""
        likeness, proof = self.logarithms.detach().exp().tolist()
        return likeness, proof, float(self.bias.detach())

    def forward(self, likeness: Tensor, proof: Tensor) -> Tensor:
        weights = self.logarithms.exp()
        return likeness * weights[0] + proof * weights[1] + self.bias


class RoomNetwork(nn.Module):
    """A backbone, the projection of its materials, photos of known rooms, and two sets of odds.

    `library` weighs the evidence among the photos of a library, `alone` that of two photos without one.
    """

    mean: Tensor
    matrix: Tensor
    rows: Tensor
    rooms: Tensor
    split: Tensor
    head_name, trainable = "compare", "head"

    def __init__(self, backbone: Backbone, known: Known, projection: Projection | None = None) -> None:
        """Fit the projection to the known photos, unless one is given."""
        super().__init__()
        whiten = projection or fit(known.rows, known.rooms)
        self.trunk = backbone.requires_grad_(False)  # its name in saved weights
        self.register_buffer("mean", torch.from_numpy(whiten.mean))
        self.register_buffer("matrix", torch.from_numpy(whiten.matrix).half())
        self.register_buffer("split", torch.tensor(whiten.split))
        self.register_buffer("rows", torch.from_numpy(known.rows))
        self.register_buffer("rooms", torch.from_numpy(known.rooms))
        self.library, self.alone = Odds(LIBRARY), Odds(ALONE)

    @property
    def backbone(self) -> Backbone:
        return self.trunk

    @property
    def known(self) -> Known:
        return Known(self.rows.cpu().numpy(), self.rooms.cpu().numpy())

    def forward(self, pieces: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of pairs, (N,) each, by both odds; pieces (N, 4) are likeness and proof for one, then for both.

        A method that distributed wrappers call: in use, each set of odds is called by itself.
        """
        likeness, proof, alike, shared = pieces.unbind(1)
        return self.library(likeness, proof), self.alone(alike, shared)

    def surprise(self) -> Tensor:
        """Return how unusual the weights are, in the loss of pairs: few pairs must not make little proof certain."""
        usual = torch.tensor(USUAL, device=self.mean.device).log()
        both = torch.stack([self.library.logarithms, self.alone.logarithms])
        return PRIOR * ((both - usual) ** 2).sum()

    def project(self, rows: Array) -> Array:
        """Return the vectors (N, d) of photos, by their materials (N, D); in half precision."""
        whiten = Projection(self.mean.cpu().numpy(), self.matrix.cpu().float().numpy(), int(self.split))
        return whiten(rows).astype(np.float16)

    @torch.no_grad()
    def embed(self, pixels: Tensor) -> Embeddings:
        """Return what is kept of photos (N, 3, S, S) of 0..255."""
        pixels = pixels.to(self.mean.device)
        maps = materials.see(pixels, self.backbone.stages(pixels))
        rows = materials.describe(maps, pixels.permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8))
        return Embeddings(torch.from_numpy(self.project(rows)), torch.empty(len(rows), 0, 0, dtype=torch.int8))


def rebuilt(backbone: Backbone, state: dict[str, Tensor]) -> RoomNetwork:
    """Return the network whose state this is."""
    mean, matrix, rows, rooms = (state[name] for name in ("mean", "matrix", "rows", "rooms"))
    (count, width), dim = rows.shape, matrix.shape[1]
    if mean.shape != (width,) or matrix.shape[0] != width or rooms.shape != (count,) or count < 2:
        raise ValueError("its parts do not fit together")
    if not 0 < int(state["split"]) < dim or rows.dtype != torch.int8 or rooms.dtype != torch.int64:
        raise ValueError("a number is out of range")
    projection = Projection(mean.float().numpy(), matrix.float().numpy(), int(state["split"]))
    network = RoomNetwork(backbone, Known(rows.numpy(), rooms.numpy()), projection)
    network.load_state_dict(state)
    return network


def choose_known(rows: Array, rooms: Ints) -> Known:
    """Return up to `MOST` of labelled photos, whole rooms, and rather such as have several photos."""
    numbers, counts = np.unique(rooms, return_counts=True)
    shuffled = np.random.default_rng(0).permutation(len(numbers))
    order = shuffled[np.argsort(counts[shuffled] < 2, kind="stable")]
    fits = order[counts[order].cumsum() <= MOST]
    chosen = np.flatnonzero(np.isin(rooms, numbers[fits]))
    if len(chosen) < 2:
        raise SameSpaceError(f"{len(chosen)} photos of known rooms are too few to learn from: give more")
    return Known(np.ascontiguousarray(rows[chosen]), rooms[chosen])
