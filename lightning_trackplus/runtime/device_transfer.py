"""Copies from a device to the host that do not block until a value is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


class HostCopy:
    """Copies a tensor to the host without waiting for it.

    The copy is queued behind the work of its device. Its host memory is page-locked; otherwise the copy would block.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._host = tensor.to("cpu", non_blocking=True)
        self._sent = _event(tensor.device)

    def has_arrived(self) -> bool:
        """Return whether the copy is complete; does not wait."""
        return self._sent is None or bool(self._sent.query())  # type: ignore[no-untyped-call]

    def wait(self) -> Tensor:
        """Return the copy, once it is complete."""
        if self._sent is not None:
            self._sent.synchronize()
        return self._host


def _event(device: torch.device) -> torch.cuda.Event | None:
    """Return an event that follows the copy; None if the copy has blocked and is complete."""
    if device.type != "cuda" or not torch.cuda.is_available():
        if device.type not in ("cpu", "cuda"):
            torch.get_device_module(device).synchronize()
        return None
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


_NUMBERS = {float, int}


def start_host_copy(values: dict[str, float | Tensor]) -> Mapping[str, float]:
    """Return numbers that can be read later; the copies of those on a device start now, and do not block."""
    if _NUMBERS.issuperset(map(type, values.values())):
        return values  # type: ignore[return-value]  # they are numbers
    return PendingScalars(values)


class PendingScalars(Mapping[str, float]):
    """Numbers by name; those on a device are copied in one piece. Reading any value waits for the whole transfer.

    Tensors on a device may be changed afterwards, on the same stream.

    Examples:
        >>> numbers = PendingScalars({"loss": torch.tensor(0.5), "epoch": 3})
        >>> dict(numbers)
        {'loss': 0.5, 'epoch': 3}
    """

    def __init__(self, values: Mapping[str, float | Tensor]) -> None:
        self._values = dict(values)
        kinds: dict[tuple[torch.device, torch.dtype], list[str]] = {}
        for name, value in self._values.items():
            if isinstance(value, Tensor):
                kinds.setdefault((value.device, value.dtype), []).append(name)
        self._copies = [(names, HostCopy(self._packed(names))) for names in kinds.values()]

    def have_arrived(self) -> bool:
        """Return whether the transfer is complete; does not wait."""
        return all(copy.has_arrived() for _, copy in self._copies)

    def numbers(self) -> dict[str, float]:
        """Return all numbers; waits for the transfer."""
        for names, copy in self._copies:
            self._values.update(zip(names, copy.wait().tolist(), strict=True))
        self._copies = []
        return self._values  # type: ignore[return-value]  # no tensor is left

    def _packed(self, names: list[str]) -> Tensor:
        return torch.stack([self._values[name].detach().reshape(()) for name in names])  # type: ignore[union-attr]

    def __getitem__(self, name: str) -> float:
        return self.numbers()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
