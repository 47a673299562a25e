"""Write and read plans: what `dedupe` proposes to keep and remove, in a file to read, edit and apply later."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from samespace.base.errors import SameSpaceError
from samespace.base.files import write_whole
from samespace.base.partners import photos_by_partner
from samespace.duplicates.beside import Beside
from samespace.duplicates.group import Duplicates, Member
from samespace.library.library import Library

FORMAT = 1


class PlannedPartner(NamedTuple):
    """A file beside a photo as it was when the plan was made: it goes with the last of its photos."""

    path: Path
    size: int
    mtime_ns: int
    keeper: Path | None = None  # a file with its bytes that stays beside a kept photo, and without which it stays too


class PlannedPhoto(NamedTuple):
    """A photo as it was when the plan was made."""

    path: Path
    root: Path
    library: str  # id
    size: int  # bytes
    mtime_ns: int
    content: str  # SHA-256 of the bytes
    why: str
    score: float | None = None  # with the keeper; None for photos that are kept
    partners: tuple[PlannedPartner, ...] | None = ()  # None in a plan of 0.1, which did not look for any
    only_here: tuple[str, ...] | None = None  # by name what it knew and no kept photo did, for whoever reads the plan


class PlannedGroup(NamedTuple):
    """The photos of a group to keep, at least one, and to remove. The first to keep is the keeper."""

    keep: tuple[PlannedPhoto, ...]
    remove: tuple[PlannedPhoto, ...]
    weakest: float


class Plan(NamedTuple):
    """The groups that `dedupe` proposes, a person may edit, and `apply` carries out."""

    made: str  # when, ISO 8601
    kind: str
    threshold: float | None
    grouping: str
    libraries: dict[str, Path]  # id → folder
    groups: tuple[PlannedGroup, ...]


def make_plan(found: Duplicates, libraries: Sequence[Library]) -> Plan:
    """Return a plan that removes every duplicate that was found."""
    beside = Beside()
    groups = [
        planned_group(
            [member for member in group.members if member.keep],
            [member for member in group.members if not member.keep],
            group.weakest,
            beside,
        )
        for group in found.groups
    ]
    made = datetime.now(timezone.utc).isoformat(timespec="seconds")
    folders = {library.id: Path(os.path.realpath(library.folder)) for library in libraries}
    return Plan(made, found.kind, found.threshold, found.grouping, folders, tuple(groups))


def planned_group(keep: Sequence[Member], remove: Sequence[Member], weakest: float, beside: Beside) -> PlannedGroup:
    """Return a group of a plan, with the partners that `beside` finds."""
    kept = [member.photo.path for member in keep]
    return PlannedGroup(
        keep=tuple(_planned(member, _partners(member, (), beside)) for member in keep),
        remove=tuple(_planned(member, _partners(member, kept, beside), member.score) for member in remove),
        weakest=weakest,
    )


def _planned(member: Member, partners: tuple[PlannedPartner, ...], score: float | None = None) -> PlannedPhoto:
    photo = member.photo
    return PlannedPhoto(
        photo.path,
        photo.root,
        photo.library,
        photo.size,
        photo.mtime_ns,
        photo.content,
        member.why,
        score,
        partners,
        member.only_here or None,
    )


def _partners(member: Member, kept: Sequence[Path], beside: Beside) -> tuple[PlannedPartner, ...]:
    return tuple(
        PlannedPartner(each.path, each.size, each.mtime_ns, beside.equal(each, kept) if each.is_picture else None)
        for each in beside.of(member.photo.path)
    )


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan, whole or not at all; refuse one that `read_plan` would refuse."""
    refuse_contradictions(plan)
    content = {
        "format": FORMAT,
        **plan._asdict(),
        "libraries": {library: str(folder) for library, folder in plan.libraries.items()},
        "groups": [_group_as_json(group) for group in plan.groups],
    }
    try:
        write_whole(path, (json.dumps(content, indent=1) + "\n").encode(), durable=True)
    except OSError as error:
        raise SameSpaceError(f"{path} cannot be written: {error.strerror}") from error


def _group_as_json(group: PlannedGroup) -> dict[str, Any]:
    return {
        "weakest": group.weakest,
        "keep": [_photo_as_json(photo) for photo in group.keep],
        "remove": [_photo_as_json(photo) for photo in group.remove],
    }


def _photo_as_json(photo: PlannedPhoto) -> dict[str, Any]:
    fields = {**photo._asdict(), "path": str(photo.path), "root": str(photo.root)}
    if photo.partners is not None:
        fields["partners"] = [_partner_as_json(partner) for partner in photo.partners]
    return {name: value for name, value in fields.items() if value is not None}


def _partner_as_json(partner: PlannedPartner) -> dict[str, Any]:
    fields = {**partner._asdict(), "path": str(partner.path), "keeper": partner.keeper and str(partner.keeper)}
    return {name: value for name, value in fields.items() if value is not None}


def read_plan(path: Path) -> Plan:
    """Read a plan; refuse one that is damaged or contradicts itself. The photos themselves are not looked at."""
    try:
        plan = _plan_from_json(_read_json(path))
        refuse_contradictions(plan)
    except SameSpaceError as error:
        raise SameSpaceError(f"{path} cannot be followed as a plan: {error}") from error
    return plan


def is_plan(file: BinaryIO) -> bool:
    """Return whether a file is a plan, of any version, perhaps edited."""
    try:
        return {"format", "kind", "libraries", "groups"} <= json.load(file).keys()
    except (ValueError, AttributeError, RecursionError):
        return False


def kind_of(path: Path) -> str:
    """Return the kind of duplicates that a plan removes; "" if there is no plan."""
    try:
        return str(json.loads(path.read_bytes())["kind"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return ""


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise SameSpaceError(f"it cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise SameSpaceError("it is not JSON; `samespace dedupe --plan FILE` writes one") from error


def _plan_from_json(record: Any) -> Plan:
    form = record.get("format") if isinstance(record, dict) else None
    if form != FORMAT:
        raise SameSpaceError(
            f"its format is {form}, this version reads {FORMAT}; make a new one with `samespace dedupe`"
        )
    threshold = record.get("threshold")
    return Plan(
        made=get(record, "made", str),
        kind=get(record, "kind", str),
        threshold=None if threshold is None else float(get(record, "threshold", int, float)),
        grouping=get(record, "grouping", str),
        libraries={library: as_path(folder) for library, folder in get(record, "libraries", dict).items()},
        groups=tuple(_group_from_json(group) for group in get(record, "groups", list)),
    )


def _group_from_json(record: Any) -> PlannedGroup:
    return PlannedGroup(
        keep=tuple(_photo_from_json(photo) for photo in get(record, "keep", list)),
        remove=tuple(_photo_from_json(photo) for photo in get(record, "remove", list)),
        weakest=float(get(record, "weakest", int, float)),
    )


def _photo_from_json(record: Any) -> PlannedPhoto:
    return PlannedPhoto(
        path=as_path(get(record, "path", str)),
        root=as_path(get(record, "root", str)),
        library=get(record, "library", str),
        size=get(record, "size", int),
        mtime_ns=get(record, "mtime_ns", int),
        content=get(record, "content", str),
        why=get(record, "why", str),
        score=float(get(record, "score", int, float)) if "score" in record else None,
        partners=tuple(map(_partner_from_json, get(record, "partners", list))) if "partners" in record else None,
        only_here=tuple(map(str, get(record, "only_here", list))) if "only_here" in record else None,
    )


def _partner_from_json(record: Any) -> PlannedPartner:
    return PlannedPartner(
        path=as_path(get(record, "path", str)),
        size=get(record, "size", int),
        mtime_ns=get(record, "mtime_ns", int),
        keeper=as_path(get(record, "keeper", str)) if "keeper" in record else None,
    )


def get(record: Any, name: str, *types: type) -> Any:
    """Return a field of a JSON record; refuse the record if it is missing or of none of these types."""
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, types) or isinstance(value, bool):
        raise SameSpaceError(f"`{name}` is missing or has the wrong type in {str(record)[:200]}")
    return value


def as_path(name: Any) -> Path:
    """Return a name as an absolute path without `..`; refuse any other."""
    with contextlib.suppress(TypeError, ValueError):  # not a string, or surrogates that stand for no byte
        path = Path(name)
        if path.is_absolute() and ".." not in path.parts and b"\0" not in os.fsencode(path):
            return path
    raise SameSpaceError(f"{name!a} must be an absolute path without `..`")


def refuse_contradictions(plan: Plan) -> None:
    """Refuse a plan with a group that keeps nothing, a photo kept and removed, or a photo outside its folder."""
    for folder in plan.libraries.values():
        as_path(str(folder))
    kept = {photo.path for group in plan.groups for photo in group.keep}
    removed: set[Path] = set()
    for number, group in enumerate(plan.groups, start=1):
        if not group.keep:
            raise SameSpaceError(f"its group {number} keeps no photo")
        for photo in (*group.keep, *group.remove):
            _refuse_place(photo, plan.libraries)
        for photo in group.remove:
            if photo.path in kept or photo.path in removed:
                said = "both kept and removed" if photo.path in kept else "removed twice"
                raise SameSpaceError(f"{photo.path} is {said}")
            removed.add(photo.path)


def _refuse_place(photo: PlannedPhoto, libraries: dict[str, Path]) -> None:
    if photo.library not in libraries:
        raise SameSpaceError(f"it does not say where the library of {photo.path} is")
    refuse_outside(photo.path, photo.root)
    for partner in photo.partners or ():
        if not photos_by_partner([photo.path.name, partner.path.name]) or partner.path.parent != photo.path.parent:
            raise SameSpaceError(f"{partner.path} does not belong to {photo.path}")
    for folder in libraries.values():
        if photo.path.is_relative_to(folder):
            raise SameSpaceError(f"{photo.path} is in the library's own folder {folder}")


def refuse_outside(path: Path, root: Path) -> None:
    """Refuse a path that is not inside its root, by name alone: whoever touches the disk checks for links."""
    as_path(str(path))
    as_path(str(root))
    if path == root or not path.is_relative_to(root):
        raise SameSpaceError(f"{path} is not inside its folder {root}")
