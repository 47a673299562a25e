"""Check the partners of photos that may go: a photo and its partners are one item, which goes whole or stays."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from samespace.base import progress
from samespace.base.files import content_hash
from samespace.base.partners import Partners
from samespace.base.photos import in_threads
from samespace.duplicates.check import GONE, Checked
from samespace.duplicates.manifest import Skipped, same_file
from samespace.duplicates.plan import Plan, PlannedPartner


class CheckedPartner(NamedTuple):
    """A partner found as planned, and the other photos that it belongs to: while one is there, it stays."""

    file: Checked
    others: tuple[Path, ...]


class Item(NamedTuple):
    """A photo that may go, and the partners that go with it."""

    photo: Checked
    partners: tuple[CheckedPartner, ...] = ()

    @property
    def files(self) -> list[Checked]:
        """Return all files of the item in the order in which they move: the photo last."""
        return [*(partner.file for partner in self.partners), self.photo]


class _Read(NamedTuple):
    seen: os.stat_result
    content: str


def check_items(plan: Plan, checked: Sequence[Checked]) -> tuple[list[Item], list[Skipped]]:
    """Read the partners of these photos, and what is kept for them; return what may go, and why the rest may not.

    A partner that the plan keeps or removes by itself is nobody's here. A photo with one that has come since the plan
    stays, unless that stays anyway, with another of its photos. From a plan of 0.1 photos go without partners.
    """
    photos = [photo.path for group in plan.groups for photo in (*group.keep, *group.remove)]
    themselves, victims = set(photos), {each.victim.path for each in checked}
    last = {partner.path: each.victim.path for each in checked for partner in each.victim.partners or ()}
    partners = Partners()
    found: list[tuple[Checked, list[tuple[PlannedPartner, tuple[Path, ...]]]]] = []
    skipped = []
    for each in checked:
        now = {partner.path: partner for partner in partners.of(each.victim.path)}
        mine, reason = [], ""
        for planned in each.victim.partners or ():
            if planned.path in themselves or last[planned.path] != each.victim.path:
                continue
            if planned.path not in now:
                reason = reason or f"{planned.path.name}, which belongs to it, {GONE}"
            elif victims.issuperset(now[planned.path].photos):
                if now[planned.path][2:] != (planned.size, planned.mtime_ns):
                    reason = reason or f"{planned.path.name}, which belongs to it, changed since the plan"
                mine.append((planned, now[planned.path].photos))
        for partner in now.values() if each.victim.partners is not None else ():
            if partner.path not in themselves and partner.path not in last and victims.issuperset(partner.photos):
                reason = reason or f"{partner.path.name}, which belongs to it, has come since the plan"
        if reason:
            skipped.append(Skipped(each.victim.path, reason))
        else:
            found.append((each, mine))
    leaving = {*victims, *(planned.path for _, mine in found for planned, _ in mine)}
    read = _read_all(planned for _, mine in found for planned, _ in mine)
    items = []
    for each, mine in found:
        reason = next(filter(None, (_why_not(planned, read, leaving) for planned, _ in mine)), "")
        if reason:
            skipped.append(Skipped(each.victim.path, reason))
        else:
            items.append(Item(each, tuple(_checked(each, planned, photos, read) for planned, photos in mine)))
    return items, skipped


def _read_all(partners: Iterable[PlannedPartner]) -> dict[Path, _Read | str]:
    paths = list(dict.fromkeys(path for each in partners for path in (each.path, each.keeper) if path))
    return dict(zip(paths, progress.over(in_threads(_read, paths), "checking", len(paths)), strict=True))


def _read(path: Path) -> _Read | str:
    """Return what a file holds, or why that cannot be said."""
    try:
        seen = path.lstat()
        if not stat.S_ISREG(seen.st_mode):
            return "is no longer a file"
        content = content_hash(path)
        return _Read(seen, content) if same_file(path.lstat(), seen) else "changed while it was read"
    except FileNotFoundError:
        return GONE
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _why_not(planned: PlannedPartner, read: dict[Path, _Read | str], leaving: Collection[Path]) -> str:
    """Return why a partner must stay; "" if it may go."""
    mine = read[planned.path]
    if isinstance(mine, str):
        return f"{planned.path.name}, which belongs to it, {mine}"
    kept = read[planned.keeper] if planned.keeper else mine
    if isinstance(kept, str):
        return f"the file kept for {planned.path.name}, {planned.keeper}, {kept}"
    if planned.keeper in leaving:
        return f"the file kept for {planned.path.name}, {planned.keeper}, is to be removed as well"
    if kept.content != mine.content:
        return f"the file kept for {planned.path.name}, {planned.keeper}, has other bytes"
    return ""


def _checked(
    photo: Checked, planned: PlannedPartner, photos: Iterable[Path], read: dict[Path, _Read | str]
) -> CheckedPartner:
    mine, kept = read[planned.path], read.get(planned.keeper or planned.path)
    assert isinstance(mine, _Read)
    assert isinstance(kept, _Read)
    file = photo.victim._replace(
        path=planned.path, size=planned.size, mtime_ns=planned.mtime_ns, content=mine.content, partners=()
    )
    others = tuple(path for path in photos if path != photo.victim.path)
    keeper, keeper_seen = photo.keeper, photo.keeper_seen
    if planned.keeper:
        keeper, keeper_seen = keeper._replace(path=planned.keeper, content=kept.content), kept.seen
    return CheckedPartner(Checked(file, keeper, mine.seen, keeper_seen, ()), others)
