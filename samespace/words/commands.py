"""What the command line does with words: search a library by a sentence."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from samespace import terminal
from samespace.arguments import library_above, look_of, open_libraries
from samespace.errors import SameSpaceError
from samespace.search import Space
from samespace.wording import readable
from samespace.words import sentences
from samespace.words.library_captions import LibraryCaptions
from samespace.words.sentences import Sentences, ask


def search(arguments: argparse.Namespace, sentence: str) -> int:
    """Exits with 0 if something was found, with 1 if nothing was."""
    (library,) = open_libraries([arguments.library or library_above(Path.cwd())])
    look = look_of(arguments, library)
    space = Space(library, look, arguments.index)
    terminal.say_lacking(space)
    matcher = arguments.matcher or sentences.remembered(library)
    known = Sentences(library, look, matcher) if matcher else None
    among = space.contents(arguments.folder) if arguments.folder else None
    with LibraryCaptions(library) as captions:
        if known is None and not captions.all():
            raise SameSpaceError(
                f"{library.folder} understands no sentences yet: scan with --matcher FILE, which `samespace match "
                "train` writes, or caption its photos"
            )
        asked = ask(sentence, among, known, captions)
        hits = space.show(
            asked.ranking, arguments.top, arguments.threshold, arguments.folder, collapse=not arguments.all
        )
        texts = {content: caption.text for content, caption in captions.all().items()}
    if asked.unknown:
        print(f"not known, and left out: {readable(', '.join(asked.unknown))}", file=sys.stderr)
    if arguments.files or arguments.null:
        terminal.show_paths((hit.photo.path for hit in hits), "\0" if arguments.null else "\n")
    elif arguments.json:
        print(json.dumps(terminal.hits_as_json(sentence, hits, texts, asked.unknown, arguments.threshold)))
    else:
        terminal.show_hits(sentence, hits, texts, space)
    return 0 if hits else 1
