"""One process at a time changes a library, and the others say for whom they wait."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from samespace.library.library import FOLDER, Library
from samespace.library.scan import scan
from tests.library.conftest import (
    Mean,
    ended,
    in_another_process,
    opened,
    state,
)


def test_a_second_scan_waits_and_says_for_whom(root: Path, tmp_path: Path) -> None:
    begun, begin = os.pipe()
    told, tell = os.pipe()
    heard, say = os.pipe()

    class Waits(Mean):
        def extract(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
            if not self.seen:
                os.write(begin, b".")
                os.read(told, 1)
            return super().extract(pixels)

    def second() -> None:
        os.dup2(say, 2)
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        scan(opened(root), [root], [Mean()])

    one = in_another_process(lambda: scan(opened(root), [root], [Waits()]))
    os.read(begun, 1)
    other = in_another_process(second)
    os.close(say)
    with open(heard, closefd=True) as lines:  # noqa: PTH123
        said = lines.readline()
        os.write(tell, b".")
        assert (ended(one), ended(other)) == (0, 0)
        rest = lines.read()
    clock = said.rsplit(" ", 1)[1].strip()
    host = socket.gethostname()
    assert said == f"waiting for process {one} on {host}, which holds {root / FOLDER} since {clock}\n"
    assert "waiting" not in rest
    fresh = Library(tmp_path / "fresh", create=True)
    scan(fresh, [root], [Mean()])
    assert state(opened(root)) == state(fresh)


def test_whoever_holds_may_hold_again_and_a_killed_holder_lets_go(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def die() -> None:
        with opened(root).hold():
            os.kill(os.getpid(), signal.SIGKILL)

    opened(root)
    assert ended(in_another_process(die)) == -signal.SIGKILL
    assert (root / FOLDER / "holder.json").exists()
    library = opened(root)
    with library.hold():
        with library.hold():
            scan(library, [root])
        assert (root / FOLDER / "holder.json").exists()
    assert not (root / FOLDER / "holder.json").exists()
    assert "waiting" not in capsys.readouterr().err


def test_a_holder_that_has_not_signed_is_another_process(root: Path) -> None:
    library, signature = opened(root), root / FOLDER / "holder.json"
    assert library.holder == f"another process, which holds {root / FOLDER}"
    signature.write_text('{"pid": 1')
    assert library.holder == f"another process, which holds {root / FOLDER}"
    signature.write_text('{"pid": 1, "host": "h", "since": "2001-02-03 04:05"}')
    assert library.holder == f"process 1 on h, which holds {root / FOLDER} since 2001-02-03 04:05"
