"""An animation or a file of pages is removed only for the same bytes: of each, only the first picture is compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from samespace.base.decode import is_seen_in_part
from samespace.duplicates.find import find_duplicates
from samespace.duplicates.group import COPIES, LOOK_TWICE, DedupeOptions
from samespace.library.library import FOLDER, Library
from samespace.library.scan import scan
from samespace.search.same_shot import Sketches
from tests.duplicates.test_origins import shot

__all__ = ["shot"]

FORMATS = ["gif", "png", "webp", "tif"]


@pytest.fixture
def pictures(shot: Image.Image) -> list[Image.Image]:
    return [shot, shot.transpose(Image.Transpose.FLIP_TOP_BOTTOM), shot.convert("L").convert("RGB")]


def groups(folder: Path, **options: Any) -> list[tuple[str, dict[str, bool]]]:
    library = Library(folder / FOLDER, create=True)
    scan(library, [folder], [Sketches()])
    found = find_duplicates([library], [folder], DedupeOptions(**options)).groups
    return [(each.answer, {member.photo.path.name: member.keep for member in each.members}) for each in found]


@pytest.mark.parametrize("kind", FORMATS)
def test_what_begins_alike_may_go_on_otherwise(kind: str, pictures: list[Image.Image], tmp_path: Path) -> None:
    first, second, third = pictures
    first.save(tmp_path / f"a.{kind}", save_all=True, append_images=[second])
    first.save(tmp_path / f"b.{kind}", save_all=True, append_images=[third])
    first.save(tmp_path / "still.png")
    assert all(answer == LOOK_TWICE and all(keeps.values()) for answer, keeps in groups(tmp_path, kind="near"))
    assert not groups(tmp_path, kind="exact")


def test_the_same_bytes_are_copies(pictures: list[Image.Image], tmp_path: Path) -> None:
    first, second, _ = pictures
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    (tmp_path / "b.gif").write_bytes((tmp_path / "a.gif").read_bytes())
    assert groups(tmp_path) == [(COPIES, {"a.gif": True, "b.gif": False})]


@pytest.mark.parametrize("kind", [*FORMATS, "jpg"])
def test_one_picture_is_seen_whole(kind: str, shot: Image.Image, tmp_path: Path) -> None:
    shot.save(tmp_path / f"a.{kind}")
    assert not is_seen_in_part(tmp_path / f"a.{kind}")


def test_what_cameras_add_to_a_jpeg_is_no_second_page(pictures: list[Image.Image], tmp_path: Path) -> None:
    pictures[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[pictures[0].resize((80, 60))])
    assert not is_seen_in_part(tmp_path / "a.jpg")
