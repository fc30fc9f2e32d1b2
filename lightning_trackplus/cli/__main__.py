"""``python -m lightning_trackplus.cli`` is the command ``trackplus``."""

import sys

from lightning_trackplus.cli import main

if __name__ == "__main__":
    sys.exit(main())
