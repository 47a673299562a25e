"""Decisions on duplicate groups: same or different, keep or remove, and undo."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from itertools import combinations
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request

from samespace.base.text import count, count_with, readable, size_words
from samespace.duplicates import apply, manifest, quarantine, undo
from samespace.duplicates.beside import Beside
from samespace.duplicates.plan import Plan, PlannedGroup, planned_group
from samespace.library.library import Photo
from samespace.web.address import Address
from samespace.web.render import below, live_of
from samespace.web.review.groups import Shown
from samespace.web.review.page import Review, Step, ThresholdQuery, check_kind, review_of, wrong
from samespace.web.schema import Answer, Sent
from samespace.web.state import LiveLibrary, photo_id

BUSY = "Nothing was done: a scan or a cleanup is running in this library. Try again when it has finished."
COMPARING = "The photos are still being compared: try again in a moment."
RUN = "its folder in the library's quarantine"
IN_WORDS = "what was done, in a sentence"
LAST = "Keep at least one photo in each group."


# --- what is said of photos -------------------------------------------------------------------------------------------


class Verdict(Sent):
    """A verdict on photo0 with photo1 and with each of photos; without photo0, on each two of photos."""

    said: Literal["same", "different", "unsaid"]
    photo0: str | None = None
    photo1: str | None = None
    photos: list[str] = Field(default=[])
    group: str | None = Field(default=None, description="id of the group, which undo answers again")


class Remembered(Answer):
    """The verdict is remembered."""

    said: str
    pairs: int
    words: str = Field(description=IN_WORDS)


def _remember(request: Request, sent: Verdict) -> Remembered:
    """Remember if photos are the same, from now on and for training, or forget it."""
    live, review = live_of(request), review_of(request)
    said, pairs = sent.said, _pairs(sent, live.snapshot.named)
    contents = sorted({_contents(pair) for pair in pairs if pair[0].content != pair[1].content})
    if not contents:
        raise wrong("these photos have the same bytes: there is nothing to say of them")
    groups = () if sent.group is None else (sent.group,)
    photos = dict.fromkeys(photo_id(photo.path) for pair in pairs for photo in pair)
    with review.deciding, live.library() as library:
        before = library.verdicts()
        was = tuple((*pair, before.get(frozenset(pair))) for pair in contents)
        _say(live, [(*pair, {"same": True, "different": False}.get(said)) for pair in contents])
        review.steps.append(Step(groups, tuple(photos), verdicts=was))
    words = {"same": "Remembered as the same", "different": "Won't be grouped again", "unsaid": "Forgotten"}[said]
    if len(contents) < len(pairs):
        words += "; identical photos stay together"
    return Remembered(said=said, pairs=len(contents), words=f"{words}.")


def _pairs(sent: Verdict, photos: Mapping[str, Photo]) -> list[tuple[Photo, Photo]]:
    """Pair `photo0` with `photo1` and with each of `photos`; without it each two of `photos`."""
    others = [_photo(each, photos) for each in (*sent.photos, sent.photo1) if each is not None]
    pairs = list(combinations(others, 2))
    if sent.photo0 is not None:
        first = _photo(sent.photo0, photos)
        pairs = [(first, other) for other in others]
    if not pairs or any(one.path == other.path for one, other in pairs):
        raise wrong("name at least two photos, each once")
    return pairs


def _contents(pair: tuple[Photo, Photo]) -> tuple[str, str]:
    first, second = sorted(photo.content for photo in pair)
    return first, second


def _say(live: LiveLibrary, verdicts: Iterable[tuple[str, str, bool | None]]) -> None:
    with live.library() as library:
        for first, second, same in verdicts:
            if same is None:
                library.forget_verdict(first, second)
            else:
                library.add_verdict(first, second, same)


def _photo(named: str, photos: Mapping[str, Photo]) -> Photo:
    if named not in photos:
        raise wrong(f"there is no photo {named[:40]!r}: it may have been removed")
    return photos[named]


# --- what is done with them -------------------------------------------------------------------------------------------


class GroupDecision(Sent):
    """Which photos of a group to keep and which to remove, each named once."""

    keep: list[str] = Field(description="ids, at least one")
    remove: list[str] = Field(description="ids")


class Decisions(ThresholdQuery):
    """Decisions on groups of one kind, as they were listed at this threshold."""

    groups: list[GroupDecision] = Field(min_length=1)
    merge_metadata: bool = Field(
        default=False, description="write what only removed photos know to an XMP sidecar of the first photo kept"
    )


class SkippedPhoto(Answer):
    """A photo that could not be moved."""

    photo: str
    name: str
    reason: str


class Applied(Answer):
    """Photos that were removed, and those that could not be moved."""

    removed: int
    partners: int = Field(description="files that belong to these photos, and were removed with them")
    bytes: int
    run: str | None = Field(description=RUN)
    skipped: list[SkippedPhoto]
    words: str = Field(description=IN_WORDS)


class Decided(NamedTuple):
    """One group, and what a person wants done."""

    group: Shown
    keep: tuple[str, ...]  # ids, as they stand in the group
    remove: tuple[str, ...]


def _apply(request: Request, sent: Decisions) -> Applied:
    """Decide groups: what is removed goes to the library's quarantine."""
    live, review = live_of(request), review_of(request)
    check_kind(sent, live)
    with review.deciding:
        groups = review.groups(sent.kind, sent.threshold)
        if groups is None:
            raise HTTPException(409, COMPARING)
        decided = _decided(sent, {frozenset(one.ids): one for one in groups}, live)
        applied = _carry_out(live, sent, [one for one in decided if one.remove])
        run = applied.runs[0] if applied.runs else None
        together = tuple(frozenset(one.keep) for one in decided if len(one.keep) > 1)
        review.keep_together(together)
        if run or together:
            photos = tuple(photo for one in decided for photo in one.group.ids)
            review.steps.append(Step(tuple(one.group.id for one in decided), photos, run, together))
    return Applied(
        removed=applied.photos,
        partners=applied.partners,
        bytes=applied.bytes_to_free,
        run=run.name if run else None,
        skipped=_skipped(applied.skipped, live),
        words=_applied_words(applied, decided, live),
    )


def _decided(sent: Decisions, groups: Mapping[frozenset[str], Shown], live: LiveLibrary) -> list[Decided]:
    decided = [_decided_one(group.keep, group.remove, groups, live) for group in sent.groups]
    if len({one.group.id for one in decided}) < len(decided):
        raise wrong("a group is named twice")
    return decided


def _decided_one(
    keep: list[str], remove: list[str], groups: Mapping[frozenset[str], Shown], live: LiveLibrary
) -> Decided:
    photos = {named: _photo(named, live.snapshot.named) for named in (*keep, *remove)}
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


def _carry_out(live: LiveLibrary, asked: Decisions, decided: Sequence[Decided]) -> apply.Applied:
    if not decided:
        return apply.Applied(0, 0, (), ())
    _refuse_while_busy(live)
    plan = _plan(live, asked, decided)
    applied = apply.apply(plan, merge_metadata=asked.merge_metadata)
    # Also what somebody else took away, a keeper perhaps: the group is then another one, and can be decided.
    named = (photo.path for group in plan.groups for photo in (*group.keep, *group.remove))
    live.remove(path for path in named if not os.path.lexists(path))
    return applied


def _refuse_while_busy(live: LiveLibrary) -> None:
    """Refuse if the library is held, rather than wait for as long as a scan may take."""
    with live.library() as library, library.hold(wait=False) as held:
        if not held:
            raise HTTPException(409, BUSY)


def _plan(live: LiveLibrary, asked: Decisions, decided: Sequence[Decided]) -> Plan:
    made = datetime.now(timezone.utc).isoformat(timespec="seconds")
    library = decided[0].group.group.members[0].photo.library
    beside = Beside()  # looks again: sidecars may have come since the photos were compared
    groups = tuple(_planned_group(one, beside) for one in decided)
    return Plan(made, asked.kind, asked.threshold, "keeper", {library: Path(os.path.realpath(live.folder))}, groups)


def _planned_group(decided: Decided, beside: Beside) -> PlannedGroup:
    members = dict(zip(decided.group.ids, decided.group.group.members, strict=True))
    keep, remove = ([members[each] for each in named] for named in (decided.keep, decided.remove))
    return planned_group(keep, remove, decided.group.group.weakest, beside)


def _skipped(skipped: Sequence[manifest.Skipped], live: LiveLibrary) -> list[SkippedPhoto]:
    photos = {photo.path: photo for photo in live.snapshot.named.values()} if skipped else {}
    return [
        SkippedPhoto(
            photo=photo_id(each.path),
            name=_name(photos[each.path]) if each.path in photos else readable(each.path.name),
            reason=_reason(each.reason, live),
        )
        for each in skipped
    ]


def _reason(words: str, live: LiveLibrary) -> str:
    """Leave out plans, which no page shows, and folders above those that were scanned."""
    for root in live.roots:
        words = words.replace(os.path.join(root, ""), "")  # noqa: PTH118 - a Path drops the last slash
    return readable(words.replace(" since the plan", ""))


def _counted(moved: apply.Applied | undo.Undone) -> str:
    return count_with(moved.photos, "photo", moved.partners)


def _applied_words(applied: apply.Applied, decided: Sequence[Decided], live: LiveLibrary) -> str:
    words = []
    if applied.skipped:
        reasons = {_reason(each.reason, live) for each in applied.skipped}
        why = f": {reasons.pop()}" if len(reasons) == 1 else ""
        words.append(f"{count(len(applied.skipped), 'photo')} could not be moved{why}.")
    from_groups = f" from {count(len(decided), 'group')}" if len(decided) > 1 else ""
    if applied.photos:
        size = size_words(applied.bytes_to_free)
        words.insert(0, f"Removed {_counted(applied)}{from_groups}, which frees {size}.")
        if applied.sidecars:
            words.insert(1, f"What only they knew is in {count(applied.sidecars, 'sidecar')} now.")
    elif not words:
        words = [f"Kept all {count(sum(len(one.keep) for one in decided), 'photo')}{from_groups}."]
    return " ".join(words)


# --- undo -------------------------------------------------------------------------------------------------------------


class ToUndo(Sent):
    refused_with: ClassVar[int] = 409
    run: str | None = Field(default=None, description="`run` of an earlier answer")
    earlier: bool = Field(default=True, description="false: do not undo a run from before the start, but describe it")


class Undone(Answer):
    """Photos that came back, and those that could not be moved."""

    undone: Literal["apply", "verdicts"] | None = Field(description="null: nothing, see words")
    run: str | None = Field(description=RUN)
    groups: list[str] = Field(description="ids")
    photos: list[str] = Field(description="ids")
    skipped: list[SkippedPhoto]
    words: str = Field(description=IN_WORDS)


def _undo(request: Request, sent: ToUndo) -> Undone:
    """Undo the last thing decided since the start, else the newest run; or the run that is named."""
    live, review = live_of(request), review_of(request)
    with review.deciding:
        step = _step(review, sent.run)
        if step not in review.steps and not sent.earlier and step.run:
            return _offer(step.run)
        undone = _undo_run(live, step.run) if step.run else undo.Undone(0, False, ())
        _say(live, step.verdicts)
        review.keep_together((), less=step.together)
        review.steps = [other for other in review.steps if other is not step]
    words = f"Brought back {_counted(undone)}." if step.run else "Undone: the group is back."
    return Undone(
        undone="verdicts" if step.verdicts else "apply",
        run=step.run.name if step.run else None,
        groups=list(step.groups),
        photos=list(step.photos),
        skipped=_skipped(undone.skipped, live),
        words=words,
    )


def _step(review: Review, name: str | None) -> Step:
    """Return what to undo; a run only if it still holds photos."""
    review.live.must_be_there()
    runs = [run.folder for run in quarantine.runs(review.live.folder) if run.can_be_undone]
    review.steps = [step for step in review.steps if step.run is None or step.run in runs]
    if name is None and review.steps:
        return review.steps[-1]
    for run in runs:
        if name in (None, run.name):
            return next((step for step in review.steps if step.run == run), Step(run=run))
    raise HTTPException(409, "There is nothing to undo." if name is None else f"There is no run {name[:40]!r}.")


def _offer(folder: Path) -> Undone:
    """Say what undoing a run from before the start would bring back."""
    run = next(run for run in quarantine.runs(folder.parent.parent) if run.folder == folder)
    made = run.made.astimezone().strftime("%Y-%m-%d %H:%M")
    held = count_with(run.photos, "photo", run.partners)
    words = f"Nothing was decided since SameSpace started. Bring back {held} removed on {made}?"
    return Undone(undone=None, run=folder.name, groups=[], photos=[], skipped=[], words=words)


def _undo_run(live: LiveLibrary, run: Path) -> undo.Undone:
    _refuse_while_busy(live)
    undone = undo.undo(run)
    live.restore([path for path in live.gone if os.path.lexists(path)])
    return undone


ROUTES = [
    Address("POST", "/api/verdicts", _remember, {200: Remembered}, takes=Verdict),
    Address("POST", "/api/apply", _apply, {200: Applied}, takes=Decisions),
    Address("POST", "/api/undo", _undo, {200: Undone}, takes=ToUndo),
]
