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
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)
