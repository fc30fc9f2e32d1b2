"""The names under which the results of a logged name show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_trackplus.reducers.names import Reduction
from lightning_trackplus.reducers.samples import Counts
from lightning_trackplus.reducers.stream import Reduces, Stream
from lightning_trackplus.seam.classes import MisconfigurationException


class ResultNames:
    """Gives each result of some reducers its name.

    Args:
        name: The name that is logged.
        reduce_fx: What was asked for.
        reducers: The reducers that it stands for.
        of_several: Whether a reducer's name is part of that of its result, as where a list was asked for.

    Attributes:
        all: All names.
        numbers: Those of numbers, which Lightning can show.

    Raises:
        MisconfigurationException: If two reducers give one name and need not mean the same by it.

    Examples:
        >>> from lightning_trackplus.reducers.names import reducers_of
        >>> asked = ["mean", "topk(2)"]
        >>> ResultNames("loss", asked, reducers_of(asked), of_several=True).all
        ['loss_mean', 'loss_top1', 'loss_top2']
    """

    def __init__(self, name: str, reduce_fx: Reduction, reducers: Sequence[Reduces], *, of_several: bool) -> None:
        self._name = name
        self._reduce_fx = reduce_fx
        self._reducers = reducers
        self._of_several = of_several
        # What the names are shows in the results of nothing.
        stream = Stream(reducers)
        self._nothing = stream.results(stream.summary())
        named = self.named(self._nothing)
        self.all = list(named)
        self._check()
        self.numbers = [name for name, result in named.items() if not isinstance(result, Counts)]

    def named(self, results: Sequence[Any]) -> dict[str, Any]:
        """Return results by their names.

        Args:
            results: A result of each reducer: a number, numbers by a name of their own, or counts.
        """
        named: dict[str, Any] = {}
        for reducer, result in zip(self._reducers, results, strict=True):
            if isinstance(result, Mapping):
                named.update({f"{self._name}_{part}": number for part, number in result.items()})
            else:
                named[f"{self._name}_{reducer.name}" if self._of_several else self._name] = result
        return named

    def omitting_nan(self) -> list[str]:
        """Return the names of the results that leave NaN out, and do not count it."""
        omitting = [
            result if reducer.nan_policy == "omit" and not reducer.counts_nan else None
            for reducer, result in zip(self._reducers, self._nothing, strict=True)
        ]
        return [name for name, result in self.named(omitting).items() if result is not None]

    def _check(self) -> None:
        given: dict[str, Reduces] = {}
        for reducer, result in zip(self._reducers, self._nothing, strict=True):
            for part in result if isinstance(result, Mapping) else [reducer.name]:
                other = given.setdefault(part, reducer)
                if type(other) is not type(reducer) and other.state_key != reducer.state_key:
                    raise MisconfigurationException(
                        f"reduce_fx={self._reduce_fx!r}: {other.name} and {reducer.name} both give"
                        f" {self._name}_{part}; log them under two names."
                    )
