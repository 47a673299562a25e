"""Remember the videos and RAW files beside the photos, and of those that equal another in size the bytes' hash."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from samespace.base import progress
from samespace.base.files import hash_of
from samespace.base.photos import in_threads
from samespace.library.read_photos import DATES
from samespace.library.sqlite import Database

_AT_ONCE = 32  # files whose hashes are remembered together

# Made by the first scan that finds such a file, so that libraries of older versions get it too.
_TABLE = """
CREATE TABLE IF NOT EXISTS others (
    root INTEGER NOT NULL, path BLOB NOT NULL, -- relative to the root
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    has_partner INTEGER NOT NULL, -- a photo of the same name beside it, or a sidecar
    content TEXT, -- SHA-256 of the bytes, NULL until somebody asks
    PRIMARY KEY (root, path)
) WITHOUT ROWID
"""


class OtherFile(NamedTuple):
    """A video or RAW file."""

    root: Path  # the scanned folder that it lies in
    number: int  # of the root
    below: bytes  # path below the root
    size: int
    mtime_ns: int
    has_partner: bool  # a photo of the same name in the same folder, or a sidecar
    content: str | None  # SHA-256 of the file's bytes, if somebody has asked for it

    @property
    def path(self) -> Path:
        return self.root / os.fsdecode(self.below)


class Seen(NamedTuple):
    """A video or RAW file as a scan sees it."""

    size: int
    mtime_ns: int
    has_partner: bool


class OtherFiles:
    """The videos and RAW files that a library knows. Belongs to the thread that opened it."""

    def __init__(self, db: Database, is_writable: bool) -> None:
        self._db, self._is_writable = db, is_writable

    def all(self, roots: Mapping[int, Path]) -> list[OtherFile]:
        """Return the files below these roots, each once, sorted by the bytes of their paths.

        If a move put two roots in one place, the files are those of the later.
        """
        if not self._is_made():
            return []
        rows = self._db.query("SELECT root, path, size, mtime_ns, has_partner, content FROM others")
        order = {number: at for at, number in enumerate(roots)}
        # An older version, which does not know this table, may have replaced a root.
        known = sorted((row for row in rows if row[0] in roots), key=lambda row: order[row[0]])
        files = [
            OtherFile(roots[number], number, path, size, mtime_ns, bool(has_partner), content)
            for number, path, size, mtime_ns, has_partner, content in known
        ]
        return [file for _, file in sorted({os.fsencode(file.path): file for file in files}.items())]

    def _is_made(self) -> bool:
        return bool(self._db.query("SELECT 1 FROM sqlite_master WHERE name = 'others'"))

    def agree(self, root: int, prefix: bytes, found: Mapping[bytes, Seen], unlisted: tuple[bytes, ...]) -> None:
        """Remember what a scan found below a prefix, and forget what is gone; hashes of unchanged files stay.

        What lay in folders that could not be listed may be there still. Files whose dates SQLite cannot hold are left
        out.
        """
        found = {path: seen for path, seen in found.items() if seen.mtime_ns in DATES}
        before: dict[bytes, Seen] = {}
        if self._is_made():
            rows = self._db.query("SELECT path, size, mtime_ns, has_partner FROM others WHERE root = ?", root)
            before = {path: Seen(size, at, bool(has)) for path, size, at, has in rows if path.startswith(prefix)}
        gone = [path for path in before if path not in found and not path.startswith(unlisted)]
        changed = [(path, seen) for path, seen in found.items() if before.get(path) != seen]
        if not gone and not changed:
            return
        with self._db.transaction():
            self._db.run(_TABLE)
            self._db.run_many("DELETE FROM others WHERE root = ? AND path = ?", ((root, path) for path in gone))
            self._db.run_many(
                "INSERT INTO others (root, path, size, mtime_ns, has_partner) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (root, path) DO UPDATE SET has_partner = excluded.has_partner, "
                "content = CASE WHEN (size, mtime_ns) = (excluded.size, excluded.mtime_ns) THEN content END, "
                "size = excluded.size, mtime_ns = excluded.mtime_ns",
                [(root, path, *seen) for path, seen in changed],
            )

    def give_over(self, narrower: int, root: int, prefix: bytes) -> None:
        """Let a wider root have what a narrower one had; the caller's transaction."""
        if self._is_made():
            self._db.run(
                "UPDATE OR REPLACE others SET root = ?, path = CAST(? || path AS BLOB) WHERE root = ?",
                *(root, prefix, narrower),
            )

    def contents(self, files: Sequence[OtherFile]) -> list[str | None]:
        """Return the SHA-256 of each file's bytes; read when first asked for, then remembered.

        A file that cannot be read or has changed since the scan has none.
        """
        new = [file for file in files if file.content is None]
        hashed = zip(new, progress.over(in_threads(_hash, new), "reading", len(new)), strict=True)
        known: dict[tuple[int, bytes], str | None] = {}
        while batch := list(islice(hashed, _AT_ONCE)):
            known |= {(file.number, file.below): content for file, content in batch}
            if self._is_writable:
                with self._db.transaction():
                    self._db.run_many(
                        "UPDATE others SET content = ? WHERE (root, path, size, mtime_ns) = (?, ?, ?, ?)",
                        [(content, file.number, file.below, file.size, file.mtime_ns) for file, content in batch],
                    )
        return [file.content or known[file.number, file.below] for file in files]


def _hash(file: OtherFile) -> str | None:
    """Return the SHA-256 of a file's bytes; None if it is not the file that was scanned."""
    try:
        with file.path.open("rb") as opened:
            content = hash_of(opened)
            status = os.fstat(opened.fileno())
    except OSError:
        return None
    return content if (status.st_size, status.st_mtime_ns) == (file.size, file.mtime_ns) else None
