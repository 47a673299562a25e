"""A map of the library: photos that look alike lie together; made in the background and kept."""

from __future__ import annotations

import os
import threading
from collections import Counter
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field
from starlette.requests import Request

from samespace.base.arrays import Floats
from samespace.base.errors import SameSpaceError
from samespace.base.text import readable
from samespace.library.library import Photo
from samespace.search.map_layout import lay_out
from samespace.search.vectors import naming_the_scan
from samespace.web.address import Address
from samespace.web.folders import base_of, name_from
from samespace.web.render import live_of, told
from samespace.web.schema import Answer
from samespace.web.state import LiveLibrary, Snapshot, photo_id, was_away

MAPPED = 20_000  # photos: of more, so many that chance picks
PATIENCE = 0.1  # seconds that an answer waits for a map that is being made


Side = Annotated[float, Field(ge=-1, le=1)]


class MapAnswer(Answer):
    """The map: as many of each list as there are photos on it."""

    state: Literal["ready"]
    look: str = Field(description="what photos are compared by")
    total: int = Field(description=f"photos in all; if there are more than {MAPPED:,}, some are left out")
    photos: list[str] = Field(description="ids")
    versions: list[str] = Field(description="`v` of the addresses of each photo and its thumbnail")
    names: list[str] = Field(description="of the files")
    sides: list[float] = Field(description="widths by heights")
    x: list[Side] = Field(description="places")
    y: list[Side] = Field(description="places")
    folders: list[str] = Field(description="the largest first")
    folder: list[int] = Field(description="which of `folders` each photo lies in")


class NoMap(Answer):
    """Why there is no map."""

    state: Literal["none"]
    words: str


class ComputingMap(Answer):
    """The map is being made: ask again."""

    state: Literal["computing"]


class Map(NamedTuple):
    """Photos and their places."""

    photos: list[Photo]
    places: Floats  # (N, 2)
    total: int  # photos that it was picked from


class Maps:
    """The map of the latest snapshot: made when it is first asked for, in a thread of its own, and kept."""

    def __init__(self, live: LiveLibrary) -> None:
        self._live = live
        self._lock = threading.Lock()
        self._number, self._made = -1, Future[Map]()

    def latest(self) -> Map | None:
        """Return the map, or None while it is being made; a SameSpaceError says why there is none."""
        with self._lock:
            snapshot = self._live.snapshot
            if snapshot.number != self._number or was_away(self._made):
                self._number, self._made = snapshot.number, Future[Map]()
                threading.Thread(target=_fill, args=(self._made, self._live, snapshot), daemon=True).start()
        try:
            return self._made.result(PATIENCE)
        except NotYet:
            return None


def _fill(made: Future[Map], live: LiveLibrary, snapshot: Snapshot) -> None:
    try:
        made.set_result(_make(live, snapshot))
    except Exception as error:
        made.set_exception(error)


def _make(live: LiveLibrary, snapshot: Snapshot) -> Map:
    if snapshot.space is None:
        raise SameSpaceError(snapshot.why_not)
    look, photos = snapshot.space.look, snapshot.space.photos
    picked = np.sort(np.random.default_rng(0).permutation(len(photos))[:MAPPED])
    some = [photos[number] for number in picked]
    with live.library() as library, naming_the_scan(library, look.options):
        vectors = library.features(look.extractor, some).take(look.field)
    return Map(some, lay_out(vectors), len(photos))


def _map(request: Request) -> MapAnswer | NoMap | ComputingMap:
    """Give every photo's place on the map, where photos that look alike lie together."""
    live = live_of(request)
    try:
        made = request.app.state.maps.latest()
    except SameSpaceError as error:
        return NoMap(state="none", words=told(error)[1])
    if made is None:
        return ComputingMap(state="computing")
    return _answer(made, live)


def _answer(made: Map, live: LiveLibrary) -> MapAnswer:
    gone, base = live.gone, base_of(photo.root for photo in made.photos)
    there = [number for number, photo in enumerate(made.photos) if photo.path not in gone]
    photos = [made.photos[number] for number in there]
    lies_in = [os.path.dirname(photo.path) for photo in photos]  # noqa: PTH120 - quicker
    folders = [folder for folder, _ in Counter(lies_in).most_common()]
    number = {folder: at for at, folder in enumerate(folders)}
    across, down = (side.tolist() for side in made.places[there].astype(np.float64).round(4).reshape(-1, 2).T)
    return MapAnswer(
        state="ready",
        look=live.look.name,
        total=len(photos) + made.total - len(made.photos),
        photos=[photo_id(photo.path) for photo in photos],
        versions=[photo.content[:8] for photo in photos],
        names=[readable(os.path.basename(photo.path)) for photo in photos],  # noqa: PTH119
        sides=[round(photo.width / max(1, photo.height), 3) for photo in photos],
        x=across,
        y=down,
        folders=[name_from(Path(folder), base).removeprefix(".") for folder in folders],
        folder=[number[folder] for folder in lies_in],
    )


ROUTES = [Address("GET", "/api/map", _map, {200: MapAnswer | NoMap, 202: ComputingMap})]
