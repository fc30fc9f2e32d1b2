"""A copy of a tensor on its way to the host."""

from __future__ import annotations

import torch
from torch import Tensor


class HostCopy:
    """Sends a tensor to the host without waiting for it.

    The copy takes its turn behind what its device has been given to do. On the host it lies in
    page-locked memory, without which the copy would wait.

    Args:
        tensor: The tensor; it may be changed afterwards, on the same stream of the device.
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
    """Return an event that follows the copy; None where the copy itself has waited."""
    if device.type != "cuda" or not torch.cuda.is_available():
        if device.type not in ("cpu", "cuda"):
            torch.get_device_module(device).synchronize()
        return None
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event
