"""Find photos by words: photos and sentences as vectors of one space, compared as order-embeddings or by cosine.

Vendrov et al., ICLR 2016. A sentence says less than its photo shows: no coordinate of its vector should be above the
photo's. The more they are, squared and summed, the worse the two fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samespace.base.arrays import Array, Floats, Ints, blocks
from samespace.base.errors import SameSpaceError
from samespace.base.text import readable
from samespace.words import model_files
from samespace.words.gru import last_states
from samespace.words.photo_features import FeatureSource
from samespace.words.tokens import split_words
from samespace.words.vocabulary import PAD, SPECIALS, Vocabulary

MEASURES = ("order", "cosine")
DIM, WORD_DIM = 1024, 300
KIND = "matcher"  # of file
SENTENCES_AT_ONCE, PHOTOS_AT_ONCE = 256, 4096
TILE = 1 << 18  # differences that are held at once: what a CPU's caches hold
SHORTLIST = 500

# Takes a sentence (1, dim) and K; returns the rows with the K highest cosines and these, best first.
Nearest = Callable[[Floats, int], tuple[Ints, Floats]]


class MatchNetwork(nn.Module):
    """Maps photos' features linearly, and sentences by a GRU, to vectors of length 1; in order none is negative.

    Features are not centred: `abs` would make one of what lies on either side of their mean. Sentences are ids (C, T),
    filled up with PAD, and lengths (C,).
    """

    def __init__(
        self, words: int, photo_dim: int, dim: int = DIM, word_dim: int = WORD_DIM, measure: str = MEASURES[0]
    ) -> None:
        super().__init__()
        if measure not in MEASURES:
            raise SameSpaceError(f"unknown measure {measure!r}: choose one of {', '.join(MEASURES)}")
        self.measure = measure
        self.photo = nn.Linear(photo_dim, dim)
        self.word = nn.Embedding(words, word_dim, padding_idx=PAD)
        self.gru = nn.GRU(word_dim, dim, batch_first=True)

    def photos(self, features: Tensor) -> Tensor:
        """Return the vectors (N, dim) of photos' features (N, photo_dim) of length 1."""
        return self._on_sphere(self.photo(features))

    def sentences(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the vectors (C, dim) of sentences."""
        return self._on_sphere(last_states(self.gru, self.word, ids, lengths))

    def forward(self, features: Tensor, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self.photos(features), self.sentences(ids, lengths)

    def _on_sphere(self, vectors: Tensor) -> Tensor:
        units = F.normalize(vectors, dim=1)
        return units.abs() if self.measure == "order" else units


def scores(photos: Tensor, sentences: Tensor, measure: str) -> Tensor:
    """Return scores (N, C) of N photos (N, D) for C sentences (C, D), higher is better."""
    if measure == "cosine":
        return photos @ sentences.T
    return _OrderScores.apply(photos, sentences)  # type: ignore[no-untyped-call]


class _OrderScores(torch.autograd.Function):
    """Order scores. Differences (N, C, D) are never stored: to compute them again for the gradients is quicker."""

    @staticmethod
    def forward(ctx: Any, photos: Tensor, sentences: Tensor) -> Tensor:
        ctx.save_for_backward(photos, sentences)
        found = photos.new_empty(len(photos), len(sentences))
        for rows, columns in _tiles(photos, sentences):
            found[rows, columns] = -violations(photos[rows, None], sentences[columns]).sum(2)
        return found

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        photos, sentences = ctx.saved_tensors
        of_photos, of_sentences = torch.zeros_like(photos), torch.zeros_like(sentences)
        for rows, columns in _tiles(photos, sentences):
            above = (sentences[columns] - photos[rows, None]).clamp_min_(0).mul_(2 * grad[rows, columns, None])
            of_photos[rows] += above.sum(1)
            of_sentences[columns] -= above.sum(0)
        return of_photos, of_sentences


def _tiles(photos: Tensor, sentences: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield tiles of a few photos with some sentences."""
    dim = photos.shape[1]
    height = max(1, min(len(photos), TILE // dim))
    width = max(1, TILE // (height * dim))
    for top in range(0, len(photos), height):
        for left in range(0, len(sentences), width):
            yield slice(top, top + height), slice(left, left + width)


def violations(photos: Tensor, sentences: Tensor) -> Tensor:
    """Return how far each coordinate of a sentence is above the photo's, squared; both broadcast."""
    return (sentences - photos).clamp_min(0).square()


def matching_loss(found: Tensor, photo_of: Tensor, margin: float, hardest: bool) -> Tensor:
    """Return how far pairs fall short of `margin` over their negatives: the sum or the hardest, mean over B pairs.

    `found` (B, B) are the scores of each pair's photo with each pair's sentence. `photo_of` (B,) numbers the photos:
    a sentence of the same photo, in another pair, is not a negative.
    """
    own = found.diagonal()
    negative = photo_of[:, None] != photo_of
    photos = (margin + found - own[:, None]).clamp_min(0) * negative  # other sentences for the photo
    sentences = (margin + found - own).clamp_min(0) * negative  # other photos for the sentence
    if hardest:
        return photos.amax(1).mean() + sentences.amax(0).mean()
    return (photos.sum() + sentences.sum()) / len(found)


class BestPhotos(NamedTuple):
    """The result of a search by sentence, best first."""

    rows: Ints  # (K,) of the photos
    scores: Floats  # (K,)
    unknown: list[str]  # words of the query that were ignored


class Matcher:
    """A trained network, the words it knows, and the backbone it was trained on."""

    def __init__(
        self,
        network: MatchNetwork,
        vocabulary: Vocabulary,
        feature_source: FeatureSource,
        about: dict[str, Any] | None = None,
    ) -> None:
        """Join the parts; `about` holds facts about its training, for people to read."""
        assert network.word.num_embeddings == len(vocabulary), "a row for each word"
        self.network, self.vocabulary, self.feature_source = network.eval(), vocabulary, feature_source
        self.about = about or {}

    @property
    def measure(self) -> str:
        return self.network.measure

    @property
    def photo_dim(self) -> int:
        """Return the length of a photo's features."""
        return self.network.photo.in_features

    @property
    def dim(self) -> int:
        return self.network.photo.out_features

    @property
    def _device(self) -> torch.device:
        return self.network.photo.weight.device

    def check(self, feature_source: FeatureSource) -> None:
        """Refuse features of another backbone."""
        model_files.check_backbone(KIND, self.feature_source, feature_source)

    @torch.no_grad()
    def embed_photos(self, features: Array) -> Floats:
        """Return photos' vectors (N, dim) from features (N, photo_dim) of any length."""
        found = np.empty((len(features), self.dim), np.float32)
        for some in blocks(len(features), PHOTOS_AT_ONCE):
            rows = model_files.unit_features(KIND, self.feature_source, features[some], self.photo_dim)
            found[some] = self.network.photos(torch.from_numpy(rows).to(self._device)).cpu()
        return found

    @torch.no_grad()
    def embed_sentences(self, sentences: Sequence[str]) -> Floats:
        """Return sentences' vectors, (C, dim)."""
        ids, lengths = self.vocabulary.encode_all(sentences)
        found = np.empty((len(sentences), self.dim), np.float32)
        order = np.argsort(lengths, kind="stable")  # sentences of one length together need little padding
        for part in blocks(len(sentences), SENTENCES_AT_ONCE):
            some = order[part]
            rows = torch.from_numpy(ids[some, : lengths[some].max()]).to(self._device)
            found[some] = self.network.sentences(rows, torch.from_numpy(lengths[some])).cpu()
        return found

    @torch.no_grad()
    def score(self, photos: Floats, sentences: Floats) -> Floats:
        """Return scores (N, C) of N embedded photos (N, dim) for C embedded sentences (C, dim), higher is better.

        In order 0 is best: the photo shows all that the sentence says.
        """
        return scores(self._tensor(photos), self._tensor(sentences), self.measure).cpu().numpy()

    def _tensor(self, vectors: Floats) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(vectors)).to(self._device)

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
        """Yield the rows and scores of N embedded photos (N, dim), or of the rows `among`, best first.

        Photos with the highest cosines are scored first; `nearest` finds them, if there is a quicker way than to
        compare with all. The others are scored once they may be as good, which in order is soon: the ranking is the
        one that all scores would give.
        """
        sentence = self.embed_sentences([query])
        among = np.arange(len(photos)) if among is None else among
        rows, cosines = (nearest or _nearest_by_product(photos, among))(sentence, min(shortlist + 1, len(among)))
        listed = self._ranked(photos, np.sort(rows[:shortlist]), sentence)
        if len(among) <= shortlist:
            yield from listed
            return
        bound = self._bound(cosines[shortlist])
        sure = list(takewhile(lambda one: one[1] > bound, listed))
        yield from sure
        done = {row for row, _ in sure}
        yield from (one for one in self._ranked(photos, among, sentence) if one[0] not in done)

    def _ranked(self, photos: Floats, rows: Ints, sentence: Floats) -> Iterator[tuple[int, float]]:
        """Return these rows, which rise, and their scores, best first; of equally good ones the first."""
        found = np.empty(len(rows), np.float32)
        for some in blocks(len(rows), PHOTOS_AT_ONCE):
            found[some] = self.score(np.asarray(photos[rows[some]], np.float32), sentence)[:, 0]
        order = np.argsort(-found, kind="stable")
        return zip(rows[order].tolist(), found[order].tolist(), strict=True)

    def _bound(self, cosine: float) -> float:
        """Return the score that a photo of this cosine, or of a lower one, cannot exceed."""
        return cosine + 1e-6 if self.measure == "cosine" else best_order_score(cosine)

    def fit(self, score: float) -> float:
        """Return a score as people read it, 0 to 1: in order how much of the sentence is in the photo."""
        return max(0.0, score if self.measure == "cosine" else 1.0 + score)

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
        about = {
            "measure": self.measure,
            "photo_dim": self.photo_dim,
            "dim": self.dim,
            "word_dim": self.network.word.embedding_dim,
            "trunk": self.feature_source._asdict(),
            "vocabulary": self.vocabulary.to_json(),
            "about": self.about,
        }
        model_files.save(path, KIND, about, self.network.state_dict())

    @staticmethod
    def load(path: Path, device: str = "cpu") -> Matcher:
        """Read what `save` wrote. It is data alone: a file from a stranger is safe to load."""

        def build(about: dict[str, Any], weights: dict[str, Tensor]) -> Matcher:
            vocabulary = Vocabulary.from_json(about["vocabulary"])
            sizes = (len(vocabulary), about["photo_dim"], about["dim"], about["word_dim"])
            network = MatchNetwork(*sizes, about["measure"])
            network.load_state_dict(weights)
            return Matcher(network.to(device), vocabulary, FeatureSource.from_json(about["trunk"]), about["about"])

        return model_files.load(path, KIND, build)


def _nearest_by_product(photos: Floats, among: Ints) -> Nearest:
    def nearest(sentence: Floats, most: int) -> tuple[Ints, Floats]:
        cosines = photos[among] @ sentence[0]
        best = np.argsort(-cosines, kind="stable")[:most]
        return among[best], cosines[best]

    return nearest


def best_order_score(cosine: float) -> float:
    """Return the order score that a photo of this cosine, or of a lower one, cannot exceed.

    Let s be the sentence, v the photo, e = max(0, s - v). s has length 1 and is nowhere negative, so that
    |e| ≥ s·e ≥ s·(s - v) = 1 - cosine. The small numbers allow for rounding.
    """
    return -(max(0.0, 1.0 - float(cosine) - 1e-5) ** 2) + 1e-7
