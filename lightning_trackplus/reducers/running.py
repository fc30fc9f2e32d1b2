"""Another reducer over the last steps, or over those since metrics were last logged."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.base import Reducer, Result
from lightning_trackplus.reducers.mean import Mean
from lightning_trackplus.reducers.parsing import REDUCERS_OF_VALUES, reducer_by_name
from lightning_trackplus.reducers.types import NanPolicy, Samples, State


class _Wrapper(Reducer):
    """Base class of reducers that pass some of the values to another one, whose name follows their ``prefix``."""

    name = ""

    def __init__(self, prefix: str, reducer: str | Reducer | None, nan_policy: NanPolicy) -> None:
        super().__init__(nan_policy=nan_policy)
        if isinstance(reducer, str):
            reducer = reducer_by_name(reducer, REDUCERS_OF_VALUES, "omit")
        if not isinstance(reducer, Reducer | None):
            raise TypeError(
                f"{type(self).__name__} got the reducer {reducer!r}; expected a name or an object, for example 'max' or"
                " Max(), or None for the mean."
            )
        self.reducer = Mean() if reducer is None else reducer
        if self.reducer.counts_nan:
            self.nan_policy = "omit"
        self.weighted = self.reducer.weighted
        self.counts_nan = self.reducer.counts_nan
        self.prefix = prefix
        self.name = prefix if self.reducer.name == "mean" else f"{prefix}_{self.reducer.name}"

    def _prefixed(self, result: Result) -> Result:
        if isinstance(result, Mapping):
            return {f"{self.prefix}_{part}": number for part, number in result.items()}
        return result


class Running(_Wrapper):
    """A reducer over all values of the last ``window`` steps, ``f({x_t : t among the last W steps})``.

    Only steps with values other than NaN count, in any process; if there are fewer than ``window``, all of them do.
    With one value a step it is ``pandas.Series.rolling(window, min_periods=1)``.

    Args:
        window: The number of steps, at least 1; their values take 24 bytes each.
        reducer: The reducer of these values, or its name; None for `Mean`.
        nan_policy: As for `Reducer`; NaN counts for the rest of the run, not only while its step is among
            the last. That of ``reducer`` is ignored.

    Raises:
        ValueError: If ``window`` is not an integer of at least 1, or ``reducer`` counts NaN.
        TypeError: If ``reducer`` is neither a Reducer nor a name.
        MisconfigurationException: If the name is unknown.

    Examples:
        >>> running = Running(window=2)
        >>> for loss in (9.0, 4.0, 1.0):
        ...     running.update(loss)
        >>> running.compute()
        tensor(2.5000, dtype=torch.float64)
    """

    name = "running"
    span = "run"
    full_state_update = True

    def __init__(self, window: int, reducer: str | Reducer | None = None, *, nan_policy: NanPolicy = "omit") -> None:
        super().__init__(f"running{window}", reducer, nan_policy)
        if not isinstance(window, int) or isinstance(window, bool) or window < 1:
            raise ValueError(f"Running got window={window!r}; expected a number of steps, an integer of at least 1.")
        if self.reducer.counts_nan:
            raise ValueError(
                "Running got NanCount(), but its steps do not include NaN; expected SinceLogged(NanCount())."
            )
        self.window = window

    @property
    @override
    def state_key(self) -> Hashable:
        return "running", self.window, self.weighted

    @override
    def summarize(self, samples: Samples) -> State:
        return self._last_steps(np.stack([samples.steps.astype(np.float64), samples.values, samples.weights]))

    @override
    def merge(self, left: State, right: State) -> State:
        columns = np.concatenate([left.reshape(3, -1), right.reshape(3, -1)], axis=1)
        # Stable, so that in a step the left part comes first.
        return self._last_steps(columns[:, columns[0].argsort(kind="stable")])

    @override
    def result(self, state: State) -> Result:
        steps, values, weights = state.reshape(3, -1).copy()
        samples = Samples(values, weights, steps.astype(np.int64))
        return self._prefixed(self.reducer.result(self.reducer.summarize(samples)))

    def _last_steps(self, columns: State) -> State:
        oldest = np.unique(columns[0])[-self.window :][:1]
        return columns[:, columns[0] >= oldest].reshape(-1) if len(oldest) else np.empty(0)


class SinceLogged(_Wrapper):
    """A reducer over all values since metrics were last logged, ``f({x_t : t > last logged})``.

    With ``Trainer(log_every_n_steps=n)`` these are the last n steps, where Lightning alone would log
    the value of every n-th step and drop the others.

    Args:
        reducer: The reducer of these values, or its name; None for `Mean`.
        nan_policy: As for `Reducer`; that of ``reducer`` is ignored.

    Raises:
        TypeError: If ``reducer`` is neither a Reducer nor a name.
        MisconfigurationException: If the name is unknown.

    Examples:
        >>> mean = SinceLogged()
        >>> for loss in (4.0, 1.0):
        ...     mean.update(loss)
        >>> mean.compute()
        tensor(2.5000, dtype=torch.float64)
    """

    name = "since_logged"
    span = "log"

    def __init__(self, reducer: str | Reducer | None = None, *, nan_policy: NanPolicy = "omit") -> None:
        super().__init__("since_logged", reducer, nan_policy)

    @property
    @override
    def state_key(self) -> Hashable:
        return "since_logged", self.reducer.state_key

    @override
    def summarize(self, samples: Samples) -> State:
        return self.reducer.summarize(samples)

    @override
    def merge(self, left: State, right: State) -> State:
        return self.reducer.merge(left, right)

    @override
    def result(self, state: State) -> Result:
        return self._prefixed(self.reducer.result(state))
