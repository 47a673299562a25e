"""Find photos by sentences and photos that are added and subtracted: "kitchen" + photo.jpg - "people"."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from samespace.base.arrays import Floats
from samespace.base.errors import SameSpaceError
from samespace.base.photos import SIZE, read_pixels
from samespace.base.text import readable
from samespace.library.library import Library
from samespace.search.look import Look, extracted
from samespace.search.space import Space
from samespace.words.encoder import Encoder
from samespace.words.matcher import Matcher
from samespace.words.photo_features import combine_fields
from samespace.words.search import SentenceHits
from samespace.words.sentences import Sentences
from samespace.words.stored_captions import captions_of

SIGNS = {"+": 1, "-": -1}
SIGN = re.compile(r"(?:^|\s+)([+-])(?=\s|$)")  # a word of its own: living-room is a word


class Term(NamedTuple):
    """A sentence or a photo that is added or subtracted."""

    sign: int  # 1 or -1
    said: str  # the sentence, or the photo's path
    is_photo: bool


def parts_of(text: str) -> list[str]:
    """Return the signs of a sum and what stands between them; of a sentence, the sentence alone."""
    return [part for part in map(str.strip, SIGN.split(text)) if part]


def terms_of(words: Sequence[str], names_photo: Callable[[str], bool]) -> list[Term]:
    """Return the terms that words and signs make; words between two signs are one sentence."""
    terms: list[Term] = []
    sign, said = 1, list[str]()
    for number, word in enumerate([*words, "+"]):
        if word not in SIGNS:
            said.append(word)
            continue
        if said:
            photos = [names_photo(one) for one in said]
            if any(photos) and len(said) > 1:
                raise SameSpaceError(f"{readable(' '.join(said))} is a photo and more: put + or - between them")
            terms.append(Term(sign, " ".join(said), any(photos)))
        elif number:
            raise SameSpaceError(f"{' '.join(words)}: a sign lacks a sentence or a photo after it")
        sign, said = SIGNS[word], []
    if not any(term.sign > 0 for term in terms):
        raise SameSpaceError("everything is subtracted: add a sentence or a photo, as in kitchen - people")
    return terms


def search_by_sum(
    library: Library,
    space: Space,
    sentences: Sentences | None,
    terms: Sequence[Term],
    top: int = 10,
    threshold: float | None = None,
    folder: Path | None = None,
    collapse: bool = True,
    skip: Collection[Path] = (),
    start: int = 0,
) -> SentenceHits:
    """Return the photos nearest to a sum, without those that are terms of it; captions do not count.

    The options are those of `Space.search`.
    """
    if sentences is None:
        raise SameSpaceError(
            f"{library.folder} cannot add sentences and photos yet: scan with --encoder NAME, or with a matcher of "
            "`samespace match train --measure cosine`"
        )
    if not sentences.speaker.does_arithmetic:
        raise SameSpaceError(
            "a matcher trained with --measure order cannot add and subtract: train one with --measure cosine, or scan "
            "with --encoder NAME"
        )
    among = space.contents(folder) if folder else None
    ranking = sentences.ranking(_sum(terms, sentences.speaker, space.look), among, ())
    own = [Path(os.path.realpath(term.said)) for term in terms if term.is_photo]
    hits = space.show(ranking, top, threshold, folder, collapse, [*own, *skip], start)
    contents = {hit.photo.content for hit in hits}
    written = captions_of(library)
    unknown = [word for term in terms if not term.is_photo for word in _unknown(term.said, sentences.speaker)]
    return SentenceHits(hits, unknown, {content: written[content].text for content in contents & written.keys()})


def _unknown(sentence: str, speaker: object) -> list[str]:
    return speaker.vocabulary.unknown(sentence) if isinstance(speaker, Matcher) else []


def _sum(terms: Sequence[Term], speaker: object, look: Look) -> Floats:
    """Return the sum's vector, (1, dim) of length 1: each term has the same weight."""
    assert isinstance(speaker, Encoder | Matcher)
    total = np.zeros((1, speaker.dim), np.float32)
    for term in terms:
        if term.is_photo:
            pixels = read_pixels(Path(term.said), SIZE)[None]
            if isinstance(speaker, Encoder):
                found = speaker.embed_photos(pixels)
            else:
                found = speaker.embed_photos(combine_fields(extracted(look, pixels)))
        else:
            speaker.refuse_strangers(term.said)
            found = speaker.embed_sentences([term.said])
        total += term.sign * found
    length = float(np.linalg.norm(total))
    if length < 1e-3:
        raise SameSpaceError("the terms cancel each other out: leave out one of them")
    return total / np.float32(length)
