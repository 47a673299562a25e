"""Show the progress of long work: a bar at a terminal, a line every ten seconds in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from time import monotonic
from typing import Any, Generic, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

EVERY = 10.0  # seconds from one line of a log to the next

wanted = True


def off() -> None:
    """Show no progress from now on: a server's pages show it, and of many workers only one does."""
    global wanted
    wanted = False


class Lines(Generic[Item]):
    """Stand in for a bar in a log, by lines such as `scanning: 1,200 of 5,000 photos, 110/s, 35 s left`."""

    def __init__(self, desc: str, total: int | None, unit: str, items: Iterable[Item] = ()) -> None:
        self.desc, self.total, self.unit, self.items = desc, total, unit, items
        self.done = 0
        self.began = self.said = monotonic()

    def update(self, count: int = 1) -> None:
        """Add to what is done."""
        self.done += count
        now = monotonic()
        if now - self.said >= EVERY:
            self.said = now
            print(self._line(now - self.began), file=sys.stderr, flush=True)

    def _line(self, seconds: float) -> str:
        rate = self.done / seconds
        speed = f"{rate:,.0f}/s" if rate >= 100 else f"{rate:,.1f}/s"
        if not self.total:
            return f"{self.desc}: {self.done:,}{self.unit}, {speed}"
        line = f"{self.desc}: {self.done:,} of {self.total:,}{self.unit}, {speed}"
        if not self.done:
            return line
        return f"{line}, {duration(max(0, self.total - self.done) / rate)} left"

    def close(self) -> None:
        """Do nothing: unlike a bar, lines stay."""

    def __enter__(self) -> Lines[Item]:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Item]:
        for item in self.items:
            yield item
            self.update()


def bar(desc: str, total: int, unit: str = " photos", disable: bool = False) -> tqdm[Any] | Lines[Any]:
    """Return a bar, or lines, whose `update` is called with what was done."""
    if _is_log(disable):
        return Lines(desc, total, unit)
    return tqdm(desc=desc, total=total, unit=unit, delay=1, leave=False, disable=disable or not wanted)


def over(items: Iterable[Item], desc: str, total: int | None = None, unit: str = " photos") -> Iterable[Item]:
    """Return the items, counted as they are taken; give their `total` if they have no length."""
    if _is_log(disable=False):
        return Lines(desc, len(items) if isinstance(items, Sized) else total, unit, items)
    return tqdm(items, desc, total, unit=unit, delay=1, leave=False, disable=not wanted)


def duration(seconds: float) -> str:
    """Return a time in words: 8 s, 12 min, 3 h 10 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _is_log(disable: bool) -> bool:
    return wanted and not disable and not sys.stderr.isatty()
