"""Find photos like a photo: the nearest by their vectors, scored, sorted and listed with their copies."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from samespace.base.arrays import Array, Doubles, Flags, Floats, Ints
from samespace.base.errors import SameSpaceError
from samespace.base.photos import Pixels
from samespace.library.library import Library, Photo
from samespace.model.heads import to_embeddings
from samespace.search import same_shot
from samespace.search.approximate import Approximate, Indexed, recall
from samespace.search.collapse import Collapse
from samespace.search.exact import Exact
from samespace.search.look import Look, extracted
from samespace.search.vectors import index_path, naming_the_scan, nothing_to_search, vectors_of

INDEXES = ("exact", "hnsw")
LARGE = 500_000  # photos: a library of more gets an index unasked
BLOCK = 128  # contents that are scored and collapsed at a time, in the order of their cosines

# Of copies, re-encoded, resized, cropped, re-lit or turned a little, nearly all reach this cosine to their original, of
# pairs of different rooms three in a million: 841 photos, mobilenet_v2.
COPY = {"none": 0.85, "pca": 0.7, "autoencoder": 0.94}

_NOBODY = np.uint64(2**64 - 1)  # the key of rows without a content: none has it


class Query(NamedTuple):
    """N photos to search for, as an extractor sees them."""

    fields: Mapping[str, Array]  # N rows each
    paths: tuple[Path | None, ...]  # where each lies, for none is among its own results
    contents: tuple[str | None, ...]  # of photos that a library knows

    def take(self, number: int) -> Query:
        """Return the query for one of the photos."""
        row = slice(number, number + 1)
        fields = {name: values[row] for name, values in self.fields.items()}
        return Query(fields, self.paths[row], self.contents[row])


class Hit(NamedTuple):
    """One result."""

    photo: Photo
    score: float  # of the look's meaning
    also: tuple[Photo, ...]  # further hits that show the same as this one, best first


class _Near(NamedTuple):
    """Contents, by falling cosine; equal ones in the order of their photos."""

    contents: Ints
    cosines: Doubles


class _Among(NamedTuple):
    """The photos that may be a result."""

    photos: Flags  # (N,)
    rows: Flags | None  # of the file of vectors; None for all
    contents: int  # how many have such a row


class Space:
    """A library's photos as one look sees them. Made on one thread; any thread may search it."""

    def __init__(self, library: Library, look: Look, index: str | None = None) -> None:
        """Read the library; `index` is "exact" or "hnsw", by default hnsw for more than `LARGE` photos."""
        if index not in (None, *INDEXES):
            raise SameSpaceError(f"unknown index {index!r}: choose one of {', '.join(INDEXES)}")
        self.look = look
        self.vectors = vectors_of(library, look)
        with library.unchanging(), naming_the_scan(library, look.options):
            self._read(library)
        large = len(self._contents) > LARGE and library.is_writable
        self.index = self._open_index(library) if index == "hnsw" or (index is None and large) else None
        self._finder = self._indexed(self.index) if self.index else Exact(self._matrix)

    def _read(self, library: Library) -> None:
        everything = library.photos()
        ready = library.rows(self.look.extractor).keys() & library.rows(self.vectors).keys()
        self.photos = [photo for photo in everything if photo.content in ready]  # sorted by the bytes of their paths
        self.lacking = len(everything) - len(self.photos)  # photos that were not scanned for this look
        if not self.photos:
            raise nothing_to_search(library, self.look, everything)
        first = {photo.content: photo for photo in reversed(self.photos)}
        self._contents = list(dict.fromkeys(photo.content for photo in self.photos))  # in the order of the photos
        self._number = number = {content: at for at, content in enumerate(self._contents)}
        self._content_of = np.array([number[photo.content] for photo in self.photos], np.intp)  # (N,)
        self._photos_of = np.argsort(self._content_of, kind="stable")  # (N,), those of content i from starts[i] on
        self._starts = np.searchsorted(self._content_of[self._photos_of], np.arange(len(number) + 1))
        some = [first[content] for content in self._contents]
        self._features = library.features(self.look.extractor, some)
        self._unit = library.features(self.vectors, some)
        self._matrix = self._unit.mapped(self.vectors.field)
        self._owner = np.full(len(self._matrix), -1, np.intp)  # the content that has a row of the file
        self._owner[self._unit.rows] = np.arange(len(some))
        self._collapse = Collapse(library, self.look, some, self._features, self._content_vectors)

    def _content_vectors(self, contents: Ints) -> Array:
        return self._unit.take(self.vectors.field, contents)

    @property
    def threshold(self) -> float:
        """Return the score from which a photo is a copy of the one asked for or, with a model, shows its space."""
        return self.look.threshold or COPY[self.vectors.compression]

    def below(self, folder: Path) -> list[Photo]:
        """Return the photos that lie below a folder."""
        return self.photos[self._run(folder)]

    def query(self, pixels: Pixels, paths: Sequence[Path] | None = None) -> Query:
        """Make a query for photos from anywhere, (Q, 256, 256, 3); those that lie at `paths` are not found."""
        fields = extracted(self.look, pixels)
        nothing = (None,) * len(pixels)
        return Query(fields, nothing if paths is None else tuple(paths), nothing)

    def query_of(self, photos: Sequence[Photo]) -> Query:
        """Make a query for photos of this space; nothing is decoded."""
        contents = self._content_of[[self._place_of(photo) for photo in photos]]
        fields = {name: self._features.take(name, contents) for name in self.look.extractor.fields}
        return Query(fields, tuple(photo.path for photo in photos), tuple(photo.content for photo in photos))

    def vectors_of(self, which: Ints) -> Array:
        """Return what some of the photos, by their numbers (n,), are searched by: (n, d) of length 1."""
        return self._content_vectors(self._content_of[which])

    def search(
        self,
        query: Query,
        top: int = 10,
        threshold: float | None = None,
        folder: Path | None = None,
        collapse: bool = True,
        skip: Collection[Path] = (),
        start: int = 0,
    ) -> list[list[Hit]]:
        """Return the hits for each photo asked for, best first: `top` at most, from number `start` on.

        They are scored and sorted in blocks of those nearest by cosine. Within its block a photo joins the first hit
        that shows the same, unless `collapse` is False. Photos whose file has gone are left out, and so are those in
        `skip`. `threshold` is in the units of the score.
        """
        refuse_nonsense(top, threshold, start)
        among = self._among(folder, skip)
        if not query.paths or not among.contents:
            return [[] for _ in query.paths]
        vectors = self.vectors.compress(query.fields[self.look.field])
        found = []
        for at, nearest in enumerate(self._nearest(vectors, BLOCK, among)):
            ranked = self._ranked(query.take(at), vectors[at : at + 1], nearest, among, threshold)
            found.append(self._page(ranked, collapse, start, top))
        return found

    def show(
        self,
        ranking: Iterable[tuple[str, float]],
        top: int = 10,
        threshold: float | None = None,
        folder: Path | None = None,
        collapse: bool = True,
        skip: Collection[Path] = (),
        start: int = 0,
    ) -> list[Hit]:
        """Return the hits for contents that were ranked elsewhere, best first, as `search` would show them.

        The ranking is read no further than needed. Contents of other spaces are left out.
        """
        refuse_nonsense(top, threshold, start)
        return self._page(self._in_blocks(ranking, self._among(folder, skip), threshold), collapse, start, top)

    def contents(self, folder: Path | None = None) -> list[str]:
        """Return the contents of all photos, or of those below a folder; each once."""
        return self._contents if folder is None else list(dict.fromkeys(photo.content for photo in self.below(folder)))

    def _page(self, ranked: Iterable[list[tuple[int, float]]], collapse: bool, start: int, top: int) -> list[Hit]:
        hits = chain.from_iterable(map(self._grouped if collapse else self._apart, ranked))
        return list(islice(hits, start, start + top))

    # What may be a result

    def _among(self, folder: Path | None, skip: Collection[Path]) -> _Among:
        photos = np.ones(len(self.photos), np.bool_)
        photos[[place for path in skip if (place := self._place(path)) is not None]] = False
        if folder is None:
            every = self.index is not None or len(self._owner) == len(self._contents)
            rows = None if every else self._owner >= 0
            return _Among(photos, rows, len(self._contents))
        run = self._run(folder)
        photos[: run.start] = photos[run.stop :] = False
        contents = np.unique(self._content_of[photos])
        rows = np.zeros(len(self._owner), np.bool_)
        rows[self._unit.rows[contents]] = True
        return _Among(photos, rows, len(contents))

    def _run(self, folder: Path) -> slice:
        """Return the numbers of the photos below a folder: photos are sorted, so they are one run."""
        below = os.path.join(os.fsencode(os.path.realpath(folder)), b"")  # noqa: PTH118 - pathlib has no bytes
        run = slice(self._from(below), self._from(below[:-1] + bytes([below[-1] + 1])))
        if run.start == run.stop:
            raise SameSpaceError(f"{folder} holds no photo of the library: name a folder that was scanned")
        return run

    def _from(self, path: bytes) -> int:
        """Return where among the photos this path is, or would be."""
        return bisect_left(self.photos, path, key=lambda photo: os.fsencode(photo.path))

    def _place(self, path: Path) -> int | None:
        place = self._from(os.fsencode(path))
        return place if place < len(self.photos) and self.photos[place].path == path else None

    def _place_of(self, photo: Photo) -> int:
        place = self._place(photo.path)
        if place is None or self.photos[place].content != photo.content:
            raise SameSpaceError(f"{photo.path} is not among the photos that are searched: scan its folder again")
        return place

    # The nearest

    def _nearest(self, vectors: Floats, most: int, among: _Among) -> list[_Near]:
        """Return the contents with the highest cosines to each query (Q, d)."""
        most, asked = min(most, among.contents), min(most + 16, among.contents)
        while True:
            rows, cosines = self._finder.nearest(vectors, asked, among.rows)
            # If several are equal at the end, all of them are needed: photos, not rows, decide which come first.
            if asked == among.contents or (cosines[:, -1] < cosines[:, most - 1]).all():
                break
            asked = min(4 * asked, among.contents)
        nearest = []
        for row, near in zip(rows, cosines, strict=True):
            contents = self._owner[row[row >= 0]]
            near = near[: len(contents)].astype(np.float64)
            best = np.lexsort((contents, -near))[:most]
            nearest.append(_Near(contents[best], near[best]))
        return nearest

    def _blocks(self, vector: Floats, nearest: _Near, among: _Among) -> Iterator[_Near]:
        """Yield all contents, block by block; `nearest` has the first of them."""
        done = np.empty(0, np.intp)
        while (fresh := ~np.isin(nearest.contents, done)).any():
            block = _Near(nearest.contents[fresh][:BLOCK], nearest.cosines[fresh][:BLOCK])
            yield block
            done = np.append(done, block.contents)
            if fresh.sum() <= BLOCK:
                (nearest,) = self._nearest(vector, 2 * len(nearest.contents), among)

    # The hits

    def _ranked(
        self, query: Query, vector: Floats, nearest: _Near, among: _Among, threshold: float | None
    ) -> Iterator[list[tuple[int, float]]]:
        """Yield the photos and their scores block by block, best first."""
        own = self._place(query.paths[0]) if query.paths[0] else None
        for block in self._blocks(vector, nearest, among):
            scores = np.round(self._scores(query, block), 6)
            if threshold is not None and not (scores >= threshold).any():
                return
            yield [
                (photo, score)
                for photo, score in self._photos_with(block, scores)
                if among.photos[photo] and photo != own and (threshold is None or score >= threshold)
            ]

    def _in_blocks(
        self, ranking: Iterable[tuple[str, float]], among: _Among, threshold: float | None
    ) -> Iterator[list[tuple[int, float]]]:
        """Yield the photos of a ranking and their scores block by block."""
        ours = ((self._number[content], score) for content, score in ranking if content in self._number)
        enough = takewhile(lambda one: threshold is None or one[1] >= threshold, ours)
        while some := list(islice(enough, BLOCK)):
            contents, scores = (np.array(column) for column in zip(*some, strict=True))
            ranked = self._photos_with(_Near(contents, scores), scores)
            yield [(photo, score) for photo, score in ranked if among.photos[photo]]

    def _photos_with(self, block: _Near, scores: Doubles) -> Iterator[tuple[int, float]]:
        """Return the photos of contents and their scores, by falling scores, then cosines."""
        found = [self._photos_of[self._starts[content] : self._starts[content + 1]] for content in block.contents]
        photos, of = np.concatenate(found), np.repeat(np.arange(len(found)), list(map(len, found)))
        order = np.lexsort((photos, -block.cosines[of], -scores[of]))
        return zip(photos[order].tolist(), scores[of][order].tolist(), strict=True)

    def _scores(self, query: Query, block: _Near) -> Doubles:
        """Return the look's score of the photo asked for with each of these contents."""
        if self.look.meaning == "cosine":
            return block.cosines
        own = self._number.get(query.contents[0] or "")
        if self.look.model is not None:
            if own is not None:
                return self._collapse.same_space(np.full(len(block.contents), own), block.contents)
            return self.look.model.score(to_embeddings(query.fields), self._collapse.embeddings(block.contents))
        scores = np.zeros(len(block.contents))
        likely = block.cosines >= same_shot.FLOOR
        contents = block.contents[likely]
        if own is not None:
            scores[likely] = self._collapse.same_shot(np.full(len(contents), own), contents)
        else:
            greys = self._features.take("grey", contents)
            scores[likely] = same_shot.same_shot(np.repeat(query.fields["grey"], len(greys), 0), greys)
        return scores

    def _apart(self, ranked: list[tuple[int, float]]) -> Iterator[Hit]:
        """Yield each photo by itself."""
        hits = (Hit(self.photos[photo], score, ()) for photo, score in ranked)
        return (hit for hit in hits if _is_there(hit.photo))

    def _grouped(self, ranked: list[tuple[int, float]]) -> Iterator[Hit]:
        """Yield each photo with those after it that show the same; none is in two groups."""
        known: dict[int, set[int]] = {}
        photos = [photo for photo, _ in ranked]
        content_of = dict(zip(photos, self._content_of[photos].tolist(), strict=True))
        while ranked:
            (photo, score), *ranked = ranked
            if not _is_there(self.photos[photo]):
                continue
            contents = dict.fromkeys([content_of[photo], *(content_of[other] for other, _ in ranked)])
            joined = self._collapse.join(list(contents), known)
            also = (self.photos[other] for other, _ in ranked if content_of[other] in joined)
            yield Hit(self.photos[photo], score, tuple(filter(_is_there, also)))
            ranked = [(other, score) for other, score in ranked if content_of[other] not in joined]

    # The approximate index

    def _open_index(self, library: Library) -> Approximate | None:
        """Return the index, brought up to date; None while somebody else holds the library."""
        path = index_path(library, self.vectors)
        with library.hold(wait=False) as held:
            if not held:
                return None
            index = Approximate.open(path, self.vectors.fingerprint, self._matrix.shape[1])
            self.added, self.removed = index.keep(self._keys(), self._content_vectors)
            if index.wants_tuning:
                self._indexed(index).tune(self._owner >= 0)
            index.save()
        return index

    def _keys(self) -> npt.NDArray[np.uint64]:
        """Return the index's key for each content."""
        return np.array([int(content[:16], 16) >> 1 for content in self._contents], np.uint64)

    def _indexed(self, index: Approximate) -> Indexed:
        keys = np.full(len(self._owner), _NOBODY, np.uint64)
        keys[self._unit.rows] = self._keys()
        return Indexed(Exact(self._matrix), keys, index)


def recall_of_index(space: Space) -> float:
    """Return the share of the 10 nearest that the space's index finds."""
    assert space.index is not None
    return recall(space._indexed(space.index), space._owner >= 0)


def refuse_nonsense(top: int, threshold: float | None, start: int = 0) -> None:
    """Refuse numbers that no search can mean."""
    if top < 1:
        raise SameSpaceError(f"cannot show {top} results: ask for 1 or more")
    if start < 0:
        raise SameSpaceError(f"cannot show results from number {start} on: ask for 0 or more")
    if threshold is not None and not threshold <= 1:
        raise SameSpaceError(f"a threshold of {threshold:g} is out of range: give 1 or less")


def _is_there(photo: Photo) -> bool:
    return os.path.exists(photo.path)  # noqa: PTH110 - a folder that may not be entered is no error here
