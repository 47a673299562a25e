"""Find photos by one of the library, by one from outside, by a sentence or by a sum of both."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request

from samespace.base.errors import SameSpaceError
from samespace.base.one_thread import one_thread_each
from samespace.base.photos import Pixels
from samespace.base.text import readable, shell_word
from samespace.library.library import Photo
from samespace.web.folders import Names, names_of
from samespace.web.render import live_of
from samespace.web.search.kept_photos import MINUTES, KeptPhotos
from samespace.web.search.query import SearchQuery
from samespace.web.search.sums import typed_terms
from samespace.web.state import LiveLibrary, Snapshot
from samespace.words.search import search_by_sentence
from samespace.words.stored_captions import LONGEST
from samespace.words.sums import Term, search_by_sum

if TYPE_CHECKING:
    from samespace.search.space import Hit, Query, Space

turns = threading.Semaphore(os.cpu_count() or 1)


@contextmanager
def turn() -> Iterator[None]:
    """Let as many searches run as there are processors: each holds a score of every photo, and those that wait none."""
    with turns, one_thread_each():
        yield


class SearchMemory:
    """Names and photos from outside, kept from one request to the next."""

    def __init__(self) -> None:
        self.kept = KeptPhotos()
        self._names: Names | None = None

    def names(self, snapshot: Snapshot) -> Names:
        """Return the names of a snapshot's photos and folders."""
        names = self._names
        if names is None or names.snapshot is not snapshot:
            names = self._names = names_of(snapshot)
        return names


class Results(NamedTuple):
    """Some of the results."""

    hits: list[Hit]
    further: int | None  # where the next ones start
    before: float  # the score of the one before them
    unknown: list[str]  # words of a sentence that were left out
    meaning: str  # of the scores: "fit", "sum", or the look's


class Searching(NamedTuple):
    """A library that is searched, for one request."""

    live: LiveLibrary
    snapshot: Snapshot
    memory: SearchMemory

    @property
    def names(self) -> Names:
        return self.memory.names(self.snapshot)

    @property
    def space(self) -> Space:
        """Return what is searched, or refuse with the reason why there is none."""
        if self.snapshot.space is None:
            raise SameSpaceError(self.snapshot.why_not)
        return self.snapshot.space

    def there(self, photos: Iterable[Photo]) -> list[Photo]:
        """Return those of these photos that have not been removed."""
        gone = self.live.gone
        return [photo for photo in photos if photo.path not in gone]

    def photo(self, text: str) -> Photo:
        """Return the photo of this id, name or path."""
        found = self.there(self.names.exactly(text))
        if not found:
            raise HTTPException(404, "This photo is not in the library: it may have been removed or renamed.")
        if len(found) > 1:
            raise SameSpaceError(f"{len(found)} photos are called {readable(text)}: give the id of one")
        return found[0]

    def keep(self, pixels: Pixels) -> str:
        """Return the key that a photo from outside, (256, 256, 3), can be searched by."""
        space = self.space
        with turn():
            return self.memory.kept.add(space.query(pixels[None]), space.look)

    def find(self, wanted: SearchQuery) -> Results:
        """Return the results that are wanted; one more on either side tells what comes before and after."""
        before = int(wanted.start > 0)
        top = wanted.top + before + 1
        narrowed: dict[str, Any] = {
            "top": top,
            "threshold": wanted.threshold,
            "folder": self.names.folder(wanted.folder),
            "collapse": not wanted.all,
            "skip": self.live.gone,
            "start": wanted.start - before,
        }
        unknown, meaning = list[str](), self.live.look.meaning
        if wanted.q:
            terms = self._terms(wanted.q)
            meaning = "sum" if terms else "fit"
            hits, unknown = self._by_words(wanted.q, terms, narrowed)
        else:
            query = self._query(wanted)
            with turn():
                [hits] = self.space.search(query, **narrowed)
        further = wanted.start + wanted.top if len(hits) == top else None
        score = hits[0].score if before and hits else math.inf
        return Results(hits[before : wanted.top + before], further, score, unknown, meaning)

    def _query(self, wanted: SearchQuery) -> Query:
        if wanted.like:
            return self.space.query_of([self.photo(wanted.like)])
        query = self.memory.kept.find(wanted.photo, self.space.look)
        if query is None:
            raise HTTPException(404, f"Your photo is remembered for {MINUTES} minutes only: drop it again.")
        return query

    def _terms(self, text: str) -> list[Term]:
        return typed_terms(text, self.names, self.there, self.snapshot.adds)

    def _by_words(self, sentence: str, terms: list[Term], narrowed: dict[str, Any]) -> tuple[list[Hit], list[str]]:
        space, sentences = self.space, self.snapshot.sentences
        if not self.live.understands or (terms and sentences is None):
            raise SameSpaceError(self.snapshot.why_mute or how_to_understand(self.live))
        if len(sentence) > LONGEST:
            raise SameSpaceError(f"a sentence of {len(sentence):,} characters is too long: {LONGEST:,} at most")
        with turn(), self.live.library() as library:
            if terms:
                found = search_by_sum(library, space, sentences, terms, **narrowed)
            else:
                found = search_by_sentence(library, space, sentences, sentence, **narrowed)
        return found.hits, found.unknown


def searching(request: Request) -> Searching:
    """Return what a request searches. The library must be there, or nobody could open what is found."""
    live = live_of(request)
    live.must_be_there()
    return Searching(live, live.snapshot, request.app.state.search)


def how_to_understand(live: LiveLibrary) -> str:
    """Say how sentences can be searched for."""
    roots = " ".join(shell_word(os.fspath(root)) for root in live.roots)
    command = f"samespace scan {roots}"
    return (
        f"Text search is not set up. Caption photos, or name an encoder: {command} --encoder NAME, "
        f"or a matcher: {command} --matcher FILE"
    )
