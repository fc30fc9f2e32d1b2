"""The values in the event files of a run directory, one by one. Importing this needs tensorboard."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.util.tensor_util import make_ndarray

from lightning_trackplus.run.event_files import event_files, read_events

_SCALARS = "scalars"
_MEDIA_PLUGINS = frozenset({"images", "audio", "text", "histograms"})
_OLD_FORMS = {"simple_value": _SCALARS, "image": "images", "audio": "audio", "histo": "histograms"}


class EventValue(NamedTuple):
    """One value of one event.

    Attributes:
        step: The step of the event.
        tag: The tag of the value.
        plugin: Which plugin of TensorBoard shows it, such as ``"scalars"`` or ``"images"``.
        number: The number of a scalar.
    """

    step: int
    tag: str
    plugin: str
    number: float | None


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
        media: The tags of media.
    """

    numbers: dict[str, tuple[array[int], array[float]]]
    media: frozenset[str]


def event_points(directory: Path) -> EventPoints:
    """Return the numbers of all event files of a folder itself, and what media there are.

    Args:
        directory: The folder.
    """
    numbers: dict[str, tuple[array[int], array[float]]] = {}
    media: set[str] = set()
    for step, tag, plugin, number in event_values(directory):
        if number is not None:
            steps, values = numbers.get(tag) or numbers.setdefault(tag, (array("q"), array("d")))
            steps.append(step)
            values.append(number)
        elif plugin in _MEDIA_PLUGINS:
            media.add(tag)
    return EventPoints(numbers, frozenset(media))


def _plugin(value: Summary.Value, plugins: dict[str, str]) -> str:
    """Return which plugin shows a tensor; a tag's first event says it for all."""
    return plugins.setdefault(value.tag, value.metadata.plugin_data.plugin_name)


def _other(step: int, value: Summary.Value, plugin: str) -> EventValue:
    number = float(make_ndarray(value.tensor).reshape(-1)[0]) if plugin == _SCALARS else None
    return EventValue(step, value.tag, plugin, number)
