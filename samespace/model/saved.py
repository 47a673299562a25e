"""Save a trained model in a folder and load it: `model.json` describes it, a safetensors file holds the weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from samespace.base.arrays import Array, Doubles
from samespace.base.errors import SameSpaceError
from samespace.base.files import content_hash, write_whole
from samespace.base.own_files import refuse_foreign
from samespace.base.photos import Pixels, as_pixels, read_pixels
from samespace.model import room_network
from samespace.model.backbone import SIZE, make_unfilled_backbone
from samespace.model.feature_bank import photos_at_once, to_tensor
from samespace.model.network import Embeddings, TwinNetwork
from samespace.model.points import BYTES, find_points, partners, points_of, strength
from samespace.model.room_network import RoomNetwork

FORMATS = (1, 2)  # twin networks, and room networks
PAIRS_AT_ONCE = 256


Network = TwinNetwork | RoomNetwork


class Thresholds(NamedTuple):
    """Probabilities that two photos show one space: where 99 % of pairs do, and that part pairs best from others."""

    sure: float
    even: float


class Model:
    """A trained model: it gives the probability that two photos show the same space."""

    def __init__(self, network: Network, description: dict[str, Any]) -> None:
        self.network = network.eval()
        self.description = description

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def threshold(self) -> float:
        """Return the probability at which two photos count as the same space."""
        return self.thresholds("alone").even

    def thresholds(self, among: str) -> Thresholds:
        """Return the thresholds of pairs in a `library`, or of two photos `alone`."""
        found = self.description.get("thresholds", {}).get(among)
        # Format 1 has but one. On training spaces held out, 0.9 was right for 99 % of the pairs that it found.
        return Thresholds(**found) if found else Thresholds(0.9, float(self.description["threshold"]))

    @property
    def has_parts(self) -> bool:
        """Tell if it also compares photos part by part, as `compare` of format 1 did."""
        return isinstance(self.network, TwinNetwork) and self.network.head_name == "compare"

    @property
    def rooms(self) -> RoomNetwork | None:
        """Return the network if it weighs evidence, so that a library's photos are whitened with its own."""
        return self.network if isinstance(self.network, RoomNetwork) else None

    def embed(self, photos: Iterable[str | Path | Image.Image]) -> Embeddings:
        """Return what is kept of N photos: vectors (N, D) in half precision and parts (N, K, 32), on the CPU."""
        batches = [self._embed(batch) for batch in _batches(iter(photos), photos_at_once(self.device))]
        if not batches:
            raise SameSpaceError("no photos to embed: give at least one")
        return Embeddings(*(torch.cat(column) for column in zip(*batches, strict=True)))

    def _embed(self, photos: Sequence[Pixels]) -> Embeddings:
        vectors, parts = self.network.embed(to_tensor(photos))
        return Embeddings(vectors.half().cpu(), parts.cpu())

    def score(self, embeddings0: Embeddings, embeddings1: Embeddings, shared: int = 0) -> Doubles:
        """Return the probability (N,) that N pairs of photos show the same space; one side may be a single photo.

        `shared` is how many points both photos of a pair share (see points.py), 0 if nobody has looked.
        """
        count = max(len(embeddings0.vectors), len(embeddings1.vectors))
        logits = [
            self._logits(_rows(embeddings0, at, count), _rows(embeddings1, at, count), shared)
            for at in range(0, count, PAIRS_AT_ONCE)
        ]
        return torch.sigmoid(torch.cat(logits)).numpy() if logits else np.empty(0)

    @torch.no_grad()
    def _logits(self, first: Embeddings, second: Embeddings, shared: int) -> Tensor:
        first, second = self._on_device(first), self._on_device(second)
        if isinstance(self.network, TwinNetwork):
            return self.network.head(first, second).double().cpu()
        likeness = (first.vectors * second.vectors).sum(1)
        proof = float(strength(np.array([shared]))[0])
        return self.network.alone(likeness, torch.full_like(likeness, proof)).double().cpu()

    def _on_device(self, embeddings: Embeddings) -> Embeddings:
        return Embeddings(embeddings.vectors.float().to(self.device), embeddings.parts.to(self.device))

    def compare(self, photo0: str | Path | Image.Image, photo1: str | Path | Image.Image) -> float:
        """Return the probability that two photos show the same space."""
        shared = len(partners(*map(_points, (photo0, photo1)))[0]) if self.rooms else 0
        return self.compare_knowing(photo0, photo1, shared)[0]

    def compare_knowing(
        self, photo0: str | Path | Image.Image, photo1: str | Path | Image.Image, shared: int
    ) -> tuple[float, float]:
        """Return the probability, and the cosine of their vectors, of two photos that share so many points."""
        both = self.embed([photo0, photo1])
        first, second = (both.take(torch.tensor([at])) for at in (0, 1))
        return float(self.score(first, second, shared)[0]), float(first.vectors.float() @ second.vectors.float().T)

    def save(self, folder: Path) -> None:
        """Write the folder so that a reader finds a whole model at any moment: this one or the one before."""
        weights = save_tensors({name: value.contiguous().cpu() for name, value in self.network.state_dict().items()})
        # Named by content, so that the old weights stay until the new description names the new ones.
        digest = hashlib.sha256(weights).hexdigest()
        name = _weights_name(digest)
        description = {**self.description, "weights": {"file": name, "sha256": digest}}
        refuse_foreign(folder / "model.json", _is_description, "a model of samespace", "folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / name, weights)
            write_whole(folder / "model.json", json.dumps(description, indent=2).encode())
            for stale in folder.glob("weights-*.safetensors"):
                if stale.name != name and stale.name == _weights_name(content_hash(stale)):  # one of ours
                    stale.unlink()
            for torn in folder.glob(".weights-*.safetensors.partial"):
                torn.unlink()
        except OSError as error:
            raise SameSpaceError(f"cannot write the model to {folder} ({error}): name another folder") from error


def _weights_name(digest: str) -> str:
    return f"weights-{digest[:16]}.safetensors"


def _is_description(file: BinaryIO) -> bool:
    try:
        return {"format", "trunk", "head"} <= json.load(file).keys()
    except (ValueError, AttributeError, RecursionError):
        return False


def describe(network: Network, metrics: dict[str, float], data: dict[str, Any]) -> dict[str, Any]:
    """Return what `model.json` holds: what it takes to rebuild the network, its metrics, and the data behind them."""
    return {
        "format": FORMATS[isinstance(network, RoomNetwork)],
        "trunk": network.backbone.name,
        "cut": network.trainable,
        "size": SIZE,
        "mean": list(network.backbone.mean),
        "std": list(network.backbone.std),
        "head": network.head_name,
        "threshold": 0.5,
        "metrics": metrics,
        "data": data,
    }


def load(folder: str | Path, device: str = "cpu") -> Model:
    """Return the model in a folder. No code in it is run, so a folder from a stranger is safe to load."""
    folder = Path(folder)
    description, weights = _read(folder)
    try:
        backbone = make_unfilled_backbone(description["trunk"])
        backbone.mean, backbone.std = (_per_colour(description[name]) for name in ("mean", "std"))
        twins = description["format"] == 1 and TwinNetwork(backbone, description["head"], description["cut"])
        if not (min(backbone.std) >= 0.01 and all(0 <= at <= 1 for at in _thresholds_in(description))):
            raise ValueError("a number is out of range")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SameSpaceError(f"{folder / 'model.json'} is damaged ({error!r}): export the model again") from error
    if description.get("size") != SIZE:
        raise SameSpaceError(f"{folder} wants photos of {description.get('size')} pixels: this version takes {SIZE}")
    try:
        state = load_tensors(weights)
        network: Network = _filled(twins, state) if twins else room_network.rebuilt(backbone, state)
    except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
        raise SameSpaceError(
            f"{folder} holds weights of another network than model.json says: export it again"
        ) from error
    if not all(value.isfinite().all() for value in network.state_dict().values()):
        raise SameSpaceError(f"{folder} holds weights that are not finite numbers: train or export the model again")
    return Model(network.to(device), description)


def _filled(network: TwinNetwork, state: dict[str, Tensor]) -> TwinNetwork:
    network.load_state_dict(state)
    return network


def _thresholds_in(description: dict[str, Any]) -> list[float]:
    """Return every threshold that a description names."""
    named = [found[name] for found in description.get("thresholds", {}).values() for name in Thresholds._fields]
    return [float(at) for at in (description["threshold"], *named)]


def _per_colour(values: Any) -> tuple[float, ...]:
    """Return three finite numbers; raise TypeError or ValueError for anything else."""
    red, green, blue = (float(value) for value in values)
    if not all(abs(value) <= 10 for value in (red, green, blue)):  # pixels are from 0 to 1
        raise ValueError("a number is out of range")
    return red, green, blue


def _read(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Return the description and the weights it names; read both again if a newer model has just replaced them."""
    description = read_description(folder)
    try:
        name, digest = Path(description["weights"]["file"]).name, description["weights"]["sha256"]
    except (KeyError, TypeError) as error:
        raise SameSpaceError(f"{folder / 'model.json'} is damaged ({error!r}): export the model again") from error
    try:
        weights = (folder / name).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        if read_description(folder) != description:
            return _read(folder)
        raise SameSpaceError(f"{folder} lacks its weights {name}: copy the whole folder") from error
    if hashlib.sha256(weights).hexdigest() != digest:
        raise SameSpaceError(f"{folder / name} is damaged: it is not what model.json says; copy or export it again")
    return description, weights


def read_description(folder: Path) -> dict[str, Any]:
    """Return what a model's `model.json` holds; refuse one that is damaged or of another format."""
    path = folder / "model.json"
    if not path.is_file():
        raise SameSpaceError(f"no model in {folder}: give a folder that holds model.json, as `samespace export` writes")
    try:
        description = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise SameSpaceError(f"{path} is damaged: export the model again") from error
    if not isinstance(description, dict) or description.get("format") not in FORMATS:
        raise SameSpaceError(f"{path} is not of format 1 or 2: use the version of samespace that wrote it")
    return description


def _batches(photos: Iterator[str | Path | Image.Image], size: int) -> Iterator[list[Pixels]]:
    while batch := list(islice(photos, size)):
        yield [
            as_pixels(photo, SIZE) if isinstance(photo, Image.Image) else read_pixels(Path(photo), SIZE)
            for photo in batch
        ]


def _points(photo: str | Path | Image.Image) -> Array:
    found = points_of(photo) if isinstance(photo, Image.Image) else find_points(Path(photo))
    return np.zeros(BYTES, np.uint8) if found is None else found  # None: it went a moment ago


def _rows(embeddings: Embeddings, at: int, count: int) -> Embeddings:
    """Return up to `PAIRS_AT_ONCE` of `count` rows, from row `at`; a single row is repeated."""
    if len(embeddings.vectors) == 1:
        size = min(PAIRS_AT_ONCE, count - at)
        return Embeddings(*(column.expand(size, *column.shape[1:]) for column in embeddings))
    if len(embeddings.vectors) != count:
        raise SameSpaceError(f"cannot pair {len(embeddings.vectors)} photos with {count}: give as many, or one")
    return Embeddings(*(column[at : at + PAIRS_AT_ONCE] for column in embeddings))
