"""`samespace serve`: the pages, in a browser."""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from samespace.base.errors import SameSpaceError
from samespace.cli.options import folder, libraries_of, library_option, look_of, look_options, open_library, real


def serve(arguments: argparse.Namespace) -> None:
    """Review duplicates, search and scan in your browser.

    Prints the address to open. Nothing is scanned or removed until you click. Every user of this computer can open the
    pages, unless --token asks for a password; other computers cannot, unless --host lets them in.
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
            library = open_library(arguments.library)
            roots = library.roots
        server.serve(door, library.folder, roots, look_of(arguments, library), arguments.host, arguments.token)


def serve_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `samespace serve`."""
    parser.add_argument(
        "folder",
        type=folder,
        nargs="?",
        metavar="DIR",
        help="folder of photos (default: those of the library at or above the current folder)",
    )
    library_option(parser, "where to remember the photos (default: .samespace in DIR)")
    parser.add_argument(
        "--port", type=_port, default=8000, metavar="N", help="port; 0: a free one (default: %(default)s)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--token", help="ask for this password before anything is shown")
    look_options(parser)


def _port(word: str) -> int:
    """Return the port number in a word."""
    if not (word.isascii() and word.isdecimal() and int(word) < 65536):
        raise argparse.ArgumentTypeError(f"{word!r} is not a port: give a number from 0 to 65535")
    return int(word)
