"""Results as metrics that Lightning can take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import Metric
from typing_extensions import override

from lightning_trackplus.lightning_internals import result_entries
from lightning_trackplus.lightning_internals.shared_bases import MisconfigurationException

if TYPE_CHECKING:
    import lightning.pytorch as pl


class ProxyMetrics:
    """The metrics through which Lightning gets the results of one stream.

    Each name is logged through Lightning, which passes over it until there is a result to show. So names, ``_step``
    and ``_epoch``, dataloader suffixes and the progress bar are Lightning's own work.
    """

    def __init__(self, names: Iterable[str], hook: str, dataloader: int | None, arguments: Mapping[str, Any]) -> None:
        self._arguments = arguments
        suffix = dataloader if arguments["add_dataloader_idx"] else None
        self._keys = {name: result_entries.entry_key(hook, name, suffix) for name in names}
        self._proxies = {name: _ProxyMetric(self, name) for name in self._keys}
        self._is_late = is_epoch_end_hook(hook)
        # Lightning looks at all it has in each batch: what it need not see until the end is taken out.
        self._is_taken_out = not self._is_late and not arguments["on_step"]
        self._home: Any = None
        self._entries: dict[str, Any] = {}
        self._numbers: dict[str, Tensor] = {}
        self._make: Callable[[], None] | None = None
        self._reset: Callable[[], None] | None = None

    def register(self, trainer: pl.Trainer, native: Callable[..., None]) -> None:
        """Log all names through Lightning, unless it knows them."""
        results = result_entries.results_of(trainer)
        if self._home is not results:
            self._home, self._entries = results, {}
        for name, proxy in self._proxies.items():
            key = self._keys[name]
            if name not in self._entries or self._is_late:
                # Lightning asks for the attribute under which the module has a metric; any name will do.
                native(name, proxy, **{**self._arguments, "metric_attribute": f"trackplus.{name}", "batch_size": 1})
                self._entries[name] = results[key]
            if not self._is_late:
                result_entries.mark_unset(self._entries[name])
            if self._is_taken_out:
                results.pop(key, None)

    def show_step(self, numbers: Mapping[str, float]) -> None:
        """Give Lightning the results of a step."""
        self._numbers = {}
        for name, number in _tensors(numbers).items():
            result_entries.set_entry(self._entries[name], step_value=number)

    def show_epoch(self, numbers: Mapping[str, float]) -> None:
        """Give Lightning the results of an epoch.

        Raises:
            MisconfigurationException: If something else was logged under one of the names.
        """
        self._make = None
        self._numbers = _tensors(numbers)
        if self._is_late:
            return  # Lightning asks.
        for name, number in self._numbers.items():
            entry = self._home.setdefault(self._keys[name], self._entries[name])
            if entry is not self._entries[name]:
                raise MisconfigurationException(
                    f"You called `self.log({name}, ...)`, and another call in the same hook gives {name} by its"
                    " reduce_fx; log under names that differ."
                )
            result_entries.set_entry(entry, result=number)

    @property
    def is_waiting(self) -> bool:
        """Whether the results are made when Lightning asks for them."""
        return self._make is not None

    def wait_for(self, make: Callable[[], None]) -> None:
        """Have the results made when Lightning asks for the first of them."""
        self._numbers, self._make = {}, make

    def result(self, name: str) -> Tensor | None:
        """Return the result of the epoch; None, which Lightning passes over, before there is one."""
        if self._make is not None:
            self._make()
        return self._numbers.get(name)

    @property
    def awaits_reset(self) -> bool:
        """Whether Lightning has been shown the results and is not through with the epoch."""
        return self._reset is not None

    def once_reset(self, reset: Callable[[], None]) -> None:
        """Have something done when Lightning is through with the epoch whose results it was shown."""
        self._reset = reset

    def reset(self) -> None:
        """Do what waits for the end; Lightning calls this for each proxy, and at times twice."""
        if self._reset is not None:
            reset, self._reset = self._reset, None
            reset()


class _ProxyMetric(Metric):
    """One result."""

    def __init__(self, proxies: ProxyMetrics, name: str) -> None:
        super().__init__(sync_on_compute=False, compute_with_cache=False)
        self._proxies = proxies
        self._name = name
        self.update()  # torchmetrics would warn of a metric that is computed before.

    @override
    def update(self) -> None:
        """Do nothing: the stream has the values."""

    @override
    def compute(self) -> Tensor | None:
        return self._proxies.result(self._name)

    @override
    def reset(self) -> None:
        self._proxies.reset()


def is_epoch_end_hook(hook: str) -> bool:
    """Return whether a hook ends an epoch, so that Lightning asks at once for what it logs."""
    return hook.endswith("_epoch_end")


def _tensors(numbers: Mapping[str, float]) -> dict[str, Tensor]:
    # One tensor for all takes a fraction of the time of one for each.
    return dict(zip(numbers, torch.tensor(list(numbers.values()), dtype=torch.float64).unbind(), strict=True))
