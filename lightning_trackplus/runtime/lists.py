"""What counts as a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard


def is_list(value: object) -> TypeGuard[Sequence[Any]]:
    """Return whether a value is a list, a tuple or another sequence, such as OmegaConf's ListConfig, and not a text.

    Examples:
        >>> is_list(["p50", "p95"]), is_list(("p50",)), is_list("p50")
        (True, True, False)
    """
    # The most frequent types first: to ask `Sequence` about a string takes a microsecond, each time.
    if isinstance(value, (str, bytes, bytearray, memoryview)):
        return False
    return isinstance(value, (list, tuple, Sequence))
