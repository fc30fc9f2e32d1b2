"""Any reduction of what came since metrics were last logged."""

from __future__ import annotations

from collections.abc import Hashable

from typing_extensions import override

from lightning_trackplus.reducers.base import Result
from lightning_trackplus.reducers.samples import Samples, State
from lightning_trackplus.reducers.wrapper import Wrapper


class SinceLogged(Wrapper):
    """What a reducer makes of all values since metrics were last logged, ``f({x_t : t > last logged})``.

    With ``Trainer(log_every_n_steps=n)`` these are the last n steps, where Lightning alone would log
    the value of every n-th step and drop the others.

    Args:
        reducer: What becomes of the values, a reducer or its name; None for `Mean`.
        nan_policy: As for `Reducer`; that of ``reducer`` plays no part.

    Raises:
        TypeError: If ``reducer`` is no Reducer and no name.
        MisconfigurationException: If no reducer has this name.

    Examples:
        >>> mean = SinceLogged()
        >>> for loss in (4.0, 1.0):
        ...     mean.update(loss)
        >>> mean.compute()
        tensor(2.5000, dtype=torch.float64)
    """

    span = "log"

    @property
    @override
    def prefix(self) -> str:
        return "since_logged"

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
        return self.result_of(state)
