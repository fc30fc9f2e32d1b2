"""The runs of a report: their curves, hyper-parameters and summaries, and when each step was."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.formats.event_files import HPARAMS_TAG, event_files, read_records
from lightning_trackplus.formats.flat_hparams import HparamValue
from lightning_trackplus.formats.layout import is_url
from lightning_trackplus.formats.summary import modes_of
from lightning_trackplus.formats.x_axis import read_axes
from lightning_trackplus.reading.curves import Curve, column_of, curves_of
from lightning_trackplus.reading.hparams import read_hparams
from lightning_trackplus.reading.read_run import read_run
from lightning_trackplus.reading.run import Run
from lightning_trackplus.reading.run_files import run_directory

_MOST_TIMES = 1000
_WALL_TIME, _STEP, _SUMMARY = b"\x09", b"\x10", b"\x2a"  # The tags of fields of an Event, in their order.
_HPARAMS = HPARAMS_TAG.encode()  # Events with such names have no step of the training.
_SEVEN_BITS, _MORE = 0x7F, 0x80


class Clock(NamedTuple):
    """Positions of some steps on the other x axes; the page interpolates between them.

    Attributes:
        epochs: Steps, and how many epochs were done after each, shape ``(2, N)``.
        times: Steps, and the seconds from the first one to each, shape ``(2, N)``.
    """

    epochs: NDArray[np.float64]
    times: NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class ReportRun:
    """One run of a report.

    Attributes:
        name: What the page calls it.
        run: What was logged.
        curves: Its curves by name.
        clock: When its steps were.
        hparams: Its hyper-parameters by their full names.
        modes: ``"min"`` or ``"max"`` by name, whichever is best, where that is known.
    """

    name: str
    run: Run
    curves: dict[str, Curve]
    clock: Clock
    hparams: dict[str, HparamValue] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)


def load_runs(runs: Iterable[str | os.PathLike[str] | Run]) -> list[ReportRun]:
    """Read runs, and name them by what is different in their paths.

    Raises:
        ValueError: If there are none, or one of them is not a run.
    """
    given = list(runs)
    if not given:
        raise ValueError("report got no runs; expected the folder of a run, such as lightning_logs/version_0.")
    # The copy of a run at a URL has its event files as well, which tell the times.
    read = [one if isinstance(one, Run) else read_run(run_directory(one)) for one in given]
    # A copy of a run at a URL has a path that says nothing.
    paths = [
        os.fspath(one) if not isinstance(one, Run) and is_url(os.fspath(one)) else run.path.resolve().as_posix()
        for one, run in zip(given, read, strict=True)
    ]
    return [
        ReportRun(name, run, curves_of(run.metrics), _clock(run), read_hparams(run.path), modes_of(run.path))
        for name, run in zip(_names(paths), read, strict=True)
    ]


def _names(paths: Sequence[str]) -> list[str]:
    """Return the last two parts of one path, or what follows on the common part of several."""
    parts = [[part for part in path.replace("\\", "/").split("/") if part not in {"", "."}] for path in paths]
    if len(parts) == 1:
        return ["/".join(parts[0][-2:])]
    common = 0
    while all(len(one) > common + 1 and one[common] == parts[0][common] for one in parts):
        common += 1
    names = ["/".join(one[common:]) for one in parts]
    return [name if names.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(names, 1)]


def _clock(run: Run) -> Clock:
    try:
        times = _times(run.path)
    except (OSError, ValueError) as error:
        warnings.warn(f"The report does not know when the steps of {run.path} were: {error}", stacklevel=2)
        times = np.empty((2, 0))
    started = times[1, 0] if times.size else 0.0
    return Clock(_epochs(run), times - [[0.0], [started]])


def _epochs(run: Run) -> NDArray[np.float64]:
    """Return steps, and how many epochs were done after each: epoch 0 ends at 1.

    An epoch ends with its last logged step. The last epoch may be incomplete; its share is its length relative to the
    one before, at most 1.
    """
    steps, epochs = column_of(run.metrics, "step"), column_of(run.metrics, "epoch")
    steps, epochs = steps[~np.isnan(epochs)], epochs[~np.isnan(epochs)]
    if not len(steps):
        return np.empty((2, 0))
    numbers, inverse = np.unique(epochs, return_inverse=True)
    ends = np.zeros(len(numbers))
    np.maximum.at(ends, inverse, steps)
    ends = np.maximum.accumulate(ends)
    done = numbers + 1
    if len(ends) > 2:  # noqa: PLR2004  two whole epochs, and the last
        length = ends[-2] - ends[-3]
        done[-1] = numbers[-1] + min((ends[-1] - ends[-2]) / length if length else 1.0, 1.0)
    return np.array([[-1.0, *ends], [numbers[0], *done]])


def _times(directory: Path) -> NDArray[np.float64]:
    """Return steps and the seconds since 1970 at which they were logged, shape ``(2, N)``, from the event files."""
    # The step of an event over another axis is not the global step.
    axes = read_axes(directory)
    found: list[tuple[int, float]] = []
    every, number, last = 1, 0, None
    for record in (record for path in event_files(directory) for record in read_records(path, warns=False)):
        if (moment := _moment(record, axes)) is None or (found and moment[0] < found[-1][0]):
            continue
        number, last = number + 1, moment
        if number % every == 0:
            found.append(moment)
        if len(found) > 2 * _MOST_TIMES:
            found, every = [found[0], *found[2::2]], every * 2
    return np.array(found if last is None else [*found, last], np.float64).T.reshape(2, -1)


def _moment(record: bytes, axes: dict[str, str]) -> tuple[int, float] | None:
    """Return the step and the time of an event with numbers; reading all of it would take ten times as long."""
    if axes:
        from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415

        values = Event.FromString(record).summary.value
        if not values or all(value.tag in axes for value in values):
            return None
    if record[:1] != _WALL_TIME or record[9:10] not in {_STEP, _SUMMARY} or _HPARAMS in record[:64]:
        return None
    (wall_time,) = struct.unpack_from("<d", record, 1)
    step = shift = 0
    if record[9:10] == _STEP:
        for byte in record[10:20]:
            step |= (byte & _SEVEN_BITS) << shift
            shift += 7
            if not byte & _MORE:
                break
    return step, wall_time
