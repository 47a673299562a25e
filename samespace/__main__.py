"""`python -m samespace` is `samespace`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; it can be stopped while it is still being loaded."""
    try:
        from samespace.cli.main import main as run
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
