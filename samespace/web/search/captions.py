"""Captions, edited in place: by programs and scripts as JSON, and by a page's form, which needs no script."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from samespace.base.errors import SameSpaceError
from samespace.library.library import Photo
from samespace.web.guard import Guard
from samespace.web.render import desk_of, photo_as_json, takes_json
from samespace.web.schema import PHOTO, TEXT, answer, explained, fields, in_path, takes
from samespace.words.stored_captions import LONGEST

PAGES = ("/search", "/review")  # whose forms come here


def _put(request: Request, sent: dict[str, Any]) -> Response:
    if not isinstance(sent.get("caption"), str):
        raise SameSpaceError("`caption` is to be text; an empty one means that the photo is to have none")
    photo = _edit(request, sent["caption"])
    return JSONResponse(photo_as_json(photo, desk_of(request).captions))


async def _post(request: Request) -> Response:
    """Back to the page whose form was sent. It brings the page's token as a field."""
    sent = parse_qs((await request.body()).decode(errors="replace"), keep_blank_values=True)
    guard: Guard = request.app.state.guard
    if not guard.is_of_page("".join(sent.get("token", []))):
        raise HTTPException(403, "This needs the token of the page: load the page again.")
    await run_in_threadpool(_edit, request, "".join(sent.get("caption", [])))
    return RedirectResponse(_page_of(request), 303)


def _edit(request: Request, text: str) -> Photo:
    desk = desk_of(request)
    photo = desk.snapshot.photos.get(request.path_params["id"])
    if photo is None:
        raise HTTPException(404, "This photo is not in the library: it may have been removed or renamed.")
    desk.caption(photo.content, text.encode(errors="replace").decode())  # half a character cannot be kept
    return photo


def _page_of(request: Request) -> str:
    """Where the form was, of this server whatever the header says."""
    came_from = urlsplit(request.headers.get("referer", ""))
    path = came_from.path if came_from.path in PAGES else PAGES[0]
    return f"{path}?{came_from.query}" if came_from.query and path == came_from.path else path


DESCRIBED = {
    "/api/photos/{id}/caption": {
        "put": {
            "summary": "Say what a photo, and each file of the same bytes, is captioned; no captioner changes it",
            "parameters": [in_path("id", "the photo's")],
            "requestBody": takes(
                json=fields(
                    {"caption": explained(TEXT, f"{LONGEST:,} characters at most; empty: it is to have none")},
                    ("caption",),
                )
            ),
            "responses": {"200": answer("The photo as it is now.", PHOTO)},
        }
    }
}

ROUTES = [
    Route("/api/photos/{id}/caption", takes_json(_put), methods=["PUT"]),
    Route("/photos/{id}/caption", _post, methods=["POST"]),
]
