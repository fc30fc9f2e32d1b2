"""The reducer lane: numbers with a reduction of ours, or with a value for each sample.

The values of an epoch are gathered in a stream. Lightning is given a view of each result, a Metric
that asks the stream: so names, ``_step`` and ``_epoch``, dataloader suffixes, resets,
``callback_metrics`` and the progress bar are Lightning's own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.warnings import PossibleUserWarning
from torch import Tensor, distributed
from torchmetrics import Metric
from typing_extensions import override

from lightning_trackplus import seam
from lightning_trackplus.reducers.names import Reduction, is_native, reducers_of
from lightning_trackplus.reducers.stream import Group, Stream


class ReducerLane:
    """Takes the ``log`` calls of one module that Lightning cannot reduce itself.

    Args:
        native: The module's own ``log``.
        module: The module.
        trainer: The Trainer that runs it.
    """

    def __init__(self, native: Callable[..., None], module: pl.LightningModule, trainer: pl.Trainer) -> None:
        self._native = native
        self._module = module
        self._trainer = trainer
        self._logged: dict[tuple[str | None, str, int | None], _Logged] = {}

    def takes(self, name: str, value: object, *, sync_dist: bool) -> bool:
        """Return whether this lane takes a value that Lightning could take as well.

        It does where the name was logged through it before, since the last batch of a split may have one
        sample; and for a vector that several processes sync, of which another may have more samples.
        """
        if isinstance(value, Tensor) and value.ndim == 1 and sync_dist and _is_distributed():
            return True
        return self._key(name) in self._logged

    def log(self, name: str, value: float | Tensor, arguments: dict[str, Any]) -> None:
        """Take one call.

        Args:
            name: The name.
            value: A scalar, or a value for each sample, shape ``(N,)``.
            arguments: The other arguments of `LightningModule.log`, by name.

        Raises:
            MisconfigurationException: As Lightning's ``log`` does; also if ``reduce_fx`` is no reducer.
        """
        hook = seam.hook_name(self._module)
        if hook is None:
            self._native(name, 0.0)  # Says, as always, that the Trainer does not run this.
            return
        reduce_fx, batch_size = arguments.pop("reduce_fx"), arguments.pop("batch_size")
        on_step, on_epoch = seam.check_levels(hook, arguments["on_step"], arguments["on_epoch"])
        logged = self._logged_before(hook, name, reduce_fx, arguments)
        values = self._values(value)
        weight = self._weight(logged, value, batch_size)
        if on_step:
            logged.set_step_values(values, weight)
        if on_step or not logged.is_registered or arguments != logged.arguments:
            logged.register(self._native, arguments, batch_size)
        if on_epoch:
            logged.stream.add(values, weight)

    def _key(self, name: str) -> tuple[str | None, str, int | None]:
        return seam.hook_name(self._module), name, seam.dataloader_index(self._trainer)

    def _logged_before(self, hook: str, name: str, reduce_fx: Reduction, arguments: dict[str, Any]) -> _Logged:
        """Return what was logged under a name before, which at first is what Lightning has of it, or nothing."""
        key = self._key(name)
        if key in self._logged:
            self._logged[key].check_reduction(reduce_fx)
            return self._logged[key]
        logged = self._logged[key] = _Logged(name, reduce_fx, arguments)
        if is_native(reduce_fx):
            suffix = key[-1] if arguments["add_dataloader_idx"] else None
            (reducer,) = logged.stream.reducers
            if (earlier := seam.withdraw(self._trainer, hook, name, suffix, reducer.name)) is not None:
                logged.stream.add(self._values(earlier[0]), earlier[1])
        return logged

    def _values(self, value: float | Tensor) -> Tensor:
        """Return a copy of the values on the module's device, in the widest float it has, shape (N,)."""
        device = self._module.device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        if isinstance(value, Tensor):
            return value.detach().to(device, dtype, copy=True).reshape(-1)
        return torch.full((1,), value, dtype=dtype, device=device)

    def _weight(self, logged: _Logged, value: float | Tensor, batch_size: int | None) -> float:
        """Return what each value counts: a sample 1, a scalar its batch size."""
        # One value is a batch of one sample if other calls had vectors, and a scalar if not.
        logged.has_vectors |= isinstance(value, Tensor) and value.ndim == 1 and len(value) != 1
        if logged.has_vectors or not any(reducer.weighted for reducer in logged.stream.reducers):
            return 1
        return seam.batch_size(self._trainer, batch_size)


class _Logged:
    """A stream and the views that Lightning has of it.

    Args:
        name: The name given to ``log``.
        reduce_fx: The reduction given to it.
        arguments: The other arguments of the first call.
    """

    def __init__(self, name: str, reduce_fx: Reduction, arguments: dict[str, Any]) -> None:
        self.name = name
        self.stream = Stream(reducers_of(reduce_fx))
        self.arguments = arguments
        self.is_registered = False
        self.has_vectors = False
        self._reduce_fx = reduce_fx
        self._warned: set[type[Warning]] = set()
        self._is_list = isinstance(reduce_fx, list | tuple)
        reducers = self.stream.reducers
        self._names = [f"{name}_{reducer.name}" for reducer in reducers] if self._is_list else [name]
        self._views = [_View(self, index) for index in range(len(self.stream.reducers))]

    def check_reduction(self, reduce_fx: Reduction) -> None:
        """Raise if a later call asks for other reducers; a function may be a new one with the same name."""
        if reduce_fx == self._reduce_fx:
            return
        names = [reducer.name for reducer in reducers_of(reduce_fx)]
        if isinstance(reduce_fx, list | tuple) == self._is_list and names == [one.name for one in self.stream.reducers]:
            return
        raise MisconfigurationException(
            f"You called `self.log({self.name}, ...)` twice in one hook, with reduce_fx={self._reduce_fx!r} and"
            f" {reduce_fx!r}. Ask for both in one list, or log under two names."
        )

    def set_step_values(self, values: Tensor, weight: float) -> None:
        """Give Lightning the results of one call alone."""
        results = self.stream.results_of(values, weight, group=self._group)
        for view, result in zip(self._views, results, strict=True):
            seam.set_step_value(view, result)

    def register(self, native: Callable[..., None], arguments: dict[str, Any], batch_size: int | None) -> None:
        """Log the views through Lightning, which from then on asks them until it resets them."""
        for name, view in zip(self._names, self._views, strict=True):
            # torchmetrics would warn of a metric that is computed before its first update.
            view.update()
            # Lightning asks for the attribute under which the module has a metric; any name will do.
            given = {**arguments, "metric_attribute": f"trackplus.{name}", "batch_size": batch_size}
            native(name, view, **given)
        self.is_registered = True

    def results(self) -> list[Tensor]:
        """Return the results of the epoch so far."""
        results = self.stream.results(group=self._group)
        if _is_distributed() and not self.arguments["sync_dist"]:
            # Lightning says this of its own reductions, and takes ours for a metric that syncs itself.
            self._warn_once(
                f"It is recommended to use `self.log({self.name!r}, ..., sync_dist=True)` when logging on epoch level"
                " in distributed setting to accumulate the metric across devices.",
                PossibleUserWarning,
            )
        if count := self.stream.nan_count():
            self._warn_once(
                f"self.log({self.name!r}, …): {count} values of this epoch were NaN and are left out of"
                f" {', '.join(self._names)}. Further epochs are not warned of."
            )
        return results

    def reset(self) -> None:
        """Begin a new epoch."""
        self.stream.reset()
        self.is_registered = False

    @property
    def _group(self) -> Group:
        """The processes whose values count together; None for this one alone."""
        if not _is_distributed() or not self.arguments["sync_dist"] or self.arguments["rank_zero_only"]:
            return None
        return self.arguments["sync_dist_group"] or distributed.group.WORLD

    def _warn_once(self, message: str, category: type[Warning] = UserWarning) -> None:
        """Warn, once for each category; each process says it, since each has its own values."""
        if category not in self._warned:
            self._warned.add(category)
            warnings.warn(message, category, stacklevel=2)


class _View(Metric):
    """One result of a stream, as the Metric that Lightning can take.

    Args:
        logged: The stream.
        index: Which of its reducers.
    """

    def __init__(self, logged: _Logged, index: int) -> None:
        super().__init__(sync_on_compute=False)
        self._logged = logged
        self._index = index

    @override
    def update(self) -> None:
        """Do nothing: the stream has the values."""

    @override
    def compute(self) -> Tensor:
        return self._logged.results()[self._index].to(self.device)

    @override
    def reset(self) -> None:
        """Reset the stream; Lightning calls this for each view, and at times twice."""
        super().reset()
        self._logged.reset()


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()
