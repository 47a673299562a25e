"""Progress bars: for somebody at a terminal, of what takes more than a second."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

_wanted = True


def off() -> None:
    """None are drawn from now on, by a server whose pages say how far it is."""
    global _wanted
    _wanted = False


def bar(desc: str, total: int, unit: str = " photos", disable: bool = False) -> tqdm[Any]:
    """One that is told of what was done."""
    return tqdm(desc=desc, total=total, unit=unit, delay=1, leave=False, disable=_disabled(disable))


def over(items: Iterable[Item], desc: str, total: int | None = None, unit: str = " photos") -> tqdm[Item]:
    """The items, counted as they are taken; `total` where they have no length."""
    return tqdm(items, desc, total, unit=unit, delay=1, leave=False, disable=_disabled(False))


def _disabled(disable: bool) -> bool | None:
    return disable or not _wanted or None  # None: where stderr is no terminal
