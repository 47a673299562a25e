"""Listen on a port, then serve the app with uvicorn."""

from __future__ import annotations

import errno
import socket
import sys
import warnings
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import uvicorn
from PIL import Image
from starlette.types import ASGIApp

from samespace.base.errors import SameSpaceError
from samespace.base.text import readable
from samespace.search.look import Look
from samespace.web.app import make_app
from samespace.web.connections import Connection
from samespace.web.guard import LOOPBACK, Guard
from samespace.web.render import compile_pages
from samespace.web.state import LiveLibrary

LETTERS = 16  # of a token, at least


def open_door(host: str, port: int, token: str | None) -> socket.socket:
    """Return a socket that listens there. Other machines need a token, one that cannot be guessed."""
    if token is None and not _is_loopback(host):
        raise SameSpaceError(
            f"--host {host} lets other machines in: set SAMESPACE_TOKEN, or give --token-file FILE, with {LETTERS} "
            "letters or more for them to show"
        )
    if token is not None and not (
        len(token) >= LETTERS and token.isascii() and token.isprintable() and " " not in token
    ):
        raise SameSpaceError(
            f"this token is too easy to guess: give {LETTERS} letters and digits or more, without spaces"
        )
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(place[:2], family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SameSpaceError(f"port {port} is taken: give another --port, or stop the program using it") from error
        why = (error.strerror or "it cannot").partition(" (")[0]
        raise SameSpaceError(f"cannot listen at {host}, port {port} ({why}): give another --host or --port") from error


def serve(
    door: socket.socket,
    folder: Path,
    roots: Sequence[Path],
    look: Look | None,
    host: str,
    token: str | None,
    prefer: Sequence[Path] = (),
) -> None:
    """Serve the app until somebody ends it.

    `folder` is the library's. `look` compares photos; None: always the one that the library was scanned for last. Of a
    group, photos in `prefer` are kept.
    """
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # what is too large is refused
    live = LiveLibrary(folder, roots, look, prefer)
    live.refresh()
    compile_pages()
    sys.setswitchinterval(0.001)  # photos are compared in a thread of this process, and pages come first
    app = make_app(live, Guard(token, {*LOOPBACK, host.lower()}), ahead=True)
    shown = roots[0] if len(roots) == 1 else folder
    print(f"{_address(door, host)} shows {readable(str(shown))} (Ctrl-C ends it)", flush=True)
    make_server(app).run([door])


def make_server(app: ASGIApp) -> uvicorn.Server:
    """Return a server that ends at once, even with streams open."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # `render.on_crash` says what went wrong
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=0,
        )
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(door: socket.socket, host: str) -> str:
    place, port = door.getsockname()[:2]
    name = socket.gethostname() if ip_address(place).is_unspecified else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"
