"""Metrics whose result is not a single number: one for each class, a dict, a tuple, a matrix, a curve."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Number
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from torchmetrics import Metric, MetricCollection
from torchmetrics.wrappers import ClasswiseWrapper

from lightning_trackplus.formats.summary import Mode
from lightning_trackplus.lightning_internals import result_entries, trainer_state
from lightning_trackplus.lightning_internals.split_results import ResultParts, keep_step_value
from lightning_trackplus.logger.track_plus_logger import trackplus_loggers
from lightning_trackplus.media.base import Media
from lightning_trackplus.media.figure import Figure
from lightning_trackplus.media.heat_map import HeatMap
from lightning_trackplus.media.infer_media import infer_media
from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.routing.log_call import LogCall
from lightning_trackplus.runtime.warn import warn_once

if TYPE_CHECKING:
    import lightning.pytorch as pl

_MOST_DIMENSIONS = 3  # A matrix for each class.


class _LoggedMetric(NamedTuple):
    """One metric, as it was logged.

    Attributes:
        name: The name, without the dataloader.
        metric: The metric.
        is_shown: Whether its parts are asked for; if not, Lightning takes an array as well.
        to_loggers: Whether the loggers get it.
        names: A name for each class, if they were given.
    """

    name: str
    metric: Metric
    is_shown: bool
    to_loggers: bool
    names: Sequence[str] | None


class _Curve(NamedTuple):
    """The points of a curve, and the metric that can draw it."""

    metric: Metric
    points: tuple[Any, ...]


class _Part(NamedTuple):
    """Something that can be shown of a result.

    Attributes:
        name: Its name.
        value: A number, a matrix or several, a curve, or a medium.
        mode: Whether the lowest or the highest value is the best, where the metric says so.
    """

    name: str
    value: Tensor | _Curve | Media[Any]
    mode: Mode | None

    @property
    def is_number(self) -> bool:
        """Whether Lightning can show it."""
        return isinstance(self.value, Tensor) and self.value.ndim == 0


class MetricResults:
    """Shows the results of metrics that Lightning refuses, and leaves all others to it.

    Lightning has the metric, and asks for its result when it asks for any other. What it cannot show is split then:
    into numbers, for which Lightning finds names, and into media.
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
        self._logged: dict[str, _LoggedMetric] = {}
        self._opened: dict[int, ResultParts] = {}
        # The results whose media were delivered, by the key of their entry, and whether they are those of a step.
        self._delivered: dict[tuple[str, bool], Any] = {}
        self._named_modes: set[str] = set()
        self._hooks: dict[int, RemovableHandle] = {}  # By the number of the metric, whose hash changes.

    def begin(self) -> None:
        """Begin an epoch or an evaluation, before which the module has made its metrics."""
        for one in self._module.modules():
            if _has_own_forward(one) and id(one) not in self._hooks:
                self._hooks[id(one)] = one.register_forward_hook(keep_step_value)

    def log(self, call: LogCall) -> bool:
        """Take one call; return whether each like it is for Lightning.

        Raises:
            ValueError: If two classes have the same name.
        """
        name, metric, names = call.name, call.value, call.names
        if names is not None and len(set(names)) < len(names):
            raise ValueError(
                f"self.log({name!r}, {type(metric).__name__}(…), names=…) got the names {', '.join(names)}; give each"
                " class a name of its own."
            )
        self._native(*call.args, **call.kwargs)
        self._tell_modes({name: _mode(metric)})
        if call.hook is None:
            return False
        key = result_entries.entry_key(call.hook, name, call.dataloader)
        to_loggers = call.arguments["logger"] is not False
        # What `validate` and `test` return has no place for an array.
        is_evaluated = self._trainer.state.fn != "fit"
        is_logged = bool(to_loggers and self._trainer.loggers)
        is_shown = bool(call.arguments["prog_bar"]) or is_logged or names is not None or is_evaluated
        self._logged[key] = _LoggedMetric(name, metric, is_shown, to_loggers, names)
        results = result_entries.results_of(self._trainer)
        if id(results) not in self._opened:
            self._opened[id(results)] = ResultParts(self._trainer, self._split)
        self._opened[id(results)].watch(key)
        return names is None and not call.hook.endswith("_epoch_end")

    def close(self) -> None:
        """Leave results to Lightning."""
        for parts in self._opened.values():
            parts.close()
        for hook in self._hooks.values():
            hook.remove()

    def _split(
        self, key: str, value: Any, on_step: bool, full_name: Callable[[str], str]
    ) -> Mapping[str, Tensor] | None:
        """Return the numbers in a result, by name, and deliver its media once; None where Lightning can take it."""
        logged = self._logged[key]
        if isinstance(value, Tensor) and (value.numel() == 1 or not logged.is_shown):
            return None
        names = _names_for(logged, value)
        parts = list(_parts(logged.name, value, logged.metric, names, _mode(logged.metric)))
        self._tell_modes({part.name: part.mode for part in parts if part.is_number})
        if self._delivered.get((key, on_step)) is not value and self._is_for_loggers(logged, on_step):
            self._delivered[key, on_step] = value
            for part in parts:
                if not part.is_number and (media := _media(part, names)) is not None:
                    self._deliver(full_name(part.name), media)
        return {part.name: part.value for part in parts if part.is_number}  # type: ignore[misc]  # they are tensors

    def _tell_modes(self, modes: Mapping[str, Mode | None]) -> None:
        """Tell our loggers which values are the best ones, each name once."""
        new = {name: mode for name, mode in modes.items() if mode is not None and name not in self._named_modes}
        self._named_modes.update(new)
        for logger in trackplus_loggers(self._trainer) if new else ():
            logger.add_metric_modes(new)

    def _is_for_loggers(self, logged: _LoggedMetric, on_step: bool) -> bool:
        trainer = self._trainer
        if not (logged.to_loggers and trainer.is_global_zero) or trainer.sanity_checking:
            return False
        # Lightning hands over each batch of an evaluation.
        return not on_step or trainer.evaluating or trainer_state.logs_this_step(trainer)


def _has_own_forward(module: torch.nn.Module) -> bool:
    is_metric = isinstance(module, Metric) and not isinstance(module, Reducer)
    return is_metric and type(module).forward is not Metric.forward


def _names_for(logged: _LoggedMetric, value: Any) -> Sequence[str]:
    """Return the names that were given, if something in the result has as many elements."""
    names = logged.names or ()
    if not names or any(size == len(names) for size in _sizes(value)):
        return names
    has = f"the shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"nothing with {len(names)} elements"
    raise ValueError(
        f"self.log({logged.name!r}, {type(logged.metric).__name__}(…), names=…) got the {len(names)} names"
        f" {', '.join(names)}, and the metric's result has {has}; give one name for each class."
    )


def _sizes(value: Any) -> Iterator[int]:
    """Yield how many elements each of the arrays and lists in a result has."""
    if isinstance(value, Tensor | np.ndarray):
        yield from value.shape[:1]
    elif isinstance(value, Mapping | list | tuple):
        yield len(value)
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _sizes(one)


def _mode(metric: Metric | MetricCollection) -> Mode | None:
    is_higher_better = getattr(metric, "higher_is_better", None)
    return None if is_higher_better is None else "max" if is_higher_better else "min"


def _parts(
    name: str, value: Any, metric: Metric | MetricCollection, names: Sequence[str], mode: Mode | None
) -> Iterator[_Part]:
    """Yield what can be shown of a result."""
    if isinstance(value, Mapping):
        for (key, one), inner in zip(value.items(), _inner(metric, value), strict=True):
            # What a metric says of itself need not hold for each part of a dict.
            yield from _parts(f"{name}/{key}", one, inner, names, None if inner is metric else _mode(inner))
    elif isinstance(value, tuple) and (drawing := _drawing(metric)) is not None:
        yield _Part(name, _Curve(drawing, value), None)
    elif isinstance(value, list | tuple) and not any(isinstance(one, str) for one in value):
        for index, one in enumerate(value):
            yield from _parts(f"{name}/{_of_class(names, index, len(value))}", one, metric, names, None)
    elif (array := _array(value)) is not None:
        if array.ndim == 1 and len(array) > 1:
            for index, number in enumerate(array):
                yield _Part(f"{name}/{_of_class(names, index, len(array))}", number, mode)
        elif array.numel():
            yield _Part(name, array.reshape(()) if array.numel() == 1 else array, mode)
    elif (media := value if isinstance(value, Media) else infer_media(value)) is not None:
        yield _Part(name, media, None)
    elif value is not None:
        shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor | np.ndarray) else ""
        _warn(name, f"is of type {type(value).__name__}{shape}, which cannot be shown, and is left out")


def _inner(metric: Metric | MetricCollection, result: Mapping[str, Any]) -> Iterable[Metric | MetricCollection]:
    """Return the metric that each part of a dict is of: that of the class, of the task, or of the collection."""
    if isinstance(metric, ClasswiseWrapper):
        return [metric.metric] * len(result)
    if isinstance(metric, MetricCollection):
        inner = dict(metric.items(copy_state=False))
        return [inner.get(key, metric) for key in result]
    tasks = getattr(metric, "task_metrics", {})  # Of a MultitaskWrapper, whose result has them in the same order.
    return tasks.values() if len(tasks) == len(result) else [metric] * len(result)


def _array(value: Any) -> Tensor | None:
    """Return real numbers as a tensor; None for all else, and where there are more dimensions than can be shown."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        value = torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))
    elif isinstance(value, Number):
        value = torch.as_tensor(value)
    if isinstance(value, Tensor) and value.ndim <= _MOST_DIMENSIONS and not value.is_complex():
        return value
    return None


def _of_class(names: Sequence[str], index: int, count: int) -> str | int:
    return names[index] if len(names) == count else index


def _drawing(metric: Metric | MetricCollection) -> Metric | None:
    """Return the metric that can draw a result as a curve: the one that was logged, or one that it wraps."""
    for one in metric.modules():
        if "curve" in inspect.signature(getattr(one, "plot", _drawing)).parameters:
            return one  # type: ignore[return-value]  # what can plot is a metric
    return None


def _media(part: _Part, names: Sequence[str]) -> Media[Any] | None:
    """Return a part that is not a number as a medium; None, with a warning, where it cannot be drawn."""
    value = part.value
    if isinstance(value, Media):
        return value
    try:
        if isinstance(value, _Curve):
            return _curve(value, names)
        # One matrix has its classes on both axes, several are one for each class.
        if value.ndim == 2:  # noqa: PLR2004  rows and columns
            return HeatMap(value, names if value.shape == (len(names), len(names)) else None)
        return HeatMap(value, caption=names if len(value) == len(names) else None)
    except Exception as error:  # noqa: BLE001  a picture must not end a training
        _warn(part.name, f"cannot be drawn, and is left out ({type(error).__name__}: {error})")
        return None


def _curve(curve: _Curve, names: Sequence[str]) -> Figure:
    figure = importlib.import_module("matplotlib.figure").Figure()
    axes = figure.subplots()
    curve.metric.plot(curve.points, ax=axes)
    if len(lines := axes.get_lines()) == len(names):
        for line, name in zip(lines, names, strict=True):
            line.set_label(name)
        axes.legend()
    return Figure(figure)


def _warn(name: str, what: str) -> None:
    warn_once(f"The result {name!r} of a metric {what}.")
