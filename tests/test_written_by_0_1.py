"""Files that samespace 0.1 wrote still open and still give the same answers; `written_by_0_1/make.py` lists them.

The tests use commands and `samespace.load` alone, so that they stay as they are when modules move.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import model_def
import samespace
from samespace.model.weights import UNPICKLES_SAFELY
from tests.conftest import ROOT

WRITTEN = Path(__file__).with_name("written_by_0_1")
SAID = json.loads((WRITTEN / "expected.json").read_text(encoding="utf-8"))  # by the version that wrote the files
WHERE = SAID["where"]  # they were written in this folder
PHOTOS = set(SAID["scores"])
TOLERANCE = 1e-4  # another processor rounds otherwise
DUPLICATES = 11  # what `dedupe` exits with when it finds some

Run = Callable[..., str]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack everything that was written, with the dates that libraries know their photos by; never write to it."""
    folder = tmp_path_factory.mktemp("written")
    with tarfile.open(WRITTEN / "everything.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def written(unpacked: Path, tmp_path: Path) -> Path:
    """Copy it for a test to change; full paths, by which plans and manifests name photos, become those of the copy."""
    folder = Path(shutil.copytree(unpacked, tmp_path / "written", ignore=shutil.ignore_patterns("checkpoint", "model")))
    for path in (folder / "plan.json", *folder.glob("tidied/.samespace/quarantine/*/manifest.jsonl")):
        path.write_text(path.read_text(encoding="utf-8").replace(WHERE, str(folder)), encoding="utf-8")
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command as `python -m samespace` does, and return its stdout."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run_command(*words: object, status: int = 0) -> str:
        monkeypatch.setattr("sys.argv", ["samespace", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module("samespace", run_name="__main__")
        printed = capsys.readouterr()
        assert ended.value.code == status, printed.err
        return printed.out

    return run_command


def approximately(said: Any) -> Any:
    return pytest.approx(said, abs=TOLERANCE)


def scores(model: Path, unpacked: Path) -> dict[str, float]:
    loaded = samespace.load(model)
    return {name: loaded.compare(unpacked / "query.jpg", unpacked / "album" / name) for name in sorted(PHOTOS)}


# Models and checkpoints


def test_a_model_says_the_same(run: Run, unpacked: Path) -> None:
    assert scores(unpacked / "model", unpacked) == approximately(SAID["scores"])
    pair = (unpacked / "query.jpg", unpacked / "album" / "0.jpg")
    compared = json.loads(run("compare", *pair, "--model", unpacked / "model", "--json"))
    assert compared["probability"] == approximately(SAID["scores"]["0.jpg"])


def test_a_checkpoint_gives_the_model_it_carries(run: Run, unpacked: Path, tmp_path: Path) -> None:
    run("export", unpacked / "checkpoint", "-o", tmp_path / "model")
    assert scores(tmp_path / "model", unpacked) == approximately(SAID["scores"])


@pytest.mark.skipif(not UNPICKLES_SAFELY, reason="torch 2.6 or later reads a raw state")
def test_a_checkpoint_gives_the_model_of_its_raw_state(run: Run, unpacked: Path, tmp_path: Path) -> None:
    shutil.copytree(unpacked / "checkpoint", tmp_path / "checkpoint", ignore=shutil.ignore_patterns("model"))
    run("export", tmp_path / "checkpoint", "-o", tmp_path / "model")
    assert scores(tmp_path / "model", unpacked) == approximately(SAID["scores"])


@pytest.mark.usefixtures("unpickled")
@pytest.mark.filterwarnings("ignore:GitWildMatchPattern")  # Determined, reading .detignore
def test_a_training_of_compare_does_not_go_on_from_a_checkpoint(
    unpacked: Path, rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ["backbone=mobilenet_v3_small", "weights=none", "global_batch_size=8"]
    config = [word for change in changes for word in ("--config", f"hyperparameters.{change}")]
    paths = ["--data", rooms, "--output", tmp_path / "model", "--resume", unpacked / "checkpoint"]
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert model_def.main(["--epochs", "3", "--config", "data.held_out=0.7", *config, *map(str, paths)]) == 1
    assert "is of an earlier version, whose compare learnt something else" in capsys.readouterr().err


# Libraries


def hits(printed: str) -> dict[str, float]:
    """Return the scores of a search that printed JSON, by the photos' names."""
    found = json.loads(printed)
    answer = found["answers"][0] if "answers" in found else found
    return {Path(hit["path"]).name: hit["score"] for hit in answer["hits"]}


def spoil(photo: Path) -> None:
    """Make a photo unreadable, with the size and the date it had."""
    before = photo.stat()
    photo.write_bytes(bytes(before.st_size))
    os.utime(photo, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_library_knows_its_photos_without_reading_them(run: Run, unpacked: Path, written: Path) -> None:
    album, model, matcher = written / "album", unpacked / "model", written / "matcher.safetensors"
    for name in PHOTOS:
        spoil(album / name)
    for options in ([], ["--model", model], ["--model", model, "--matcher", matcher]):
        scanned = run("scan", album, *options)
        assert scanned.startswith(f"{len(PHOTOS)} photos in ")
        assert "\nno changes since the last scan\n" in scanned
        assert "could not be read" not in scanned
    search = ("search", "--library", album / ".samespace", "--model", model, "--json")
    assert hits(run(*search, unpacked / "query.jpg")) == approximately(SAID["search by photo"])
    by_words = run(*search, SAID["searched"], "--matcher", matcher, "--all")
    assert hits(by_words) == approximately(SAID["search by words"])
    assert json.loads(run("dedupe", album, "--json"))["duplicates"] == 0  # nothing goes that cannot be looked at


def test_a_library_finds_its_duplicates(run: Run, written: Path) -> None:
    found = json.loads(run("dedupe", written / "album", "--json", status=DUPLICATES))
    members = [member for group in found["groups"] for member in group["members"]]
    assert sorted(Path(member["path"]).name for member in members if not member["keep"]) == SAID["removed"]


def test_a_spoiled_photo_is_noticed_when_it_is_read(run: Run, written: Path) -> None:
    spoil(written / "album" / "0.jpg")
    os.utime(written / "album" / "0.jpg")
    assert "could not be read" in run("scan", written / "album")


def test_a_library_keeps_its_verdict(run: Run, written: Path) -> None:
    album = written / "album"
    told = run("verdicts", "--library", album / ".samespace")
    assert told == f"different  '{album / '2 small.jpg'}' {album / '2.jpg'}\n"


def test_a_library_keeps_its_captions(run: Run, unpacked: Path, written: Path) -> None:
    album, model = written / "album", ("--model", unpacked / "model")
    captioned = run("caption", album, "--captioner", written / "captioner.safetensors", *model)
    assert captioned.startswith(f"{len(PHOTOS)} photos captioned, 1 of them by hand\n")
    matcher = ("--matcher", written / "matcher.safetensors")
    words = ("search", SAID["searched"], "--library", album / ".samespace", *model, *matcher, "--all", "--json")
    captions = {Path(hit["path"]).name: hit["caption"] for hit in json.loads(run(*words))["hits"]}
    assert captions == SAID["captions"]


# Sentences


def test_a_matcher_ranks_the_same(run: Run, unpacked: Path) -> None:
    files = ("--captions", unpacked / "dataset.json", "--matcher", unpacked / "matcher.safetensors")
    ranked = json.loads(run("match", unpacked / "query.jpg", *files, "--model", unpacked / "model", "--json"))
    assert ranked[0]["sentence"] == SAID["ranked"][0]["sentence"]
    assert [one["score"] for one in ranked] == approximately([one["score"] for one in SAID["ranked"]])


@pytest.mark.parametrize("writer", ["captioner", "borrower"])
def test_a_captioner_writes_the_same(run: Run, unpacked: Path, writer: str) -> None:
    query, file = unpacked / "query.jpg", unpacked / f"{writer}.safetensors"
    assert run("caption", query, "--captioner", file, "--model", unpacked / "model") == f"{query}: {SAID[writer]}\n"


# Plans and quarantines


def photos_in(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.jpg")}


def test_a_plan_is_carried_out(run: Run, unpacked: Path, written: Path) -> None:
    assert run("apply", written / "plan.json").startswith(f"moved {len(SAID['removed'])} photos to quarantine")
    assert photos_in(written / "album") == PHOTOS - set(SAID["removed"])
    assert run("undo", "--library", written / "album" / ".samespace").startswith("3 photos back in place\n")
    for name in PHOTOS:
        assert (written / "album" / name).read_bytes() == (unpacked / "album" / name).read_bytes()


def test_a_quarantine_gives_its_photos_back(run: Run, written: Path) -> None:
    tidied = written / "tidied"
    assert photos_in(tidied) < PHOTOS
    run("undo", "--library", tidied / ".samespace")
    for name in PHOTOS:
        assert (tidied / name).read_bytes() == (written / "album" / name).read_bytes()
    assert list((tidied / ".samespace" / "quarantine").iterdir()) == []
    assert "\nno changes since the last scan\n" in run("scan", tidied)
