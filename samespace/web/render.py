"""Templates, errors and words that all pages and answers share."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from samespace.base.errors import SameSpaceError
from samespace.base.kinds import label_words
from samespace.base.text import as_sentence, count, count_with, readable, score_words, size_words
from samespace.library.library import Photo
from samespace.web.schema import Answer
from samespace.web.state import LibraryAway, LiveLibrary, photo_id
from samespace.words.stored_captions import Caption


def below(path: Path, root: Path) -> str:
    """Return a photo's name from the folder that was scanned, as a person reads it."""
    return readable(os.fspath(path.relative_to(root))) if path != root else ""


class PhotoAnswer(Answer):
    """A photo of the library."""

    id: str = Field(description="stays the same as long as the photo stays where it is")
    name: str = Field(description="path below the folder that was scanned, as a person reads it")
    folder: str = Field(description="of the name")
    width: int = Field(description="upright, in pixels")
    height: int
    size: int = Field(description="in bytes")
    taken: str | None = Field(description="when, by its EXIF data")
    caption: str | None = Field(description="what it shows")
    caption_by_hand: bool = Field(description="true if a person wrote the caption, or wants none")
    thumbnail: str = Field(description="address")
    photo: str = Field(description="address of the whole photo")


def photo_as_json(photo: Photo, captions: Mapping[str, Caption]) -> dict[str, Any]:
    """Return the fields of a `PhotoAnswer`, as templates have them too; pages know a photo by its id, not its path."""
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
    "labels": label_words,
    "count_with": count_with,
    "readable": lambda text: readable(os.fspath(text)),
    "photo_id": photo_id,
    "photo": _photo,
}


def compile_pages() -> None:
    """Compile all templates, so that the first page does not wait for it."""
    for name in _templates.list_templates():
        _templates.get_template(name)


def live_of(request: Request) -> LiveLibrary:
    live: LiveLibrary = request.app.state.live
    return live


def page(request: Request, template: str, status: int = 200, **words: Any) -> HTMLResponse:
    """Render a whole page, or a piece of one for htmx to put in its place."""
    given = {
        "request": request,
        "path": request.scope["path"],
        "csrf": request.app.state.guard.csrf,
        "changes": request.app.state.changes.number,
        "live": live_of(request),
        "captions": live_of(request).captions,
    }
    return HTMLResponse(_templates.get_template(template).render(given | words), status)


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
    """Return the status of a mistake and its sentence, fit for JSON: it may name a file that is not UTF-8."""
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
    """Answer a refusal, as JSON or as a page, without the token: whoever is refused sees it."""
    if request.scope["path"].startswith("/api/") or "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"error": sentence}, status)
    template = _templates.get_template("problem.html")
    return HTMLResponse(template.render(path="", csrf="", sentence=sentence), status)
