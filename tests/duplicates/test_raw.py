"""RAW files with no photo beside them are seen by their previews, and never removed for what is no RAW file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samespace.base.kinds import raw_hint
from samespace.base.partners import Partners
from samespace.base.photos import EXTENSIONS, UnreadablePhoto, open_photo
from samespace.base.raw_preview import raw_photos, reads_raw
from samespace.cli.report import Thumbnail, thumbnail
from samespace.cli.scanned import photoless, scan_lines
from samespace.duplicates.find import find_duplicates
from samespace.duplicates.group import BURST, COPIES, LOOK_TWICE, DedupeOptions
from samespace.library.library import FOLDER, Library
from samespace.library.scan import Scan, scan
from samespace.search.same_shot import Sketches
from samespace.web.pictures import check, unseen
from tests.dng import write_dng
from tests.duplicates.test_origins import camera_data, save, shot

__all__ = ["shot"]

with_extra = pytest.mark.skipif(not reads_raw(), reason="needs rawpy")


@pytest.fixture
def album(shot: Image.Image, tmp_path: Path) -> Path:
    """Hold a RAW file alone, twice, and an export of it; RAW + JPEG; and two equal RAW files that show nothing."""
    write_dng(tmp_path / "camera" / "1.dng", shot)
    (tmp_path / "camera" / "1.xmp").write_text("edits")
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "1 again.dng").write_bytes((tmp_path / "camera" / "1.dng").read_bytes())
    save(shot, tmp_path / "sent" / "export.jpg", quality=80)
    save(shot.resize((160, 120)), tmp_path / "sent" / "small export.jpg", quality=80)
    save(Image.effect_mandelbrot((160, 120), (-2, -1, 1, 1), 50), tmp_path / "camera" / "2.jpg")
    write_dng(tmp_path / "camera" / "2.dng", shot)
    for name in ("3.CR2", "4.CR2"):
        (tmp_path / "camera" / name).write_bytes(b"raw")
    return tmp_path


def scanned(folder: Path) -> tuple[Library, Scan]:
    library = Library(folder / FOLDER, create=True)
    return library, scan(library, [folder], [Sketches()])


def groups(folder: Path, **options: Any) -> list[tuple[str, dict[str, bool]]]:
    library, _ = scanned(folder)
    found = find_duplicates([library], [folder], DedupeOptions(**options)).groups
    return [(each.answer, {member.photo.path.name: member.keep for member in each.members}) for each in found]


@with_extra
@pytest.mark.parametrize("orientation, turn", [(1, 0), (3, 180), (6, 270), (8, 90)])
def test_a_raw_file_is_seen_as_its_camera_held_it(
    shot: Image.Image, orientation: int, turn: int, tmp_path: Path
) -> None:
    photo = open_photo(write_dng(tmp_path / "1.DNG", shot, orientation))
    expected = shot.rotate(turn, expand=True)
    assert photo.size == expected.size
    assert abs(np.asarray(photo, int) - np.asarray(expected, int)).mean() < 3


@with_extra
def test_raw_files_alone_are_scanned_and_others_counted(album: Path) -> None:
    library, found = scanned(album)
    assert (found.photos, found.new, found.unreadable) == (5, 5, [])
    assert found.not_compared == {"CR2": 2, "DNG": 1}
    assert library.unreadable() == []
    assert {photo.taken for photo in library.photos() if photo.path.suffix == ".dng"} == {"2024-05-01 12:30:00"}
    assert scan(library, [album], [Sketches()])[:5] == (5, 0, 0, 0, 0)


@with_extra
def test_only_raw_files_of_equal_bytes_are_removed(album: Path) -> None:
    equal, unseen = {"1 again.dng": True, "1.dng": False}, {"3.CR2": True, "4.CR2": False}
    assert groups(album, kind="exact") == [(COPIES, equal), (COPIES, unseen)]
    assert groups(album) == [
        (COPIES, equal),
        (COPIES, {"export.jpg": True, "small export.jpg": False}),
        (COPIES, unseen),
    ]
    for name in ("sent/small export.jpg", "backup/1 again.dng"):
        (album / name).unlink()
    assert groups(album) == [(COPIES, unseen), (LOOK_TWICE, {"1.dng": True, "export.jpg": True})]


@with_extra
@pytest.mark.parametrize("options", [{"keep": "oldest"}, {"prefer": "sent"}, {"threshold": 0.4}])
def test_no_option_removes_a_raw_file_for_a_photo(album: Path, shot: Image.Image, options: dict[str, Any]) -> None:
    for name in ("sent/small export.jpg", "backup/1 again.dng"):
        (album / name).unlink()
    save(shot, album / "sent" / "export.jpg", quality=80, exif=camera_data())
    if "prefer" in options:
        options = {"prefer": (album / "sent",)}
    members = {name: keep for _, each in groups(album, mark_all=True, **options) for name, keep in each.items()}
    assert members["1.dng"]


@with_extra
def test_pages_and_reports_show_its_preview(album: Path) -> None:
    library, _ = scanned(album)
    (photo, *_) = (photo for photo in library.photos() if photo.path.suffix == ".dng")
    shown = thumbnail(photo.path)
    assert isinstance(shown, Thumbnail) and (shown.width, shown.height) == (176, 132)
    assert (unseen(photo), unseen(photo._replace(width=0)), check(photo).kind) == ("", "DNG", None)


@with_extra
def test_sidecars_travel_with_a_raw_file_alone(album: Path) -> None:
    names = [partner.path.name for partner in Partners().of(album / "camera" / "1.dng")]
    assert names == ["1.xmp"]
    assert [partner.path.name for partner in Partners().of(album / "camera" / "2.jpg")] == ["2.dng"]


@with_extra
def test_two_raw_files_that_look_alike_stay(shot: Image.Image, tmp_path: Path) -> None:
    one, other = (write_dng(tmp_path / name, shot) for name in ("one.dng", "other.dng"))
    other.write_bytes(other.read_bytes() + b"more")
    assert groups(tmp_path) == [(BURST, {"one.dng": True, "other.dng": True})]  # they say one second
    assert groups(tmp_path, kind="exact") == []
    with pytest.raises(UnreadablePhoto, match="no preview in it that can be read"):
        one.write_bytes(b"raw")
        open_photo(one)


@with_extra
def test_a_folder_of_raw_files_has_photos_if_one_can_be_seen(shot: Image.Image, tmp_path: Path) -> None:
    (tmp_path / "1.cr2").write_bytes(b"raw")
    assert photoless([tmp_path], None, (".jpg",)) == {tmp_path: {"CR2": 1}}
    assert photoless([tmp_path], None, EXTENSIONS) == {tmp_path: {"CR2": 1}}
    write_dng(tmp_path / "2.dng", shot)
    assert photoless([tmp_path], None, EXTENSIONS) == {}


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch, album: Path) -> None:
    for module in ("raw_preview", "kinds"):
        monkeypatch.setattr(f"samespace.base.{module}.reads_raw", lambda: False)
    assert raw_photos(["1.dng"], EXTENSIONS) == set()
    assert raw_hint({"MOV": 1}) == []
    _, found = scanned(album)
    assert (found.photos, found.not_compared) == (3, {"CR2": 2, "DNG": 3})
    hint = "To compare RAW files that have no photo beside them: pip install 'samespace[raw]'"
    assert scan_lines(found, EXTENSIONS)[-1] == hint
