"""`python -m samespace` is `samespace`."""

import sys

from samespace.cli.main import main

sys.exit(main())
