"""What was found out of two photos is remembered by what they hold, and never taken for anything else."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from samespace.base.arrays import Floats
from samespace.duplicates.find import find_duplicates
from samespace.duplicates.group import DedupeOptions, Duplicates
from samespace.library.library import FOLDER, Library
from samespace.library.scan import scan
from samespace.model.pairs import TEST, find_photos
from samespace.search import copies, pair_scores
from samespace.search.copies import REMEMBRANCE
from samespace.search.pair_scores import Scored, recalled_scores, remember_scores, searched
from samespace.search.same_shot import Sketch, Sketches


@pytest.fixture
def folder(tmp_path: Path, rooms: Path) -> Path:
    """Three photos of rooms, and a smaller copy of each."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, path in zip("abc", find_photos(rooms, TEST).paths, strict=False):
        shutil.copy(path, folder / f"{name}.jpg")
        with Image.open(path) as photo:
            photo.resize((photo.width // 2, photo.height // 2)).save(folder / f"{name} small.png")
    return folder


@pytest.fixture
def library(folder: Path) -> Library:
    library = Library(folder / FOLDER, create=True)
    scan(library, [folder], [Sketches()])
    return library


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs were looked at, call by call."""
    calls: list[int] = []
    look = copies.aligned

    def aligned(sketches0: Sketch, sketches1: Sketch) -> tuple[Floats, Floats]:
        calls.append(len(sketches0))
        return look(sketches0, sketches1)

    monkeypatch.setattr(copies, "aligned", aligned)
    return calls


def groups(library: Library, folder: Path) -> Duplicates:
    return find_duplicates([library], [folder], DedupeOptions())


def file_of(library: Library) -> Path:
    (file,) = (library.folder / "features" / Sketches.fingerprint).glob("*.npy")
    return file


def test_photos_that_were_compared_are_not_compared_again(library: Library, folder: Path, scored: list[int]) -> None:
    found = groups(library, folder)
    assert len(found.groups) == 3
    assert sum(scored) >= 3
    scored.clear()
    assert groups(library, folder) == found
    assert sum(scored) == 0


def test_a_new_photo_is_compared_and_no_other(library: Library, folder: Path, scored: list[int]) -> None:
    groups(library, folder)
    scored.clear()
    with Image.open(folder / "a.jpg") as photo:
        photo.save(folder / "a again.jpg", quality=50)
    scan(library, [folder], [Sketches()])
    assert max(len(group.members) for group in groups(library, folder).groups) == 3
    assert 2 <= sum(scored) <= 6  # with each of the others at most


def test_photos_are_known_by_their_bytes_wherever_they_lie(library: Library, folder: Path, scored: list[int]) -> None:
    groups(library, folder)
    (folder / "deeper").mkdir()
    (folder / "b.jpg").rename(folder / "deeper" / "z.jpg")
    scan(library, [folder], [Sketches()])
    scored.clear()
    found = groups(library, folder)
    assert sum(scored) == 0
    assert sorted(len(group.members) for group in found.groups) == [2, 2, 2]


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_damaged_memory_is_as_good_as_none(library: Library, folder: Path, content: bytes | None) -> None:
    found = groups(library, folder)
    file = file_of(library)
    file.write_bytes(file.read_bytes()[:-7] if content is None else content)
    assert groups(library, folder) == found
    assert len(recalled_scores([library], contents_of(library), REMEMBRANCE).scores) >= 3


@pytest.mark.parametrize("at", [130, -60, -10])
def test_one_wrong_byte_among_remembered_scores_is_noticed(
    library: Library, folder: Path, scored: list[int], at: int
) -> None:
    found = groups(library, folder)
    file = file_of(library)
    content = bytearray(file.read_bytes())
    content[at] ^= 64
    file.write_bytes(content)
    scored.clear()
    assert groups(library, folder) == found
    assert sum(scored) >= 3
    scored.clear()
    assert groups(library, folder) == found
    assert sum(scored) == 0


def test_scores_that_0_1_wrote_without_a_seal_are_known(library: Library, folder: Path, scored: list[int]) -> None:
    found = groups(library, folder)
    np.save(file_of(library), np.load(file_of(library)))
    scored.clear()
    assert groups(library, folder) == found
    assert sum(scored) == 0


def contents_of(library: Library) -> list[str]:
    return [photo.content for photo in library.photos()]


def test_pairs_of_photos_that_have_gone_are_forgotten(library: Library, folder: Path) -> None:
    groups(library, folder)
    contents = contents_of(library)
    (folder / "c.jpg").unlink()
    scan(library, [folder], [Sketches()])
    remember_scores(library, contents, Scored(*(np.array([each]) for each in (0, 1)), np.array([0.5])), REMEMBRANCE)
    left = set(contents_of(library))
    known = recalled_scores([library], contents, REMEMBRANCE)
    assert len(known.scores)
    assert {contents[row] for rows in known[:2] for row in rows} <= left


def test_nothing_is_written_while_somebody_else_holds_the_library(library: Library, folder: Path) -> None:
    with Library(library.folder).hold():
        assert len(groups(library, folder).groups) == 3
    assert not list(library.folder.glob("features/*/*.npy"))


def test_a_full_disk_is_no_reason_to_fail(library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pair_scores, "write_whole", full)
    assert len(groups(library, folder).groups) == 3


def test_each_library_remembers_pairs_of_its_own_photos(
    library: Library, folder: Path, tmp_path: Path, scored: list[int]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with Image.open(folder / "a.jpg") as photo:
        photo.save(other / "a dull.jpg", quality=30)
        photo.save(other / "a duller.jpg", quality=20)
    second = Library(other / FOLDER, create=True)
    scan(second, [other], [Sketches()])
    together = find_duplicates([library, second], [folder, other], DedupeOptions())
    for one in (library, second):
        contents = contents_of(one)
        known = recalled_scores([one], [*contents_of(library), *contents_of(second)], REMEMBRANCE)
        names = [*contents_of(library), *contents_of(second)]
        assert {names[row] for rows in known[:2] for row in rows} <= set(contents)
        assert len(known.scores)
    scored.clear()
    groups(library, folder)
    assert sum(scored) == 0
    assert find_duplicates([library, second], [folder, other], DedupeOptions()) == together


def test_photos_count_as_searched_once_all_were_searched_together(library: Library, folder: Path) -> None:
    contents = contents_of(library)
    assert not searched([library], contents, REMEMBRANCE).any()
    groups(library, folder)
    assert searched([library], contents, REMEMBRANCE).all()
    find_duplicates([library], [folder / "nothing"], DedupeOptions())  # fewer photos change nothing
    assert searched([library], contents, REMEMBRANCE).all()
    with Image.open(folder / "a.jpg") as photo:
        photo.save(folder / "new.jpg", quality=50)
    scan(library, [folder], [Sketches()])
    new = [content for content in contents_of(library) if content not in contents]
    assert searched([library], [*contents, *new], REMEMBRANCE).tolist() == [True] * len(contents) + [False]
    assert not searched([library, library], contents, REMEMBRANCE).any()  # of two, neither knows pairs with the other


def test_photos_that_have_gone_are_searched_again_when_they_come_back(library: Library, folder: Path) -> None:
    groups(library, folder)
    contents, away = contents_of(library), (folder / "c.jpg").read_bytes()
    (folder / "c.jpg").unlink()
    scan(library, [folder], [Sketches()])
    with Image.open(folder / "a.jpg") as photo:
        photo.save(folder / "new.jpg", quality=50)
    scan(library, [folder], [Sketches()])
    groups(library, folder)  # forgets the pairs of what has gone
    (folder / "c.jpg").write_bytes(away)
    scan(library, [folder], [Sketches()])
    assert searched([library], contents, REMEMBRANCE).sum() == len(contents) - 1
    assert len(groups(library, folder).groups) == 3


pairs = st.dictionaries(
    st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(lambda pair: pair[0] < pair[1]), st.floats(0, 1, width=32)
)


@pytest.fixture(scope="module")
def greys(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Six photos of one grey each."""
    folder = tmp_path_factory.mktemp("greys")
    for number in range(6):
        Image.new("L", (8, 8), 40 * number).save(folder / f"{number}.png")
    library = Library(folder / FOLDER, create=True)
    scan(library, [folder], [Sketches()])
    return library


@given(st.lists(pairs, max_size=4), st.permutations(range(6)))
def test_what_was_remembered_is_recalled_in_any_order(
    greys: Library, told: list[dict[tuple[int, int], float]], order: list[int]
) -> None:
    for file in greys.folder.glob("features/*/*.npy"):
        file.unlink()
    contents = contents_of(greys)
    expected: dict[frozenset[str], float] = {}
    for some in told:
        first, second = np.array(list(some), np.intp).reshape(-1, 2).T
        remember_scores(greys, contents, Scored(second, first, np.array(list(some.values()))))
        expected |= {frozenset(contents[row] for row in pair): score for pair, score in some.items()}
    names = [contents[row] for row in order[:4]]
    known = recalled_scores([greys], names)
    recalled = {
        frozenset((names[one], names[other])): score
        for one, other, score in zip(*(each.tolist() for each in known), strict=True)
    }
    assert recalled == {pair: score for pair, score in expected.items() if pair <= set(names)}
    assert len(known.scores) == len(recalled)
