"""The one exception that is written for persons, and how a command shows it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


class SameSpaceError(Exception):
    """A mistake that a person can mend: its message names the thing at fault and says what to do."""


def exit_status(command: Callable[[], object]) -> int:
    """Run a command and return its exit status: the number it returns, else 0; after an error 1, said in one line."""
    try:
        status = command()
        sys.stdout.flush()
    except SameSpaceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough; flushing the rest must not fail again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        print(f"error: no room for {error.filename or 'the output'}: free some, and run it again", file=sys.stderr)
        return 1
    return status if isinstance(status, int) else 0
