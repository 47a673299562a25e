"""Photo files are found below a folder whatever their names, and links are followed only when asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from samespace.base.errors import SameSpaceError
from samespace.base.find import find


def test_find_sorts_passes_over_hidden_and_takes_any_case(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/1.png", "a.webp", "b/.hidden.jpg", ".trash/3.jpg", "b/notes.txt", "c/.x/4.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find(tmp_path) == [tmp_path / "a.webp", tmp_path / "b/1.png", tmp_path / "b/2.JPG"]
    assert find(tmp_path, [".PNG"]) == [tmp_path / "b/1.png"]


def test_find_takes_extensions_without_their_dot(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.PNG", "cpng", "d.xpng"):
        (tmp_path / name).touch()
    assert find(tmp_path, ["png"]) == find(tmp_path, [".Png"]) == [tmp_path / "b.PNG"]
    assert find(tmp_path, ["JPG", ".png"]) == [tmp_path / "a.jpg", tmp_path / "b.PNG"]


def test_find_sorts_by_the_bytes_of_the_path(tmp_path: Path) -> None:
    for name in (b"a/1.jpg", b"a-b/1.jpg", b"a.jpg", b"\xff/\xe9.jpg", "é.jpg".encode()):
        path = tmp_path / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = [os.fsencode(path.relative_to(tmp_path)) for path in find(tmp_path)]
    assert found == [b"a-b/1.jpg", b"a.jpg", b"a/1.jpg", "é.jpg".encode(), b"\xff/\xe9.jpg"]


def test_find_follows_links_only_when_asked(tmp_path: Path) -> None:
    root, far = tmp_path / "root", tmp_path / "far"
    for path in (root / "a.jpg", root / "sub/b.jpg", far / "c.jpg", far / "deep/d.jpg"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (root / "file.jpg").symlink_to(far / "c.jpg")
    (root / "a link").symlink_to(root / "sub")  # comes before its target, which keeps its own name
    (root / "far").symlink_to(far)
    (root / "far2").symlink_to(far)
    (far / "deep/loop").symlink_to(root)
    (root / "sub/up").symlink_to("..")
    (root / "gone.jpg").symlink_to("nowhere")
    (root / "itself.jpg").symlink_to("itself.jpg")
    (root / "itself").symlink_to("itself")
    assert find(root) == [root / "a.jpg", root / "sub/b.jpg"]
    followed = [root / name for name in ("a.jpg", "far/c.jpg", "far/deep/d.jpg", "file.jpg", "sub/b.jpg")]
    assert find(root, follow_links=True) == followed


def test_find_passes_over_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait for ever
    (tmp_path / "folder.jpg").mkdir()
    assert find(tmp_path) == []


def test_find_in_a_missing_folder_names_it(tmp_path: Path) -> None:
    with pytest.raises(SameSpaceError, match=r"nowhere is not a folder"):
        find(tmp_path / "nowhere")
