"""A metric whose state is made when it is asked for, and which syncs itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric
from typing_extensions import Self, override


class LazyMetric(Metric):
    """A metric with one state, ``parts``, a list of tensors of bytes that is built only when it is read.

    It is a state like those of ``add_state``: it is in ``metric_state`` and, after ``persistent(True)``, in
    ``state_dict``, and the wrappers of torchmetrics join it. torchmetrics' move and reset skip it, because building it
    is slow.
    """

    __jit_unused_properties__: ClassVar[list[str]] = Metric.__jit_unused_properties__

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # TorchScript compiles the properties of a submodule, used or not.
        own = [name for one in cls.__mro__ for name, value in vars(one).items() if isinstance(value, property)]
        cls.__jit_unused_properties__ = [*Metric.__jit_unused_properties__, *(name for name in own if name != "device")]

    def __init__(self) -> None:
        super().__init__(compute_with_cache=False)
        # Lists without a reduction are joined.
        self.add_state("parts", [], dist_reduce_fx=None)

    @property
    def parts(self) -> list[Tensor]:
        """What it has seen, one tensor of bytes, or none where it has seen nothing."""
        raise NotImplementedError

    @parts.setter
    def parts(self, parts: list[Tensor]) -> None:
        raise NotImplementedError

    @override
    def reset(self) -> None:
        """Reset all but the state."""
        with self._without_state():
            super().reset()

    @override
    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: ``compute`` merges the states of all processes."""

    @override
    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot one or more results.

        Returns:
            The figure and its axes.
        """
        return self._plot(val, ax)

    @override
    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        with self._without_state():
            return super()._apply(*args, **kwargs)  # type: ignore[return-value]  # it returns this object

    @contextlib.contextmanager
    def _without_state(self) -> Iterator[None]:
        """Mirror that ``Metric`` looks into ``_defaults`` for what its states are."""
        defaults, self._defaults = self._defaults, {}
        try:
            yield
        finally:
            self._defaults = defaults


def bytes_of(part: Tensor) -> bytes:
    """Return what a tensor of bytes holds, also where somebody has cast it."""
    return part.detach().to("cpu", torch.uint8).numpy().tobytes()
