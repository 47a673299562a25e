"""Decide which results show the same, so that they are listed as one: copies, photos of one space, or by verdict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from samespace.base.arrays import Array, Doubles, Flags, Floats, Ints
from samespace.base.errors import SameSpaceError
from samespace.library.features import Features
from samespace.library.library import Library, Photo
from samespace.model.heads import Embeddings, to_embeddings
from samespace.search import same_shot
from samespace.search.look import SHORTLIST, Look
from samespace.search.pair_scores import Remembered, recalled_scores

HEADS, PAIRS = 10, 256  # most results whose copies are looked for in one call, and most pairs scored in it
ROOM = 1 << 22  # pairs whose scores are kept in memory: 64 MB
_APART = 0.1  # a cosine below which a model hardly ever finds one space: of 344 such pairs 2, at twice the time


class _PairTest(NamedTuple):
    """A way to tell that two photos show the same."""

    likely: Flags  # (up to HEADS, N): pairs worth scoring, each once
    score: Callable[[Ints, Ints], Doubles]
    threshold: float


class Collapse:
    """A library's contents, by number, and which show the same. Each pair is scored once; any thread may ask."""

    def __init__(
        self,
        library: Library,
        look: Look,
        photos: Sequence[Photo],
        features: Features,
        vectors_of: Callable[[Ints], Array],
    ) -> None:
        """Take one photo and its `features` for each content; `vectors_of` gives what contents (n,) are searched by."""
        self._look, self._features, self._vectors_of = look, features, vectors_of
        self._sketches = _sketches(library, photos)
        contents = [photo.content for photo in photos]
        known = recalled_scores([library], contents)
        self.same_shot = Remembered(self._score_shots, len(photos), known, ROOM)
        self.same_space = Remembered(self._score_spaces, len(photos), room=ROOM)
        self._verdicts = _by_number(library.verdicts(), contents)

    def embeddings(self, contents: Ints) -> Embeddings:
        """Return what a model compares photos by."""
        return to_embeddings({name: self._features.take(name, contents) for name in self._look.extractor.fields})

    def join(self, contents: Sequence[int], known: dict[int, set[int]]) -> set[int]:
        """Return the first of some contents and those that show the same, by scores or by a person's verdict.

        Of two that a person called different only the first is in. `known` keeps what is found for further calls: each
        call scores pairs for a few of the following contents, too, because many small calls take long.
        """
        if contents[0] not in known:
            known |= self._matches(np.array(contents, np.intp))
        matches = known[contents[0]]
        joined = {contents[0]}
        for content in contents[1:]:
            verdicts = self._verdicts.get(content, {})
            said = {verdicts[other] for other in joined & verdicts.keys()}
            if False not in said and (content in matches or True in said):
                joined.add(content)
        return joined

    def _matches(self, contents: Ints) -> dict[int, set[int]]:
        """Return, for the first content and some more, which of those after it score as the same."""
        tests = []
        if self._sketches is not None:
            tests.append(_PairTest(self._maybe_copies(contents), self.same_shot, same_shot.THRESHOLD))
        if self._look.model is not None:
            tests.append(_PairTest(self._maybe_one_space(contents), self.same_space, self._look.threshold or 1.0))
        heads = min((_affordable(test.likely) for test in tests), default=1)
        matches: dict[int, set[int]] = {content: set() for content in contents[:heads].tolist()}
        for test in tests:
            heads_at, others_at = np.nonzero(test.likely[:heads])
            first, second = contents[heads_at], contents[others_at]
            same = test.score(first, second) >= test.threshold
            for one, other in zip(first[same].tolist(), second[same].tolist(), strict=True):
                matches[one].add(other)
        return matches

    def _maybe_copies(self, contents: Ints) -> Flags:
        assert self._sketches is not None
        outlines = self._sketches.take("outline", contents).astype(np.float32)
        return np.triu(outlines[:HEADS] @ outlines.T >= same_shot.FLOOR, 1)

    def _maybe_one_space(self, contents: Ints) -> Flags:
        vectors = self._vectors_of(contents).astype(np.float32)
        cosines = np.where(np.tri(len(vectors[:HEADS]), len(vectors), dtype=bool), -2, vectors[:HEADS] @ vectors.T)
        lowest = -np.sort(-cosines, 1)[:, :SHORTLIST][:, -1:]
        return (cosines >= lowest) & (cosines > _APART)

    def _score_shots(self, first: Ints, second: Ints) -> Floats:
        assert self._sketches is not None
        return same_shot.same_shot(self._sketches.take("grey", first), self._sketches.take("grey", second))

    def _score_spaces(self, first: Ints, second: Ints) -> Doubles:
        assert self._look.model is not None
        return self._look.model.score(self.embeddings(first), self.embeddings(second))


def _affordable(likely: Flags) -> int:
    """Count the first rows that have no more than PAIRS pairs together; at least one."""
    return max(1, int((likely.sum(1).cumsum() <= PAIRS).sum()))


def _sketches(library: Library, photos: Sequence[Photo]) -> Features | None:
    """Return the photos' sketches; None if some lack them, for an import need not bring them."""
    try:
        return library.features(same_shot.Sketches(), photos)
    except SameSpaceError:
        return None


def _by_number(verdicts: Mapping[frozenset[str], bool], contents: Sequence[str]) -> dict[int, dict[int, bool]]:
    """Return, for each content in a verdict, the others and whether a person called them the same."""
    number = {content: at for at, content in enumerate(contents)}
    by_number: defaultdict[int, dict[int, bool]] = defaultdict(dict)
    for pair, same in verdicts.items():
        if pair <= number.keys():
            one, other = (number[content] for content in pair)
            by_number[one][other] = by_number[other][one] = same
    return dict(by_number)
