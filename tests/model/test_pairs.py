"""Names become spaces, spaces become pairs, and negatives are drawn as they should be."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samespace.base.errors import SameSpaceError
from samespace.base.hashes import hamming
from samespace.model.pairs import (
    AIRBNB,
    TEST,
    TRAINING,
    VERDICTS,
    Photos,
    find_photos,
    hold_out,
    joined,
    known_pairs,
    make_pairs,
    sample_negatives,
)
from tests.conftest import draw


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


def test_it_is_said_which_part_lacks_pairs() -> None:
    rest, held = hold_out(table([0, 0, 1, 1]), 0.2)
    for part, says in ((held, "spaces held out of made-up.*hold out more"), (rest, "spaces not held out.*fewer")):
        with pytest.raises(SameSpaceError, match=f"the {says}, or add photos"):
            make_pairs(part)


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


def test_others_come_in_every_variant_too_so_that_a_turned_photo_marks_nothing() -> None:
    pairs = make_pairs(table([number // 2 for number in range(60)]))
    others = pairs.label == 0
    for column in (pairs.first_variant, pairs.second_variant):
        shares = np.bincount(column[others], minlength=4) / others.sum()
        assert np.allclose(shares, 0.25, atol=0.05)


def test_rows_number_photos_and_variants_as_one_table() -> None:
    pairs = make_pairs(table([0, 0, 1]))
    first, second, label = pairs.rows().T
    assert (first // 4 == pairs.first).all() and (first % 4 == pairs.first_variant).all()
    assert (second // 4 == pairs.second).all() and (second % 4 == pairs.second_variant).all()
    assert (label == pairs.label).all()


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


# ---- verdicts


def judge(photos: Photos, verdicts: dict[tuple[int, int], int]) -> Photos:
    """The table with these verdicts, by rows; a photo in one is judged from then on."""
    first = joined({(photos.paths[a], photos.paths[b]): bool(same) for (a, b), same in verdicts.items()})
    return replace(
        photos,
        cities=tuple("" if path in first else "boston" for path in photos.paths),
        room_ids=tuple(
            str(first[path]) if path in first else room
            for path, room in zip(photos.paths, photos.room_ids, strict=True)
        ),
        verdicts=np.array([(*pair, same) for pair, same in verdicts.items()], np.int64).reshape(-1, 3),
    )


def write_verdicts(root: Path, text: str) -> Path:
    """Photos a, b, c and d beside a verdicts.csv of this text."""
    folder = root / AIRBNB / TRAINING / VERDICTS
    for seed, name in enumerate("abcd"):
        draw(folder / f"{name}.jpg", 50 + seed)
    (folder / "verdicts.csv").write_text(text)
    return folder


# Any verdicts on eight photos, contradictions among them.
verdicts_of_eight = st.dictionaries(
    st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda pair: pair[0] < pair[1]), st.integers(0, 1)
)


@given(verdicts_of_eight, st.permutations(range(12)), st.integers(0, 12))
def test_taking_rows_keeps_the_verdicts_on_them(
    verdicts: dict[tuple[int, int], int], order: list[int], count: int
) -> None:
    photos = judge(table([*range(8), 8, 8, 9, 9]), verdicts)
    taken = photos.take(np.array(order[:count], np.int64))

    def by_path(photos: Photos) -> dict[frozenset[Path], int]:
        return {frozenset((photos.paths[a], photos.paths[b])): same for a, b, same in photos.verdicts.tolist()}

    left = set(taken.paths)
    assert by_path(taken) == {pair: same for pair, same in by_path(photos).items() if pair <= left}


@given(verdicts_of_eight)
def test_judged_photos_come_in_the_pairs_of_their_verdicts_alone(verdicts: dict[tuple[int, int], int]) -> None:
    photos = judge(table([*range(8), 8, 8, 9, 9]), verdicts)
    pairs = make_pairs(photos)
    rows = set(zip(*(column.tolist() for column in pairs), strict=True))
    assert len(rows) == len(pairs.label)
    judged = {row for pair in verdicts for row in pair}
    assert {row for row in rows if {row[0], row[1]} & judged} == {
        (first, second, variant0, variant1, same)
        for pair, same in verdicts.items()
        for first, second in (pair, pair[::-1])
        for variant0 in range(4)
        for variant1 in range(4)
    }
    alone = make_pairs(photos.take(photos.named()))
    named = np.isin(pairs.first, photos.named())
    assert pairs.label[named].sum() == alone.label.sum()


def test_more_others_are_drawn_where_verdicts_lean_to_the_same() -> None:
    photos = table([0, 0, *range(1, 41)])
    even, leaning = judge(photos, {(40, 41): 1, (38, 39): 0}), judge(photos, {(40, 41): 1, (39, 38): 1})
    for judged, drawn in ((even, 16 * 40), (leaning, 16 * (40 + 4))):
        pairs = make_pairs(judged)
        assert pairs.label.mean() == 0.5
        assert np.isin(pairs.first[pairs.label == 0], judged.named()).sum() == drawn
    apart = make_pairs(judge(photos, {(40, 41): 0, (38, 39): 0}))
    assert (apart.label == 0).sum() == 16 * 40 + 2 * 32


@given(verdicts_of_eight)
def test_known_pairs_are_those_of_names_and_those_of_verdicts(verdicts: dict[tuple[int, int], int]) -> None:
    photos = judge(table([*range(8), 8, 8, 9, 9]), verdicts)
    spaces, named = photos.spaces(), photos.named().tolist()
    expected = {(a, b, int(spaces[a] == spaces[b])) for a, b in combinations(named, 2)}
    expected |= set(map(tuple, photos.verdicts.tolist()))
    pairs = known_pairs(photos)
    assert set(map(tuple, pairs.tolist())) == expected
    assert len(pairs) == len(expected)


@given(spaces_lists, st.integers(2, 12))
def test_of_many_photos_known_pairs_take_the_same_few_every_time(spaces: list[int], most: int) -> None:
    photos = table(spaces)
    everything, few = known_pairs(photos), known_pairs(photos, most=most)
    assert np.array_equal(few, known_pairs(photos, most=most))
    count = min(most, len(photos))
    assert len(few) == count * (count - 1) // 2
    assert len(np.unique(few[:, :2])) == count
    assert {tuple(row) for row in few.tolist()} <= {tuple(row) for row in everything.tolist()}


@given(st.dictionaries(st.tuples(*[st.integers(0, 7)] * 2).filter(lambda pair: pair[0] < pair[1]), st.booleans()))
def test_joined_photos_share_the_first_of_them(said: dict[tuple[int, int], bool]) -> None:
    names = {(Path(str(a)), Path(str(b))): same for (a, b), same in said.items()}
    first = joined(names)
    reached = {photo: {photo} for pair in names for photo in pair}
    for _ in reached:
        for (a, b), same in names.items():
            if same:
                reached[a] = reached[b] = reached[a] | reached[b]
    together = {photo: {other for other in reached if first[other] == first[photo]} for photo in reached}
    assert all(first[photo] == min(together[photo]) for photo in reached)
    assert all(reached[photo] <= together[photo] for photo in reached)
    assert all(together[photo] == set().union(*(reached[other] for other in together[photo])) for photo in reached)


def test_photos_whose_verdicts_are_read_have_no_other_space(root: Path) -> None:
    folder = write_verdicts(root, "\ufefffirst,second,same\r\nb.jpg,a.jpg,1\r\n\r\nc.jpg,b.jpg,1\r\na.jpg,c.jpg,0\r\n")
    photos = find_photos(root)
    judged = [folder / f"{name}.jpg" for name in "abc"]
    rows = [photos.paths.index(path) for path in judged]
    assert photos.verdicts.tolist() == [[rows[0], rows[1], 1], [rows[1], rows[2], 1], [rows[0], rows[2], 0]]
    assert [photos.listings()[row] for row in rows] == [("", "a.jpg")] * 3
    assert photos.unparsed == (folder / "d.jpg",)
    assert set(photos.named()) | set(rows) == set(range(len(photos)))
    assert len(photos) == 7 + 3


def test_a_photo_with_a_name_is_judged_once_a_verdict_names_it(root: Path) -> None:
    folder = write_verdicts(root, "first,second,same\na.jpg,boston_7_9.jpg,0\n")
    draw(folder / "boston_7_9.jpg", 3)
    photos = find_photos(root)
    assert photos.listings()[photos.paths.index(folder / "boston_7_9.jpg")] == ("", "boston_7_9.jpg")


def test_a_judged_photo_that_does_not_open_takes_its_verdicts_along(root: Path) -> None:
    folder = write_verdicts(root, "first,second,same\na.jpg,b.jpg,1\nc.jpg,b.jpg,0\n")
    (folder / "a.jpg").write_bytes(b"")
    photos = find_photos(root)
    assert [error.path.name for error in photos.unreadable] == ["a.jpg"]
    assert [[photos.paths[row].name for row in pair] for pair in photos.verdicts[:, :2]] == [["b.jpg", "c.jpg"]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "does not begin with first,second,same"),
        ("a.jpg,b.jpg,1\n", "does not begin with first,second,same"),
        ("first,second,same\na.jpg,b.jpg\n", "has a line 'a.jpg,b.jpg', not two photos and 1 or 0"),
        ("first,second,same\na.jpg,b.jpg,1,x\n", "has a line 'a.jpg,b.jpg,1,x', not two photos"),
        ("first,second,same\na.jpg,b.jpg,yes\n", "has a line 'a.jpg,b.jpg,yes', not two photos and 1 or 0"),
        ("first,second,same\na.jpg,a.jpg,1\n", "has a line 'a.jpg,a.jpg,1', not two photos"),
        ("first,second,same\na.jpg,b.jpg,1\nb.jpg,a.jpg,0\n", "judges a.jpg and b.jpg twice"),
        ('first,second,same\n"a.jpg,b.jpg,1\n', "cannot be read"),
        ("first,second,same\na.jpg,\udcff.jpg,1\n", "cannot be read"),
        ("first,second,same\na.jpg,x.jpg,1\n", "names x.jpg, which is not a photo beside it: put it back"),
        ("first,second,same\na.jpg,verdicts.csv,1\n", "names verdicts.csv, which is not a photo"),
    ],
)
def test_a_damaged_list_of_verdicts_is_one_sentence(root: Path, text: str, says: str) -> None:
    folder = write_verdicts(root, "")
    (folder / "verdicts.csv").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(SameSpaceError, match=rf"verdicts\.csv {says}") as caught:
        find_photos(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("label", "lacks"), [(1, "different"), (0, "same")])
def test_verdicts_alone_must_be_of_both_kinds(root: Path, tmp_path: Path, label: int, lacks: str) -> None:
    alone = tmp_path / "alone"
    write_verdicts(alone, f"first,second,same\na.jpg,b.jpg,{label}\n")
    with pytest.raises(
        SameSpaceError, match=f"alone has too few photos told {lacks}, of which training and validation"
    ):
        make_pairs(find_photos(alone))
    write_verdicts(alone, f"first,second,same\na.jpg,b.jpg,{label}\nc.jpg,d.jpg,{1 - label}\n")
    assert len(make_pairs(find_photos(alone)).label) == 2 * 32
    write_verdicts(root, f"first,second,same\na.jpg,b.jpg,{label}\n")
    assert len(make_pairs(find_photos(root)).label)  # other photos have what they lack


# ---- negatives


@given(spaces_lists, st.integers(1, 60), st.integers(1, 200), st.integers(1, 200))
def test_negatives_do_not_depend_on_the_block(spaces: list[int], count: int, block0: int, block1: int) -> None:
    photos = table(spaces)
    drawn = [sample_negatives(photos.hashes, photos.spaces(), count, 3, block) for block in (block0, block1)]
    assert np.array_equal(drawn[0], drawn[1])


@settings(max_examples=10)
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
