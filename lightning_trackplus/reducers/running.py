"""Any reduction of the last steps."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.base import Reducer, Result
from lightning_trackplus.reducers.samples import NanPolicy, Samples, State
from lightning_trackplus.reducers.wrapper import Wrapper


class Running(Wrapper):
    """What a reducer makes of all values of the last ``window`` steps, ``f({x_t : t among the last W steps})``.

    Steps are those at which values other than NaN were logged, in any process; with fewer than ``window``
    of them, all count. Over steps of one value it is ``pandas.Series.rolling(window, min_periods=1)``.

    Args:
        window: How many steps, at least 1; their values are kept, 24 bytes for each.
        reducer: What becomes of the values, a reducer or its name; None for `Mean`.
        nan_policy: As for `Reducer`; NaN counts for the rest of the run, not only while its step is among
            the last. That of ``reducer`` plays no part.

    Raises:
        ValueError: If ``window`` is no whole number or below 1, or ``reducer`` counts NaN.
        TypeError: If ``reducer`` is no Reducer and no name.
        MisconfigurationException: If no reducer has this name.

    Examples:
        >>> running = Running(window=2)
        >>> for loss in (9.0, 4.0, 1.0):
        ...     running.update(loss)
        >>> running.compute()
        tensor(2.5000, dtype=torch.float64)
    """

    span = "run"
    full_state_update = True

    def __init__(self, window: int, reducer: str | Reducer | None = None, *, nan_policy: NanPolicy = "omit") -> None:
        super().__init__(reducer, nan_policy=nan_policy)
        if not isinstance(window, int) or isinstance(window, bool) or window < 1:
            raise ValueError(f"Running got window={window!r}; give a whole number of steps, at least 1.")
        if self.reducer.counts_nan:
            raise ValueError("Running got NanCount(), but steps know nothing of NaN; give SinceLogged(NanCount()).")
        self.window = window

    @property
    @override
    def prefix(self) -> str:
        return f"running{self.window}"

    @property
    @override
    def state_key(self) -> Hashable:
        return "running", self.window, self.weighted

    @override
    def summarize(self, samples: Samples) -> State:
        return self._latest(np.stack([samples.steps.astype(np.float64), samples.values, samples.weights]))

    @override
    def merge(self, left: State, right: State) -> State:
        columns = np.concatenate([left.reshape(3, -1), right.reshape(3, -1)], axis=1)
        # Stable, so that in a step the left part comes first.
        return self._latest(columns[:, columns[0].argsort(kind="stable")])

    @override
    def result(self, state: State) -> Result:
        steps, values, weights = state.reshape(3, -1).copy()
        return self.result_of(self.reducer.summarize(Samples(values, weights, steps.astype(np.int64))))

    def _latest(self, columns: State) -> State:
        oldest = np.unique(columns[0])[-self.window :][:1]
        return columns[:, columns[0] >= oldest].reshape(-1) if len(oldest) else np.empty(0)
