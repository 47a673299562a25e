"""A map of the library: photos that look alike lie together; made in the background and kept."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from samespace.base.errors import SameSpaceError
from samespace.base.text import readable
from samespace.library.library import Photo
from samespace.search.map_layout import lay_out
from samespace.web.folders import base_of, name_from
from samespace.web.render import desk_of, told
from samespace.web.schema import NUMBER, TEXT, WHOLE, answer, explained, listed, record
from samespace.web.state import Desk, Snapshot, photo_id, was_away

MAPPED = 20_000  # photos: of more, so many that chance picks
PATIENCE = 0.1  # seconds that an answer waits for a map that is being made


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
            if snapshot.number != self._number or was_away(self._made):
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
        return JSONResponse({"state": "none", "words": told(error)[1]})
    if made is None:
        return JSONResponse({"state": "computing"}, 202)
    return Response(json.dumps(_map_as_json(made, desk), separators=(",", ":")), media_type="application/json")


def _map_as_json(made: Map, desk: Desk) -> dict[str, Any]:
    gone, base = desk.gone, base_of(photo.root for photo in made.photos)
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
        "folders": [name_from(Path(folder), base).removeprefix(".") for folder in folders],
        "folder": [number[folder] for folder in lies_in],
    }


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
DESCRIBED = {
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
}

ROUTES = [Route("/api/map", _map)]
