"""Whatever is typed, a command answers, and no photo goes."""

from __future__ import annotations

import argparse
import io
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from samespace.cli.main import command_line, inner_parsers, main
from samespace.library.library import Library
from samespace.library.scan import scan
from samespace.search.same_shot import Sketches

BUSY = {"serve", "rooms"}  # which answer for as long as they are let, or draw for as long as they are told
WORDS = [".", "", "-", "--", "\udcff", "a b c", "x" * 4000]  # never one that leads out of the folder
WORDS += [
    "a.png",
    "sub",
    "sub/b.png",
    ".samespace",
    "nowhere",
    "5",
    "-1",
    "0.5",
    "nan",
    "1e9",
    "same",
    "different",
    "near",
    "exact",
    "0d",
    "~",
    "*",
    "name=value",
]


def options_of(parser: argparse.ArgumentParser) -> list[str]:
    return sorted(parser._option_string_actions)


def command(chance: random.Random) -> list[str]:
    parser, words = command_line(), []
    while inner := inner_parsers(parser):
        name = chance.choice(sorted(inner.keys() - BUSY))
        words.append(name)
        parser = inner[name]
    known = [*options_of(parser), *WORDS, *WORDS]
    return words + [chance.choice(known) for _ in range(chance.randint(0, 6))]


def test_any_words_are_answered(
    rounds: Iterator[random.Random], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    album = tmp_path / "album"
    (album / "sub").mkdir(parents=True)
    Image.effect_noise((60, 40), 90).save(album / "a.png")
    Image.effect_noise((60, 40), 20).save(album / "sub" / "b.png")
    scan(Library(album / ".samespace", create=True), [album], [Sketches()])
    photos = sorted(path.read_bytes() for path in album.rglob("*.png"))
    for chance in rounds:
        here = Path(shutil.copytree(album, tmp_path / "here"))
        monkeypatch.chdir(here)
        monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
        words = command(chance)
        print(words)
        try:
            status = main(words)
        except SystemExit as exit_:
            status = exit_.code
        printed = capsys.readouterr()
        assert status in (0, 1, 2, 11), words
        assert "Traceback" not in printed.err, words
        assert all(len(line) < 3000 for line in printed.err.splitlines()), words
        left = sorted(path.read_bytes() for path in here.rglob("*.png") if path.stat().st_size > 0)
        assert set(photos) <= set(left), words
        monkeypatch.chdir(tmp_path)
        shutil.rmtree(here)
