"""The values in the event files of a run directory, one by one. Importing this needs tensorboard."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.util.tensor_util import make_ndarray

from lightning_trackplus.files.axes import BATCH
from lightning_trackplus.files.event_files import event_files, read_events
from lightning_trackplus.files.metrics_file import EPOCH, StepRow

_SCALARS = "scalars"
_MEDIA_PLUGINS = frozenset({"images", "audio", "text", "histograms"})
# Before the pictures stand their width and their height.
_FIRST_ITEM = {"images": 2, "audio": 0, "text": 0}
_OLD_FORMS = {"simple_value": _SCALARS, "image": "images", "audio": "audio", "histo": "histograms"}


class EventValue(NamedTuple):
    """One value of one event.

    Attributes:
        step: The step of the event.
        tag: The tag of the value.
        plugin: Which plugin of TensorBoard shows it, such as ``"scalars"`` or ``"images"``.
        number: The number of a scalar.
        items: How many pictures, sounds, texts or histograms it holds.
    """

    step: int
    tag: str
    plugin: str
    number: float | None
    items: int = 1


def event_values(directory: Path) -> Iterator[EventValue]:
    """Yield the values of all event files of a folder itself, in the order in which TensorBoard reads them.

    Args:
        directory: The folder.
    """
    plugins: dict[str, str] = {}
    for path in event_files(directory):
        for event in read_events(path):
            step = event.step
            for value in event.summary.value:
                form = value.WhichOneof("value")
                if form == "simple_value":
                    yield EventValue(step, value.tag, _SCALARS, value.simple_value)
                elif form is not None:
                    yield _other(step, value, _OLD_FORMS.get(form) or _plugin(value, plugins))


@dataclass(frozen=True, slots=True)
class EventPoints:
    """What the event files of a run hold.

    Attributes:
        numbers: The steps and the numbers of each tag of a scalar.
        media: How many items each tag of media has at each of its steps.
    """

    numbers: dict[str, tuple[array[int], array[float]]]
    media: dict[str, Counter[int]]


def event_points(directory: Path) -> EventPoints:
    """Return the numbers of all event files of a folder itself, and what media there are.

    Args:
        directory: The folder.
    """
    numbers: dict[str, tuple[array[int], array[float]]] = {}
    media: dict[str, Counter[int]] = {}
    for step, tag, plugin, number, items in event_values(directory):
        if number is not None:
            steps, values = numbers.get(tag) or numbers.setdefault(tag, (array("q"), array("d")))
            steps.append(step)
            values.append(number)
        elif plugin in _MEDIA_PLUGINS:
            media.setdefault(tag, Counter())[step] += items
    return EventPoints(numbers, media)


def event_rows(directory: Path, axes: Mapping[str, str]) -> Iterator[StepRow]:
    """Yield the numbers that stand behind each other at one step; those over another axis are of the step before them.

    Args:
        directory: The run directory.
        axes: The axis of each name that does not stand over the global step.
    """
    place: tuple[int, bool] | None = None
    values: dict[str, float | str] = {}
    for event in event_values(directory):
        if event.number is None:
            continue
        axis = axes.get(event.tag)
        own = event.step, axis == BATCH
        if place is None or (axis in {None, BATCH} and own != place):
            if place is not None:
                yield _row(place[0], values)
            place, values = own, {}
        values[event.tag] = event.number
    if place is not None:
        yield _row(place[0], values)


def _row(step: int, values: dict[str, float | str]) -> StepRow:
    epoch = values.pop(EPOCH, None)
    return StepRow(step, None if epoch is None else float(epoch), values)


def _plugin(value: Summary.Value, plugins: dict[str, str]) -> str:
    """Return which plugin shows a tensor; a tag's first event says it for all."""
    return plugins.setdefault(value.tag, value.metadata.plugin_data.plugin_name)


def _other(step: int, value: Summary.Value, plugin: str) -> EventValue:
    number = float(make_ndarray(value.tensor).reshape(-1)[0]) if plugin == _SCALARS else None
    return EventValue(step, value.tag, plugin, number, _items(value, plugin))


def _items(value: Summary.Value, plugin: str) -> int:
    if value.WhichOneof("value") != "tensor" or plugin not in _FIRST_ITEM:
        return 1
    sizes = [dimension.size for dimension in value.tensor.tensor_shape.dim]
    return max(sizes[0] - _FIRST_ITEM[plugin], 0) if sizes else 1
