"""Photos from outside: read up to a size, decoded a few at a time, shrunk to what is compared, and never kept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import anyio
import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from samespace.base.photos import Pixels, UnreadablePhoto, glimpse_foreign
from samespace.base.text import size_words
from samespace.library.read_photos import SIZE
from samespace.search.look import compare_pair
from samespace.web.guard import PHOTO
from samespace.web.render import as_json, desk_of
from samespace.web.schema import FLAG, IMAGE, NUMBER, answer, explained, fields, record, takes

SECONDS = 60  # that a request has to arrive
REQUESTS = 8  # that are read or decoded at once; one more is told to come back
_room = threading.BoundedSemaphore(REQUESTS)
_decoders = ThreadPoolExecutor(2, "decoder")


class Sent(NamedTuple):
    """What a request brought, whichever way it was sent."""

    photos: dict[str, Pixels]  # (256, 256, 3) each, by field
    words: dict[str, Any]  # the other fields


def takes_photos(
    *fields: str,
) -> Callable[[Callable[[Request, Sent], Response]], Callable[[Request], Awaitable[Response]]]:
    """A handler that is given what was sent; it may block, for it runs in a thread.

    Photos come as these fields of a form, or one of them as the body itself; words as fields of a form or as JSON.
    `safety.ASKING` says of its address how many photos it takes.
    """

    def decorate(work: Callable[[Request, Sent], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def handler(request: Request) -> Response:
            with _a_place():
                sent = await _receive(request, fields)
            return await run_in_threadpool(work, request, sent)

        return handler

    return decorate


@contextmanager
def _a_place() -> Iterator[None]:
    if not _room.acquire(blocking=False):
        raise HTTPException(503, "Many photos are being looked at: try again in a moment.", {"retry-after": "2"})
    try:
        yield
    finally:
        _room.release()


async def _receive(request: Request, fields: tuple[str, ...]) -> Sent:
    try:
        with anyio.fail_after(SECONDS):
            files, words = await _parse(request, fields)
    except TimeoutError as error:
        raise HTTPException(408, f"This took longer than {SECONDS} seconds to arrive: try again.") from error
    for file in files.values():
        if len(file) > PHOTO:
            raise HTTPException(413, f"The photo is too large: {size_words(PHOTO)} are read at most.")
    loop = asyncio.get_running_loop()
    photos = {name: await loop.run_in_executor(_decoders, _decode, file) for name, file in files.items()}
    return Sent(photos, words)


async def _parse(request: Request, fields: tuple[str, ...]) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Files that are there, and words."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _parts(request, fields)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return {fields[0]: await request.body()}, {}
    if kind == "application/x-www-form-urlencoded":
        return {}, dict(await FormParser(request.headers, request.stream()).parse())
    if kind == "application/json":
        return {}, as_json(await request.body())
    raise HTTPException(415, "Send a photo: as image/jpeg or the like, or as a field of multipart/form-data.")


class _InMemory(MultiPartParser):
    spool_max_size = 1 << 40  # Starlette's own would write what is larger than a megabyte to a disk


async def _parts(request: Request, fields: tuple[str, ...]) -> tuple[dict[str, bytes], dict[str, Any]]:
    try:
        parser = _InMemory(request.headers, request.stream(), max_files=len(fields), max_fields=20)
        form: FormData = await parser.parse()
    except (MultiPartException, AssertionError) as error:
        raise HTTPException(400, f"This form cannot be read: {error}") from error
    files, words = {}, {}
    for name, value in form.multi_items():
        if not isinstance(value, UploadFile):
            words[name] = value
        elif name not in fields:
            raise HTTPException(400, f"Send a photo as {' and '.join(fields)}, not as {name[:40]!r}.")
        elif value.size:  # a browser sends an empty one where none was chosen
            files[name] = await value.read()
    return files, words


def _decode(file: bytes) -> Pixels:
    try:
        return glimpse_foreign(file, SIZE).pixels
    except UnreadablePhoto as error:
        raise HTTPException(415, f"This cannot be used as a photo: {error.reason}.") from error


# Do two photos show the same?


def _compare(request: Request, sent: Sent) -> Response:
    """By what the library is compared by: with a model this is the probability of the same space."""
    missing = [name for name in ("photo0", "photo1") if name not in sent.photos]
    if missing:
        raise HTTPException(
            400, f"Send two photos, as photo0 and photo1 of multipart/form-data: {missing[0]} is missing."
        )
    look = desk_of(request).look
    score, threshold = compare_pair(look, np.stack([sent.photos["photo0"], sent.photos["photo1"]]))
    answer = {"meaning": look.meaning, "score": score, "threshold": threshold, "same": score >= threshold}
    return JSONResponse(answer | ({"probability": score} if look.model else {}))


ROUTES = [Route("/api/compare", takes_photos("photo0", "photo1")(_compare), methods=["POST"])]
_SAME = {
    "meaning": {"enum": ["probability", "cosine", "same shot"]},
    "score": explained(NUMBER, "of that meaning"),
    "threshold": explained(NUMBER, "from which score on"),
    "same": FLAG,
}
_PROBABILITY = explained(NUMBER, "that they show the same space; with a trained model only")
DESCRIBED = {
    "/api/compare": {
        "post": {
            "summary": "Do two photos show the same?",
            "description": "By what the library is compared by. The photos are decoded, compared and forgotten.",
            "requestBody": takes(form=fields({"photo0": IMAGE, "photo1": IMAGE}, ("photo0", "photo1"))),
            "responses": {
                "200": answer("How sure it is", record(**_SAME, probability=_PROBABILITY) | {"required": [*_SAME]})
            },
        }
    }
}
