"""Adds values to entries of Lightning's results without calling `log`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torchmetrics import Metric
from typing_extensions import override


class EntrySite(ABC):
    """A ``log`` call that Lightning has taken, which takes further values like the first.

    Mirrors ``LightningModule.log`` after its checks, and ``_ResultCollection.log``, without its step that moves the
    entry's tensors to the device.
    """

    __slots__ = ("_connector", "_entry", "_hook", "_key", "_results", "_state")

    def __init__(self, results: Any, connector: Any, hook: str, key: str) -> None:
        self._results = results
        self._connector = connector
        self._hook = hook
        self._key = key
        self._entry = results[key]
        self._state: dict[str, Any] = self._entry.__dict__

    @abstractmethod
    def add(self, value: Any, batch_size: int | None) -> bool:
        """Add the value of one call; return False where only Lightning can."""

    def _is_open(self) -> bool:
        """Return whether the entry is still in the results, and Lightning would not reset it first."""
        if self._results.get(self._key) is not self._entry:
            return False
        connector = self._connector
        # In a new epoch, Lightning resets what the hook has logged.
        return connector._current_fx == self._hook or connector._first_loop_iter not in (None, True)

    def _count(self) -> None:
        """Note that the entry has taken a value, as the wrapper of torchmetrics around ``update`` does."""
        state = self._state
        state["_computed"] = None
        state["_update_count"] += 1
        state["has_reset"] = False
        self._connector._current_fx = self._hook


_FLOATS = (torch.float32, torch.float64)
_NUMBERS = (float, int)


class ScalarSite(EntrySite):
    """A ``log`` call with a number.

    Mirrors ``_ResultMetric.update``.
    """

    __slots__ = ("_device", "_is_weighted", "_size", "_takes_numbers", "_update", "_weight", "_whole_as")

    def __init__(self, results: Any, connector: Any, hook: str, key: str, *, taken: Any, device: torch.device) -> None:
        super().__init__(results, connector, hook, key)
        meta = self._entry.meta
        self._device: torch.device = self._entry.value.device
        self._takes_numbers = device == self._device
        # Of whole numbers in a tensor Lightning warns, with the dtype that they get.
        is_whole = isinstance(taken, Tensor) and not (taken.is_floating_point() or taken.is_complex())
        self._whole_as = _default_dtype() if is_whole else None
        self._update = _update_of(meta)
        self._is_weighted = meta.on_epoch and meta.is_mean_reduction
        self._size: int | None = None
        self._weight: Tensor | None = None

    @override
    def add(self, value: Any, batch_size: int | None) -> bool:
        state = self._state
        if not self._is_open() or state["value"].device != self._device:
            return False
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
        self._update(state, value, weight)
        self._count()
        return True

    def _weight_of(self, size: int | None) -> Tensor:
        """Return the batch size as a tensor, with which torch computes in half the time it takes with an int."""
        if size is None and (size := self._results.batch_size) is None:
            size = _found_batch_size(self._results, self._entry)
        if self._weight is None or size != self._size:
            self._size, self._weight = size, _on(self._device, size, torch.int64)
        return self._weight


_Update: TypeAlias = "Callable[[dict[str, Any], Tensor, Any], None]"


def _update_of(meta: Any) -> _Update:
    """Return the function that adds a value to an entry with such metadata."""
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


def _found_batch_size(results: Any, entry: Any) -> int:
    """Return the batch size that was not given, as ``_ResultCollection._extract_batch_size`` finds it."""
    if results.batch is not None:
        results.batch_size = plain_batch_size(results.batch)
    size: int = results._extract_batch_size(entry, None, entry.meta)
    return size


def plain_batch_size(batch: Any) -> int | None:
    """Return the size of the commonest batches, a tensor or a few of one size, which Lightning walks through."""
    tensors = batch if isinstance(batch, list | tuple) else (batch,)
    sizes = {one.shape[0] if isinstance(one, Tensor) and one.ndim else None for one in tensors}
    return sizes.pop() if len(sizes) == 1 else None


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


class MetricSite(EntrySite):
    """A ``log`` call with one metric, of which Lightning takes no more than its value of the step.

    Mirrors ``_ResultMetric.update``. The arguments are those of `EntrySite`; the metric is the one of the entry.
    """

    __slots__ = ()

    @override
    def add(self, value: Any, batch_size: int | None) -> bool:
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
