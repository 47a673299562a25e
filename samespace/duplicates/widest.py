"""Keep a photo that shows more than its crop, even if the crop is kept for another reason: its camera data, perhaps."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from samespace.library.library import Library
from samespace.search.copies import Copies
from samespace.search.pair_scores import Remembrance, Scored, ScorePairs, recalled_scores, remember_scores
from samespace.search.same_shot import THRESHOLD, Sketches

_REMEMBRANCE = Remembrance(Sketches(), "wider-1")  # 1 if the lower of two contents shows more, -1 if the other does


class Widest:
    """Which photos show more than their crops, by rows of a table; libraries remember that beside the scores."""

    def __init__(
        self, libraries: Sequence[Library], contents: Sequence[str], copies: Copies | None, score: ScorePairs
    ) -> None:
        """Learn what is remembered of the rows with these `contents`; `copies` and the `score` tell what is new."""
        self._contents, self._score = contents, score
        self._wider = copies.wider if copies else set()
        if copies:
            known = recalled_scores(libraries, contents, _REMEMBRANCE)
            for one, other, sign in zip(known.first.tolist(), known.second.tolist(), known.scores, strict=True):
                self._wider.add((one, other) if self._sign(one, other) == sign else (other, one))

    def loses(self, row: int, kept: Collection[int]) -> bool:
        """Return whether no copy of a row that is kept shows all of it, but one is its crop."""
        if row in kept or not any((row, other) in self._wider for other in kept):
            return False
        others = np.array(sorted(kept), np.intp)
        scores = self._score(np.full(len(others), row, np.intp), others)
        return all((row, int(other)) in self._wider for other in others[scores >= THRESHOLD])

    def remember(self, libraries: Sequence[Library]) -> None:
        """Store what is known in the libraries."""
        pairs = sorted(self._wider)
        first, second = np.array(pairs, np.intp).reshape(-1, 2).T
        scored = Scored(first, second, np.array([self._sign(*pair) for pair in pairs], float))
        for library in libraries:
            remember_scores(library, self._contents, scored, _REMEMBRANCE)

    def _sign(self, wider: int, other: int) -> float:
        return 1.0 if self._contents[wider] < self._contents[other] else -1.0
