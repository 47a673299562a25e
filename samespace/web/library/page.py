"""The library page: what is in it, what could not be read and why, and what went to quarantine."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from samespace.base.photos import UnreadablePhoto
from samespace.base.text import readable, shell_word
from samespace.duplicates import quarantine
from samespace.library.library import Photo
from samespace.web.folders import base_of, deepest_of, name_from
from samespace.web.library import scan_job
from samespace.web.render import desk_of, page
from samespace.web.schema import TEXT, WHOLE, answer, explained, listed, or_null, record
from samespace.web.state import Desk, Snapshot

NAMES = 500  # of files that could not be read for one reason
FORMATS = {"jpg": "JPEG", "jpeg": "JPEG", "tif": "TIFF", "tiff": "TIFF", "heif": "HEIC", "webp": "WebP"}


# --- what is in it ----------------------------------------------------------------------------------------------------


class Folder(NamedTuple):
    """A folder that leads to photos."""

    name: str
    address: str  # as the search page knows it; "" for all photos
    photos: int  # in it and below
    size: int
    folders: tuple[Folder, ...]  # the largest first

    def as_json(self) -> dict[str, Any]:
        return {**self._asdict(), "folders": [folder.as_json() for folder in self.folders]}


def tree(photos: Collection[Photo]) -> Folder:
    """From the folder on that holds all of them."""
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
        return Folder(readable(os.path.basename(folder)), address, number, size, tuple(shown))  # noqa: PTH119

    return grow(base)


def _years(photos: Iterable[Photo]) -> list[dict[str, Any]]:
    """Of those that say when they were taken."""
    years = Counter(photo.taken[:4] for photo in photos if photo.taken and photo.taken[:4].isdecimal())
    return [{"year": int(year), "photos": number} for year, number in sorted(years.items())]


def _formats(photos: Iterable[Photo]) -> list[dict[str, Any]]:
    endings = Counter(os.path.splitext(photo.path)[1][1:].lower() for photo in photos)  # noqa: PTH122
    formats = Counter[str]()
    for ending, number in endings.items():
        formats[FORMATS.get(ending, ending.upper())] += number
    return [{"format": name, "photos": number} for name, number in formats.most_common()]


def _unreadable(files: Sequence[UnreadablePhoto], base: str) -> list[dict[str, Any]]:
    """By what is wrong, the most frequent first; what stands after a colon may differ from file to file."""
    reasons = defaultdict[str, list[UnreadablePhoto]](list)
    for file in files:
        reasons[file.reason.partition(": ")[0]].append(file)
    return [
        {
            "reason": readable(reason),
            "number": len(those),
            "files": [
                {"name": name_from(each.path, base), "more": readable(each.reason.partition(": ")[2])}
                for each in those[:NAMES]
            ],
        }
        for reason, those in sorted(reasons.items(), key=lambda entry: -len(entry[1]))
    ]


def _runs(folder: Path) -> list[dict[str, Any]]:
    """What lies in quarantine, the newest first."""
    return [
        {
            "run": run.folder.name,
            "made": run.made.astimezone().strftime("%Y-%m-%d %H:%M"),
            "photos": run.photos,
            "size": run.bytes_to_free,
            "state": run.state,
        }
        for run in quarantine.runs(folder)
        if run.photos or run.state == "unreadable"
    ]


def overview(desk: Desk) -> dict[str, Any]:
    """All that the page tells, but for scans and the map, which are rooms of their own."""
    snapshot, gone = desk.snapshot, desk.gone
    photos = [photo for photo in snapshot.photos.values() if photo.path not in gone]
    base = base_of([*(photo.root for photo in snapshot.photos.values()), *desk.roots])
    with desk.library() as library:
        scanned = library.note("scanned")
    return {
        "photos": len(photos),
        "size": sum(photo.size for photo in photos),
        "roots": [readable(os.fspath(root)) for root in desk.roots],
        "folders": tree(photos).as_json()["folders"] if photos else [],
        "years": _years(photos),
        "formats": _formats(photos),
        "scanned": scanned,
        "look": _look(desk, snapshot),
        "quarantine": _runs(desk.folder),
        "unreadable": _unreadable(snapshot.unreadable, base),
    }


def _look(desk: Desk, snapshot: Snapshot) -> dict[str, Any]:
    space = snapshot.space
    return {
        "name": desk.look.name,
        "photos": len(space.photos) if space else 0,
        "lacking": space.lacking if space else len(snapshot.photos),
        "why_not": snapshot.why_not,
    }


def _show(request: Request) -> Response:
    """The whole page; to htmx what a scan changes."""
    desk = desk_of(request)
    told = overview(desk)
    template = "library_about.html" if request.headers.get("hx-request") == "true" else "library.html"
    locked = request.app.state.guard.locked
    commands = [f"samespace scan {shell_word(os.fspath(root))}" for root in desk.roots]
    words = {"scan": scan_job.as_json(request.app.state.scans.latest), "locked": locked, "commands": commands}
    return page(request, template, 200, told=told, **words)


def _tell(request: Request) -> Response:
    return JSONResponse(overview(desk_of(request)))


# --- the addresses ----------------------------------------------------------------------------------------------------


_FOLDER = record(
    name=TEXT,
    address=explained(TEXT, "`folder` of POST /api/search"),
    photos=explained(WHOLE, "in it and below"),
    size=WHOLE,
    folders=listed({"type": "object"}, "the same of each folder in it"),
)
_FILE = record(name=TEXT, more=explained(TEXT, "what else is known of it"))
_LIBRARY = record(
    photos=WHOLE,
    size=explained(WHOLE, "in bytes"),
    roots=listed(TEXT, "folders that are shown"),
    folders=listed(_FOLDER, "the largest first"),
    years=listed(record(year=WHOLE, photos=WHOLE), "of photos that say when they were taken"),
    formats=listed(record(format=TEXT, photos=WHOLE), "by the ends of their names"),
    scanned=or_null(TEXT, "when it was scanned last"),
    look=record(
        name=explained(TEXT, "what photos are compared by"),
        photos=explained(WHOLE, "that can be"),
        lacking=explained(WHOLE, "that cannot before another scan"),
        why_not=explained(TEXT, "empty if any can"),
    ),
    quarantine=listed(record(run=TEXT, made=TEXT, photos=WHOLE, size=WHOLE, state=TEXT), "runs, for POST /api/undo"),
    unreadable=listed(
        record(reason=TEXT, number=WHOLE, files=listed(_FILE, f"the first {NAMES}")), "the most frequent first"
    ),
)

DESCRIBED = {
    "/api/library": {
        "get": {"summary": "What is in the library", "responses": {"200": answer("As it is now.", _LIBRARY)}},
    },
}

ROUTES = [
    Route("/library", _show),
    Route("/api/library", _tell),
]
