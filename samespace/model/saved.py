"""Save a trained model in a folder and load it: `model.json` describes it, a safetensors file holds the weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from samespace.base.arrays import Doubles
from samespace.base.errors import SameSpaceError
from samespace.base.files import content_hash, write_whole
from samespace.base.own_files import refuse_foreign
from samespace.base.photos import Pixels, as_pixels, read_pixels
from samespace.model.backbone import SIZE, make_unfilled_backbone
from samespace.model.feature_bank import photos_at_once, to_tensor
from samespace.model.network import Embeddings, TwinNetwork

FORMAT = 1
PAIRS_AT_ONCE = 256


class Model:
    """A trained model: it gives the probability that two photos show the same space."""

    def __init__(self, network: TwinNetwork, description: dict[str, Any]) -> None:
        self.network = network.eval()
        self.description = description

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def threshold(self) -> float:
        """Return the probability at which two photos count as the same space."""
        return float(self.description["threshold"])

    @property
    def has_parts(self) -> bool:
        """Tell if it also compares photos part by part."""
        return self.network.head_name == "compare"

    def embed(self, photos: Iterable[str | Path | Image.Image]) -> Embeddings:
        """Return what is kept of N photos: vectors (N, D) in half precision and parts (N, K, 32), on the CPU."""
        batches = [self._embed(batch) for batch in _batches(iter(photos), photos_at_once(self.device))]
        if not batches:
            raise SameSpaceError("no photos to embed: give at least one")
        return Embeddings(*(torch.cat(column) for column in zip(*batches, strict=True)))

    def _embed(self, photos: Sequence[Pixels]) -> Embeddings:
        vectors, parts = self.network.embed(to_tensor(photos))
        return Embeddings(vectors.half().cpu(), parts.cpu())

    def score(self, embeddings0: Embeddings, embeddings1: Embeddings) -> Doubles:
        """Return the probability (N,) that N pairs of photos show the same space; one side may be a single photo."""
        count = max(len(embeddings0.vectors), len(embeddings1.vectors))
        logits = [
            self._logits(_rows(embeddings0, at, count), _rows(embeddings1, at, count))
            for at in range(0, count, PAIRS_AT_ONCE)
        ]
        return torch.sigmoid(torch.cat(logits)).numpy() if logits else np.empty(0)

    @torch.no_grad()
    def _logits(self, first: Embeddings, second: Embeddings) -> Tensor:
        return self.network.head(self._on_device(first), self._on_device(second)).double().cpu()

    def _on_device(self, embeddings: Embeddings) -> Embeddings:
        return Embeddings(embeddings.vectors.float().to(self.device), embeddings.parts.to(self.device))

    def compare(self, photo0: str | Path | Image.Image, photo1: str | Path | Image.Image) -> float:
        """Return the probability that two photos show the same space."""
        both = self.embed([photo0, photo1])
        first, second = (both.take(torch.tensor([at])) for at in (0, 1))
        return float(self.score(first, second)[0])

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


def describe(network: TwinNetwork, metrics: dict[str, float], data: dict[str, Any]) -> dict[str, Any]:
    """Return what `model.json` holds: what it takes to rebuild the network, its metrics, and the data behind them."""
    return {
        "format": FORMAT,
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
        network = TwinNetwork(make_unfilled_backbone(description["trunk"]), description["head"], description["cut"])
        network.backbone.mean, network.backbone.std = (_per_colour(description[name]) for name in ("mean", "std"))
        if not (min(network.backbone.std) >= 0.01 and 0 <= float(description["threshold"]) <= 1):
            raise ValueError("a number is out of range")
    except (KeyError, TypeError, ValueError) as error:
        raise SameSpaceError(f"{folder / 'model.json'} is damaged ({error!r}): export the model again") from error
    if description.get("size") != SIZE:
        raise SameSpaceError(f"{folder} wants photos of {description.get('size')} pixels: this version takes {SIZE}")
    try:
        network.load_state_dict(load_tensors(weights))
    except (SafetensorError, RuntimeError) as error:
        raise SameSpaceError(
            f"{folder} holds weights of another network than model.json says: export it again"
        ) from error
    if not all(value.isfinite().all() for value in network.state_dict().values()):
        raise SameSpaceError(f"{folder} holds weights that are not finite numbers: train or export the model again")
    return Model(network.to(device), description)


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
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise SameSpaceError(f"{path} is not of format {FORMAT}: use the version of samespace that wrote it")
    return description


def _batches(photos: Iterator[str | Path | Image.Image], size: int) -> Iterator[list[Pixels]]:
    while batch := list(islice(photos, size)):
        yield [
            as_pixels(photo, SIZE) if isinstance(photo, Image.Image) else read_pixels(Path(photo), SIZE)
            for photo in batch
        ]


def _rows(embeddings: Embeddings, at: int, count: int) -> Embeddings:
    """Return up to `PAIRS_AT_ONCE` of `count` rows, from row `at`; a single row is repeated."""
    if len(embeddings.vectors) == 1:
        size = min(PAIRS_AT_ONCE, count - at)
        return Embeddings(*(column.expand(size, *column.shape[1:]) for column in embeddings))
    if len(embeddings.vectors) != count:
        raise SameSpaceError(f"cannot pair {len(embeddings.vectors)} photos with {count}: give as many, or one")
    return Embeddings(*(column[at : at + PAIRS_AT_ONCE] for column in embeddings))
