"""The review page: duplicate groups that are left to decide, one after the other."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlencode

from pydantic import Field, ValidationInfo, field_validator, model_validator
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from samespace.base import partners
from samespace.base.errors import SameSpaceError
from samespace.base.text import readable
from samespace.duplicates.group import THRESHOLDS
from samespace.duplicates.only_here import loss_words
from samespace.library.library import Photo
from samespace.web.address import Address
from samespace.web.render import PhotoAnswer, live_of, page, photo_as_json, told
from samespace.web.review.groups import LOWEST, POSITIONS, Comparings, Shown, kinds
from samespace.web.review.losses import has, known_in, says, with_losses
from samespace.web.schema import Answer, Sent, read, without_blanks
from samespace.web.state import LibraryAway, LiveLibrary, photo_id
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
    """Comparisons under way, decisions since the start, and photos that a person kept together."""

    def __init__(self, live: LiveLibrary) -> None:
        self.live, self.comparings = live, Comparings(live)
        self.steps: list[Step] = []
        self.deciding = threading.Lock()  # one decision after the other

    @property
    def kept(self) -> list[frozenset[str]]:
        """Return groups of photos, by their ids, of which several were kept, here or at another server."""
        with self.live.library() as library:
            return _kept(library.note(_NOTE))

    def keep_together(self, more: Sequence[frozenset[str]], less: Sequence[frozenset[str]] = ()) -> None:
        """Keep photos that were kept together from coming back as a group, after another scan too."""

        def changed(note: str | None) -> str:
            kept = [*(ids for ids in _kept(note) if ids not in less), *more]
            return json.dumps([sorted(ids) for ids in kept])

        if more or less:
            with self.live.library() as library:
                library.change_note(_NOTE, changed)

    def groups(self, kind: str, threshold: float) -> list[Shown] | None:
        """Return what is left to decide, those that free most bytes first; None while photos are being compared."""
        with self.live.library() as library:
            verdicts, kept = library.verdicts(), _kept(library.note(_NOTE))
        groups = self.comparings.of(kind).groups(threshold, self.live, verdicts)
        if groups is None:
            return None
        together = {photo: ids for ids in kept for photo in ids}
        return [one for one in groups if not together.get(one.ids[0], frozenset()).issuperset(one.ids)]


def _kept(note: str | None) -> list[frozenset[str]]:
    return [frozenset(ids) for ids in json.loads(note or "[]")]


def review_of(request: Request) -> Review:
    review: Review = request.app.state.review
    return review


# --- which groups -----------------------------------------------------------------------------------------------------


Kind = Literal["near", "exact", "same-space"]


class KindQuery(Sent):
    """A kind of duplicates, of an address or of JSON."""

    kind: Kind = Field("near", description="of duplicates; same-space only if the library was scanned for it")

    _blank = model_validator(mode="before")(without_blanks)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default")  # null, which is no number


class ThresholdQuery(KindQuery):
    """A kind of duplicates and how alike they must be."""

    threshold: float = Field(
        default=None,
        validate_default=True,
        ge=0,
        le=1,
        description="lowest score; left out: the kind's usual one",
        json_schema_extra=_without_default,
    )

    @field_validator("threshold", mode="before")
    @classmethod
    def _usual(cls, given: Any, info: ValidationInfo) -> Any:
        kind = info.data.get("kind", "near")
        return THRESHOLDS[kind] if given is None or kind == "exact" else given


class GroupsQuery(ThresholdQuery):
    """Which groups a person looks at."""

    sort: Literal["largest", "certain"] = Field(default="largest", description="what comes first")
    start: int = Field(default=0, ge=0, le=10**9, description="the first to list")

    def address(self, **changes: Any) -> str:
        """Return the address of the page that shows them, without values that are usual."""
        asked = self.model_copy(update=changes)
        said = {name: value for name, value in asked if value != getattr(GroupsQuery(kind=asked.kind), name)}
        words = urlencode(said if asked.kind == "near" else {"kind": asked.kind, **said})
        return f"/review?{words}" if words else "/review"

    def of(self, kind: Kind) -> GroupsQuery:
        """Return the query of the first groups of another kind."""
        return GroupsQuery(kind=kind, sort=self.sort)


class CountedGroupsQuery(GroupsQuery):
    """Which groups a program asks for."""

    count: int = Field(default=PAGE, ge=0, le=10**9, description=f"how many, {MOST} at most")


def check_kind(asked: KindQuery, live: LiveLibrary) -> None:
    """Refuse a kind of duplicates that the library was not scanned for, and a threshold that is too low for it."""
    if asked.kind not in kinds(live):
        raise wrong("to find same-space duplicates, scan the library with --model or --backbone")
    lowest = LOWEST[asked.kind]
    if isinstance(asked, ThresholdQuery) and asked.threshold < lowest:
        raise wrong(f"a threshold of {asked.threshold:g} is out of range: use {lowest:g} to 1")


def wrong(sentence: str) -> HTTPException:
    """Return the refusal of a request."""
    return HTTPException(422, sentence)


# --- the page ---------------------------------------------------------------------------------------------------------


def _page(request: Request) -> Response:
    """Show the whole page; to htmx what is below its header, or further groups, or the groups of some photos."""
    live = live_of(request)
    asked = read(GroupsQuery, request.query_params)
    check_kind(asked, live)
    words = {"asked": asked, "kinds": kinds(live), "sorts": SORTS, "lowest": LOWEST[asked.kind], "saved": _saved}
    state = _state(request, asked)
    return page(request, _template(request, state["state"]), 200, **words, **state)


def _template(request: Request, state: str) -> str:
    if request.headers.get("hx-request") != "true" or "hx-history-restore-request" in request.headers:
        return "review.html"
    wants_groups = request.headers.get("hx-target") == "more" and state == "groups"
    return "review_groups.html" if wants_groups else "review_body.html"


def _saved(photo: Photo) -> str:
    return datetime.fromtimestamp(photo.mtime_ns / 1e9).strftime("%Y-%m-%d %H:%M")


def _state(request: Request, asked: GroupsQuery) -> dict[str, Any]:
    """Say if photos are still being compared, and if not, which groups to show."""
    review = review_of(request)
    state = {"state": "unscanned", "photos": len(review.live.snapshot.photos) - len(review.live.gone)}
    if not review.live.snapshot.named:
        return state
    try:
        groups = _in_order(review, asked)
    except LibraryAway:
        raise  # another scan does not help
    except SameSpaceError as error:
        return {**state, "state": "failed", "sentence": told(error)[1]}
    if groups is None:
        return {**state, "state": "comparing", "seconds": review.comparings.of(asked.kind).seconds}
    part = _part(request, asked, groups)
    known = known_in(part["groups"])
    part["groups"] = with_losses(part["groups"], known)
    more = {"decided": bool(review.steps), **_totals(groups), **part}
    return {**state, "state": "groups", "known": known, "has": has, "says": says, "loss_words": loss_words, **more}


def _in_order(review: Review, asked: GroupsQuery) -> list[Shown] | None:
    """Return the groups in the order that is asked for; None while photos are being compared."""
    groups = review.groups(asked.kind, asked.threshold)
    if groups is None or asked.sort == "largest":
        return groups
    return sorted(groups, key=lambda one: -one.group.weakest)


def _totals(groups: Sequence[Shown]) -> dict[str, int]:
    return {
        "total": len(groups),
        "duplicates": sum(not member.keep for one in groups for member in one.group.members),
        "bytes": sum(one.bytes_freed for one in groups),
    }


def _part(request: Request, asked: GroupsQuery, groups: Sequence[Shown]) -> dict[str, Any]:
    if photos := request.query_params.get("photos"):
        wanted = set(photos.split(","))
        return {"groups": [one for one in groups if not wanted.isdisjoint(one.ids)], "more": "", "before": ""}
    end = asked.start + PAGE
    return {
        "groups": groups[asked.start : end],
        "more": asked.address(start=end) if end < len(groups) else "",
        "before": asked.address(start=max(0, asked.start - PAGE)) if asked.start else "",
    }


class Partner(Answer):
    """A file that belongs to a photo: its RAW, its video or a sidecar."""

    name: str
    label: str = Field(description="what to call it: CR2, MOV, XMP")
    size: int
    photos: list[str] = Field(description="ids of all photos that it belongs to: it goes with the last of them")


class Member(PhotoAnswer):
    """A photo of a group."""

    score: float = Field(description="with the first member")
    keep: bool = Field(description="the suggestion")
    why: str
    partners: list[Partner] = Field(description="files that belong to it")
    only_here: list[str] = Field(description="what it knows and no photo does that the suggestion keeps: date, GPS, …")


class Group(Answer):
    """Photos that show the same."""

    id: str
    kind: str = Field(description="the loosest that joins a member to the first")
    weakest: float = Field(description="lowest score of two members")
    bytes: int = Field(description="that the suggestion frees, files that belong to its photos included")
    answer: str = Field(description="copies, burst, look twice or same space; only copies are marked for removal")
    members: list[Member] = Field(description="the suggested keeper first")


class Groups(Answer):
    """The groups that are left to decide."""

    state: Literal["ready"]
    kind: str
    threshold: float
    sort: str
    start: int
    total: int = Field(description="groups in all")
    duplicates: int = Field(description="photos that the suggestions remove in all")
    bytes: int = Field(description="that they free in all")
    groups: list[Group]


class Position(Answer):
    """A threshold and the number of groups there."""

    threshold: float
    groups: int


class Counts(Answer):
    """The number of groups at each threshold."""

    state: Literal["ready"]
    positions: list[Position]


class StillComparing(Answer):
    """Photos are still being compared: ask again."""

    state: Literal["comparing"]
    seconds: int = Field(description="so far")


def _still_comparing(request: Request, kind: str) -> StillComparing:
    return StillComparing(state="comparing", seconds=review_of(request).comparings.of(kind).seconds)


def _groups(request: Request, asked: CountedGroupsQuery) -> Groups | StillComparing:
    """List the duplicate groups that are left to decide."""
    live = live_of(request)
    check_kind(asked, live)
    groups = _in_order(review_of(request), asked)
    if groups is None:
        return _still_comparing(request, asked.kind)
    end = asked.start + min(asked.count, MOST)
    captions, part = live.captions, groups[asked.start : end]
    return Groups(
        state="ready",
        kind=asked.kind,
        threshold=asked.threshold,
        sort=asked.sort,
        start=asked.start,
        **_totals(groups),
        groups=[_group(one, captions) for one in with_losses(part, known_in(part))],
    )


def _group(one: Shown, captions: Mapping[str, Caption]) -> Group:
    group = one.group
    members = []
    for member in group.members:
        photo = photo_as_json(member.photo, captions)
        score, beside = round(member.score, 6), [_partner(partner) for partner in member.partners]
        lost = list(member.only_here)
        members.append(Member(**photo, score=score, keep=member.keep, why=member.why, partners=beside, only_here=lost))
    weakest = round(group.weakest, 6)
    return Group(
        id=one.id, kind=group.kind, weakest=weakest, bytes=one.bytes_freed, answer=group.answer, members=members
    )


def _partner(partner: partners.Partner) -> Partner:
    return Partner(
        name=readable(partner.path.name),
        label=readable(partner.label),
        size=partner.size,
        photos=[photo_id(photo) for photo in partner.photos],
    )


def _counts(request: Request, asked: KindQuery) -> Counts | StillComparing:
    """Say how many groups there would be at other thresholds."""
    live, review = live_of(request), review_of(request)
    check_kind(asked, live)
    with live.library() as library:
        verdicts = library.verdicts()
    counts = review.comparings.of(asked.kind).counts(live, verdicts)
    if counts is None:
        return _still_comparing(request, asked.kind)
    if review.kept:  # what was kept together is not a group to decide
        counts = [len(review.groups(asked.kind, at) or ()) for at in POSITIONS]
    positions = [Position(threshold=at, groups=number) for at, number in zip(POSITIONS, counts, strict=True)]
    return Counts(state="ready", positions=positions)


ROUTES = [
    Route("/review", _page),
    Address("GET", "/api/groups", _groups, {200: Groups, 202: StillComparing}, takes=CountedGroupsQuery),
    Address("GET", "/api/groups/counts", _counts, {200: Counts, 202: StillComparing}, takes=KindQuery),
]
