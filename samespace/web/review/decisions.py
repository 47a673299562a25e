"""What a person decides of duplicate groups: what is the same, what is removed and what is kept, and undoing it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from samespace.base.text import count, readable, size_words
from samespace.duplicates import apply, manifest, quarantine, undo
from samespace.duplicates.group import Member
from samespace.duplicates.plan import Plan, PlannedGroup, PlannedPhoto
from samespace.library.library import Photo
from samespace.web.render import below, desk_of, takes_json
from samespace.web.review.groups import Shown
from samespace.web.review.page import KIND, THRESHOLD, Asked, Review, Step, asked_for, review_of, wrong
from samespace.web.schema import FLAG, TEXT, WHOLE, answer, explained, fields, listed, or_null, record, takes
from samespace.web.state import Desk, photo_id

BUSY = "Nothing was done: a scan or a cleanup is running in this library. Try again when it has finished."
COMPARING = "The photos are still being compared: try again in a moment."
LAST = "Keep at least one photo in each group."


# --- what is said of photos -------------------------------------------------------------------------------------------


def _tell(request: Request, sent: dict[str, Any]) -> Response:
    """Remember, or forget, what a person says of pairs of photos."""
    desk, review = desk_of(request), review_of(request)
    said = sent.get("said")
    if said not in ("same", "different", "unsaid"):
        raise wrong("`said` is missing: choose same, different or unsaid")
    pairs = _pairs(sent, desk.snapshot.photos)
    told = sorted({_contents(pair) for pair in pairs if pair[0].content != pair[1].content})
    if not told:
        raise wrong("these photos have the same bytes: there is nothing to say of them")
    group, photos = sent.get("group"), dict.fromkeys(photo_id(photo.path) for pair in pairs for photo in pair)
    with review.deciding, desk.library() as library:
        before = library.verdicts()
        was = tuple((*pair, before.get(frozenset(pair))) for pair in told)
        _say(desk, [(*pair, {"same": True, "different": False}.get(said)) for pair in told])
        review.steps.append(Step((group,) if isinstance(group, str) else (), tuple(photos), verdicts=was))
    words = {"same": "Remembered as the same", "different": "Won't be grouped again", "unsaid": "Forgotten"}[said]
    if len(told) < len(pairs):
        words += "; identical photos stay together"
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
        raise wrong("name at least two photos, each once")
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
        raise wrong(f"`{name}` is missing, or no list of ids")
    return texts


def _photo(named: Any, photos: Mapping[str, Photo]) -> Photo:
    if not isinstance(named, str) or named not in photos:
        raise wrong(f"there is no photo {str(named)[:40]!r}: it may have been removed")
    return photos[named]


# --- what is done with them -------------------------------------------------------------------------------------------


class Decided(NamedTuple):
    """What a person wants of one group."""

    group: Shown
    keep: tuple[str, ...]  # ids, as they stand in the group
    remove: tuple[str, ...]


def _apply(request: Request, sent: dict[str, Any]) -> Response:
    """Move what is to be removed into the library's quarantine, if every photo of every group is named."""
    desk, review = desk_of(request), review_of(request)
    asked = asked_for(sent, desk)
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
            "words": _applied_words(applied, decided, desk),
        }
    )


def _decided(sent: dict[str, Any], groups: Mapping[frozenset[str], Shown], desk: Desk) -> list[Decided]:
    named = sent.get("groups")
    if not isinstance(named, list) or not named:
        raise wrong("`groups` is missing, or no list of groups")
    decided = [_decided_one(_texts(group, "keep"), _texts(group, "remove"), groups, desk) for group in named]
    if len({one.group.id for one in decided}) < len(decided):
        raise wrong("a group is named twice")
    return decided


def _decided_one(keep: list[str], remove: list[str], groups: Mapping[frozenset[str], Shown], desk: Desk) -> Decided:
    photos = {named: _photo(named, desk.snapshot.photos) for named in (*keep, *remove)}
    if not keep:
        raise wrong(LAST)
    first = photos[keep[0]]
    if both := [photos[named] for named in keep if named in remove]:
        raise wrong(f"the photo {_name(both[0])} is both to be kept and to be removed")
    group = groups.get(frozenset(photos))
    if group is None or len(photos) < len(keep) + len(remove):
        raise wrong(f"the photo {_name(first)} and those named with it are no group, each photo once: look at it again")
    return Decided(group, *(tuple(each for each in group.ids if each in named) for named in (keep, remove)))


def _name(photo: Photo) -> str:
    return below(photo.path, photo.root)


def _carry_out(desk: Desk, asked: Asked, decided: Sequence[Decided]) -> apply.Applied:
    if not decided:
        return apply.Applied(0, 0, (), ())
    _refuse_while_busy(desk)
    plan = _plan(desk, asked, decided)
    applied = apply.apply(plan)
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


def _skipped(skipped: Sequence[manifest.Skipped], desk: Desk) -> list[dict[str, Any]]:
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


def _applied_words(applied: apply.Applied, decided: Sequence[Decided], desk: Desk) -> str:
    words = []
    if applied.skipped:
        reasons = {_reason(each.reason, desk) for each in applied.skipped}
        why = f": {reasons.pop()}" if len(reasons) == 1 else ""
        words.append(f"{count(len(applied.skipped), 'photo')} could not be moved{why}.")
    from_groups = f" from {count(len(decided), 'group')}" if len(decided) > 1 else ""
    if applied.photos:
        size = size_words(applied.bytes_to_free)
        words.insert(0, f"Removed {count(applied.photos, 'photo')}{from_groups}, which frees {size}.")
    elif not words:
        words = [f"Kept all {count(sum(len(one.keep) for one in decided), 'photo')}{from_groups}."]
    return " ".join(words)


# --- undo -------------------------------------------------------------------------------------------------------------


def _undo(request: Request, sent: dict[str, Any]) -> Response:
    """Undo the last thing that was done here, else the library's newest run; or the run that is named.

    With `"earlier": false` a run of before the start is not undone but told, for a person may not expect it.
    """
    desk, review = desk_of(request), review_of(request)
    with review.deciding:
        step = _step(review, sent.get("run"))
        if step not in review.steps and sent.get("earlier") is False and step.run:
            return JSONResponse(_told(step.run))
        undone = _undo_run(desk, step.run) if step.run else undo.Undone(0, False, ())
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
    review.desk.must_be_there()
    runs = [run.folder for run in quarantine.runs(review.desk.folder) if run.photos]
    review.steps = [step for step in review.steps if step.run is None or step.run in runs]
    if name is None and review.steps:
        return review.steps[-1]
    for run in runs:
        if name in (None, run.name):
            return next((step for step in review.steps if step.run == run), Step(run=run))
    raise HTTPException(409, "There is nothing to undo." if name is None else f"There is no run {str(name)[:40]!r}.")


def _told(folder: Path) -> dict[str, Any]:
    """What undoing a run of before the start would bring back."""
    run = next(run for run in quarantine.runs(folder.parent.parent) if run.folder == folder)
    made = run.made.astimezone().strftime("%Y-%m-%d %H:%M")
    words = f"Nothing was decided since SameSpace started. Bring back {count(run.photos, 'photo')} removed on {made}?"
    return {"undone": None, "run": folder.name, "groups": [], "photos": [], "skipped": [], "words": words}


def _undo_run(desk: Desk, run: Path) -> undo.Undone:
    _refuse_while_busy(desk)
    undone = undo.undo(run)
    desk.restore([path for path in desk.gone if os.path.lexists(path)])
    return undone


# --- the addresses ----------------------------------------------------------------------------------------------------


_IDS = listed(TEXT)
_SKIPPED = listed(record(photo=TEXT, name=TEXT, reason=TEXT))
_WORDS = explained(TEXT, "what was done, in a sentence")
_RUN = or_null(TEXT, "the folder in the library's quarantine")
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
    {"kind": KIND, "threshold": THRESHOLD, "groups": listed(record(keep=_IDS, remove=_IDS))},
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
    Route("/api/verdicts", takes_json(_tell), methods=["POST"]),
    Route("/api/apply", takes_json(_apply), methods=["POST"]),
    Route("/api/undo", takes_json(_undo), methods=["POST"]),
]
