"""`python -m samespace` is `samespace`."""

from __future__ import annotations

import atexit
import os
import sys


def main() -> int:
    """Run the command line; it can be stopped while it is still being loaded."""
    try:
        from samespace.cli.main import main as run
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    status = run()
    if status == 130 and sys.argv[1:2] == ["serve"]:
        # Once no request is at work: a library of many photos takes Python long to take apart.
        atexit.register(os._exit, status)
    return status


if __name__ == "__main__":
    sys.exit(main())
