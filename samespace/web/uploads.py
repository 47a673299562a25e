"""Read what requests bring: fields, and photos, which are decoded a few at a time and never kept."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import anyio
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import Request

from samespace.base.photos import SIZE, Pixels, UnreadablePhoto, glimpse_foreign
from samespace.base.text import size_words
from samespace.web.guard import PHOTO, SAFE

SECONDS = 60  # that a request has to arrive
REQUESTS = 8  # that are read or decoded at once; one more is told to come back
places = threading.BoundedSemaphore(REQUESTS)
_decoders = ThreadPoolExecutor(2, "decoder")


class Received(NamedTuple):
    """The fields of a request, whichever way they were sent."""

    words: dict[str, Any]
    photos: dict[str, Pixels]  # (256, 256, 3) each


async def receive(request: Request, photos: tuple[str, ...] = ()) -> Received:
    """Return the fields that a request brings.

    They stand in the address of a GET, and in the JSON of others. A request that may bring `photos` has them as these
    fields of a form, or the first as its body; `guard.ASKING` says how many photos its address takes.
    """
    if request.method in SAFE:
        return Received(dict(request.query_params), {})
    if not photos:
        return Received(_json(await request.body() or b"{}"), {})
    with _place():
        return await receive_photos(request, photos)


@contextmanager
def _place() -> Iterator[None]:
    if not places.acquire(blocking=False):
        raise HTTPException(503, "The server is busy with other photos: try again in a moment.", {"retry-after": "2"})
    try:
        yield
    finally:
        places.release()


async def receive_form(request: Request) -> dict[str, str]:
    """Return the fields of a page's form, whatever kind of content it says it is."""
    fields = parse_qs((await request.body()).decode(errors="replace"), keep_blank_values=True)
    return {name: "".join(values) for name, values in fields.items()}


async def receive_photos(request: Request, fields: tuple[str, ...]) -> Received:
    """Return what comes within `SECONDS`, with its photos decoded."""
    try:
        with anyio.fail_after(SECONDS):
            files, words = await _parse(request, fields)
    except TimeoutError as error:
        raise HTTPException(408, f"This took longer than {SECONDS} seconds to arrive: try again.") from error
    for file in files.values():
        if len(file) > PHOTO:
            raise HTTPException(413, f"The photo is too large: at most {size_words(PHOTO)} are read.")
    loop = asyncio.get_running_loop()
    photos = {name: await loop.run_in_executor(_decoders, decode, file) for name, file in files.items()}
    return Received(words, photos)


async def _parse(request: Request, fields: tuple[str, ...]) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the files and the other fields, by the kind of the request's content."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _parts(request, fields)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return {fields[0]: await request.body()}, {}
    if kind == "application/x-www-form-urlencoded":
        return {}, dict(await FormParser(request.headers, request.stream()).parse())
    if kind == "application/json":
        return {}, _json(await request.body())
    raise HTTPException(415, "Send a photo: as image/jpeg or the like, or as a field of multipart/form-data.")


def _json(body: bytes) -> dict[str, Any]:
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):
        sent = None
    if not isinstance(sent, dict):
        raise HTTPException(400, "This is not a JSON object.")
    return sent


class _InMemory(MultiPartParser):
    spool_max_size = 1 << 40  # Starlette's own would write what is larger than a megabyte to a disk


async def _parts(request: Request, fields: tuple[str, ...]) -> tuple[dict[str, bytes], dict[str, Any]]:
    try:
        parser = _InMemory(request.headers, request.stream(), max_files=len(fields), max_fields=20)
        form: FormData = await parser.parse()
    except (MultiPartException, UnicodeError, AssertionError) as error:
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


def decode(file: bytes) -> Pixels:
    """Return a photo as it is compared, (256, 256, 3)."""
    try:
        return glimpse_foreign(file, SIZE).pixels
    except UnreadablePhoto as error:
        raise HTTPException(415, f"This cannot be used as a photo: {error.reason}.") from error
