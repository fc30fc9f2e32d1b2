"""A metric that Lightning has taken before, logged again."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import override

from lightning_trackplus.seam.native_site import NativeSite


class MetricSite(NativeSite):
    """A ``log`` call with one metric, of which Lightning takes no more than its value of the step.

    Mirrors ``_ResultMetric.update``. The arguments are those of `NativeSite`; the metric is the one of the entry.
    """

    __slots__ = ()

    @override
    def take(self, value: Any, batch_size: int | None) -> bool:
        state = self._state
        if value is not state["value"] or not self._is_open():
            return False
        step_value = value._forward_cache
        if isinstance(step_value, Tensor) and step_value.numel() != 1:
            return False  # Nothing that Lightning could show.
        state["_forward_cache"] = step_value
        self._count()
        return True
