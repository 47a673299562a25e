"""`samespace search`, and what makes it smaller or faster: `compress` and `index`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from samespace.base.errors import SameSpaceError
from samespace.cli.libraries import (
    libraries_of,
    library_above,
    look_of,
    open_libraries,
    outermost,
    real,
    scan_for,
    sentence_of,
)
from samespace.cli.options import a_folder, library_word, look_words, matcher_word, reading_words
from samespace.cli.search_by_sentence import search_by_sentence

if TYPE_CHECKING:
    from samespace.base.photos import UnreadablePhoto
    from samespace.search.answers import Answer
    from samespace.search.look import Look
    from samespace.search.space import Space


def search(arguments: argparse.Namespace) -> int:
    """Find photos like a photo or by a sentence, or the photos of one folder that appear in another.

    PHOTO may lie anywhere; the library is taken as it was last scanned, and compared by the --model or --backbone of
    that scan, or else as shots, which finds copies. WORDS are understood by the --matcher it was scanned with, and
    found in captions. --like DIR1 --in DIR2 scans both first. Exits with 0 if something was found, with 1 if nothing
    was, and after an error.
    """
    from samespace.base.photos import UnreadablePhoto
    from samespace.cli import show
    from samespace.search.space import refuse_nonsense

    _refuse_mixture(arguments)
    refuse_nonsense(arguments.top, arguments.threshold)
    sentence = sentence_of(arguments.asked)
    if sentence is not None:
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


def compress(arguments: argparse.Namespace) -> None:
    """Search by shorter vectors.

    Says of each way, learnt from half of the photos, how many of the 10 nearest of the others stay among the 10
    nearest, and how many bytes a photo takes. auto keeps PCA, unless the autoencoder is better.
    """
    from samespace.cli import show
    from samespace.search.choose_compression import compare
    from samespace.search.vectors import imported_compression, keep_compression, vectors_to_compress

    (library,) = open_libraries([arguments.library or library_above(Path.cwd())])
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
    kept = "as they are" if chosen is None else f"as {chosen.dim} numbers a photo, by {chosen.method}"
    print(f"search compares vectors of {look.name} {kept} from now on")


def index(arguments: argparse.Namespace) -> None:
    """Bring the approximate index up to date, which `search` uses for large libraries or with --index hnsw.

    --check says how many of the 10 nearest photos it finds.
    """
    from samespace.cli import show
    from samespace.search.space import Space, recall_of_index
    from samespace.search.vectors import index_path

    (library,) = open_libraries([arguments.library or library_above(Path.cwd())])
    with library.hold():
        space = Space(library, look_of(arguments, library), "hnsw")
    show.say_lacking(space)
    recall = recall_of_index(space) if arguments.check else None
    show.show_index(space, index_path(library, space.vectors), recall)


def _refuse_mixture(arguments: argparse.Namespace) -> None:
    if arguments.json and arguments.null:
        raise SameSpaceError("--json prints more than paths: leave out --json or --null")
    if bool(arguments.like) != bool(arguments.within):
        raise SameSpaceError("--like DIR1 and --in DIR2 belong together: give both")
    if bool(arguments.asked) == bool(arguments.like):
        raise SameSpaceError("what is to be found? give photos, a sentence, or --like DIR1 --in DIR2")
    if arguments.like and arguments.folder:
        raise SameSpaceError("--folder narrows a search for photos: --like searches the folder of --in")


Searched = tuple["Space", "float | None", "Iterator[Answer | UnreadablePhoto]"]


def _search_photos(arguments: argparse.Namespace) -> Searched:
    """For photos from anywhere, in the library here or else in theirs."""
    from samespace.cli import show
    from samespace.search.answers import answers_to
    from samespace.search.space import Space

    photos = [Path(word) for word in arguments.asked]
    places = [Path.cwd(), *(Path(os.path.realpath(photo)).parent for photo in photos)]
    (library,) = open_libraries([arguments.library or library_above(*places)])
    look = look_of(arguments, library)
    if not look.options:
        print(
            "looking for copies: scan with --backbone NAME or --model DIR to find what shows the same", file=sys.stderr
        )
    space = Space(library, look, arguments.index)
    show.say_lacking(space)
    threshold = _threshold(arguments, space)
    how = (_asked_for(arguments), threshold, arguments.folder, _collapse(arguments, look))
    return space, threshold, answers_to(photos, space, *how)


def _search_folder(arguments: argparse.Namespace) -> Searched:
    """For the photos of one folder, in another; both are scanned."""
    from samespace.search.answers import answers_of
    from samespace.search.space import Space

    like, within = real([arguments.like, arguments.within])
    opened = libraries_of(outermost([like, within]), arguments.library)
    look = look_of(arguments, opened[-1][0])
    for library, below in opened:
        for error in scan_for(library, below, arguments, look).unreadable:
            if error.path.is_relative_to(like):
                print(f"left out: {error}", file=sys.stderr)
    spaces = [Space(library, look, arguments.index) for library, _ in opened]
    threshold = _threshold(arguments, spaces[-1])
    how = (_asked_for(arguments), threshold, within, _collapse(arguments, look))
    return spaces[-1], threshold, answers_of(spaces[0].below(like), spaces[0], spaces[-1], *how)


def _threshold(arguments: argparse.Namespace, space: Space) -> float | None:
    """What is found among copies, or in another folder, is there; else the nearest are shown, however far."""
    if arguments.threshold is None and (arguments.like or not space.look.options):
        return space.threshold
    threshold: float | None = arguments.threshold
    return threshold


def _asked_for(arguments: argparse.Namespace) -> int:
    """One more than is shown, where a person is told that there are more."""
    top: int = arguments.top
    return top if arguments.json or arguments.files or arguments.null else top + 1


def _collapse(arguments: argparse.Namespace, look: Look) -> bool:
    """Copies of a photo are copies of each other, and all are asked for."""
    return bool(look.options) and not arguments.all


def search_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "asked", nargs="*", metavar="PHOTO | WORDS", help="what to find the like of, or what it is to show"
    )
    parser.add_argument("--like", type=a_folder, metavar="DIR1", help="find the photos of this folder instead …")
    parser.add_argument("--in", dest="within", type=a_folder, metavar="DIR2", help="… in this one")
    library_word(parser, "the library to search (default: that at or above the current folder, else above PHOTO)")
    parser.add_argument(
        "--top", type=int, default=10, metavar="N", help="results for each photo (default: %(default)s)"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="S",
        help="only scores from here on (default: of copies and with --like what counts as found, else none)",
    )
    parser.add_argument("--folder", type=a_folder, metavar="F", help="only photos below this folder")
    matcher_word(parser, "understand WORDS by this (default: what the library was scanned with)")
    parser.add_argument("--all", action="store_true", help="each photo a result, also of those that show the same")
    parser.add_argument(
        "--index",
        choices=("exact", "hnsw"),
        help="compare with every photo, or look up in an index (default: hnsw for more than 500,000 photos)",
    )
    look_words(parser)
    reading_words(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument(
        "-f",
        dest="files",
        action="store_true",
        help="print paths only, one a line: of what was found, with --like of the photos of DIR1 that were",
    )
    parser.add_argument("-z", "--null", action="store_true", help="as -f, but end each path with NUL, for `xargs -0`")


def compress_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--method",
        choices=("none", "pca", "autoencoder", "auto"),
        default="auto",
        help="auto: the better one (default: %(default)s)",
    )
    parser.add_argument(
        "--import", dest="imported", type=Path, metavar="FILE", help="take what experiments/compress has trained"
    )
    library_word(parser, "whose vectors (default: the library at or above the current folder)")
    look_words(parser)


def index_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="compare its answers with exact ones")
    library_word(parser, "whose index (default: the library at or above the current folder)")
    look_words(parser)
