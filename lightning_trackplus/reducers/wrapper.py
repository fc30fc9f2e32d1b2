"""Reducers that show some of the values to another one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from typing_extensions import override

from lightning_trackplus.reducers.base import Reducer, Result
from lightning_trackplus.reducers.mean import Mean
from lightning_trackplus.reducers.names import PLAIN, named
from lightning_trackplus.reducers.samples import NanPolicy, State


class Wrapper(Reducer):
    """What the reducers that show some of the values to another one have in common.

    Args:
        reducer: The other one, or its name; None for `Mean`.
        nan_policy: As for `Reducer`; that of ``reducer`` plays no part.

    Raises:
        TypeError: If ``reducer`` is no Reducer and no name.
        MisconfigurationException: If no reducer has this name.
    """

    def __init__(self, reducer: str | Reducer | None = None, *, nan_policy: NanPolicy = "omit") -> None:
        super().__init__(nan_policy=nan_policy)
        if isinstance(reducer, str):
            reducer = named(reducer, PLAIN, "omit")
        if not isinstance(reducer, Reducer | None):
            raise TypeError(
                f"{type(self).__name__} got the reducer {reducer!r}; give a name or an object, for example 'max' or"
                " Max(), or leave it out for the mean."
            )
        self.reducer = Mean() if reducer is None else reducer
        if self.reducer.counts_nan:
            self.nan_policy = "omit"
        # What the values are to the other one differs from object to object.
        self.weighted = self.reducer.weighted
        self.counts_nan = self.reducer.counts_nan

    @property
    @abstractmethod
    def prefix(self) -> str:
        """What stands before the other one's name."""

    @property
    @override
    def name(self) -> str:
        return self.prefix if self.reducer.name == "mean" else f"{self.prefix}_{self.reducer.name}"

    def result_of(self, state: State) -> Result:
        """Return the other one's result, several numbers under names of their own."""
        result = self.reducer.result(state)
        if isinstance(result, Mapping):
            return {f"{self.prefix}_{part}": number for part, number in result.items()}
        return result
