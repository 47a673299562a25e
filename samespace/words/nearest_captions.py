"""Borrow captions from the most similar training photos: nothing is trained, and every caption is a person's.

Devlin et al., 2015 (arXiv 1505.04467). Of the captions of the nearest training photos the one is chosen that agrees
best with the others, so that it does not describe what only one of these photos shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from samespace.base.arrays import Array, Floats, Ints
from samespace.search.exact import Exact
from samespace.words import model_files
from samespace.words.metrics import ORDER
from samespace.words.photo_features import Featured, FeatureSource
from samespace.words.tokens import split_words

KIND = "borrower"  # of file
# Photos whose captions are compared. With 5, 10, 20 and 40 CIDEr-D on validation photos was 0.18, 0.22, 0.25 and 0.20
# for 800 of Flickr8k, 1.88, 1.92, 1.81 and 1.74 for 1,500 of drawn rooms. Each caption is compared with all others:
# compared with the ten most like it, as in the paper, it was 0.18 instead of 0.23 and 1.43 instead of 1.56, without
# colours.
NEAREST = 20


class Borrower:
    """Training photos' features and captions, to borrow from."""

    def __init__(
        self,
        features: Array,
        said: Sequence[Sequence[str]],
        feature_source: FeatureSource,
        about: dict[str, Any] | None = None,
    ) -> None:
        """Take features (N, D) of length 1, kept in half precision, and the captions of each photo, `said`."""
        assert len(features) == len(said) > 0, "captions for each photo"
        self.features = features.astype(np.float16)
        self._index = Exact(self.features)
        self.said = [tuple(captions) for captions in said]
        self.feature_source, self.about = feature_source, about or {}
        self._captions = tuple(chain.from_iterable(self.said))
        counts = np.array([len(captions) for captions in self.said])
        self._starts = np.cumsum(counts) - counts
        self._grams = Grams(self._captions, np.repeat(np.arange(len(counts)), counts))

    def check(self, feature_source: FeatureSource) -> None:
        """Refuse features of another backbone."""
        model_files.check_backbone(KIND, self.feature_source, feature_source)

    def captions(self, features: Array, nearest: int = NEAREST) -> list[str]:
        """Return a caption for each of N photos by features (N, D) of any length."""
        rows = model_files.unit_features(KIND, self.feature_source, features, self.features.shape[1])
        found = self._index.nearest(rows, min(nearest, len(self.said))).rows
        return [self._captions[self._consensus(photos)] for photos in found]

    def _consensus(self, photos: Ints) -> int:
        """Return the number of the caption that agrees best with the others of these photos."""
        captions = np.concatenate([self._starts[one] + np.arange(len(self.said[one])) for one in photos])
        return int(captions[self._grams.consensus(captions)])

    def save(self, path: Path) -> None:
        """Write one safetensors file, whole or not at all."""
        text = "\n".join(self._captions).encode()  # each is one line
        arrays: dict[str, Array] = {
            "features": self.features,
            "captions": np.frombuffer(text, np.uint8),
            "counts": np.array([len(captions) for captions in self.said], np.int64),
        }
        model_files.save(path, KIND, {"trunk": self.feature_source._asdict(), "about": self.about}, arrays)

    @staticmethod
    def load(path: Path) -> Borrower:
        """Read what `save` wrote. It is data alone: a file from a stranger is safe to load."""

        def build(about: dict[str, Any], arrays: dict[str, Array]) -> Borrower:
            captions = arrays["captions"].tobytes().decode().split("\n")
            ends = np.cumsum(arrays["counts"])
            if ends[-1] != len(captions) or len(ends) != len(arrays["features"]) or arrays["counts"].min() < 1:
                raise ValueError("captions of other photos")
            said = [captions[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
            return Borrower(arrays["features"], said, FeatureSource.from_json(about["trunk"]), about["about"])

        return model_files.load(path, KIND, build)


def borrow(featured: Featured) -> Borrower:
    """Make a borrower from the training photos."""
    learnt = featured.only("train")
    said = [image.captions for image in learnt.captions.images]
    return Borrower(learnt.features, said, featured.feature_source, {"captions": featured.captions.source.name})


class Grams:
    """C captions as runs of 1 to 4 words, weighted as in CIDEr: the fewer photos have a run, the more it counts."""

    def __init__(self, captions: Sequence[str], photo_of: Ints) -> None:
        """Take captions and the number of each one's photo (C,), from 0."""
        sentences = [split_words(caption) for caption in captions]
        numbers: dict[str, int] = {}
        words = np.array([numbers.setdefault(word, len(numbers)) for said in sentences for word in said], np.int64)
        lengths = np.array([len(said) for said in sentences], np.int64)
        caption_of = np.repeat(np.arange(len(lengths)), lengths)
        left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words))  # of its caption, from each word on
        orders = list(_by_order(words, left, caption_of, photo_of))
        where = np.concatenate([caption for caption, _, _ in orders])
        order = np.argsort(where, kind="stable")
        self._starts = np.searchsorted(where[order], np.arange(len(lengths) + 1))
        self._grams = np.concatenate([gram for _, gram, _ in orders])[order]
        self._weights = np.concatenate([weight for _, _, weight in orders])[order]

    def consensus(self, captions: Ints) -> int:
        """Return the place of the caption that is most like all others together; of several the first."""
        sizes = self._starts[captions + 1] - self._starts[captions]
        rows = np.repeat(np.arange(len(captions)), sizes)
        places = np.arange(sizes.sum()) + np.repeat(self._starts[captions] - (np.cumsum(sizes) - sizes), sizes)
        grams, weights = np.unique(self._grams[places], return_inverse=True)[1], self._weights[places]
        others = np.bincount(grams, weights)[grams] - weights
        return int(np.bincount(rows, weights * others, len(captions)).argmax())


def _by_order(words: Ints, left: Ints, caption_of: Ints, photo_of: Ints) -> list[tuple[Ints, Ints, Floats]]:
    """Return, for runs of 1 word, of 2, and so on: the captions with one, its number, and its weight there."""
    found, known = [], 0
    photos, captions = int(photo_of.max()) + 1, len(photo_of)
    runs, at = words, np.arange(len(words))
    for size in range(1, ORDER + 1):
        if size > 1:
            longer = left[at] >= size
            at = at[longer]
            pairs = runs[longer] * (int(words.max(initial=0)) + 1) + words[at + size - 1]
            runs = np.unique(pairs, return_inverse=True)[1]
        count = int(runs.max(initial=-1)) + 1
        both, times = np.unique(caption_of[at] * count + runs, return_counts=True)
        caption, gram = both // max(count, 1), both % max(count, 1)
        seen = np.unique(photo_of[caption] * count + gram) % max(count, 1)
        weights = times * np.log(photos / np.bincount(seen, minlength=count))[gram]
        lengths = np.sqrt(np.bincount(caption, weights**2, captions))
        found.append((caption, known + gram, (weights / np.maximum(lengths, 1e-12)[caption] / ORDER**0.5).astype("f4")))
        known += count
    return found
