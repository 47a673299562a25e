"""An autoencoder of vectors: its bottleneck keeps what rebuilds a vector, and which others are near it."""

from __future__ import annotations

import copy
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samespace.base import progress
from samespace.base.arrays import Array, unit
from samespace.search.compression import Compression

HIDDEN = 1024
HELD_OUT = 0.1
EPOCHS, PATIENCE = 60, 8
BATCH = 256
LEARNING_RATE = 0.001
TEMPERATURE = 0.02  # of the softmax over cosines: about the ten nearest of a batch weigh anything


class Autoencoder(nn.Module):
    """Takes vectors of length 1, (N, D), through a bottleneck of `dim` and back."""

    mean: Tensor
    spread: Tensor

    def __init__(self, dim_in: int, dim: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim_in))
        self.register_buffer("spread", torch.ones(()))
        self.encoder = nn.Sequential(nn.Linear(dim_in, hidden), nn.ReLU(), nn.Linear(hidden, dim))
        self.decoder = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim_in))

    def fit_scale(self, vectors: Tensor) -> None:
        """Set mean and spread, so that what the first layer sees is about 0, and about 1 large."""
        self.mean = vectors.mean(0)
        self.spread = (vectors - self.mean).square().mean().sqrt().clamp_min(1e-6)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is kept of vectors (N, D), (N, dim), and what is rebuilt from that, (N, D)."""
        kept = self.encoder((vectors - self.mean) / self.spread)
        return kept, self.decoder(kept) * self.spread + self.mean

    def compression(self) -> Compression:
        """Return the encoder alone, with the scale in its first layer."""
        with torch.no_grad():
            first, last = cast(nn.Linear, self.encoder[0]), cast(nn.Linear, self.encoder[2])
            weight = first.weight / self.spread
            layers = [(weight, first.bias - weight @ self.mean), (last.weight, last.bias)]
            return Compression("autoencoder", [(w.cpu().numpy(), b.cpu().numpy()) for w, b in layers])


def loss_of(vectors: Tensor, kept: Tensor, back: Tensor) -> Tensor:
    """Return the reconstruction error plus the change in neighbourhoods within the batch."""
    elsewhere = 1 - F.cosine_similarity(back, vectors).mean()
    before, after = log_nearness(vectors).exp(), log_nearness(F.normalize(kept))
    return 10 * elsewhere - (before * after).sum(1).mean()


def log_nearness(vectors: Tensor) -> Tensor:
    """Return log shares (N, N) of how near the others of N vectors of length 1 are to each; none is near itself."""
    cosines = vectors @ vectors.T / TEMPERATURE
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    return cosines.masked_fill(itself, -1e4).log_softmax(1)


def split(count: int) -> tuple[Tensor, Tensor]:
    """Return the rows to learn from and those to validate on, the same every time."""
    order = torch.from_numpy(np.random.default_rng(0).permutation(count))
    held = max(2, round(HELD_OUT * count))
    return order[held:], order[:held]


def to_tensor(vectors: Array) -> Tensor:
    """Return vectors (N, D) of any length as a tensor, scaled to length 1."""
    return torch.from_numpy(unit(vectors.astype(np.float32)))


def train(
    vectors: Array,
    dim: int,
    epochs: int = EPOCHS,
    hidden: int = HIDDEN,
    learning_rate: float = LEARNING_RATE,
    batch: int = BATCH,
) -> Compression:
    """Train on vectors (N, D), the same way every time on one machine, until held-out vectors gain no more."""
    everything = to_tensor(vectors)
    learnt, held = (everything[rows] for rows in split(len(everything)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Autoencoder(vectors.shape[1], dim, hidden)
        network.fit_scale(learnt)
        return _train(network, learnt, held, epochs, learning_rate, batch).compression()


def _train(
    network: Autoencoder, learnt: Tensor, held: Tensor, epochs: int, learning_rate: float, batch: int
) -> Autoencoder:
    optimizer = torch.optim.Adam(network.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    best, lowest, since = copy.deepcopy(network), float("inf"), 0
    for _ in progress.over(range(epochs), "autoencoder", unit=" epochs"):
        for rows in torch.randperm(len(learnt)).tensor_split(-(-len(learnt) // batch)):
            optimizer.zero_grad()
            loss_of(learnt[rows], *network(learnt[rows])).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
        loss, since = validation_loss(network, held), since + 1
        if loss < lowest:
            best, lowest, since = copy.deepcopy(network), loss, 0
        if since == PATIENCE:
            break
    return best


@torch.no_grad()
def validation_loss(network: Autoencoder, vectors: Tensor) -> float:
    """Return the mean loss over rows, computed a batch at a time."""
    batches = vectors.tensor_split(-(-len(vectors) // BATCH))
    return sum(float(loss_of(batch, *network(batch))) * len(batch) for batch in batches) / len(vectors)
