"""`python -m patchtrain`: the same as the command `patchtrain`."""

from __future__ import annotations

import sys

from patchtrain.cli import main

if __name__ == "__main__":
    sys.exit(main())
