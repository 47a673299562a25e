"""Bars where a person sees them, of what takes a second or more; in a log lines, and few."""

from __future__ import annotations

import io
import os
import select
import struct
from contextlib import redirect_stderr
from itertools import pairwise
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

from samespace.base import progress


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """tqdm's and ours; no thread of its own looks after its bars."""
    clock = Clock()
    monkeypatch.setattr("tqdm.std.time", clock)
    monkeypatch.setattr(progress, "monotonic", clock)
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


def test_in_a_log_lines_come_instead_of_a_bar(clock: Clock) -> None:
    log = io.StringIO()
    work(log, clock, 60)
    assert log.getvalue().splitlines() == [
        "scanning: 1 of 4 photos, 0.1/s, 45 s left",
        "scanning: 2 of 4 photos, 0.1/s, 30 s left",
        "scanning: 3 of 4 photos, 0.1/s, 15 s left",
        "scanning: 4 of 4 photos, 0.1/s, 0 s left",
        "hashing: 1 of 4 photos, 0.1/s, 45 s left",
        "hashing: 2 of 4 photos, 0.1/s, 30 s left",
        "hashing: 3 of 4 photos, 0.1/s, 15 s left",
        "hashing: 4 of 4 photos, 0.1/s, 0 s left",
    ]


@given(st.lists(st.floats(0, 30), max_size=60))
def test_no_two_lines_of_a_log_come_within_ten_seconds(waits: list[float]) -> None:
    clock, log, came = Clock(), io.StringIO(), []
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(log):
        patch.setattr(progress, "monotonic", clock)
        with progress.bar("training", len(waits), " pairs") as bar:
            for wait in waits:
                clock.now += wait
                before = log.getvalue()
                bar.update()
                came += [clock.now] if log.getvalue() != before else []
    assert all(later - earlier >= progress.EVERY for earlier, later in pairwise([1000.0, *came]))
    assert len(came) == len(log.getvalue().splitlines())


def test_how_many_there_are_need_not_be_known(clock: Clock) -> None:
    with redirect_stderr(io.StringIO()) as log:
        for _ in progress.over(iter("abc"), "reading", unit=" files"):
            clock.now += 1 / 3 + progress.EVERY
    assert log.getvalue().splitlines()[-1] == "reading: 3 files, 0.1/s"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5900, "98 min"), (11400, "3 h 10 min")]
)
def test_times_are_as_persons_say_them(seconds: float, said: str) -> None:
    assert progress.duration(seconds) == said


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


@pytest.mark.parametrize("screen", [Terminal, io.StringIO])
def test_none_are_shown_once_they_are_off(clock: Clock, screen: type[io.StringIO]) -> None:
    progress.off()
    work(shown := screen(), clock, 60)
    assert shown.getvalue() == ""


@pytest.mark.parametrize("screen", [Terminal, io.StringIO])
def test_one_that_is_disabled_is_not_shown(clock: Clock, screen: type[io.StringIO]) -> None:
    work(shown := screen(), clock, 60, disable=True)
    assert "scanning" not in shown.getvalue() and "hashing" in shown.getvalue()


@pytest.mark.parametrize("wanted", [True, False])
def test_everything_comes_through_in_order_drawn_or_not(wanted: bool) -> None:
    if not wanted:
        progress.off()
    for screen in (Terminal(), io.StringIO()):
        with redirect_stderr(screen):
            assert list(progress.over(iter("abc"), "hashing", 3)) == ["a", "b", "c"]
