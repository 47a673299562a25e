"""Keep the captions of a library's photos: a person's, which no captioner overwrites, or a captioner's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple

from samespace.base.errors import SameSpaceError
from samespace.library.library import Library
from samespace.library.sqlite import Database, Tables
from samespace.words.tokens import split_words

FILE = "captions.sqlite"  # in the library's folder: a person's captions outlive the library's own file
LONGEST = 1000  # characters
HAND = "hand"  # the writer of what a person wrote

# The index keeps no text of its own: to change a row, it needs the old caption.
_CREATE = """
CREATE TABLE captions (
    number INTEGER PRIMARY KEY,
    content TEXT NOT NULL UNIQUE, -- SHA-256 of the photo's bytes
    caption TEXT NOT NULL, -- empty: a person wants none
    writer TEXT NOT NULL -- 'hand', or which captioner
);
CREATE VIRTUAL TABLE words USING fts5(
    caption, content='captions', content_rowid='number', tokenize='porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER added AFTER INSERT ON captions BEGIN
    INSERT INTO words (rowid, caption) VALUES (new.number, new.caption); END;
CREATE TRIGGER changed AFTER UPDATE ON captions BEGIN
    INSERT INTO words (words, rowid, caption) VALUES ('delete', old.number, old.caption);
    INSERT INTO words (rowid, caption) VALUES (new.number, new.caption); END;
"""
_TABLES = Tables(_CREATE, version=1, what="file of captions", remedy="write them again")


class Caption(NamedTuple):
    """One photo's caption."""

    text: str  # empty if a person wants none
    by_hand: bool


def captions_of(library: Library) -> dict[str, Caption]:
    """Return the caption of every content that has one."""
    with LibraryCaptions(library) as captions:
        return captions.all()


class LibraryCaptions:
    """A library's captions, by content: copies of a photo share theirs. Belongs to the thread that opened it.

    Those of photos that have gone are kept, for photos come back.
    """

    def __init__(self, library: Library) -> None:
        self._library, self._file = library, library.folder / FILE
        # Reading makes no file.
        self._db = Database(self._file, _TABLES, library.is_writable) if self._file.is_file() else None

    def __enter__(self) -> LibraryCaptions:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._db:
            self._db.close()

    def all(self) -> dict[str, Caption]:
        """Return the caption of every content that has one."""
        rows = self._db.query("SELECT content, caption, writer FROM captions") if self._db else []
        return {content: Caption(caption, writer == HAND) for content, caption, writer in rows}

    def by_hand(self) -> set[str]:
        """Return the contents that a person has captioned."""
        rows = self._db.query("SELECT content FROM captions WHERE writer = ?", HAND) if self._db else []
        return {content for (content,) in rows}

    def lacking(self, contents: Iterable[str], writer: str) -> list[str]:
        """Return the contents that neither this captioner nor a person has captioned."""
        rows = self._db.query("SELECT content FROM captions WHERE writer IN (?, ?)", writer, HAND) if self._db else []
        done = {content for (content,) in rows}
        return [content for content in dict.fromkeys(contents) if content not in done]

    def write(self, captions: Mapping[str, str], writer: str) -> int:
        """Write a captioner's captions, all or none, but not over a person's; return how many were written."""
        assert writer != HAND, "a captioner is not a person"
        with self._changing() as db:
            by_hand = self.by_hand()
            db.run_many(
                "INSERT INTO captions (content, caption, writer) VALUES (?, ?, ?) ON CONFLICT (content) DO UPDATE "
                "SET caption = excluded.caption, writer = excluded.writer",
                [(content, caption, writer) for content, caption in captions.items() if content not in by_hand],
            )
            return len(captions.keys() - by_hand)

    def edit(self, content: str, text: str) -> Caption:
        """Write a person's caption, on one line; no captioner changes it again, even if it is empty."""
        text = " ".join(text.split())
        if len(text) > LONGEST:
            raise SameSpaceError(f"a caption of {len(text):,} characters is too long: {LONGEST:,} at most")
        with self._changing() as db:
            db.run(
                "INSERT INTO captions (content, caption, writer) VALUES (?, ?, ?) ON CONFLICT (content) DO UPDATE "
                "SET caption = excluded.caption, writer = excluded.writer",
                *(content, text, HAND),
            )
        return Caption(text, by_hand=True)

    def matching(self, sentence: str) -> dict[str, float]:
        """Return the contents whose caption has words of this sentence, with the share they have, 1 for all words.

        Rare words count more. Words that no caption has are ignored. Endings do not matter: "beds" finds "bed".
        """
        if not self._db:
            return {}
        matches: dict[str, float] = {}
        total = 0.0
        with self._db.unchanging():  # others may write captions meanwhile
            (captions,) = self._db.query("SELECT count(*) FROM captions WHERE caption != ''")[0]
            for word in dict.fromkeys(split_words(sentence)):
                rows = self._db.query(
                    "SELECT content FROM words JOIN captions ON number = words.rowid WHERE words MATCH ?", f'"{word}"'
                )
                if len(rows) > captions:
                    raise self._db.damaged("its index has words of no caption")
                if rows:
                    rarity = math.log((captions + 1) / len(rows))
                    total += rarity
                    for (content,) in rows:
                        matches[content] = matches.get(content, 0.0) + rarity
        return {content: weight / total for content, weight in matches.items()}

    @contextmanager
    def _changing(self) -> Iterator[Database]:
        if not self._db and not self._library.is_writable:
            raise SameSpaceError("captions cannot be kept in a library that cannot be written: copy it elsewhere")
        self._db = self._db or Database(self._file, _TABLES, writable=True)
        with self._db.transaction():
            yield self._db
