"""Duplicates are found by kind, grouped without chains, and the right photo of each is kept."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from samespace import near
from samespace.duplicates import Found, Group, Search, find_duplicates
from samespace.engine import for_model, for_trunk
from samespace.errors import SameSpaceError
from samespace.keeping import PROTECTED
from samespace.library import FOLDER, Library, Photo
from samespace.model import load
from samespace.pairs import TEST, find_photos
from samespace.photos import open_photo

NOON = 1_700_000_000


@pytest.fixture
def folder(tmp_path: Path, rooms: Path) -> Path:
    """Photos of four rooms, a.png to d.png, one shot each."""
    table = find_photos(rooms, TEST)
    _, first = np.unique(table.spaces(), return_index=True)
    for name, row in zip("abcd", first, strict=False):
        save(open_photo(table.paths[row]), tmp_path / "photos" / f"{name}.png")
    return tmp_path / "photos"


def save(photo: Image.Image, path: Path, age: int = 0, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    photo.save(path, **options)
    os.utime(path, (NOON - age, NOON - age))
    return path


def smaller(path: Path, copy: Path) -> Path:
    photo = open_photo(path)
    return save(photo.resize((photo.width // 2, photo.height // 2)), copy)


def search(folder: Path, *others: Path, **options: Any) -> Found:
    folders = [folder, *others]
    libraries = [Library(each / FOLDER, create=True) for each in folders]
    for library, each in zip(libraries, folders, strict=True):
        library.scan([each], [near.Sketches()])
    return find_duplicates(libraries, folders, Search(**options))


def names(found: Found) -> list[list[str]]:
    return [[member.photo.path.name for member in group.members] for group in found.groups]


def kept(group: Group) -> list[str]:
    return [member.photo.path.name for member in group.members if member.keep]


def test_a_folder_without_duplicates_has_none(folder: Path) -> None:
    found = search(folder)
    assert (found.photos, found.groups, found.duplicates, found.bytes_to_win) == (4, [], 0, 0)


@pytest.mark.parametrize("kind", ["exact", "near"])
def test_an_empty_folder_has_none(kind: str, tmp_path: Path) -> None:
    assert search(tmp_path, kind=kind).groups == []


def test_exact_is_the_same_bytes_or_the_same_pixels_upright(folder: Path) -> None:
    photo = open_photo(folder / "a.png")
    shutil.copy(folder / "a.png", folder / "same bytes.png")
    save(photo, folder / "other format.bmp")
    turned = Image.Exif()
    turned[0x0112] = 6
    save(photo.transpose(Image.Transpose.ROTATE_90), folder / "turned by its EXIF.png", exif=turned)
    smaller(folder / "b.png", folder / "smaller.png")
    altered = photo.copy()
    altered.putpixel((0, 0), (255, 0, 255))
    save(altered, folder / "one pixel differs.png")
    (group,) = search(folder, kind="exact", keep="shortest-path").groups
    assert sorted(member.photo.path.name for member in group.members) == [
        "a.png",
        "other format.bmp",
        "same bytes.png",
        "turned by its EXIF.png",
    ]
    reasons = {member.photo.path.name: member.why.partition(",")[0] for member in group.members if not member.keep}
    assert [name for name, why in reasons.items() if why == "same bytes"] == ["same bytes.png"]
    assert {*reasons.values()} == {"same bytes", "same pixels"}
    assert (group.kind, group.weakest) == ("exact", 1)


def test_near_is_the_same_shot_and_exact_within_it(folder: Path) -> None:
    smaller(folder / "a.png", folder / "a small.png")
    shutil.copy(folder / "a.png", folder / "a copy.png")
    save(open_photo(folder / "b.png"), folder / "b in tiff.tif")
    found = search(folder)
    groups = {group.members[0].photo.path.name[0]: group for group in found.groups}
    assert sorted(member.photo.path.name for member in groups["a"].members) == ["a copy.png", "a small.png", "a.png"]
    assert groups["a"].kind == "near" and groups["b"].kind == "exact"
    by_name = {member.photo.path.name: member for member in groups["a"].members}
    assert by_name["a small.png"].why == "same shot, fewer pixels"
    assert by_name["a small.png"].score == pytest.approx(groups["a"].weakest) and groups["a"].weakest < 1
    assert found.duplicates == 3
    assert found.bytes_to_win == sum(
        member.photo.path.stat().st_size for group in found.groups for member in group.members if not member.keep
    )


def test_a_group_does_not_chain(folder: Path) -> None:
    """Each crop is the same shot as the one before, but the last shows half of the first."""
    photo = open_photo(folder / "a.png")
    for step in range(1, 5):
        side = 1 - 0.09 * step
        save(photo.crop((0, 0, round(photo.width * side), round(photo.height * side))), folder / f"crop {step}.png")
    by_keeper, chained = search(folder), search(folder, grouping="components")
    assert max(map(len, names(chained))) == 5
    assert all(member.score >= near.THRESHOLD for group in by_keeper.groups for member in group.members)
    assert max(map(len, names(by_keeper))) < 5
    assert chained.groups[0].weakest < near.THRESHOLD <= min(group.weakest for group in by_keeper.groups[:1])


def test_dbscan_and_its_core(folder: Path) -> None:
    for number in range(3):
        smaller(folder / "a.png", folder / f"a{number}.png")
    shutil.copy(folder / "b.png", folder / "b copy.bmp")
    save(ImageEnhance.Brightness(open_photo(folder / "b.png")).enhance(1.2), folder / "b light.png")
    assert len(search(folder, grouping="dbscan").groups) == 2
    assert {name[0][0] for name in names(search(folder, grouping="dbscan", min_samples=3))} <= {"a", "b"}


def test_what_is_kept_and_why(folder: Path) -> None:
    photo = open_photo(folder / "a.png")
    (folder / "a.png").unlink()
    save(photo, folder / "large" / "soft.jpg", age=100, quality=20)
    save(photo, folder / "original with a long name.png", age=50)
    save(photo.resize((photo.width // 2, photo.height // 2)), folder / "s.png", age=900)
    save(photo.resize((photo.width // 2, photo.height // 2)), folder / "newest.bmp", age=0)
    keeper = {rule: search(folder, keep=rule).groups[0].members[0] for rule in ("best", "largest", "oldest", "newest")}
    assert keeper["best"].photo.path.name == "original with a long name.png"
    shots = [folder / name for name in ("large/soft.jpg", "original with a long name.png", "s.png", "newest.bmp")]
    largest = max(shots, key=lambda path: path.stat().st_size)
    assert (keeper["largest"].photo.path, keeper["largest"].why) == (largest, "the largest file")
    assert (keeper["oldest"].photo.path.name, keeper["oldest"].why) == ("s.png", "the oldest")
    assert (keeper["newest"].photo.path.name, keeper["newest"].why) == ("newest.bmp", "the newest")
    (group,) = search(folder, keep="shortest-path").groups
    assert (group.members[0].photo.path.name, group.members[0].why) == ("s.png", "the shortest path")
    assert {member.why for member in group.members[1:]} == {"same shot, a longer path", "same pixels, a longer path"}


def test_equal_in_all_goes_by_path(folder: Path) -> None:
    shutil.copy(folder / "a.png", folder / "0.png")
    os.utime(folder / "0.png", (NOON, NOON))
    (group,) = search(folder).groups
    assert [(member.photo.path.name, member.why) for member in group.members] == [
        ("0.png", "equal in all, first by path"),
        ("a.png", "same bytes, equal in all, later by path"),
    ]


def test_a_reference_is_never_removed_and_always_kept(folder: Path) -> None:
    reference = folder / "albums"
    smaller(folder / "a.png", reference / "a small.png")
    smaller(folder / "a.png", reference / "a small too.bmp")
    shutil.copy(folder / "b.png", reference / "b.png")
    found = search(folder, reference=(reference,))
    removed = [member.photo.path for group in found.groups for member in group.members if not member.keep]
    assert sorted(removed) == [folder / "a.png", folder / "b.png"]
    assert all(group.members[0].photo.path.parent == reference for group in found.groups)
    assert {group.members[0].why for group in found.groups} == {PROTECTED}


def test_groups_of_references_alone_are_none_of_our_business(folder: Path) -> None:
    smaller(folder / "a.png", folder / "a small.png")
    assert search(folder, reference=(folder,)).groups == []


def test_against_finds_only_what_is_in_both(folder: Path, tmp_path: Path) -> None:
    smaller(folder / "a.png", folder / "a small.png")  # within: not asked for
    shutil.copy(folder / "a.png", folder / "a copy.png")
    smaller(folder / "b.png", tmp_path / "archive" / "b.png")
    smaller(folder / "b.png", tmp_path / "archive" / "b again.bmp")
    shutil.copy(folder / "c.png", tmp_path / "archive" / "c.png")
    found = search(folder, tmp_path / "archive", against=(tmp_path / "archive",))
    removed = [member.photo.path for group in found.groups for member in group.members if not member.keep]
    assert sorted(removed) == [folder / "b.png", folder / "c.png"]


def test_told_different_stays_apart_and_told_same_is_no_copy(folder: Path) -> None:
    smaller(folder / "a.png", folder / "a small.png")
    (before,) = search(folder).groups
    library = Library(folder / FOLDER)
    library.add_verdict(*(member.photo.content for member in before.members), same=False)
    contents = {photo.path.name: photo.content for photo in library.photos()}
    library.add_verdict(contents["c.png"], contents["d.png"], same=True)
    assert search(folder).groups == []


def test_the_same_groups_in_the_same_order_whatever_the_disk_says(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        smaller(folder / f"{name}.png", folder / f"{name} small.png")
        shutil.copy(folder / f"{name}.png", folder / f"{name} copy.png")
    before = search(folder)
    shutil.rmtree(folder / FOLDER)
    listed = os.scandir

    class Shuffled:
        def __init__(self, path: Any) -> None:
            self.entries = list(listed(path))
            random.Random(3).shuffle(self.entries)

        def __enter__(self) -> Any:
            return iter(self.entries)

        def __exit__(self, *_: object) -> None:
            pass

        def __iter__(self) -> Any:
            return iter(self.entries)

    monkeypatch.setattr(os, "scandir", Shuffled)
    assert names(search(folder)) == names(before)
    assert len(before.groups) == 3


def test_a_hard_link_is_the_same_file_and_no_duplicate(folder: Path) -> None:
    (folder / "a link.png").hardlink_to(folder / "a.png")
    assert search(folder).groups == []
    shutil.copy(folder / "a.png", folder / "b copy.png")
    (folder / "c link.png").hardlink_to(folder / "b copy.png")
    found = search(folder)
    assert names(found) == [["a link.png", "b copy.png", "c link.png"]]
    assert (found.duplicates, found.bytes_to_win) == (2, (folder / "b copy.png").stat().st_size)  # freed once


def test_unreadable_files_are_named(folder: Path) -> None:
    (folder / "broken.jpg").write_bytes(b"no photo")
    (error,) = search(folder).unreadable
    assert error.path == folder / "broken.jpg"


def test_same_space_by_a_model(rooms: Path, tmp_path: Path, model_folders: dict[str, Path]) -> None:
    for head in ("compare", "concat"):
        model = load(model_folders[head])
        library, extractor = Library(tmp_path / head, create=True), for_model(model)
        library.scan([rooms], [near.Sketches(), extractor])
        found = find_duplicates([library], [rooms], Search("same-space", threshold=0.5), extractor, model)
        paths = {photo.content: photo.path for photo in library.photos()}
        assert found.photos == len(library.photos()) and found.groups
        for group in found.groups:
            keeper, *others = group.members
            for member in others:
                expected = model.compare(paths[keeper.photo.content], paths[member.photo.content])
                assert member.score == pytest.approx(expected, abs=0.02)
                assert member.score >= 0.5


def test_same_space_without_a_model_finds_shots_of_one_room(rooms: Path, tmp_path: Path) -> None:
    library, extractor = Library(tmp_path / "library", create=True), for_trunk("mobilenet_v3_small", "none")
    library.scan([rooms], [near.Sketches(), extractor])
    found = find_duplicates([library], [rooms], Search("same-space", threshold=0.9), extractor)
    assert found.groups
    right = [
        room(member.photo) == room(group.members[0].photo) for group in found.groups for member in group.members[1:]
    ]
    photos = library.photos()
    by_chance = np.mean([room(one) == room(other) for one in photos for other in photos if one is not other])
    assert np.mean(right) > 2 * by_chance


def room(photo: Photo) -> str:
    return photo.path.stem.rpartition("_")[0]


def test_few_photos_are_too_few_without_a_model(folder: Path) -> None:
    library, extractor = Library(folder / FOLDER, create=True), for_trunk("mobilenet_v3_small", "none")
    library.scan([folder], [extractor])
    with pytest.raises(SameSpaceError, match=r"and 4 are too few: give --model DIR"):
        find_duplicates([library], [folder], Search("same-space"), extractor)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "similar"}, "unknown kind 'similar'"),
        ({"grouping": "kmeans"}, "unknown grouping"),
        ({"keep": "prettiest"}, "unknown rule"),
        ({"threshold": 1.2}, "threshold of 1.2"),
        ({"threshold": 0.0}, "threshold of 0 "),
        ({"min_samples": 0}, "--min-samples"),
    ],
)
def test_a_search_that_makes_no_sense(options: dict[str, Any], said: str, folder: Path) -> None:
    with pytest.raises(SameSpaceError, match=said):
        search(folder, **options)
