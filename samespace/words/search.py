"""A library's photos by a sentence: by what a matcher sees in them and what their captions say, in one order."""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from samespace.base.arrays import Floats, Ints
from samespace.base.errors import SameSpaceError
from samespace.base.files import content_hash
from samespace.base.text import readable
from samespace.library.features import Features, Fields
from samespace.library.library import Library
from samespace.search.exact import Exact
from samespace.search.look import Look, look_from_options, remember_look
from samespace.search.space import Hit, Space
from samespace.words.photo_features import combine_features, feature_source_of
from samespace.words.stored_captions import LibraryCaptions
from samespace.words.tokens import split_words

if TYPE_CHECKING:
    from samespace.words.matcher import Matcher

# How much a captioner's word counts beside a matcher's. Of validation photos, 110 of drawn rooms and 80 of Flickr8k,
# mean ranks were 3.05 and 15.3 by a matcher alone, 2.98 and 14.3 like this, 3.64 and 19.1 if it counted as a person's.
# People's captions, one written and another to search by, count in full: of the 80 photos 91 % are then among the first
# ten, 85 % by captions alone, 65 % by the matcher alone.
TRUST = 0.2

_NOTE = "matcher"  # its name in the library's notes
_FIELD = "photos"


class Embedded(NamedTuple):
    """Vectors that a library keeps for a matcher, of length 1 and in half precision."""

    fingerprint: str
    fields: Fields


class Asked(NamedTuple):
    """Contents ranked for a sentence."""

    ranking: Iterator[tuple[str, float]]  # contents and how well they fit, 0 to 1, best first
    unknown: list[str]  # words that neither the matcher nor any caption knows, left out of account


class Sentences:
    """Photos of a library as a matcher sees them. Made on one thread; any thread may ask.

    An encoder of photos and sentences from elsewhere would come in here: its eyes as a look, whose vectors a library
    keeps, its words in a matcher's place, which has to have `embed_photos`, `ranking`, `score` and a vocabulary.
    """

    def __init__(self, library: Library, look: Look, file: Path) -> None:
        """`file` is a matcher's, trained on features of this look; every photo that has these is made ready."""
        self.matcher = matcher = _load(file)
        matcher.check(feature_source_of(look))
        version = content_hash(file)[:16]
        kept = Embedded(f"{look.extractor.fingerprint}-{version}", {_FIELD: ((matcher.dim,), "float16")})

        def derive(features: Features) -> dict[str, npt.NDArray[Any]]:
            return {_FIELD: matcher.embed_photos(combine_features(features)).astype(np.float16)}

        library.derive(look.extractor, kept, derive)
        with library.unchanging():
            there = {photo.content: photo for photo in library.photos()}
            ready = sorted(library.rows(kept).keys() & there.keys())
            features = library.features(kept, [there[content] for content in ready])
        self._row_of = dict(zip(ready, features.rows.tolist(), strict=True))
        self._content_of = {row: content for content, row in self._row_of.items()}
        self._photos = features.mapped(_FIELD)
        self._exact = Exact(self._photos)
        self._kept = np.zeros(len(self._photos), np.bool_)  # rows that are some photo's
        self._kept[features.rows] = True

    def ranking(
        self, sentence: str, among: Collection[str] | None, but: Collection[str]
    ) -> Iterator[tuple[str, float]]:
        """Yield contents and how well they fit, best first: all, or those among these, without `but`."""
        allowed = self._kept.copy()
        if among is not None:
            allowed[:] = False
            allowed[self._rows(among)] = True
        allowed[self._rows(but)] = False

        def nearest(query: Floats, most: int) -> tuple[Ints, Floats]:
            found = self._exact.nearest(query, most, allowed)
            return found.rows[0], found.cosines[0]

        among_rows = np.flatnonzero(allowed)
        for row, score in self.matcher.ranking(sentence, self._photos, nearest=nearest, among=among_rows):
            yield self._content_of[row], self.matcher.fit(score)

    def fits(self, sentence: str, contents: Collection[str]) -> dict[str, float]:
        """Return how well these contents fit, in their order, without those that are not kept."""
        known = [content for content in contents if content in self._row_of]
        photos = np.asarray(self._photos[self._rows(known)], np.float32)
        scores = self.matcher.score(photos, self.matcher.embed_sentences([sentence]))[:, 0]
        return {content: self.matcher.fit(score) for content, score in zip(known, scores.tolist(), strict=True)}

    def _rows(self, contents: Iterable[str]) -> Ints:
        return np.array([self._row_of[content] for content in contents if content in self._row_of], np.int64)


class SentenceHits(NamedTuple):
    """Photos that a sentence found."""

    hits: list[Hit]  # best first
    unknown: list[str]  # words that were left out
    captions: dict[str, str]  # of the hits, by content


def sentences_of(library: Library, look: Look, matcher: Path | None = None) -> Sentences | None:
    """Return the library's photos as a matcher sees them: the one in this file, else the one that is remembered."""
    file = matcher or remembered(library)
    return Sentences(library, look, file) if file else None


def search_by_sentence(
    library: Library,
    space: Space,
    sentences: Sentences | None,
    sentence: str,
    top: int = 10,
    threshold: float | None = None,
    folder: Path | None = None,
    collapse: bool = True,
    skip: Collection[Path] = (),
    start: int = 0,
) -> SentenceHits:
    """Return the photos of a space that fit a sentence, by what a matcher sees in them and by their captions.

    The options are those of `Space.search`.
    """
    among = space.contents(folder) if folder else None
    with LibraryCaptions(library) as captions:
        written = captions.all()
        if sentences is None and not written:
            raise SameSpaceError(
                f"{library.folder} understands no sentences yet: scan with --matcher FILE, which `samespace match "
                "train` writes, or caption its photos"
            )
        asked = ask(sentence, among, sentences, captions)
        hits = space.show(asked.ranking, top, threshold, folder, collapse, skip, start)
    contents = {hit.photo.content for hit in hits}
    texts = {content: written[content].text for content in contents & written.keys()}
    return SentenceHits(hits, asked.unknown, texts)


def ask(sentence: str, among: Collection[str] | None, sentences: Sentences | None, captions: LibraryCaptions) -> Asked:
    """Rank all contents, or some, for a sentence, by a matcher if there is one and by captions.

    A photo fits if the matcher says so or its caption does: with e and t for how much, 1 - (1 - e)(1 - t). What a
    captioner wrote counts less, for it may be wrong, and looked at no more than the matcher does.
    """
    words = split_words(sentence)
    if not words:
        raise SameSpaceError(f"there is no word in {readable(sentence)!r}: describe a photo")
    said = captions.matching(sentence)
    said = said if among is None else {content: said[content] for content in said.keys() & set(among)}
    seen = [word for word in words if sentences and word in sentences.matcher.vocabulary]
    unknown = [word for word in dict.fromkeys(words) if word not in seen and not captions.matching(word)]
    if sentences is None or not seen:
        if sentences and not said:
            sentences.matcher.refuse_strangers(sentence)
        return Asked(iter(_best_first(said)), unknown)
    fits, by_hand = sentences.fits(sentence, said), captions.by_hand()
    both = {
        content: 1 - (1 - fits.get(content, 0.0)) * (1 - (share if content in by_hand else TRUST * share))
        for content, share in said.items()
    }
    rest = sentences.ranking(sentence, among, but=said)
    return Asked(heapq.merge(_best_first(both), rest, key=_falling), unknown)


def _best_first(fits: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(fits.items(), key=lambda one: (-one[1], one[0]))


def _falling(one: tuple[str, float]) -> float:
    return -one[1]


# What a library remembers


def look_for(file: Path, look: Look) -> Look:
    """Return the look that a library must be scanned for, so that the matcher in this file knows its photos.

    That is this look; if it finds copies only, it is the look that the matcher was trained with.
    """
    matcher = _load(file)
    if not look.options:
        look = look_from_options(matcher.feature_source.options)
    if not look.options:
        raise SameSpaceError(
            f"{file} was trained on features of {matcher.feature_source.name}: "
            "give the --backbone or the --model they are of"
        )
    matcher.check(feature_source_of(look))
    return look


def _load(file: Path) -> Matcher:
    """Return the matcher in this file; the one that was read last is not read again."""
    try:
        return _read(file, content_hash(file))
    except OSError:  # of which `Matcher.load` says what is wrong
        return _read(file, "")


@lru_cache(maxsize=1)
def _read(file: Path, digest: str) -> Matcher:
    from samespace.words.matcher import Matcher  # which imports torch

    return Matcher.load(file)


def remember(library: Library, look: Look, file: Path) -> None:
    """Understand sentences by the matcher in this file from now on, and compare photos by its look."""
    Sentences(library, look, file)  # makes the photos ready
    remember_look(library, look)
    library.write_note(_NOTE, json.dumps({"path": os.path.realpath(file)}))


def remembered(library: Library) -> Path | None:
    """Return the file of the matcher that sentences are understood by, or None if there is none."""
    note = library.note(_NOTE)
    if note is None:
        return None
    path = Path(json.loads(note)["path"])
    if not path.is_file():
        raise SameSpaceError(
            f"{library.folder} understands sentences by {path}, which has gone: give another --matcher FILE"
        )
    return path
