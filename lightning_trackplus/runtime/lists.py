"""What counts as a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard


def is_list(value: object) -> TypeGuard[Sequence[Any]]:
    """Return whether something is a list or what stands for one: a tuple, OmegaConf's ListConfig, but no text.

    Examples:
        >>> is_list(["p50", "p95"]), is_list(("p50",)), is_list("p50")
        (True, True, False)
    """
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)
