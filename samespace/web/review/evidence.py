"""The address that shows what proves that two photos of the library show one place."""

from __future__ import annotations

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request

from samespace.library.library import Photo
from samespace.model.points import PROOF
from samespace.search.explain import Seen, find_proof, in_words, see
from samespace.search.kept_points import kept_points
from samespace.web.address import Address
from samespace.web.pictures import NotThere, check
from samespace.web.render import below, live_of
from samespace.web.schema import Answer, Sent
from samespace.web.state import LiveLibrary


class PairQuery(Sent):
    """Two photos of the library."""

    photo0: str = Field(description="id of a photo")
    photo1: str = Field(description="id of another")


class SharedPoint(Answer):
    """A point that both photos show: its places, from the upper left corner of each upright photo."""

    x0: float = Field(ge=0, le=1, description="in photo0, as a share of its width")
    y0: float = Field(ge=0, le=1, description="in photo0, as a share of its height")
    x1: float = Field(ge=0, le=1, description="in photo1")
    y1: float = Field(ge=0, le=1, description="in photo1")


class Evidence(Answer):
    """The points that both photos show, and what they prove."""

    shared: int = Field(description="how many points both show")
    needed: int = Field(description="how many prove one place")
    points: list[SharedPoint]
    words: str = Field(description="what they prove")


def _show(request: Request, asked: PairQuery) -> Evidence:
    """Find the points that two photos of the library share."""
    live = live_of(request)
    photos = [_photo(live, named) for named in (asked.photo0, asked.photo1)]
    proof = find_proof(*(_seen(live, photo) for photo in photos))
    return Evidence(
        shared=proof.shared,
        needed=PROOF,
        points=[
            SharedPoint(x0=round(x0, 4), y0=round(y0, 4), x1=round(x1, 4), y1=round(y1, 4))
            for (x0, y0), (x1, y1) in zip(proof.here.tolist(), proof.there.tolist(), strict=True)
        ],
        words=in_words(proof.shared),
    )


def _photo(live: LiveLibrary, named: str) -> Photo:
    """Return the photo of this id, if its file is still the one that was scanned."""
    photo = live.snapshot.photos.get(named)
    if photo is None or photo.path in live.gone:
        raise HTTPException(404, "This photo is not in the library: it may have been removed or renamed.")
    try:
        check(photo)
    except NotThere as error:
        name = below(photo.path, photo.root)
        raise HTTPException(410, f"the photo {name} has gone or changed since it was scanned: scan again.") from error
    return photo


def _seen(live: LiveLibrary, photo: Photo) -> Seen:
    """Return the points that the library keeps, otherwise those found in the file, which are not kept."""
    with live.library() as library:
        points = kept_points(library, photo)
    return see(photo.path) if points is None else Seen(points, (photo.width, photo.height))


ROUTES = [Address("GET", "/api/evidence", _show, {200: Evidence}, takes=PairQuery)]
