"""Progress bars: where a person sees them, and of what takes a second or more."""

from __future__ import annotations

import io
import os
import select
import struct
from contextlib import redirect_stderr
from typing import TextIO

import pytest
from tqdm import tqdm

from samespace import progress


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """tqdm's; no thread of its own looks after its bars."""
    clock = Clock()
    monkeypatch.setattr("tqdm.std.time", clock)
    monkeypatch.setattr(tqdm, "monitor_interval", 0)
    return clock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work(stderr: TextIO, clock: Clock, seconds: float, disable: bool = False) -> None:
    """In four steps, so long by a bar that is told and so long by one that counts."""
    with redirect_stderr(stderr):
        with progress.bar("scanning", 4, disable=disable) as bar:
            for _ in range(4):
                clock.now += seconds / 4
                bar.update(1)
        for _ in progress.over(range(4), "hashing"):
            clock.now += seconds / 4


def test_what_takes_longer_is_shown_and_then_wiped_away(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    work(terminal, clock, 8)
    drawn = terminal.getvalue()
    for words in ("scanning:  50%", "2/4", "photos", "hashing:  75%"):
        assert words in drawn
    assert drawn.endswith(" \r") and drawn.split("\r")[-2].strip() == ""
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("seconds", "shown"), [(0.0, False), (0.9, False), (1.0, True), (4.0, True)])
def test_less_than_a_second_is_not_worth_a_bar(clock: Clock, seconds: float, shown: bool) -> None:
    terminal = Terminal()
    work(terminal, clock, seconds)
    assert [name in terminal.getvalue() for name in ("scanning", "hashing")] == [shown, shown]


def test_a_file_is_no_terminal(clock: Clock) -> None:
    file = io.StringIO()
    work(file, clock, 8)
    assert file.getvalue() == ""


def test_a_real_terminal_is_one(clock: Clock) -> None:
    fcntl, pty, termios = map(pytest.importorskip, ("fcntl", "pty", "termios"))
    screen, program = pty.openpty()
    fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(screen, "rb", buffering=0) as seen, os.fdopen(program, "w") as terminal:
        work(terminal, clock, 8)
        drawn = b""
        while b"scanning:  50%" not in drawn:
            assert select.select([seen], [], [], 60)[0], drawn
            drawn += seen.read(1 << 16)


def test_none_are_drawn_once_they_are_off(clock: Clock) -> None:
    terminal = Terminal()
    progress.off()
    work(terminal, clock, 8)
    assert terminal.getvalue() == ""


def test_one_that_is_disabled_is_not_drawn(clock: Clock) -> None:
    terminal = Terminal()
    work(terminal, clock, 8, disable=True)
    assert "scanning" not in terminal.getvalue() and "hashing" in terminal.getvalue()


@pytest.mark.parametrize("wanted", [True, False])
def test_everything_comes_through_in_order_drawn_or_not(wanted: bool) -> None:
    if not wanted:
        progress.off()
    with redirect_stderr(Terminal()):
        assert list(progress.over(iter("abc"), "hashing", 3)) == ["a", "b", "c"]
