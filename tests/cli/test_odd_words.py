"""Whatever is typed, a command answers in one line of a length that can be read, and waits for nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from samespace.base.errors import exit_status
from samespace.base.text import shortened
from samespace.cli.main import main
from samespace.library.library import Library
from samespace.library.scan import scan
from samespace.search.same_shot import Sketches
from tests.conftest import ROOT

LONG = "x" * 100_000


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Image.effect_noise((60, 40), 90).save(tmp_path / "a.png")
    scan(Library(tmp_path / ".samespace", create=True), [tmp_path], [Sketches()])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["search", LONG],
        ["search", "x" * 312],
        ["search", "a.png", "--library", LONG],
        ["search", "a.png", "--top", LONG],
        ["scan", LONG],
        ["scan", ".", "--library", LONG],
        ["scan", ".", "--extensions", LONG],
        ["scan", ".", "--backbone", LONG],
        ["dedupe", ".", "--plan", LONG],
        ["dedupe", ".", "--report", LONG],
        ["dedupe", ".", "--kind", LONG],
        ["apply", LONG],
        ["undo", LONG],
        ["compare", "a.png", "a.png", "--model", LONG],
        ["verdict", LONG, LONG, "same"],
        ["export", LONG],
        ["evaluate", LONG, LONG],
        ["rooms", LONG],
        ["caption", LONG],
        ["match", "a.png", "--captions", LONG],
        [LONG],
        ["scan", f"--{LONG}"],
    ],
    ids=lambda words: " ".join(words)[:20],
)
def test_an_over_long_word_is_answered_in_a_short_line(
    words: list[str], album: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(words)
    except SystemExit as exit_:
        status = exit_.code
    assert status in (1, 2)
    printed = capsys.readouterr().err
    assert "error: " in printed
    assert len(printed) < 3000


@pytest.mark.parametrize(
    "words",
    [
        ["compare", "pipe", "a.png"],
        ["search", "pipe"],
        ["scan", "pipe"],
        ["scan", ".", "--backbone", "mobilenet_v2", "--weights", "pipe"],
        ["scan", ".", "--matcher", "pipe"],
        ["apply", "pipe"],
        ["dedupe", ".", "--plan=pipe"],
        ["dedupe", ".", "--report", "/dev/null"],
        ["compress", "--import", "pipe"],
        ["match", "a.png", "--captions", "pipe"],
    ],
    ids=" ".join,
)
def test_no_command_waits_at_a_pipe(words: list[str], album: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("pipe")
    assert main(words) == 1
    assert " is a pipe or a device: give a file or a folder\n" in capsys.readouterr().err


def test_only_long_words_are_shortened() -> None:
    text = "a plain sentence of a hundred words " * 20
    assert shortened(text) == text
    assert shortened(f"before {LONG} after") == f"before {'x' * 200}…{'x' * 80} after"
    assert len(shortened("word " * 10_000)) == 2001


def test_what_the_system_refuses_is_said_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(lambda: Path(LONG).read_bytes()) == 1
    assert capsys.readouterr().err.endswith("… cannot be used: File name too long\n".lstrip("… "))


def test_a_stop_while_all_is_still_being_loaded_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'samespace.cli.words': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Stop())\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "samespace", "scan", "."]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nstopped\n")
