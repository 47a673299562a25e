"""What a library's photos are captioned: what a person wrote stands, whatever writes else, whenever it is killed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samespace.base.errors import SameSpaceError
from samespace.library import sqlite
from samespace.library.library import FOLDER, Library
from samespace.library.scan import scan
from samespace.words import stored_captions
from samespace.words.stored_captions import FILE, LONGEST, Caption, LibraryCaptions
from samespace.words.tokens import split_words


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / FOLDER, create=True)


def texts(library: Library) -> dict[str, str]:
    with LibraryCaptions(library) as captions:
        return {content: caption.text for content, caption in captions.all().items()}


def matching(library: Library, sentence: str) -> dict[str, float]:
    with LibraryCaptions(library) as captions:
        return captions.matching(sentence)


def test_a_captioner_writes_again_but_never_over_a_person(library: Library) -> None:
    with LibraryCaptions(library) as captions:
        assert captions.write({"a": "a bed", "b": "a sofa"}, "one") == 2
        assert captions.edit("a", "  my\n bed ") == Caption("my bed", by_hand=True)
        assert captions.write({"a": "a desk", "b": "a lamp", "c": "a door"}, "two") == 2
        assert captions.all() == {
            "a": Caption("my bed", by_hand=True),
            "b": Caption("a lamp", by_hand=False),
            "c": Caption("a door", by_hand=False),
        }
        captions.edit("a", "our bed")
    assert texts(library) == {"a": "our bed", "b": "a lamp", "c": "a door"}


def test_a_caption_that_a_person_took_away_stays_away(library: Library) -> None:
    with LibraryCaptions(library) as captions:
        captions.write({"a": "a bed"}, "one")
        captions.edit("a", "")
        captions.write({"a": "a bed"}, "two")
        assert captions.all() == {"a": Caption("", by_hand=True)}
        assert captions.lacking(["a"], "two") == []
        assert captions.matching("bed") == {}


def test_what_lacks_a_caption_of_this_captioner(library: Library) -> None:
    with LibraryCaptions(library) as captions:
        captions.write({"a": "a bed", "b": "a bed"}, "one")
        captions.edit("c", "mine")
        assert captions.lacking(["d", "c", "b", "a", "d"], "one") == ["d"]
        assert captions.lacking(["d", "c", "b", "a"], "two") == ["d", "b", "a"]


@pytest.mark.parametrize("sentence", ["Beds", "a BED.", "the bed’s", 'bed" OR "sofa', "bed AND NOT", "caption:bed"])
def test_words_find_captions_however_they_are_written(library: Library, sentence: str) -> None:
    with LibraryCaptions(library) as captions:
        captions.write({"a": "two beds", "b": "a chair and a desk"}, "one")
        assert "a" in captions.matching(sentence)
        assert "b" not in captions.matching("bed")


def test_rare_words_count_more_and_unknown_ones_not(library: Library) -> None:
    with LibraryCaptions(library) as captions:
        captions.write({str(number): "a white kitchen" for number in range(9)}, "one")
        captions.edit("3", "a white kitchen with an island")
        found = captions.matching("kitchen with an island xylophone")
    assert found["3"] == 1
    assert 0 < found["0"] < 0.2
    assert matching(library, "xylophone") == matching(library, "?!") == {}


def test_words_that_were_edited_away_find_nothing(library: Library) -> None:
    with LibraryCaptions(library) as captions:
        captions.write({"a": "a red bed"}, "one")
        captions.edit("a", "a green sofa")
    assert matching(library, "red") == matching(library, "bed") == {}
    assert matching(library, "green sofas") == {"a": 1}


WORDS = st.sampled_from(["bed", "sofa", "lamp", "red", "white", ""])
STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.lists(WORDS, max_size=3), st.booleans()), max_size=12)


@given(STEPS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_index_agrees_with_the_captions(tmp_path: Path, steps: list[tuple[str, list[str], bool]]) -> None:
    (tmp_path / FOLDER / FILE).unlink(missing_ok=True)
    library = Library(tmp_path / FOLDER, create=True)
    expected: dict[str, tuple[str, bool]] = {}
    with LibraryCaptions(library) as captions:
        for content, words, by_hand in steps:
            text = " ".join(filter(None, words))
            if by_hand:
                captions.edit(content, text)
            else:
                captions.write({content: text}, "one")
            if by_hand or not expected.get(content, ("", False))[1]:
                expected[content] = text, by_hand
        assert {content: tuple(caption) for content, caption in captions.all().items()} == expected
        for word in ("bed", "sofa", "lamp", "red", "white"):
            assert captions.matching(word).keys() == {c for c, (text, _) in expected.items() if word in text.split()}


def test_a_long_caption_is_refused_and_the_old_one_stays(library: Library) -> None:
    with LibraryCaptions(library) as captions:
        captions.edit("a", "b" * LONGEST)
        with pytest.raises(SameSpaceError, match="a caption of 1,001 characters is too long: 1,000 at most"):
            captions.edit("a", "c" * (LONGEST + 1))
    assert texts(library) == {"a": "b" * LONGEST}


def test_captions_outlive_a_scan_that_finds_their_photos_gone(root: Path) -> None:
    library = Library(root / FOLDER, create=True)
    scan(library, [root])
    photo = library.photos()[0]
    with LibraryCaptions(library) as captions:
        captions.edit(photo.content, "my bed")
    photo.path.rename(root.parent / "elsewhere.jpg")
    scan(library, [root])
    assert texts(library) == {photo.content: "my bed"}


def test_words_of_no_caption_are_damage(library: Library) -> None:
    with LibraryCaptions(library) as captions:
        captions.edit("a", "my bed")
    with sqlite3.connect(library.folder / FILE) as db:
        db.execute("DROP TRIGGER changed")
        db.execute("UPDATE captions SET caption = ''")
    with pytest.raises(SameSpaceError, match=r"captions\.sqlite is damaged \(its index has words of no caption\)"):
        matching(library, "bed")


def test_a_library_that_cannot_be_written_can_be_read(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    closed = Library(library.folder)
    with LibraryCaptions(closed) as captions:
        assert (captions.all(), captions.matching("bed"), captions.lacking(["a"], "one")) == ({}, {}, ["a"])
        with pytest.raises(SameSpaceError, match="captions cannot be kept in a library that cannot be written"):
            captions.edit("a", "b")
    assert not (library.folder / FILE).exists()
    monkeypatch.undo()
    with LibraryCaptions(library) as captions:
        captions.edit("a", "my bed")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    assert texts(Library(library.folder)) == {"a": "my bed"}


def test_reading_makes_no_file(library: Library) -> None:
    with LibraryCaptions(library) as captions:
        assert (captions.all(), captions.by_hand(), captions.matching("bed")) == ({}, set(), {})
        assert not (library.folder / FILE).exists()
        captions.write({"a": "a bed"}, "one")
        assert captions.matching("beds") == {"a": 1}
    assert texts(library) == {"a": "a bed"}


def test_a_damaged_file_is_one_sentence(library: Library) -> None:
    (library.folder / FILE).write_bytes(b"this is no database, though it is long enough to be taken for one" * 99)
    with pytest.raises(SameSpaceError, match=r"captions\.sqlite is damaged \(.*\): move it away, and write them again"):
        LibraryCaptions(library)
    (library.folder / FILE).unlink()
    with sqlite3.connect(library.folder / FILE) as db:
        db.execute("CREATE TABLE books (title)")
    with pytest.raises(SameSpaceError, match=r"captions\.sqlite is not a file of captions: move it away"):
        LibraryCaptions(library)


def test_captions_that_are_written_during_a_search_are_no_damage(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "PATIENCE", 0)
    with LibraryCaptions(library) as captions, LibraryCaptions(library) as others:
        captions.write({"a": "a bed"}, "one")

        def split(sentence: str) -> list[str]:
            with suppress(SameSpaceError):
                others.write({"b": "a bed", "c": "a bed"}, "two")
            return split_words(sentence)

        monkeypatch.setattr(stored_captions, "split_words", split)
        assert captions.matching("bed") == {"a": 1}


KILLED = """
import os, sqlite3, sys
from functools import partial
from pathlib import Path
from samespace.library.library import Library
from samespace.words.stored_captions import LibraryCaptions

class Dies(sqlite3.Connection):
    def execute(self, statement, *values):
        return os._exit(9) if statement == "COMMIT" else super().execute(statement, *values)

sqlite3.connect = partial(sqlite3.connect, factory=Dies)
captions = LibraryCaptions(Library(Path(sys.argv[1])))
captions.write({str(number): "a bed" for number in range(500)}, "one")
"""


def test_a_captioner_that_is_killed_has_written_all_or_nothing(library: Library) -> None:
    with LibraryCaptions(library) as captions:
        captions.edit("7", "mine")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", KILLED, str(library.folder)], env=environment).returncode == 9
    assert texts(library) == {"7": "mine"}
    assert matching(library, "bed") == {}
