"""Weigh what a trained network keeps of two photos: the heads of models in use, on numpy."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from samespace.base.arrays import Array, Doubles, Floats
from samespace.model.known import Known
from samespace.model.points import strength
from samespace.model.projection import Projection

CODE = 127  # parts are kept as integers of -127..127: 8 KB a photo


class Embeddings(NamedTuple):
    """Hold what is kept of N photos to compare them: vectors (N, D), and parts (N, K, 32) of int8 or (N, 0, 0).

    They are arrays; while a network learns, they are tensors.
    """

    vectors: Any
    parts: Any

    def take(self, rows: Any) -> Embeddings:
        """Return the photos of these rows."""
        return Embeddings(self.vectors[rows], self.parts[rows])


def to_embeddings(columns: Mapping[str, Array]) -> Embeddings:
    """Return an extractor's columns, N rows each, as the embeddings of N photos."""
    vectors = columns["vectors"]
    return Embeddings(vectors, columns.get("parts", np.empty((len(vectors), 0, 0), np.int8)))


class Weights(NamedTuple):
    """The weight of each piece of evidence in the logarithm of the odds."""

    likeness: float
    proof: float
    bias: float

    def logits(self, likeness: Array, proof: Array | float) -> Doubles:
        """Return the logarithms of the odds, (N,), by two pieces of evidence, (N,) each."""
        return self.likeness * likeness.astype(np.float64) + self.proof * proof + self.bias


class RoomHead:
    """The head of format 2: a projection of materials, photos of known rooms, and what evidence weighs.

    `library` weighs it among the photos of a library, `alone` for two photos without one.
    """

    def __init__(self, weights: Mapping[str, Array]) -> None:
        """Take the head's weights by their saved names; raise KeyError or ValueError if they do not fit together."""
        mean, matrix, rows, rooms = (weights[name] for name in ("mean", "matrix", "rows", "rooms"))
        (count, width), (_, dim), split = rows.shape, matrix.shape, int(weights["split"])
        if mean.shape != (width,) or matrix.shape[0] != width or rooms.shape != (count,) or count < 2:
            raise ValueError("its parts do not fit together")
        if not 0 < split < dim or rows.dtype != np.int8 or rooms.dtype != np.int64:
            raise ValueError("a number is out of range")
        self.known = Known(rows, rooms)
        self.dim = dim
        self._whiten = Projection(mean.astype(np.float32), matrix.astype(np.float32), split)
        self.library, self.alone = _weights(weights, "library"), _weights(weights, "alone")

    def project(self, rows: Array) -> Array:
        """Return the vectors (N, d) of photos, by their materials (N, D); in half precision."""
        return self._whiten(rows).astype(np.float16)

    def logits(self, first: Embeddings, second: Embeddings, shared: int) -> Doubles:
        """Return the logits (N,) of pairs that share so many points."""
        proof = float(strength(np.array([shared]))[0])
        return self.alone.logits(_cosines(first, second), proof)


def _weights(weights: Mapping[str, Array], name: str) -> Weights:
    with np.errstate(over="ignore"):
        likeness, proof = np.exp(weights[f"{name}.logarithms"]).tolist()
    if not likeness + proof < np.inf:
        raise ValueError("a number is out of range")
    return Weights(likeness, proof, float(weights[f"{name}.bias"]))


class CompareHead:
    """The head of `compare` in models of format 1, which still answer as they did.

    It weighs two pieces of evidence: the cosine of the whole photos, and how well their parts pair up.
    """

    def __init__(self, weights: Mapping[str, Array]) -> None:
        """Take the head's weights by their saved names; raise KeyError or ValueError if they do not fit together."""
        self._centre, self._spread, self._weight, self._bias = (
            weights[f"head.{name}"].astype(np.float64) for name in ("centre", "spread", "weight", "bias")
        )
        if not self._centre.shape == self._spread.shape == self._weight.shape == (2,) or self._bias.shape:
            raise ValueError("its parts do not fit together")

    def logits(self, first: Embeddings, second: Embeddings, shared: int) -> Doubles:
        """Return the logits (N,) of pairs; `shared` points count for nothing."""
        return (evidence(first, second) - self._centre) / self._spread @ self._weight + self._bias


def evidence(first: Embeddings, second: Embeddings) -> Floats:
    """Return the evidence of `compare` in format 1 on N pairs, (N, 2): cosine, and how well parts pair up."""
    return np.stack([_cosines(first, second), paired_parts(first.parts, second.parts)], 1)


def _cosines(first: Embeddings, second: Embeddings) -> Floats:
    return np.einsum("nd,nd->n", first.vectors.astype(np.float32), second.vectors.astype(np.float32))


def paired_parts(parts0: Array, parts1: Array) -> Floats:
    """Return how much of one photo is found again in the other, (N,), given codes (N, K, C) of both.

    Parts pair up when each is the other's nearest; a pair counts with the cube of its cosine, so that a few sure
    matches outweigh many vague ones (the kernel of Tolias, Avrithis and Jégou, ICCV 2013).
    """
    cosine = parts0.astype(np.float32) @ parts1.astype(np.float32).transpose(0, 2, 1) / CODE**2  # (N, K, K)
    best0, best1 = cosine.max(2), cosine.max(1)
    back0 = np.take_along_axis(best1, cosine.argmax(2), 1)  # the best of each part's partner
    back1 = np.take_along_axis(best0, cosine.argmax(1), 1)
    found0 = best0.clip(0) ** 3 * (best0 >= back0)
    found1 = best1.clip(0) ** 3 * (best1 >= back1)
    # Parts that are alike, as of a bare wall, may share a partner: only the mean of both sides is symmetric.
    return (found0.sum(1) + found1.sum(1)) / 2


class ConcatHead:
    """The classic head: both embeddings side by side through an MLP, the mean of both orders."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        """Take the head's weights by their saved names; raise KeyError or ValueError if they do not fit together."""
        numbers = sorted({int(name.split(".")[2]) for name in weights if name.startswith("head.mlp.")})
        self._layers = [(weights[f"head.mlp.{at}.weight"], weights[f"head.mlp.{at}.bias"]) for at in numbers]
        sizes = [weight.shape for weight, _ in self._layers]
        fit = all(after[1] == before[0] for before, after in pairwise(sizes))
        if not sizes or not fit or sizes[-1][0] != 1:
            raise ValueError("its parts do not fit together")

    def logits(self, first: Embeddings, second: Embeddings, shared: int) -> Doubles:
        """Return the logits (N,) of pairs; `shared` points count for nothing."""
        return (self._one_way(first, second) + self._one_way(second, first)) / 2

    def _one_way(self, first: Embeddings, second: Embeddings) -> Doubles:
        values = np.concatenate([first.vectors, second.vectors], 1).astype(np.float32)
        for weight, bias in self._layers[:-1]:
            values = np.maximum(values @ weight.T + bias, 0)
        weight, bias = self._layers[-1]
        return (values @ weight.T + bias)[:, 0].astype(np.float64)


Head = RoomHead | CompareHead | ConcatHead


def make_head(name: str, is_for_rooms: bool, weights: Mapping[str, Array]) -> Head:
    """Return the head of this name, `compare` or `concat`, with these weights."""
    if is_for_rooms:
        return RoomHead(weights)
    return CompareHead(weights) if name == "compare" else ConcatHead(weights)
