"""The address that compares two photos."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request

from samespace.base.photos import Pixels
from samespace.search.look import compare_pair
from samespace.web.address import Address
from samespace.web.render import live_of
from samespace.web.schema import Answer


class Compared(Answer):
    """A score that says if two photos show the same."""

    meaning: Literal["probability", "cosine", "same shot"]
    score: float = Field(description="of that meaning")
    threshold: float = Field(description="the lowest score of photos that show the same")
    same: bool


class ComparedByModel(Compared):
    """The same, with the probability by a trained model."""

    probability: float = Field(description="that they show the same space")


def _compare(request: Request, photos: dict[str, Pixels]) -> Compared:
    """Say if two photos show the same, by what the library is compared by; the photos are not kept."""
    for name in ("photo0", "photo1"):
        if name not in photos:
            raise HTTPException(
                400, f"Send two photos, as photo0 and photo1 of multipart/form-data: {name} is missing."
            )
    look = live_of(request).look
    score, threshold = compare_pair(look, np.stack([photos["photo0"], photos["photo1"]]))
    same = score >= threshold
    answer: dict[str, Any] = {"meaning": look.meaning, "score": score, "threshold": threshold, "same": same}
    return ComparedByModel(**answer, probability=score) if look.model else Compared(**answer)


ROUTES = [Address("POST", "/api/compare", _compare, {200: Compared | ComparedByModel}, photos=("photo0", "photo1"))]
