"""Reducers that are asked for in the configuration instead of in the module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from lightning_trackplus.lightning_internals.shared_bases import MisconfigurationException
from lightning_trackplus.reducers.registry import OneReduction, Reduction, reducers_of
from lightning_trackplus.runtime.lists import is_list
from lightning_trackplus.runtime.names import matches


class ConfiguredReducers:
    """Which reducers a logged name gets beside what its module asks for.

    Args:
        reducers: Reductions by the logged names they are for. In a name, ``*`` and ``?`` stand for any
            characters and for any one, as in the shell.

    Raises:
        MisconfigurationException: If a name is not a string, or a value not a reducer.
    """

    def __init__(self, reducers: Mapping[str, Reduction]) -> None:
        if not isinstance(reducers, Mapping) or not all(isinstance(pattern, str) for pattern in reducers):
            raise MisconfigurationException(
                f"TrackPlus got reducers={reducers!r}; expected reducers by the logged name that they are for, such as"
                ' reducers={"val/loss": "median"}, or {"*": "median"} for all names.'
            )
        self._patterns = {pattern: _several(reduction) for pattern, reduction in reducers.items()}
        for reduction in self._patterns.values():
            reducers_of(reduction)
        self._of_name: dict[tuple[str, bool], list[OneReduction]] = {}

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._patterns)

    def of(self, name: str, *, in_full: bool) -> list[OneReduction]:
        """Return the reductions of a name, in the order of the configuration; of those called the same, the first."""
        if (name, in_full) not in self._of_name:
            first: dict[str, OneReduction] = {}
            for key, several in self._patterns.items():
                if key == name if in_full else matches(name, key):
                    for one in several:
                        first.setdefault(reducers_of(one)[0].name, one)
            self._of_name[name, in_full] = list(first.values())
        return self._of_name[name, in_full]

    def unused(self) -> list[str]:
        """Return the patterns that no logged name has matched."""
        return [key for key in self._patterns if not any(matches(name, key) for name, _ in self._of_name)]


def _several(reduction: Reduction) -> list[OneReduction]:
    return list(reduction) if is_list(reduction) else [cast("OneReduction", reduction)]
