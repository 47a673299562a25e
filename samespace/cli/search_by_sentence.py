"""Search a library by a sentence."""

from __future__ import annotations

import argparse
import json
import sys

from samespace.base.errors import SameSpaceError
from samespace.base.text import readable
from samespace.cli import show
from samespace.cli.options import look_of, open_library
from samespace.search.space import Space
from samespace.words import search as sentences
from samespace.words.search import Sentences, ask
from samespace.words.stored_captions import LibraryCaptions


def search_by_sentence(arguments: argparse.Namespace, sentence: str) -> int:
    """Exits with 0 if something was found, with 1 if nothing was."""
    library = open_library(arguments.library)
    look = look_of(arguments, library)
    space = Space(library, look, arguments.index)
    show.say_lacking(space)
    matcher = arguments.matcher or sentences.remembered(library)
    known = Sentences(library, look, matcher) if matcher else None
    among = space.contents(arguments.folder) if arguments.folder else None
    with LibraryCaptions(library) as captions:
        written = captions.all()
        if known is None and not written:
            raise SameSpaceError(
                f"{library.folder} understands no sentences yet: scan with --matcher FILE, which `samespace match "
                "train` writes, or caption its photos"
            )
        asked = ask(sentence, among, known, captions)
        hits = space.show(
            asked.ranking, arguments.top, arguments.threshold, arguments.folder, collapse=not arguments.all
        )
    texts = {hit.photo.content: written[hit.photo.content].text for hit in hits if hit.photo.content in written}
    if asked.unknown:
        print(f"not known, and left out: {readable(', '.join(asked.unknown))}", file=sys.stderr)
    if arguments.files or arguments.null:
        show.show_paths((hit.photo.path for hit in hits), "\0" if arguments.null else "\n")
    elif arguments.json:
        print(json.dumps(show.hits_as_json(sentence, hits, texts, asked.unknown, arguments.threshold)))
    else:
        show.show_hits(sentence, hits, texts, space)
    return 0 if hits else 1
