"""A disk that fails at any call, or a process that is killed at one, loses no photo; and undo brings all back."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from samespace.cli.main import main
from samespace.duplicates.plan_files import plan_files
from tests.conftest import ROOT
from tests.duplicates.conftest import snapshot, undo_all

CALLS = ["write", "fsync", "rename", "link", "unlink", "mkdir", "rmdir", "utimensat", "chmod", "pwrite64"]
FAULTS = ["error=EIO", "error=ENOSPC", "error=EACCES", "signal=KILL"]

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="faults are injected by strace")


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Copies in several folders, planned."""
    album = tmp_path / "album"
    album.mkdir()
    for number in range(3):
        Image.effect_noise((120, 90), 40 + 30 * number).save(album / f"{number}.png")
        for copy in ("a", "b/c"):
            (album / copy).mkdir(parents=True, exist_ok=True)
            shutil.copy2(album / f"{number}.png", album / copy / f"{number}.png")
    assert main(["dedupe", str(album), "--kind", "exact"]) == 11
    return album


def with_fault(words: list[str], fault: str) -> int:
    """Run a command while one of its calls to the system fails, and return its exit status."""
    strace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=none", "-e", f"inject={fault}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*strace, sys.executable, "-m", "samespace", *words]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


def photos_in(root: Path) -> set[bytes]:
    return {path.read_bytes() for path in root.rglob("*.png") if path.is_file()}


@needs_strace
def test_a_failing_call_loses_no_photo(rounds: Iterator[random.Random], album: Path, tmp_path: Path) -> None:
    start, photos = snapshot(album), photos_in(album)
    for chance in rounds:
        fault = f"{chance.choice(CALLS)}:{chance.choice(FAULTS)}:when={chance.randint(1, 12)}"
        print(fault)
        with_fault(["apply", str(plan_files(album / ".samespace")[0])], fault)
        assert photos_in(album) == photos
        if chance.random() < 0.5:
            with_fault(["undo", "--library", str(album / ".samespace")], fault)
            assert photos_in(album) == photos
        undo_all(album / ".samespace")
        assert snapshot(album) == start


@needs_strace
def test_a_failing_call_leaves_a_library_that_the_next_scan_mends(
    rounds: Iterator[random.Random], album: Path, tmp_path: Path
) -> None:
    photos = snapshot(album)
    for chance in rounds:
        fault = f"{chance.choice(CALLS)}:{chance.choice(FAULTS)}:when={chance.randint(1, 20)}"
        print(fault)
        library = tmp_path / "library"
        with_fault(["scan", str(album), "--library", str(library)], fault)
        assert snapshot(album) == photos
        assert main(["scan", str(album), "--library", str(library)]) == 0
        assert main(["search", str(album / "0.png"), "--library", str(library)]) == 0
        shutil.rmtree(library)
