"""The review page: duplicate groups that are left to decide, one after the other."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from samespace.base.errors import SameSpaceError
from samespace.base.text import readable
from samespace.library.library import Photo
from samespace.web.render import desk_of, page, photo_as_json, told
from samespace.web.review.groups import LOWEST, POSITIONS, Comparings, Shown, kinds, threshold_of
from samespace.web.schema import FLAG, NUMBER, TEXT, WHOLE, answer, explained, listed, parameter, photo_and, record
from samespace.web.state import Desk, LibraryAway
from samespace.words.stored_captions import Caption

SORTS = {"largest": "frees most first", "certain": "most certain first"}
PAGE = 20  # groups that come at once
MOST = 1000  # groups in one answer

_NOTE = "kept together"  # its name in the library's notes


class Step(NamedTuple):
    """One thing that was done here, and what it takes to undo it."""

    groups: tuple[str, ...] = ()  # ids
    photos: tuple[str, ...] = ()  # theirs
    run: Path | None = None
    together: tuple[frozenset[str], ...] = ()  # photos that were all kept
    verdicts: tuple[tuple[str, str, bool | None], ...] = ()  # two contents, and what was said of them before


class Review:
    """What is being compared, what was decided since the start, and which photos a person kept together."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.comparings = desk, Comparings(desk)
        self.steps: list[Step] = []
        self.deciding = threading.Lock()  # one decision after the other

    @cached_property
    def kept(self) -> list[frozenset[str]]:
        """Photos of a group, by their ids, of which several were kept."""
        with self.desk.library() as library:
            return [frozenset(ids) for ids in json.loads(library.note(_NOTE) or "[]")]

    def keep_together(self, more: Sequence[frozenset[str]], less: Sequence[frozenset[str]] = ()) -> None:
        """What was kept together does not come back as a group, not with the next scan either."""
        if more or less:
            self.kept = [*(ids for ids in self.kept if ids not in less), *more]
            with self.desk.library() as library:
                library.write_note(_NOTE, json.dumps([sorted(ids) for ids in self.kept]))

    def groups(self, asked: Asked) -> list[Shown] | None:
        """What is left to decide; None while it is being compared."""
        with self.desk.library() as library:
            verdicts = library.verdicts()
        groups = self.comparings.of(asked.kind).groups(asked.threshold, self.desk, verdicts)
        if groups is None:
            return None
        together = {photo: ids for ids in self.kept for photo in ids}
        left = [one for one in groups if not together.get(one.ids[0], frozenset()).issuperset(one.ids)]
        return sorted(left, key=lambda one: -one.group.weakest) if asked.sort == "certain" else left


def review_of(request: Request) -> Review:
    review: Review = request.app.state.review
    return review


# --- which groups -----------------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """Which groups a person looks at, as the address says."""

    kind: str
    threshold: float
    sort: str
    start: int

    def address(self, **changes: Any) -> str:
        """Of the page that shows them; what is as usual goes without saying."""
        asked, usual = self._replace(**changes), Asked(self.kind, threshold_of(self.kind, None), "largest", 0)
        said = {name: value for name, value in asked._asdict().items() if value != getattr(usual, name)}
        words = urlencode(said if asked.kind == "near" else {"kind": asked.kind, **said})
        return f"/review?{words}" if words else "/review"

    def of(self, kind: str) -> Asked:
        """The first groups of another kind."""
        return Asked(kind, threshold_of(kind, None), self.sort, 0)


def asked_for(given: Mapping[str, Any], desk: Desk) -> Asked:
    """From an address or a JSON record; one sentence if it makes no sense."""
    kind, sort, known = given.get("kind", "near"), given.get("sort", "largest"), kinds(desk)
    if kind not in known:
        why = "; this library was scanned without a model or a backbone" if kind == "same-space" else ""
        raise wrong(f"there is no kind {str(kind)[:40]!r} here: choose {' or '.join(known)}{why}")
    if sort not in list(SORTS):
        raise wrong(f"there is no order {str(sort)[:40]!r}: choose {' or '.join(SORTS)}")
    try:
        threshold = threshold_of(kind, _number(given, "threshold", None))
    except SameSpaceError as error:
        raise wrong(str(error)) from error
    return Asked(kind, threshold, sort, int(_number(given, "start", 0)))


def _number(given: Mapping[str, Any], name: str, usual: Any) -> Any:
    if given.get(name) in (None, ""):
        return usual
    try:
        number = float(given[name])
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < 1e9:
        raise wrong(f"`{name}` is to be a number from 0 on, not {readable(str(given[name])[:40])}")
    return number


def wrong(sentence: str) -> HTTPException:
    """What was asked for makes no sense."""
    return HTTPException(422, sentence)


# --- the page ---------------------------------------------------------------------------------------------------------


def _page(request: Request) -> Response:
    """The whole page; for htmx what is below its header, or further groups; or the groups of some photos."""
    desk = desk_of(request)
    asked = asked_for(request.query_params, desk)
    words = {"asked": asked, "kinds": kinds(desk), "sorts": SORTS, "lowest": LOWEST[asked.kind], "saved": _saved}
    return page(request, _template(request), 200, **words, **_state(request, asked))


def _template(request: Request) -> str:
    if request.headers.get("hx-request") != "true" or "hx-history-restore-request" in request.headers:
        return "review.html"
    return "review_groups.html" if request.headers.get("hx-target") == "more" else "review_body.html"


def _saved(photo: Photo) -> str:
    return datetime.fromtimestamp(photo.mtime_ns / 1e9).strftime("%Y-%m-%d %H:%M")


def _state(request: Request, asked: Asked) -> dict[str, Any]:
    """Where the comparing stands, and if it is done, the groups to show."""
    review = review_of(request)
    state = {"state": "unscanned", "photos": len(review.desk.snapshot.photos) - len(review.desk.gone)}
    if not review.desk.snapshot.photos:
        return state
    try:
        groups = review.groups(asked)
    except LibraryAway:
        raise  # another scan does not help
    except SameSpaceError as error:
        return {**state, "state": "failed", "sentence": told(error)[1]}
    if groups is None:
        return {**state, "state": "comparing", "seconds": review.comparings.of(asked.kind).seconds}
    more = {"decided": bool(review.steps), **_totals(groups), **_part(request, asked, groups)}
    return {**state, "state": "groups", **more}


def _totals(groups: Sequence[Shown]) -> dict[str, int]:
    return {
        "total": len(groups),
        "duplicates": sum(not member.keep for one in groups for member in one.group.members),
        "bytes": sum(one.bytes_freed for one in groups),
    }


def _part(request: Request, asked: Asked, groups: Sequence[Shown]) -> dict[str, Any]:
    if photos := request.query_params.get("photos"):
        wanted = set(photos.split(","))
        return {"groups": [one for one in groups if not wanted.isdisjoint(one.ids)], "more": "", "before": ""}
    end = asked.start + PAGE
    return {
        "groups": groups[asked.start : end],
        "more": asked.address(start=end) if end < len(groups) else "",
        "before": asked.address(start=max(0, asked.start - PAGE)) if asked.start else "",
    }


def _groups(request: Request) -> Response:
    """The groups that are left to decide, in order."""
    review, asked = review_of(request), asked_for(request.query_params, desk_of(request))
    groups = review.groups(asked)
    if groups is None:
        return JSONResponse({"state": "comparing", "seconds": review.comparings.of(asked.kind).seconds}, 202)
    end = asked.start + min(int(_number(request.query_params, "count", PAGE)), MOST)
    captions = desk_of(request).captions
    shown = [_group_as_json(one, captions) for one in groups[asked.start : end]]
    return JSONResponse({"state": "ready", **asked._asdict(), **_totals(groups), "groups": shown})


def _group_as_json(one: Shown, captions: Mapping[str, Caption]) -> dict[str, Any]:
    members = [
        {
            **photo_as_json(member.photo, captions),
            "score": round(member.score, 6),
            "keep": member.keep,
            "why": member.why,
        }
        for member in one.group.members
    ]
    weakest = round(one.group.weakest, 6)
    return {"id": one.id, "kind": one.group.kind, "weakest": weakest, "bytes": one.bytes_freed, "members": members}


def _counts(request: Request) -> Response:
    """How many groups each position of the slider gives."""
    desk = desk_of(request)
    asked = asked_for(request.query_params, desk)
    comparing = review_of(request).comparings.of(asked.kind)
    with desk.library() as library:
        verdicts = library.verdicts()
    counts = comparing.counts(desk, verdicts)
    if counts is not None and review_of(request).kept:  # what was kept together is no group to decide
        each = (review_of(request).groups(asked._replace(threshold=at)) for at in POSITIONS)
        counts = [len(groups or ()) for groups in each]
    if counts is None:
        return JSONResponse({"state": "comparing", "seconds": comparing.seconds}, 202)
    positions = [{"threshold": at, "groups": number} for at, number in zip(POSITIONS, counts, strict=True)]
    return JSONResponse({"state": "ready", "positions": positions})


# --- the addresses ----------------------------------------------------------------------------------------------------


KIND = {"enum": list(LOWEST), "default": "near"}
THRESHOLD = explained(NUMBER, "left out: the kind's usual one", minimum=0, maximum=1)
_MEMBER = photo_and(score=explained(NUMBER, "with the first member"), keep=explained(FLAG, "the suggestion"), why=TEXT)
_GROUP = record(
    id=TEXT,
    kind=explained({"enum": list(LOWEST)}, "the loosest that joins a member to the first"),
    weakest=explained(NUMBER, "lowest score of two members"),
    bytes=explained(WHOLE, "that the suggestion wins"),
    members=listed(_MEMBER, "the suggested keeper first"),
)
_GROUPS = record(
    state={"const": "ready"},
    kind=TEXT,
    threshold=NUMBER,
    sort=TEXT,
    start=WHOLE,
    total=explained(WHOLE, "groups in all"),
    duplicates=explained(WHOLE, "photos that the suggestions remove in all"),
    bytes=explained(WHOLE, "that they win in all"),
    groups=listed(_GROUP),
)
_COUNTS = record(state={"const": "ready"}, positions=listed(record(threshold=NUMBER, groups=WHOLE)))
_WAIT = answer("Still comparing: ask again.", record(state={"const": "comparing"}, seconds=WHOLE))
DESCRIBED = {
    "/api/groups": {
        "get": {
            "summary": "Duplicate groups that are left to decide",
            "parameters": [
                parameter("kind", "of duplicates; same-space where the library was scanned for it", KIND),
                parameter("threshold", "from which score on", THRESHOLD),
                parameter("sort", "what comes first", {"enum": list(SORTS), "default": "largest"}),
                parameter("start", "the first to list", {**WHOLE, "minimum": 0, "default": 0}),
                parameter("count", f"how many, {MOST} at most", {**WHOLE, "minimum": 0, "default": PAGE}),
            ],
            "responses": {"200": answer("The groups.", _GROUPS), "202": _WAIT},
        }
    },
    "/api/groups/counts": {
        "get": {
            "summary": "How many groups there would be at other thresholds",
            "parameters": [parameter("kind", "of duplicates", KIND)],
            "responses": {
                "200": answer("The number at each threshold, groups that were kept whole included.", _COUNTS),
                "202": _WAIT,
            },
        }
    },
}

ROUTES = [
    Route("/review", _page),
    Route("/api/groups", _groups),
    Route("/api/groups/counts", _counts),
]
