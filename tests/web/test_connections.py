"""Connections of clients that are slow, or mean to keep others out."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
import uvicorn

from samespace.web import connections
from samespace.web.app import make_app
from samespace.web.guard import Guard
from samespace.web.server import make_server
from samespace.web.state import LiveLibrary

HALF = b"GET /api/library HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
WHOLE = b"GET /api/token HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture
def server(live: LiveLibrary) -> Iterator[tuple[uvicorn.Server, tuple[str, int]]]:
    """A server, and where it listens."""
    server = make_server(make_app(live, Guard()))
    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        yield server, door.getsockname()
        server.should_exit = True
        thread.join()


Running = tuple[uvicorn.Server, tuple[str, int]]


def connect(server: Running, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(server[1], timeout=60)
    connection.sendall(sent)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Wait until the server closes this, or sends something."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("sent", [b"", HALF, WHOLE.replace(b"GET /api/token", b"POST /api/undo") + HALF])
def test_half_a_request_is_not_waited_for(server: Running, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(connections, "HEADERS", 0.2)
    with connect(server, sent) as connection:
        while not is_closed(connection):  # the answer to the first, if there was one
            pass


def test_a_body_that_does_not_come_is_not_waited_for(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BODY", 0.2)
    sent = b"POST /api/compare HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\nabc"
    with connect(server, sent) as connection:
        assert is_closed(connection)


def test_a_crowd_of_half_requests_lets_others_in(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST", 5)
    crowd = [connect(server, HALF) for _ in range(20)]
    for first in crowd[:15]:
        assert is_closed(first)
    assert httpx.get(f"http://127.0.0.1:{server[1][1]}/api/token", timeout=60).status_code == 200
    assert is_closed(crowd[15])
    for each in crowd:
        each.close()


def test_answers_do_not_wait_for_the_client_to_confirm_the_first_part(server: Running) -> None:
    with connect(server, WHOLE) as connection:
        assert connection.recv(12) == b"HTTP/1.1 200"
        (open_one,) = server[0].server_state.connections
        inside = open_one.transport.get_extra_info("socket")
        assert inside.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
