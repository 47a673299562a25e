"""Searches of programs, as JSON."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from starlette.requests import Request

from samespace.base.errors import SameSpaceError
from samespace.base.photos import Pixels
from samespace.search.space import Hit
from samespace.web.address import Address
from samespace.web.render import PhotoAnswer, photo_as_json
from samespace.web.schema import Answer
from samespace.web.search.find import searching
from samespace.web.search.kept_photos import MINUTES
from samespace.web.search.query import SearchQuery
from samespace.words.stored_captions import Caption


class HitAnswer(PhotoAnswer):
    """A photo that was found."""

    score: float
    also: list[PhotoAnswer] = Field(description="further photos that show the same, best first")


class SearchAnswer(Answer):
    """Photos that were found."""

    look: str = Field(description="what photos are compared by")
    meaning: str = Field(
        description="of the scores; fit: how much of the sentence is in the photo or its caption; sum: cosine to a sum",
        json_schema_extra={"enum": ["cosine", "fit", "probability", "same shot", "sum"]},
    )
    photo: str | None = Field(description=f"stands for the photo that was sent, for {MINUTES} minutes")
    unknown: list[str] = Field(description="words of the sentence that nobody knows: they were left out")
    hits: list[HitAnswer]
    next: int | None = Field(description="where further hits start; null if there are none")


def _search(request: Request, wanted: SearchQuery, photos: dict[str, Pixels]) -> SearchAnswer:
    """Find photos of the library that are like a photo, or as a sentence says, best first."""
    search = searching(request)
    if photos:
        wanted = wanted.model_copy(update={"photo": search.keep(photos["photo"])})
    space = search.space
    if [bool(wanted.like), bool(wanted.photo), bool(wanted.q)].count(True) != 1:
        raise SameSpaceError(
            "name one photo or one sentence to search by: `like`, the id or name of a photo in the library, `photo` or "
            "`sentence`"
        )
    found, captions = search.find(wanted), search.live.captions
    return SearchAnswer(
        look=space.look.name,
        meaning=found.meaning,
        photo=wanted.photo or None,
        unknown=found.unknown,
        hits=[_hit(hit, captions) for hit in found.hits],
        next=found.further,
    )


def _hit(hit: Hit, captions: Mapping[str, Caption]) -> HitAnswer:
    also = [PhotoAnswer(**photo_as_json(photo, captions)) for photo in hit.also]
    return HitAnswer(**photo_as_json(hit.photo, captions), score=hit.score, also=also)


ROUTES = [Address("POST", "/api/search", _search, {200: SearchAnswer}, takes=SearchQuery, photos=("photo",))]
