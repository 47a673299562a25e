"""`samespace search`, and what makes it smaller or faster: `compress` and `index`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samespace.base.errors import SameSpaceError
from samespace.base.text import current_folder, readable
from samespace.cli.options import (
    encoder_option,
    has_look,
    libraries_of,
    library_option,
    look_of,
    look_options,
    matcher_option,
    names_photo,
    open_library,
    outermost,
    reading_options,
    real,
    refuse_both,
)
from samespace.cli.scanned import refuse_photoless

if TYPE_CHECKING:
    from samespace.base.photos import UnreadablePhoto
    from samespace.search.answers import Answer
    from samespace.search.look import Look
    from samespace.search.space import Space


def search(arguments: argparse.Namespace) -> int:
    """Find photos like a photo, or by a sentence.

    PHOTO may be any file. The library is searched as it was last scanned: by the --model or --backbone of that scan;
    otherwise it looks for copies only. A sentence needs a scan with --encoder or --matcher, or captions. Sentences and
    photos can be added and subtracted: kitchen + PHOTO - people. --like DIR1 --in DIR2 scans both folders, and finds
    photos of the first in the second. Exits with 0 if something was found, with 1 if nothing was or after an error.
    """
    from samespace.base.photos import UnreadablePhoto
    from samespace.cli import show
    from samespace.search.space import refuse_nonsense

    _refuse_mixture(arguments)
    refuse_nonsense(arguments.top, arguments.threshold)
    if any(map(_holds_a_sign, arguments.asked)):
        from samespace.cli.search_by_sentence import search_by_sum

        return search_by_sum(arguments)
    sentence = _sentence_of(arguments.asked)
    if sentence is not None:
        from samespace.cli.search_by_sentence import search_by_sentence

        return search_by_sentence(arguments, sentence)
    space, threshold, answers = (_search_folder if arguments.like else _search_photos)(arguments)
    answered, unreadable = [], []
    for answer in answers:
        if isinstance(answer, UnreadablePhoto):
            print(f"error: {answer}", file=sys.stderr)
            unreadable.append(answer)
        else:
            answered.append(answer)
    found = [answer for answer in answered if answer.hits]
    if arguments.files or arguments.null:
        hits = (hit.photo.path for answer in found for hit in answer.hits)
        paths = (answer.path for answer in found) if arguments.like else hits
        show.show_paths(paths, "\0" if arguments.null else "\n")
    elif arguments.json:
        print(json.dumps(show.answers_as_json(answered, unreadable, space, threshold)))
    else:
        shown = found if arguments.like else answered
        show.show_answers(shown, len(answered), space, threshold, arguments.top)
    return 1 if unreadable or not found else 0


def _holds_a_sign(word: str) -> bool:
    """Return whether a word of a search is a sign, or a sum in quotes; a photo's name may look like one."""
    return word in ("+", "-") or (not {"+", "-"}.isdisjoint(word.split()) and not os.path.isfile(word))  # noqa: PTH113


def compress(arguments: argparse.Namespace) -> None:
    """Make the vectors that search compares shorter.

    Half of the photos teach each method; the other half show its recall@10: how many of the 10 nearest photos stay
    among the 10 nearest. auto keeps PCA unless the autoencoder is better. --method none restores the full vectors.
    """
    from samespace.cli import show
    from samespace.search.choose_compression import compare
    from samespace.search.vectors import imported_compression, keep_compression, vectors_to_compress

    library = open_library(arguments.library)
    look = look_of(arguments, library)
    vectors = vectors_to_compress(library, look)
    chosen = None
    if arguments.imported:
        chosen = imported_compression(arguments.imported, look)
    elif arguments.method != "none":
        compared = compare(vectors, arguments.method)
        show.show_compressions(compared)
        chosen = compared.chosen
    keep_compression(library, look, chosen)
    if chosen is None:
        print(f"search now compares {look.name} vectors at full length")
    else:
        print(f"search now compares {look.name} vectors of {chosen.dim} numbers, compressed by {chosen.method}")


def index(arguments: argparse.Namespace) -> None:
    """Update the approximate index for large libraries.

    `search` uses it for more than 500,000 photos, or with --index hnsw. --check measures its recall@10.
    """
    from samespace.cli import show
    from samespace.search.space import Space, recall_of_index
    from samespace.search.vectors import index_path

    library = open_library(arguments.library)
    with library.hold():
        space = Space(library, look_of(arguments, library), "hnsw")
    show.say_lacking(library, space)
    recall = recall_of_index(space) if arguments.check else None
    show.show_index(space, index_path(library, space.vectors), recall)


def _refuse_mixture(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    if arguments.json and arguments.null:
        raise SameSpaceError("--json and --null print different things: leave out one")
    refuse_both(arguments)
    if bool(arguments.like) != bool(arguments.within):
        raise SameSpaceError("--like DIR1 and --in DIR2 belong together: give both")
    if bool(arguments.asked) == bool(arguments.like):
        raise SameSpaceError("give either a photo or a sentence to search for, or --like DIR1 --in DIR2")
    if arguments.like and arguments.folder:
        raise SameSpaceError("--folder does not go with --like: --in already names the folder to search")


def _sentence_of(words: Sequence[str]) -> str | None:
    """Return the sentence that these words make; None if they name photos."""
    photos = [word for word in words if names_photo(word)]
    if photos and len(photos) < len(words):
        other = next(word for word in words if word not in photos)
        raise SameSpaceError(
            f"{readable(photos[0])} is a photo, and {readable(other)} is not: search for photos, or for one sentence"
        )
    return None if photos or not words else " ".join(words)


Searched = tuple["Space", "float | None", "Iterator[Answer | UnreadablePhoto]"]


def _search_photos(arguments: argparse.Namespace) -> Searched:
    """Search the library here, or else the photos' own, for photos from anywhere."""
    from samespace.cli import show
    from samespace.search.answers import answers_to
    from samespace.search.space import Space

    photos = [Path(word) for word in arguments.asked]
    folders = [Path(os.path.realpath(photo)).parent for photo in photos]
    library = open_library(arguments.library, *current_folder(), *folders)
    look = look_of(arguments, library)
    if not look.options:
        print("looking for copies only: scan with --backbone NAME or --model DIR to find more", file=sys.stderr)
    space = Space(library, look, arguments.index)
    show.say_lacking(library, space)
    threshold = _threshold(arguments, space)
    return (
        space,
        threshold,
        answers_to(photos, space, _asked_for(arguments), threshold, arguments.folder, _collapse(arguments, look)),
    )


def _search_folder(arguments: argparse.Namespace) -> Searched:
    """Scan two folders, and search the second for the photos of the first."""
    from samespace.base.photos import EXTENSIONS
    from samespace.search.answers import answers_of
    from samespace.search.space import Space
    from samespace.words.scan import scan_folders

    like, within = real([arguments.like, arguments.within])
    extensions = arguments.extensions or EXTENSIONS
    refuse_photoless(outermost([like, within]), arguments.library, extensions, arguments.follow_links)
    opened = libraries_of(outermost([like, within]), arguments.library)
    look = look_of(arguments, opened[-1][0])
    for library, below in opened:
        scanned = scan_folders(
            library, below, look, None, extensions, arguments.follow_links, remember=has_look(arguments)
        )
        for error in scanned.unreadable:
            if error.path.is_relative_to(like):
                print(f"left out: {error}", file=sys.stderr)
    spaces = [Space(library, look, arguments.index) for library, _ in opened]
    first, last = spaces[0], spaces[-1]  # the same one if both folders share a library
    threshold = _threshold(arguments, last)
    return (
        last,
        threshold,
        answers_of(
            first.below(like), first, last, _asked_for(arguments), threshold, within, _collapse(arguments, look)
        ),
    )


def _threshold(arguments: argparse.Namespace, space: Space) -> float | None:
    """Return the lowest score to show: of copies, and of a folder's photos, only what counts as found; else any."""
    if arguments.threshold is None and (arguments.like or not space.look.options):
        return space.threshold
    return arguments.threshold


def _asked_for(arguments: argparse.Namespace) -> int:
    """Return how many results to find: for a person one more than is shown, which tells if there are more."""
    return arguments.top if arguments.json or arguments.files or arguments.null else arguments.top + 1


def _collapse(arguments: argparse.Namespace, look: Look) -> bool:
    """Return whether copies make one result. Not in a search for copies, which would then find a single one."""
    return bool(look.options) and not arguments.all


def search_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `samespace search`."""
    parser.add_argument(
        "asked", nargs="*", metavar="PHOTO | WORDS", help="photos, or a sentence, to search for, or a sum"
    )
    parser.add_argument("--like", type=Path, metavar="DIR1", help="search for all photos in this folder …")
    parser.add_argument("--in", dest="within", type=Path, metavar="DIR2", help="… in this one")
    library_option(parser, "library to search (default: the nearest at or above the current folder, else above PHOTO)")
    parser.add_argument(
        "--top", type=int, default=10, metavar="N", help="results for each photo (default: %(default)s)"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="S",
        help="lowest score to show (default: for copies and with --like the look's own, otherwise none)",
    )
    parser.add_argument("--folder", type=Path, metavar="F", help="show only photos in this folder")
    matcher_option(parser, "understand WORDS with this (default: what the library was scanned with)")
    encoder_option(parser, "understand WORDS with this, which the library was scanned with")
    parser.add_argument("--all", action="store_true", help="show every copy as a result of its own")
    parser.add_argument(
        "--index",
        choices=("exact", "hnsw"),
        help="compare with every photo, or use the approximate index (default: hnsw for more than 500,000 photos)",
    )
    look_options(parser)
    reading_options(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument(
        "-f",
        dest="files",
        action="store_true",
        help="print only paths, one a line: of the results, or with --like of the photos in DIR1 that were found",
    )
    parser.add_argument("-z", "--null", action="store_true", help="like -f, but end each path with NUL, for `xargs -0`")


def compress_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `samespace compress`."""
    parser.add_argument(
        "--method",
        choices=("none", "pca", "autoencoder", "auto"),
        default="auto",
        help="how to compress; auto: the better of the two (default: %(default)s)",
    )
    parser.add_argument(
        "--import",
        dest="imported",
        type=Path,
        metavar="FILE",
        help="use what experiments/compress trained",
    )
    library_option(parser, "library to compress (default: the nearest at or above the current folder)")
    look_options(parser)


def index_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `samespace index`."""
    parser.add_argument("--check", action="store_true", help="measure recall@10 against exact search")
    library_option(parser, "library to index (default: the nearest at or above the current folder)")
    look_options(parser)
