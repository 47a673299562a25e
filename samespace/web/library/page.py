"""The library page: what is in it, what could not be read and why, and what went to quarantine."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from samespace.base.kinds import by_label
from samespace.base.photos import UnreadablePhoto
from samespace.base.text import full_path, readable
from samespace.duplicates import plan_files, quarantine
from samespace.library.library import FOLDER, Photo
from samespace.model.bare import why_lacking
from samespace.web.address import Address
from samespace.web.folders import base_of, deepest_of, name_from
from samespace.web.render import live_of, page
from samespace.web.schema import Answer
from samespace.web.state import LiveLibrary, Snapshot

BACKBONE = "mobilenet_v3_large"  # that is offered to look at the photos
NAMES = 500  # of files that could not be read for one reason
FORMATS = {"jpg": "JPEG", "jpeg": "JPEG", "tif": "TIFF", "tiff": "TIFF", "heif": "HEIC", "webp": "WebP"}


# --- what is in it ----------------------------------------------------------------------------------------------------


class Folder(Answer):
    """A folder that leads to photos."""

    name: str
    address: str = Field(description="`folder` of POST /api/search; empty for all photos")
    photos: int = Field(description="in it and below")
    size: int = Field(description="in bytes")
    folders: list[Folder] = Field(description="the largest first")


class Year(Answer):
    """Photos by the year in which they were taken."""

    year: int
    photos: int


class Format(Answer):
    """Photos by the ending of their names."""

    format: str
    photos: int


class Look(Answer):
    """How photos are compared."""

    name: str = Field(description="what photos are compared by")
    photos: int = Field(description="that can be compared")
    lacking: int = Field(description="that cannot be compared before another scan")
    why_not: str = Field(description="empty if any can be compared")


class Run(Answer):
    """Photos in quarantine that were removed together."""

    run: str = Field(description="`run` of POST /api/undo")
    made: str
    photos: int
    partners: int = Field(description="files that belong to these photos, and were removed with them")
    size: int = Field(description="in bytes")
    state: str


class Plan(Answer):
    """A plan that `samespace dedupe` wrote."""

    plan: str = Field(description="name of its file")
    written: str
    command: str = Field(description="that applies it, in a terminal")


class File(Answer):
    """A file that could not be read."""

    name: str
    more: str = Field(description="what else is known of it")


class Unreadable(Answer):
    """Files that could not be read for one reason."""

    reason: str
    number: int
    files: list[File] = Field(description=f"the first {NAMES}")


class Overview(Answer):
    """The library as it is now."""

    photos: int
    size: int = Field(description="in bytes")
    roots: list[str] = Field(description="folders that are shown")
    folders: list[Folder] = Field(description="the largest first")
    years: list[Year] = Field(description="of photos with a date")
    formats: list[Format]
    scanned: str | None = Field(description="when it was scanned last")
    look: Look
    quarantine: list[Run] = Field(description="the newest first")
    unreadable: list[Unreadable] = Field(description="the most frequent reason first")
    plans: list[Plan] = Field(description="for a terminal, the newest first")
    not_compared: dict[str, int] = Field(description="videos and RAW files, by their extensions in capitals")


def tree(photos: Collection[Photo]) -> Folder:
    """Return the folder that holds all of these photos, with the folders below it."""
    base = base_of(photo.root for photo in photos)
    inside: defaultdict[str, set[str]] = defaultdict(set)
    counts, sizes = Counter[str](), Counter[str]()
    for photo in photos:
        folder = os.path.dirname(photo.path)  # noqa: PTH120 - quicker
        counts[folder] += 1
        sizes[folder] += photo.size
    for folder in list(counts):
        while folder != base and folder not in inside[parent := os.path.dirname(folder)]:  # noqa: PTH120
            inside[parent].add(folder)
            folder = parent
    levels = Counter(child.count("/") for children in inside.values() for child in children)
    deepest = deepest_of(levels)

    def grow(folder: str) -> Folder:
        children = sorted(map(grow, inside[folder]), key=lambda child: (-child.photos, child.name))
        number = counts[folder] + sum(child.photos for child in children)
        size = sizes[folder] + sum(child.size for child in children)
        address = "" if folder == base else readable(os.path.relpath(folder, base))
        shown = children if folder.count("/") < deepest else []
        name = readable(os.path.basename(folder))  # noqa: PTH119
        return Folder(name=name, address=address, photos=number, size=size, folders=shown)

    return grow(base)


def _years(photos: Iterable[Photo]) -> list[Year]:
    """Count the photos with a date, year by year."""
    years = Counter(photo.taken[:4] for photo in photos if photo.taken and photo.taken[:4].isdecimal())
    return [Year(year=int(year), photos=number) for year, number in sorted(years.items())]


def _formats(photos: Iterable[Photo]) -> list[Format]:
    """Count the photos of each format, the most frequent first."""
    endings = Counter(os.path.splitext(photo.path)[1][1:].lower() for photo in photos)  # noqa: PTH122
    formats = Counter[str]()
    for ending, number in endings.items():
        formats[FORMATS.get(ending, ending.upper())] += number
    return [Format(format=name, photos=number) for name, number in formats.most_common()]


def _unreadable(files: Sequence[UnreadablePhoto], base: str) -> list[Unreadable]:
    """Group files by what is wrong, the most frequent first; words after a colon may differ from file to file."""
    reasons = defaultdict[str, list[UnreadablePhoto]](list)
    for file in files:
        reasons[file.reason.partition(": ")[0]].append(file)
    groups = []
    for reason, those in sorted(reasons.items(), key=lambda entry: -len(entry[1])):
        named = [(name_from(each.path, base), each.reason.partition(": ")[2]) for each in those[:NAMES]]
        listed = [File(name=name, more=readable(more)) for name, more in named]
        groups.append(Unreadable(reason=readable(reason), number=len(those), files=listed))
    return groups


def _runs(folder: Path) -> list[Run]:
    """List what lies in quarantine, the newest first."""
    return [
        Run(
            run=run.folder.name,
            made=run.made.astimezone().strftime("%Y-%m-%d %H:%M"),
            photos=run.photos,
            partners=run.partners,
            size=run.bytes_to_free,
            state=run.state,
        )
        for run in quarantine.runs(folder)
        if run.can_be_undone or run.state == "unreadable"
    ]


def _plans(folder: Path) -> list[Plan]:
    """List the plans that wait in the library, the newest first."""
    return [
        Plan(
            plan=readable(path.name),
            written=datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d %H:%M"),
            command=f"samespace apply {full_path(path)}",
        )
        for path in plan_files.plan_files(folder)[: plan_files.MANY]
    ]


def overview(live: LiveLibrary) -> Overview:
    """Describe the library; scans and the map have their own addresses."""
    snapshot, gone = live.snapshot, live.gone
    photos = [photo for photo in snapshot.photos.values() if photo.path not in gone]
    base = base_of([*(photo.root for photo in snapshot.photos.values()), *live.roots])
    with live.library() as library:
        scanned = library.note("scanned")
    return Overview(
        photos=len(photos),
        size=sum(photo.size for photo in photos),
        roots=[readable(os.fspath(root)) for root in live.roots],
        folders=tree(photos).folders if photos else [],
        years=_years(photos),
        formats=_formats(photos),
        scanned=scanned,
        look=_look(live, snapshot),
        quarantine=_runs(live.folder),
        unreadable=_unreadable(snapshot.unreadable, base),
        plans=_plans(live.folder),
        not_compared=by_label(file.path.name for file in (snapshot.others or {}).values() if file.path not in gone),
    )


def _look(live: LiveLibrary, snapshot: Snapshot) -> Look:
    space = snapshot.space
    can = len(space.photos) if space else 0
    lacking = space.lacking if space else len(snapshot.photos)
    return Look(name=live.look.name, photos=can, lacking=lacking, why_not=snapshot.why_not)


def _show(request: Request) -> Response:
    """Show the whole page, or to htmx the part that a scan changes."""
    live = live_of(request)
    described = overview(live)
    template = "library_about.html" if request.headers.get("hx-request") == "true" else "library.html"
    locked = request.app.state.guard.locked
    elsewhere = "" if live.folder.name == FOLDER else f" --library {full_path(live.folder)}"
    commands = [f"samespace scan {full_path(root)}{elsewhere}" for root in live.roots]
    words = {"backbone": BACKBONE, "scan": request.app.state.scans.latest, "locked": locked, "commands": commands}
    words["lacking"] = why_lacking(BACKBONE)
    words["undo"] = f"samespace undo --library {full_path(live.folder)}"
    return page(request, template, 200, told=described, **words)


def _tell(request: Request) -> Overview:
    """Say what is in the library."""
    return overview(live_of(request))


ROUTES = [
    Route("/library", _show),
    Address("GET", "/api/library", _tell, {200: Overview}),
]
