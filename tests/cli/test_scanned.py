"""A terminal says what a scan saw and did not compare, and makes no library where there are no photos."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from samespace.base.kinds import raw_hint
from tests.conftest import Run
from tests.duplicates.conftest import write
from tests.library.conftest import draw

LOOKED_FOR = "No photos here (looked for jpg, jpeg, png, webp, bmp, gif, tif, tiff, avif, heic, heif)."
NOT_LOOKED_AT = "Not looked at: 8 CR2, 12 MOV."
HINT = "".join(f"{line}\n" for line in raw_hint({"CR2": 8}))  # without the extra


@pytest.fixture
def unseen(tmp_path: Path) -> Path:
    """A folder without photos, of 8 RAW files, 12 videos, and what nobody names."""
    for number in range(8):
        write(tmp_path / "unseen" / "raw" / f"IMG_{number}.CR2", b"raw")
    for number in range(12):
        write(tmp_path / "unseen" / f"film {number}.mov", b"film")
    write(tmp_path / "unseen" / "notes.txt", b"notes")
    return tmp_path / "unseen"


@pytest.mark.parametrize("command", ["scan", "dedupe"])
def test_a_folder_without_photos_is_told_and_gets_no_library(run: Run, unseen: Path, command: str) -> None:
    assert run(command, unseen) == (0, f"{LOOKED_FOR} {NOT_LOOKED_AT}\n{HINT}", "")
    assert not (unseen / ".samespace").exists()
    for path in unseen.rglob("*.*"):
        path.unlink()
    assert run(command, unseen, "--extensions", "jpg,png") == (0, "No photos here (looked for jpg, png).\n", "")
    assert not (unseen / ".samespace").exists()


def test_serve_refuses_it(run: Run, unseen: Path) -> None:
    status, out, err = run("serve", unseen, "--port", "0")
    assert (status, out) == (1, "")
    assert err == f"error: {LOOKED_FOR} {NOT_LOOKED_AT} Name a DIR that holds photos\n"
    assert not (unseen / ".samespace").exists()


def test_a_search_in_it_is_refused(run: Run, unseen: Path, tmp_path: Path) -> None:
    draw(tmp_path / "album" / "a.jpg", 1)
    status, out, err = run("search", "--like", tmp_path / "album", "--in", unseen)
    assert (status, out) == (1, "")
    assert err == f"error: {unseen}: {LOOKED_FOR} {NOT_LOOKED_AT} Name a DIR that holds photos\n"
    assert not (unseen / ".samespace").exists()


def test_json_a_plan_and_a_report_are_written_all_the_same(run: Run, unseen: Path, tmp_path: Path) -> None:
    plan, report = tmp_path / "plan.json", tmp_path / "report.html"
    status, out, err = run("dedupe", unseen, "--json", "--plan", plan, "--report", report)
    assert (status, err) == (0, f"{LOOKED_FOR} {NOT_LOOKED_AT}\n{HINT}")
    answer = json.loads(out)
    assert (answer["photos"], answer["groups"], answer["plan"]) == (0, [], str(plan))
    assert answer["not_compared"] == {"CR2": 8, "MOV": 12}
    assert "Not looked at: 8 CR2, 12 MOV." in report.read_text()
    assert run("apply", plan)[0] == 0
    assert json.loads(run("dedupe", unseen, "--json")[1])["plan"] is None
    assert not (unseen / ".samespace").exists()


def test_of_several_folders_only_those_with_photos_get_a_library(run: Run, unseen: Path, tmp_path: Path) -> None:
    draw(tmp_path / "album" / "a.jpg", 1)
    status, out, _ = run("dedupe", tmp_path / "album", unseen)
    assert status == 0
    assert out.startswith(f"{unseen}: {LOOKED_FOR} {NOT_LOOKED_AT}\nnear duplicates")
    assert not HINT or out.count(HINT) == 1
    assert (tmp_path / "album" / ".samespace").is_dir()
    assert not (unseen / ".samespace").exists()


def test_a_library_that_is_there_stays(run: Run, unseen: Path) -> None:
    photo = draw(unseen / "a.jpg", 1)
    status, out, _ = run("scan", unseen)
    assert (status, out.splitlines()[0].startswith("1 photo in ")) == (0, True)
    assert "Not compared: 8 CR2, 12 MOV; of these only copies with equal bytes are found.\n" in out
    photo.unlink()
    status, out, _ = run("scan", unseen)
    assert (status, out.splitlines()[:2]) == (0, [f"{LOOKED_FOR} {NOT_LOOKED_AT}", "1 forgotten file"])
    assert (unseen / ".samespace" / "library.sqlite").is_file()


def test_a_library_elsewhere_finds_equal_bytes_without_a_photo(run: Run, unseen: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    status, out, _ = run("scan", unseen, "--library", library)
    assert (status, out.splitlines()[0]) == (0, f"{LOOKED_FOR} {NOT_LOOKED_AT}")
    status, out, _ = run("dedupe", unseen, "--library", library)
    assert status == 11
    assert "exact, 12 files, " in out and "film 0.mov  4 B: equally good; first by name\n" in out
    assert not (unseen / ".samespace").exists()
    (tmp_path / "empty").mkdir()
    assert run("scan", tmp_path / "empty", "--library", tmp_path / "other") == (0, f"{LOOKED_FOR}\n", "")
    assert not (tmp_path / "other").exists()


def test_the_report_shows_a_tile_instead_of_a_broken_picture(run: Run, unseen: Path, tmp_path: Path) -> None:
    draw(unseen / "a.jpg", 1)
    assert run("dedupe", unseen, "--report", tmp_path / "report.html")[0] == 11
    page = (tmp_path / "report.html").read_text()
    assert page.count('<span class="gone">MOV<small>4 B</small></span>') == 12
    assert "cannot be shown" not in page and "0 × 0" not in page
    assert "Not compared: 8 CR2, 12 MOV; of these only copies with equal bytes are found." in page
