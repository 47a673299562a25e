"""The library's duplicate groups: compared in the background, and kept for as long as its photos stay the same."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any, NamedTuple

from samespace.duplicates.find import Comparison
from samespace.duplicates.group import THRESHOLDS, DedupeOptions, Group, bytes_freed
from samespace.web.state import LiveLibrary, Snapshot, photo_id, was_away

LOWEST = {"exact": 1.0, "near": 0.5, "same-space": 0.5}  # threshold that groups can be asked for
POSITIONS = [number / 100 for number in range(50, 101, 5)]  # of the slider
PATIENCE = 0.02  # seconds that an answer waits for what is being compared

Verdicts = Mapping[frozenset[str], bool]


class Shown(NamedTuple):
    """A group as pages and programs name it."""

    id: str  # of these photos: another when they are others
    ids: tuple[str, ...]  # the photos', in the order of the members
    group: Group

    @property
    def bytes_freed(self) -> int:
        return bytes_freed(self.group)


class Comparing:
    """One kind of duplicates among the photos of one snapshot; any thread may ask, and is not kept waiting."""

    def __init__(self) -> None:
        self.comparison: Future[Comparison] = Future()
        self._since = time.monotonic()
        self._last: tuple[Any, list[Shown]] = (None, [])

    @property
    def seconds(self) -> int:
        """Return for how long it has been comparing."""
        return int(time.monotonic() - self._since)

    def groups(self, threshold: float, live: LiveLibrary, verdicts: Verdicts) -> list[Shown] | None:
        """Return the groups that free most bytes first; None while photos are being compared."""
        comparison = self._made()
        if comparison is None:
            return None
        gone, (last, groups) = live.gone, self._last
        if last != (threshold, gone, verdicts):
            groups = list(map(_shown, comparison.at(threshold, verdicts, gone).groups))
            self._last = (threshold, gone, verdicts), groups
        return groups

    def counts(self, live: LiveLibrary, verdicts: Verdicts) -> list[int] | None:
        """Count the groups at each of `POSITIONS`; None while photos are being compared."""
        comparison = self._made()
        return None if comparison is None else comparison.counts(POSITIONS, verdicts, live.gone)

    def _made(self) -> Comparison | None:
        try:
            return self.comparison.result(PATIENCE)
        except (NotYet, CancelledError):  # cancelled: there is a newer snapshot, whose comparison is under way
            return None


class Comparings:
    """Each kind's comparison of the latest snapshot, by its look; one is made after the other."""

    def __init__(self, live: LiveLibrary) -> None:
        self._live = live
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._of: tuple[int, str] | None = None
        self._kinds: dict[str, Comparing] = {}

    def of(self, kind: str) -> Comparing:
        """Return the comparison, which begins now if it has not."""
        with self._lock:
            snapshot, look = self._live.snapshot, self._live.look
            if self._of != (snapshot.number, look.extractor.fingerprint):
                for comparing in self._kinds.values():
                    comparing.comparison.cancel()
                self._of, self._kinds = (snapshot.number, look.extractor.fingerprint), {}
            if kind not in self._kinds or was_away(self._kinds[kind].comparison):
                self._kinds[kind] = Comparing()
                given = self._kinds[kind].comparison, snapshot, kind
                # A daemon: whoever ends the server does not wait for it.
                threading.Thread(target=self._compare, args=given, name="comparing", daemon=True).start()
            return self._kinds[kind]

    def _compare(self, future: Future[Comparison], snapshot: Snapshot, kind: str) -> None:
        with self._turn:
            if not future.set_running_or_notify_cancel():  # there is a newer snapshot
                return
            try:
                future.set_result(_compare(self._live, snapshot, kind))
            except BaseException as error:  # whoever asks for groups is told
                future.set_exception(error)


def _compare(live: LiveLibrary, snapshot: Snapshot, kind: str) -> Comparison:
    folders = sorted({photo.root for photo in snapshot.named.values()})
    look = live.look if kind == "same-space" else None
    with live.library() as library:
        search = DedupeOptions(kind, LOWEST[kind], prefer=live.prefer)
        comparison = Comparison([library], folders, search, look and look.deciding, look.model if look else None)
        comparison.at(THRESHOLDS[kind], without=live.gone)  # groups have pairs to score as well, the first time
        comparison.remember([library])
    live.must_be_there()  # photos that went meanwhile would be taken for damaged ones
    return comparison


def kinds(live: LiveLibrary) -> list[str]:
    """Return the kinds of duplicates that can be found here."""
    return ["near", "exact"] if live.look.meaning == "same shot" else ["near", "exact", "same-space"]


def group_id(ids: Iterable[str]) -> str:
    """Return the id of a group of these photos."""
    return hashlib.sha256(" ".join(sorted(ids)).encode()).hexdigest()[:16]


def _shown(group: Group) -> Shown:
    ids = tuple(photo_id(member.photo.path) for member in group.members)
    return Shown(group_id(ids), ids, group)
