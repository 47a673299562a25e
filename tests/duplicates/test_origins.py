"""Keep the camera's original of real files, whatever was made from it and however often that was saved."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from samespace.base.resaved import is_resaved
from samespace.duplicates.find import find_duplicates
from samespace.duplicates.group import DedupeOptions, Group
from samespace.duplicates.keeper import PREFERRED
from samespace.library.library import FOLDER, Library
from samespace.library.scan import scan
from samespace.search.same_shot import Sketches


@pytest.fixture(scope="module")
def shot() -> Image.Image:
    """Soft shapes with some grain, as a camera sees a room."""
    random = np.random.default_rng(7)
    shapes = Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8)).resize((320, 240), Image.Resampling.BICUBIC)
    grain = np.asarray(shapes, float) + random.normal(0, 6, (240, 320, 1))
    return Image.fromarray(grain.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))


def camera_data(date: str = "2023:05:01 12:30:00") -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Canon", "Canon EOS R6"
    exif.get_ifd(0x8769)[0x9003] = date
    return exif


def save(photo: Image.Image, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    photo.save(path, **options)
    return path


def again(original: Path, path: Path, **options: Any) -> Path:
    with Image.open(original) as photo:
        return save(photo.convert("RGB"), path, **options)


def search(folder: Path, **options: Any) -> Group:
    """The one group in a folder."""
    library = Library(folder / FOLDER, create=True)
    scan(library, [folder], [Sketches()])
    (group,) = find_duplicates([library], [folder], DedupeOptions(**options)).groups
    return group


def said(group: Group) -> dict[str, str]:
    return {member.photo.path.name: member.why for member in group.members}


@pytest.mark.parametrize("quality", [50, 75, 90, 99])
def test_a_web_export_does_not_replace_the_original(shot: Image.Image, quality: int, tmp_path: Path) -> None:
    original = save(shot, tmp_path / "original.jpg", quality=85, exif=camera_data())
    again(original, tmp_path / "export.jpg", quality=quality)
    assert said(search(tmp_path)) == {
        "original.jpg": "has camera data the others lack",
        "export.jpg": "same photo, lacks camera data the other has",
    }


@pytest.mark.parametrize("with_data", [True, False])
def test_by_equal_data_the_file_that_was_compressed_less_is_kept(
    shot: Image.Image, with_data: bool, tmp_path: Path
) -> None:
    options = {"exif": camera_data()} if with_data else {}
    original = save(shot, tmp_path / "original.jpg", quality=85, **options)
    again(original, tmp_path / "export.jpg", quality=60, **options)
    assert said(search(tmp_path)) == {"original.jpg": "less compressed", "export.jpg": "same photo, more compressed"}


@pytest.mark.parametrize(("name", "options"), [("a.jpg", {"quality": 95}), ("a.png", {}), ("a.bmp", {})])
@pytest.mark.parametrize("with_data", [True, False])
def test_saving_again_in_finer_steps_gains_nothing(
    shot: Image.Image, name: str, options: dict[str, Any], with_data: bool, tmp_path: Path
) -> None:
    data = {"exif": camera_data()} if with_data else {}
    original = save(shot, tmp_path / "original.jpg", quality=80, **data)
    again(original, tmp_path / name, **options, **({} if name == "a.bmp" else data))
    group = search(tmp_path)
    assert group.members[0].photo.path == original
    assert said(group)[name].partition(", ")[2] in ("the other saved again", "lacks camera data the other has")


def test_saved_again_and_again_the_first_is_kept(shot: Image.Image, tmp_path: Path) -> None:
    first = save(shot, tmp_path / "z first.jpg", quality=75)
    again(again(first, tmp_path / "b.jpg", quality=88), tmp_path / "a.jpg", quality=97)
    assert search(tmp_path).members[0].photo.path == first


def test_what_is_finer_by_itself_is_kept(shot: Image.Image, tmp_path: Path) -> None:
    whole = save(shot, tmp_path / "whole.png")
    again(whole, tmp_path / "a.jpg", quality=98)
    assert said(search(tmp_path)) == {
        "whole.png": "format that loses less",
        "a.jpg": "same photo, format that loses more",
    }


def test_a_copy_is_told_from_its_original(shot: Image.Image, tmp_path: Path) -> None:
    coarse = save(shot, tmp_path / "coarse.jpg", quality=75)
    for quality in (78, 85, 92, 100):
        assert is_resaved(again(coarse, tmp_path / "copy.jpg", quality=quality), coarse), quality
        fine = save(shot, tmp_path / "fine.jpg", quality=quality)
        assert not is_resaved(fine, again(fine, tmp_path / "export.jpg", quality=75)), quality
    assert is_resaved(again(coarse, tmp_path / "copy.png"), coarse)
    assert not is_resaved(save(shot, tmp_path / "fine.png"), coarse)
    assert not is_resaved(tmp_path / "gone.jpg", coarse)
    assert not is_resaved(save(shot.resize((80, 60)), tmp_path / "small.jpg"), coarse)


def test_pixels_come_before_compression_and_after_data(shot: Image.Image, tmp_path: Path) -> None:
    small = shot.resize((160, 120))
    save(shot, tmp_path / "large.jpg", quality=50)
    save(small, tmp_path / "small.jpg", quality=95)
    assert said(search(tmp_path))["large.jpg"] == "more pixels"
    save(small, tmp_path / "taken.jpg", quality=50, exif=camera_data())
    assert search(tmp_path).members[0].photo.path.name == "taken.jpg"


def test_the_same_photo_is_kept_whatever_the_files_are_called(shot: Image.Image, tmp_path: Path) -> None:
    made = tmp_path / "made"
    original = save(shot, made / "original.jpg", quality=80, exif=camera_data())
    files = [original, again(original, made / "fine.jpg", quality=95), again(original, made / "export.png")]
    for number, order in enumerate(itertools.permutations(files)):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, path in zip("abc", order, strict=True):
            (folder / f"{name}{path.suffix}").write_bytes(path.read_bytes())
        assert search(folder).members[0].photo.path.read_bytes() == original.read_bytes()


@pytest.mark.parametrize("rule", ["best", "largest", "oldest", "newest", "shortest-path"])
def test_a_preferred_folder_wins_by_any_rule(shot: Image.Image, rule: str, tmp_path: Path) -> None:
    original = save(shot, tmp_path / "inbox" / "original.jpg", quality=90, exif=camera_data())
    edited, archived = tmp_path / "edited", tmp_path / "archive" / "2023"
    again(original, edited / "export with a long name.jpg", quality=50)
    again(original, archived / "another export.jpg", quality=40)
    for prefer, kept in (((edited,), edited), ((archived.parent, edited), archived)):
        group = search(tmp_path, keep=rule, prefer=prefer)
        assert (group.members[0].photo.path.parent, group.members[0].why) == (kept, PREFERRED)
        assert f"same photo, the other is {PREFERRED}" in said(group)["original.jpg"]
    assert search(tmp_path, keep=rule, prefer=(edited,), reference=(archived,)).members[0].photo.path.parent == archived
