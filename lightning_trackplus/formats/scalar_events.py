"""Numbers in TensorBoard event files, written and read at a fraction of protobuf's cost.

Most calls log the names of an earlier call. tensorboard's classes make an event of these names once; each further event
is the same bytes with other numbers. In reading, bytes that differ from an earlier event only in the numbers are not
parsed by protobuf.

Importing this needs tensorboard.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships no types
from tensorboard.compat.proto.event_pb2 import Event, SourceMetadata
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.util.tensor_util import make_ndarray

from lightning_trackplus.formats.event_files import event_files, read_records
from lightning_trackplus.formats.layout import EVALUATIONS, OUR_EVENTS, batches_folder, escaped
from lightning_trackplus.formats.metrics_csv import EPOCH, StepRow
from lightning_trackplus.runtime.warn import warn

_MAX_TEMPLATES = 1000
_FLOAT_BYTES, _WALL_TIME_BYTES = 4, 9
_CONTINUATION_BIT = 0x80
_ROUNDS_TO_INFINITY = 3.4028235677973366e38  # In float32.
_SCALARS = "scalars"
_MEDIA_PLUGINS = frozenset({"images", "audio", "text", "histograms"})
# Images are preceded by their width and height.
_FIRST_ITEM = {"images": 2, "audio": 0, "text": 0}
_PLUGIN_OF_OLD_FORM = {"simple_value": _SCALARS, "image": "images", "audio": "audio", "histo": "histograms"}

OF_BEST = Event(source_metadata=SourceMetadata(writer=f"{OUR_EVENTS.decode()} best")).SerializeToString()
"""The end of an event of best values, which repeat what was logged."""


class ScalarEvent(NamedTuple):
    """The numbers of one event; ``names`` are tags, and the same object for events with the same tags."""

    step: int
    names: tuple[str, ...]
    numbers: Sequence[float]


class ScalarEvents:
    """Makes serialized events of numbers."""

    def __init__(self) -> None:
        self._templates: dict[tuple[str, ...], _EventTemplate] = {}

    def serialized(self, step: int, wall_time: float, numbers: Mapping[str, float]) -> bytes:
        """Return an event."""
        names = tuple(numbers)
        template = self._templates.get(names)
        if template is None:
            if len(self._templates) >= _MAX_TEMPLATES:
                self._templates.clear()
            template = self._templates[names] = _EventTemplate(names)
        # Concatenated messages are one message.
        head: bytes = Event(wall_time=wall_time, step=step).SerializeToString()
        return head + template.summary(numbers.values())


class ScalarEventReader:
    """Reads serialized events of numbers."""

    def __init__(self) -> None:
        # By the size of their summaries.
        self._templates: dict[int, list[_EventTemplate]] = {}

    def read(self, data: bytes) -> ScalarEvent | None:
        """Return an event; None if it holds anything else than numbers."""
        start, step = _head(data)
        for template in self._templates.get(len(data) - start, ()):
            if (numbers := template.numbers(data, start)) is not None:
                return ScalarEvent(step, template.names, numbers)
        return self._parsed(data, start)

    def _parsed(self, data: bytes, start: int) -> ScalarEvent | None:
        event = Event.FromString(data)
        values = event.summary.value
        if not values or any(value.WhichOneof("value") != "simple_value" for value in values):
            return None
        names = tuple(value.tag for value in values)
        template = _EventTemplate(names)
        if start and template.numbers(data, start) is not None:
            if sum(map(len, self._templates.values())) >= _MAX_TEMPLATES:
                self._templates.clear()
            self._templates.setdefault(len(data) - start, []).append(template)
        return ScalarEvent(event.step, names, tuple(value.simple_value for value in values))


class _EventTemplate:
    """The bytes of a summary with certain names, around its numbers."""

    # Apart from the templates of rows in `metrics_rows.py`: those are text, and depend on a table's columns.

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        entries = [Summary(value=[{"tag": escaped(name), "simple_value": 0.0}]).SerializeToString() for name in names]
        event = Event(summary={"value": [{"tag": escaped(name), "simple_value": 0.0} for name in names]})
        head = event.SerializeToString().removesuffix(b"".join(entries))
        # The number is the last thing in each entry.
        parts = [entry[:-_FLOAT_BYTES] for entry in entries]
        parts[0] = head + parts[0]
        self._fields: list[Any] = list(itertools.chain.from_iterable((part, 0.0) for part in parts))
        self._parts = tuple(parts)
        self._struct = struct.Struct("<" + "".join(f"{len(part)}sf" for part in parts))

    def summary(self, numbers: Iterable[float]) -> bytes:
        """Return the summary with these numbers."""
        fields = self._fields
        fields[1::2] = numbers
        try:
            return self._struct.pack(*fields)
        except (OverflowError, struct.error):
            fields[1::2] = map(_float32, fields[1::2])
            return self._struct.pack(*fields)

    def numbers(self, data: bytes, start: int) -> tuple[float, ...] | None:
        """Return the numbers of an event whose summary begins at an offset; None if it has other names."""
        if len(data) - start != self._struct.size:
            return None
        fields = self._struct.unpack_from(data, start)
        return fields[1::2] if fields[::2] == self._parts else None


def _head(data: bytes) -> tuple[int, int]:
    """Return where an event's summary begins, and its step; the offset is 0 if the event begins in another way."""
    # A wall time is a tag and eight bytes; a step is a tag and a number in groups of seven bits, the lowest first.
    if data[:1] != b"\x09":
        return 0, 0
    if data[_WALL_TIME_BYTES : _WALL_TIME_BYTES + 1] != b"\x10":
        return _WALL_TIME_BYTES, 0
    step, shift, position = 0, 0, _WALL_TIME_BYTES + 1
    while position < len(data):
        byte = data[position]
        step |= (byte & (_CONTINUATION_BIT - 1)) << shift
        shift, position = shift + 7, position + 1
        if byte < _CONTINUATION_BIT:
            break
    return position, step - 2**64 if step >= 2**63 else step


def _float32(number: float) -> float:
    """Return a number that float32 can hold, infinity included."""
    if number >= _ROUNDS_TO_INFINITY:
        return math.inf
    return -math.inf if number <= -_ROUNDS_TO_INFINITY else number


def event_numbers(directory: Path, media: dict[str, Counter[int]], *, warns: bool = True) -> Iterator[ScalarEvent]:
    """Yield the numbers of each event directly in a folder that has any; count the media by tag and step."""
    plugins: dict[str, str] = {}
    reader = ScalarEventReader()
    for record in (record for path in event_files(directory) for record in read_records(path, warns=warns)):
        if record.endswith(OF_BEST):
            continue
        try:
            scalars = reader.read(record)
        except DecodeError:
            warn(f"A record in {directory} is not a TensorBoard event and is skipped.")
            continue
        if scalars is not None:
            yield scalars
            continue
        event = Event.FromString(record)
        numbers: dict[int, float] = {}
        for position, value in enumerate(event.summary.value):
            plugin = _plugin(value, plugins)
            if plugin == _SCALARS:
                numbers[position] = _number(value)
            elif plugin in _MEDIA_PLUGINS:
                media.setdefault(value.tag, Counter())[event.step] += _item_count(value, plugin)
        if numbers:
            tags = tuple(event.summary.value[position].tag for position in numbers)
            yield ScalarEvent(event.step, tags, list(numbers.values()))


def event_rows(directory: Path, axes: Mapping[str, str], *, warns: bool = True) -> Iterator[StepRow]:
    """Yield the numbers of a run's event files as rows, those of evaluation batches last and without an epoch.

    Events of a step are one row until a name is repeated. Events over another axis belong to the row before.
    """
    row: StepRow | None = None
    for step, names, numbers in event_numbers(directory, {}, warns=warns):
        values: dict[str, float | str] = dict(zip(names, numbers, strict=True))
        epoch = values.pop(EPOCH, None)
        new = StepRow(step, None if epoch is None else float(epoch), values)
        is_on_other_axis = bool(axes) and all(name in axes for name in names)
        if row is not None and (is_on_other_axis or row.step == step) and row.takes(new):
            row = row.with_more(new)
            continue
        if row is not None:
            yield row
        row = new
    if row is not None:
        yield row
    for stage in EVALUATIONS:
        for step, names, numbers in event_numbers(directory / batches_folder(stage), {}, warns=warns):
            yield StepRow(step, None, dict(zip(names, numbers, strict=True)))


def _plugin(value: Summary.Value, plugins: dict[str, str]) -> str | None:
    """Return which plugin of TensorBoard shows a value; for tensors, the first event of a tag says it for all."""
    form = value.WhichOneof("value")
    if form is None or form in _PLUGIN_OF_OLD_FORM:
        return _PLUGIN_OF_OLD_FORM.get(form)
    return plugins.setdefault(value.tag, value.metadata.plugin_data.plugin_name)


def _number(value: Summary.Value) -> float:
    is_tensor = value.WhichOneof("value") != "simple_value"
    return float(make_ndarray(value.tensor).reshape(-1)[0]) if is_tensor else value.simple_value


def _item_count(value: Summary.Value, plugin: str) -> int:
    """Return how many images, sounds, texts or histograms a value holds."""
    if value.WhichOneof("value") != "tensor" or plugin not in _FIRST_ITEM:
        return 1
    sizes = [dimension.size for dimension in value.tensor.tensor_shape.dim]
    return max(sizes[0] - _FIRST_ITEM[plugin], 0) if sizes else 1
