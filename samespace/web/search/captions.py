"""Captions, edited in place: by programs and scripts as JSON, and by a page's form, which needs no script."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from samespace.library.library import Photo
from samespace.web.address import Address
from samespace.web.guard import Guard
from samespace.web.render import PhotoAnswer, live_of, photo_as_json
from samespace.web.schema import Sent
from samespace.web.uploads import receive_form
from samespace.words.stored_captions import LONGEST

PAGES = ("/search", "/review")  # whose forms come here


class NewCaption(Sent):
    refused_with: ClassVar[int] = 400
    caption: str = Field(description=f"{LONGEST:,} characters at most; empty for a photo that has none")


def _put(request: Request, sent: NewCaption) -> PhotoAnswer:
    """Caption a photo and every file with the same bytes; no captioner changes it."""
    photo = _edit(request, sent.caption)
    return PhotoAnswer(**photo_as_json(photo, live_of(request).captions))


async def _post(request: Request) -> Response:
    """Go back to the page whose form was sent. It brings the page's token as a field."""
    form = await receive_form(request)
    guard: Guard = request.app.state.guard
    if not guard.is_of_page(form.get("token", "")):
        raise HTTPException(403, "This needs the token of the page: load the page again.")
    await run_in_threadpool(_edit, request, form.get("caption", ""))
    return RedirectResponse(_page_of(request), 303)


def _edit(request: Request, text: str) -> Photo:
    live = live_of(request)
    photo = live.snapshot.photos.get(request.path_params["id"])
    if photo is None:
        raise HTTPException(404, "This photo is not in the library: it may have been removed or renamed.")
    live.caption(photo.content, text.encode(errors="replace").decode())  # half a character cannot be kept
    return photo


def _page_of(request: Request) -> str:
    """Return the page of the form, which is one of this server whatever the header says."""
    came_from = urlsplit(request.headers.get("referer", ""))
    path = came_from.path if came_from.path in PAGES else PAGES[0]
    return f"{path}?{came_from.query}" if came_from.query and path == came_from.path else path


ROUTES = [
    Address("PUT", "/api/photos/{id}/caption", _put, {200: PhotoAnswer}, takes=NewCaption),
    Route("/photos/{id}/caption", _post, methods=["POST"]),
]
