"""Search a library by a sentence."""

from __future__ import annotations

import argparse
import json
import sys

from samespace.base.text import readable
from samespace.cli import show
from samespace.cli.options import look_of, open_library
from samespace.search.space import Space
from samespace.words.search import search_by_sentence as search
from samespace.words.search import sentences_of


def search_by_sentence(arguments: argparse.Namespace, sentence: str) -> int:
    """Print the photos that fit, and return 0 if there are any, else 1."""
    library = open_library(arguments.library)
    look = look_of(arguments, library)
    space = Space(library, look, arguments.index)
    show.say_lacking(space)
    sentences = sentences_of(library, look, arguments.matcher)
    narrowed = arguments.top, arguments.threshold, arguments.folder, not arguments.all
    hits, unknown, captions = search(library, space, sentences, sentence, *narrowed)
    if unknown:
        print(f"not known, and left out: {readable(', '.join(unknown))}", file=sys.stderr)
    if arguments.files or arguments.null:
        show.show_paths((hit.photo.path for hit in hits), "\0" if arguments.null else "\n")
    elif arguments.json:
        print(json.dumps(show.hits_as_json(sentence, hits, captions, unknown, arguments.threshold)))
    else:
        show.show_hits(sentence, hits, captions, space)
    return 0 if hits else 1
