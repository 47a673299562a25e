"""`python -m samespace` is `samespace`."""

import sys

from samespace.cli import main

sys.exit(main())
