"""Search a library by a sentence, or by a sum of sentences and photos."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from itertools import chain

from samespace.base.errors import SameSpaceError
from samespace.base.text import count, readable
from samespace.cli import show
from samespace.cli.options import look_of, names_photo, open_library
from samespace.library.library import Library
from samespace.search.look import Look
from samespace.search.space import Space
from samespace.search.vectors import scan_for
from samespace.words.encoder import Encoder
from samespace.words.search import SentenceHits, sentences_of
from samespace.words.search import search_by_sentence as search
from samespace.words.sentences import Sentences
from samespace.words.stored_captions import captions_of
from samespace.words.sums import parts_of, terms_of
from samespace.words.sums import search_by_sum as search_sum

FIT = "how much of the sentence the photo or its caption shows; 1 is all"
Found = Callable[[Library, Space, "Sentences | None"], SentenceHits]


def search_by_sentence(arguments: argparse.Namespace, sentence: str) -> int:
    """Print the photos that fit, and return 0 if there are any, else 1."""
    narrowed = arguments.top, arguments.threshold, arguments.folder, not arguments.all

    def found(library: Library, space: Space, sentences: Sentences | None) -> SentenceHits:
        return search(library, space, sentences, sentence, *narrowed)

    return _answer(arguments, sentence, found)


def search_by_sum(arguments: argparse.Namespace) -> int:
    """Print the photos that fit sentences and photos, added and subtracted; return 0 if there are any, else 1."""
    parts = [[word] if os.path.isfile(word) else parts_of(word) for word in arguments.asked]  # noqa: PTH113
    terms = terms_of([*chain(*parts)], names_photo)
    narrowed = arguments.top, arguments.threshold, arguments.folder, not arguments.all

    def found(library: Library, space: Space, sentences: Sentences | None) -> SentenceHits:
        return search_sum(library, space, sentences, terms, *narrowed)

    return _answer(arguments, " ".join(arguments.asked), found, "cosine to the sum; captions do not count")


def _answer(arguments: argparse.Namespace, asked: str, find: Found, meaning: str = "") -> int:
    """Print what was found; `meaning` is that of scores for which captions do not count."""
    library = open_library(arguments.library)
    look = look_of(arguments, library)
    space = Space(library, look, arguments.index)
    show.say_lacking(library, space)
    sentences = _sentences(arguments, library, look, captions_count=not meaning)
    if sentences and sentences.lacking > space.lacking:
        spoken = ("--encoder", sentences.speaker.source) if isinstance(sentences.speaker, Encoder) else ()
        lacking, scan = count(sentences.lacking, "photo"), scan_for(library, [*look.options, *spoken])
        print(f"left out: {lacking} not yet scanned for sentences: {scan}", file=sys.stderr)
    hits, unknown, captions = find(library, space, sentences)
    if unknown:
        print(f"not known, and left out: {readable(', '.join(unknown))}", file=sys.stderr)
    if arguments.files or arguments.null:
        show.show_paths((hit.photo.path for hit in hits), "\0" if arguments.null else "\n")
    elif arguments.json:
        print(json.dumps(show.hits_as_json(asked, hits, captions, unknown, arguments.threshold)))
    else:
        show.show_hits(asked, hits, captions, space, meaning or _meaning(sentences))
    return 0 if hits else 1


def _sentences(arguments: argparse.Namespace, library: Library, look: Look, captions_count: bool) -> Sentences | None:
    """Return what understands sentences; if what the library remembers does not, say why and let captions do."""
    try:
        return sentences_of(library, look, arguments.matcher, arguments.encoder)
    except SameSpaceError as error:
        is_named = arguments.matcher or arguments.encoder
        if is_named or not captions_count or not any(caption.text for caption in captions_of(library).values()):
            raise
        print(f"only captions are searched: {readable(str(error))}", file=sys.stderr)
        return None


def _meaning(sentences: Sentences | None) -> str:
    """Say what the scores of a sentence mean."""
    if sentences and isinstance(sentences.speaker, Encoder):
        return f"cosine of sentence and photo by {sentences.speaker.name}; higher if the caption says it, too"
    return FIT
