"""Duplicates are found by kind, grouped without chains, and the right photo of each is kept."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from samespace.base.errors import SameSpaceError
from samespace.base.photos import UnreadablePhoto, open_photo
from samespace.duplicates import find as find_module
from samespace.duplicates.find import Comparison, find_duplicates
from samespace.duplicates.group import GROUPINGS, THRESHOLDS, DedupeOptions, Duplicates, Group
from samespace.duplicates.keeper import PROTECTED, RULES
from samespace.duplicates.scores import FEWEST
from samespace.library.library import FOLDER, Library, Photo
from samespace.library.read_photos import Extractor
from samespace.library.scan import scan
from samespace.model import learnt_points
from samespace.model.bare import for_backbone
from samespace.model.learnt_points import Partners, Seen
from samespace.model.pairs import TEST, find_photos
from samespace.model.saved import Model, load
from samespace.search import copies, same_shot
from tests.bit_rot import flipped

NOON = 1_700_000_000


@pytest.fixture(scope="module")
def four(rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of four rooms, a.png to d.png, one shot each; read only."""
    folder, table = tmp_path_factory.mktemp("four"), find_photos(rooms, TEST)
    _, first = np.unique(table.spaces(), return_index=True)
    for name, row in zip("abcd", first, strict=False):
        save(open_photo(table.paths[row]), folder / f"{name}.png")
    return folder


@pytest.fixture
def folder(four: Path, tmp_path: Path) -> Path:
    """A copy of those for a test to do with as it likes."""
    return Path(shutil.copytree(four, tmp_path / "photos"))


def save(photo: Image.Image, path: Path, age: int = 0, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    photo.save(path, **options)
    os.utime(path, (NOON - age, NOON - age))
    return path


def smaller(path: Path, copy: Path) -> Path:
    photo = open_photo(path)
    return save(photo.resize((photo.width // 2, photo.height // 2)), copy)


def search(folder: Path, *others: Path, **options: Any) -> Duplicates:
    folders = [folder, *others]
    libraries = [Library(each / FOLDER, create=True) for each in folders]
    for library, each in zip(libraries, folders, strict=True):
        scan(library, [each], [same_shot.Sketches()])
    return find_duplicates(libraries, folders, DedupeOptions(**options))


def names(found: Duplicates) -> list[list[str]]:
    return [[member.photo.path.name for member in group.members] for group in found.groups]


def kept(group: Group) -> list[str]:
    return [member.photo.path.name for member in group.members if member.keep]


def test_a_folder_without_duplicates_has_none(folder: Path) -> None:
    found = search(folder)
    assert (found.photos, found.groups, found.duplicates, found.bytes_freed) == (4, [], 0, 0)


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
    assert by_name["a small.png"].why == "same photo, fewer pixels"
    assert by_name["a small.png"].score == pytest.approx(groups["a"].weakest) and groups["a"].weakest < 1
    assert found.duplicates == 3
    assert found.bytes_freed == sum(
        member.photo.path.stat().st_size for group in found.groups for member in group.members if not member.keep
    )


def test_a_group_does_not_chain(folder: Path) -> None:
    """Each crop is the same shot as the one before, but the last shows a fifth of the first."""
    photo = open_photo(folder / "a.png")
    for step in range(1, 7):
        side = 1 - 0.09 * step
        save(photo.crop((0, 0, round(photo.width * side), round(photo.height * side))), folder / f"crop {step}.png")
    by_keeper, chained = search(folder), search(folder, grouping="components")
    assert max(map(len, names(chained))) == 7
    assert all(member.score >= same_shot.THRESHOLD for group in by_keeper.groups for member in group.members)
    assert max(map(len, names(by_keeper))) < 7
    assert chained.groups[0].weakest < same_shot.THRESHOLD <= min(group.weakest for group in by_keeper.groups[:1])


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
    assert (keeper["largest"].photo.path, keeper["largest"].why) == (largest, "largest file")
    assert (keeper["oldest"].photo.path.name, keeper["oldest"].why) == ("s.png", "oldest")
    assert (keeper["newest"].photo.path.name, keeper["newest"].why) == ("newest.bmp", "newest")
    (group,) = search(folder, keep="shortest-path").groups
    assert (group.members[0].photo.path.name, group.members[0].why) == ("s.png", "shortest path")
    assert {member.why for member in group.members[1:]} == {"same photo, longer path", "same pixels, longer path"}


def with_one_bit_flipped(path: Path, copy: Path, seed: int) -> Path:
    """A copy that still opens and shows other pixels."""
    content, random = path.read_bytes(), np.random.default_rng(seed)
    while True:
        at, bit = random.integers(len(content)), random.integers(8)
        copy.write_bytes(flipped(content, at, bit))
        with contextlib.suppress(UnreadablePhoto):
            if open_photo(copy).tobytes() != open_photo(path).tobytes():
                return copy


@pytest.mark.parametrize("seed", range(4))
def test_if_one_of_two_photos_may_be_damaged_both_are_kept(folder: Path, seed: int) -> None:
    whole = save(open_photo(folder / "a.png"), folder / "whole.jpg", quality=90)
    (folder / "a.png").unlink()
    damaged = with_one_bit_flipped(whole, folder / "rotten.jpg", seed)
    os.utime(damaged, (NOON, NOON + (-9 if seed % 2 else 9)))
    shutil.copy(whole, folder / "whole again.jpg")
    for rule in RULES:
        (group,) = search(folder, keep=rule).groups
        assert len(group.members) == 3
        assert "rotten.jpg" in kept(group) and len(kept(group)) == 2, rule
        said = {member.why for member in group.members if member.damaged}
        assert said <= {
            "nearly equal files, different pixels: one may be damaged",
            "probably damaged: it decodes with warnings",
        }
        assert [member.damaged for member in group.members] == [member.keep for member in group.members], rule


def test_it_is_said_which_photo_decodes_with_warnings(folder: Path) -> None:
    whole = save(open_photo(folder / "a.png"), folder / "whole.jpg", quality=90)
    (folder / "a.png").unlink()
    content = whole.read_bytes()
    (folder / "cut.jpg").write_bytes(content[: -len(content) // 12] + b"\xff\xd9")  # it ends too early, and says so
    (group,) = search(folder).groups
    assert {member.photo.path.name: member.why for member in group.members} == {
        "whole.jpg": "nearly equal files, different pixels: one may be damaged",
        "cut.jpg": "probably damaged: it decodes with warnings",
    }
    assert kept(group) == [member.photo.path.name for member in group.members]


def test_an_edited_photo_of_equal_size_is_no_damaged_one(folder: Path) -> None:
    """Every byte of an uncompressed photo differs after an edit, and its length does not."""
    photo = open_photo(folder / "a.png")
    (folder / "a.png").unlink()
    save(photo, folder / "photo.bmp")
    save(ImageEnhance.Brightness(photo).enhance(0.8), folder / "darker.bmp")
    (group,) = search(folder).groups
    assert len(kept(group)) == 1


def test_equal_in_all_goes_by_path(folder: Path) -> None:
    shutil.copy(folder / "a.png", folder / "0.png")
    os.utime(folder / "0.png", (NOON, NOON))
    (group,) = search(folder).groups
    assert [(member.photo.path.name, member.why) for member in group.members] == [
        ("0.png", "equally good; first by name"),
        ("a.png", "same bytes, later by name"),
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


def test_the_same_pixels_are_seen_where_both_are_in_a_reference(folder: Path) -> None:
    """Nothing may happen to either, so they are no pair, and a third joins them."""
    photo = open_photo(folder / "a.png")
    shutil.copy(save(photo, folder / "old" / "a.png"), folder / "a.png")
    save(photo, folder / "old" / "a again.bmp")
    save(photo.crop((0, 0, round(photo.width * 0.95), photo.height)), folder / "less.png")
    (group,) = search(folder, reference=(folder / "old",), grouping="components", keep="largest").groups
    assert {member.photo.path.name: member.why.partition(",")[0] for member in group.members if not member.keep} == {
        "a.png": "same pixels",
        "less.png": "same photo",
    }


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
    assert (found.duplicates, found.bytes_freed) == (2, (folder / "b copy.png").stat().st_size)  # freed once


def test_unreadable_files_are_named(folder: Path) -> None:
    (folder / "broken.jpg").write_bytes(b"no photo")
    (error,) = search(folder).unreadable
    assert error.path == folder / "broken.jpg"


@pytest.fixture(scope="module")
def library_of_rooms(
    rooms: Path, model_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Library]:
    """Keep of the drawn rooms what every look that same-space is searched by needs; only searches write to it."""
    looks = [load(model_folders[head]).extractor for head in ("compare", "concat")]
    materials = [load(model_folders["rooms"]).extractor.materials, for_backbone("mobilenet_v3_small", "none").materials]
    with contextlib.closing(Library(tmp_path_factory.mktemp("rooms") / FOLDER, create=True)) as library:
        scan(library, [rooms], [same_shot.Sketches(), *looks, *materials])
        yield library


def test_same_space_by_a_model(library_of_rooms: Library, rooms: Path, model_folders: dict[str, Path]) -> None:
    library = library_of_rooms
    for head in ("compare", "concat"):
        model = load(model_folders[head])
        extractor = model.extractor
        found = find_duplicates([library], [rooms], DedupeOptions("same-space", threshold=0.5), extractor, model)
        embedded = model.embed([photo.path for photo in library.photos()])
        place = {photo.content: number for number, photo in enumerate(library.photos())}
        assert found.photos == len(library.photos()) and found.groups
        for group in found.groups:
            keeper, *others = group.members
            for member in others:
                rows = [[place[photo.content]] for photo in (keeper.photo, member.photo)]
                (expected,) = model.score(*(embedded.take(row) for row in rows))
                assert member.score == pytest.approx(float(expected), abs=0.02)
                assert member.score >= 0.5


def test_same_space_by_a_model_that_weighs_evidence(
    library_of_rooms: Library, rooms: Path, model_folders: dict[str, Path]
) -> None:
    library, model = library_of_rooms, load(model_folders["rooms"])
    extractor = model.extractor.materials
    found = find_duplicates([library], [rooms], DedupeOptions("same-space"), extractor, model)
    right = [
        room(member.photo) == room(group.members[0].photo) for group in found.groups for member in group.members[1:]
    ]
    assert len(right) >= 10 and np.mean(right) > 0.9
    few = [find_photos(rooms, TEST).paths[0].parent]
    assert find_duplicates([library], few, DedupeOptions("same-space"), extractor, model).photos < FEWEST


def test_same_space_without_a_model_finds_shots_of_one_room(library_of_rooms: Library, rooms: Path) -> None:
    library, extractor = library_of_rooms, for_backbone("mobilenet_v3_small", "none").materials
    found = find_duplicates([library], [rooms], DedupeOptions("same-space", threshold=0.9), extractor)
    assert found.groups
    right = [
        room(member.photo) == room(group.members[0].photo) for group in found.groups for member in group.members[1:]
    ]
    photos = library.photos()
    by_chance = np.mean([room(one) == room(other) for one in photos for other in photos if one is not other])
    assert np.mean(right) > 2 * by_chance


def test_a_second_look_finds_more(
    library_of_rooms: Library, rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Everything:
        """Proves of any two photos that they show one room."""

        def see(self, paths: list[Path]) -> list[Seen]:
            return [Seen(torch.empty(0), torch.empty(0), (1, 1)) for _ in paths]

        def partners(self, pairs: Collection[tuple[Seen, Seen]]) -> list[Partners]:
            return [Partners(np.empty((1, 2)), np.empty((1, 2)), np.array([400], np.float32))] * len(pairs)

    monkeypatch.setattr(learnt_points, "LearntPoints", Everything)
    extractor = for_backbone("mobilenet_v3_small", "none").materials
    library = Library(Path(shutil.copytree(library_of_rooms.folder, tmp_path / "library")))
    options = DedupeOptions("same-space", threshold=0.5, mark_all=True)
    once = find_duplicates([library], [rooms], options, extractor)
    twice = find_duplicates([library], [rooms], options._replace(thorough=True), extractor)
    assert twice.duplicates > once.duplicates
    assert find_duplicates([library], [rooms], options, extractor) == once


def room(photo: Photo) -> str:
    return photo.path.stem.rpartition("_")[0]


def test_few_photos_are_too_few_without_a_model(folder: Path) -> None:
    library, extractor = Library(folder / FOLDER, create=True), for_backbone("mobilenet_v3_small", "none").materials
    scan(library, [folder], [extractor])
    with pytest.raises(SameSpaceError, match=r"and 4 are too few: give --model DIR"):
        find_duplicates([library], [folder], DedupeOptions("same-space"), extractor)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "similar"}, "unknown kind 'similar'"),
        ({"grouping": "kmeans"}, "unknown grouping"),
        ({"keep": "prettiest"}, "unknown keep rule"),
        ({"threshold": 1.2}, "threshold of 1.2 is out of range"),
        ({"threshold": 0.0}, "threshold of 0 "),
        ({"min_samples": 0}, "--min-samples"),
        ({"thorough": True}, "--thorough finds no more near duplicates"),
    ],
)
def test_a_search_that_makes_no_sense(options: dict[str, Any], said: str, folder: Path) -> None:
    with pytest.raises(SameSpaceError, match=said):
        search(folder, **options)


# Compared once, grouped at any threshold


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory, rooms: Path) -> Path:
    """Photos and edited copies: smaller, cropped, saved again, under several names, some of them in old/."""
    folder = tmp_path_factory.mktemp("album")
    for number, path in enumerate(find_photos(rooms, TEST).paths[:8]):
        photo = open_photo(path)
        first = save(photo, folder / f"{number}.png", number)
        save(photo.crop((0, 0, round(photo.width * 0.91), photo.height)), folder / f"{number} less.png", number)
        save(ImageEnhance.Brightness(photo).enhance(1.5), folder / f"{number} light.jpg", number, quality=20 + number)
        if number % 3 == 0:
            shutil.copy2(smaller(first, folder / "old" / f"{number} small.png"), folder / "old" / f"{number} same.png")
            save(photo, folder / "old" / f"{number} again.bmp", number)
        if number % 4 == 0:
            save(photo, folder / ("old" if number % 8 else "new") / first.name)
        if number % 5 == 0:
            (folder / f"{number} link.png").hardlink_to(first)
    return folder


class Scanned(NamedTuple):
    """An album's library, and what it is searched by."""

    library: Library
    folder: Path
    extractor: Extractor | None = None
    model: Model | None = None

    def compare(self, options: DedupeOptions) -> Comparison:
        return Comparison([self.library], [self.folder], options, self.extractor, self.model)

    def find(self, options: DedupeOptions) -> Duplicates:
        return find_duplicates([self.library], [self.folder], options, self.extractor, self.model)


@pytest.fixture(scope="module")
def scanned(
    album: Path, tmp_path_factory: pytest.TempPathFactory, model_folders: dict[str, Path]
) -> dict[str, Scanned]:
    """By kind; "model" is same-space with one. Of six pairs somebody said what they are."""
    model = load(model_folders["compare"])
    with_model, without = model.extractor, for_backbone("mobilenet_v3_small", "none").materials
    library = Library(tmp_path_factory.mktemp("library") / FOLDER, create=True)
    scan(library, [album], [same_shot.Sketches(), with_model, without])
    contents = {photo.path.name: photo.content for photo in library.photos()}
    for number in (0, 3, 6):
        library.add_verdict(contents[f"{number}.png"], contents[f"{number} less.png"], same=False)
        library.add_verdict(contents[f"{number}.png"], contents[f"{number + 1}.png"], same=True)
    plain = Scanned(library, album)
    return {
        "exact": plain,
        "near": plain,
        "same-space": plain._replace(extractor=without),
        "model": plain._replace(extractor=with_model, model=model),
    }


def outline(found: Duplicates) -> list[Any]:
    """All of it but the scores, which may differ in their last bits."""
    groups = [
        (group.kind, [(member.photo, member.keep, member.why) for member in group.members]) for group in found.groups
    ]
    return [found._replace(groups=[]), groups]


def scores(found: Duplicates) -> list[float]:
    return [score for group in found.groups for score in (group.weakest, *(member.score for member in group.members))]


@pytest.mark.parametrize(
    ("by", "grouping"),
    [
        *itertools.product(["exact", "near"], [*GROUPINGS, "reference", "against"]),
        ("same-space", "keeper"),
        ("same-space", "against"),
        ("model", "dbscan"),
        ("model", "reference"),
    ],
)
def test_compared_once_is_found_at_each_threshold(by: str, grouping: str, scanned: dict[str, Scanned]) -> None:
    given, kind = scanned[by], "same-space" if by == "model" else by
    search = DedupeOptions(kind, 0.3)._replace(
        **({"grouping": grouping} if grouping in GROUPINGS else {grouping: (given.folder / "old",)})
    )
    comparison = given.compare(search)
    thresholds = [0.3, THRESHOLDS[kind], 0.97]
    assert comparison.counts(thresholds) == [len(comparison.at(threshold).groups) for threshold in thresholds]
    for threshold in thresholds:
        expected, found = given.find(search._replace(threshold=threshold)), comparison.at(threshold)
        assert outline(found) == outline(expected)
        assert scores(found) == pytest.approx(scores(expected), abs=1e-5)
    assert outline(comparison.at()) == outline(comparison.at(0.3))


def test_photos_that_were_all_compared_are_looked_at_no_more(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers stay the same, at any threshold and however photos are grouped; one more is looked for again."""
    folder = Path(shutil.copytree(album, tmp_path / "photos"))
    library = Library(folder / FOLDER, create=True)
    scan(library, [folder], [same_shot.Sketches()])
    given, find, looks = Scanned(library, folder), copies.Copies.find, list[int]()
    monkeypatch.setattr(copies.Copies, "find", lambda *asked: looks.append(1) or find(*asked))
    given.find(DedupeOptions("near", reference=(folder / "old",)))
    given.find(DedupeOptions("near"))
    assert len(looks) == 2, "photos of a reference are not compared with each other"
    for threshold, grouping in itertools.product([0.4, THRESHOLDS["near"], 0.9], GROUPINGS):
        options = DedupeOptions("near", threshold, grouping)
        found = given.find(options)
        assert len(looks) == 2
        with monkeypatch.context() as patch:
            patch.setattr(find_module, "is_complete", lambda *_: False)
            patch.setattr(copies.Copies, "find", find)
            assert outline(given.find(options)) == outline(found)
    smaller(folder / "1.png", folder / "one more.png")
    scan(library, [folder], [same_shot.Sketches()])
    assert any("one more.png" in group for group in names(given.find(DedupeOptions("near"))))
    assert len(looks) == 3


def test_a_look_that_a_lower_threshold_asked_for_changes_nothing(folder: Path) -> None:
    """Two of equal size that a third joins are told apart by sharpness only if they are similar themselves."""
    photo, patch = open_photo(folder / "a.png"), open_photo(folder / "b.png")
    (folder / "a.png").unlink()
    width, height = photo.size
    patch = patch.resize((width // 4, height // 4))
    save(photo, folder / "sharp.bmp")
    photo.paste(patch, (0, 0))
    save(photo, folder / "between.jpg", quality=95)
    photo.paste(patch, (width // 2, height // 2))
    save(photo.filter(ImageFilter.BLUR), folder / "a soft one.bmp")
    library = Library(folder / FOLDER, create=True)
    scan(library, [folder], [same_shot.Sketches()])
    given, chained = Scanned(library, folder), DedupeOptions("near", 0.1, "components")
    comparison = given.compare(chained)
    threshold = comparison.at().groups[0].weakest + 0.001
    (low,), (high,) = comparison.at().groups, comparison.at(threshold).groups
    assert len(low.members) == len(high.members) == 3
    assert [(group.members[0].photo.path.name, group.members[0].why) for group in (low, high)] == [
        ("sharp.bmp", "sharpest"),
        ("a soft one.bmp", "equally good; first by name"),
    ]
    assert outline(comparison.at(threshold)) == outline(given.find(chained._replace(threshold=threshold)))


def without(paths: Iterable[Path], folder: Path, scanned: Scanned, tmp_path: Path) -> Scanned:
    """The same album, scanned again, once these photos are gone."""
    shutil.copytree(folder, tmp_path / "album", copy_function=os.link)
    for path in paths:
        (tmp_path / "album" / path.relative_to(folder)).unlink()
    library = Library(tmp_path / FOLDER, create=True)
    scan(library, [tmp_path / "album"], [same_shot.Sketches()])
    for pair, same in scanned.library.verdicts().items():
        library.add_verdict(*pair, same=same)
    return scanned._replace(library=library, folder=tmp_path / "album")


@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize("kind", ["exact", "near"])
def test_photos_that_went_are_left_out_and_may_come_back(
    kind: str, grouping: str, scanned: dict[str, Scanned], tmp_path: Path
) -> None:
    comparison = scanned[kind].compare(DedupeOptions(kind, 0.3, grouping))
    before = comparison.at(0.6)
    went = {member.photo.path for group in before.groups[::2] for member in group.members[::2]}
    left, found = without(went, scanned[kind].folder, scanned[kind], tmp_path), comparison.at(0.6, without=went)
    expected = left.find(DedupeOptions(kind, 0.6, grouping))
    names = [[member.photo.path.relative_to(left.folder) for member in group.members] for group in expected.groups]
    assert [
        [member.photo.path.relative_to(scanned[kind].folder) for member in group.members] for group in found.groups
    ] == names
    assert found[3:4] + found[5:7] == expected[3:4] + expected[5:7]
    assert comparison.counts([0.6], without=went) == [len(names)] != [len(before.groups)]
    assert comparison.at(0.6) == before


def test_verdicts_said_meanwhile_are_heeded(scanned: dict[str, Scanned]) -> None:
    given = scanned["same-space"]
    comparison = given.compare(DedupeOptions("same-space", 0.5))
    keeper, *others = comparison.at(0.9).groups[0].members
    apart = next(member for member in others if member.photo.content != keeper.photo.content)
    verdicts = {**comparison.verdicts, frozenset((keeper.photo.content, apart.photo.content)): False}
    found = comparison.at(0.9, verdicts)
    assert not any({keeper.photo, apart.photo} <= {member.photo for member in group.members} for group in found.groups)
    told = comparison.at(1.0, {frozenset((keeper.photo.content, apart.photo.content)): True})
    (group,) = (group for group in told.groups if apart.photo in {member.photo for member in group.members})
    assert keeper.photo in {member.photo for member in group.members}
    assert comparison.verdicts == given.library.verdicts()


@pytest.mark.parametrize("by", ["near", "same-space", "model"])
def test_other_threads_ask_once_libraries_are_closed(by: str, scanned: dict[str, Scanned]) -> None:
    given, kind = scanned[by], "same-space" if by == "model" else by
    library = Library(given.library.folder)
    comparison = given._replace(library=library).compare(DedupeOptions(kind, 0.5))
    library.close()
    thresholds = [0.5, 0.6, 0.7, 0.8, 0.9] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(comparison.at, thresholds))
    for threshold, one in zip(thresholds, found, strict=True):
        assert outline(one) == outline(comparison.at(threshold))


def test_nothing_is_scored_again(scanned: dict[str, Scanned], monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = scanned["near"].compare(DedupeOptions("near", 0.5))
    expected = comparison.at(0.5)
    monkeypatch.setattr(same_shot, "same_shot", None)
    assert comparison.at(0.5) == expected
    assert comparison.counts([0.5, 0.9])[0] == len(expected.groups)
    assert comparison.at(0.9).groups != expected.groups


def test_no_threshold_below_the_lowest(scanned: dict[str, Scanned]) -> None:
    comparison = scanned["near"].compare(DedupeOptions("near", 0.5))
    with pytest.raises(SameSpaceError, match=r"compared at 0\.5 or higher: a threshold of 0\.4 is too low"):
        comparison.at(0.4)
    with pytest.raises(SameSpaceError, match=r"threshold of 1\.5 is out of range"):
        comparison.counts([0.5, 1.5])


def test_where_libraries_contradict_each_other_photos_differ(folder: Path, tmp_path: Path) -> None:
    smaller(folder / "a.png", folder / "a small.png")
    libraries = [Library(tmp_path / name, create=True) for name in ("one", "two", "three")]
    for library in libraries:
        scan(library, [folder], [same_shot.Sketches()])
    contents = [photo.content for photo in libraries[0].photos() if photo.path.name[0] == "a"]
    for library, same in zip(libraries, (True, False, True), strict=True):
        library.add_verdict(*contents, same=same)
    assert Comparison(libraries, [folder], DedupeOptions("near")).verdicts == {frozenset(contents): False}


def test_a_frame_makes_no_photo_better(folder: Path) -> None:
    photo = open_photo(folder / "a.png")
    save(ImageOps.expand(photo, 40, "white"), folder / "framed.png")
    (group,) = search(folder).groups
    assert kept(group) == ["a.png"]
    assert [member.why for member in group.members] == ["has no frame around it", "same photo, has a frame around it"]
