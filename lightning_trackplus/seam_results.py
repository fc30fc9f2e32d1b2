"""How Lightning keeps what is logged, written anew without what costs much and changes nothing.

What stands here mirrors ``logger_connector/result.py`` and ``logger_connector/logger_connector.py`` of Lightning 2.4 to
2.6. It reads and writes the same objects, so that every reader in Lightning finds what it would have found.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch
from lightning.pytorch.trainer.connectors.logger_connector.logger_connector import _LoggerConnector
from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultCollection
from torch import Tensor

from lightning_trackplus.lagging_numbers import LaggingNumbers

if TYPE_CHECKING:
    import lightning.pytorch as pl

_FLOATS = (torch.float32, torch.float64)
_NUMBERS = (float, int)


class NativeSite:
    """A ``log`` call that Lightning has taken, which takes further values like the first.

    Mirrors ``LightningModule.log`` from where its arguments are known to be good, ``_ResultCollection.log`` and
    ``_ResultMetric.update``, without the walk through the entry to move what is where it has to be.

    Args:
        results: The results of the active loop.
        connector: The Trainer's logger connector.
        hook: The hook that logs.
        key: The key of the entry that Lightning has made.
        taken: The value that Lightning has taken last.
        device: The device of the module, on which Lightning puts Python's numbers.
    """

    __slots__ = (
        "_connector",
        "_device",
        "_hook",
        "_is_weighted",
        "_key",
        "_metric",
        "_results",
        "_size",
        "_state",
        "_takes_numbers",
        "_update",
        "_weight",
        "_whole_as",
    )

    def __init__(self, results: Any, connector: Any, hook: str, key: str, *, taken: Any, device: torch.device) -> None:
        metric = results[key]
        self._results = results
        self._connector = connector
        self._hook = hook
        self._key = key
        self._metric = metric
        self._state: dict[str, Any] = metric.__dict__
        self._device: torch.device = metric.value.device
        self._takes_numbers = device == self._device
        # Of whole numbers in a tensor Lightning warns, with the dtype that they get.
        is_whole = isinstance(taken, Tensor) and not (taken.is_floating_point() or taken.is_complex())
        self._whole_as = _default_dtype() if is_whole else None
        self._update = _update_of(metric.meta)
        self._is_weighted = metric.meta.on_epoch and metric.meta.is_mean_reduction
        self._size: int | None = None
        self._weight: Tensor | None = None

    def take(self, value: Any, batch_size: int | None) -> bool:
        """Take the value of one call; return False where only Lightning can.

        Args:
            value: The value, as it was given.
            batch_size: The batch size that was given.
        """
        connector, state = self._connector, self._state
        if self._results.get(self._key) is not self._metric or state["value"].device != self._device:
            return False
        if connector._current_fx != self._hook and connector._first_loop_iter in (None, True):
            return False  # A new epoch: Lightning resets what this hook has logged.
        if batch_size is not None and type(batch_size) is not int:
            return False  # Lightning also counts with fractions and tensors.
        if isinstance(value, Tensor):
            if value.ndim or value.device != self._device:
                return False
            if value.requires_grad:
                value = value.detach()
            if value.dtype not in _FLOATS:
                dtype = _default_dtype()
                if not value.is_floating_point() and (dtype != self._whole_as or value.is_complex()):
                    return False
                value = value.to(dtype)
        elif self._takes_numbers and type(value) in _NUMBERS:
            value = _on(self._device, value, _default_dtype())
        else:
            return False
        # Where a batch does not tell its size, this raises, and leaves everything as it was.
        weight = self._weight_of(batch_size) if self._is_weighted else None
        state["_computed"] = None
        state["_update_count"] += 1
        self._update(state, value, weight)
        state["has_reset"] = False
        connector._current_fx = self._hook
        return True

    def _weight_of(self, size: int | None) -> Tensor:
        """Return the batch size as a tensor, with which torch computes in half the time it takes with an int."""
        if size is None and (size := self._results.batch_size) is None:
            size = _found_batch_size(self._results, self._metric)
        if self._weight is None or size != self._size:
            self._size, self._weight = size, _on(self._device, size, torch.int64)
        return self._weight


_Update: TypeAlias = "Callable[[dict[str, Any], Tensor, Any], None]"


def _update_of(meta: Any) -> _Update:
    """Return what brings a value into an entry with such metadata."""
    sync, reduce = meta.sync, meta.reduce_fx
    # Python's own return one of the two tensors, which has to be none that is changed elsewhere.
    copies = reduce in (max, min)

    def add(state: dict[str, Any], value: Tensor, weight: Tensor) -> None:
        state["value"] = state["value"] + value * weight
        state["cumulated_batch_size"] = state["cumulated_batch_size"] + weight

    def add_up(state: dict[str, Any], value: Tensor, _weight: None) -> None:
        state["value"] = state["value"] + value

    def choose(state: dict[str, Any], value: Tensor, _weight: None) -> None:
        state["value"] = reduce(state["value"], value.clone() if copies else value)

    def show(state: dict[str, Any], value: Tensor, _weight: None) -> None:
        state["value"] = state["_forward_cache"] = sync(value.clone())

    def show_and_accumulate(state: dict[str, Any], value: Tensor, weight: Any) -> None:
        state["_forward_cache"] = sync(value.clone())
        accumulate(state, value, weight)

    if not meta.on_epoch:
        return show
    accumulate: _Update = add if meta.is_mean_reduction else add_up if meta.is_sum_reduction else choose
    return show_and_accumulate if meta.on_step else accumulate


def _found_batch_size(results: Any, metric: Any) -> int:
    """Return the batch size that was not given, as ``_ResultCollection._extract_batch_size`` finds it."""
    if results.batch is not None:
        results.batch_size = plain_batch_size(results.batch)
    size: int = results._extract_batch_size(metric, None, metric.meta)
    return size


def plain_batch_size(batch: Any) -> int | None:
    """Return the size of the commonest batches, a tensor or a few of one size, which Lightning walks through.

    Args:
        batch: The batch.
    """
    tensors = batch if isinstance(batch, list | tuple) else (batch,)
    sizes = {one.shape[0] if isinstance(one, Tensor) and one.ndim else None for one in tensors}
    return sizes.pop() if len(sizes) == 1 else None


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

    Args:
        results: The collection.
    """

    def __init__(self, results: Any) -> None:
        self._results = results
        self._native = results.metrics
        self._metrics: list[Any] = []
        self._plan: list[_Shown] = []
        self._progress_bar = LaggingNumbers()

    def __call__(self, on_step: bool) -> Any:
        """Return the metrics by who reads them.

        Args:
            on_step: Whether those of a step are asked for, and not those of an epoch.
        """
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
            if not isinstance(value, Tensor) or (in_progress_bar and value.numel() != 1):
                return self._native(on_step)  # It says what is wrong.
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


class FastResults:
    """Opens and closes what stands for Lightning's own in one Trainer.

    Args:
        trainer: The Trainer.
        hand_over: Gives the metrics of a step to the loggers; it is asked with them and with the step, which is None
            for that of training, and returns False where Lightning is to do it.
    """

    def __init__(self, trainer: pl.Trainer, hand_over: Callable[[Mapping[str, Any], int | None], bool]) -> None:
        self._trainer = trainer
        self._connector = trainer._logger_connector
        self._opened: list[Any] = []
        self._hand_over = hand_over
        self._native_log_metrics = self._connector.log_metrics
        self._connector.log_metrics = self._log_metrics  # type: ignore[method-assign]

    def site(self, hook: str, key: str, *, taken: Any, device: torch.device) -> NativeSite | None:
        """Return a site for the entry that Lightning has made of a call; None if it is none for numbers.

        Args:
            hook: The hook that has logged.
            key: The key of the entry.
            taken: The value that was logged.
            device: The device of the module.
        """
        results: Any = self._trainer._results
        metric = None if results is None else results.get(key)
        if metric is None or not metric.is_tensor or metric.meta.enable_graph:
            return None
        if not isinstance(vars(results).get("metrics"), StepMetrics):
            results.metrics = StepMetrics(results)
            self._opened.append(results)
        return NativeSite(results, self._connector, hook, key, taken=taken, device=device)

    def close(self) -> None:
        """Give Lightning its own back."""
        del self._connector.log_metrics
        for results in self._opened:
            del results.metrics

    def _log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Mirror ``_LoggerConnector.log_metrics``."""
        if not self._trainer.loggers or not metrics or "step" in metrics:
            self._native_log_metrics(metrics, step)
            return
        self._connector._logged_metrics.update(metrics)
        if not self._hand_over(metrics, step):
            self._native_log_metrics(metrics, step)


@functools.cache
def is_as_mirrored() -> bool:
    """Return whether this Lightning keeps what is logged as it is mirrored here; each kind of entry is tried."""
    try:
        return all(
            _agrees(on_step=on_step, on_epoch=on_epoch, reduce_fx=reduce_fx)
            for on_step, on_epoch in ((True, False), (False, True), (True, True))
            for reduce_fx in ("mean", "sum", "max", "min")
        ) and hasattr(_LoggerConnector, "log_metrics")
    except Exception:  # noqa: BLE001  whatever it is, it is not as it was
        return False


def _agrees(*, on_step: bool, on_epoch: bool, reduce_fx: Any) -> bool:
    """Return whether a second value changes an entry as Lightning does, and is shown as Lightning does."""
    options = {"on_step": on_step, "on_epoch": on_epoch, "reduce_fx": reduce_fx, "prog_bar": True}
    collections = [_ResultCollection(training=True) for _ in range(2)]
    for results in collections:
        results.batch = torch.zeros(3)
        results.log("training_step", "x", torch.tensor(1.5), **options)
    theirs, ours = collections
    theirs.log("training_step", "x", torch.tensor(0.75), **options)
    connector = SimpleNamespace(_current_fx="training_step", _first_loop_iter=False)
    key = "training_step.x"
    site = NativeSite(ours, connector, "training_step", key, taken=1.5, device=ours[key].value.device)
    if not site.take(0.75, None):
        return False
    states = [
        {name: repr(value) for name, value in vars(results[key]).items() if name in _STATE} for results in collections
    ]
    shown = [repr(theirs.metrics(True)), repr(StepMetrics(ours)(True))]
    return states[0] == states[1] and len(states[0]) >= len(_STATE) - 1 and shown[0] == shown[1]


_STATE = {"value", "cumulated_batch_size", "_forward_cache", "_computed", "_update_count", "has_reset"}


def _on(device: torch.device, number: float, dtype: torch.dtype) -> Tensor:
    """Return a number as a tensor on a device, which is not waited for."""
    if device.type == "cpu":
        return torch.tensor(number, dtype=dtype, device=device)
    # Rounded as above: `full` refuses what is out of the dtype's range, where `tensor` makes it infinite.
    return torch.full((), torch.tensor(number, dtype=dtype, device="cpu").item(), dtype=dtype, device=device)


def _default_dtype() -> torch.dtype:
    """Mirror ``_get_default_dtype``."""
    dtype = torch.get_default_dtype()
    return dtype if dtype in _FLOATS else torch.float32
