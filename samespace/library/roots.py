"""Remember the scanned folders, and keep them from lying in each other, so that every file is known once."""

from __future__ import annotations

import os
from pathlib import Path

from samespace.library.others import OtherFiles
from samespace.library.sqlite import Database
from samespace.library.subtree import Subtree, prefix_of


class Roots:
    """The roots of a library, and whose the files are. Belongs to the thread that opened it."""

    def __init__(self, library: Path, db: Database, others: OtherFiles) -> None:
        self._library, self._db, self._others = library, db, others

    def all(self) -> dict[int, Path]:
        """Return where each root lies now: one that holds the library is stored relative to it, and moves with it.

        That one comes last. If a move took it to where another was, its files are those that are there.
        """
        return {
            number: Path(os.path.normpath(self._library / os.fsdecode(path)))
            for number, path in self._db.query("SELECT root, path FROM roots ORDER BY path DESC")  # "/" before ".."
        }

    def add(self, folder: Path) -> Subtree:
        """Return where the files of a folder are kept, as a new root unless it lies in a known one.

        No root lies in another, or where another lies, until one is moved there; this mends it.
        """
        roots = self.all()
        places = {folder, *roots.values()}
        for place in places:
            inside = {number: root for number, root in roots.items() if root.is_relative_to(place)}
            is_outermost = not any(place.is_relative_to(other) for other in places - {place})
            if is_outermost and list(inside.values()) != [place]:
                self._join(place, inside)
        return next(
            Subtree(number, root, prefix_of(folder, root))
            for number, root in self.all().items()
            if folder.is_relative_to(root)
        )

    def _join(self, place: Path, inside: dict[int, Path]) -> None:
        """Make one root, which has the files of these; of what two know of a file, the later counts."""
        kept = os.path.relpath(place, self._library) if self._library.is_relative_to(place) else place
        with self._db.transaction():
            ((new,),) = self._db.query("SELECT coalesce(max(root), 0) + 1 FROM roots")
            self._db.run_many("DELETE FROM roots WHERE root = ?", ((number,) for number in inside))
            self._db.run("INSERT INTO roots (root, path) VALUES (?, ?)", new, os.fsencode(kept))
            for number, root in inside.items():
                self._db.run(
                    "UPDATE OR REPLACE files SET root = ?, path = CAST(? || path AS BLOB) WHERE root = ?",
                    *(new, prefix_of(root, place), number),
                )
                self._others.give_over(number, new, prefix_of(root, place))
