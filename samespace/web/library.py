"""The library page: what is in it, what could not be read and why, what went to quarantine, scans, and a map."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from samespace import cleanup
from samespace.errors import SameSpaceError
from samespace.layout import lay_out
from samespace.library import Photo
from samespace.photos import UnreadablePhoto
from samespace.web import jobs
from samespace.web.describing import NUMBER, TEXT, WHOLE, answer, explained, listed, or_null, record
from samespace.web.desk import Desk, Snapshot, photo_id
from samespace.web.pages import desk_of, page
from samespace.wording import readable, shell_word

FOLDERS = 2000  # in the tree; where there are more it has the upper levels only
NAMES = 500  # of files that could not be read for one reason
MAPPED = 20_000  # photos: of more, so many that chance picks
PATIENCE = 0.1  # seconds that an answer waits for a map that is being made
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
    base = _base(photo.root for photo in photos)
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
    deepest = max((at for at in levels if sum(levels[up] for up in levels if up <= at) <= FOLDERS), default=0)

    def grow(folder: str) -> Folder:
        children = sorted(map(grow, inside[folder]), key=lambda child: (-child.photos, child.name))
        number = counts[folder] + sum(child.photos for child in children)
        size = sizes[folder] + sum(child.size for child in children)
        address = "" if folder == base else readable(os.path.relpath(folder, base))
        shown = children if folder.count("/") < deepest else []
        return Folder(readable(os.path.basename(folder)), address, number, size, tuple(shown))  # noqa: PTH119

    return grow(base)


def _base(roots: Iterable[Path]) -> str:
    once = {os.fspath(root) for root in roots}
    return os.path.commonpath(once) if once else ""


def _name(path: Path, base: str) -> str:
    return readable(os.path.relpath(path, base) if base else os.fspath(path))


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
                {"name": _name(each.path, base), "more": readable(each.reason.partition(": ")[2])}
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
        for run in cleanup.runs(folder)
        if run.photos or run.state == "unreadable"
    ]


def overview(desk: Desk) -> dict[str, Any]:
    """All that the page tells, but for scans and the map."""
    snapshot, gone = desk.snapshot, desk.gone
    photos = [photo for photo in snapshot.photos.values() if photo.path not in gone]
    base = _base([*(photo.root for photo in snapshot.photos.values()), *desk.roots])
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
    words = {"scan": jobs.as_json(request.app.state.scans.latest), "locked": locked, "commands": commands}
    return page(request, template, 200, told=told, **words)


def _tell(request: Request) -> Response:
    return JSONResponse(overview(desk_of(request)))


# --- the map ----------------------------------------------------------------------------------------------------------


class Map(NamedTuple):
    """Where each photo lies."""

    photos: list[Photo]
    places: np.ndarray[Any, np.dtype[np.float32]]  # (N, 2)
    total: int  # photos that it was picked from


class Maps:
    """The map of the desk's latest snapshot: made when it is first asked for, in a thread of its own, and kept."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = threading.Lock()
        self._number, self._made = -1, Future[Map]()

    def latest(self) -> Map | None:
        """None while it is being made; a SameSpaceError says why there is none."""
        with self._lock:
            snapshot = self._desk.snapshot
            if snapshot.number != self._number:
                self._number, self._made = snapshot.number, Future[Map]()
                threading.Thread(target=_fill, args=(self._made, self._desk, snapshot), daemon=True).start()
        try:
            return self._made.result(PATIENCE)
        except NotYet:
            return None


def _fill(made: Future[Map], desk: Desk, snapshot: Snapshot) -> None:
    try:
        made.set_result(_make(desk, snapshot))
    except Exception as error:
        made.set_exception(error)


def _make(desk: Desk, snapshot: Snapshot) -> Map:
    if snapshot.space is None:
        raise SameSpaceError(snapshot.why_not)
    look, photos = snapshot.space.look, snapshot.space.photos
    picked = np.sort(np.random.default_rng(0).permutation(len(photos))[:MAPPED])
    some = [photos[number] for number in picked]
    with desk.library() as library:
        vectors = library.features(look.extractor, some).take(look.field)
    return Map(some, lay_out(vectors), len(photos))


def _map(request: Request) -> Response:
    """Where each photo lies: as many of each list as there are photos."""
    desk = desk_of(request)
    try:
        made = request.app.state.maps.latest()
    except SameSpaceError as error:
        return JSONResponse({"state": "none", "words": str(error)})
    if made is None:
        return JSONResponse({"state": "computing"}, 202)
    return Response(json.dumps(_map_as_json(made, desk), separators=(",", ":")), media_type="application/json")


def _map_as_json(made: Map, desk: Desk) -> dict[str, Any]:
    gone, base = desk.gone, _base(photo.root for photo in made.photos)
    there = [number for number, photo in enumerate(made.photos) if photo.path not in gone]
    photos = [made.photos[number] for number in there]
    lies_in = [os.path.dirname(photo.path) for photo in photos]  # noqa: PTH120 - quicker
    folders = [folder for folder, _ in Counter(lies_in).most_common()]
    number = {folder: at for at, folder in enumerate(folders)}
    across, down = (side.tolist() for side in made.places[there].astype(np.float64).round(4).reshape(-1, 2).T)
    return {
        "state": "ready",
        "look": desk.look.name,
        "total": len(photos) + made.total - len(made.photos),
        "photos": [photo_id(photo.path) for photo in photos],
        "versions": [photo.content[:8] for photo in photos],
        "names": [readable(os.path.basename(photo.path)) for photo in photos],  # noqa: PTH119
        "sides": [round(photo.width / max(1, photo.height), 3) for photo in photos],
        "x": across,
        "y": down,
        "folders": [_name(Path(folder), base).removeprefix(".") for folder in folders],
        "folder": [number[folder] for folder in lies_in],
    }


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
_SIDE = {"type": "number", "minimum": -1, "maximum": 1}
_MAP = record(
    state={"const": "ready"},
    look=explained(TEXT, "what photos are compared by"),
    total=explained(WHOLE, f"photos in all; of more than {MAPPED:,} some are left out"),
    photos=listed(TEXT, "ids"),
    versions=listed(TEXT, "`v` of the addresses of each photo and its thumbnail"),
    names=listed(TEXT, "of the files"),
    sides=listed(NUMBER, "widths by heights"),
    x=listed(_SIDE, "places"),
    y=listed(_SIDE, "places"),
    folders=listed(TEXT, "the largest first"),
    folder=listed(WHOLE, "which of `folders` each photo lies in"),
)

DESCRIBED: dict[str, Any] = {
    "/api/library": {
        "get": {"summary": "What is in the library", "responses": {"200": answer("As it is now.", _LIBRARY)}},
    },
    "/api/map": {
        "get": {
            "summary": "A map of the library: photos that look alike lie together",
            "responses": {
                "200": answer(
                    "The map, or why there is none.", {"oneOf": [_MAP, record(state={"const": "none"}, words=TEXT)]}
                ),
                "202": answer("It is being made: ask again.", record(state={"const": "computing"})),
            },
        }
    },
    **jobs.DESCRIBED,
}

ROUTES = [
    Route("/library", _show),
    Route("/api/library", _tell),
    Route("/api/map", _map),
    *jobs.ROUTES,
]
