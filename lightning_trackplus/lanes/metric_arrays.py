"""Metrics whose result is no single number: a confusion matrix, or a number for each class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor
from torchmetrics import Metric

from lightning_trackplus import processes, seam
from lightning_trackplus.media.heat_map import HeatMap
from lightning_trackplus.media.media import Media

if TYPE_CHECKING:
    import lightning.pytorch as pl


class _Logged(NamedTuple):
    """One metric, as it was logged.

    Attributes:
        name: The name, without the dataloader.
        dataloader: Which of several evaluation dataloaders it belongs to, for Lightning's suffix.
        metric: The metric.
        arguments: The other arguments of `LightningModule.log`, by name.
        names: A name for each class, if they were given.
    """

    name: str
    dataloader: int | None
    metric: Metric
    arguments: dict[str, Any]
    names: Sequence[str] | None

    @property
    def full_name(self) -> str:
        """The name that Lightning gives it."""
        return seam.full_name(self.name, self.dataloader)


class MetricArrays:
    """Shows the results of metrics that Lightning refuses, and leaves all others to it.

    What a metric results in is known when it is computed, at the end of the epoch; Lightning then finds it
    computed.

    Args:
        native: The module's own ``log``.
        module: The module.
        trainer: The Trainer that runs it.
        deliver: Writes a medium under a name.
    """

    def __init__(
        self,
        native: Callable[..., None],
        module: pl.LightningModule,
        trainer: pl.Trainer,
        deliver: Callable[[str, Media[Any]], None],
    ) -> None:
        self._native = native
        self._module = module
        self._trainer = trainer
        self._deliver = deliver
        self._logged: dict[tuple[bool, str], _Logged] = {}
        # Whether a metric's result is an array, by the key of its entry.
        self._known: dict[str, tuple[Metric, bool]] = {}
        # Those that Lightning was not given, and in which loop.
        self._to_reset: list[tuple[bool, Metric]] = []

    def log(self, name: str, metric: Metric, arguments: dict[str, Any], names: Sequence[str] | None) -> bool:
        """Take one call; return whether each like it is for Lightning, while its value is a number.

        Args:
            name: The name.
            metric: The metric.
            arguments: The other arguments of `LightningModule.log`, by name.
            names: A name for each class; by default their numbers.
        """
        hook = seam.hook_name(self._module)
        is_late = hook is not None and hook.endswith("_epoch_end")
        if hook is None or self._is_shown_nowhere(arguments):
            self._native(name, metric, **arguments)
            return not is_late
        levels = seam.check_levels(self._trainer, hook, arguments["on_step"], arguments["on_epoch"])
        index = seam.Place(self._trainer).dataloader if arguments["add_dataloader_idx"] else None
        logged = _Logged(name, index, metric, arguments, names)
        key = seam.entry_key(hook, name, index)
        if is_late:
            if self._gives_array(key, metric):
                self._show(logged, metric.compute())
                self._reset_later(metric)
            else:
                self._native(name, metric, **arguments)
            return False
        value = seam.step_value(metric)
        if _is_array(value):
            self._log_step(hook, logged, value, *levels)
            return False
        self._native(name, metric, **arguments)
        # Where a step's value is a number, so is the epoch's, and where there is none, it may be an array.
        if value is None and levels[1]:
            self._logged[seam.is_training(self._module), key] = logged
        return True

    def end_epoch(self, dataloaders: Sequence[int]) -> None:
        """Show the results of the epoch that ends now.

        Args:
            dataloaders: The evaluation dataloaders that had batches, in their order.
        """
        training, results = seam.is_training(self._module), seam.results_of(self._trainer)
        for (of_training, key), logged in self._logged.items():
            if of_training != training or not seam.is_shown(entry := results.get(key)):
                continue
            if self._trainer.sanity_checking and logged.dataloader is not None:
                continue  # Lightning asks for none of several dataloaders.
            if self._gives_array(key, logged.metric):
                value = logged.metric.compute()
                seam.hide(entry)
                shown = logged._replace(name=seam.epoch_name(entry))
                for full_name in (logged.full_name, shown.full_name):
                    seam.withdraw_stored(self._trainer, full_name)
                with seam.dataloader_results(self._trainer, logged.dataloader, dataloaders):
                    self._show(shown, value)

    def begin_epoch(self) -> None:
        """Reset the metrics of this loop that Lightning was not given."""
        training = seam.is_training(self._module)
        for of_training, metric in self._to_reset:
            if of_training == training:
                metric.reset()
        self._to_reset = [one for one in self._to_reset if one[0] != training]

    def _is_shown_nowhere(self, arguments: dict[str, Any]) -> bool:
        """Return whether Lightning keeps an array as well, since neither a logger nor the progress bar gets it."""
        return not arguments["prog_bar"] and (arguments["logger"] is False or not self._trainer.loggers)

    def _gives_array(self, key: str, metric: Metric) -> bool:
        """Return whether a metric's result is an array; what it was once, it stays."""
        if processes.are_several():
            return _is_array(metric.compute())  # For which all processes have to meet.
        known, is_array = self._known.get(key, (None, False))
        if known is not metric:
            try:
                is_array = _is_array(seam.raw_result(metric))
            except Exception:  # noqa: BLE001  Lightning says it best, if it asks for the result at all
                return False
            self._known[key] = metric, is_array
        return is_array

    def _reset_later(self, metric: Metric) -> None:
        if not any(metric is one for _, one in self._to_reset):
            self._to_reset.append((seam.is_training(self._module), metric))

    def _log_step(self, hook: str, logged: _Logged, value: Tensor, on_step: bool, on_epoch: bool) -> None:
        """Show the value of a step where it is wanted, and let Lightning have the metric for its epoch."""
        _check_names(logged, value)
        if on_step and seam.logs_this_step(self._trainer):
            self._show(logged._replace(name=f"{logged.name}_step") if on_epoch else logged, value)
        if on_epoch:
            logged = logged._replace(name=f"{logged.name}_epoch" if on_step else logged.name)
            # A progress bar could not show it, and Lightning would raise before any hook of the epoch's end.
            told = {**logged.arguments, "on_step": False, "on_epoch": True, "prog_bar": False}
            self._native(logged.name, logged.metric, **told)
            key = seam.entry_key(hook, logged.name, logged.dataloader)
            self._logged[seam.is_training(self._module), key] = logged
            self._known[key] = logged.metric, True
        else:
            self._reset_later(logged.metric)

    def _show(self, logged: _Logged, value: Tensor) -> None:
        """Log each of several numbers by itself, and what has more dimensions as a heat map."""
        _check_names(logged, value)
        if value.ndim > 1:
            if logged.arguments["logger"] is not False and not self._trainer.sanity_checking:
                self._deliver(logged.full_name, _heat_map(value, logged.names))
            return
        options = {name: logged.arguments[name] for name in ("prog_bar", "logger", "rank_zero_only")}
        names = [f"{logged.name}/{name}" for name in logged.names or range(len(value))]
        # The metric is synced.
        seam.say_nothing_of_no_sync(names)
        for name, number in zip(names, value, strict=True):
            self._native(name, number, **options)


def _check_names(logged: _Logged, value: Tensor) -> None:
    if logged.names is not None and len(logged.names) != len(value):
        raise ValueError(
            f"self.log({logged.name!r}, {type(logged.metric).__name__}(…), names=…) got the {len(logged.names)} names"
            f" {', '.join(logged.names)}, and the metric's result has the shape {tuple(value.shape)}; give one name for"
            " each class."
        )


def _is_array(value: object) -> bool:
    """Return whether Lightning refuses a result, and it is one that can be shown."""
    return isinstance(value, Tensor) and value.numel() > 1 and value.ndim <= 3  # noqa: PLR2004  a matrix for each class


def _heat_map(matrix: Tensor, names: Sequence[str] | None) -> HeatMap:
    """Return one matrix, with its classes on both axes, or one for each class, with its name below."""
    return HeatMap(matrix, names) if matrix.ndim == 2 else HeatMap(matrix, caption=names)  # noqa: PLR2004  one
