"""Refuse pages of other sites, and other machines without the token."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from samespace.base.text import size_words
from samespace.web.render import problem

LOOPBACK = ("127.0.0.1", "localhost", "::1")
HEADERS = {
    # No inline script and no inline style, nothing from elsewhere, and no other site may frame or embed any of it.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
SAFE = ("GET", "HEAD")
ASKING = {"/api/compare": 2, "/api/search": 1, "/search": 1}  # posts that change nothing: the photos that each brings
FORMS = re.compile(r"/login|/photos/[^/]+/caption")  # which bring a token as a field: their rooms ask for it
BODY, PHOTO = 1_000_000, 25_000_000  # bytes that are read of a request, and more for each photo
DECISIONS = 20_000_000  # bytes that are read of decisions: a third of a million groups at once
OUTDATED = "SameSpace was started again: load this page again, or ask GET /api/token for the new token."

_HOST = re.compile(r"(?P<name>[a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.IGNORECASE | re.ASCII)


class Guard:
    """Stands before the whole app: `token` locks it; without one it answers to `hosts`, this machine's own names."""

    def __init__(self, token: str | None = None, hosts: Collection[str] = LOOPBACK) -> None:
        self.locked, self.hosts = token is not None, hosts
        self._token = token or secrets.token_urlsafe(32)
        self.csrf = self._derived("page")  # pages send it along with whatever changes something
        self._cookie = self._derived("cookie")
        # A browser sends a cookie to every port of a host: of another name, it does not replace another server's.
        self._cookie_name = f"samespace-{self._derived('name')[:8]}"
        self.app: ASGIApp

    def _derived(self, purpose: str) -> str:
        return hmac.new(self._token.encode(), purpose.encode(), hashlib.sha256).hexdigest()[:32]

    def around(self, app: ASGIApp) -> Guard:
        self.app = app
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._refusal(Request(scope)) or self.app
        await answer(scope, _no_more_than(_most_bytes(scope["path"]), receive), send_with_headers)

    # The address is read from `scope` alone: `request.url` is put together with what the Host header says.

    def _refusal(self, request: Request) -> Response | None:
        path, method, headers = request.scope["path"], request.method, request.headers
        host = _HOST.fullmatch(headers.get("host", ""))
        if not host or not (self.locked or host["name"].strip("[]").lower() in self.hosts):
            return problem(
                request, 421, "This is not a name of this machine: open the address that the terminal shows."
            )
        if _from_elsewhere(headers, method):
            return problem(request, 403, "This was sent by a page of another site.")
        if self.locked and not self.knows(request) and path != "/login" and not path.startswith("/static/"):
            wants_page = method in SAFE and "text/html" in headers.get("accept", "")
            return RedirectResponse("/login", 303) if wants_page else problem(request, 401, "This needs the token.")
        if method not in SAFE and path not in ASKING and not FORMS.fullmatch(path) and not self._may_change(headers):
            sent = "x-samespace-token" in headers  # as every page does; the token is another one after each start
            return problem(request, 403, OUTDATED if sent else "Send the token of GET /api/token as X-SameSpace-Token.")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > _most_bytes(path):
            return problem(request, 413, _too_large(_most_bytes(path)))
        return None

    def _may_change(self, headers: Headers) -> bool:
        return _equal(headers.get("x-samespace-token", ""), self.csrf) or self._bears_token(headers)

    def knows(self, request: Request) -> bool:
        """Return True if the token was shown, by cookie or by header, or none is asked for."""
        return (
            not self.locked
            or _equal(request.cookies.get(self._cookie_name, ""), self._cookie)
            or self._bears_token(request.headers)
        )

    def _bears_token(self, headers: Headers) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and self.is_token(token.strip())

    def is_token(self, shown: str) -> bool:
        return _equal(shown, self._token)

    def is_of_page(self, shown: str) -> bool:
        """Return True for the token that pages send with their forms."""
        return _equal(shown, self.csrf)

    def admit(self, answer: Response, secure: bool) -> None:
        """Let the browser that gets this answer in from now on, until it is closed."""
        answer.set_cookie(self._cookie_name, self._cookie, httponly=True, samesite="strict", secure=secure)


def _equal(shown: str, right: str) -> bool:
    return hmac.compare_digest(shown.encode(errors="replace"), right.encode())


def _from_elsewhere(headers: Headers, method: str) -> bool:
    """Return True if a page of another site asks. It may link to a page here, and no more than that.

    Programs send none of these headers; browsers send at least one of them with every post.
    """
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        return method not in SAFE or not is_link
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")


def _most_bytes(path: str) -> int:
    return (DECISIONS if path == "/api/apply" else BODY) + ASKING.get(path, 0) * PHOTO


def _too_large(most: int) -> str:
    return f"This is too large: at most {size_words(most)} are read."


def _no_more_than(most: int, receive: Receive) -> Receive:
    """Count the bytes as they come: a request may lie about its length."""
    left = most

    async def receive_some() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413, _too_large(most))
        return message

    return receive_some
