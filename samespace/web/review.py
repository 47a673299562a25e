"""Review: duplicate groups one after the other, what a person decides of them, and undoing it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from samespace import cleanup
from samespace.duplicates import Member
from samespace.errors import SameSpaceError
from samespace.library import Photo
from samespace.plans import Plan, PlannedGroup, PlannedPhoto
from samespace.web.comparing import LOWEST, POSITIONS, Comparings, Shown, kinds, threshold_of
from samespace.web.describing import (
    FLAG,
    NUMBER,
    TEXT,
    WHOLE,
    answer,
    explained,
    fields,
    listed,
    or_null,
    parameter,
    photo_and,
    record,
    takes,
)
from samespace.web.desk import Desk, photo_id
from samespace.web.pages import below, desk_of, page, photo_as_json, takes_json
from samespace.wording import count, readable, size_words

SORTS = {"largest": "largest first", "certain": "most certain first"}
PAGE = 20  # groups that come at once
MOST = 1000  # groups in one answer
BUSY = "A scan or a cleanup is at work in this library, so nothing was done: try again when it has finished."
COMPARING = "The photos are still being compared: try again in a moment."
LAST = "A group never loses its last photo: keep at least one."

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


def _review(request: Request) -> Review:
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


def _asked(given: Mapping[str, Any], desk: Desk) -> Asked:
    """From an address or a JSON record; one sentence if it makes no sense."""
    kind, sort, known = given.get("kind", "near"), given.get("sort", "largest"), kinds(desk)
    if kind not in known:
        why = "; this library was scanned without a model or a backbone" if kind == "same-space" else ""
        raise _wrong(f"there is no kind {str(kind)[:40]!r} here: choose {' or '.join(known)}{why}")
    if sort not in list(SORTS):
        raise _wrong(f"there is no order {str(sort)[:40]!r}: choose {' or '.join(SORTS)}")
    try:
        threshold = threshold_of(kind, _number(given, "threshold", None))
    except SameSpaceError as error:
        raise _wrong(str(error)) from error
    return Asked(kind, threshold, sort, int(_number(given, "start", 0)))


def _number(given: Mapping[str, Any], name: str, usual: Any) -> Any:
    if given.get(name) in (None, ""):
        return usual
    try:
        number = float(given[name])
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < 1e9:
        raise _wrong(f"{name} is to be a number from 0 on, not {readable(str(given[name])[:40])}")
    return number


def _wrong(sentence: str) -> HTTPException:
    return HTTPException(422, sentence[0].upper() + sentence[1:].removesuffix(".") + ".")


# --- the page ---------------------------------------------------------------------------------------------------------


def _page(request: Request) -> Response:
    """The whole page; for htmx what is below its header, or further groups; or the groups of some photos."""
    desk = desk_of(request)
    asked = _asked(request.query_params, desk)
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
    review = _review(request)
    state = {"state": "unscanned", "photos": len(review.desk.snapshot.photos) - len(review.desk.gone)}
    if not review.desk.snapshot.photos:
        return state
    try:
        groups = review.groups(asked)
    except SameSpaceError as error:
        return {**state, "state": "failed", "sentence": str(error)}
    if groups is None:
        return {**state, "state": "comparing", "seconds": review.comparings.of(asked.kind).seconds}
    more = {"decided": bool(review.steps), **_totals(groups), **_part(request, asked, groups)}
    return {**state, "state": "groups", **more}


def _totals(groups: Sequence[Shown]) -> dict[str, int]:
    return {
        "total": len(groups),
        "duplicates": sum(not member.keep for one in groups for member in one.group.members),
        "bytes": sum(one.bytes_to_win for one in groups),
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
    review, asked = _review(request), _asked(request.query_params, desk_of(request))
    groups = review.groups(asked)
    if groups is None:
        return JSONResponse({"state": "comparing", "seconds": review.comparings.of(asked.kind).seconds}, 202)
    end = asked.start + min(int(_number(request.query_params, "count", PAGE)), MOST)
    shown = [_group_as_json(one) for one in groups[asked.start : end]]
    return JSONResponse({"state": "ready", **asked._asdict(), **_totals(groups), "groups": shown})


def _group_as_json(one: Shown) -> dict[str, Any]:
    members = [
        {**photo_as_json(member.photo), "score": round(member.score, 6), "keep": member.keep, "why": member.why}
        for member in one.group.members
    ]
    weakest = round(one.group.weakest, 6)
    return {"id": one.id, "kind": one.group.kind, "weakest": weakest, "bytes": one.bytes_to_win, "members": members}


def _counts(request: Request) -> Response:
    """How many groups each position of the slider gives."""
    desk = desk_of(request)
    asked = _asked(request.query_params, desk)
    comparing = _review(request).comparings.of(asked.kind)
    with desk.library() as library:
        verdicts = library.verdicts()
    counts = comparing.counts(desk, verdicts)
    if counts is not None and _review(request).kept:  # what was kept together is no group to decide
        each = (_review(request).groups(asked._replace(threshold=at)) for at in POSITIONS)
        counts = [len(groups or ()) for groups in each]
    if counts is None:
        return JSONResponse({"state": "comparing", "seconds": comparing.seconds}, 202)
    positions = [{"threshold": at, "groups": number} for at, number in zip(POSITIONS, counts, strict=True)]
    return JSONResponse({"state": "ready", "positions": positions})


# --- what is said of photos -------------------------------------------------------------------------------------------


def _tell(request: Request, sent: dict[str, Any]) -> Response:
    """Remember, or forget, what a person says of pairs of photos."""
    desk, review = desk_of(request), _review(request)
    said = sent.get("said")
    if said not in ("same", "different", "unsaid"):
        raise _wrong("`said` is missing: choose same, different or unsaid")
    pairs = _pairs(sent, desk.snapshot.photos)
    told = sorted({_contents(pair) for pair in pairs if pair[0].content != pair[1].content})
    if not told:
        raise _wrong("these photos have the same bytes: there is nothing to say of them")
    group, photos = sent.get("group"), dict.fromkeys(photo_id(photo.path) for pair in pairs for photo in pair)
    with review.deciding, desk.library() as library:
        before = library.verdicts()
        was = tuple((*pair, before.get(frozenset(pair))) for pair in told)
        _say(desk, [(*pair, {"same": True, "different": False}.get(said)) for pair in told])
        review.steps.append(Step((group,) if isinstance(group, str) else (), tuple(photos), verdicts=was))
    words = {"same": "Remembered as the same", "different": "Remembered as not the same", "unsaid": "Forgotten"}[said]
    if len(told) < len(pairs):
        words += "; photos with the same bytes stay together"
    return JSONResponse({"said": said, "pairs": len(told), "words": f"{words}."})


def _pairs(sent: dict[str, Any], photos: Mapping[str, Photo]) -> list[tuple[Photo, Photo]]:
    """`photo0` with `photo1` and with each of `photos`; without it each two of `photos`."""
    named = [*(_texts(sent, "photos") if "photos" in sent else []), *([sent["photo1"]] if "photo1" in sent else [])]
    others = [_photo(each, photos) for each in named]
    pairs = list(combinations(others, 2))
    if "photo0" in sent:
        first = _photo(sent["photo0"], photos)
        pairs = [(first, other) for other in others]
    if not pairs or any(one.path == other.path for one, other in pairs):
        raise _wrong("name at least two photos, each once")
    return pairs


def _contents(pair: tuple[Photo, Photo]) -> tuple[str, str]:
    first, second = sorted(photo.content for photo in pair)
    return first, second


def _say(desk: Desk, verdicts: Iterable[tuple[str, str, bool | None]]) -> None:
    with desk.library() as library:
        for first, second, same in verdicts:
            if same is None:
                library.forget_verdict(first, second)
            else:
                library.add_verdict(first, second, same)


def _texts(record: Any, name: str) -> list[str]:
    texts = record.get(name) if isinstance(record, dict) else None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _wrong(f"`{name}` is missing, or no list of ids")
    return texts


def _photo(named: Any, photos: Mapping[str, Photo]) -> Photo:
    if not isinstance(named, str) or named not in photos:
        raise _wrong(f"there is no photo {str(named)[:40]!r}: it may have been removed")
    return photos[named]


# --- what is done with them -------------------------------------------------------------------------------------------


class Decided(NamedTuple):
    """What a person wants of one group."""

    group: Shown
    keep: tuple[str, ...]  # ids, as they stand in the group
    remove: tuple[str, ...]


def _apply(request: Request, sent: dict[str, Any]) -> Response:
    """Move what is to be removed into the library's quarantine, if every photo of every group is named."""
    desk, review = desk_of(request), _review(request)
    asked = _asked(sent, desk)
    with review.deciding:
        groups = review.groups(asked)
        if groups is None:
            raise HTTPException(409, COMPARING)
        decided = _decided(sent, {frozenset(one.ids): one for one in groups}, desk)
        applied = _carry_out(desk, asked, [one for one in decided if one.remove])
        run = applied.runs[0] if applied.runs else None
        together = tuple(frozenset(one.keep) for one in decided if len(one.keep) > 1)
        review.keep_together(together)
        if run or together:
            photos = tuple(photo for one in decided for photo in one.group.ids)
            review.steps.append(Step(tuple(one.group.id for one in decided), photos, run, together))
    return JSONResponse(
        {
            "removed": applied.photos,
            "bytes": applied.bytes_to_free,
            "run": run.name if run else None,
            "skipped": _skipped(applied.skipped, desk),
            "words": _applied_words(applied, decided),
        }
    )


def _decided(sent: dict[str, Any], groups: Mapping[frozenset[str], Shown], desk: Desk) -> list[Decided]:
    named = sent.get("groups")
    if not isinstance(named, list) or not named:
        raise _wrong("`groups` is missing, or no list of groups")
    decided = [_decided_one(_texts(group, "keep"), _texts(group, "remove"), groups, desk) for group in named]
    if len({one.group.id for one in decided}) < len(decided):
        raise _wrong("a group is named twice")
    return decided


def _decided_one(keep: list[str], remove: list[str], groups: Mapping[frozenset[str], Shown], desk: Desk) -> Decided:
    photos = {named: _photo(named, desk.snapshot.photos) for named in (*keep, *remove)}
    if not keep:
        raise _wrong(LAST)
    first = photos[keep[0]]
    if both := [photos[named] for named in keep if named in remove]:
        raise _wrong(f"{_name(both[0])} is both to be kept and to be removed")
    group = groups.get(frozenset(photos))
    if group is None or len(photos) < len(keep) + len(remove):
        raise _wrong(f"{_name(first)} and the photos named with it are no group, each photo once: look at it again")
    return Decided(group, *(tuple(each for each in group.ids if each in named) for named in (keep, remove)))


def _name(photo: Photo) -> str:
    return below(photo.path, photo.root)


def _carry_out(desk: Desk, asked: Asked, decided: Sequence[Decided]) -> cleanup.Applied:
    if not decided:
        return cleanup.Applied(0, 0, (), ())
    _refuse_while_busy(desk)
    plan = _plan(desk, asked, decided)
    applied = cleanup.apply(plan)
    # Also what somebody else took away, a keeper perhaps: the group is then another one, and can be decided.
    named = (photo.path for group in plan.groups for photo in (*group.keep, *group.remove))
    desk.remove(path for path in named if not os.path.lexists(path))
    return applied


def _refuse_while_busy(desk: Desk) -> None:
    """Rather than wait for as long as a scan may take."""
    with desk.library() as library, library.hold(wait=False) as held:
        if not held:
            raise HTTPException(409, BUSY)


def _plan(desk: Desk, asked: Asked, decided: Sequence[Decided]) -> Plan:
    made = datetime.now(timezone.utc).isoformat(timespec="seconds")
    library = decided[0].group.group.members[0].photo.library
    groups = tuple(map(_planned_group, decided))
    return Plan(made, asked.kind, asked.threshold, "keeper", {library: Path(os.path.realpath(desk.folder))}, groups)


def _planned_group(decided: Decided) -> PlannedGroup:
    members = dict(zip(decided.group.ids, decided.group.group.members, strict=True))
    keep, remove = (tuple(_planned(members[each]) for each in named) for named in (decided.keep, decided.remove))
    return PlannedGroup(keep, remove, decided.group.group.weakest)


def _planned(member: Member) -> PlannedPhoto:
    photo = member.photo
    return PlannedPhoto(photo.path, photo.root, photo.library, photo.size, photo.mtime_ns, photo.content, member.why)


def _skipped(skipped: Sequence[cleanup.Skipped], desk: Desk) -> list[dict[str, Any]]:
    photos = {photo.path: photo for photo in desk.snapshot.photos.values()} if skipped else {}
    return [
        {
            "photo": photo_id(each.path),
            "name": _name(photos[each.path]) if each.path in photos else readable(each.path.name),
            "reason": _reason(each.reason, desk),
        }
        for each in skipped
    ]


def _reason(words: str, desk: Desk) -> str:
    """On a page nobody has seen a plan, and photos go by their names below the folders that were scanned."""
    for root in desk.roots:
        words = words.replace(os.path.join(root, ""), "")  # noqa: PTH118 - a Path drops the last slash
    return readable(words.replace(" since the plan", ""))


def _applied_words(applied: cleanup.Applied, decided: Sequence[Decided]) -> str:
    words = [f"{count(len(applied.skipped), 'photo')} had to be left."] if applied.skipped else []
    of_groups = f" of {count(len(decided), 'group')}" if len(decided) > 1 else ""
    if applied.photos:
        to_win = f"{size_words(applied.bytes_to_free)} to win"
        words.insert(0, f"Removed {count(applied.photos, 'photo')}{of_groups}, {to_win}.")
    elif not words:
        words = [f"Kept all {count(sum(len(one.keep) for one in decided), 'photo')}{of_groups}."]
    return " ".join(words)


# --- undo -------------------------------------------------------------------------------------------------------------


def _undo(request: Request, sent: dict[str, Any]) -> Response:
    """Undo the last thing that was done here, else the library's newest run; or the run that is named.

    With `"earlier": false` a run of before the start is not undone but told, for a person may not expect it.
    """
    desk, review = desk_of(request), _review(request)
    with review.deciding:
        step = _step(review, sent.get("run"))
        if step not in review.steps and sent.get("earlier") is False and step.run:
            return JSONResponse(_told(step.run))
        undone = _undo_run(desk, step.run) if step.run else cleanup.Undone(0, False, ())
        _say(desk, step.verdicts)
        review.keep_together((), less=step.together)
        review.steps = [other for other in review.steps if other is not step]
    words = f"Brought back {count(undone.photos, 'photo')}." if step.run else "Undone: the group is back."
    return JSONResponse(
        {
            "undone": "verdicts" if step.verdicts else "apply",
            "run": step.run.name if step.run else None,
            "groups": list(step.groups),
            "photos": list(step.photos),
            "skipped": _skipped(undone.skipped, desk),
            "words": words,
        }
    )


def _step(review: Review, name: Any) -> Step:
    """What to undo: of the runs only those that still hold photos."""
    runs = [run.folder for run in cleanup.runs(review.desk.folder) if run.photos]
    review.steps = [step for step in review.steps if step.run is None or step.run in runs]
    if name is None and review.steps:
        return review.steps[-1]
    for run in runs:
        if name in (None, run.name):
            return next((step for step in review.steps if step.run == run), Step(run=run))
    raise HTTPException(409, "There is nothing to undo." if name is None else f"There is no run {str(name)[:40]!r}.")


def _told(folder: Path) -> dict[str, Any]:
    """What undoing a run of before the start would bring back."""
    run = next(run for run in cleanup.runs(folder.parent.parent) if run.folder == folder)
    made = run.made.astimezone().strftime("%Y-%m-%d %H:%M")
    words = f"Nothing was decided here since the start. Bring back {count(run.photos, 'photo')} that went on {made}?"
    return {"undone": None, "run": folder.name, "groups": [], "photos": [], "skipped": [], "words": words}


def _undo_run(desk: Desk, run: Path) -> cleanup.Undone:
    _refuse_while_busy(desk)
    undone = cleanup.undo(run)
    desk.restore([path for path in desk.gone if os.path.lexists(path)])
    return undone


# --- the addresses ----------------------------------------------------------------------------------------------------


_IDS = listed(TEXT)
_KIND = {"enum": list(LOWEST), "default": "near"}
_THRESHOLD = explained(NUMBER, "left out: the kind's usual one", minimum=0, maximum=1)
_SKIPPED = listed(record(photo=TEXT, name=TEXT, reason=TEXT))
_WORDS = explained(TEXT, "what was done, in a sentence")
_RUN = or_null(TEXT, "the folder in the library's quarantine")
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
_SAID = fields(
    {
        "said": {"enum": ["same", "different", "unsaid"]},
        "photo0": TEXT,
        "photo1": TEXT,
        "photos": _IDS,
        "group": explained(TEXT, "id of the group, told again by undo"),
    },
    ("said",),
    "photo0 with photo1 and with each of photos; without photo0 each two of photos",
)
_DECIDED = fields(
    {"kind": _KIND, "threshold": _THRESHOLD, "groups": listed(record(keep=_IDS, remove=_IDS))},
    ("groups",),
    "every photo of each group is named once, and one at least is kept",
)
_TO_UNDO = fields(
    {
        "run": explained(TEXT, "as apply told it"),
        "earlier": explained(FLAG, "false: only tell of a run from before the start"),
    }
)
_UNDONE = record(
    undone=explained({"enum": ["apply", "verdicts", None]}, "null: nothing, see words"),
    run=_RUN,
    groups=_IDS,
    photos=_IDS,
    skipped=_SKIPPED,
    words=_WORDS,
)
DESCRIBED = {
    "/api/groups": {
        "get": {
            "summary": "Duplicate groups that are left to decide",
            "parameters": [
                parameter("kind", "of duplicates; same-space where the library was scanned for it", _KIND),
                parameter("threshold", "from which score on", _THRESHOLD),
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
            "parameters": [parameter("kind", "of duplicates", _KIND)],
            "responses": {
                "200": answer("The number at each threshold, groups that were kept whole included.", _COUNTS),
                "202": _WAIT,
            },
        }
    },
    "/api/verdicts": {
        "post": {
            "summary": "Say whether photos are the same; it counts from now on, and for training",
            "requestBody": takes(json=_SAID),
            "responses": {"200": answer("It is remembered.", record(said=TEXT, pairs=WHOLE, words=_WORDS))},
        }
    },
    "/api/apply": {
        "post": {
            "summary": "Decide groups: what is removed goes to the library's quarantine",
            "requestBody": takes(json=_DECIDED),
            "responses": {
                "200": answer(
                    "Done; what had to be left is in skipped.",
                    record(removed=WHOLE, bytes=WHOLE, run=_RUN, skipped=_SKIPPED, words=_WORDS),
                )
            },
        }
    },
    "/api/undo": {
        "post": {
            "summary": "Undo the last thing decided since the start, else the newest run; or the run that is named",
            "requestBody": takes(json=_TO_UNDO),
            "responses": {"200": answer("Undone; what had to be left is in skipped.", _UNDONE)},
        }
    },
}

ROUTES = [
    Route("/review", _page),
    Route("/api/groups", _groups),
    Route("/api/groups/counts", _counts),
    Route("/api/verdicts", takes_json(_tell), methods=["POST"]),
    Route("/api/apply", takes_json(_apply), methods=["POST"]),
    Route("/api/undo", takes_json(_undo), methods=["POST"]),
]
