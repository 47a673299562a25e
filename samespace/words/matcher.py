"""Find photos by words: photos and sentences as vectors of one space, compared as order-embeddings or by cosine.

Vendrov et al., ICLR 2016. A sentence says less than its photo shows: no coordinate of its vector should be above the
photo's. The more they are, squared and summed, the worse the two fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from samespace.base.arrays import Array, Floats, Ints, blocks
from samespace.base.errors import SameSpaceError
from samespace.base.text import readable
from samespace.words import model_files
from samespace.words.match_in_numpy import Weights
from samespace.words.photo_features import FeatureSource
from samespace.words.ranking import SHORTLIST, Nearest, ranking
from samespace.words.tokens import split_words
from samespace.words.vocabulary import PAD, SPECIALS, Vocabulary

KIND = "matcher"  # of file
SENTENCES_AT_ONCE, PHOTOS_AT_ONCE = 256, 4096


class Network(Protocol):
    """The weights that a matcher is used with: arrays of numpy, or those that PyTorch trains."""

    measure: str

    def see(self, features: Floats) -> Floats:
        """Return the vectors (N, dim) of photos' features (N, photo_dim) of length 1."""

    def read(self, ids: Ints, lengths: Ints) -> Floats:
        """Return the vectors (C, dim) of sentences: ids (C, T), of which `lengths` (C,) count."""

    def score(self, photos: Floats, sentences: Floats) -> Floats:
        """Return scores (N, C) of N photos (N, dim) for C sentences (C, dim), higher is better."""

    def arrays(self) -> dict[str, Array]:
        """Return the weights by name."""


class BestPhotos(NamedTuple):
    """The result of a search by sentence, best first."""

    rows: Ints  # (K,) of the photos
    scores: Floats  # (K,)
    unknown: list[str]  # words of the query that were ignored


class Matcher:
    """A trained network, the words it knows, and the backbone it was trained on."""

    def __init__(
        self,
        network: Network,
        vocabulary: Vocabulary,
        feature_source: FeatureSource,
        about: dict[str, Any] | None = None,
    ) -> None:
        """Join the parts; `about` holds facts about its training, for people to read."""
        arrays = network.arrays()
        assert len(arrays["word.weight"]) == len(vocabulary), "a row for each word"
        self.network, self.vocabulary, self.feature_source = network, vocabulary, feature_source
        self.about = about or {}
        self.dim, self.photo_dim = arrays["photo.weight"].shape

    @property
    def measure(self) -> str:
        return self.network.measure

    def check(self, feature_source: FeatureSource) -> None:
        """Refuse features of another backbone."""
        model_files.check_backbone(KIND, self.feature_source, feature_source)

    def embed_photos(self, features: Array) -> Floats:
        """Return photos' vectors (N, dim) from features (N, photo_dim) of any length."""
        found = np.empty((len(features), self.dim), np.float32)
        for some in blocks(len(features), PHOTOS_AT_ONCE):
            rows = model_files.unit_features(KIND, self.feature_source, features[some], self.photo_dim)
            found[some] = self.network.see(rows)
        return found

    def embed_sentences(self, sentences: Sequence[str]) -> Floats:
        """Return sentences' vectors, (C, dim); those of the same known words get the same, to the bit."""
        ids, which = np.unique(self.vocabulary.encode_all(sentences)[0], axis=0, return_inverse=True)
        lengths = (ids != PAD).sum(1)
        found = np.empty((len(ids), self.dim), np.float32)
        order = np.argsort(lengths, kind="stable")  # sentences of one length together need little padding
        for part in blocks(len(ids), SENTENCES_AT_ONCE):
            some = order[part]
            found[some] = self.network.read(ids[some, : lengths[some].max()], lengths[some])
        return found[which.reshape(-1)]

    def score(self, photos: Floats, sentences: Floats) -> Floats:
        """Return scores (N, C) of N embedded photos (N, dim) for C embedded sentences (C, dim), higher is better.

        In order 0 is best: the photo shows all that the sentence says.
        """
        return self.network.score(photos, sentences)

    def search(self, query: str, photos: Floats, top: int = 10, shortlist: int = SHORTLIST) -> BestPhotos:
        """Return the best of N embedded photos (N, dim) for a sentence; of equally good ones the first."""
        self.refuse_strangers(query)
        best = list(islice(self.ranking(query, photos, shortlist), top))
        rows, scores = [row for row, _ in best], [score for _, score in best]
        return BestPhotos(np.array(rows, np.int64), np.array(scores, np.float32), self.vocabulary.unknown(query))

    def ranking(
        self,
        query: str,
        photos: Floats,
        shortlist: int = SHORTLIST,
        nearest: Nearest | None = None,
        among: Ints | None = None,
    ) -> Iterator[tuple[int, float]]:
        """Yield the rows and scores of N embedded photos (N, dim), or of the rows `among`, best first; see `ranking`.

        In order, too, few are scored: photos may soon be no better.
        """
        return self.ranked(self.embed_sentences([query]), photos, nearest, among, shortlist)

    def ranked(
        self,
        sentence: Floats,
        photos: Floats,
        nearest: Nearest | None = None,
        among: Ints | None = None,
        shortlist: int = SHORTLIST,
    ) -> Iterator[tuple[int, float]]:
        """Yield what `ranking` does, for an embedded sentence (1, dim)."""
        return ranking(sentence, photos, self.score, self._bound, shortlist, nearest, among)

    def _bound(self, cosine: float) -> float:
        """Return the score that a photo of this cosine, or of a lower one, cannot exceed."""
        return cosine + 1e-6 if self.measure == "cosine" else best_order_score(cosine)

    def fit(self, score: float) -> float:
        """Return a score as people read it, 0 to 1: in order how much of the sentence is in the photo."""
        return max(0.0, score if self.measure == "cosine" else 1.0 + score)

    @property
    def does_arithmetic(self) -> bool:
        """Return True if sentences and photos may be added: by cosine. In order a sum would only say more."""
        return self.measure == "cosine"

    def knows(self, word: str) -> bool:
        """Return True if the word was learnt."""
        return word in self.vocabulary

    def refuse_strangers(self, query: str) -> None:
        """Refuse a query without a known word, and suggest similar words."""
        words = split_words(query)
        if not words:
            raise SameSpaceError(f"there is no word in {readable(query)!r}: describe a photo")
        if any(word in self.vocabulary for word in words):
            return
        alike = list(dict.fromkeys(near for word in words for near in self.vocabulary.nearest(word)))
        known = len(self.vocabulary) - len(SPECIALS)
        raise SameSpaceError(
            f"no word of {readable(query)!r} is among the {known:,} that the matcher knows: "
            f"try {', '.join(alike[:5]) or 'others'}"
        )

    def save(self, path: Path) -> None:
        """Write one safetensors file, whole or not at all."""
        arrays = self.network.arrays()
        about = {
            "measure": self.measure,
            "photo_dim": self.photo_dim,
            "dim": self.dim,
            "word_dim": arrays["word.weight"].shape[1],
            "trunk": self.feature_source._asdict(),
            "vocabulary": self.vocabulary.to_json(),
            "about": self.about,
        }
        model_files.save(path, KIND, about, arrays)

    @staticmethod
    def load(path: Path) -> Matcher:
        """Read what `save` wrote. It is data alone: a file from a stranger is safe to load."""

        def build(about: dict[str, Any], arrays: dict[str, Array]) -> Matcher:
            vocabulary = Vocabulary.from_json(about["vocabulary"])
            _refuse_other_shapes(arrays, len(vocabulary), about)
            source = FeatureSource.from_json(about["trunk"])
            return Matcher(Weights(arrays, about["measure"]), vocabulary, source, about["about"])

        return model_files.load(path, KIND, build)


def _refuse_other_shapes(arrays: Mapping[str, Array], words: int, about: Mapping[str, Any]) -> None:
    dim, word_dim = about["dim"], about["word_dim"]
    shapes = {
        "photo.weight": (dim, about["photo_dim"]),
        "photo.bias": (dim,),
        "word.weight": (words, word_dim),
        "gru.weight_ih_l0": (3 * dim, word_dim),
        "gru.weight_hh_l0": (3 * dim, dim),
        "gru.bias_ih_l0": (3 * dim,),
        "gru.bias_hh_l0": (3 * dim,),
    }
    if shapes != {name: values.shape for name, values in arrays.items()}:
        raise ValueError("other weights than a matcher has")


def best_order_score(cosine: float) -> float:
    """Return the order score that a photo of this cosine, or of a lower one, cannot exceed.

    Let s be the sentence, v the photo, e = max(0, s - v). s has length 1 and is nowhere negative, so that
    |e| ≥ s·e ≥ s·(s - v) = 1 - cosine. The small numbers allow for rounding.
    """
    return -(max(0.0, 1.0 - float(cosine) - 1e-5) ** 2) + 1e-7
