"""The one exception that is written for people, and how a command shows it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from samespace.base.text import current_folder, shortened

_TO_TRAIN = ("torch", "torchvision", "onnx")  # packages that using a model does without
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


class SameSpaceError(Exception):
    """A mistake that a person can mend: its message names the thing at fault and says what to do."""


def exit_status(command: Callable[[], object]) -> int:
    """Run a command and return its exit status: the number it returns, else 0; after an error 1, said in one line."""
    try:
        status = command()
        sys.stdout.flush()
    except SameSpaceError as error:
        return _fail(str(error))
    except KeyboardInterrupt as stop:
        print(f"\nstopped: {stop}" if str(stop) else "\nstopped", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if error.name not in _TO_TRAIN:
            raise
        return _fail(f"{error.name} is not installed, which this needs: pip install 'samespace[train]'")
    except BrokenPipeError:  # the reader has seen enough; flushing the rest must not fail again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno in _NO_ROOM:
            return _fail(f"no room for {error.filename or 'the output'}: free some, and run it again")
        if error.filename is None and not current_folder():
            return _fail("the folder you are in has been deleted: change to another one")
        if error.filename is None or not error.strerror:
            raise
        return _fail(f"{os.fsdecode(error.filename)} cannot be used: {error.strerror}")
    return status if isinstance(status, int) else 0


def _fail(message: str) -> int:
    print(f"error: {shortened(message)}", file=sys.stderr)
    return 1
