"""Find a library's photos by a sentence: by what a matcher or an encoder sees and what captions say, in one order."""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from samespace.base.errors import SameSpaceError
from samespace.base.files import content_hash
from samespace.base.text import readable
from samespace.library.features import Features
from samespace.library.library import Library
from samespace.search.look import Look, look_from_options, remember_look
from samespace.search.space import Hit, Space
from samespace.words.photo_features import combine_features, feature_source_of
from samespace.words.remembered_encoder import by_encoder, forget_encoder, remembered_encoder
from samespace.words.sentences import Embedded, Sentences
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


class Asked(NamedTuple):
    """Contents ranked for a sentence."""

    ranking: Iterator[tuple[str, float]]  # contents and how well they fit, 0 to 1, best first
    unknown: list[str]  # words that neither the matcher nor any caption knows, left out of account


class SentenceHits(NamedTuple):
    """Photos that a sentence found."""

    hits: list[Hit]  # best first
    unknown: list[str]  # words that were left out
    captions: dict[str, str]  # of the hits, by content


def sentences_of(
    library: Library, look: Look, matcher: Path | None = None, encoder: str | None = None
) -> Sentences | None:
    """Return the library's photos as a matcher or an encoder sees them: this one, else the one that is remembered."""
    if encoder or (not matcher and remembered_encoder(library)):
        return by_encoder(library, encoder)
    file = matcher or remembered(library)
    return by_matcher(library, look, file) if file else None


def by_matcher(library: Library, look: Look, file: Path) -> Sentences:
    """Return the photos as the matcher in a file sees them; every photo that has features of its look is made ready."""
    matcher = _load(file)
    matcher.check(feature_source_of(look))
    version = content_hash(file)[:16]
    kept = Embedded(f"{look.extractor.fingerprint}-{version}", {_FIELD: ((matcher.dim,), "float16")})

    def derive(features: Features) -> dict[str, npt.NDArray[Any]]:
        return {_FIELD: matcher.embed_photos(combine_features(features)).astype(np.float16)}

    library.derive(look.extractor, kept, derive)
    return Sentences(library, matcher, kept)


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
    """Return the photos of a space that fit a sentence, by what is seen in them and by their captions.

    The options are those of `Space.search`.
    """
    among = space.contents(folder) if folder else None
    with LibraryCaptions(library) as captions:
        written = captions.all()
        if sentences is None and not written:
            raise SameSpaceError(
                f"{library.folder} understands no sentences yet: scan with --encoder NAME, or with --matcher FILE, "
                "which `samespace match train` writes, or caption its photos"
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
    seen = [word for word in words if sentences and sentences.speaker.knows(word)]
    unknown = [word for word in dict.fromkeys(words) if word not in seen and not captions.matching(word)]
    if sentences is None or not seen:
        if sentences and not said:
            sentences.speaker.refuse_strangers(sentence)
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
    by_matcher(library, look, file)  # makes the photos ready
    remember_look(library, look)
    library.write_note(_NOTE, json.dumps({"path": os.path.realpath(file)}))
    forget_encoder(library)


def way(library: Library) -> str:
    """Return what decides how sentences are understood, for comparison: what is remembered, or why it is of no use."""
    noted = remembered_encoder(library)
    if noted:
        return f"{noted} {len(library.rows(Embedded(noted.fingerprint, {})))}"
    try:
        return str(remembered(library) or "")
    except SameSpaceError as error:
        return str(error)


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
