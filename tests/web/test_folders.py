"""What typed words and folders' names are looked up in."""

from __future__ import annotations

from pathlib import Path

import pytest

from samespace.library.library import Photo
from samespace.web import folders
from samespace.web.folders import names_of, tree
from samespace.web.state import Snapshot, photo_id


def photo(path: Path, root: Path) -> Photo:
    return Photo(path, root, "", 1, 1, "c", 1, 1, None, 0)


def test_a_tree_of_folders_counts_what_lies_deeper() -> None:
    paths = [Path(name) for name in ("/a/x/1", "/a/x/y/2", "/a/3", "/b/z/4")]
    photos = [photo(path, Path("/a") if path.is_relative_to("/a") else Path("/b")) for path in paths]
    assert tree(photos) == {
        "a": (Path("/a"), 3),
        "a/x": (Path("/a/x"), 2),
        "a/x/y": (Path("/a/x/y"), 1),
        "b": (Path("/b"), 1),
        "b/z": (Path("/b/z"), 1),
    }
    assert list(tree(photos[:3])) == ["x", "x/y"]


def test_of_very_many_folders_the_upper_levels_are_offered_and_the_chosen_one(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [Path(f"/a/{year}/{month}/1.jpg") for year in range(2) for month in range(3)]
    found = names_of(Snapshot(1, {photo_id(path): photo(path, Path("/a")) for path in paths}, [], None, ""))
    assert len(found.choices("")) == 8
    monkeypatch.setattr(folders, "FOLDERS", 5)
    assert found.choices("") == [("0", 3), ("1", 3)]
    assert found.choices("1/2") == [("0", 3), ("1", 3), ("1/2", 1)]
