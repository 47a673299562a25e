"""Show the progress of long work: a bar at a terminal, a line every ten seconds in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

Item = TypeVar("Item")

EVERY = 10.0  # seconds from one line of a log to the next
DELAY = 1.0  # seconds of work that is not worth a bar

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
        with self:
            for item in self.items:
                yield item
                self.update()


class Bar(Lines[Item]):
    """Draw a bar at a terminal, once the work has taken a while."""

    _drawn: tqdm[Any] | None = None

    def update(self, count: int = 1) -> None:
        """Add to what is done."""
        self.done += count
        if self._drawn is not None:
            self._drawn.update(count)
        elif monotonic() - self.began >= DELAY:
            from tqdm import tqdm  # only now: most work is done before tqdm is loaded

            self._drawn = tqdm(desc=self.desc, total=self.total, unit=self.unit, initial=self.done, leave=False)

    def close(self) -> None:
        """Wipe the bar away."""
        if self._drawn is not None:
            self._drawn.close()


class Nothing(Lines[Item]):
    """Stand in for a bar that nobody wants."""

    def update(self, count: int = 1) -> None:
        """Show nothing."""


def bar(desc: str, total: int, unit: str = " photos", disable: bool = False) -> Lines[Any]:
    """Return a bar, or lines, whose `update` is called with what was done."""
    return _kind(disable)(desc, total, unit)


def over(items: Iterable[Item], desc: str, total: int | None = None, unit: str = " photos") -> Iterable[Item]:
    """Return the items, counted as they are taken; give their `total` if they have no length."""
    return _kind(disable=False)(desc, len(items) if isinstance(items, Sized) else total, unit, items)


def duration(seconds: float) -> str:
    """Return a time in words: 8 s, 12 min, 3 h 10 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _kind(disable: bool) -> type[Lines[Any]]:
    if disable or not wanted:
        return Nothing
    return Bar if sys.stderr.isatty() else Lines
