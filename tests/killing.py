"""Do things in processes of their own, and kill those before any step that changes the file system."""

from __future__ import annotations

# What works import as they go is imported here, or each of a thousand processes would do it for itself.
import concurrent.futures.thread  # noqa: F401
import email.parser  # noqa: F401
import gc
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy.ma  # noqa: F401

NAMES = ("rename", "link", "symlink", "remove", "mkdir", "rmdir", "chmod", "chown", "utime", "setxattr")
STEPS = {f"os.{name}" for name in NAMES}

Work = tuple[Callable[..., object], tuple[object, ...]]

# A fixture of this type runs each (function, arguments) in a process of its own and returns their exit codes.
Children = Callable[..., list[int]]


def die_at_step(fatal: int) -> None:
    """Kill this process before its so-many-th call that changes the file system; a fatal write is torn in two."""
    step, write_really = count(1), os.write

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (event in STEPS or writes) and next(step) == fatal:
            die()

    def torn_write(descriptor: int, content: bytes) -> int:
        if next(step) == fatal:
            write_really(descriptor, content[: len(content) // 2])
            die()
        return write_really(descriptor, content)

    def sync(descriptor: int) -> None:
        if next(step) == fatal:  # without the wait: what a kill leaves does not depend on it
            die()

    os.write, os.fsync = torn_write, sync  # type: ignore[assignment]
    sys.addaudithook(hook)


def serve() -> None:
    """Fork for each request on stdin, as this small process can do in a millisecond; pytest's has torch in it."""
    while True:
        try:
            works, fatal = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(run(works, fatal), sys.stdout.buffer)
        sys.stdout.buffer.flush()


def run(works: Sequence[Work], fatal: int) -> list[int]:
    """Do each work in a fork of this process, all at once; return their exit codes."""
    gate, opener = os.pipe()
    children = [fork(gate, opener, work, args, fatal) for work, args in works]
    os.close(gate)
    os.close(opener)  # all of them start now
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def fork(gate: int, opener: int, work: Callable[..., object], args: Sequence[object], fatal: int) -> int:
    if child := os.fork():
        return child
    gc.disable()  # what was left to be collected may end threads that a fork does not have
    try:
        os.close(opener)
        os.read(gate, 1)
        die_at_step(fatal)
        work(*args)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
