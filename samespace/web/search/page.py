"""The search page: what of the library is like one of its photos, or like one from outside, or as a sentence says."""

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
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from samespace.base.errors import SameSpaceError
from samespace.base.text import readable, shell_word
from samespace.library.library import Photo
from samespace.web.folders import Names, names_of
from samespace.web.render import desk_of, page, photo_as_json, told
from samespace.web.schema import (
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
from samespace.web.search.query import MOST, PAGE, Wanted, wanted_of
from samespace.web.state import Desk, Snapshot, photo_id
from samespace.web.uploads import Sent, takes_photos
from samespace.words.search import ask
from samespace.words.stored_captions import LONGEST, LibraryCaptions

if TYPE_CHECKING:
    from samespace.search.look import Look
    from samespace.search.space import Hit, Query, Space

NAMES = 12  # photos that typed words are completed to
BEGIN = 12  # photos that an empty page offers to begin with
MINUTES = 30  # that a photo from outside can be searched by again

# What a search compares and what its scores mean, by the meaning of its look; "fit" where a sentence is searched.
ABOUT = {
    "probability": "Scores are the probability of the same space, by {name}.",
    "cosine": "Scores are the cosine similarity of {name} features, 1 for photos that look the same.",
    "same shot": "Scores say how likely it is the same photo, edited or not.",
    "fit": "Scores say how much of the sentence the photo or its caption matches, 1 for all.",
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

# What `Space.search` and `Space.show` are told alike, from `top` to `start`.
_Narrowed = tuple[int, float | None, Path | None, bool, frozenset[Path], int]

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


class Found(NamedTuple):
    """Some of the results."""

    hits: list[Hit]
    further: int | None  # where the next ones start
    before: float  # the score of the one before them
    unknown: list[str]  # words of a sentence that were left out


def _find(desk: Desk, room: Room, snapshot: Snapshot, wanted: Wanted) -> Found:
    """The results that are wanted, and one on either side, to know what comes before and after."""
    space, folder = _space(snapshot), room.names(snapshot).folder(wanted.folder)
    before = int(wanted.start > 0)
    top, start = wanted.top + before + 1, wanted.start - before
    narrowed = (top, wanted.threshold, folder, not wanted.all, desk.gone, start)
    unknown: list[str] = []
    if wanted.q:
        hits, unknown = _described(desk, snapshot, space, wanted.q, folder, narrowed)
    else:
        query = _query(desk, room, snapshot, wanted)
        with _turn():
            [hits] = space.search(query, *narrowed)
    further = wanted.start + wanted.top if len(hits) == top else None
    score = hits[0].score if before and hits else math.inf
    return Found(hits[before : wanted.top + before], further, score, unknown)


def _query(desk: Desk, room: Room, snapshot: Snapshot, wanted: Wanted) -> Query:
    """The photo that is searched by."""
    if wanted.like:
        return _space(snapshot).query_of([_photo(desk, room.names(snapshot), wanted.like)])
    query = room.kept.find(wanted.photo, _space(snapshot).look)
    if query is None:
        raise HTTPException(404, f"Your photo is remembered for {MINUTES} minutes only: drop it again.")
    return query


def _described(
    desk: Desk, snapshot: Snapshot, space: Space, sentence: str, folder: Path | None, narrowed: _Narrowed
) -> tuple[list[Hit], list[str]]:
    """Photos of what a sentence says, and its words that nobody knows."""
    if not desk.understands:
        raise SameSpaceError(snapshot.why_mute or _how_to_understand(desk))
    if len(sentence) > LONGEST:
        raise SameSpaceError(f"a sentence of {len(sentence):,} characters is too long: {LONGEST:,} at most")
    among = space.contents(folder) if folder else None
    with _turn(), desk.library() as library, LibraryCaptions(library) as captions:
        asked = ask(sentence, among, snapshot.sentences, captions)
        return space.show(asked.ranking, *narrowed), asked.unknown


def _how_to_understand(desk: Desk) -> str:
    roots = " ".join(shell_word(os.fspath(root)) for root in desk.roots)
    return f"Text search is not set up. Caption photos, or name a matcher: samespace scan {roots} --matcher FILE"


def _photo(desk: Desk, names: Names, text: str) -> Photo:
    found = _there(desk, names.exactly(text))
    if not found:
        raise HTTPException(404, "This photo is not in the library: it may have been removed or renamed.")
    if len(found) > 1:
        raise SameSpaceError(f"{len(found)} photos are called {readable(text)}: give the id of one")
    return found[0]


# Pages


def show(request: Request) -> Response:
    """The whole page; to htmx its results alone, or those that come next."""
    wanted, desk = wanted_of(request.query_params), _desk(request)
    snapshot, room = desk.snapshot, _room(request)
    names = room.names(snapshot)
    named = _named(desk, names, wanted)
    if len(named) == 1:
        return RedirectResponse(wanted.of(like=photo_id(named[0].path)), 303)
    try:
        status, words = 200, _results(desk, room, snapshot, wanted, named)
    except (HTTPException, SameSpaceError) as error:
        status, sentence = told(error)
        if "hx-request" in request.headers:
            return JSONResponse({"error": sentence}, status)
        status, words = 200 if wanted.q else status, {"state": "none", "sentence": sentence}
    if wanted.q and not wanted.names:
        words["called"] = len(_there(desk, names.called(wanted.q)))
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
    if wanted.q and (wanted.names or not desk.understands):
        raise HTTPException(404, f"No photo is called “{readable(wanted.q)}”.")
    return {
        "state": "hits",
        **_find(desk, room, snapshot, wanted)._asdict(),
        "of": _photo(desk, room.names(snapshot), wanted.like) if wanted.like else None,
        "lacking": snapshot.space.lacking,
    }


def _named(desk: Desk, names: Names, wanted: Wanted) -> list[Photo]:
    """The photos that are meant by name: what names none is a sentence, where the library understands any."""
    exactly = _there(desk, names.exactly(wanted.q)) if wanted.q else []
    if exactly or not wanted.q or (desk.understands and not wanted.names):
        return exactly
    return _there(desk, names.called(wanted.q))


def _there(desk: Desk, photos: Iterable[Photo]) -> list[Photo]:
    gone = desk.gone
    return [photo for photo in photos if photo.path not in gone]


_NOTHING: dict[str, Any] = {
    "sentence": "",
    "photos": [],
    "hits": [],
    "further": None,
    "before": math.inf,
    "unknown": [],
    "of": None,
    "called": 0,
    "lacking": 0,
}


def _about(desk: Desk, meaning: str) -> str:
    """What the scores mean. A model's are probabilities, however its vectors are kept."""
    if meaning == "fit":
        return ABOUT[meaning]
    look, space = desk.look, desk.snapshot.space
    about, method = ABOUT[look.meaning].format(name=look.name), space.vectors.compression if space else "none"
    if look.meaning != "cosine" or method == "none":
        return about
    return f"{about} The features are compressed by {method}, which changes the scale of the scores."


def _page(request: Request, status: int, words: dict[str, Any]) -> Response:
    wanted, desk, is_piece = words["wanted"], desk_of(request), "hx-request" in request.headers
    template = "search.html" if not is_piece else "search_hits.html" if wanted.start else "search_found.html"
    further = words["further"]
    words |= {"onward": further and wanted.address(start=further, top=PAGE), "shown": min((further or 0) + PAGE, MOST)}
    meaning = "fit" if wanted.q else desk.look.meaning
    words |= {"meaning": meaning, "about": _about(desk, meaning), "why_mute": desk.snapshot.why_mute}
    words |= {"understands": desk.understands, "how": "" if desk.understands else _how_to_understand(desk)}
    mark = 0.0 if wanted.q else desk.look.threshold or 0.0
    response = page(request, template, status, **words, look=desk.look, mark=mark)
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
    if [bool(wanted.like), bool(wanted.photo), bool(wanted.q)].count(True) != 1:
        raise SameSpaceError(
            "name one photo or one sentence to search by: `like`, the id or name of a photo in the library, `photo` or "
            "`sentence`"
        )
    found, captions = _find(desk, room, snapshot, wanted), desk.captions
    return {
        "look": space.look.name,
        "meaning": "fit" if wanted.q else space.look.meaning,
        "photo": wanted.photo or None,
        "unknown": found.unknown,
        "hits": [
            {
                **photo_as_json(hit.photo, captions),
                "score": hit.score,
                "also": [photo_as_json(photo, captions) for photo in hit.also],
            }
            for hit in found.hits
        ],
        "next": found.further,
    }


_NARROWED = {
    "top": explained(WHOLE, "how many hits", minimum=1, maximum=MOST, default=PAGE),
    "start": explained(WHOLE, "the first of them; `next` of the answer before", minimum=0, default=0),
    "threshold": explained(NUMBER, "the lowest score", minimum=0, maximum=1),
    "folder": explained(TEXT, "only photos below it; its name from the folder that was scanned"),
    "all": explained(FLAG, "every copy as a hit of its own", default=False),
}
_ASKED = {
    "like": explained(TEXT, "the id or the name of a photo of the library"),
    "photo": explained(TEXT, "`photo` of an earlier answer, to go on with it"),
    "sentence": explained(TEXT, f"what photos show, or captions say; {LONGEST:,} characters at most"),
}
_HIT = photo_and(score=NUMBER, also=listed(PHOTO, "further photos that show the same, best first"))
_FOUND = record(
    look=explained(TEXT, "what photos are compared by"),
    meaning=explained({"enum": sorted(ABOUT)}, "of the scores; fit: how much of the sentence is there"),
    photo=or_null(TEXT, f"stands for the photo that was sent, for {MINUTES} minutes"),
    unknown=listed(TEXT, "words of the sentence that nobody knows: they were left out"),
    hits=listed(_HIT),
    next=or_null(WHOLE, "where further hits start; null where there are none"),
)
DESCRIBED = {
    "/api/search": {
        "post": {
            "summary": "Photos of the library that are like a photo, or as a sentence says, best first",
            "requestBody": takes(
                json=fields(_ASKED | _NARROWED, description="One of like, photo and sentence."),
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
