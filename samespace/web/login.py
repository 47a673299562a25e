"""Show the token: by a form if one was given, and to programs on this machine if none was."""

from __future__ import annotations

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from samespace.web.address import Address
from samespace.web.guard import Guard
from samespace.web.render import page
from samespace.web.schema import Answer
from samespace.web.uploads import receive_form


class Token(Answer):
    """The token, valid until the server ends."""

    token: str = Field(description="to send as X-SameSpace-Token")


def _form(request: Request) -> Response:
    return RedirectResponse("/", 303) if _guard(request).knows(request) else _page(request)


async def _login(request: Request) -> Response:
    """Give this browser a cookie. A form is enough: it needs no script."""
    form = await receive_form(request)
    if not _guard(request).is_token(form.get("token", "")):
        return _page(request, 403, "Wrong token. It is the word that samespace serve was given.")
    answer = RedirectResponse("/", 303)
    _guard(request).admit(answer, secure=request.url.scheme == "https")
    return answer


def _page(request: Request, status: int = 200, sentence: str = "") -> Response:
    return page(request, "login.html", status, sentence=sentence, csrf="")


def _tell_token(request: Request) -> Token:
    """Answer the token that requests which change something must send, unless samespace serve was given one."""
    # No other site can read this, because it may not read any answer; a program on this machine can.
    if _guard(request).locked:
        raise HTTPException(404, "A token was given to samespace serve: send it as Authorization: Bearer.")
    return Token(token=_guard(request).csrf)


def _guard(request: Request) -> Guard:
    guard: Guard = request.app.state.guard
    return guard


ROUTES = [
    Route("/login", _form),
    Route("/login", _login, methods=["POST"]),
    Address("GET", "/api/token", _tell_token, {200: Token}),
]
