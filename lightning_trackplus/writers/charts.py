"""Charts in TensorBoard's Custom Scalars tab: several curves, or a curve within a band."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from lightning_trackplus.formats.layout import escaped
from lightning_trackplus.record import Payload, Record
from lightning_trackplus.runtime.lists import is_list

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

Charts: TypeAlias = Mapping[str, Sequence[str] | Mapping[str, Sequence[str]]]
"""By title, the names of a chart's curves, or ``{"band": [lower, middle, upper]}``."""

CHARTS_FILE = "events.out.tfevents.0.charts"
"""TensorBoard reads files in the order of their names, and this one first."""

_EPOCH = "epoch"
_BAND = "band"
_WITHOUT_PREFIX = "charts"


def check_charts(charts: Charts) -> None:
    """Raise `ValueError` if ``charts`` does not map titles to names, or to a band of three names."""
    if not isinstance(charts, Mapping):
        raise ValueError(f'charts={charts!r}; expected a dict such as {{"loss": ["train/loss", "val/loss"]}}.')  # noqa: TRY004
    for title, curves in charts.items():
        if not isinstance(title, str) or not title:
            raise ValueError(f"charts has the title {title!r}; expected a text that is not empty.")
        if isinstance(curves, Mapping):
            names = [name for band in curves.values() if _are_names(band) for name in band]
            if list(curves) != [_BAND] or len(names) != 3 or any("*" in name or "?" in name for name in names):  # noqa: PLR2004
                raise ValueError(
                    f"charts has {curves!r} for {title!r}; expected a band of three names without * or ?, the lower,"
                    ' the middle and the upper one, for example {"band": ["loss_p5", "loss_median", "loss_p95"]}.'
                )
        elif not _are_names(curves):
            raise ValueError(
                f'charts has {curves!r} for {title!r}; expected a list of names, for example ["train/loss", "val/loss"]'
                ', or a band, {"band": ["loss_p5", "loss_median", "loss_p95"]}.'
            )


def _are_names(names: object) -> bool:
    return is_list(names) and bool(names) and all(isinstance(name, str) and name for name in names)


def prefixed_charts(charts: Charts, prefix: str) -> Charts:
    """Return charts with a prefix before each name except ``epoch``.

    Examples:
        >>> prefixed_charts({"loss": ["train/loss", "epoch"], "spread": {"band": ["a", "b", "c"]}}, "my-")
        {'loss': ['my-train/loss', 'epoch'], 'spread': {'band': ['my-a', 'my-b', 'my-c']}}
    """

    def prefixed(names: Sequence[str]) -> list[str]:
        return [name if name == _EPOCH else prefix + name for name in names]

    return {
        title: {_BAND: prefixed(curves[_BAND])} if isinstance(curves, Mapping) else prefixed(curves)
        for title, curves in charts.items()
    }


class ChartsWriter:
    """Writes the charts into a small event file of their own with the first record, if they are new.

    The file belongs to no checkpoint, so a resumed run keeps it. For several runs TensorBoard shows the charts of all,
    and equal ones once.

    Examples:
        >>> import tempfile
        >>> writer = ChartsWriter(Path(tempfile.mkdtemp()), {"loss": ["train/loss", "val/loss"]})
        >>> writer.write(Record(0, 0, 0.0, {"train/loss": 1.0}))
    """

    def __init__(self, directory: Path, charts: Charts) -> None:
        self._path = directory / CHARTS_FILE
        self._charts = charts
        self._is_written = False

    def write(self, _record: Record[Payload]) -> None:
        """Write the charts, if the file does not have them."""
        if self._is_written:
            return
        # Imported here, since it needs tensorboard.
        from lightning_trackplus.formats.event_files import read_events, write_event_file  # noqa: PLC0415

        event = _layout_event(self._charts)
        there = read_events(self._path) if self._path.is_file() else ()
        if all(other.summary != event.summary for other in there):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_event_file(self._path, event)
        self._is_written = True

    def flush(self) -> None:
        """Do nothing: the file is complete."""

    def close(self) -> None:
        """Let the next record write the charts again, if the file was removed."""
        self._is_written = False


def _layout_event(charts: Charts) -> Event:
    """Return the layout of the tab; the part of a title before its first slash is its group."""
    # Imported here, since they need tensorboard.
    from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415
    from tensorboard.plugins.custom_scalar import metadata  # noqa: PLC0415
    from tensorboard.plugins.custom_scalar.layout_pb2 import Category, Chart, Layout  # noqa: PLC0415

    groups: dict[str, list[Chart]] = {}
    for title, curves in charts.items():
        content: dict[str, Any]
        if isinstance(curves, Mapping):
            # Unlike those of lines, these tags are not regular expressions.
            lower, middle, upper = map(escaped, curves[_BAND])
            content = {"margin": {"series": [{"value": middle, "lower": lower, "upper": upper}]}}
        else:
            content = {"multiline": {"tag": [_regex(escaped(name)) for name in curves]}}
        group, slash, _ = escaped(title).partition("/")
        group = group if slash and group else _WITHOUT_PREFIX
        groups.setdefault(group, []).append(Chart(title=escaped(title), **content))
    layout = Layout(category=[Category(title=group, chart=found) for group, found in groups.items()])
    value = {
        "tag": metadata.CONFIG_SUMMARY_TAG,
        "metadata": {"plugin_data": {"plugin_name": metadata.PLUGIN_NAME}, "data_class": "DATA_CLASS_TENSOR"},
        "tensor": {"dtype": "DT_STRING", "tensor_shape": {}, "string_val": [layout.SerializeToString()]},
    }
    return Event(wall_time=time.time(), summary={"value": [value]})


def _regex(pattern: str) -> str:
    r"""Return the regular expression for a whole tag; ``*`` matches any characters and ``?`` any single one.

    Examples:
        >>> _regex("val/recall (top?)"), _regex("val/*")
        ('^val/recall\\ \\(top.\\)$', '^val/.*$')
    """
    return "^" + "".join({"*": ".*", "?": "."}.get(one) or re.escape(one) for one in pattern) + "$"
