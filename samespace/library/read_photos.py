"""Read photos in bulk, batch by batch: hash their bytes, decode each content once, extract its features."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
from PIL import Image

from samespace.base.arrays import Array, blocks
from samespace.base.errors import SameSpaceError
from samespace.base.files import hash_of
from samespace.base.hashes import perceptual_hash
from samespace.base.photos import SIZE, Pixels, UnreadablePhoto, decoders, glimpse, in_threads

AT_ONCE, SECONDS = 256, 10.0  # photos in a batch, and how long it may take: what a killed scan has to do again
DATES = range(-(2**63), 2**63)  # what SQLite can hold of a file's date, in nanoseconds
OUT_OF_RANGE = "its date is before 1678 or after 2261: give it another one, for instance with `touch`"


class Extractor(Protocol):
    """Anything that turns pixels into numbers that a library keeps."""

    @property
    def fingerprint(self) -> str:
        """Name the folder of the numbers: same fingerprint, same numbers but for rounding."""

    @property
    def fields(self) -> Mapping[str, tuple[tuple[int, ...], str]]:
        """Return the numbers of one photo: name → shape and numpy dtype, {"vectors": ((512,), "float16")}."""

    @property
    def batch(self) -> int:
        """Return how many photos it takes at once; a last batch may be smaller."""

    def extract(self, pixels: Pixels) -> Mapping[str, Array]:
        """Turn pixels, (N, 256, 256, 3), into N rows for each field."""


def former(extractor: Extractor) -> tuple[str, ...]:
    """Return the fingerprints under which earlier versions kept this extractor's features; most have none."""
    return getattr(extractor, "former", ())


class File(NamedTuple):
    """One file as it was when it was read."""

    path: bytes  # relative to the folder scanned
    size: int
    mtime_ns: int
    content: str | None  # SHA-256 of its bytes
    reason: str | None = None  # why there is no content; the next scan tries again


class Content(NamedTuple):
    """The result of decoding one content, wherever its bytes lie."""

    content: str
    width: int = 0
    height: int = 0
    taken: str | None = None
    hash: int = 0
    reason: str | None = None  # why it is no photo; the same bytes would say so again


class Rows(NamedTuple):
    """One extractor's features of N contents."""

    contents: list[str]
    fields: dict[str, Array]  # N rows each


class Batch(NamedTuple):
    """The result of reading some files. Files with the same bytes are decoded once, so contents may be fewer."""

    files: list[File]
    contents: list[Content]
    features: dict[str, Rows]  # by fingerprint
    decoders: str  # what decoded the contents: others may open what these could not

    def arrays(self) -> dict[str, Array]:
        """Return all of it as arrays, to be saved as safetensors or npz; `from_arrays` is the way back."""
        rows = {fingerprint: rows.contents for fingerprint, rows in self.features.items()}
        files = [(os.fsdecode(file.path), *file[1:]) for file in self.files]
        text = json.dumps({"files": files, "contents": self.contents, "rows": rows, "decoders": self.decoders})
        arrays: dict[str, Array] = {"batch": np.frombuffer(text.encode(), np.uint8)}
        for fingerprint, (_, fields) in self.features.items():
            arrays |= {f"{fingerprint}/{name}": array for name, array in fields.items()}
        return arrays

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array]) -> Batch:
        """Return the batch that these arrays hold."""
        try:
            text = json.loads(arrays["batch"].tobytes())
            features: dict[str, Rows] = {name: Rows(contents, {}) for name, contents in text["rows"].items()}
            for key in arrays.keys() - {"batch"}:
                fingerprint, _, name = key.rpartition("/")
                features[fingerprint].fields[name] = arrays[key]
            files = [File(os.fsencode(path), *rest) for path, *rest in text["files"]]
            contents = [Content(*content) for content in text["contents"]]
            return Batch(files, contents, features, text["decoders"])
        except (KeyError, TypeError, ValueError) as error:
            raise SameSpaceError(f"these arrays hold no photos that samespace has read ({error!r})") from error


def read_batch(root: Path, paths: Sequence[bytes], extractors: Sequence[Extractor] = ()) -> Batch:
    """Read these files, given by their paths below `root`, without a library."""
    batches = list(read_batches(root, paths, extractors, at_once=max(1, len(paths))))
    return batches[0] if batches else _Gathering(extractors).take()


def read_batches(
    root: Path,
    paths: Sequence[bytes],
    extractors: Sequence[Extractor] = (),
    seen: Mapping[str, frozenset[str]] | None = None,
    at_once: int | None = None,
    tell: Callable[[int], object] = lambda files: None,
) -> Iterator[Batch]:
    """Read these files while threads decode those that come next; `tell` gets how many more have been read.

    A batch has `at_once` files; without that it has `AT_ONCE`, or as many as `SECONDS` are enough for.
    `seen` names known contents, and the fingerprints of the extractors that need not see them again.
    """
    batch, began = _Gathering(extractors), monotonic()
    while paths:
        claims = Claims(seen or {}, extractors)
        waiting: dict[str, list[File]] = {}  # files whose content another thread is decoding, for a file further on
        for file, content, pixels, lacking in in_threads(partial(_read, root, claims), paths):
            before = len(batch.files)
            if content is not None:
                batch.add(content, pixels, lacking)
                claims.settled.add(content.content)
                batch.files += waiting.pop(content.content, [])
            elif file.content is not None and file.content not in claims.settled:
                waiting.setdefault(file.content, []).append(file)
                continue
            batch.files.append(file)
            tell(len(batch.files) - before)
            if len(batch.files) >= (at_once or AT_ONCE) or (not at_once and monotonic() - began >= SECONDS):
                yield batch.take()
                began = monotonic()
        # The file that was decoded for these failed: it changed meanwhile, or its disk broke. One of them is next.
        paths = [file.path for files in waiting.values() for file in files]
    if batch.files:
        yield batch.take()


class Claims:
    """Have every content decoded once, though many threads come across it."""

    def __init__(self, seen: Mapping[str, frozenset[str]], extractors: Sequence[Extractor]) -> None:
        self.settled = set(seen)  # contents that are in the library or in a batch
        self._seen_by = dict(seen)
        self._extractors = extractors
        self._everything = frozenset(extractor.fingerprint for extractor in extractors)
        self._lock = Lock()

    def claim(self, content: str) -> tuple[Extractor, ...] | None:
        """Return the extractors that must see this content; None if it is known, or another thread decodes it."""
        with self._lock:
            seen_by = self._seen_by.get(content)
            self._seen_by[content] = self._everything
        if seen_by is not None and seen_by >= self._everything:
            return None
        return tuple(extractor for extractor in self._extractors if extractor.fingerprint not in (seen_by or ()))


class _Read(NamedTuple):
    file: File
    content: Content | None = None  # if it was decoded
    pixels: Pixels | None = None
    lacking: tuple[Extractor, ...] = ()  # extractors that need the pixels


def _read(root: Path, claims: Claims, path: bytes) -> _Read:
    """Read one file, opened once. A fault of the file, rather than of its content, becomes the file's reason."""
    before = None
    try:
        with open(os.path.join(os.fsencode(root), path), "rb") as file:  # noqa: PTH118, PTH123 - pathlib has no bytes
            before = os.fstat(file.fileno())
            if before.st_mtime_ns not in DATES:
                return _Read(File(path, before.st_size, 0, None, OUT_OF_RANGE))
            content = hash_of(file)
            claimed = claims.claim(content)
            decoded, pixels = None, None
            if claimed is not None:
                decoded, pixels = _decode(file, content)
            after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise UnreadablePhoto(root, "it changed while it was being read")
        return _Read(File(path, before.st_size, before.st_mtime_ns, content), decoded, pixels, claimed or ())
    except (OSError, UnreadablePhoto) as error:
        reason = error.reason if isinstance(error, UnreadablePhoto) else f"cannot be read: {error.strerror or error}"
        size, mtime_ns = (before.st_size, before.st_mtime_ns) if before else (0, 0)
        return _Read(File(path, size, mtime_ns, None, reason))


def _decode(file: BinaryIO, content: str) -> tuple[Content, Pixels | None]:
    try:
        pixels, width, height, taken = glimpse(file, SIZE)
    except UnreadablePhoto as error:
        if isinstance(error.__cause__, MemoryError) or getattr(error.__cause__, "errno", None):
            raise  # the machine's fault: Pillow's own complaints carry no error number
        return Content(content, reason=error.reason), None
    return Content(content, width, height, taken, int(perceptual_hash(Image.fromarray(pixels)))), pixels


class _Gathering:
    """A batch while it grows: pixels wait until extractors have as many as they take, and are let go.

    Photos that lack the same extractors wait together, and these get one array: a network whose output is for several
    of them runs once.
    """

    def __init__(self, extractors: Sequence[Extractor]) -> None:
        self._extractors = {extractor.fingerprint: extractor for extractor in extractors}
        self._start()

    def _start(self) -> None:
        self.files: list[File] = []
        self._contents: list[Content] = []
        self._waiting: dict[tuple[str, ...], list[tuple[str, Pixels]]] = {}  # by the fingerprints they lack
        self._done = {fingerprint: [_no_rows(one)] for fingerprint, one in self._extractors.items()}

    def add(self, content: Content, pixels: Pixels | None, lacking: Sequence[Extractor]) -> None:
        self._contents.append(content)
        if pixels is None or not lacking:
            return
        fingerprints = tuple(extractor.fingerprint for extractor in lacking)
        waiting = self._waiting.setdefault(fingerprints, [])
        waiting.append((content.content, pixels))
        if len(waiting) >= max(extractor.batch for extractor in lacking):
            self._extract(fingerprints)

    def _extract(self, fingerprints: tuple[str, ...]) -> None:
        waiting = self._waiting.pop(fingerprints)
        contents, pixels = [content for content, _ in waiting], np.stack([pixels for _, pixels in waiting])
        for fingerprint in fingerprints:
            extractor = self._extractors[fingerprint]
            for some in blocks(len(pixels), extractor.batch):
                # The array itself if it will do: extractors of one network know it again.
                found = extractor.extract(pixels if len(pixels) <= extractor.batch else pixels[some])
                for name, (shape, dtype) in extractor.fields.items():
                    should = (len(contents[some]), *shape), np.dtype(dtype)
                    assert (found[name].shape, found[name].dtype) == should, name
                self._done[fingerprint].append(Rows(contents[some], dict(found)))

    def take(self) -> Batch:
        """Return what has been gathered, all of it extracted, and begin the next batch."""
        for fingerprints in list(self._waiting):
            self._extract(fingerprints)
        features = {fingerprint: _joined(parts) for fingerprint, parts in self._done.items()}
        batch = Batch(self.files, self._contents, features, decoders())
        self._start()
        return batch


def _no_rows(extractor: Extractor) -> Rows:
    return Rows([], {name: np.empty((0, *shape), dtype) for name, (shape, dtype) in extractor.fields.items()})


def _joined(parts: Sequence[Rows]) -> Rows:
    contents = [content for part in parts for content in part.contents]
    return Rows(contents, {name: np.concatenate([part.fields[name] for part in parts]) for name in parts[0].fields})
