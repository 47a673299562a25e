"""Group videos among themselves, and RAW files, by equal bytes: they are exact duplicates like photos, unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from samespace.base.arrays import Ints
from samespace.base.kinds import by_label
from samespace.duplicates.group import COPIES, DedupeOptions, Group
from samespace.duplicates.grouping import known_pairs
from samespace.duplicates.photo_table import PhotoTable, is_below
from samespace.duplicates.ranking import Join, Ranking
from samespace.duplicates.standings import Standings
from samespace.library.library import Library, Photo
from samespace.library.others import OtherFile


class EqualFiles:
    """Videos and RAW files, ranked as photos are; those with a photo or a sidecar of their name are left out.

    Made in the thread that opened the libraries; after that any threads may use it at once.
    """

    def __init__(self, libraries: Sequence[Library], folders: Sequence[Path], options: DedupeOptions) -> None:
        others = [[file for file in library.others() if is_below(file.path, folders)] for library in libraries]
        self.not_compared = by_label(path.name for path in {file.path for files in others for file in files})
        equal = _of_equal_bytes(libraries, others)
        self._files = PhotoTable(libraries, folders, options, lambda library: equal[library.id])
        nothing = np.empty(0, np.intp)
        self._standings = Standings(self._files, libraries, (nothing, nothing), (nothing, nothing))
        self._similar = known_pairs([], len(self._files))

    def groups(self, without: Collection[Path]) -> list[Group]:
        """Return the groups that leave something to remove; files in `without` are left out."""
        ranking, clusters = self._clusters(without)
        groups = (ranking.group({int(row): Join("exact", 1.0)}, 1.0, COPIES) for (row,) in clusters)
        return [group for group in groups if group]

    def count(self, without: Collection[Path]) -> int:
        """Count what `groups` returns."""
        ranking, clusters = self._clusters(without)
        return ranking.count(clusters)

    def _clusters(self, without: Collection[Path]) -> tuple[Ranking, list[Ints]]:
        """Return the rows of several copies, each alone."""
        ranking = Ranking(self._files, self._standings, self._similar, frozenset(without))
        return ranking, list(np.flatnonzero(ranking.copied > 1)[:, None])


def _of_equal_bytes(libraries: Sequence[Library], others: Sequence[Sequence[OtherFile]]) -> dict[str, list[Photo]]:
    """Return the files of each library, by its id, whose bytes may equal another's; only those are read."""
    alone = [[file for file in files if not file.has_partner and file.size > 0] for files in others]
    sizes = Counter(size for _, size in {(file.path, file.size) for files in alone for file in files})
    equal: dict[str, list[Photo]] = {}
    for library, files in zip(libraries, alone, strict=True):
        alike = [file for file in files if sizes[file.size] > 1]
        contents = library.other_files.contents(alike)
        pairs = zip(alike, contents, strict=True)
        equal[library.id] = [as_photo(file, library, content) for file, content in pairs if content]
    return equal


def as_photo(file: OtherFile, library: Library, content: str = "") -> Photo:
    """Return a file as a photo without a picture."""
    return Photo(file.path, file.root, library.id, file.size, file.mtime_ns, content, 0, 0, None, 0)
