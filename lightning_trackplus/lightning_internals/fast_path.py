"""The fast path: replaces parts of a Trainer's results and of its logger connector."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric

from lightning_trackplus.lightning_internals.entry_sites import EntrySite, MetricSite, ScalarSite
from lightning_trackplus.lightning_internals.flavours import Flavour, flavour_of, installed_flavours
from lightning_trackplus.lightning_internals.step_metrics import StepMetrics

if TYPE_CHECKING:
    import lightning.pytorch as pl


class FastPath:
    """Replaces these parts in one Trainer, and puts Lightning's own back.

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
        # A run of the Trainer within another run of it leaves that one's in place.
        self._replaced = vars(self._connector).get("log_metrics")
        self._connector.log_metrics = self._log_metrics  # type: ignore[method-assign]

    def site(self, hook: str, key: str, *, taken: Any, device: torch.device) -> EntrySite | None:
        """Return a site for the entry that Lightning has made of a call; None where it keeps a graph."""
        results: Any = self._trainer._results
        entry = None if results is None else results.get(key)
        if entry is None or entry.meta.enable_graph:
            return None
        if not isinstance(vars(results).get("metrics"), StepMetrics):
            results.metrics = StepMetrics(results)
            self._opened.append(results)
        if not entry.is_tensor:
            return MetricSite(results, self._connector, hook, key)
        return ScalarSite(results, self._connector, hook, key, taken=taken, device=device)

    def close(self) -> None:
        """Put Lightning's own back."""
        del self._connector.log_metrics
        if self._replaced is not None:
            self._connector.log_metrics = self._replaced  # type: ignore[method-assign]
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


def obstacle(trainer: pl.Trainer, log: Callable[..., None]) -> str | None:
    """Return why the fast path cannot be used; None if it can."""
    flavour = flavour_of(trainer)
    if not is_as_mirrored(flavour):
        return f"{flavour} or torchmetrics keeps what is logged in another way than the fast path knows"
    if not is_lightnings(log):
        return f"self.log is overridden or wrapped in `{_home(log)}`, which must see every call"
    return None


def is_lightnings(method: Callable[..., None]) -> bool:
    """Return whether a method of a module is Lightning's own, and none that somebody has put in its place.

    Lightning decorates some with ``torch.compiler.disable``, which leaves what they do as it is. What any other wrapper
    adds is to be done with each call.
    """
    return _home(method) in {one.pytorch().LightningModule.__module__ for one in installed_flavours()}


def _home(method: Callable[..., None]) -> str:
    """Return the module in which a method was written, or the outermost wrapper around it that is not torch's."""
    return _written_in(inspect.unwrap(method, stop=lambda one: not _written_in(one).startswith("torch.")))


def _written_in(method: Any) -> str:
    """Return the module in which a method was written; a wrapper has the ``__module__`` of the function in it."""
    function = getattr(method, "__func__", method)
    if not inspect.isfunction(function):
        return type(function).__module__
    # What was made with `exec`, as by the package `decorator`, may be of no module.
    return str(function.__globals__.get("__name__", function.__code__.co_filename))


@functools.cache
def is_as_mirrored(flavour: Flavour) -> bool:
    """Return whether a Lightning keeps what is logged as it is mirrored here; each kind of entry is tried."""
    number = torch.tensor(1.5)
    kinds: list[tuple[Tensor | Metric, str]] = [(number, name) for name in ("mean", "sum", "max", "min")]
    kinds.append((MeanMetric(), "mean"))
    try:
        home = flavour.pytorch("trainer.connectors.logger_connector")
        make = flavour.pytorch("trainer.connectors.logger_connector.result")._ResultCollection
        return all(
            _agrees(make, value, on_step=on_step, on_epoch=on_epoch, reduce_fx=reduce_fx)
            for on_step, on_epoch in ((True, False), (False, True), (True, True))
            for value, reduce_fx in kinds
        ) and hasattr(home.logger_connector._LoggerConnector, "log_metrics")
    except Exception:  # noqa: BLE001  any error means that it is not as mirrored
        return False


def _agrees(make: Callable[..., Any], value: Tensor | Metric, **options: Any) -> bool:
    """Return whether a second value changes an entry as Lightning does, and is shown as Lightning does."""
    hook, key = "training_step", "training_step.x"
    theirs, ours = collections = [make(training=True) for _ in range(2)]
    for results in collections:
        results.batch = torch.zeros(3)
        results.log(hook, "x", value, prog_bar=True, **options)
    connector = SimpleNamespace(_current_fx=hook, _first_loop_iter=False)
    site: EntrySite
    if isinstance(value, Metric):
        site = MetricSite(ours, connector, hook, key)
        value(0.75)
    else:
        site = ScalarSite(ours, connector, hook, key, taken=value, device=value.device)
        value = value / 2
    theirs.log(hook, "x", value, prog_bar=True, **options)
    if not site.add(value, None):
        return False
    states = [
        {name: repr(state) for name, state in vars(results[key]).items() if name in _STATE} for results in collections
    ]
    shown = [repr(theirs.metrics(True)), repr(StepMetrics(ours)(True))]
    return states[0] == states[1] and states[0].keys() >= _STATE - {"cumulated_batch_size"} and shown[0] == shown[1]


_STATE = {"value", "cumulated_batch_size", "_forward_cache", "_computed", "_update_count", "has_reset"}
