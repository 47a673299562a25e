"""What the command line does with words: matchers, captioners, and searches by a sentence."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from samespace import terminal
from samespace.arguments import libraries_of, library_above, look_of, open_libraries, real, scan_for
from samespace.base import progress
from samespace.base.arrays import Floats
from samespace.base.errors import SameSpaceError
from samespace.base.files import content_hash
from samespace.base.photos import read_pixels
from samespace.base.text import count, readable
from samespace.library.library import FOLDER, Library, Photo
from samespace.library.read_photos import SIZE
from samespace.model.feature_bank import default_cache
from samespace.search.look import Look, choose_look, extracted, look_from_options
from samespace.search.space import Space
from samespace.words import search as sentences
from samespace.words import train_captioner
from samespace.words import train_matcher as matching
from samespace.words.caption_set import read_captions
from samespace.words.data import captions_in, read, trunk_of
from samespace.words.matcher import Matcher
from samespace.words.nearest_captions import borrow
from samespace.words.photo_features import Featured, Trunk, told, told_of
from samespace.words.search import Sentences, ask
from samespace.words.stored_captions import LibraryCaptions
from samespace.words.training_loop import into_file
from samespace.words.vocabulary import SPECIALS

BACKBONE = "mobilenet_v3_large"
BLOCK = 1024  # photos that are captioned at once, and lost if the rest is


# Matching


def match_train(arguments: argparse.Namespace) -> None:
    """Stopped, it goes on where it was."""
    recipe = matching.QUICK[arguments.measure]._replace(**_chosen(arguments, "negatives", "epochs", "seed"))
    featured = _data(arguments)
    matcher = into_file(arguments.output, partial(matching.train, featured, recipe))
    _show_splits(featured, partial(matching.evaluate, matcher))
    print(f"\n{terminal.from_here(arguments.output)}: {count(len(matcher.vocabulary) - len(SPECIALS), 'word')}")


def match_evaluate(arguments: argparse.Namespace) -> None:
    matcher = Matcher.load(arguments.matcher)
    evaluation = matching.evaluate(matcher, _data(arguments, matcher.trunk).only(arguments.split))
    if arguments.json:
        print(json.dumps({name: ranks._asdict() for name, ranks in evaluation._asdict().items()}))
    else:
        print(evaluation)


def match_rank(arguments: argparse.Namespace) -> None:
    matcher = Matcher.load(arguments.matcher)
    look = _look_of(arguments, matcher.trunk)
    matcher.check(trunk_of(look))
    said = list(dict.fromkeys(read_captions(captions_in(arguments.captions)).captions))
    photo = matcher.embed_photos(_seen(look, arguments.photo))
    scores = matcher.score(photo, matcher.embed_sentences(said))[0]
    best = np.argsort(-scores, kind="stable")[: arguments.top]
    ranked = [(said[at], matcher.fit(float(scores[at]))) for at in best]
    if arguments.json:
        print(json.dumps([{"sentence": sentence, "score": score} for sentence, score in ranked]))
    else:
        terminal.show_sentences(arguments.photo, ranked, len(said))


# Captions


def caption_train(arguments: argparse.Namespace) -> None:
    """Stopped, it goes on where it was."""
    featured = _data(arguments)
    writer: train_captioner.Writer
    if arguments.method == "nearest":
        writer = borrow(featured)
        writer.save(arguments.output)
    else:
        recipe = train_captioner.QUICK._replace(**_chosen(arguments, "epochs", "seed"))
        writer = into_file(arguments.output, partial(train_captioner.train, featured, recipe))
    _show_splits(featured, partial(train_captioner.evaluate, writer))
    print(f"\nwritten to {terminal.from_here(arguments.output)}")


def caption_evaluate(arguments: argparse.Namespace) -> None:
    writer = train_captioner.load(arguments.captioner)
    evaluation = train_captioner.evaluate(writer, _data(arguments, writer.trunk).only(arguments.split))
    if arguments.json:
        print(json.dumps({**evaluation._asdict(), "variety": evaluation.variety._asdict()}))
    else:
        print(evaluation)


def caption_write(arguments: argparse.Namespace) -> None:
    """Into the libraries of folders, which are scanned first; of photos into theirs, if they have one."""
    writer, version = train_captioner.load(arguments.captioner), content_hash(arguments.captioner)[:16]
    look = _look_of(arguments, writer.trunk)
    writer.check(trunk_of(look))
    folders = [path for path in arguments.paths if path.is_dir()]
    for library, below in libraries_of(real(folders), arguments.library) if folders else ():
        scan_for(library, below, arguments, look)
        with LibraryCaptions(library) as captions:
            photos = [photo for photo in library.photos() if any(map(photo.path.is_relative_to, below))]
            _caption(library, photos, look, writer, version, captions)
            written = captions.all()
        terminal.show_captions([(photo, written[photo.content]) for photo in photos], library.folder)
    for path in arguments.paths:
        if not path.is_dir():
            _caption_photo(path, look, writer, version, arguments.library)


def _caption(
    library: Library,
    photos: Sequence[Photo],
    look: Look,
    writer: train_captioner.Writer,
    version: str,
    captions: LibraryCaptions,
) -> None:
    """Block by block, those that lack a caption of this writer's; stopped, what is done stays."""
    known = {photo.content: photo for photo in photos}
    lacking = captions.lacking(known, version)
    with progress.bar("captions", len(lacking)) as bar:
        for at in range(0, len(lacking), BLOCK):
            some = lacking[at : at + BLOCK]
            features = library.features(look.extractor, [known[content] for content in some])
            captions.write(dict(zip(some, writer.captions(told_of(features)), strict=True)), version)
            bar.update(len(some))


def _caption_photo(path: Path, look: Look, writer: train_captioner.Writer, version: str, chosen: Path | None) -> None:
    """Kept if a library knows the photo, unless a person has captioned it."""
    (text,) = writer.captions(_seen(look, path))
    content = content_hash(path)
    above = [folder / FOLDER for folder in Path(os.path.realpath(path)).parents if (folder / FOLDER).is_dir()]
    for folder in [chosen] if chosen else above[:1]:
        (library,) = open_libraries([folder])
        if any(photo.content == content for photo in library.photos()):
            with LibraryCaptions(library) as captions:
                captions.write({content: text}, version)
                text = captions.all()[content].text
    print(f"{readable(terminal.from_here(path))}: {readable(text)}")


# What both learn from


def _chosen(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """What was typed; for the rest the recipe knows what is good."""
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def _data(arguments: argparse.Namespace, trunk: Trunk | None = None) -> Featured:
    """The captioned photos that a command names, as a model's trunk saw those it learnt from; says what is left out."""
    featured = read(
        arguments.root, arguments.captions, arguments.features, lambda: _look_of(arguments, trunk), default_cache()
    )
    for note in (*featured.captions.notes, *featured.notes):
        print(f"left out: {note}", file=sys.stderr)
    return featured


def _look_of(arguments: argparse.Namespace, trunk: Trunk | None) -> Look:
    """What was asked for, or else what a model of words was trained with, or else the usual trunk."""
    if arguments.model or arguments.backbone:
        return choose_look(arguments.model, arguments.backbone, arguments.weights)
    return look_from_options(trunk.options) if trunk else choose_look(None, BACKBONE, arguments.weights)


def _seen(look: Look, photo: Path) -> Floats:
    """(1, D): what models of words are told of a photo."""
    return told(extracted(look, read_pixels(photo, SIZE)[None]))


def _show_splits(featured: Featured, evaluate: Callable[[Featured], object]) -> None:
    for split in ("val", "test"):
        if featured.captions.counts()[split]:
            print(f"{split}\n{evaluate(featured.only(split))}")


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
        terminal.show_paths((hit.photo.path for hit in hits), "\0" if arguments.null else "\n")
    elif arguments.json:
        print(json.dumps(terminal.hits_as_json(sentence, hits, texts, asked.unknown, arguments.threshold)))
    else:
        terminal.show_hits(sentence, hits, texts, space)
    return 0 if hits else 1
