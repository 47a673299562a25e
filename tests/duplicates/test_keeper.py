"""A rule decides which photo is kept by what comes first in it, and says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samespace.base.origin import Origin
from samespace.duplicates.keeper import PREFERRED, PROTECTED, RULES, Seen, Standing, is_tied, standing, why_kept
from samespace.duplicates.keeper import why_removed as why_not
from samespace.library.library import Photo

NOON_NS = 1_700_000_000 * 10**9


def photo(path: str = "/photos/a.jpg", **changes: Any) -> Photo:
    plain = Photo(Path(path), Path("/photos"), "library", 1000, NOON_NS, "0" * 64, 40, 30, None, 0)
    return plain._replace(**changes)


def seen(name: str = "a", sharpness: float = 0.5, camera: int = 0, extras: int = 0, **changes: Any) -> Seen:
    """A JPEG of quality 90, unless the changes say otherwise."""
    origin = Origin(
        camera,
        extras,
        changes.pop("format", "JPEG"),
        changes.pop("quality", 90),
        changes.pop("colours", 0),
        has_profile=changes.pop("profile", False),
    )
    return Seen(photo(f"/photos/{name}", **changes), origin, sharpness)


def kept(rule: str, *photos: Seen) -> tuple[str, str]:
    """The name of the photo to keep, and why."""
    first, second, *_ = sorted((standing(each, rule) for each in photos), key=Standing.key)
    return Path(first.path.decode()).name, why_kept(first, second, rule)


def test_best_is_the_cameras_original() -> None:
    """Each of these is worse than the next in all that comes later."""
    plain = seen("a")
    sharp = seen("b", 2)
    profiled = seen("b1", 0.5, profile=True)
    colourful = seen("b2", 0.5, colours=88)
    placed = seen("c", extras=1)
    fine = seen("d", quality=91)
    whole = seen("e", format="PNG", quality=0)
    large = seen("f", width=41, format="GIF", quality=0)
    taken = seen("g", camera=1)
    assert kept("best", plain, seen("0", 0.4)) == ("0", "equally good; first by name")
    assert kept("best", plain, sharp) == ("b", "sharpest")
    assert kept("best", sharp, profiled) == ("b1", "has a colour profile")
    assert kept("best", profiled, colourful) == ("b2", "more colours")
    assert kept("best", colourful, placed) == ("c", "has a place or rating the others lack")
    assert kept("best", sharp, placed, fine) == ("d", "less compressed")
    assert kept("best", fine, whole) == ("e", "format that loses less")
    assert kept("best", whole, large, fine) == ("f", "more pixels")
    assert kept("best", large, taken) == ("g", "has camera data the others lack")
    assert kept("best", taken, seen("h", camera=2)) == ("h", "has camera data the others lack")


def test_an_export_in_another_format_does_not_beat_the_cameras_file() -> None:
    original, export = seen("z", camera=3), seen("a", camera=3, format="PNG", quality=0)
    assert kept("best", original, export) == ("z", "in a camera's format")
    assert why_not(standing(export, "best"), standing(original, "best"), "best") == (
        "in a format that cameras do not write"
    )
    assert kept("best", original, seen("a", camera=3, format="TIFF", quality=0)) == ("a", "format that loses less")
    assert kept("best", original, seen("y", camera=3, format="HEIF", quality=0)) == ("y", "format that loses less")


def test_bytes_of_two_formats_and_of_lossless_files_count_for_nothing() -> None:
    small, large = (seen(name, format="PNG", quality=0, size=size) for name, size in (("a", 10), ("b", 2000)))
    assert kept("best", small, large) == ("a", "equally good; first by name")
    assert kept("largest", small, large) == ("b", "largest file")
    webp, jpeg = seen("a", size=2000, format="WEBP", quality=0), seen("b", size=10)
    assert kept("best", webp, jpeg) == ("b", "format that loses less")


@pytest.mark.parametrize("lossy", ["JPEG", "WEBP", "AVIF", "HEIF", "GIF", ""])
def test_of_one_lossy_format_the_largest_file_is_kept_in_the_end(lossy: str) -> None:
    assert kept("best", *(seen(name, size=size, format=lossy) for name, size in (("a", 10), ("b", 20)))) == (
        "b",
        "largest file",
    )


def test_a_little_sharper_is_not_sharper() -> None:
    assert kept("best", seen("a", 0.50), seen("b", 0.60)) == ("a", "equally good; first by name")


def test_the_other_rules() -> None:
    early, late = "2020-01-01 00:00:00", "2023-01-01 00:00:00"
    old, new = seen("old", taken=early), seen("new", taken=late)
    assert kept("oldest", old, new) == ("old", "oldest")
    assert kept("newest", old, new) == ("new", "newest")
    undated = seen("undated", mtime_ns=NOON_NS)  # in November 2023
    assert kept("newest", new, undated) == ("undated", "newest")
    for no_date in ("0001-01-01 00:00:00", "9999-12-31 23:59:59"):
        earlier = seen("earlier", taken=no_date, mtime_ns=NOON_NS - 1)
        assert kept("oldest", seen("later", taken=no_date, mtime_ns=NOON_NS + 1), undated, earlier)[0] == "earlier"
    assert kept("largest", seen(width=400), seen("b", size=1001)) == ("b", "largest file")
    assert kept("shortest-path", seen("long", camera=3), seen("b")) == ("b", "shortest path")


def test_a_preferred_folder_comes_before_the_rule() -> None:
    ours, theirs, best = (standing(seen(name), "best", preference=at) for at, name in enumerate(["z", "y", "a"]))
    assert sorted([best, theirs, ours], key=Standing.key) == [ours, theirs, best]
    assert why_kept(ours, theirs, "best") == why_kept(theirs, best, "best") == PREFERRED
    assert why_not(best, ours, "best") == f"the other is {PREFERRED}"
    beside = standing(seen("zz"), "best", preference=0)
    assert why_not(beside, ours, "best") == "later by name"


def test_what_is_protected_is_kept_whatever_the_rule_says() -> None:
    ours = standing(seen(width=400, camera=3), "best", preference=0)
    theirs = standing(seen("reference/b"), "best", protected=True, preference=1)
    assert min([ours, theirs], key=Standing.key) == theirs
    assert why_kept(theirs, ours, "best") == PROTECTED
    assert why_not(ours, theirs, "best") == f"the other is {PROTECTED}"


def test_why_not() -> None:
    keeper, other = standing(seen(width=400), "best"), standing(seen(), "best")
    assert why_not(other, keeper, "best") == "fewer pixels"
    assert why_not(standing(seen("b"), "best"), other, "best") == "later by name"
    assert why_not(other, standing(seen("b", camera=1), "best"), "best") == "lacks camera data the other has"


@pytest.mark.parametrize(
    ("rule", "other", "tied"),
    [
        ("best", seen("b", size=7, width=30, height=40, sharpness=9), True),
        ("best", seen("b", width=41), False),
        ("best", seen("b", quality=89), False),
        ("best", seen("b", camera=1), False),
        ("largest", seen("b", size=7), False),
        ("oldest", seen("b", mtime_ns=0), False),
        ("oldest", seen("b", size=7), True),
    ],
)
def test_sharpness_is_asked_for_only_where_it_decides(rule: str, other: Seen, tied: bool) -> None:
    assert is_tied(standing(seen(), rule), standing(other, rule), rule) == tied


some_photo = st.builds(
    seen,
    name=st.sampled_from(["a", "b/c", "d"]),
    size=st.integers(1, 3),
    width=st.integers(1, 3),
    taken=st.sampled_from([None, "2020-01-01 00:00:00", "2023-01-01 00:00:00"]),
    camera=st.integers(0, 4),
    extras=st.integers(0, 2),
    format=st.sampled_from(["JPEG", "PNG", "HEIF", "TIFF", "WEBP", "GIF", ""]),
    quality=st.integers(0, 2),
    sharpness=st.floats(0, 10),
)


@given(st.sampled_from(sorted(RULES)), st.lists(some_photo, min_size=3, max_size=3), st.randoms())
def test_a_rule_is_an_order(rule: str, photos: list[Seen], random: Any) -> None:
    """Photos of different paths are never equal, and the order is the same however they come."""
    standings = [standing(each, rule) for each in photos]
    shuffled = random.sample(standings, len(standings))
    assert sorted(standings, key=Standing.key) == sorted(shuffled, key=Standing.key)
    one, other, _ = standings
    assert (one.key() < other.key()) != (other.key() < one.key()) or one.path == other.path


@given(some_photo, some_photo)
def test_what_has_camera_data_beats_what_lacks_it(one: Seen, other: Seen) -> None:
    best = min([one, other], key=lambda each: standing(each, "best").key())
    assert best.origin.camera == max(one.origin.camera, other.origin.camera)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_ends_in_the_same_criteria(rule: str) -> None:
    assert {criterion.best for criterion in RULES["best"]} <= {criterion.best for criterion in RULES[rule]}
