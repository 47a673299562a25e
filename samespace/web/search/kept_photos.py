"""Photos from outside that a search can go on with, as the numbers they are searched by, never the picture."""

from __future__ import annotations

import math
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samespace.search.look import Look
    from samespace.search.space import Query

MINUTES = 30  # that a photo from outside can be searched by again


class KeptPhotos:
    """The `most` photos that were used last, each for `seconds` after its last use."""

    def __init__(self, most: int = 64, seconds: float = MINUTES * 60, clock: Callable[[], float] = monotonic) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._queries: OrderedDict[tuple[str, str], tuple[float, Query]] = OrderedDict()  # last used last
        self._lock = threading.Lock()

    def add(self, query: Query, look: Look) -> str:
        """Return the key under which the photo is kept."""
        key = secrets.token_urlsafe(12)
        with self._lock:
            self._queries[key, look.extractor.fingerprint] = self._clock(), query
            while len(self._queries) > self._most:
                self._queries.popitem(last=False)
        return key

    def find(self, key: str, look: Look) -> Query | None:
        """Return the photo of this key as the look saw it, if it is still kept."""
        with self._lock:
            used, query = self._queries.pop((key, look.extractor.fingerprint), (-math.inf, None))
            if query is None or self._clock() - used > self._seconds:
                return None
            self._queries[key, look.extractor.fingerprint] = self._clock(), query
            return query
