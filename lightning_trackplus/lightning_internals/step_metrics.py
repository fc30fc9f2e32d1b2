"""The metrics of a step, read from Lightning's entries by a plan that is made once."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from lightning_trackplus.runtime.device_transfer import PendingScalars


class _Shown(NamedTuple):
    """Where the value of an entry is shown in a step."""

    state: dict[str, Any]
    dataloader: int | None
    name: str
    step_name: str
    in_log: bool
    in_callback: bool
    in_progress_bar: bool
    keeps_graph: bool


class StepMetrics:
    """Stands for ``_ResultCollection.metrics``, with a plan of what a step shows that is made once.

    Numbers of the progress bar that lie on a device are those of the last copy that has arrived.
    """

    def __init__(self, results: Any) -> None:
        self._results = results
        self._native = results.metrics
        self._metrics: list[Any] = []
        self._plan: list[_Shown] = []
        self._progress_bar = LastKnownScalars()

    def __call__(self, on_step: bool) -> Any:
        """Return the metrics by who reads them."""
        if not on_step:
            return self._native(on_step)
        results = self._results
        if len(results) != len(self._metrics) or not all(map(operator.is_, results.values(), self._metrics)):
            self._make_plan()
        current = results.dataloader_idx
        log: dict[str, Tensor] = {}
        callback: dict[str, Tensor] = {}
        progress_bar: dict[str, Tensor] = {}
        for state, dataloader, name, step_name, in_log, in_callback, in_progress_bar, keeps_graph in self._plan:
            value = state["_forward_cache"]
            if state["has_reset"] or dataloader != current or value is None:
                continue
            if not isinstance(value, Tensor) or value.numel() != 1:
                return self._native(on_step)  # It has the parts of a metric's result, or says what is wrong.
            if value.requires_grad and not keeps_graph:
                value = value.detach()
            if in_log:
                log[step_name] = value
            if in_callback:
                callback[name] = value
                callback[step_name] = value
            if in_progress_bar:
                progress_bar[step_name] = value
        return {"callback": callback, "log": log, "pbar": self._progress_bar.of(progress_bar) if progress_bar else {}}

    def _make_plan(self) -> None:
        results = self._results
        self._metrics = list(results.values())
        self._plan = []
        for metric in self._metrics:
            meta = metric.meta
            if meta.on_step:
                name, step_name = results._forked_name(metric, True)
                shown = (meta.logger, results.training, meta.prog_bar, meta.enable_graph)
                self._plan.append(_Shown(metric.__dict__, meta.dataloader_idx, name, step_name, *shown))


class LastKnownScalars:
    """Gives the numbers of tensors without waiting for their device, for the progress bar.

    One copy runs at a time. Until it has arrived, a name has its number from the copy before; a name without one is
    waited for. Numbers on the host are exact.

    Examples:
        >>> import torch
        >>> LastKnownScalars().of({"loss": torch.tensor(0.5)})
        {'loss': 0.5}
    """

    def __init__(self) -> None:
        self._latest: dict[str, float] = {}
        self._sent: PendingScalars | None = None

    def of(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the numbers by name."""
        numbers = {name: value.item() for name, value in values.items() if value.is_cpu}
        if len(numbers) < len(values):
            numbers |= self._of_device({name: value for name, value in values.items() if not value.is_cpu})
        return {name: numbers[name] for name in values}

    def _of_device(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        if self._sent is not None and self._sent.have_arrived():
            self._latest.update(self._sent.numbers())
            self._sent = None
        if self._sent is None:
            self._sent = PendingScalars(values)
        return {name: self._latest[name] if name in self._latest else value.item() for name, value in values.items()}
