"""Whatever a crop or a grey version has that the photo does not, the photo that shows more of the shot stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samespace.duplicates.find import find_duplicates
from samespace.duplicates.group import DedupeOptions
from samespace.duplicates.widest import noted, without_notes
from samespace.library.library import FOLDER, Library
from samespace.library.scan import scan
from samespace.search.pair_scores import Scored
from samespace.search.same_shot import Sketches
from tests.duplicates.test_origins import again, camera_data, save, shot

__all__ = ["shot"]

WIDER = (True, "shows more than the photo that is kept")


def fates(folder: Path, **options: Any) -> dict[str, tuple[bool, str]]:
    library = Library(folder / FOLDER, create=True)
    scan(library, [folder], [Sketches()])
    (group,) = find_duplicates([library], [folder], DedupeOptions(**options)).groups
    return {member.photo.path.name: (member.keep, member.why) for member in group.members}


@pytest.fixture
def album(shot: Image.Image, tmp_path: Path) -> Path:
    """Hold a wide photo without camera data, and a crop of it that has some."""
    save(shot.resize((640, 480)), tmp_path / "wide.jpg", quality=90)
    save(shot.resize((640, 480)).crop((80, 60, 600, 450)), tmp_path / "crop.jpg", quality=90, exif=camera_data())
    return tmp_path


def test_a_crop_with_camera_data_takes_no_wider_photo_with_it(album: Path) -> None:
    expected = {"crop.jpg": (True, "has camera data the others lack"), "wide.jpg": WIDER}
    assert fates(album) == expected
    assert fates(album) == expected, "as remembered"


@pytest.mark.parametrize("options", [{"keep": "oldest"}, {"keep": "shortest-path"}, {"reference": "crops"}])
def test_no_rule_and_no_folder_lets_a_wider_photo_go(album: Path, options: dict[str, Any]) -> None:
    (album / "crops").mkdir()
    crop = (album / "crop.jpg").rename(album / "crops" / "c.jpg")
    if "keep" in options:
        crop = crop.rename(album / "c.jpg")
    else:
        options = {"reference": (album / "crops",)}
    assert fates(album, **options)["wide.jpg"] == WIDER


def test_of_several_wider_photos_one_is_enough(album: Path) -> None:
    again(album / "wide.jpg", album / "wider export.jpg", quality=60)
    (album / "wide again.jpg").write_bytes((album / "wide.jpg").read_bytes())
    found = fates(album)
    assert {name: keep for name, (keep, _) in found.items()} == {
        "crop.jpg": True,
        "wide.jpg": False,
        "wide again.jpg": True,
        "wider export.jpg": False,
    }


def test_a_crop_goes_if_nothing_speaks_for_it(shot: Image.Image, tmp_path: Path) -> None:
    save(shot.resize((640, 480)), tmp_path / "wide.jpg", quality=90, exif=camera_data())
    save(shot.resize((640, 480)).crop((80, 60, 600, 450)), tmp_path / "crop.jpg", quality=90)
    assert {name: keep for name, (keep, _) in fates(tmp_path).items()} == {"wide.jpg": True, "crop.jpg": False}


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_photo_in_colour_comes_before_a_grey_version(shot: Image.Image, mode: str, tmp_path: Path) -> None:
    save(shot, tmp_path / "colour.jpg", quality=85)
    save(shot.convert("L").convert(mode), tmp_path / "grey.jpg", quality=95)
    expected = {"colour.jpg": (True, "in colour"), "grey.jpg": (False, "same photo, grey")}
    assert fates(tmp_path) == expected
    assert fates(tmp_path) == expected, "as remembered"


def test_a_grey_version_that_is_kept_takes_no_photo_in_colour_with_it(shot: Image.Image, tmp_path: Path) -> None:
    save(shot, tmp_path / "colour.jpg", quality=85)
    save(shot.convert("L").convert("RGB"), tmp_path / "grey.jpg", quality=95, exif=camera_data())
    expected = {"grey.jpg": (True, "has camera data the others lack"), "colour.jpg": WIDER}
    assert fates(tmp_path) == expected
    assert fates(tmp_path) == expected, "as remembered"
    save(shot.convert("L"), tmp_path / "another.jpg", quality=70)
    assert fates(tmp_path)["another.jpg"][0] is False


def test_a_little_colour_is_colour(shot: Image.Image, tmp_path: Path) -> None:
    """A number plate in a grey scene: a thirtieth of the photo."""
    little = shot.convert("L").convert("RGB")
    little.paste("#e8c020", (120, 160, 184, 200))
    save(little, tmp_path / "colour.jpg", quality=85)
    save(little.convert("L"), tmp_path / "grey.jpg", quality=95)
    assert fates(tmp_path)["colour.jpg"] == (True, "in colour")


def test_of_photos_without_colour_none_is_in_colour(shot: Image.Image, tmp_path: Path) -> None:
    save(shot.convert("L"), tmp_path / "grey.jpg", quality=85)
    save(shot.convert("L").convert("RGB").resize((160, 120)), tmp_path / "small.jpg", quality=95)
    assert fates(tmp_path)["grey.jpg"] == (True, "more pixels")


def test_scores_say_in_a_library_which_photo_shows_more() -> None:
    scored = Scored(np.array([0, 0, 1]), np.array([1, 2, 2]), np.array([1.0, 0.75, 0.5]))
    contents, wider = ["b", "c", "a"], {(1, 0): False, (0, 2): True}
    told = noted(scored, wider, contents)
    assert told.scores.tolist() == [5.0, 8.75, 0.5]
    back, again = without_notes(told, contents)
    assert (back.scores.tolist(), again) == (scored.scores.tolist(), wider)
    swapped = Scored(told.second, told.first, told.scores)
    assert without_notes(swapped, contents)[1] == wider
