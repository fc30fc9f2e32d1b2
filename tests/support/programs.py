"""Programs of their own, which tests run as a person does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def run_program(program: str | Path, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program with this Python, which finds the package and the tests, and return what it said.

    One of several processes is run once, as Lightning starts it: the others are children of the first.
    """
    return subprocess.run(
        [sys.executable, str(CHECKOUT / program), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
