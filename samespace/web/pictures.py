"""The photos themselves, small and whole; asked for by id, so that nothing else on the disk has an address."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from samespace.base.errors import SameSpaceError
from samespace.base.kinds import label
from samespace.base.text import size_words
from samespace.library.library import Photo
from samespace.web.render import live_of
from samespace.web.state import LiveLibrary
from samespace.web.thumbnails import converted, kept_thumbnail, make_thumbnail

# However many ask, no more photos than this are in memory.
_makers = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "thumbnails")

# Whatever a file says in its other bytes, it is a picture and nothing else.
_PICTURE = {"content-security-policy": "default-src 'none'; sandbox", "x-content-type-options": "nosniff"}
# What stands in a photo's place: a frame with a line through it, for light pages and dark ones.
_MISSING = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="480" height="360" viewBox="0 0 480 360" fill="none" '
    b'stroke="#888" stroke-width="5" stroke-linecap="round" stroke-linejoin="round"><title>no photo</title>'
    b'<rect x="190" y="135" width="100" height="90" rx="10"/><path d="m200 215 30-36 20 24 12-14 18 24'
    b'M180 245 300 115"/></svg>'
)


class NotThere(SameSpaceError):
    """The file has gone, or is another one than was scanned."""


async def _thumbnail(request: Request) -> Response:
    live, photo = _asked(request)
    if photo is None:
        return _missing(404)
    if kind := unseen(photo):
        return _tile(kind, photo)
    if _is_known(request, photo):
        return Response(status_code=304, headers=_kept(request, photo))
    content = await run_in_threadpool(kept_thumbnail, live.folder, photo.content)
    if content is None:
        return await _made(request, photo, "image/webp", lambda: _make(live, photo))
    return Response(content, media_type="image/webp", headers=_kept(request, photo))


def _make(live: LiveLibrary, photo: Photo) -> bytes:
    check(photo)
    return make_thumbnail(live.folder, photo.content, photo.path)


async def _whole(request: Request) -> Response:
    _, photo = _asked(request)
    if photo is None:
        return _missing(404)
    if kind := unseen(photo):
        return _tile(kind, photo)
    if _is_known(request, photo):
        return Response(status_code=304, headers=_kept(request, photo))
    try:
        seen = await run_in_threadpool(check, photo)
    except NotThere:
        return _missing(410)
    if seen.kind is None:
        return await _made(request, photo, "image/jpeg", lambda: converted(photo.path))
    return FileResponse(photo.path, headers=_kept(request, photo), media_type=seen.kind, stat_result=seen.status)


async def _made(request: Request, photo: Photo, kind: str, make: Callable[[], bytes]) -> Response:
    try:
        content = await asyncio.get_running_loop().run_in_executor(_makers, make)
    except NotThere:
        return _missing(410)
    except SameSpaceError:  # it opened when it was scanned
        return _missing(422)
    return Response(content, media_type=kind, headers=_kept(request, photo))


def _asked(request: Request) -> tuple[LiveLibrary, Photo | None]:
    live = live_of(request)
    return live, live.snapshot.named.get(request.path_params["id"])


class _Seen(NamedTuple):
    status: os.stat_result
    kind: str | None  # media type, None if browsers do not show it


def check(photo: Photo) -> _Seen:
    """Refuse a file that is not the one that was scanned: a link may be in its place by now, and lead anywhere."""
    try:
        with photo.path.open("rb") as file:
            status, head = os.fstat(file.fileno()), file.read(16)
    except OSError as error:
        raise NotThere(f"{photo.path} has gone") from error
    if (status.st_size, status.st_mtime_ns) != (photo.size, photo.mtime_ns):
        raise NotThere(f"{photo.path} has changed")
    return _Seen(status, _kind(head))


def _kind(head: bytes) -> str | None:
    """Return the media type by the first bytes, not by the name."""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    begins = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png", b"GIF8": "image/gif"}
    return next((kind for start, kind in begins.items() if head.startswith(start)), None)


def _kept(request: Request, photo: Photo) -> dict[str, str]:
    """Return headers that let browsers keep an address for ever if it names the content."""
    forever = request.query_params.get("v") == photo.content[:8]
    kept = "private, max-age=31536000, immutable" if forever else "no-cache"
    return {**_PICTURE, "cache-control": kept, "etag": _etag(photo)}


def _etag(photo: Photo) -> str:
    return f'"{photo.content[:16]}"'


def _is_known(request: Request, photo: Photo) -> bool:
    return _etag(photo) in request.headers.get("if-none-match", "")


def unseen(file: Photo) -> str:
    """Return what to call a video or RAW file that shows no picture; "" for a photo."""
    return "" if file.width else label(file.path.name)


def _tile(kind: str, file: Photo) -> Response:
    """Return what stands for a video or RAW file: its extension and size, for light pages and dark ones."""
    words = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="480" height="360" viewBox="0 0 480 360" fill="#888" '
        f'font-family="sans-serif" text-anchor="middle"><title>{kind}</title>'
        f'<text x="240" y="185" font-size="72">{kind}</text>'
        f'<text x="240" y="240" font-size="32">{size_words(file.size)}</text></svg>'
    )
    return Response(words, headers={**_PICTURE, "cache-control": "no-cache"}, media_type="image/svg+xml")


def _missing(status: int) -> Response:
    return Response(_MISSING, status, dict(_PICTURE), "image/svg+xml")


ROUTES = [Route("/photos/{id}/thumbnail", _thumbnail), Route("/photos/{id}", _whole)]
