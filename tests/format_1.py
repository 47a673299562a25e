"""Make models of format 1 as versions before 0.2 trained them: they are loaded still, and made only here."""

from __future__ import annotations

import torch
from torch import Tensor

from samespace.base.arrays import Array
from samespace.model.feature_bank import Maps
from samespace.model.network import BLOCK, CompareHead, TwinNetwork, Whitening


@torch.no_grad()
def fit_network(network: TwinNetwork, maps: Maps) -> None:
    """Fit the two whitenings of `compare` to the training photos' maps."""
    if isinstance(network.head, CompareHead):
        # A photo has one vector and hundreds of parts, so a few photos show how parts vary.
        parts = _spread_out(maps.parts, 256)[:, 0].float()
        fit_whitening(network.whiten_parts, parts.flatten(2).transpose(1, 2).reshape(-1, 1, parts.shape[1]))
        seen = _spread_out(maps.seen, 4096)
        vectors = torch.cat(
            [network.backbone.last(photos.float()) for photos in torch.split(seen.flatten(0, 1), BLOCK)]
        )
        fit_whitening(network.whiten_vectors, vectors.view(*seen.shape[:2], -1))


@torch.no_grad()
def fit_head(head: CompareHead, evidence: Array) -> None:
    """Bring both pieces of sample evidence, (N, 2), to one scale."""
    head.centre.copy_(torch.from_numpy(evidence.mean(0)))
    head.spread.copy_(torch.from_numpy(evidence.std(0).clip(1e-6)))


@torch.no_grad()
def fit_whitening(whitening: Whitening, samples: Tensor) -> None:
    """Fit a whitening to samples (N, V, dim): N photos, or places in photos, in V variants.

    An axis is shortened by how much photos differ along it, and by how much one photo's variants do: what a flip
    changes says little about a room. At most a third as many axes are kept as there are samples; the rest is zero.
    """
    samples = samples.double()
    rows = samples.flatten(0, 1)
    mean = rows.mean(0)
    spread, axes = torch.linalg.eigh(_covariance(rows - mean))
    kept = min(whitening.matrix.shape[1], max(1, len(rows) // 3))
    spread, axes = spread.flip(0)[:kept], axes.flip(1)[:, :kept]
    # An axis without spread, scaled up, would be rounding noise.
    kept = int((spread > 1e-9 * spread[0]).sum())
    projection = axes[:, :kept] / spread[:kept].sqrt()
    if samples.shape[1] > 1:
        within_photos = (samples - samples.mean(1, keepdim=True)).flatten(0, 1) @ projection
        projection = projection @ _inverse_root(1, within_photos)
    whitening.mean.copy_(mean)
    whitening.matrix.zero_()
    whitening.matrix[:, :kept] = projection


def _covariance(centred: Tensor) -> Tensor:
    return centred.T @ centred / len(centred)


def _inverse_root(ridge: float, centred: Tensor) -> Tensor:
    """Return (ridge + covariance)^(-1/2)."""
    spread, axes = torch.linalg.eigh(_covariance(centred))
    root: Tensor = (axes / (ridge + spread.clamp(min=0)).sqrt()) @ axes.T
    return root


def _spread_out(photos: Tensor, most: int) -> Tensor:
    """Return about `most` of N photos, evenly spaced."""
    return photos[:: max(1, len(photos) // most)]
