"""Use a trained model: embed photos, and say how probably two of them show the same space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samespace.base.arrays import Array, Doubles
from samespace.base.errors import SameSpaceError
from samespace.base.photos import SIZE, Pixels, as_pixels, read_pixels
from samespace.model.engine import Engine, OnnxEngine, Sheet, has_runtime
from samespace.model.extract import NetworkExtractor, of_rooms, of_twins
from samespace.model.heads import CompareHead, Embeddings, Head, RoomHead, make_head, to_embeddings
from samespace.model.model_folder import OF_ANOTHER, Contents, Thresholds, damaged, read
from samespace.model.points import BYTES, find_points, partners, points_of

PAIRS_AT_ONCE = 256


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
    except (ValueError, KeyError, TypeError) as error:
        raise SameSpaceError(f"{folder} {OF_ANOTHER}") from error
    if contents.network is not None and has_runtime():
        engine, sheet = _portable(folder, contents.description["network"], contents.network)
    else:
        engine, sheet = _with_torch(contents)
    try:
        extractor = of_rooms(engine, sheet, head) if isinstance(head, RoomHead) else of_twins(engine, sheet)
    except (KeyError, IndexError) as error:  # the sheet names no maps to see materials by
        raise damaged(folder, error) from error
    return Model(contents._replace(network=None), head, extractor)


def _portable(folder: Path, said: dict[str, Any], content: bytes) -> tuple[Engine, Sheet]:
    """Return the engine of the ONNX file that a model carries."""
    try:
        sheet = Sheet.from_json(said)
        return OnnxEngine(content, folder / said["file"], sheet), sheet
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(folder, error) from error


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
