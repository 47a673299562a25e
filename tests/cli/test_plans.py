"""No plan takes another's place, and every printed command works from anywhere."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import pytest

from samespace.cli.main import main
from samespace.duplicates.plan_files import MANY, PLANS, plan_files
from samespace.library.library import FOLDER
from tests.conftest import draw


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with a blank in its name: two copies of one photo, and another photo."""
    photos = tmp_path / "my photos"
    photos.mkdir()
    draw(photos / "a.png", 1)
    draw(photos / "b.png", 2)
    shutil.copy(photos / "a.png", photos / "copy.png")
    return photos


def run(*words: object) -> int:
    return main(list(map(str, words)))


def commands(text: str, verb: str) -> list[list[str]]:
    """The words of the commands of this kind that a text names, in the order of its lines."""
    lines = [line.strip().partition("  #")[0] for line in text.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"samespace {verb} ")]


def test_plans_of_two_kinds_lie_side_by_side(photos: Path) -> None:
    assert run("dedupe", photos) == 11
    (near,) = plan_files(photos / FOLDER)
    before = near.read_bytes()
    assert run("dedupe", photos, "--kind", "exact") == 11
    exact, other = plan_files(photos / FOLDER)
    assert exact.parent == near.parent == photos / FOLDER / PLANS
    assert (exact.name[:6], other, near.name[:5], near.read_bytes()) == ("exact-", near, "near-", before)


def test_a_plan_that_says_the_same_is_not_kept_twice_and_an_edited_one_stays(photos: Path) -> None:
    run("dedupe", photos)
    run("dedupe", photos)
    (plan,) = plan_files(photos / FOLDER)
    edited = plan.read_text().replace('"threshold": 0.6', '"threshold": 0.7')
    plan.write_text(edited)
    run("dedupe", photos)
    assert len(plan_files(photos / FOLDER)) == 2 and plan.read_text() == edited


def test_many_plans_are_said_and_none_is_deleted(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("dedupe", photos)
    assert capsys.readouterr().err == ""
    (plan,) = plan_files(photos / FOLDER)
    for number in range(MANY):
        shutil.copy(plan, plan.with_name(f"exact-{number}.json"))
    run("dedupe", photos)
    assert f"there are {MANY + 1} plans in '{photos / FOLDER / PLANS}': delete those" in capsys.readouterr().err
    assert len(plan_files(photos / FOLDER)) == MANY + 1


def test_a_named_plan_of_another_kind_is_refused(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = photos.parent / "plan.json"
    assert [run("dedupe", photos, "--plan", plan) for _ in range(2)] == [11, 11]
    before = plan.read_bytes()
    assert run("dedupe", photos, "--kind", "exact", "--plan", plan) == 1
    said = f"error: {plan} is a plan of near duplicates: give --plan another name\n"
    assert (capsys.readouterr().err, plan.read_bytes()) == (said, before)


def test_a_plan_that_removes_nothing_is_not_offered(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = photos / FOLDER
    (photos / "copy.png").rename(photos.parent / "elsewhere.png")
    assert run("dedupe", photos) == 0
    assert plan_files(library), "it is written all the same"
    assert run("apply", "--library", library) == 1
    assert capsys.readouterr().err.startswith(f"error: no plan in {library} removes a photo")
    shutil.copy(photos / "a.png", photos / "copy.png")
    run("dedupe", photos)
    capsys.readouterr()
    assert run("apply", "--library", library) == 2
    assert [words[1] for words in commands(capsys.readouterr().out, "apply")] == [str(plan_files(library)[0])]


def test_apply_without_a_plan_lists_them_and_their_commands_work_from_anywhere(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    assert run("apply") == 1
    assert "no library at or above" in capsys.readouterr().err
    run("dedupe", ".", "--plan", "mine.json", "--report", "report.html")
    page = (photos / "report.html").read_text()
    assert run("apply") == 1
    assert "`samespace dedupe` writes one" in capsys.readouterr().err
    run("dedupe", ".")
    run("dedupe", ".", "--kind", "exact")
    old = photos / FOLDER / "plan.json"  # as 0.1 wrote it
    shutil.copy("mine.json", old)
    os.utime(old, ns=(1, 1))
    capsys.readouterr()
    assert run("apply") == 2
    out = capsys.readouterr().out
    assert commands(out, "apply") == [["apply", str(plan)] for plan in plan_files(photos / FOLDER)]
    assert out.count("removes 1 photo") == 3
    assert (photos / "copy.png").exists()

    monkeypatch.chdir("/")
    assert run("apply", "--library", photos / FOLDER) == 2
    *_, last = commands(capsys.readouterr().out, "apply")
    assert last == ["apply", str(old)]
    assert run(*last) == 0
    (undo,) = commands(capsys.readouterr().out, "undo")
    assert sum((photos / name).exists() for name in ("a.png", "copy.png")) == 1
    assert (run(*undo), undo[1].startswith(str(photos))) == (0, True)
    assert f"samespace apply &#x27;{photos}/mine.json&#x27;" in page
    assert f"samespace undo --library &#x27;{photos / FOLDER}&#x27;" in page
    assert run("apply", photos / "mine.json") == 0
    assert run("undo", "--library", photos / FOLDER) == 0


def test_a_stopped_apply_says_how_to_undo_it(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from samespace.duplicates import apply

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    run("dedupe", photos)
    monkeypatch.setattr(apply, "apply", stop)
    capsys.readouterr()
    assert run("apply", plan_files(photos / FOLDER)[0]) == 1
    assert f"type `samespace undo --library '{photos / FOLDER}'` to bring" in capsys.readouterr().err


def test_all_of_it_works_with_a_library_elsewhere(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library = tmp_path / "elsewhere"
    there = ["--library", library]
    before = {path: path.read_bytes() for path in photos.iterdir()}
    assert run("scan", photos, *there) == 0
    (dedupe,) = commands(capsys.readouterr().out, "dedupe")
    assert run(*dedupe) == 11
    (apply,) = commands(capsys.readouterr().out, "apply")
    assert Path(apply[1]).parent == library / PLANS
    assert run(*apply) == 0
    (undo,) = commands(capsys.readouterr().out, "undo")
    assert Path(undo[1]).parent == library / "quarantine"
    assert run(*undo) == 0
    assert run(*apply) == run("undo", *there) == 0
    assert run("verdict", photos / "a.png", photos / "b.png", "different", *there) == 0
    assert run("verdicts", *there) == 0
    assert run("search", photos / "a.png", *there) == 0
    assert run(*apply) == run("empty-quarantine", "--older-than", "0d", "--yes", *there) == 0
    left = {path: path.read_bytes() for path in photos.iterdir()}
    assert len(left) == len(before) - 1 and left.items() < before.items()


@pytest.mark.parametrize("name", ["Dropbox", "plain"])
def test_a_library_made_in_a_synced_folder_is_said_once(
    name: str, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos.rename(photos.parent / name) / "2023"
    folder.mkdir()
    draw(folder / "a.png", 1)
    monkeypatch.setenv("HOME", str(photos.parent))
    run("scan", folder)
    err = capsys.readouterr().err
    if name == "plain":
        assert err == ""
        return
    assert err.startswith(f"Dropbox seems to sync {folder}, so it will also copy the database and the quarantine")
    assert len(err.splitlines()) == 1
    library = Path(err.split()[-4])
    run("scan", folder)
    assert capsys.readouterr().err == ""
    shutil.rmtree(folder / FOLDER)
    run("scan", folder, "--library", library)
    assert (capsys.readouterr().err, (folder / FOLDER).exists()) == ("", False)
