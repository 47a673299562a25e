"""Load a trained model from its folder: `model.json` describes it, files beside it hold weights and network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays

from samespace.base.arrays import Array, Doubles
from samespace.base.errors import SameSpaceError
from samespace.base.photos import SIZE, Pixels, as_pixels, read_pixels
from samespace.model.engine import Engine, OnnxEngine, Sheet, has_runtime
from samespace.model.extract import NetworkExtractor, of_rooms, of_twins
from samespace.model.heads import CompareHead, Embeddings, Head, RoomHead, make_head, to_embeddings
from samespace.model.points import BYTES, find_points, partners, points_of

FORMATS = (1, 2)  # twin networks, and room networks
PAIRS_AT_ONCE = 256
OF_ANOTHER = "holds weights of another network than model.json says: export it again"


class Thresholds(NamedTuple):
    """Probabilities that two photos show one space: where 99 % of pairs do, and that part pairs best from others."""

    sure: float
    even: float


class Contents(NamedTuple):
    """What a model's folder holds, checked as far as can be without its network."""

    folder: Path
    description: dict[str, Any]
    weights: dict[str, Array]
    network: bytes | None  # an ONNX file; earlier versions wrote none


class Model:
    """A trained model: it gives the probability that two photos show the same space. Any thread may ask it."""

    def __init__(self, contents: Contents, head: Head, extractor: NetworkExtractor) -> None:
        self.contents, self.description = contents, contents.description
        self.head, self.extractor = head, extractor

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
        return isinstance(self.head, CompareHead)

    @property
    def rooms(self) -> RoomHead | None:
        """Return the head if it weighs evidence, so that a library's photos are whitened with its own."""
        return self.head if isinstance(self.head, RoomHead) else None

    def embed(self, photos: Iterable[str | Path | Image.Image]) -> Embeddings:
        """Return what is kept of N photos: vectors (N, D) in half precision and parts (N, K, 32)."""
        batches = [self.embed_pixels(np.stack(batch)) for batch in _batches(iter(photos), self.extractor.batch)]
        if not batches:
            raise SameSpaceError("no photos to embed: give at least one")
        return Embeddings(*(np.concatenate(column) for column in zip(*batches, strict=True)))

    def embed_pixels(self, pixels: Pixels) -> Embeddings:
        """Return what is kept of photos (N, 256, 256, 3)."""
        return to_embeddings(self.extractor.columns(pixels))

    def score(self, embeddings0: Embeddings, embeddings1: Embeddings, shared: int = 0) -> Doubles:
        """Return the probability (N,) that N pairs of photos show the same space; one side may be a single photo.

        `shared` is how many points both photos of a pair share (see points.py), 0 if nobody has looked.
        """
        count = max(len(embeddings0.vectors), len(embeddings1.vectors))
        logits = [
            self.head.logits(_rows(embeddings0, at, count), _rows(embeddings1, at, count), shared)
            for at in range(0, count, PAIRS_AT_ONCE)
        ]
        return 1 / (1 + np.exp(-np.concatenate([np.empty(0), *logits]).clip(-700, 700)))

    def compare(self, photo0: str | Path | Image.Image, photo1: str | Path | Image.Image) -> float:
        """Return the probability that two photos show the same space."""
        shared = len(partners(*map(_points, (photo0, photo1)))[0]) if self.rooms else 0
        return self.compare_knowing(photo0, photo1, shared)[0]

    def compare_knowing(
        self, photo0: str | Path | Image.Image, photo1: str | Path | Image.Image, shared: int
    ) -> tuple[float, float]:
        """Return the probability, and the cosine of their vectors, of two photos that share so many points."""
        both = self.embed([photo0, photo1])
        first, second = both.take(slice(0, 1)), both.take(slice(1, 2))
        cosine = first.vectors.astype(np.float32) @ second.vectors.astype(np.float32).T
        return float(self.score(first, second, shared)[0]), float(cosine[0, 0])


def load(folder: str | Path) -> Model:
    """Return the model in a folder. No code in it is run, so a folder from a stranger is safe to load.

    A folder without a network in ONNX, as earlier versions wrote it, needs torch to run.
    """
    folder = Path(folder)
    contents = read(folder)
    try:
        head = make_head(contents.description["head"], contents.description["format"] == 2, contents.weights)
    except (ValueError, KeyError) as error:
        raise SameSpaceError(f"{folder} {OF_ANOTHER}") from error
    if contents.network is not None and has_runtime():
        engine, sheet = _portable(folder, contents.description["network"], contents.network)
    else:
        engine, sheet = _with_torch(contents)
    extractor = of_rooms(engine, sheet, head) if isinstance(head, RoomHead) else of_twins(engine, sheet)
    return Model(contents._replace(network=None), head, extractor)


def _portable(folder: Path, said: dict[str, Any], content: bytes) -> tuple[Engine, Sheet]:
    """Return the engine of the ONNX file that a model carries."""
    try:
        sheet = Sheet.from_json(said)
        return OnnxEngine(content, folder / said["file"], sheet), sheet
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(folder, error) from error


def _with_torch(contents: Contents) -> tuple[Engine, Sheet]:
    """Return the engine that rebuilds a model's network from its weights."""
    try:
        import torch
    except ImportError as error:
        raise SameSpaceError(
            f"{contents.folder} holds no network in ONNX, as earlier versions wrote it: convert it where torch is "
            f"installed (pip install 'samespace[train]') by: samespace export {contents.folder} -o {contents.folder}"
        ) from error
    from samespace.model.graphs import of_network
    from samespace.model.torch_engine import TorchEngine
    from samespace.model.write import rebuild

    graph = of_network(rebuild(contents).to("cuda" if torch.cuda.is_available() else "cpu"))
    return TorchEngine(graph), graph.sheet


def _thresholds_in(description: dict[str, Any]) -> list[float]:
    """Return every threshold that a description names."""
    named = [found[name] for found in description.get("thresholds", {}).values() for name in Thresholds._fields]
    return [float(at) for at in (description["threshold"], *named)]


def per_colour(values: Any) -> tuple[float, ...]:
    """Return three finite numbers; raise TypeError or ValueError for anything else."""
    red, green, blue = (float(value) for value in values)
    if not all(abs(value) <= 10 for value in (red, green, blue)):  # pixels are from 0 to 1
        raise ValueError("a number is out of range")
    return red, green, blue


def read(folder: Path) -> Contents:
    """Return what a model's folder holds; refuse one that is damaged."""
    description, files = _read(folder)
    try:
        for name in ("mean", "std"):
            per_colour(description[name])
        if description["head"] not in ("compare", "concat") or not isinstance(description["trunk"], str):
            raise ValueError("it names no head or no trunk")
        if not (min(description["std"]) >= 0.01 and all(0 <= at <= 1 for at in _thresholds_in(description))):
            raise ValueError("a number is out of range")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(folder, error) from error
    if description.get("size") != SIZE:
        raise SameSpaceError(f"{folder} wants photos of {description.get('size')} pixels: this version takes {SIZE}")
    try:
        weights = load_arrays(files["weights"])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise SameSpaceError(f"{folder} {OF_ANOTHER}") from error
    if not all(np.isfinite(values).all() for values in weights.values()):
        raise SameSpaceError(f"{folder} holds weights that are not finite numbers: train or export the model again")
    return Contents(folder, description, weights, files.get("network"))


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the description and the files it names; read all again if a newer model has just replaced them."""
    description = read_description(folder)
    files: dict[str, bytes] = {}
    for what in ("weights", "network") if "network" in description else ("weights",):
        try:
            name, digest = Path(description[what]["file"]).name, description[what]["sha256"]
        except (KeyError, TypeError) as error:
            raise _damaged(folder, error) from error
        try:
            files[what] = (folder / name).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a name with a NUL
            if read_description(folder) != description:
                return _read(folder)
            raise SameSpaceError(f"{folder} lacks its {what} {name}: copy the whole folder") from error
        if hashlib.sha256(files[what]).hexdigest() != digest:
            raise SameSpaceError(f"{folder / name} is damaged: it is not what model.json says; copy or export it again")
    return description, files


def _damaged(folder: Path, error: Exception) -> SameSpaceError:
    return SameSpaceError(f"{folder / 'model.json'} is damaged ({error!r}): export the model again")


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
        return Embeddings(*(np.broadcast_to(column, (size, *column.shape[1:])) for column in embeddings))
    if len(embeddings.vectors) != count:
        raise SameSpaceError(f"cannot pair {len(embeddings.vectors)} photos with {count}: give as many, or one")
    return Embeddings(*(column[at : at + PAIRS_AT_ONCE] for column in embeddings))
