"""What the command line does with words: search by a sentence; train, evaluate and use a matcher."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from samespace import looks, terminal
from samespace.arguments import library_above, look_of, open_libraries
from samespace.errors import SameSpaceError
from samespace.features import default_cache
from samespace.looks import Look
from samespace.photos import read_pixels
from samespace.reading import SIZE
from samespace.search import Space, extracted
from samespace.wording import count, readable
from samespace.words import sentences, training
from samespace.words.captions import read_captions
from samespace.words.data import captions_in, read
from samespace.words.features import Featured, Trunk, origin, told
from samespace.words.library_captions import LibraryCaptions
from samespace.words.matcher import Matcher
from samespace.words.sentences import Sentences, ask
from samespace.words.training import Recipe
from samespace.words.vocabulary import SPECIALS

BACKBONE = "mobilenet_v3_large"


# Matching


def match_train(arguments: argparse.Namespace) -> None:
    """Stopped, it goes on where it was."""
    chosen = {name: getattr(arguments, name) for name in ("measure", "negatives", "epochs", "seed")}
    recipe = Recipe(**{name: value for name, value in chosen.items() if value is not None})
    featured = _data(arguments, _trunk_of(arguments))
    unfinished = arguments.output.with_name(f"{arguments.output.name}.unfinished")
    matcher = training.train(featured, recipe, unfinished, "cuda" if torch.cuda.is_available() else "cpu")
    matcher.save(arguments.output)
    unfinished.unlink(missing_ok=True)
    for split in ("val", "test"):
        if featured.captions.counts()[split]:
            print(f"{split}\n{training.evaluate(matcher, featured.only(split))}")
    print(f"\n{terminal.from_here(arguments.output)}: {count(len(matcher.vocabulary) - len(SPECIALS), 'word')}")


def match_evaluate(arguments: argparse.Namespace) -> None:
    matcher = Matcher.load(arguments.matcher)
    featured = _data(arguments, lambda: _look_of(arguments, matcher.trunk))
    evaluation = training.evaluate(matcher, featured.only(arguments.split))
    if arguments.json:
        print(json.dumps({name: ranks._asdict() for name, ranks in evaluation._asdict().items()}))
    else:
        print(evaluation)


def match_rank(arguments: argparse.Namespace) -> None:
    matcher = Matcher.load(arguments.matcher)
    look = _look_of(arguments, matcher.trunk)
    matcher.check(Trunk(look.name, origin(look.extractor)))
    said = list(dict.fromkeys(read_captions(captions_in(arguments.captions)).captions))
    photo = matcher.embed_photos(told(extracted(look, read_pixels(arguments.photo, SIZE)[None])))
    scores = matcher.score(photo, matcher.embed_sentences(said))[0]
    best = np.argsort(-scores, kind="stable")[: arguments.top]
    ranked = [(said[at], matcher.fit(float(scores[at]))) for at in best]
    if arguments.json:
        print(json.dumps([{"sentence": sentence, "score": score} for sentence, score in ranked]))
    else:
        terminal.show_sentences(arguments.photo, ranked, len(said))


def _data(arguments: argparse.Namespace, look: Callable[[], Look]) -> Featured:
    """The captioned photos that a command names; what is left out of them is said."""
    featured = read(arguments.root, arguments.captions, arguments.features, look, default_cache())
    for note in (*featured.captions.notes, *featured.notes):
        print(f"left out: {note}", file=sys.stderr)
    return featured


def _trunk_of(arguments: argparse.Namespace) -> Callable[[], Look]:
    backbone = arguments.backbone or (None if arguments.model else BACKBONE)
    return partial(looks.look, arguments.model, backbone, arguments.weights)


def _look_of(arguments: argparse.Namespace, trunk: Trunk) -> Look:
    """What was asked for, or else what a model of words was trained with."""
    if arguments.model or arguments.backbone:
        return looks.look(arguments.model, arguments.backbone, arguments.weights)
    return looks.from_options(trunk.options)


# Searching


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
