"""A search as its address, a form or JSON says it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from samespace.base.errors import SameSpaceError

PAGE = 48  # results that a page begins with and grows by
MOST = 480  # results in one answer: what a page that has grown shows when it is loaded again


class Wanted(NamedTuple):
    """A search as its address says it: by `like`, by `photo` or by `q`."""

    like: str = ""  # a photo of the library, by id
    photo: str = ""  # one from outside, by the key that its query is kept under
    q: str = ""  # what was typed: a sentence, or part of a name
    names: bool = False  # it is part of a name
    folder: str = ""
    threshold: float | None = None
    all: bool = False  # every copy by itself
    start: int = 0
    top: int = PAGE

    def address(self, **changes: Any) -> str:
        """The same search but for these, without what goes without saying."""
        values = self._replace(**changes)._asdict()
        said = {
            name: f"{value:g}" if type(value) is float else int(value) if type(value) is bool else value
            for name, value in values.items()
            if value != _PLAIN[name]
        }
        return "/search" + ("?" + urlencode(said) if said else "")

    def of(self, **changes: str | bool) -> str:
        """Another search in the same folder; by the same threshold, unless that was one for what was typed."""
        plain = {name: _PLAIN[name] for name in ("like", "photo", "q", "names", "start", "top")}
        return self.address(**{**plain, "threshold": None if self.q else self.threshold, **changes})


_PLAIN = Wanted()._asdict()


def wanted_of(given: Mapping[str, Any]) -> Wanted:
    """One sentence if it makes no sense."""
    return Wanted(
        like=_text(given, "like"),
        photo=_text(given, "photo"),
        q=(_text(given, "q") or _text(given, "sentence")).strip(),  # programs call it a sentence
        names=_flag(given, "names"),
        folder=_text(given, "folder"),
        threshold=_threshold(given),
        all=_flag(given, "all"),
        start=_whole(given, "start", 0, 10**9, 0),
        top=_whole(given, "top", 1, MOST, PAGE),
    )


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name) or ""
    if not isinstance(value, str):
        raise SameSpaceError(f"`{name}` is to be text")
    return value


def _flag(given: Mapping[str, Any], name: str) -> bool:
    return str(given.get(name, "")).lower() in ("1", "true", "on")


def _threshold(given: Mapping[str, Any]) -> float | None:
    value = given.get("threshold")
    try:
        threshold = float(value) if value not in (None, "") else 0.0
    except (TypeError, ValueError):
        threshold = math.nan
    if not 0 <= threshold <= 1:
        raise SameSpaceError("`threshold` is to be a number from 0 to 1")
    return threshold or None


def _whole(given: Mapping[str, Any], name: str, low: int, high: int, plain: int) -> int:
    value = given.get(name)
    try:
        number = plain if value is None else int(value)
    except (TypeError, ValueError, OverflowError):
        number = low - 1
    if not low <= number <= high:
        raise SameSpaceError(f"`{name}` is to be a whole number from {low} to {high}")
    return number
