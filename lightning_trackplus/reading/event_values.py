"""The values in the event files of a run directory, one by one. Importing this needs tensorboard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships no types
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.util.tensor_util import make_ndarray

from lightning_trackplus.formats.event_files import event_files, read_records
from lightning_trackplus.formats.layout import EVALUATIONS, batches_folder
from lightning_trackplus.formats.metrics_csv import EPOCH, StepRow
from lightning_trackplus.formats.scalar_events import OF_BEST, ScalarEventReader
from lightning_trackplus.runtime.failures import warn

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


def _values(event: Event, plugins: dict[str, str]) -> Iterator[EventValue]:
    for value in event.summary.value:
        form = value.WhichOneof("value")
        if form == "simple_value":
            yield EventValue(event.step, value.tag, _SCALARS, value.simple_value)
        elif form is not None:
            yield _other(event.step, value, _OLD_FORMS.get(form) or _plugin(value, plugins))


def event_numbers(
    directory: Path, media: dict[str, Counter[int]]
) -> Iterator[tuple[int, tuple[str, ...], Sequence[float]]]:
    """Yield the numbers of each event of a folder itself that has any: its step, the tags and the numbers."""
    plugins: dict[str, str] = {}
    reader = ScalarEventReader()
    for record in (record for path in event_files(directory) for record in read_records(path)):
        if record.endswith(OF_BEST):
            continue
        try:
            found = reader.read(record)
        except DecodeError:
            warn(f"A record in {directory} is no event of TensorBoard, and is left out.")
            continue
        if found is not None:
            yield found
            continue
        event = Event.FromString(record)
        numbers = []
        for value in _values(event, plugins):
            if value.number is not None:
                numbers.append(value)
            elif value.plugin in _MEDIA_PLUGINS:
                media.setdefault(value.tag, Counter())[event.step] += value.items
        if numbers:
            yield event.step, tuple(value.tag for value in numbers), [value.number or 0.0 for value in numbers]


def event_rows(directory: Path, axes: Mapping[str, str]) -> Iterator[StepRow]:
    """Yield the numbers of a run: events of one step that follow each other are a row, until a name comes again.

    Events over another axis are of the row before them. The batches of evaluations come last, without an epoch.
    """
    row: StepRow | None = None
    for step, names, numbers in event_numbers(directory, {}):
        values: dict[str, float | str] = dict(zip(names, numbers, strict=True))
        epoch = values.pop(EPOCH, None)
        new = StepRow(step, None if epoch is None else float(epoch), values)
        is_elsewhere = bool(axes) and all(name in axes for name in names)
        if row is not None and (is_elsewhere or row.step == step) and row.takes(new):
            row = row.with_more(new)
            continue
        if row is not None:
            yield row
        row = new
    if row is not None:
        yield row
    for stage in EVALUATIONS:
        for step, names, numbers in event_numbers(directory / batches_folder(stage), {}):
            yield StepRow(step, None, dict(zip(names, numbers, strict=True)))


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
