"""Numbers under a name that Lightning has taken before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from typing_extensions import override

from lightning_trackplus.seam.native_site import NativeSite

_FLOATS = (torch.float32, torch.float64)
_NUMBERS = (float, int)


class NumberSite(NativeSite):
    """A ``log`` call with a number.

    Mirrors ``_ResultMetric.update``.

    Args:
        results: The results of the active loop.
        connector: The Trainer's logger connector.
        hook: The hook that logs.
        key: The key of the entry that Lightning has made.
        taken: The value that Lightning has taken last.
        device: The device of the module, on which Lightning puts Python's numbers.
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
    def take(self, value: Any, batch_size: int | None) -> bool:
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


def _found_batch_size(results: Any, entry: Any) -> int:
    """Return the batch size that was not given, as ``_ResultCollection._extract_batch_size`` finds it."""
    if results.batch is not None:
        results.batch_size = plain_batch_size(results.batch)
    size: int = results._extract_batch_size(entry, None, entry.meta)
    return size


def plain_batch_size(batch: Any) -> int | None:
    """Return the size of the commonest batches, a tensor or a few of one size, which Lightning walks through.

    Args:
        batch: The batch.
    """
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
