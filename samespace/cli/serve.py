"""`samespace serve`: the pages, in a browser."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from samespace.base.errors import SameSpaceError
from samespace.cli.options import (
    has_look,
    libraries_of,
    library_option,
    look_of,
    look_options,
    open_library,
    prefer_option,
    real,
    refuse_elsewhere,
)
from samespace.cli.scanned import refuse_photoless


def serve(arguments: argparse.Namespace) -> None:
    """Review duplicates, search and scan in your browser.

    Prints the address to open. Nothing is scanned or removed until you click. Every user of this computer can open the
    pages, unless you set a token: in the environment variable SAMESPACE_TOKEN, or with --token-file. Other computers
    cannot, unless --host lets them in.
    """
    from samespace.base import progress
    from samespace.base.photos import EXTENSIONS
    from samespace.web import server

    progress.off()
    if arguments.folder:
        refuse_photoless(real([arguments.folder]), arguments.library, EXTENSIONS)
    token = _token(arguments)
    with server.open_door(arguments.host, arguments.port, token) as door:
        if arguments.folder:
            ((library, roots),) = libraries_of(real([arguments.folder]), arguments.library)
        else:
            library = open_library(arguments.library)
            roots = library.roots
        refuse_elsewhere(arguments.prefer, roots)
        look, prefer = look_of(arguments, library) if has_look(arguments) else None, real(arguments.prefer)
        server.serve(door, library.folder, roots, look, arguments.host, token, prefer)


def serve_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `samespace serve`."""
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        metavar="DIR",
        help="folder of photos (default: those of the library at or above the current folder)",
    )
    library_option(parser, "where to remember the photos (default: .samespace in DIR)")
    parser.add_argument(
        "--port", type=_port, default=8000, metavar="N", help="port; 0: a free one (default: %(default)s)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    tokens = parser.add_mutually_exclusive_group()
    tokens.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="ask for the token in this file before anything is shown (default: $SAMESPACE_TOKEN, if it is set)",
    )
    tokens.add_argument(
        "--token", help="ask for this token; other users of this computer can read it in the list of processes"
    )
    prefer_option(parser)
    look_options(parser)


def _token(arguments: argparse.Namespace) -> str | None:
    """Return the token to ask for; None if there is none."""
    inherited = os.environ.pop("SAMESPACE_TOKEN", "")  # not for the processes that scan
    if arguments.token is not None:
        return str(arguments.token)
    if not arguments.token_file:
        return inherited or None
    try:
        return str(arguments.token_file.read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SameSpaceError(
            f"the token cannot be read from {arguments.token_file} ({why}): give --token-file FILE, a text file that "
            "holds nothing else"
        ) from error


def _port(word: str) -> int:
    """Return the port number in a word."""
    if not (word.isascii() and word.isdecimal() and int(word) < 65536):
        raise argparse.ArgumentTypeError(f"{word!r} is not a port: give a number from 0 to 65535")
    return int(word)
