"""What every page and every answer has in common: templates, errors, and the words on them."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from samespace.base.errors import SameSpaceError
from samespace.base.text import as_sentence, count, readable, score_words, size_words
from samespace.library.library import Photo
from samespace.web.schema import FLAG, TEXT, WHOLE, explained, fields, or_null
from samespace.web.state import Desk, LibraryAway, photo_id
from samespace.words.stored_captions import Caption


def below(path: Path, root: Path) -> str:
    """A photo's name from the folder that was scanned, as a person reads it."""
    return readable(os.fspath(path.relative_to(root))) if path != root else ""


def photo_as_json(photo: Photo, captions: Mapping[str, Caption]) -> dict[str, Any]:
    """A photo as every answer and every template has it; pages know it by its id, never by its path."""
    address, caption = f"/photos/{photo_id(photo.path)}", captions.get(photo.content)
    version = f"?v={photo.content[:8]}"  # another file at this path has another address: browsers keep what they have
    return {
        "id": photo_id(photo.path),
        "name": below(photo.path, photo.root),
        "folder": below(photo.path.parent, photo.root),
        "width": photo.width,
        "height": photo.height,
        "size": photo.size,
        "taken": photo.taken,
        "caption": (caption and caption.text) or None,
        "caption_by_hand": bool(caption and caption.by_hand),
        "thumbnail": f"{address}/thumbnail{version}",
        "photo": address + version,
    }


_PHOTO = {  # what `photo_as_json` has
    "id": explained(TEXT, "stays the same as long as the photo stays where it is"),
    "name": explained(TEXT, "path below the folder that was scanned, as a person reads it"),
    "folder": explained(TEXT, "of the name"),
    "width": explained(WHOLE, "upright, in pixels"),
    "height": WHOLE,
    "size": explained(WHOLE, "in bytes"),
    "taken": or_null(TEXT, "when, as its EXIF says"),
    "caption": or_null(TEXT, "what it shows"),
    "caption_by_hand": explained(FLAG, "whether a person said so, or wants none"),
    "thumbnail": explained(TEXT, "address"),
    "photo": explained(TEXT, "address of the whole photo"),
}
PHOTO = fields(_PHOTO, tuple(_PHOTO))  # answers may tell more of it


@pass_context
def _photo(context: Context, photo: Photo) -> dict[str, Any]:
    return photo_as_json(photo, context["captions"])


_templates = Environment(
    loader=PackageLoader("samespace.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {
    "size": size_words,
    "score": score_words,
    "count": count,
    "readable": lambda text: readable(os.fspath(text)),
    "photo_id": photo_id,
    "photo": _photo,
}


def compile_pages() -> None:
    """All templates, so that nobody waits for it who asks for the first page."""
    for name in _templates.list_templates():
        _templates.get_template(name)


def desk_of(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def page(request: Request, template: str, status: int = 200, **words: Any) -> HTMLResponse:
    """A whole page, or a piece of one for htmx to put in its place."""
    given = {
        "request": request,
        "path": request.scope["path"],
        "csrf": request.app.state.guard.csrf,
        "desk": desk_of(request),
        "captions": desk_of(request).captions,
    }
    return HTMLResponse(_templates.get_template(template).render(given | words), status)


def takes_json(work: Callable[[Request, dict[str, Any]], Response]) -> Callable[[Request], Awaitable[Response]]:
    """A handler that is given the JSON object that was sent; it may block, for it runs in a thread."""

    async def handler(request: Request) -> Response:
        sent = as_json(await request.body() or b"{}")
        return await run_in_threadpool(work, request, sent)

    return handler


def as_json(body: bytes) -> dict[str, Any]:
    """An object from outside."""
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):
        sent = None
    if not isinstance(sent, dict):
        raise HTTPException(400, "What was sent is no JSON object.")
    return sent


# A person's mistake is one sentence, in JSON to a program, on a page to a person.

SENTENCES = {
    404: "There is nothing here: it may have been removed, or the address mistyped.",
    405: "This address does not take that kind of request.",
}


async def on_mistake(request: Request, error: Exception) -> Response:
    assert isinstance(error, SameSpaceError | HTTPException)
    answer = problem(request, *told(error))
    answer.headers.update(getattr(error, "headers", None) or {})
    return answer


def told(error: SameSpaceError | HTTPException) -> tuple[int, str]:
    """The status of a mistake and its sentence, which may name a file, and JSON knows no bytes."""
    if isinstance(error, SameSpaceError):
        return 503 if isinstance(error, LibraryAway) else 400, as_sentence(readable(str(error)))
    said = error.detail if error.detail != HTTPStatus(error.status_code).phrase else ""
    return error.status_code, as_sentence(readable(said or SENTENCES.get(error.status_code, error.detail)))


async def on_hang_up(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def on_crash(request: Request, error: Exception) -> Response:
    traceback.print_exception(error)
    return problem(request, 500, "Something went wrong in SameSpace; its terminal says what.")


def problem(request: Request, status: int, sentence: str) -> Response:
    """It tells no token: whoever is refused sees it, too."""
    if request.scope["path"].startswith("/api/") or "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"error": sentence}, status)
    template = _templates.get_template("problem.html")
    return HTMLResponse(template.render(path="", csrf="", sentence=sentence), status)
