"""The data set arrives whole or not at all, and the commands say what is in it."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import data
from experiments.samples import as_trained, draw_pair
from samespace.base.errors import SameSpaceError
from samespace.model.pairs import AIRBNB, TEST, TRAINING, VERDICTS, Pairs, find_photos
from tests.conftest import ROOT, draw

# ---- commands


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "data.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def test_summary_prints_counts_and_lists_what_it_left_out(root: Path) -> None:
    (root / AIRBNB / TRAINING / "kitchen" / "boston_8_2.jpg").touch()
    draw(root / AIRBNB / TRAINING / "kitchen" / "holiday.jpg", 0)
    result = run("summary", root, "--json")
    numbers = json.loads(result.stdout)
    assert numbers.pop("seconds") > 0
    assert 10 < numbers.pop("peak_mb") < 10_000
    assert numbers == {
        "photos": 7,
        "spaces": 4,
        "unreadable": 1,
        "unparsed": 1,
        "ordered_pairs": 49,
        "duplicates": 15,
        "non_duplicates": 34,
        "augmented_duplicates": 240,
        "sampled_non_duplicates": 34,
    }
    assert "boston_8_2.jpg: the file is empty" in result.stderr
    assert "holiday.jpg: its name is not" in result.stderr


def write_verdicts(root: Path) -> None:
    folder = root / AIRBNB / TRAINING / VERDICTS
    for seed, name in enumerate("abcde"):
        draw(folder / f"{name}.jpg", 50 + seed)
    (folder / "verdicts.csv").write_text("first,second,same\na.jpg,b.jpg,1\nb.jpg,c.jpg,0\nd.jpg,e.jpg,0\n")


def test_summary_counts_verdicts_and_no_pair_that_nobody_judged(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_verdicts(root)
    assert data.main(["summary", str(root), "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    del numbers["seconds"], numbers["peak_mb"]
    assert numbers == {
        "photos": 12,
        "spaces": 4,
        "unreadable": 0,
        "unparsed": 0,
        "ordered_pairs": 49 + 6,
        "duplicates": 15 + 2,
        "non_duplicates": 34 + 4,
        "augmented_duplicates": 16 * (15 + 2),
        "sampled_non_duplicates": 34,
        "verdicts_same": 1,
        "verdicts_different": 2,
    }


def test_summary_without_json_is_an_aligned_table(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert data.main(["summary", str(root), "--same-space-type"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[5].split() == ["duplicates", "11"]
    assert len({len(line) for line in lines}) == 1


def test_a_mistake_is_one_line_and_exit_status_1(tmp_path: Path) -> None:
    result = run("summary", tmp_path / "nowhere")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {tmp_path / 'nowhere'} does not exist")
    assert result.stderr.count("\n") == 1


def test_samples_draws_a_picture_that_follows_its_seed(root: Path, tmp_path: Path) -> None:
    pictures = []
    for name, seed in (("a.png", "0"), ("b.png", "0"), ("c.png", "1")):
        assert data.main(["samples", str(root), "--output", str(tmp_path / name), "--seed", seed]) == 0
        pictures.append(np.asarray(Image.open(tmp_path / name)))
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "c.png", "photos"]


def find(root: Path, stem: str) -> Path:
    return next(root.rglob(f"{stem}.jpg"))


def test_samples_shows_labelled_photos_in_their_variants(root: Path) -> None:
    photos = find_photos(root)
    first, second = photos.paths.index(find(root, "boston_7_1")), photos.paths.index(find(root, "boston_7_2"))
    pairs = Pairs(*(np.array([value]) for value in (first, second, 1, 0, 1)))
    card = np.asarray(draw_pair(photos, pairs, 0)).astype(int)
    as_is = np.asarray(as_trained(photos.paths[first], 0)).astype(int)
    height, width = as_is.shape[:2]
    assert np.abs(card[26 : 26 + height, :width] - as_is[:, ::-1]).max() <= 1


@pytest.mark.parametrize("name", ["pairs.jpg", "nowhere/pairs.png"])
def test_samples_that_cannot_be_written_leave_nothing(
    root: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert data.main(["samples", str(root), "--output", str(tmp_path / name)]) == 1
    assert name in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_importing_data_is_light() -> None:
    heavy = "{'torch', 'kaggle', 'determined', 'imagehash', 'scipy'}"
    code = f"import sys, data; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# ---- download


Answer = Callable[[Path], None]


def small_data_set(folder: Path) -> None:
    """What unzipping leaves, one folder deep."""
    draw(folder / "archive" / AIRBNB / TRAINING / "kitchen" / "boston_1_1.jpg", 1)


@pytest.fixture
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No credentials anywhere: neither in the environment, nor in the project, nor at home. Returns the home."""
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(data, "__file__", str(tmp_path / "project" / "data.py"))
    return home


@pytest.fixture
def key(no_key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_USERNAME", "ada")
    monkeypatch.setenv("KAGGLE_KEY", "secret")


def fake_kaggle(answer: Answer) -> tuple[dict[str, types.ModuleType], list[tuple[Any, ...]]]:
    """Modules that look like Kaggle's client, and the list of what it was asked."""
    asked: list[tuple[Any, ...]] = []

    class KaggleApi:
        def authenticate(self) -> None:
            self.user = (os.environ["KAGGLE_USERNAME"], os.environ["KAGGLE_KEY"])

        def dataset_download_files(self, dataset: str, path: str, unzip: bool, quiet: bool) -> None:
            asked.append((dataset, *self.user))
            print("Dataset URL: somewhere")
            answer(Path(path))

    names = ("kaggle", "kaggle.api", "kaggle.api.kaggle_api_extended")
    modules = {name: types.ModuleType(name) for name in names}
    modules[names[2]].KaggleApi = KaggleApi  # type: ignore[attr-defined]
    return modules, asked


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], list[tuple[Any, ...]]]:
    def install(answer: Answer) -> list[tuple[Any, ...]]:
        modules, asked = fake_kaggle(answer)
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        return asked

    return install


Install = Callable[[Answer], list[tuple[Any, ...]]]


def left_behind(folder: Path) -> set[str]:
    """Everything in a folder but the lock, which has to stay, and the fixture's own."""
    return {path.name for path in folder.iterdir()} - {"new.lock", "home"}


@pytest.mark.parametrize("exists", ["no", "empty", "with other things"])
def test_download_puts_the_photos_in_place_once(
    tmp_path: Path, kaggle: Install, key: None, exists: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = kaggle(small_data_set)
    root = tmp_path / "new"
    if exists != "no":
        root.mkdir()
    if exists == "with other things":
        (root / "notes.txt").write_text("mine")
    data.download(root)
    data.download(root)
    assert asked == [(data.DATASET, "ada", "secret")]
    assert find_photos(root).cities == ("boston",)
    assert left_behind(tmp_path) == {"new"}
    assert {path.name for path in root.iterdir()} - {"notes.txt"} == {AIRBNB}
    assert capsys.readouterr().out == ""


def test_verdicts_exported_before_a_download_do_not_pass_for_it(
    tmp_path: Path, kaggle: Install, key: None, capsys: pytest.CaptureFixture[str]
) -> None:
    kaggle(small_data_set)
    write_verdicts(tmp_path / "new")
    assert data.main(["download", str(tmp_path / "new")]) == 1
    assert "new holds exported verdicts and nothing else: download into another folder" in capsys.readouterr().err
    assert data.main(["download", str(tmp_path / "other")]) == 0


def test_download_clears_what_a_killed_run_left(tmp_path: Path, kaggle: Install, key: None) -> None:
    def dies(folder: Path) -> None:
        (tmp_path / "name").write_text(folder.name)
        raise KeyboardInterrupt

    kaggle(dies)
    with pytest.raises(KeyboardInterrupt):
        data.download(tmp_path / "new")
    partial = tmp_path / (tmp_path / "name").read_text()
    (tmp_path / "name").unlink()
    assert left_behind(tmp_path) == set()
    draw(partial / AIRBNB / TRAINING / "kitchen" / "half_1_1.jpg", 0)
    kaggle(small_data_set)
    data.download(tmp_path / "new")
    assert find_photos(tmp_path / "new").cities == ("boston",)
    assert left_behind(tmp_path) == {"new"}


class ApiException(Exception):
    """As version 1.6 raises it: the status on the error."""

    def __init__(self, status: int) -> None:
        super().__init__(f"({status})\nReason: of several lines\n")
        self.status = status


class HTTPError(Exception):
    """As version 1.7 raises it: the status on the response."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status} Client Error")
        self.response = types.SimpleNamespace(status_code=status)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ApiException(401), r"refused \(401\): check user name and key"),
        (HTTPError(403), r"refused \(403\): check user name and key"),
        (HTTPError(404), r"does not have .* \(404\)"),
        (ApiException(500), r"failed \(\(500\) Reason: of several lines\): check network"),
        (ConnectionError("no route to host"), r"failed \(no route to host\): check network"),
        (OSError(28, "No space left on device"), r"No space left on device\): check network and disk"),
        (SystemExit(1), r"failed \(1\): check network"),
        (ValueError(), r"failed \(ValueError\)"),
    ],
)
def test_a_download_that_fails_half_way_says_so_and_leaves_nothing(
    tmp_path: Path, kaggle: Install, key: None, error: BaseException, sentence: str
) -> None:
    def fails(folder: Path) -> None:
        small_data_set(folder)
        raise error

    kaggle(fails)
    with pytest.raises(SameSpaceError, match=sentence) as raised:
        data.download(tmp_path / "new")
    assert "\n" not in str(raised.value)
    assert left_behind(tmp_path) == set()


def test_a_failed_download_names_what_began_it(tmp_path: Path, kaggle: Install, key: None) -> None:
    def fails(folder: Path) -> None:
        try:
            raise OSError("Name or service not known")
        except OSError:
            raise RuntimeError("Max retries exceeded") from None

    kaggle(fails)
    with pytest.raises(SameSpaceError, match=r"failed \(Name or service not known\)"):
        data.download(tmp_path / "new")


def test_an_archive_of_something_else_is_refused(tmp_path: Path, kaggle: Install, key: None) -> None:
    kaggle(lambda folder: draw(folder / AIRBNB / TEST / "boston_1_1.jpg", 1))
    with pytest.raises(SameSpaceError, match=f"holds no '{AIRBNB}/{TRAINING}'"):
        data.download(tmp_path / "new")
    assert left_behind(tmp_path) == set()


def test_half_a_data_set_is_not_written_over(tmp_path: Path, kaggle: Install, key: None) -> None:
    asked = kaggle(small_data_set)
    mine = tmp_path / "new" / AIRBNB / TEST / "kitchen" / "boston_1_1.jpg"
    draw(mine, 0)
    with pytest.raises(SameSpaceError, match="move it away"):
        data.download(tmp_path / "new")
    assert mine.is_file()
    assert asked == []


def test_a_file_in_the_way_is_named(tmp_path: Path, kaggle: Install, key: None) -> None:
    kaggle(small_data_set)
    (tmp_path / "new").write_text("mine")
    with pytest.raises(SameSpaceError, match="new is a file"):
        data.download(tmp_path / "new")
    assert (tmp_path / "new").read_text() == "mine"


def test_a_folder_under_a_file_cannot_be_written(tmp_path: Path, kaggle: Install, key: None) -> None:
    kaggle(small_data_set)
    (tmp_path / "file").touch()
    with pytest.raises(SameSpaceError, match=r"cannot write .*give a folder that you may write to"):
        data.download(tmp_path / "file" / "new")


def test_without_a_key_kaggle_is_not_even_imported(
    tmp_path: Path, no_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kaggle", None)  # importing it would raise, and be told as such
    with pytest.raises(SameSpaceError, match=r"no Kaggle key: create one .* kaggle\.json into .*project or .*\.kaggle"):
        data.download(tmp_path / "new")
    assert left_behind(tmp_path) == set()


def test_kaggle_not_installed_says_how_to(tmp_path: Path, key: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kaggle", None)
    with pytest.raises(SameSpaceError, match=r"pip install 'kaggle>=1\.6,<1\.8'"):
        data.download(tmp_path / "new")
    assert left_behind(tmp_path) == set()


def write_key(folder: Path, user: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kaggle.json").write_text(json.dumps({"username": user, "key": "secret"}))


def test_the_key_is_looked_for_in_the_environment_the_project_and_at_home(
    tmp_path: Path, no_key: Path, kaggle: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = kaggle(small_data_set)
    write_key(no_key / ".kaggle", "home")
    data.download(tmp_path / "a")
    write_key(tmp_path / "configured", "configured")
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "configured"))
    data.download(tmp_path / "b")
    write_key(tmp_path / "project", "project")
    data.download(tmp_path / "c")
    assert "KAGGLE_KEY" not in os.environ
    monkeypatch.setenv("KAGGLE_USERNAME", "environment")
    monkeypatch.setenv("KAGGLE_KEY", "other")
    data.download(tmp_path / "d")
    assert [user for _, user, _ in asked] == ["home", "configured", "project", "environment"]
    assert os.environ["KAGGLE_KEY"] == "other"


@pytest.mark.parametrize("text", ["", "[]", '{"username": "ada"}', "null"])
def test_a_broken_key_file_is_named(tmp_path: Path, no_key: Path, text: str) -> None:
    (no_key / ".kaggle").mkdir()
    (no_key / ".kaggle" / "kaggle.json").write_text(text)
    with pytest.raises(SameSpaceError, match=r"kaggle\.json is not a Kaggle key: it must look like"):
        data.download(tmp_path / "new")


def test_the_example_key_has_the_shape_that_is_read() -> None:
    assert all(data.read_key(ROOT / "kaggle.json.example"))


def worker(root: Path, log: Path, ready: Any, inside: Any) -> None:
    """Downloads when all are ready; a download gives another a moment to come in beside it."""

    def answer(folder: Path) -> None:
        with log.open("a") as lines:
            lines.write("downloaded\n")
        try:
            inside.wait(0.5)
        except threading.BrokenBarrierError:
            small_data_set(folder)

    sys.modules.update(fake_kaggle(answer)[0])
    ready.wait(30)
    data.download(root)
    assert find_photos(root).cities == ("boston",)


def test_two_processes_download_once(tmp_path: Path, key: None) -> None:
    context = multiprocessing.get_context("fork")  # two that begin afresh would import torch for seconds
    ready, inside = context.Barrier(2), context.Barrier(2)
    arguments = (tmp_path / "new", tmp_path / "log", ready, inside)
    workers = [context.Process(target=worker, args=arguments) for _ in range(2)]
    for process in workers:
        process.start()
    for process in workers:
        process.join(60)
    assert [process.exitcode for process in workers] == [0, 0]
    assert (tmp_path / "log").read_text() == "downloaded\n"
