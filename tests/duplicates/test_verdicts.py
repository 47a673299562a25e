"""Verdicts reach training as what they are: labels of pairs, of those pairs alone, in whatever folder they are put."""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import model_def
from data import training_rows
from samespace.base.errors import SameSpaceError
from samespace.base.files import content_hash
from samespace.cli import show
from samespace.duplicates.verdicts import Exported, export_verdicts, list_verdicts
from samespace.library.library import FOLDER, Library
from samespace.library.scan import scan
from samespace.model.pairs import AIRBNB, TRAINING, VERDICTS, Pairs, Photos, find_photos, hold_out, make_pairs
from tests.conftest import draw

Labels = dict[frozenset[str], int]


@pytest.fixture
def album(tmp_path: Path) -> Library:
    """Eight photos, a to h, in a library that nobody has said anything about."""
    for seed, name in enumerate("abcdefgh"):
        draw(tmp_path / "album" / f"{name}.jpg", 100 + seed)
    library = Library(tmp_path / "album" / FOLDER, create=True)
    scan(library, [tmp_path / "album"])
    return library


def photo(library: Library, name: str) -> Path:
    return library.folder.parent / f"{name}.jpg"


def say(library: Library, words: str) -> None:
    """ "ab cd!" says that a and b are the same, c and d different."""
    contents = {known.path.stem: known.content for known in library.photos()}
    for word in words.split():
        library.add_verdict(contents[word[0]], contents[word[1]], same=not word.endswith("!"))


def folder(root: Path) -> Path:
    return root / AIRBNB / TRAINING / VERDICTS


def by_letter(library: Library) -> dict[str, str]:
    """The name of an album's photo, by that of its copy."""
    return {content_hash(photo(library, name))[:32]: name for name in "abcdefgh" if photo(library, name).exists()}


def labels(photos: Photos, pairs: Pairs, library: Library) -> Labels:
    """The labelled pairs that judged photos are in, by letters (others by their whole name)."""
    letters = by_letter(library)
    names = [letters.get(path.stem, path.stem) for path in photos.paths]
    judged = {row for row, path in enumerate(photos.paths) if path.parent.name == VERDICTS}
    rows = zip(pairs.first.tolist(), pairs.second.tolist(), pairs.label.tolist(), strict=True)
    return {frozenset((names[a], names[b])): label for a, b, label in rows if {a, b} & judged}


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def pair(names: str) -> frozenset[str]:
    return frozenset(names)


# ---- what is told


def test_told_names_photos_that_are_there_in_a_stable_order(album: Library) -> None:
    say(album, "hb! ba gc de fe df!")
    a, b, c, d, e, f, g, h = (photo(album, name) for name in "abcdefgh")
    among = [(d, e, True), (d, f, False), (e, f, True)]
    assert list_verdicts(album) == [(a, b, True), (b, h, False), (c, g, True), *among]
    shutil.copy(g, photo(album, "bcopy"))  # sorts before g: the same content goes by its first path
    h.unlink()
    scan(album, [album.folder.parent])
    assert list_verdicts(album) == [(a, b, True), (photo(album, "bcopy"), c, True), *among]


def test_a_terminal_shows_one_verdict_a_line(album: Library, capsys: pytest.CaptureFixture[str]) -> None:
    show.show_verdicts(list_verdicts(album))
    assert "add one with `samespace verdict" in capsys.readouterr().out
    say(album, "ab cd!")
    show.show_verdicts(list_verdicts(album))
    a, b, c, d = (photo(album, name) for name in "abcd")
    assert capsys.readouterr().out == f"same       {a} {b}\ndifferent  {c} {d}\n"


# ---- what is exported


def test_pairs_of_judged_photos_are_those_of_the_verdicts(album: Library, root: Path) -> None:
    """c and d show one space perhaps, e and f are near both: nobody said, so nothing is labelled."""
    before = make_pairs(find_photos(root))
    say(album, "ab cd! ae fg!")
    export_verdicts(album, root)
    photos = find_photos(root)
    assert len(photos) == 7 + 7
    pairs = make_pairs(photos)
    assert labels(photos, pairs, album) == {pair("ab"): 1, pair("cd"): 0, pair("ae"): 1, pair("fg"): 0}
    named = photos.named()
    ordinary = np.isin(pairs.first, named)
    for column, same in zip(pairs[2:], before[2:], strict=True):  # the others are as they were
        assert np.array_equal(column[ordinary], same)
    assert np.array_equal(np.searchsorted(named, pairs.first[ordinary]), before.first)


def test_each_verdict_comes_in_both_orders_and_all_variants(album: Library, tmp_path: Path) -> None:
    say(album, "ab cd! ef! gh!")
    export_verdicts(album, tmp_path / "root")
    pairs = make_pairs(find_photos(tmp_path / "root"))
    seen = Counter(zip(*(column.tolist() for column in pairs[:4]), strict=True))
    assert len(pairs.label) == len(seen) == 4 * 2 * 16
    assert pairs.label.sum() == 2 * 16
    assert set(seen) == {(second, first, other, one) for first, second, one, other in seen}


def test_the_file_is_small_and_readable(album: Library, tmp_path: Path) -> None:
    say(album, "ab cd!")
    export_verdicts(album, tmp_path / "root")
    names = {name: f"{copy}.jpg" for copy, name in by_letter(album).items()}
    rows = list(csv.reader((folder(tmp_path / "root") / "verdicts.csv").read_text().splitlines()))
    lines = [[*sorted(names[letter] for letter in pair), same] for pair, same in (("ab", "1"), ("cd", "0"))]
    assert rows == [["first", "second", "same"], *sorted(lines)]


def test_photos_are_copied_to_the_byte_and_stand_upright(album: Library, tmp_path: Path) -> None:
    upright = Image.open(photo(album, "a"))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(photo(album, "a"), exif=exif)
    photo(album, "b").rename(photo(album, "b").with_suffix(".JFIF"))  # no extension that training looks for
    scan(album, [album.folder.parent], extensions=["jpg", "jfif"])
    contents = {known.path.stem: known for known in album.photos()}
    album.add_verdict(contents["a"].content, contents["b"].content, same=True)
    export_verdicts(album, tmp_path / "root")
    copies = {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder(tmp_path / "root").glob("*.jpg")}
    assert copies == {contents["a"].content, contents["b"].content}
    assert len(find_photos(tmp_path / "root")) == 2
    assert not any(
        copy.samefile(known.path) for copy in folder(tmp_path / "root").iterdir() for known in contents.values()
    )


def test_an_export_leaves_all_else_alone(album: Library, root: Path) -> None:
    draw(folder(root) / "rome_5_1.jpg", 55)  # a space type that happens to have this name
    before = files(root)
    say(album, "ab cd!")
    exported = export_verdicts(album, root)
    assert exported == Exported(1, 1, 0, 4, 4, 0, 0, alone=False)
    after = files(root)
    assert {path: after[path] for path in before} == before
    assert len(after) == len(before) + 4 + 1
    assert ("rome", "5") in find_photos(root).listings()


def test_a_second_export_adds_and_a_third_changes_nothing(album: Library, tmp_path: Path) -> None:
    root = tmp_path / "root"
    say(album, "ab cd!")
    assert export_verdicts(album, root) == Exported(1, 1, 0, 4, 4, 0, 0, alone=True)
    first = files(root)
    say(album, "ab! ac")
    say(album, "ea")
    assert export_verdicts(album, root) == Exported(2, 2, 0, 5, 1, 0, 0, alone=True)
    second = files(root)
    assert {path: second[path] for path in first if path.suffix == ".jpg"}.items() <= first.items()
    photos = find_photos(root)
    assert labels(photos, make_pairs(photos), album) == {pair("ab"): 0, pair("cd"): 0, pair("ac"): 1, pair("ea"): 1}
    export_verdicts(album, root)
    assert files(root) == second


def test_two_libraries_export_into_one_data_set(album: Library, tmp_path: Path) -> None:
    draw(tmp_path / "other" / "x.png", 1)
    draw(tmp_path / "other" / "z.bmp", 2)
    shutil.copy(photo(album, "a"), tmp_path / "other" / "y.jpeg")
    other = Library(tmp_path / "other" / FOLDER, create=True)
    scan(other, [tmp_path / "other"])
    x, y, z = (known.content for known in other.photos())
    other.add_verdict(x, y, same=False)
    other.add_verdict(x, z, same=False)
    say(album, "ab")
    for library in (album, other, album):
        exported = export_verdicts(library, tmp_path / "root")
    assert exported == Exported(1, 2, 0, 4, 0, 0, 0, alone=True)
    next(folder(tmp_path / "root").glob("*.png")).unlink()  # of the other library: this one cannot copy it again
    assert export_verdicts(album, tmp_path / "root") == Exported(1, 0, 0, 2, 0, vanished=1, left_out=2, alone=True)


def test_contradictions_are_exported_as_judged_and_counted(album: Library, tmp_path: Path) -> None:
    say(album, "ab bc cd ad! ac! ef!")
    exported = export_verdicts(album, tmp_path / "root")
    assert (exported.same, exported.different, exported.contradictions) == (3, 3, 2)
    photos = find_photos(tmp_path / "root")
    same, different = dict.fromkeys(map(pair, ("ab", "bc", "cd")), 1), dict.fromkeys(map(pair, ("ad", "ac", "ef")), 0)
    assert labels(photos, make_pairs(photos), album) == same | different


@pytest.mark.parametrize("how", ["forgotten", "unscanned", "edited"])
def test_vanished_photos_are_left_out_and_counted(album: Library, tmp_path: Path, how: str) -> None:
    say(album, "ab cd! be! ce")
    if how == "edited":
        draw(photo(album, "b"), 77)
    else:
        photo(album, "b").unlink()
    if how == "forgotten":
        scan(album, [album.folder.parent])
    exported = export_verdicts(album, tmp_path / "root")
    assert exported == Exported(1, 1, 0, 3, 3, vanished=1, left_out=2, alone=True)
    assert len(list(folder(tmp_path / "root").iterdir())) == 3 + 1
    photos = find_photos(tmp_path / "root")
    assert labels(photos, make_pairs(photos), album) == {pair("cd"): 0, pair("ce"): 1}


def test_what_an_earlier_export_copied_has_not_vanished(album: Library, tmp_path: Path) -> None:
    """Photos told the same are what a cleanup removes: their labels stay."""
    say(album, "ab cd!")
    export_verdicts(album, tmp_path / "root")
    say(album, "bc!")
    photo(album, "b").rename(tmp_path / "b.jpg")
    scan(album, [album.folder.parent])
    assert export_verdicts(album, tmp_path / "root") == Exported(1, 2, 0, 4, 0, 0, 0, alone=True)


def test_a_copy_that_was_removed_is_made_again_or_left_out(album: Library, tmp_path: Path) -> None:
    say(album, "ab cd!")
    export_verdicts(album, tmp_path / "root")
    for name in "ac":
        next(folder(tmp_path / "root").glob(f"{content_hash(photo(album, name))[:32]}*")).unlink()
    photo(album, "c").unlink()
    assert export_verdicts(album, tmp_path / "root") == Exported(1, 0, 0, 2, 1, vanished=1, left_out=1, alone=True)


def test_what_an_export_says(album: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    say(album, "ab bc ac! de! fg")
    photo(album, "g").unlink()
    root = tmp_path / "root"
    show.show_exported(export_verdicts(album, root), root)
    assert capsys.readouterr().out.splitlines() == [
        f"4 verdicts in {root}: 2 same, 2 different",
        "5 photos, 5 of them new",
        "left out: 1 verdict, because of 1 missing photo",
        "contradictions: 1 different, though chains of same join the photos",
        "no other training photos there: training needs enough verdicts of both kinds, or a data set beside them",
        "",
        "next:",
        f"  python data.py summary {root}  # show what there is to train on",
    ]


# ---- what is refused


def test_without_a_verdict_nothing_is_written(album: Library, tmp_path: Path) -> None:
    with pytest.raises(SameSpaceError, match="has no verdicts: add one"):
        export_verdicts(album, tmp_path / "root")
    say(album, "ab")
    photo(album, "a").unlink()
    with pytest.raises(SameSpaceError, match="no longer has both photos of any verdict"):
        export_verdicts(album, tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_an_export_among_the_scanned_photos_is_refused(album: Library, tmp_path: Path) -> None:
    say(album, "ab")
    (tmp_path / "link").symlink_to(album.folder.parent)
    for root in (album.folder.parent, tmp_path / "link" / "data"):
        with pytest.raises(SameSpaceError, match="album, which the library scans: export to a folder outside it"):
            export_verdicts(album, root)


def test_a_copy_that_is_another_photo_is_not_overwritten(album: Library, tmp_path: Path) -> None:
    say(album, "ab")
    copy = folder(tmp_path / "root") / f"{content_hash(photo(album, 'a'))[:32]}.png"
    draw(copy, 5)
    with pytest.raises(SameSpaceError, match=r"png is not the photo that was judged: move it away"):
        export_verdicts(album, tmp_path / "root")
    assert [path.name for path in folder(tmp_path / "root").iterdir()] == [copy.name]


def test_a_root_that_cannot_be_written_is_named(album: Library, tmp_path: Path) -> None:
    say(album, "ab")
    (tmp_path / "file").touch()
    with pytest.raises(SameSpaceError, match=r"cannot write .*file.*: choose a folder that you can write to"):
        export_verdicts(album, tmp_path / "file")


# ---- what training makes of it


def test_a_split_never_shares_a_judged_photo(album: Library, root: Path) -> None:
    """Joined photos stay together, and a verdict across the split is in neither part."""
    say(album, "ab bc ac! de! fg! ha")
    export_verdicts(album, root)
    letters = by_letter(album)
    photos = find_photos(root)
    said = judged(photos, letters)
    assert said == {"ab": 1, "bc": 1, "ac": 0, "de": 0, "fg": 0, "ah": 1}
    sides, lost = set(), 0
    for seed in range(20):
        parts = hold_out(photos, 0.5, seed)
        mine, others = ({letters.get(path.stem, path.stem) for path in part.paths} for part in parts)
        assert not mine & others
        assert len(set("abch") & mine) in (0, 4)
        for part, names in zip(parts, (mine, others), strict=True):
            assert judged(part, letters) == {pair: label for pair, label in said.items() if set(pair) <= names}
        lost += len(said) - sum(len(part.verdicts) for part in parts)
        sides.add("a" in mine)
    assert sides == {True, False}
    assert lost


def judged(photos: Photos, letters: dict[str, str]) -> dict[str, int]:
    names = [letters.get(path.stem, "") for path in photos.paths]
    return {"".join(sorted(names[first] + names[second])): label for first, second, label in photos.verdicts.tolist()}


def test_training_reads_rows_of_the_verdicts(album: Library, root: Path) -> None:
    say(album, "ab cd!")
    export_verdicts(album, root)
    photos = find_photos(root)
    rows = training_rows(photos, same_space_type=True)
    judged = np.flatnonzero(~np.isin(np.arange(len(photos)), photos.named()))
    mine = np.isin(rows[:, :2] // 4, judged)
    assert (mine[:, 0] == mine[:, 1]).all()
    assert Counter(rows[mine[:, 0], 2].tolist()) == {1: 2 * 16, 0: 2 * 16}


@pytest.mark.usefixtures("unpickled")
def test_a_model_learns_from_verdicts_alone(
    tmp_path: Path, album: Library, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = ("ab", "cd", "ef", "gh")
    different = (f"{one}{other}!" for group, rest in combinations(groups, 2) for one in group for other in rest)
    say(album, " ".join([*groups, *different]))
    root = tmp_path / "root"
    export_verdicts(album, root)
    test = tmp_path / "root" / AIRBNB / "Test Data" / "kitchen"
    for seed, name in enumerate(("oslo_1_1", "oslo_1_2", "oslo_2_1")):
        draw(test / f"{name}.jpg", seed)
    for name in ("cache", "data"):
        monkeypatch.setenv(f"XDG_{name.upper()}_HOME", str(tmp_path / name))
    choices = ("data.held_out=0", "hyperparameters.backbone=mobilenet_v3_small", "hyperparameters.weights=none")
    words = [word for choice in choices for word in ("--config", choice)]
    output = tmp_path / "model"
    assert model_def.main(["--data", str(root), "--epochs", "1", "--output", str(output), *words]) == 0
    assert "epoch 1/1" in capsys.readouterr().out
    assert (output / "model.json").is_file()
