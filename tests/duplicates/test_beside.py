"""A photo with a RAW file or a video beside it does not go unless a kept photo has the same beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from samespace.cli.found_json import as_json
from samespace.duplicates.apply import apply
from samespace.duplicates.find import find_duplicates
from samespace.duplicates.group import DedupeOptions, Duplicates
from samespace.duplicates.plan import make_plan, read_plan, write_plan
from samespace.library.library import FOLDER, Library
from samespace.library.scan import scan
from samespace.search.same_shot import Sketches
from tests.base.test_origin import VIDEO, motion_photo
from tests.duplicates.test_origins import again, camera_data, save, shot

__all__ = ["shot"]


def found(folder: Path, **options: Any) -> tuple[Duplicates, Library]:
    library = Library(folder / FOLDER, create=True)
    scan(library, [folder], [Sketches()])
    return find_duplicates([library], [folder], DedupeOptions(**options)), library


def fates(duplicates: Duplicates) -> dict[str, tuple[bool, str]]:
    members = [member for group in duplicates.groups for member in group.members]
    return {f"{each.photo.path.parent.name}/{each.photo.path.name}": (each.keep, each.why) for each in members}


@pytest.fixture
def album(shot: Image.Image, tmp_path: Path) -> Path:
    """A small export with its RAW beside it, and a larger photo with camera data that has none."""
    save(shot.resize((160, 120)), tmp_path / "raw" / "1.jpg", quality=60)
    (tmp_path / "raw" / "1.CR2").write_bytes(b"raw")
    save(shot, tmp_path / "large" / "1.jpg", quality=95, exif=camera_data())
    return tmp_path


def test_a_raw_beside_it_comes_before_camera_data(album: Path) -> None:
    duplicates, _ = found(album)
    assert fates(duplicates) == {
        "raw/1.jpg": (True, "has its RAW beside it"),
        "large/1.jpg": (False, "same photo, has no RAW beside it"),
    }


def test_a_video_beside_it_comes_next(album: Path) -> None:
    (album / "raw" / "1.CR2").rename(album / "raw" / "1.MOV")
    duplicates, _ = found(album)
    assert fates(duplicates)["raw/1.jpg"] == (True, "has its video")
    (album / "large" / "1.NEF").write_bytes(b"another raw")
    duplicates, _ = found(album)
    assert fates(duplicates) == {
        "large/1.jpg": (True, "has its RAW beside it"),
        "raw/1.jpg": (True, "nothing kept has its MOV beside it"),
    }


def test_a_motion_photo_does_not_go_for_a_still(album: Path) -> None:
    motion_photo(album / "raw" / "1.jpg", b'<rdf GCamera:MotionPhoto="1"/>', VIDEO)
    (album / "raw" / "1.CR2").unlink()
    assert fates(found(album)[0]) == {
        "raw/1.jpg": (True, "has its video"),
        "large/1.jpg": (False, "same photo, has no video"),
    }
    duplicates, _ = found(album, prefer=(album / "large",))
    assert fates(duplicates)["raw/1.jpg"] == (True, "nothing kept holds its video")
    motion_photo(album / "large" / "1.jpg", b'<rdf GCamera:MotionPhoto="1"/>', VIDEO)
    assert fates(found(album, prefer=(album / "large",))[0])["raw/1.jpg"][0] is False


@pytest.mark.parametrize("kind", ["CR2", "mov"])
@pytest.mark.parametrize("rule", ["largest", "prefer", "reference", "against"])
def test_whoever_is_kept_a_photo_with_a_raw_or_video_of_its_own_stays(album: Path, rule: str, kind: str) -> None:
    (album / "raw" / "1.CR2").rename(album / "raw" / f"1.{kind}")
    options: dict[str, Any] = {"keep": "largest"} if rule == "largest" else {rule: (album / "large",)}
    duplicates, library = found(album, **options)
    assert duplicates.groups[0].members[0].photo.path == album / "large" / "1.jpg"
    assert fates(duplicates)["raw/1.jpg"] == (True, f"nothing kept has its {kind.upper()} beside it")
    assert (duplicates.duplicates, duplicates.bytes_freed) == (0, 0)
    assert apply(make_plan(duplicates, [library])).photos == 0


def test_a_photo_goes_with_its_raw_if_the_kept_one_has_the_same(album: Path, tmp_path: Path) -> None:
    (album / "large" / "1.cr2").write_bytes(b"raw")
    (album / "raw" / "1.jpg.xmp").write_bytes(b"edits")
    duplicates, library = found(album)
    assert [keep for keep, _ in fates(duplicates).values()] == [True, False]
    size = (album / "raw" / "1.jpg").stat().st_size + len(b"raw" + b"edits")
    assert duplicates.bytes_freed == size
    told = as_json(duplicates, tmp_path / "plan.json")["groups"][0]["members"][1]
    assert [Path(each["path"]).name for each in told["partners"]] == ["1.CR2", "1.jpg.xmp"]
    write_plan(tmp_path / "plan.json", make_plan(duplicates, [library]))
    [group] = json.loads((tmp_path / "plan.json").read_text())["groups"]
    assert [partner.get("keeper") for partner in group["remove"][0]["partners"]] == [
        str(album / "large" / "1.cr2"),
        None,
    ]
    applied = apply(read_plan(tmp_path / "plan.json"))
    assert (applied.photos, applied.partners, applied.bytes_to_free, applied.skipped) == (1, 2, size, ())


def test_a_raw_of_other_bytes_is_another(album: Path) -> None:
    (album / "large" / "1.cr2").write_bytes(b"war")
    assert all(keep for keep, _ in fates(found(album)[0]).values())


def test_of_several_copies_with_one_raw_one_is_enough(album: Path) -> None:
    again(album / "raw" / "1.jpg", album / "copy" / "1.jpg", quality=50)
    (album / "copy" / "1.CR2").write_bytes(b"raw")
    duplicates, _ = found(album, prefer=(album / "large",))
    assert {name: keep for name, (keep, _) in fates(duplicates).items()} == {
        "large/1.jpg": True,
        "raw/1.jpg": True,
        "copy/1.jpg": False,
    }


def test_equal_bytes_are_told_apart_by_what_lies_beside(album: Path) -> None:
    (album / "large" / "0.jpg").write_bytes((album / "raw" / "1.jpg").read_bytes())
    (album / "large" / "1.jpg").unlink()
    assert fates(found(album)[0]) == {
        "raw/1.jpg": (True, "has its RAW beside it"),
        "large/0.jpg": (False, "same bytes, has no RAW beside it"),
    }


def test_two_photos_of_one_stem_leave_their_raw_with_the_one_that_stays(album: Path) -> None:
    (album / "large" / "1.jpg").unlink()
    again(album / "raw" / "1.jpg", album / "raw" / "1.png")
    duplicates, library = found(album)
    assert [keep for keep, _ in fates(duplicates).values()] == [True, False]
    applied = apply(make_plan(duplicates, [library]))
    assert (applied.photos, applied.partners) == (1, 0)
    assert applied.bytes_to_free == duplicates.bytes_freed
    assert (album / "raw" / "1.CR2").exists()
