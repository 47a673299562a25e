"""Commands print results on stdout, and of a mistake one line on stderr."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import samespace
from samespace import baseline
from samespace.cli import main
from samespace.pairs import TEST, find_photos

COMMANDS = ("compare", "evaluate", "export")
RANDOM = ["--backbone", "mobilenet_v3_small", "--weights", "none"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command: exit status, stdout, stderr. What it caches stays in the test's own folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run_command(*words: object) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run_command


@pytest.fixture
def photos(rooms: Path) -> tuple[Path, ...]:
    return find_photos(rooms, TEST).paths


def test_compare_prints_what_the_model_says(run: Run, model_folders: dict[str, Path], photos: tuple[Path, ...]) -> None:
    folder = model_folders["compare"]
    probability = samespace.load(folder).compare(*photos[:2])
    verdict = "same space" if probability >= 0.5 else "different spaces"
    expected = f"{verdict} (probability {probability:.4f}, from 0.5 on the same)\n"
    assert run("compare", *photos[:2], "--model", folder) == (0, expected, "")


def test_compare_in_json(run: Run, model_folders: dict[str, Path], photos: tuple[Path, ...]) -> None:
    status, out, err = run("compare", photos[0], photos[0], "--model", model_folders["compare"], "--json")
    answer = json.loads(out)
    assert (status, err) == (0, "")
    assert list(answer) == ["probability", "threshold", "same_space"]
    assert answer["threshold"] == 0.5
    assert answer["same_space"] is (answer["probability"] >= 0.5)


def test_compare_without_a_model_says_how_little_that_means(run: Run, photos: tuple[Path, ...]) -> None:
    status, out, err = run("compare", photos[0], photos[0], *RANDOM)
    assert (status, out) == (0, "same space (cosine 1.0000, from 0.9 on the same)\n")
    assert err == "no --model given: comparing ImageNet features, which knows nothing of rooms\n"
    _, out, _ = run("compare", photos[0], photos[1], *RANDOM, "--json")
    cosine = baseline.cosine(photos[:2], "mobilenet_v3_small", "none")
    assert json.loads(out) == {"cosine": pytest.approx(cosine), "threshold": 0.9, "same_space": cosine >= 0.9}


def test_evaluate_prints_a_table_or_json_and_plots(
    run: Run, model_folders: dict[str, Path], rooms: Path, tmp_path: Path
) -> None:
    arguments = ["evaluate", model_folders["compare"], rooms]
    status, table, _ = run(*arguments, "--plot", tmp_path / "curve.png")
    in_json_status, in_json, _ = run(*arguments, "--json")
    figures = json.loads(in_json)
    assert (status, in_json_status) == (0, 0)
    rows = dict(line.split() for line in table.splitlines())
    assert list(rows) == list(figures)
    assert rows["ap"] == f"{figures['ap']:.4f}" and rows["pairs"] == "91"
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate_keeps_the_bank_for_the_next_time(
    run: Run, model_folders: dict[str, Path], rooms: Path, tmp_path: Path
) -> None:
    run("evaluate", model_folders["compare"], rooms, "--split", "validation")
    (bank,) = (path for path in (tmp_path / "cache" / "samespace").iterdir() if path.is_dir())
    written = (bank / "seen.npy").stat().st_mtime_ns
    run("evaluate", model_folders["concat"], rooms, "--split", "validation")
    assert (bank / "seen.npy").stat().st_mtime_ns == written


def test_export_says_what_it_wrote(run: Run, model_folders: dict[str, Path], tmp_path: Path) -> None:
    status, out, err = run("export", model_folders["concat"], "-o", tmp_path / "exported")
    assert (status, err) == (0, "")
    assert out == f"{tmp_path / 'exported'}: concat head on mobilenet_v3_small\n"
    assert samespace.load(tmp_path / "exported").description["head"] == "concat"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compare", "{photo}", "{here}/no.jpg", "--model", "{model}"], "{here}/no.jpg: no such file"),
        (["compare", "{photo}", "{photo}", "--model", "{here}"], "no model in {here}: give a folder"),
        (["evaluate", "{model}", "{here}/nowhere"], "{here}/nowhere does not exist"),
        (["evaluate", "{here}", "{rooms}"], "no model in {here}"),
        (["evaluate", "{model}", "{rooms}", "--split", "Holidays"], "{rooms} has no folder"),
        (["export", "{here}", "-o", "{here}/exported"], "{here} is no checkpoint of SameSpace"),
        (["export", "{model}", "-o", "{photo}"], "cannot write the model to {photo}"),
    ],
)
def test_a_mistake_is_one_line_and_status_1(
    words: list[str],
    said: str,
    run: Run,
    model_folders: dict[str, Path],
    rooms: Path,
    photos: list[Path],
    tmp_path: Path,
) -> None:
    names = {"photo": photos[0], "model": model_folders["compare"], "rooms": rooms, "here": tmp_path}
    status, out, err = run(*(word.format(**names) for word in words))
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {said.format(**names)}")
    assert err.count("\n") == 1 and err.endswith("\n")


def test_an_unknown_backbone_is_a_mistake_too(run: Run, photos: tuple[Path, ...]) -> None:
    status, out, err = run("compare", *photos[:2], "--backbone", "resnet51")
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith("error: unknown backbone 'resnet51': choose one of")


@pytest.mark.parametrize("words", [[], ["improve"], ["compare", "a.jpg"], ["export", "checkpoint"]])
def test_words_that_make_no_command_show_the_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 2
    assert "usage: samespace" in capsys.readouterr().err


def shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 0
    return capsys.readouterr().out


def test_the_commands_tested_here_are_all(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(["--help"], capsys).partition("COMMAND\n")[2].splitlines()
    listed = [line.split(maxsplit=1) for line in lines if line.startswith("    ") and line[4] != " "]
    assert tuple(name for name, _ in listed) == COMMANDS
    assert shown(["--version"], capsys) == f"{samespace.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_stands_in_the_readme(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    help_text = shown([command, "--help"], capsys)
    assert f"usage: samespace {command}" in help_text
    description = help_text.partition("\n\n")[2].partition("positional arguments:")[0]
    assert len(description.split()) >= 8
    readme = Path(__file__).parents[1] / "README.md"
    assert f"samespace {command}" in readme.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "code",
    [
        "import samespace, samespace.cli",
        "from samespace.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from samespace.cli import main\ntry: main(['evaluate', '--help'])\nexcept SystemExit: pass",
    ],
)
def test_help_does_not_wait_for_torch(code: str) -> None:
    check = f"{code}\nimport sys\nassert not {{'torch', 'torchvision', 'numpy', 'PIL'}} & set(sys.modules)"
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
