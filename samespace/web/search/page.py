"""The search page: photos like one of the library, like one from outside, or as a sentence says."""

from __future__ import annotations

import math
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from samespace.base.errors import SameSpaceError
from samespace.base.text import readable
from samespace.library.library import Photo
from samespace.web import uploads
from samespace.web.render import page, told
from samespace.web.schema import read
from samespace.web.search.find import Searching, how_to_understand, searching
from samespace.web.search.query import MOST, PAGE, SearchQuery
from samespace.web.search.sums import last_part
from samespace.web.state import LiveLibrary, photo_id

NAMES = 12  # photos that typed words are completed to
BEGIN = 12  # photos that an empty page offers to begin with

# What a search compares and what its scores mean, by the meaning of its look; "fit" for a sentence, "sum" for a sum.
ABOUT = {
    "probability": "Scores are the probability of the same space, by {name}.",
    "cosine": "Scores are the cosine similarity of {name} features, 1 for photos that look the same.",
    "same shot": "Scores say how likely it is the same photo, edited or not.",
    "fit": "Scores say how much of the sentence the photo or its caption matches, 1 for all.",
    "sum": "Scores are the cosine similarity to the sum; captions do not count.",
}

NOTHING: dict[str, Any] = {
    "sentence": "",
    "photos": [],
    "hits": [],
    "further": None,
    "before": math.inf,
    "unknown": [],
    "meaning": "",
    "of": None,
    "called": 0,
    "lacking": 0,
}


def show(request: Request) -> Response:
    """Show the whole page, or to htmx its results alone, or those that come next."""
    wanted, search = read(SearchQuery, request.query_params), searching(request)
    names = search.names
    named = _named(search, wanted)
    if len(named) == 1:
        return RedirectResponse(wanted.of(like=photo_id(named[0].path)), 303)
    try:
        status, words = 200, _results(search, wanted, named)
    except (HTTPException, SameSpaceError) as error:
        status, sentence = told(error)
        if "hx-request" in request.headers:
            return JSONResponse({"error": sentence}, status)
        status, words = 200 if wanted.q else status, {"state": "none", "sentence": sentence}
    if wanted.q and not wanted.names:
        words["called"] = len(search.there(names.called(wanted.q)))
    return _page(request, search.live, wanted, status, words | {"folders": names.choices(wanted.folder)})


def _named(search: Searching, wanted: SearchQuery) -> list[Photo]:
    """Return the photos that are meant by name: words that name none are a sentence, if the library understands any."""
    exactly = search.there(search.names.exactly(wanted.q)) if wanted.q else []
    if exactly or not wanted.q or (search.live.understands and not wanted.names):
        return exactly
    return search.there(search.names.called(wanted.q))


def _results(search: Searching, wanted: SearchQuery, named: list[Photo]) -> dict[str, Any]:
    snapshot = search.snapshot
    if not snapshot.photos:
        return {"state": "empty"}
    if snapshot.space is None:
        return {"state": "blind", "sentence": snapshot.why_not}
    if named:
        return {"state": "named", "photos": named[:MOST], "number": len(named)}
    if not (wanted.like or wanted.photo or wanted.q):
        photos = search.there(snapshot.space.photos)
        step = max(1, math.ceil(len(photos) / BEGIN))
        return {"state": "begin", "photos": photos[::step]}
    if wanted.q and (wanted.names or not search.live.understands):
        raise HTTPException(404, f"No photo is called “{readable(wanted.q)}”.")
    return {
        "state": "hits",
        **search.find(wanted)._asdict(),
        "of": search.photo(wanted.like) if wanted.like else None,
        "lacking": snapshot.space.lacking,
    }


def _page(request: Request, live: LiveLibrary, wanted: SearchQuery, status: int, words: dict[str, Any]) -> Response:
    is_piece = "hx-request" in request.headers
    template = "search.html" if not is_piece else "search_hits.html" if wanted.start else "search_found.html"
    given = NOTHING | words
    further, meaning = given["further"], given["meaning"] or ("fit" if wanted.q else live.look.meaning)
    given |= {
        "wanted": wanted,
        "onward": further and wanted.address(start=further, top=PAGE),
        "shown": min((further or 0) + PAGE, MOST),
        "meaning": meaning,
        "about": _about(live, meaning),
        "why_mute": live.snapshot.why_mute,
        "understands": live.understands,
        "adds": live.snapshot.adds,
        "how": "" if live.understands else how_to_understand(live),
        "look": live.look,
        "mark": 0.0 if wanted.q else live.look.threshold or 0.0,
    }
    response = page(request, template, status, **given)
    if is_piece and not wanted.start:
        response.headers["HX-Replace-Url"] = wanted.address()
    return response


def _about(live: LiveLibrary, meaning: str) -> str:
    """Say what the scores mean. A model's are probabilities, however its vectors are kept."""
    if meaning in ("fit", "sum"):
        return ABOUT[meaning]
    look, space = live.look, live.snapshot.space
    about, method = ABOUT[look.meaning].format(name=look.name), space.vectors.compression if space else "none"
    if look.meaning != "cosine" or method == "none":
        return about
    return f"{about} The features are compressed by {method}, which changes the scale of the scores."


def complete(request: Request) -> Response:
    """Show the photos that typed words may name, as the choices of the box."""
    search, given = searching(request), request.query_params
    found = search.names.called(last_part(given.get("q", "")))
    wanted = read(SearchQuery, {name: given[name] for name in ("folder", "threshold", "all") if name in given})
    return page(request, "search_names.html", photos=search.there(found)[:NAMES], wanted=wanted)


async def search_with_form(request: Request) -> Response:
    """Go on to the page with the results of a photo; a form is enough, without scripts."""
    sent = await uploads.receive(request, ("photo",))
    return await run_in_threadpool(_search_with, request, sent)


def _search_with(request: Request, sent: uploads.Received) -> Response:
    wanted = read(SearchQuery, sent.words)
    if "photo" not in sent.photos:
        raise SameSpaceError("no photo was sent: choose one first")
    return RedirectResponse(wanted.of(photo=searching(request).keep(sent.photos["photo"])), 303)


ROUTES = [
    Route("/search", show),
    Route("/search", search_with_form, methods=["POST"]),
    Route("/search/names", complete),
]
