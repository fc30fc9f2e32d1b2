"""The number of forks between this process and the one that has loaded the package."""

from __future__ import annotations

import os

count = 0
"""To compare it costs a fraction of `os.getpid`."""


def _count_one() -> None:
    global count  # noqa: PLW0603  it is one for the process
    count += 1


# Windows has neither the function nor forks.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_one)
