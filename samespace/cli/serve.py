"""`samespace serve`: the pages, on this machine."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from samespace.base.errors import SameSpaceError
from samespace.cli.libraries import (
    libraries_of,
    library_above,
    look_of,
    open_libraries,
    real,
)
from samespace.cli.options import a_folder, library_word, look_words


def serve(arguments: argparse.Namespace) -> None:
    """Review duplicates, search and scan in a browser.

    Prints the address to open, on this machine alone. Nothing is scanned or removed until a page is told to. Whoever is
    logged in on this machine can open it: --token keeps out who does not know it. --host lets other machines in.
    """
    missing = [name for name in ("jinja2", "python_multipart", "starlette", "uvicorn") if not find_spec(name)]
    if missing:
        raise SameSpaceError(f"{missing[0]} is not installed: pip install 'samespace[web]'")
    from samespace.base import progress
    from samespace.web import server

    progress.off()
    with server.open_door(arguments.host, arguments.port, arguments.token) as door:
        if arguments.folder:
            ((library, roots),) = libraries_of(real([arguments.folder]), arguments.library)
        else:
            (library,) = open_libraries([arguments.library or library_above(Path.cwd())])
            roots = library.roots
        server.serve(door, library.folder, roots, look_of(arguments, library), arguments.host, arguments.token)


def serve_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        type=a_folder,
        nargs="?",
        metavar="DIR",
        help="the photos (default: those of the library here or above)",
    )
    library_word(parser, "where they are remembered (default: .samespace in DIR)")
    parser.add_argument("--port", type=_port, default=8000, metavar="N", help="default: %(default)s; 0: a free one")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: %(default)s)")
    parser.add_argument("--token", help="ask for this word before anything is shown")
    look_words(parser)


def _port(word: str) -> int:
    if not (word.isascii() and word.isdecimal() and int(word) < 65536):
        raise argparse.ArgumentTypeError(f"{word!r} is no port: give a number below 65536")
    return int(word)
