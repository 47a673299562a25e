"""`samespace caption`: train a captioner, evaluate it, and caption photos."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from samespace.base import progress
from samespace.base.files import content_hash
from samespace.base.photos import EXTENSIONS
from samespace.base.text import readable
from samespace.cli import show
from samespace.cli.captioned import choose, chosen, data, seen, show_splits
from samespace.cli.options import has_look, libraries_of, real
from samespace.cli.scanned import refuse_photoless
from samespace.library.library import FOLDER, Library, Photo
from samespace.search.look import Look
from samespace.search.vectors import naming_the_scan
from samespace.words.nearest_captions import borrow
from samespace.words.photo_features import combine_features, feature_source_of
from samespace.words.scan import scan_folders
from samespace.words.stored_captions import LibraryCaptions
from samespace.words.writers import Writer, load

BLOCK = 1024  # photos captioned at once; if stopped, at most these are done again


def caption_train(arguments: argparse.Namespace) -> None:
    """Train a captioner. If stopped, it goes on where it was."""
    from samespace.words import train_captioner  # which imports torch
    from samespace.words.training_loop import into_file

    featured = data(arguments)
    if arguments.method == "nearest":
        borrow(featured).save(arguments.output)
    else:
        recipe = train_captioner.QUICK._replace(**chosen(arguments, "epochs", "seed"))
        into_file(arguments.output, partial(train_captioner.train, featured, recipe))
    writer = load(arguments.output)  # as it will answer, without torch
    show_splits(featured, partial(train_captioner.evaluate, writer))
    print(f"\nwritten to {show.from_here(arguments.output)}")


def caption_evaluate(arguments: argparse.Namespace) -> None:
    """Compare a captioner's captions with those that people wrote."""
    from samespace.words import train_captioner

    writer = load(arguments.captioner)
    evaluation = train_captioner.evaluate(writer, data(arguments, writer.feature_source).only(arguments.split))
    if arguments.json:
        print(json.dumps({**evaluation._asdict(), "variety": evaluation.variety._asdict()}))
    else:
        print(evaluation)


def caption_write(arguments: argparse.Namespace) -> None:
    """Caption folders, which are scanned first, and photos. Captions are kept in their libraries, if they have one."""
    writer, version = load(arguments.captioner), content_hash(arguments.captioner)[:16]
    look = choose(arguments, writer.feature_source)
    writer.check(feature_source_of(look))
    folders = [path for path in arguments.paths if path.is_dir()]
    extensions, remember = arguments.extensions or EXTENSIONS, has_look(arguments)
    refuse_photoless(real(folders), arguments.library, extensions, arguments.follow_links)
    for library, below in libraries_of(real(folders), arguments.library) if folders else ():
        scan_folders(library, below, look, None, extensions, arguments.follow_links, remember)
        with LibraryCaptions(library) as captions:
            photos = [photo for photo in library.photos() if any(map(photo.path.is_relative_to, below))]
            _caption(library, photos, look, writer, version, captions)
            written = captions.all()
        show.show_captions([(photo, written[photo.content]) for photo in photos], library.folder)
    for path in arguments.paths:
        if not path.is_dir():
            _caption_photo(path, look, writer, version, arguments.library)


def _caption(
    library: Library,
    photos: Sequence[Photo],
    look: Look,
    writer: Writer,
    version: str,
    captions: LibraryCaptions,
) -> None:
    """Caption the photos that this writer has not captioned yet, block by block. If stopped, what is done stays."""
    known = {photo.content: photo for photo in photos}
    lacking = captions.lacking(known, version)
    with progress.bar("captions", len(lacking)) as bar:
        for at in range(0, len(lacking), BLOCK):
            some = lacking[at : at + BLOCK]
            with naming_the_scan(library, look.options):
                features = library.features(look.extractor, [known[content] for content in some])
            captions.write(dict(zip(some, writer.captions(combine_features(features)), strict=True)), version)
            bar.update(len(some))


def _caption_photo(path: Path, look: Look, writer: Writer, version: str, chosen: Path | None) -> None:
    """Print a caption for a photo; keep it in its library, unless a person has captioned the photo."""
    (text,) = writer.captions(seen(look, path))
    content = content_hash(path)
    above = [folder / FOLDER for folder in Path(os.path.realpath(path)).parents if (folder / FOLDER).is_dir()]
    for folder in [chosen] if chosen else above[:1]:
        library = Library(folder)
        if any(photo.content == content for photo in library.photos()):
            with LibraryCaptions(library) as captions:
                captions.write({content: text}, version)
                text = captions.all()[content].text
    print(f"{readable(show.from_here(path))}: {readable(text)}")
