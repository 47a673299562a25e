"""A rule decides which photo is kept by what comes first in it, and says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samespace.duplicates.keeper import PROTECTED, RULES, is_tied, standing, why_kept, why_removed
from samespace.library.library import Photo

NOON_NS = 1_700_000_000 * 10**9


def photo(path: str = "/photos/a.jpg", **changes: Any) -> Photo:
    plain = Photo(Path(path), Path("/photos"), "library", 1000, NOON_NS, "0" * 64, 40, 30, None, 0)
    return plain._replace(**changes)


def kept(rule: str, *photos: tuple[Photo, float]) -> tuple[str, str]:
    """The name of the photo to keep, and why."""
    first, second, *_ = sorted((standing(each, sharp, False, rule) for each, sharp in photos), key=lambda s: s.key())
    return Path(first.path.decode()).name, why_kept(first, second, rule)


def test_best_is_resolution_then_sharpness_then_bytes_then_path() -> None:
    plain = (photo(), 0.5)
    larger = (photo("/photos/larger.jpg", width=41), 0.1)
    sharper = (photo("/photos/sharper.jpg", size=10), 0.9)
    heavier = (photo("/photos/heavier.jpg", size=2000), 0.5)
    assert kept("best", plain, larger, sharper) == ("larger.jpg", "highest resolution")
    assert kept("best", plain, sharper, heavier) == ("sharper.jpg", "sharpest")
    assert kept("best", plain, heavier) == ("heavier.jpg", "largest file")
    assert kept("best", plain, (photo("/photos/b.jpg"), 0.5)) == ("a.jpg", "identical; first by name")


def test_a_little_sharper_is_not_sharper() -> None:
    assert kept("best", (photo(), 0.50), (photo("/photos/b.jpg", size=2000), 0.49)) == ("b.jpg", "largest file")


def test_the_other_rules() -> None:
    early, late = "2020-01-01 00:00:00", "2023-01-01 00:00:00"
    old, new = (photo("/photos/old.jpg", taken=early), 0.5), (photo("/photos/new.jpg", taken=late), 0.5)
    assert kept("oldest", old, new) == ("old.jpg", "oldest")
    assert kept("newest", old, new) == ("new.jpg", "newest")
    undated = (photo("/photos/undated.jpg", mtime_ns=NOON_NS), 0.5)  # in November 2023
    assert kept("newest", new, undated) == ("undated.jpg", "newest")
    assert kept("largest", (photo(width=400), 1), (photo("/photos/b.jpg", size=1001), 0)) == (
        "b.jpg",
        "largest file",
    )
    assert kept("shortest-path", (photo(width=400), 1), (photo("/b.jpg"), 0)) == ("b.jpg", "shortest path")


def test_what_is_protected_is_kept_whatever_the_rule_says() -> None:
    ours = standing(photo(width=400), 1, False, "best")
    theirs = standing(photo("/reference/b.jpg"), 0, True, "best")
    assert min([ours, theirs], key=lambda each: each.key()) == theirs
    assert why_kept(theirs, ours, "best") == PROTECTED
    assert why_removed(ours, theirs, "best") == f"the other is {PROTECTED}"


def test_why_not() -> None:
    keeper, other = standing(photo(width=400), 0.5, False, "best"), standing(photo(), 0.5, False, "best")
    assert why_removed(other, keeper, "best") == "fewer pixels"
    later = standing(photo("/photos/b.jpg"), 0.5, False, "best")
    assert why_removed(later, other, "best") == "later by name"


def test_sharpness_is_asked_for_only_where_it_decides() -> None:
    assert is_tied(photo(), photo("/photos/b.jpg", size=7, width=30, height=40), "best")
    assert not is_tied(photo(), photo("/photos/b.jpg", width=41), "best")
    assert not is_tied(photo(), photo("/photos/b.jpg", size=7), "largest")
    assert not is_tied(photo(), photo("/photos/b.jpg", mtime_ns=0), "oldest")
    assert is_tied(photo(), photo("/photos/b.jpg", size=7), "oldest")


photos = st.builds(
    photo,
    path=st.sampled_from(["/photos/a.jpg", "/photos/b/c.jpg", "/photos/d.jpg"]),
    size=st.integers(1, 3),
    width=st.integers(1, 3),
    taken=st.sampled_from([None, "2020-01-01 00:00:00", "2023-01-01 00:00:00"]),
)


@given(st.sampled_from(sorted(RULES)), photos, photos, photos, st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_a_rule_is_an_order(rule: str, one: Photo, two: Photo, three: Photo, sharp: list[float]) -> None:
    keys = [standing(each, s, False, rule).key() for each, s in zip((one, two, three), sharp, strict=True)]
    assert sorted(keys) == sorted([*keys[1:], keys[0]])
    assert (keys[0] < keys[1]) != (keys[1] < keys[0]) or one.path == two.path


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_ends_in_the_same_criteria(rule: str) -> None:
    assert {criterion.best for criterion in RULES["best"]} <= {criterion.best for criterion in RULES[rule]}
