"""Videos and RAW files are known by their extensions, and told in a few words."""

from __future__ import annotations

import pytest

from samespace.base.kinds import RAW, SIDECARS, VIDEOS, by_label, label, no_photos, not_compared
from samespace.base.photos import EXTENSIONS


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.mov", "MOV"),
        ("A.Cr2", "CR2"),
        ("a.b.m2ts", "M2TS"),
        ("a.jpg", ""),
        ("mov", ""),
        (".mov", ""),
        ("a.movie", ""),
    ],
)
def test_label(name: str, expected: str) -> None:
    assert label(name) == expected


def test_no_extension_is_of_two_kinds() -> None:
    every = (*EXTENSIONS, *VIDEOS, *RAW, *SIDECARS)
    assert len(set(every)) == len(every) and all(each == each.lower() for each in every)


def test_words() -> None:
    counted = by_label(["b.mov", "a.CR2", "c.MOV", "notes.txt"])
    assert list(counted.items()) == [("CR2", 1), ("MOV", 2)]
    assert not_compared(counted) == "Not compared: 1 CR2, 2 MOV; of these only copies with equal bytes are found."
    assert no_photos(counted, ("jpg", ".png")) == "No photos here (looked for jpg, png). Not looked at: 1 CR2, 2 MOV."
    assert (not_compared({}), no_photos({}, ("jpg",))) == ("", "No photos here (looked for jpg).")
