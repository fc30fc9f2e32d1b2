"""What the command line shows of a run: start, duration, how it ended, hyper-parameters, metrics and media."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.formats.csv_rows import read_rows
from lightning_trackplus.formats.flat_hparams import HparamValue
from lightning_trackplus.formats.layout import (
    BACKUP_FOLDER,
    EVALUATIONS,
    HPARAMS_FILE,
    MEDIA_FOLDER,
    METRICS_FILE,
    RUN_FILE,
    batches_folder,
    is_ours,
    is_url,
)
from lightning_trackplus.formats.media_csv import MediaRecord, read_media
from lightning_trackplus.formats.metrics_csv import EPOCH, STEP, number_in, read_stored
from lightning_trackplus.formats.summary import Point, entry_of, read_summary
from lightning_trackplus.reading.hparams import read_hparams
from lightning_trackplus.reading.number_chunks import Chunk, EventNumbers, csv_chunks
from lightning_trackplus.reading.run_files import check_tensorboard, files_of, has_events, is_run, run_directory
from lightning_trackplus.run.journal import RunJournal
from lightning_trackplus.run.lock import is_locked

FINISHED, INTERRUPTED, RUNNING = "finished", "interrupted", "running"

_STATUSES = {"success": FINISHED, "finished": FINISHED}
_EVENT_FILE = re.compile(r"events\.out\.tfevents\.(\d{10,11}(?:\.\d{9})?)\.")
_TAIL = 2**18


@dataclass(frozen=True)
class RunInfo:
    """A run; each part is read when it is first used.

    Attributes:
        name: Its path or URL.
        directory: The run directory, or its local copy.
    """

    name: str
    directory: Path

    @cached_property
    def status(self) -> str | None:
        """``"finished"``, ``"interrupted"`` or ``"running"``; None for a run of Lightning's loggers.

        A killed run is interrupted, and so is a run at a URL that has not ended yet.
        """
        if not is_ours(self.directory):
            return None
        if self._journal.status is not None:
            return _STATUSES.get(self._journal.status, INTERRUPTED)
        return RUNNING if is_locked(self.directory) else INTERRUPTED

    @cached_property
    def started(self) -> float:
        """When it started, in seconds since 1970; otherwise the time of its first event file, or of its oldest file."""
        if self._journal.started is not None:
            return self._journal.started
        files = self._files
        named = [float(found[1]) for path in files if (found := _EVENT_FILE.match(path.name)) and float(found[1])]
        return min(named or [path.stat().st_mtime for path in files])

    @cached_property
    def ended(self) -> float:
        """When it ended, or when it was last written, in seconds since 1970."""
        if self._journal.status is not None and self._journal.ended is not None:
            return self._journal.ended
        logged = [path for path in self._files if path.name == METRICS_FILE or "tfevents" in path.name]
        return max(path.stat().st_mtime for path in logged or self._files)

    @cached_property
    def last_step(self) -> int | None:
        """The last logged step, without the batches of evaluations."""
        path = self.directory / METRICS_FILE
        if path.is_file() and (step := _last_step(path)) is not None:
            return step
        return max((entry["last_step"] for entry in self.metrics.values()), default=None)

    @cached_property
    def hparams(self) -> Mapping[str, HparamValue]:
        """The hyper-parameters by their full names, and LightningCLI's ``seed_everything``."""
        return read_hparams(self.directory)

    @cached_property
    def metrics(self) -> Mapping[str, Mapping[str, Any]]:
        """An entry for each name as in ``summary.json``; without that file, no best values."""
        entries = read_summary(self.directory)
        return {name: _entry(*points) for name, points in self.series.items()} if entries is None else entries

    @cached_property
    def newest_metrics(self) -> Mapping[str, Mapping[str, Any]]:
        """The same with all numbers of ``metrics.csv``, which takes longer.

        While a run is written, and after it was killed, ``summary.json`` lacks those of the last seconds.
        """
        has_ended = not is_ours(self.directory) or self._journal.status is not None
        if has_ended or not (self.directory / METRICS_FILE).is_file():
            return self.metrics
        known = read_summary(self.directory) or {}
        return {name: _entry(*points, known.get(name, {})) for name, points in self.series.items()}

    @property
    def monitored(self) -> list[str]:
        """The names that a callback monitors, and those of ``hparam_metrics``."""
        return [name for name, entry in self.metrics.items() if "at_best" in entry]

    @cached_property
    def series(self) -> Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """The steps and values of each name, in the order in which they were logged."""
        parts: dict[str, list[Chunk]] = {}
        for chunk in self._chunks():
            if chunk.name != EPOCH and len(chunk.values):
                parts.setdefault(chunk.name, []).append(chunk)
        return {
            name: (np.concatenate([one.steps for one in some]), np.concatenate([one.values for one in some]))
            for name, some in parts.items()
        }

    @cached_property
    def media(self) -> tuple[MediaRecord, ...]:
        """The media; a copy of a run does not have their files."""
        return read_media(self.directory, warns=self.status != RUNNING)

    def _chunks(self) -> Iterator[Chunk]:
        table = self.directory / METRICS_FILE
        if table.is_file():
            yield from csv_chunks(read_stored(table, warns=self.status != RUNNING), {}, ())
        elif has_events(self.directory):
            check_tensorboard(self.directory)
            yield from EventNumbers(self.directory).chunks()

    @cached_property
    def _journal(self) -> RunJournal:
        return RunJournal(self.directory)

    @cached_property
    def _files(self) -> list[Path]:
        files = [path for path in self.directory.iterdir() if path.is_file() and not path.name.startswith(".")]
        return files or [self.directory]  # A run that has just begun has none.


def run_info(path: str | os.PathLike[str]) -> RunInfo:
    """Return a run by TrackPlusLogger, or by Lightning's CSVLogger or TensorBoardLogger.

    Raises:
        ValueError: If the path is not a run directory.
        ImportError: If the package for the URL's protocol is not installed.
    """
    name = os.fspath(path)
    return RunInfo(name.rstrip("/") or name, run_directory(name, media=False, events=False))


def differing_hparams(runs: list[RunInfo]) -> list[str]:
    """Return the hyper-parameters that differ between the runs that have any."""
    known = [run.hparams for run in runs if run.hparams]
    names = dict.fromkeys(name for params in known for name in params)
    return [name for name in names if len({repr(params.get(name)) for params in known}) > 1]


def _entry(
    steps: NDArray[np.int64], values: NDArray[np.float64], known: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return an entry as in ``summary.json``, with the mode of an older one."""
    known = known or {}

    def point(position: int | np.intp) -> Point:
        return float(values[position]), int(steps[position])

    has_extremes = not np.isnan(values).all()
    lowest = point(np.nanargmin(values)) if has_extremes else None
    highest = point(np.nanargmax(values)) if has_extremes else None
    entry = entry_of(point(-1), lowest, highest, known.get("mode"))
    if "at_best" in known:
        is_same = all(entry[key] == known[key] for key in ("best", "best_step"))
        entry["at_best"] = known["at_best"] if is_same else {}
    return entry


def _last_step(path: Path) -> int | None:
    """Return the highest step of the last rows, without the batches of evaluations."""
    stored = read_stored(path, warns=False)
    start = max(stored.start, stored.end - _TAIL)
    text = stored.body(start).read().decode("utf-8", "replace")
    step, epoch = stored.columns.index(STEP), stored.columns.index(EPOCH) if EPOCH in stored.columns else None
    found: dict[bool, int] = {}
    # The first row may be incomplete.
    for cells in read_rows(text.splitlines()[start > stored.start :]):
        if len(cells) > step and not isinstance(number := number_in(cells[step]), str) and math.isfinite(number):
            has_epoch = epoch is not None and len(cells) > epoch and bool(cells[epoch])
            found[has_epoch] = max(int(number), found.get(has_epoch, int(number)))
    return found.get(True, found.get(False))


def run_directories(root: str) -> list[str]:
    """Return the run directories in a folder or at a URL, and below it; a folder within a run belongs to that run.

    Raises:
        ValueError: If there is no such folder.
    """
    text = root.removeprefix("file://").rstrip("/") or "/"
    if is_url(text):
        folders: dict[str, list[str]] = {}
        for path in files_of(text):
            folder, _, name = path.rpartition("/")
            folders.setdefault(folder, []).append(name)
        found = {folder: names for folder, names in sorted(folders.items()) if _is_outside_runs(folder.split("/"))}
    elif not Path(text).is_dir():
        raise ValueError(f"{text} is not a folder; expected a folder with runs, such as lightning_logs.")
    else:
        found = {}
        for folder, subfolders, files in os.walk(text):
            subfolders[:] = sorted(one for one in subfolders if _is_outside_runs([one]))
            found[os.path.relpath(folder, text).replace(os.sep, "/").removeprefix(".")] = files
    runs: list[str] = []
    for folder, names in found.items():
        if not is_run(names):
            continue
        above = [run for run in runs if not run or folder.startswith(f"{run}/")]
        # A folder above runs is not one of them because of a file with hyper-parameters, such as those of a project.
        projects = [run for run in above if not is_run(set(found[run]) - {HPARAMS_FILE})]
        # Within a run, such as a curve of `add_scalars`, only a folder with its own table or journal is another run.
        if above == projects or {METRICS_FILE, RUN_FILE} & set(names):
            runs = [*(run for run in runs if run not in projects), folder]
    return [f"{text}/{run}" if run else text for run in runs]


def _is_outside_runs(folders: list[str]) -> bool:
    """Return whether a path has none of the folders that runs have."""
    return not {MEDIA_FOLDER, BACKUP_FOLDER, "checkpoints", *map(batches_folder, EVALUATIONS)} & set(folders)
