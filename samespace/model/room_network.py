"""Define what `head: compare` trains: how much each piece of evidence counts that two photos show one room.

Beside that it carries the materials of photos whose rooms are known. A library's photos are whitened together with
these, so that what tells rooms apart is learnt from both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from samespace.model.backbone import Backbone
from samespace.model.known import Known
from samespace.model.projection import Projection, fit

PRIOR = 20.0  # pairs that stand against as much surprise
USUAL = (7.5, 2.0)  # what likeness and proof count before anything is learnt
LIBRARY, ALONE = -6.0, -3.0  # the bias, where most pairs are of two rooms, and where half are


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
