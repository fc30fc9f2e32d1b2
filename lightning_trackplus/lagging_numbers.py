"""Numbers that lie on a device, as they were a moment ago."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lightning_trackplus.late_numbers import LateNumbers


class LaggingNumbers:
    """Gives the numbers of tensors without waiting for their device, which is for what is looked at by a person.

    One copy is under way at a time. Until it has arrived, a name has the number of the one before it; a name that has
    none yet is waited for. Numbers on the host are exact.

    Examples:
        >>> import torch
        >>> LaggingNumbers().of({"loss": torch.tensor(0.5)})
        {'loss': 0.5}
    """

    def __init__(self) -> None:
        self._latest: dict[str, float] = {}
        self._sent: LateNumbers | None = None

    def of(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the numbers by name.

        Args:
            values: Tensors of one element by name.
        """
        numbers = {name: value.item() for name, value in values.items() if value.is_cpu}
        if len(numbers) < len(values):
            numbers |= self._of_device({name: value for name, value in values.items() if not value.is_cpu})
        return {name: numbers[name] for name in values}

    def _of_device(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        if self._sent is not None and self._sent.have_arrived():
            self._latest.update(self._sent.numbers())
            self._sent = None
        if self._sent is None:
            self._sent = LateNumbers(values)
        return {name: self._latest[name] if name in self._latest else value.item() for name, value in values.items()}
