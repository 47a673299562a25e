"""Names become spaces, spaces become pairs, and the data set arrives whole or not at all."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import data
from data import AIRBNB, TEST, TRAINING, Photos, find_photos, hold_out, make_pairs, sample_negatives
from samespace.errors import SameSpaceError
from samespace.hashing import hamming

PROJECT = Path(data.__file__).parent


def draw(path: Path, seed: int) -> None:
    """A small photo of something: coarse random blocks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(blocks).resize((60, 40)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Seven photos of four listings; one listing shows both its kitchen and its bedroom."""
    names = (
        "bedroom/boston_7_3",
        "bedroom/new_york_12_1",
        "bedroom/new_york_12_2",
        "kitchen/boston_12_1",
        "kitchen/boston_7_1",
        "kitchen/boston_7_2",
        "kitchen/rome_1_1",
    )
    for seed, name in enumerate(names):
        draw(tmp_path / "photos" / AIRBNB / TRAINING / f"{name}.jpg", seed)
    return tmp_path / "photos"


def table(spaces: list[int], hashes: list[int] | None = None) -> Photos:
    """Photos that do not exist, one a number: equal numbers are one listing."""
    random = np.random.default_rng(1).integers(0, 2**64, len(spaces), np.uint64)
    return Photos(
        root=Path("made-up"),
        paths=tuple(Path(f"boston_{space}_{row}.jpg") for row, space in enumerate(spaces)),
        cities=("boston",) * len(spaces),
        room_ids=tuple(str(space) for space in spaces),
        space_types=("kitchen",) * len(spaces),
        hashes=random if hashes is None else np.array(hashes, np.uint64),
    )


# At least one space twice and two spaces, in any order.
spaces_lists = st.tuples(st.lists(st.integers(0, 5), max_size=9), st.randoms()).map(
    lambda drawn: drawn[1].sample([0, 0, 1, *drawn[0]], k=3 + len(drawn[0]))
)


# ---- photos


def test_find_photos_reads_the_space_off_the_name(root: Path) -> None:
    photos = find_photos(root)
    assert len(photos) == 7
    assert list(photos.paths) == sorted(photos.paths)
    assert photos.listings()[:4] == [("boston", "7"), ("new_york", "12"), ("new_york", "12"), ("boston", "12")]
    assert photos.space_types == ("bedroom",) * 3 + ("kitchen",) * 4
    assert photos.hashes.dtype == np.uint64
    assert len(set(photos.hashes.tolist())) == 7


def test_a_space_is_a_listing_unless_space_types_count(root: Path) -> None:
    photos = find_photos(root)
    assert photos.spaces().tolist() == [0, 1, 1, 2, 0, 0, 3]
    assert photos.spaces(same_space_type=True).tolist() == [0, 1, 1, 2, 3, 3, 4]


def test_photos_that_do_not_open_or_parse_are_listed_and_left_out(root: Path) -> None:
    folder = root / AIRBNB / TRAINING / "kitchen"
    whole = (folder / "boston_7_1.jpg").read_bytes()
    (folder / "boston_8_1.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "boston_8_2.jpg").touch()
    for name in ("boston.jpg", "boston_7.jpg", "_7_1.jpg", "boston_7_x.jpg", "boston_7_1 (copy).jpg"):
        (folder / name).write_bytes(whole)
    (folder / "boston_9_1.txt").write_text("not a photo at all")
    photos = find_photos(root)
    assert len(photos) == 7
    assert [error.path.name for error in photos.unreadable] == ["boston_8_1.jpg", "boston_8_2.jpg"]
    assert photos.unreadable[1].reason == "the file is empty"
    assert {path.name for path in photos.unparsed} == {
        "boston.jpg",
        "boston_7.jpg",
        "_7_1.jpg",
        "boston_7_x.jpg",
        "boston_7_1 (copy).jpg",
    }


def test_take_keeps_rows_together(root: Path) -> None:
    photos = find_photos(root)
    taken = photos.take(np.array([4, 0]))
    assert taken.paths == (photos.paths[4], photos.paths[0])
    assert taken.space_types == ("kitchen", "bedroom")
    assert taken.hashes.tolist() == photos.hashes[[4, 0]].tolist()
    assert taken.spaces().tolist() == [0, 0]


def test_missing_folders_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(SameSpaceError, match="nowhere does not exist"):
        find_photos(tmp_path / "nowhere")
    with pytest.raises(SameSpaceError, match=f"photos has no folder '{AIRBNB}/{TEST}'"):
        find_photos(root, TEST)


def test_a_split_without_a_usable_photo_says_what_it_holds(tmp_path: Path) -> None:
    draw(tmp_path / AIRBNB / TEST / "kitchen" / "holiday.jpg", 0)
    (tmp_path / AIRBNB / TEST / "kitchen" / "boston_1_1.jpg").touch()
    with pytest.raises(SameSpaceError, match=r"no usable photo \(1 cannot be read, 1 have another name\)"):
        find_photos(tmp_path, TEST)


# ---- held out


@given(st.lists(st.integers(0, 9), min_size=2).filter(lambda spaces: len(set(spaces)) > 1), st.floats(0.01, 0.99))
def test_hold_out_never_splits_a_listing(spaces: list[int], fraction: float) -> None:
    photos = table(spaces)
    rest, held = hold_out(photos, fraction)
    assert not set(rest.listings()) & set(held.listings())
    assert sorted(rest.paths + held.paths) == sorted(photos.paths)
    listings = len(set(spaces))
    assert len(set(held.listings())) == min(max(1, round(fraction * listings)), listings - 1)


@given(st.permutations(range(12)))
def test_hold_out_does_not_depend_on_the_order_of_photos(order: list[int]) -> None:
    photos = table([0, 0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 8])
    _, held = hold_out(photos, 0.4)
    _, held_again = hold_out(photos.take(np.array(order)), 0.4)
    assert set(held.paths) == set(held_again.paths)


def test_hold_out_follows_its_seed() -> None:
    photos = table(list(range(40)))
    held = [hold_out(photos, 0.5, seed)[1].room_ids for seed in (0, 0, 1)]
    assert held[0] == held[1]
    assert held[0] != held[2]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, math.nan])
def test_hold_out_refuses_what_is_no_part(fraction: float) -> None:
    with pytest.raises(SameSpaceError, match="between 0 and 1"):
        hold_out(table([0, 1]), fraction)


def test_hold_out_needs_two_listings() -> None:
    with pytest.raises(SameSpaceError, match="single listing"):
        hold_out(table([3, 3, 3]), 0.5)


# ---- pairs


@given(spaces_lists)
def test_pairs_hold_every_duplicate_in_all_variants_and_as_many_others(spaces: list[int]) -> None:
    photos = table(spaces)
    pairs = make_pairs(photos)
    numbers, same = np.array(spaces), pairs.label == 1
    assert (same == (numbers[pairs.first] == numbers[pairs.second])).all()
    rows = list(zip(*(column[same].tolist() for column in pairs[:4]), strict=True))
    everything = [
        (first, second, variant0, variant1)
        for first, space in enumerate(spaces)
        for second, other in enumerate(spaces)
        if space == other
        for variant0 in range(4)
        for variant1 in range(4)
    ]
    assert sorted(rows) == everything
    others = list(zip(pairs.first[~same].tolist(), pairs.second[~same].tolist(), strict=True))
    assert len(others) == len(set(others)) == min(len(everything), len(spaces) ** 2 - len(everything) // 16)
    assert not pairs.first_variant[~same].any()
    assert not pairs.second_variant[~same].any()


def test_pairs_are_small_integers_and_the_same_every_time() -> None:
    photos = table([number // 2 for number in range(60)])
    pairs, again = make_pairs(photos), make_pairs(photos)
    assert [str(column.dtype) for column in pairs] == ["int32", "int32", "int8", "int8", "int8"]
    assert {len(column) for column in pairs} == {2 * 16 * 120}
    assert all((column == other).all() for column, other in zip(pairs, again, strict=True))
    # Fewer than all 3,480 others are drawn only when duplicates are few.
    few = table([*range(50), 0])
    assert not np.array_equal(make_pairs(few).first, make_pairs(few, seed=1).first)


def test_pairs_of_one_space_type_only_when_asked(root: Path) -> None:
    photos = find_photos(root)
    assert int(make_pairs(photos).label.sum()) == 16 * (9 + 4 + 1 + 1)
    assert int(make_pairs(photos, same_space_type=True).label.sum()) == 16 * (1 + 4 + 1 + 4 + 1)


def test_pairs_need_a_space_shown_twice() -> None:
    with pytest.raises(SameSpaceError, match="made-up shows no space twice"):
        make_pairs(table([0, 1, 2]))


def test_pairs_need_two_spaces() -> None:
    with pytest.raises(SameSpaceError, match="made-up shows a single space"):
        make_pairs(table([4, 4, 4]))


# ---- negatives


@given(spaces_lists, st.integers(1, 60), st.integers(1, 200), st.integers(1, 200))
def test_negatives_do_not_depend_on_the_block(spaces: list[int], count: int, block0: int, block1: int) -> None:
    photos = table(spaces)
    drawn = [sample_negatives(photos.hashes, photos.spaces(), count, 3, block) for block in (block0, block1)]
    assert np.array_equal(drawn[0], drawn[1])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 20_000))
def test_negatives_pruned_in_blocks_are_those_of_one_look(seed: int, count: int) -> None:
    """Enough pairs that the race is cut many times; one look at all of them cuts nothing before its end."""
    photos = table([row // 3 for row in range(200)])
    hashes = photos.hashes & np.uint64(0xFFFFF)  # distances 0 to 20: weights that matter
    drawn = [sample_negatives(hashes, photos.spaces(), count, seed, block) for block in (1, 700, 200 * 200)]
    assert np.array_equal(drawn[0], drawn[2])
    assert np.array_equal(drawn[1], drawn[2])
    assert len(drawn[0]) == count
    assert len(np.unique(drawn[0], axis=0)) == count


def test_fewer_negatives_than_asked_gives_all_of_them() -> None:
    photos = table([0, 0, 1])
    drawn = sample_negatives(photos.hashes, photos.spaces(), 100)
    assert drawn.tolist() == [[0, 2], [1, 2], [2, 0], [2, 1]]
    assert drawn.dtype == np.int32


def drawn_one_by_one(weights: np.ndarray, count: int, draws: int) -> np.ndarray:
    """How often each of `weights` is among `count` drawn one after the other, each draw without the ones before."""
    random = np.random.default_rng(5)
    times = np.zeros(len(weights))
    for _ in range(draws):
        left = weights.copy()
        for _ in range(count):
            taken = random.choice(len(left), p=left / left.sum())
            times[taken] += 1
            left[taken] = 0
    return times


# (3 of 12 pairs at many distances) and (most of them: where drawing with replacement would differ most)
@pytest.mark.parametrize("count", [3, 8])
def test_negatives_are_drawn_as_if_one_by_one_by_weight(count: int) -> None:
    hashes = np.array([0b0, 0b1, 0b111, 0b11000], np.uint64)
    spaces = np.arange(4)
    distances = hamming(hashes, hashes)
    pairs = [(first, second) for first in range(4) for second in range(4) if first != second]
    draws = 4000
    expected = drawn_one_by_one(np.array([math.exp(-int(distances[pair])) for pair in pairs]), count, draws)
    seen = np.zeros((4, 4))
    for seed in range(draws):
        drawn = sample_negatives(hashes, spaces, count, seed, block=4)
        seen[drawn[:, 0], drawn[:, 1]] += 1
    observed = np.array([seen[pair] for pair in pairs])
    # Both are counts of `draws` trials, so their difference has at most this variance.
    rate = (observed + expected) / (2 * draws)
    squares = (observed - expected) ** 2 / (2 * draws * rate * (1 - rate))
    assert squares.sum() < 40  # chi-square of 12 stays below 33 in 999 of 1000; unweighted gives thousands


def test_far_pairs_do_not_slip_in() -> None:
    """Noise that is 0 once in 8 million pairs lets some of these 50 million through, whose weight is e^-64."""
    hashes = np.repeat(np.array([0, 2**64 - 1], np.uint64), 5000)
    drawn = sample_negatives(hashes, np.arange(10_000), 1000)
    assert ((drawn < 5000).sum(axis=1) != 1).all()


# ---- commands


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "data.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def test_summary_prints_counts_and_lists_what_it_left_out(root: Path) -> None:
    (root / AIRBNB / TRAINING / "kitchen" / "boston_8_2.jpg").touch()
    draw(root / AIRBNB / TRAINING / "kitchen" / "holiday.jpg", 0)
    result = run("summary", root, "--json")
    numbers = json.loads(result.stdout)
    assert numbers.pop("seconds") > 0
    assert 10 < numbers.pop("peak_mb") < 10_000
    assert numbers == {
        "photos": 7,
        "spaces": 4,
        "unreadable": 1,
        "unparsed": 1,
        "ordered_pairs": 49,
        "duplicates": 15,
        "non_duplicates": 34,
        "augmented_duplicates": 240,
        "sampled_non_duplicates": 34,
    }
    assert "boston_8_2.jpg: the file is empty" in result.stderr
    assert "holiday.jpg: its name is not" in result.stderr


def test_summary_without_json_is_an_aligned_table(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert data.main(["summary", str(root), "--same-space-type"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[5].split() == ["duplicates", "11"]
    assert len({len(line) for line in lines}) == 1


def test_a_mistake_is_one_line_and_exit_status_1(tmp_path: Path) -> None:
    result = run("summary", tmp_path / "nowhere")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {tmp_path / 'nowhere'} does not exist")
    assert result.stderr.count("\n") == 1


def test_samples_draws_a_picture_that_follows_its_seed(root: Path, tmp_path: Path) -> None:
    pictures = []
    for name, seed in (("a.png", "0"), ("b.png", "0"), ("c.png", "1")):
        assert data.main(["samples", str(root), "--output", str(tmp_path / name), "--seed", seed]) == 0
        pictures.append(np.asarray(Image.open(tmp_path / name)))
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "c.png", "photos"]


def test_samples_shows_labelled_photos_in_their_variants(root: Path) -> None:
    photos = find_photos(root)
    first, second = photos.paths.index(find(root, "boston_7_1")), photos.paths.index(find(root, "boston_7_2"))
    pairs = data.Pairs(*(np.array([value]) for value in (first, second, 1, 0, 1)))
    card = np.asarray(data._draw_pair(photos, pairs, 0)).astype(int)
    as_is = np.asarray(data._varied(data.open_photo(photos.paths[first]), 0)).astype(int)
    height, width = as_is.shape[:2]
    assert np.abs(card[26 : 26 + height, :width] - as_is[:, ::-1]).max() <= 1


def find(root: Path, stem: str) -> Path:
    return next(root.rglob(f"{stem}.jpg"))


@pytest.mark.parametrize("name", ["pairs.jpg", "nowhere/pairs.png"])
def test_samples_that_cannot_be_written_leave_nothing(
    root: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert data.main(["samples", str(root), "--output", str(tmp_path / name)]) == 1
    assert name in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_importing_data_is_light() -> None:
    heavy = "{'torch', 'kaggle', 'determined', 'imagehash', 'scipy'}"
    code = f"import sys, data; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# ---- download


Answer = Callable[[Path], None]


def small_data_set(folder: Path) -> None:
    """What unzipping leaves, one folder deep."""
    draw(folder / "archive" / AIRBNB / TRAINING / "kitchen" / "boston_1_1.jpg", 1)


@pytest.fixture
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No credentials anywhere: neither in the environment, nor in the project, nor at home. Returns the home."""
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(data, "__file__", str(tmp_path / "project" / "data.py"))
    return home


@pytest.fixture
def key(no_key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_USERNAME", "ada")
    monkeypatch.setenv("KAGGLE_KEY", "secret")


def fake_kaggle(answer: Answer) -> tuple[dict[str, types.ModuleType], list[tuple[Any, ...]]]:
    """Modules that look like Kaggle's client, and the list of what it was asked."""
    asked: list[tuple[Any, ...]] = []

    class KaggleApi:
        def authenticate(self) -> None:
            self.user = (os.environ["KAGGLE_USERNAME"], os.environ["KAGGLE_KEY"])

        def dataset_download_files(self, dataset: str, path: str, unzip: bool, quiet: bool) -> None:
            asked.append((dataset, *self.user))
            print("Dataset URL: somewhere")
            answer(Path(path))

    names = ("kaggle", "kaggle.api", "kaggle.api.kaggle_api_extended")
    modules = {name: types.ModuleType(name) for name in names}
    modules[names[2]].KaggleApi = KaggleApi  # type: ignore[attr-defined]
    return modules, asked


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], list[tuple[Any, ...]]]:
    def install(answer: Answer) -> list[tuple[Any, ...]]:
        modules, asked = fake_kaggle(answer)
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        return asked

    return install


Install = Callable[[Answer], list[tuple[Any, ...]]]


def left_behind(folder: Path) -> set[str]:
    """Everything in a folder but the lock, which has to stay, and the fixture's own."""
    return {path.name for path in folder.iterdir()} - {"new.lock", "home"}


@pytest.mark.parametrize("exists", ["no", "empty", "with other things"])
def test_download_puts_the_photos_in_place_once(
    tmp_path: Path, kaggle: Install, key: None, exists: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = kaggle(small_data_set)
    root = tmp_path / "new"
    if exists != "no":
        root.mkdir()
    if exists == "with other things":
        (root / "notes.txt").write_text("mine")
    data.download(root)
    data.download(root)
    assert asked == [(data.DATASET, "ada", "secret")]
    assert find_photos(root).cities == ("boston",)
    assert left_behind(tmp_path) == {"new"}
    assert {path.name for path in root.iterdir()} - {"notes.txt"} == {AIRBNB}
    assert capsys.readouterr().out == ""


def test_download_clears_what_a_killed_run_left(tmp_path: Path, kaggle: Install, key: None) -> None:
    def dies(folder: Path) -> None:
        (tmp_path / "name").write_text(folder.name)
        raise KeyboardInterrupt

    kaggle(dies)
    with pytest.raises(KeyboardInterrupt):
        data.download(tmp_path / "new")
    partial = tmp_path / (tmp_path / "name").read_text()
    (tmp_path / "name").unlink()
    assert left_behind(tmp_path) == set()
    draw(partial / AIRBNB / TRAINING / "kitchen" / "half_1_1.jpg", 0)
    kaggle(small_data_set)
    data.download(tmp_path / "new")
    assert find_photos(tmp_path / "new").cities == ("boston",)
    assert left_behind(tmp_path) == {"new"}


class ApiException(Exception):
    """As version 1.6 raises it: the status on the error."""

    def __init__(self, status: int) -> None:
        super().__init__(f"({status})\nReason: of several lines\n")
        self.status = status


class HTTPError(Exception):
    """As version 1.7 raises it: the status on the response."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status} Client Error")
        self.response = types.SimpleNamespace(status_code=status)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ApiException(401), r"refused \(401\): check user name and key"),
        (HTTPError(403), r"refused \(403\): check user name and key"),
        (HTTPError(404), r"does not have .* \(404\)"),
        (ApiException(500), r"failed \(\(500\) Reason: of several lines\): check network"),
        (ConnectionError("no route to host"), r"failed \(no route to host\): check network"),
        (OSError(28, "No space left on device"), r"No space left on device\): check network and disk"),
        (SystemExit(1), r"failed \(1\): check network"),
        (ValueError(), r"failed \(ValueError\)"),
    ],
)
def test_a_download_that_fails_half_way_says_so_and_leaves_nothing(
    tmp_path: Path, kaggle: Install, key: None, error: BaseException, sentence: str
) -> None:
    def fails(folder: Path) -> None:
        small_data_set(folder)
        raise error

    kaggle(fails)
    with pytest.raises(SameSpaceError, match=sentence) as raised:
        data.download(tmp_path / "new")
    assert "\n" not in str(raised.value)
    assert left_behind(tmp_path) == set()


def test_a_failed_download_names_what_began_it(tmp_path: Path, kaggle: Install, key: None) -> None:
    def fails(folder: Path) -> None:
        try:
            raise OSError("Name or service not known")
        except OSError:
            raise RuntimeError("Max retries exceeded") from None

    kaggle(fails)
    with pytest.raises(SameSpaceError, match=r"failed \(Name or service not known\)"):
        data.download(tmp_path / "new")


def test_an_archive_of_something_else_is_refused(tmp_path: Path, kaggle: Install, key: None) -> None:
    kaggle(lambda folder: draw(folder / AIRBNB / TEST / "boston_1_1.jpg", 1))
    with pytest.raises(SameSpaceError, match=f"holds no '{AIRBNB}/{TRAINING}'"):
        data.download(tmp_path / "new")
    assert left_behind(tmp_path) == set()


def test_half_a_data_set_is_not_written_over(tmp_path: Path, kaggle: Install, key: None) -> None:
    asked = kaggle(small_data_set)
    mine = tmp_path / "new" / AIRBNB / TEST / "kitchen" / "boston_1_1.jpg"
    draw(mine, 0)
    with pytest.raises(SameSpaceError, match="move it away"):
        data.download(tmp_path / "new")
    assert mine.is_file()
    assert asked == []


def test_a_file_in_the_way_is_named(tmp_path: Path, kaggle: Install, key: None) -> None:
    kaggle(small_data_set)
    (tmp_path / "new").write_text("mine")
    with pytest.raises(SameSpaceError, match="new is a file"):
        data.download(tmp_path / "new")
    assert (tmp_path / "new").read_text() == "mine"


def test_a_folder_under_a_file_cannot_be_written(tmp_path: Path, kaggle: Install, key: None) -> None:
    kaggle(small_data_set)
    (tmp_path / "file").touch()
    with pytest.raises(SameSpaceError, match=r"cannot write .*give a folder you may write"):
        data.download(tmp_path / "file" / "new")


def test_without_a_key_kaggle_is_not_even_imported(
    tmp_path: Path, no_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kaggle", None)  # importing it would raise, and be told as such
    with pytest.raises(SameSpaceError, match=r"no Kaggle key: create one .* kaggle\.json into .*project or .*\.kaggle"):
        data.download(tmp_path / "new")
    assert left_behind(tmp_path) == set()


def test_kaggle_not_installed_says_how_to(tmp_path: Path, key: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kaggle", None)
    with pytest.raises(SameSpaceError, match=r"pip install 'kaggle>=1\.6,<1\.8'"):
        data.download(tmp_path / "new")
    assert left_behind(tmp_path) == set()


def write_key(folder: Path, user: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kaggle.json").write_text(json.dumps({"username": user, "key": "secret"}))


def test_the_key_is_looked_for_in_the_environment_the_project_and_at_home(
    tmp_path: Path, no_key: Path, kaggle: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = kaggle(small_data_set)
    write_key(no_key / ".kaggle", "home")
    data.download(tmp_path / "a")
    write_key(tmp_path / "configured", "configured")
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "configured"))
    data.download(tmp_path / "b")
    write_key(tmp_path / "project", "project")
    data.download(tmp_path / "c")
    assert "KAGGLE_KEY" not in os.environ
    monkeypatch.setenv("KAGGLE_USERNAME", "environment")
    monkeypatch.setenv("KAGGLE_KEY", "other")
    data.download(tmp_path / "d")
    assert [user for _, user, _ in asked] == ["home", "configured", "project", "environment"]
    assert os.environ["KAGGLE_KEY"] == "other"


@pytest.mark.parametrize("text", ["", "[]", '{"username": "ada"}', "null"])
def test_a_broken_key_file_is_named(tmp_path: Path, no_key: Path, text: str) -> None:
    (no_key / ".kaggle").mkdir()
    (no_key / ".kaggle" / "kaggle.json").write_text(text)
    with pytest.raises(SameSpaceError, match=r"kaggle\.json is not a Kaggle key: it must look like"):
        data.download(tmp_path / "new")


def test_the_example_key_has_the_shape_that_is_read() -> None:
    assert all(data._read_key(PROJECT / "kaggle.json.example"))


def worker(root: Path, log: Path, ready: Any, inside: Any) -> None:
    """Downloads when all are ready; a download gives another a moment to come in beside it."""

    def answer(folder: Path) -> None:
        with log.open("a") as lines:
            lines.write("downloaded\n")
        try:
            inside.wait(0.5)
        except threading.BrokenBarrierError:
            small_data_set(folder)

    sys.modules.update(fake_kaggle(answer)[0])
    ready.wait(30)
    data.download(root)
    assert find_photos(root).cities == ("boston",)


def test_two_processes_download_once(tmp_path: Path, key: None) -> None:
    context = multiprocessing.get_context("spawn")
    ready, inside = context.Barrier(2), context.Barrier(2)
    arguments = (tmp_path / "new", tmp_path / "log", ready, inside)
    workers = [context.Process(target=worker, args=arguments) for _ in range(2)]
    for process in workers:
        process.start()
    for process in workers:
        process.join(60)
    assert [process.exitcode for process in workers] == [0, 0]
    assert (tmp_path / "log").read_text() == "downloaded\n"
