"""Connections that cannot keep others out: a request must arrive in time, and there are only so many at once."""

from __future__ import annotations

import asyncio
import socket
import time

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS, BODY = 10.0, 90.0  # seconds that each has to arrive
MOST = 200  # connections at once; one more takes the place of the one that has waited longest for a request


class Connection(H11Protocol):
    """A client's connection, as uvicorn has it, which closes if a request does not arrive in time."""

    _timer: asyncio.TimerHandle | None = None
    _awaits: object = None  # what has to arrive: h11.IDLE for headers, h11.SEND_BODY for a body
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= MOST:
            waiting = [other for other in self.connections if isinstance(other, Connection) and other._is_waiting]
            if waiting:
                min(waiting, key=lambda other: other._since).drop()
        super().connection_made(transport)
        if len(self.connections) > MOST:  # all of them are being answered
            self.drop()
            return
        # Otherwise an answer that is sent in two parts waits 40 ms for the client to confirm the first.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def drop(self) -> None:
        """Close at once."""
        self.connections.discard(self)  # its place is free from now on
        self.transport.abort()

    @property
    def _is_waiting(self) -> bool:
        return self.conn.their_state is h11.IDLE

    def _watch(self) -> None:
        """Give what has to arrive now its time, once: more bytes do not prolong it."""
        awaits = self.conn.their_state
        if awaits is self._awaits:
            return
        self._unwatch()
        seconds = HEADERS if awaits is h11.IDLE else BODY if awaits is h11.SEND_BODY else None
        if seconds is not None:
            self._awaits, self._since = awaits, time.monotonic()
            self._timer = self.loop.call_later(seconds, self.drop)

    def _unwatch(self) -> None:
        self._awaits = None
        if self._timer:
            self._timer.cancel()
            self._timer = None
