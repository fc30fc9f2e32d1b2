"""A metric that Lightning has taken before, logged again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
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
        if not _is_settled(value):
            value.to(value.device)
        state["_forward_cache"] = value._forward_cache
        self._count()
        return True


def _is_settled(metric: Metric) -> bool:
    """Return whether ``to`` with a metric's own device, which Lightning calls each time, would leave it as it is.

    Mirrors ``Metric._apply`` of torchmetrics, which puts all that a metric holds on its device, lists into new ones,
    and notes the dtype of a new tensor as the metric's.
    """
    kind, held = type(metric), vars(metric)
    if kind.to is not Metric.to or kind._apply is not Metric._apply:
        return False
    if held["_modules"] or held["_parameters"] or held["_buffers"] or held["_computed"] is not None:
        return False
    device = held["_device"]
    tensors = [held["_forward_cache"]] if held["_forward_cache"] is not None else []
    for name, default in held["_defaults"].items():
        tensors += (default, held.get(name))
    return held["_dtype"] == torch.get_default_dtype() and all(
        isinstance(tensor, Tensor) and tensor.device == device for tensor in tensors
    )
