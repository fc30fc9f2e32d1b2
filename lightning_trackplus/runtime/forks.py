"""How often this process is a fork of another since the package was loaded."""

from __future__ import annotations

import os

count = 0
"""To compare it costs a fraction of asking for the number of the process."""


def _count_one() -> None:
    global count  # noqa: PLW0603  it is one for the process
    count += 1


# Where there is no such function, there are no forks.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_one)
