"""A search as its address, a form or JSON says it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar
from urllib.parse import urlencode

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from samespace.web.schema import Sent, without_blanks
from samespace.words.stored_captions import LONGEST

PAGE = 48  # results that a page begins with and grows by
MOST = 480  # results in one answer: what a page that has grown shows when it is loaded again

Flag = Annotated[bool, BeforeValidator(lambda value: str(value).lower() in ("1", "true", "on"))]


class SearchQuery(Sent):
    """A search by one of `like`, `photo` and `sentence`."""

    refused_with: ClassVar[int] = 400

    like: str = Field(default="", description="the id or the name of a photo of the library")
    photo: str = Field(default="", description="`photo` of an earlier answer; in a form, the photo itself")
    # What was typed on a page is a sentence or, with `names`, part of a name.
    q: Annotated[str, AfterValidator(str.strip)] = Field(
        default="",
        validation_alias=AliasChoices("sentence", "q"),
        description=f"what photos show, or captions say; {LONGEST:,} characters at most. Sentences and photos, by "
        "name, are added and subtracted by + and - between blanks: kitchen + photo.jpg - people",
    )
    names: SkipJsonSchema[Flag] = False
    folder: str = Field(default="", description="only photos below it; its name from the folder that was scanned")
    threshold: Annotated[float | None, AfterValidator(lambda threshold: threshold or None)] = Field(
        default=None, ge=0, le=1, description="the lowest score"
    )
    all: Flag = Field(default=False, description="every copy as a hit of its own")
    start: int = Field(default=0, ge=0, le=10**9, description="the first hit; `next` of the answer before")
    top: int = Field(default=PAGE, ge=1, le=MOST, description="how many hits")

    _blank = model_validator(mode="before")(without_blanks)

    def address(self, **changes: Any) -> str:
        """Return the address of the same search with these changes, without values that are usual."""
        said = {}
        for name, value in self.model_copy(update=changes).model_dump(exclude_defaults=True).items():
            said[name] = f"{value:g}" if type(value) is float else int(value) if type(value) is bool else value
        return "/search" + ("?" + urlencode(said) if said else "")

    def of(self, **changes: str | bool) -> str:
        """Return the address of another search in the same folder, without the threshold of a sentence."""
        threshold = None if self.q else self.threshold
        plain = SearchQuery(folder=self.folder, threshold=threshold, all=self.all)
        return plain.address(**changes)
