"""Use a CLIP or SigLIP model that somebody else has trained: photos and sentences become vectors of one space."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from samespace.base.arrays import Array, Floats, Ints, unit
from samespace.base.errors import SameSpaceError
from samespace.base.photos import Pixels
from samespace.model.preprocessing import read_preprocessing
from samespace.words.encoder_files import Files, files_of
from samespace.words.ranking import Nearest, ranking

FIELD = "vectors"


class Network(Protocol):
    """Run an encoder, by whatever its files are made for."""

    def see(self, pixels: Floats) -> Floats:
        """Return vectors (N, dim), of any length, of photos that are prepared (N, 3, height, width)."""

    def read(self, sentences: Sequence[str]) -> Floats:
        """Return vectors (C, dim), of any length, of sentences."""


class Encoder:
    """An encoder: an `Extractor` of photos' vectors, and what a library's `Sentences` ask.

    Photos come squeezed to 256 × 256, as every scan reads them, and are then prepared as the encoder's own
    preprocessor_config.json says; see `Preprocessing`.
    """

    batch = 32
    does_arithmetic = True

    def __init__(self, source: str, files: Files, network: Network) -> None:
        self.source, self._network = source, network
        self._prepare = read_preprocessing(files.folder)
        self.fingerprint = files.fingerprint()
        self.dim = self.embed_sentences(["a photo"]).shape[1]
        self.fields: Mapping[str, tuple[tuple[int, ...], str]] = {FIELD: ((self.dim,), "float16")}

    @property
    def name(self) -> str:
        """Return the encoder's name, for a person to read."""
        return Path(self.source).name

    def extract(self, pixels: Pixels) -> dict[str, Array]:
        """Return the vectors of photos (N, 256, 256, 3), (N, dim) of length 1."""
        return {FIELD: self.embed_photos(pixels).astype(np.float16)}

    def embed_photos(self, pixels: Pixels) -> Floats:
        """Return the vectors of photos (N, 256, 256, 3), (N, dim) of length 1."""
        return self._unit(self._network.see(self._prepare.apply(pixels)))

    def embed_sentences(self, sentences: Sequence[str]) -> Floats:
        """Return the vectors of sentences, (C, dim) of length 1."""
        return self._unit(self._network.read(sentences))

    def check(self) -> None:
        """Refuse, before a scan, a model that cannot see photos, or puts them into another space than sentences."""
        dim = self.embed_photos(np.zeros((1, 256, 256, 3), np.uint8)).shape[1]
        if dim != self.dim:
            raise SameSpaceError(
                f"{self.source} gives {dim:,} numbers for a photo and {self.dim:,} for a sentence: "
                "give files of one model"
            )

    def _unit(self, vectors: Floats) -> Floats:
        if not np.isfinite(vectors).all():
            raise SameSpaceError(f"{self.source} gives numbers that are not finite: it is damaged, copy it again")
        return unit(vectors)

    # What sentences ask

    def score(self, photos: Floats, sentences: Floats) -> Floats:
        """Return the cosines (N, C) of photos (N, dim) and sentences (C, dim)."""
        return photos @ sentences.T

    def ranked(
        self, sentence: Floats, photos: Floats, nearest: Nearest | None = None, among: Ints | None = None
    ) -> Iterator[tuple[int, float]]:
        """Yield the rows and cosines of photos (N, dim), or of the rows `among`, best first; see `ranking`."""
        return ranking(sentence, photos, self.score, lambda cosine: cosine + 1e-6, nearest=nearest, among=among)

    def fit(self, score: float) -> float:
        """Return a score as people read it: the cosine."""
        return score

    def knows(self, word: str) -> bool:
        """Return True: a tokenizer splits any word into parts that it knows."""
        return True

    def refuse_strangers(self, query: str) -> None:
        """Refuse nothing: there are no unknown words."""


def load_encoder(source: str) -> Encoder:
    """Return the encoder in a folder, or of this name on the Hub; the one that was read last is not read again."""
    files = files_of(source)
    read = (*files.weights, *sorted(files.folder.glob("*.json")))
    changed = tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in read)
    return _load(os.path.realpath(source) if Path(source).is_dir() else source, str(files.folder), changed)


@lru_cache(maxsize=1)
def _load(source: str, folder: str, changed: tuple[object, ...]) -> Encoder:
    files = files_of(folder)
    if files.pair:
        from samespace.words.encoder_onnx import OnnxPair

        return Encoder(source, files, OnnxPair(files))
    from samespace.words.encoder_torch import TransformersModel

    return Encoder(source, files, TransformersModel(files))
