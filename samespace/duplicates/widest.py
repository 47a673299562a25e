"""Keep a photo that shows more than its crop, or in colour, even if another copy is kept: for camera data, perhaps."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from samespace.search.pair_scores import Scored, ScorePairs
from samespace.search.same_shot import THRESHOLD

# Copies of which the first shows more than the second, by rows of a table; True if only the first is in colour.
Wider = dict[tuple[int, int], bool]

_STEP = 2  # a remembered score is raised by this times the number of what was seen
_SEEN = ((True, False), (False, False), (True, True), (False, True))  # if the lower content shows more, and by colour


def noted(scored: Scored, wider: Wider, contents: Sequence[str]) -> Scored:
    """Return the scores of pairs of `contents` as libraries remember them: raised by what says which photo shows more.

    Each pair names its lower row first.
    """
    numbers = {
        (min(pair), max(pair)): _STEP * (1 + _SEEN.index((contents[pair[0]] < contents[pair[1]], in_colour)))
        for pair, in_colour in wider.items()
    }
    rows = np.flatnonzero(np.isin(scored.first, [first for first, _ in numbers])).tolist()
    scores = scored.scores.copy()
    for row in rows:
        scores[row] += numbers.get((int(scored.first[row]), int(scored.second[row])), 0)
    return scored._replace(scores=scores)


def without_notes(remembered: Scored, contents: Sequence[str]) -> tuple[Scored, Wider]:
    """Return the scores that are remembered, and which photos show more than their copies."""
    first, second, scores = remembered
    wider: Wider = {}
    for number in np.flatnonzero(scores >= _STEP).tolist():
        lower, higher = sorted((int(first[number]), int(second[number])), key=contents.__getitem__)
        lower_shows_more, in_colour = _SEEN[int(scores[number] // _STEP) - 1]
        wider[(lower, higher) if lower_shows_more else (higher, lower)] = in_colour
    return remembered._replace(scores=np.where(scores >= _STEP, scores % _STEP, scores)), wider


class Widest:
    """Knows which photos show more than their copies, as far as it was seen when they were scored."""

    def __init__(self, wider: Wider, score: ScorePairs) -> None:
        """Go by what is known to be `wider`, which grows as pairs are scored."""
        self.wider, self._score = wider, score

    def loses(self, row: int, kept: Collection[int]) -> bool:
        """Return whether a kept row shows less than this one, and no kept copy shows all that it shows."""
        if row in kept or not any((row, other) in self.wider for other in kept):
            return False
        others = np.array(sorted(kept), np.intp)
        scores = self._score(np.full(len(others), row, np.intp), others)
        return all((row, int(other)) in self.wider for other in others[scores >= THRESHOLD])
