"""Quantiles."""

from __future__ import annotations

from typing_extensions import override

from lightning_trackplus.reducers.samples import NanPolicy, State
from lightning_trackplus.reducers.sketches.distribution import Distribution, Method


class Quantile(Distribution):
    """The quantile q: the value at ``q(n - 1)`` of the n sorted values, counted from 0; linear between two.

    This is ``numpy.quantile``, and equal to it while all values are kept. A value of weight w counts as w
    equal values.

    Args:
        q: Which quantile, from 0 to 1.
        method: How the distribution is kept; see `Distribution`.
        name: The suffix; ``p<100 q>`` if left out.
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If ``q`` lies outside [0, 1], or ``method`` is not known.

    Examples:
        >>> import torch
        >>> p95 = Quantile(0.95)
        >>> p95.update(torch.arange(101.0))
        >>> p95.name, p95.compute()
        ('p95', tensor(95., dtype=torch.float64))
    """

    def __init__(
        self, q: float, method: Method = "auto", name: str | None = None, *, nan_policy: NanPolicy = "omit"
    ) -> None:
        if not 0 <= q <= 1:
            raise ValueError(f"{type(self).__name__} got q={q!r}; give a number from 0 to 1, for example 0.95.")
        self.q = q
        self._suffix = name or f"p{100 * q:.12g}"
        super().__init__(method, nan_policy=nan_policy)

    @property
    @override
    def name(self) -> str:
        return self._suffix

    @override
    def result(self, state: State) -> float:
        return self.points(state).quantile(self.q)


class IQR(Distribution):
    """The interquartile range, ``p75 - p25``, with both quartiles.

    Args:
        method: How the distribution is kept; see `Distribution`.
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If ``method`` is not known.

    Examples:
        >>> import torch
        >>> iqr = IQR()
        >>> iqr.update(torch.arange(101.0))
        >>> {name: float(number) for name, number in iqr.compute().items()}
        {'iqr': 50.0, 'p25': 25.0, 'p75': 75.0}
    """

    @property
    @override
    def name(self) -> str:
        return "iqr"

    @override
    def result(self, state: State) -> dict[str, float]:
        points = self.points(state)
        lower, upper = points.quantile(0.25), points.quantile(0.75)
        return {"iqr": upper - lower, "p25": lower, "p75": upper}
