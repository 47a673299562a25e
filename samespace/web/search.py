"""The search page: what of the library is like one of its photos, or like one from outside."""

from __future__ import annotations

import math
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from samespace.errors import SameSpaceError
from samespace.library import Photo
from samespace.web.describing import (
    FLAG,
    IMAGE,
    NUMBER,
    PHOTO,
    TEXT,
    WHOLE,
    answer,
    explained,
    fields,
    listed,
    or_null,
    photo_and,
    record,
    takes,
)
from samespace.web.desk import Desk, Snapshot, photo_id
from samespace.web.names import Names, names_of
from samespace.web.pages import desk_of, page, photo_as_json, told
from samespace.web.uploads import Sent, takes_photos
from samespace.web.wanted import MOST, PAGE, Wanted, wanted_of
from samespace.wording import readable

if TYPE_CHECKING:
    from samespace.looks import Look
    from samespace.search import Hit, Query, Space

NAMES = 12  # photos that typed words are completed to
BEGIN = 12  # photos that an empty page offers to begin with
MINUTES = 30  # that a photo from outside can be searched by again

# What a search compares and what its scores mean, by the meaning of its look.
ABOUT = {
    "probability": "By {name}: scores are the probability of the same space.",
    "cosine": "By the features of {name}: scores are the cosine, 1 for photos that look the same.",
    "same shot": "Scores say how surely it is the same shot, however it was edited.",
}


# What is kept between requests


class Kept:
    """Photos from outside as the numbers that are searched by, never the picture; `seconds` long after the last use."""

    def __init__(self, most: int = 64, seconds: float = MINUTES * 60) -> None:
        self._most, self._seconds = most, seconds
        self._queries: OrderedDict[tuple[str, str], tuple[float, Query]] = OrderedDict()  # last used last
        self._lock = threading.Lock()

    def add(self, query: Query, look: Look) -> str:
        key = secrets.token_urlsafe(12)
        with self._lock:
            self._queries[key, look.extractor.fingerprint] = monotonic(), query
            while len(self._queries) > self._most:
                self._queries.popitem(last=False)
        return key

    def find(self, key: str, look: Look) -> Query | None:
        """As this look saw it."""
        with self._lock:
            used, query = self._queries.pop((key, look.extractor.fingerprint), (-math.inf, None))
            if query is None or monotonic() - used > self._seconds:
                return None
            self._queries[key, look.extractor.fingerprint] = monotonic(), query
            return query


class Room:
    """What the search page remembers."""

    def __init__(self) -> None:
        self.kept = Kept()
        self._names: Names | None = None

    def names(self, snapshot: Snapshot) -> Names:
        names = self._names
        if names is None or names.snapshot is not snapshot:
            names = self._names = names_of(snapshot)
        return names


# Searching

_turns = threading.Semaphore(os.cpu_count() or 1)


@contextmanager
def _turn() -> Iterator[None]:
    """As many searches at a time as there are processors: each holds a score of every photo, and those that wait none.

    torch's own threads would wait for those of the other searches.
    """
    import torch

    with _turns:
        torch.set_num_threads(1)
        yield


def _query(desk: Desk, room: Room, snapshot: Snapshot, wanted: Wanted) -> Query:
    """What is searched by. Whoever teaches the library to understand sentences makes a query of `wanted.q` here."""
    if wanted.photo:
        query = room.kept.find(wanted.photo, _space(snapshot).look)
        if query is None:
            raise HTTPException(404, f"A photo from outside is remembered for {MINUTES} minutes: drop it again.")
        return query
    if wanted.like:
        return _space(snapshot).query_of([_photo(desk, room.names(snapshot), wanted.like)])
    raise HTTPException(404, f"No photo is called “{readable(wanted.q)}”.")


def _photo(desk: Desk, names: Names, text: str) -> Photo:
    found = _there(desk, names.exactly(text))
    if not found:
        raise HTTPException(404, "This photo is not in the library: it may have been removed or renamed.")
    if len(found) > 1:
        raise SameSpaceError(f"{len(found)} photos are called {readable(text)}: give the id of one")
    return found[0]


def _hits(
    desk: Desk, space: Space, query: Query, wanted: Wanted, folder: Path | None
) -> tuple[list[Hit], int | None, float]:
    """The results that are wanted, where further ones start, and the score of the one before them."""
    before = int(wanted.start > 0)
    top, start = wanted.top + before + 1, wanted.start - before
    with _turn():
        [hits] = space.search(query, top, wanted.threshold, folder, not wanted.all, desk.gone, start)
    further = wanted.start + wanted.top if len(hits) == top else None
    return hits[before : wanted.top + before], further, hits[0].score if before and hits else math.inf


# Pages


def show(request: Request) -> Response:
    """The whole page; to htmx its results alone, or those that come next."""
    wanted, desk = wanted_of(request.query_params), _desk(request)
    snapshot, room = desk.snapshot, _room(request)
    names = room.names(snapshot)
    named = _there(desk, names.exactly(wanted.q) or names.called(wanted.q)) if wanted.q else []
    if len(named) == 1:
        return RedirectResponse(wanted.of(like=photo_id(named[0].path)), 303)
    try:
        status, words = 200, _results(desk, room, snapshot, wanted, named)
    except (HTTPException, SameSpaceError) as error:
        status, sentence = told(error)
        if "hx-request" in request.headers:
            return JSONResponse({"error": sentence}, status)
        status, words = 200 if wanted.q else status, {"state": "none", "sentence": sentence}
    return _page(request, status, {**_NOTHING, **words, "wanted": wanted, "folders": names.choices(wanted.folder)})


def _results(desk: Desk, room: Room, snapshot: Snapshot, wanted: Wanted, named: list[Photo]) -> dict[str, Any]:
    if not snapshot.photos:
        return {"state": "empty"}
    if snapshot.space is None:
        return {"state": "blind", "sentence": snapshot.why_not}
    if named:
        return {"state": "named", "photos": named[:MOST], "number": len(named)}
    if not (wanted.like or wanted.photo or wanted.q):
        photos = _there(desk, snapshot.space.photos)
        return {"state": "begin", "photos": photos[:: max(1, -(-len(photos) // BEGIN))]}
    query, folder = _query(desk, room, snapshot, wanted), room.names(snapshot).folder(wanted.folder)
    hits, further, before = _hits(desk, snapshot.space, query, wanted, folder)
    return {
        "state": "hits",
        "hits": hits,
        "further": further,
        "before": before,
        "of": _photo(desk, room.names(snapshot), wanted.like) if wanted.like else None,
        "lacking": snapshot.space.lacking,
    }


def _there(desk: Desk, photos: Iterable[Photo]) -> list[Photo]:
    gone = desk.gone
    return [photo for photo in photos if photo.path not in gone]


_NOTHING: dict[str, Any] = {
    "sentence": "",
    "photos": [],
    "hits": [],
    "further": None,
    "before": math.inf,
    "of": None,
    "lacking": 0,
}


def _about(desk: Desk) -> str:
    """What the scores mean. A model's are probabilities, however its vectors are kept."""
    look, space = desk.look, desk.snapshot.space
    about, method = ABOUT[look.meaning].format(name=look.name), space.vectors.compression if space else "none"
    if look.meaning != "cosine" or method == "none":
        return about
    return f"{about} The features are compressed by {method}, which puts scores on another scale than without."


def _page(request: Request, status: int, words: dict[str, Any]) -> Response:
    wanted, desk, is_piece = words["wanted"], desk_of(request), "hx-request" in request.headers
    template = "search.html" if not is_piece else "search_hits.html" if wanted.start else "search_found.html"
    further = words["further"]
    words |= {"onward": further and wanted.address(start=further, top=PAGE), "shown": min((further or 0) + PAGE, MOST)}
    response = page(
        request, template, status, **words, look=desk.look, about=_about(desk), mark=desk.look.threshold or 0.0
    )
    if is_piece and not wanted.start:
        response.headers["HX-Replace-Url"] = wanted.address()
    return response


def complete(request: Request) -> Response:
    """What typed words may mean, as the choices of the box."""
    desk = _desk(request)
    found = _room(request).names(desk.snapshot).called(request.query_params.get("q", ""))
    wanted = wanted_of(
        {name: value for name, value in request.query_params.items() if name in ("folder", "threshold", "all")}
    )
    return page(request, "search_names.html", photos=_there(desk, found)[:NAMES], wanted=wanted)


def _desk(request: Request) -> Desk:
    """What is kept in memory is not searched while nobody could open what is found."""
    desk = desk_of(request)
    desk.must_be_there()
    return desk


def _room(request: Request) -> Room:
    room: Room = request.app.state.search
    return room


# Photos from outside


@takes_photos("photo")
def search_with_form(request: Request, sent: Sent) -> Response:
    """A page's form, without scripts: on to the page with the photo's results."""
    return RedirectResponse(wanted_of(sent.words).of(photo=_keep(request, sent)), 303)


def _keep(request: Request, sent: Sent) -> str:
    """The key that the photo can be searched by."""
    if "photo" not in sent.photos:
        raise SameSpaceError("no photo was sent: choose one first")
    space = _space(_desk(request).snapshot)
    with _turn():
        return _room(request).kept.add(space.query(sent.photos["photo"][None]), space.look)


def _space(snapshot: Snapshot) -> Space:
    if snapshot.space is None:
        raise SameSpaceError(snapshot.why_not)
    return snapshot.space


# For programs


@takes_photos("photo")
def search(request: Request, sent: Sent) -> Response:
    """POST /api/search."""
    wanted = wanted_of(sent.words)
    if sent.photos:
        wanted = wanted._replace(photo=_keep(request, sent))
    return JSONResponse(_answer(_desk(request), _room(request), wanted))


def _answer(desk: Desk, room: Room, wanted: Wanted) -> dict[str, Any]:
    snapshot = desk.snapshot
    space = _space(snapshot)
    if bool(wanted.like) == bool(wanted.photo):
        raise SameSpaceError("name one photo to search by: `like`, the id or name of one in the library, or `photo`")
    folder = room.names(snapshot).folder(wanted.folder)
    hits, further, _ = _hits(desk, space, _query(desk, room, snapshot, wanted), wanted, folder)
    return {
        "look": space.look.name,
        "meaning": space.look.meaning,
        "photo": wanted.photo or None,
        "hits": [
            {**photo_as_json(hit.photo), "score": hit.score, "also": [photo_as_json(photo) for photo in hit.also]}
            for hit in hits
        ],
        "next": further,
    }


_NARROWED = {
    "top": explained(WHOLE, "how many hits", minimum=1, maximum=MOST, default=PAGE),
    "start": explained(WHOLE, "the first of them; `next` of the answer before", minimum=0, default=0),
    "threshold": explained(NUMBER, "the lowest score", minimum=0, maximum=1),
    "folder": explained(TEXT, "only photos below it; its name from the folder that was scanned"),
    "all": explained(FLAG, "every copy as a hit of its own", default=False),
}
_LIKE = {
    "like": explained(TEXT, "the id or the name of a photo of the library"),
    "photo": explained(TEXT, "`photo` of an earlier answer, to go on with it"),
}
_HIT = photo_and(score=NUMBER, also=listed(PHOTO, "further photos that show the same, best first"))
_FOUND = record(
    look=explained(TEXT, "what photos are compared by"),
    meaning=explained({"enum": sorted(ABOUT)}, "of the scores"),
    photo=or_null(TEXT, f"stands for the photo that was sent, for {MINUTES} minutes"),
    hits=listed(_HIT),
    next=or_null(WHOLE, "where further hits start; null where there are none"),
)
DESCRIBED = {
    "/api/search": {
        "post": {
            "summary": "Photos of the library that are like a photo, best first",
            "requestBody": takes(
                json=fields(_LIKE | _NARROWED, description="Either like or photo."),
                form=fields({"photo": IMAGE, **_NARROWED}, ("photo",)),
            ),
            "responses": {"200": answer("What was found.", _FOUND)},
        }
    }
}

ROUTES = [
    Route("/search", show),
    Route("/search", search_with_form, methods=["POST"]),
    Route("/search/names", complete),
    Route("/api/search", search, methods=["POST"]),
]
