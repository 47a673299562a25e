"""Photos of a library as a matcher or an encoder sees them, ranked for a sentence."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from samespace.base.arrays import Floats, Ints
from samespace.library.features import Fields, Kept
from samespace.library.library import Library
from samespace.search.exact import Exact
from samespace.words.ranking import Nearest


class Speaker(Protocol):
    """A matcher or an encoder: it puts sentences into the space of photos."""

    @property
    def does_arithmetic(self) -> bool:
        """Return True if sentences and photos may be added and subtracted."""

    def embed_sentences(self, sentences: Sequence[str]) -> Floats:
        """Return sentences' vectors, (C, dim) of length 1."""

    def score(self, photos: Floats, sentences: Floats) -> Floats:
        """Return scores (N, C) of embedded photos for embedded sentences, higher is better."""

    def ranked(
        self, sentence: Floats, photos: Floats, nearest: Nearest | None = None, among: Ints | None = None
    ) -> Iterator[tuple[int, float]]:
        """Yield the rows and scores of embedded photos, or of the rows `among`, best first."""

    def fit(self, score: float) -> float:
        """Return a score as people read it, at most 1."""

    def knows(self, word: str) -> bool:
        """Return True if the word means something to it."""

    def refuse_strangers(self, query: str) -> None:
        """Refuse a query without a known word."""


class Embedded(NamedTuple):
    """Vectors that a library keeps for a matcher, of length 1 and in half precision."""

    fingerprint: str
    fields: Fields


class Sentences:
    """Photos of a library as a matcher or an encoder sees them. Made on one thread; any thread may ask."""

    def __init__(self, library: Library, speaker: Speaker, kept: Kept) -> None:
        """Take the only field that is kept of photos for the speaker; those that have it can be found."""
        (field,) = kept.fields
        self.speaker = speaker
        with library.unchanging():
            photos = library.photos()
            there = {photo.content: photo for photo in photos}
            ready = sorted(library.rows(kept).keys() & there.keys())
            features = library.features(kept, [there[content] for content in ready])
        self._row_of = dict(zip(ready, features.rows.tolist(), strict=True))
        self.lacking = sum(photo.content not in self._row_of for photo in photos)  # photos that cannot be found
        self._content_of = {row: content for content, row in self._row_of.items()}
        self._photos = features.mapped(field)
        self._exact = Exact(self._photos)
        self._kept = np.zeros(len(self._photos), np.bool_)  # rows that are some photo's
        self._kept[features.rows] = True

    def ranking(
        self, sentence: str | Floats, among: Collection[str] | None, but: Collection[str]
    ) -> Iterator[tuple[str, float]]:
        """Yield contents and how well they fit, best first: all, or those among these, without `but`.

        `sentence` may be a vector (1, dim), too.
        """
        allowed = self._kept.copy()
        if among is not None:
            allowed[:] = False
            allowed[self._rows(among)] = True
        allowed[self._rows(but)] = False

        def nearest(query: Floats, most: int) -> tuple[Ints, Floats]:
            found = self._exact.nearest(query, most, allowed)
            return found.rows[0], found.cosines[0]

        among_rows = np.flatnonzero(allowed)
        vector = self.speaker.embed_sentences([sentence]) if isinstance(sentence, str) else sentence
        for row, score in self.speaker.ranked(vector, self._photos, nearest, among_rows):
            yield self._content_of[row], self.speaker.fit(score)

    def fits(self, sentence: str, contents: Collection[str]) -> dict[str, float]:
        """Return how well these contents fit, in their order, without those that are not kept."""
        known = [content for content in contents if content in self._row_of]
        photos = np.asarray(self._photos[self._rows(known)], np.float32)
        scores = self.speaker.score(photos, self.speaker.embed_sentences([sentence]))[:, 0]
        return {content: self.speaker.fit(score) for content, score in zip(known, scores.tolist(), strict=True)}

    def _rows(self, contents: Iterable[str]) -> Ints:
        return np.array([self._row_of[content] for content in contents if content in self._row_of], np.int64)
