"""Read sums of sentences and photos as they are typed into the search box: kitchen + photo.jpg - people."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from samespace.base.errors import SameSpaceError
from samespace.base.photos import EXTENSIONS
from samespace.base.text import readable
from samespace.library.library import Photo
from samespace.web.folders import Names
from samespace.words.sums import SIGN, SIGNS, Term, parts_of, terms_of


def last_part(text: str) -> str:
    """Return what is typed after the last sign: a name is completed there."""
    return SIGN.split(text)[-1].strip()


def typed_terms(
    text: str, names: Names, there: Callable[[Sequence[Photo]], list[Photo]], does_arithmetic: bool
) -> list[Term]:
    """Return the terms of a sum, of photos their paths; none of a sentence.

    Without photos it is a sentence to whoever cannot add. `there` leaves out photos that have been removed.
    """
    parts = parts_of(text)

    def meant(part: str) -> list[Photo]:
        return there(names.exactly(part) or names.of_file(part))

    def is_photo(part: str) -> bool:
        return part.lower().endswith(EXTENSIONS) or bool(there(names.exactly(part)))

    if SIGNS.keys().isdisjoint(parts) or not (does_arithmetic or any(map(is_photo, parts))):
        return []
    terms = terms_of(parts, is_photo)
    return [
        term._replace(said=str(_one(term.said, meant(term.said)).path)) if term.is_photo else term for term in terms
    ]


def _one(name: str, photos: Sequence[Photo]) -> Photo:
    if not photos:
        raise SameSpaceError(f"no photo of this library is called {readable(name)}: type a name that the box offers")
    if len(photos) > 1:
        raise SameSpaceError(f"{len(photos)} photos are called {readable(name)}: add the folder of the one you mean")
    return photos[0]
