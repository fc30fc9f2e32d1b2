"""What of a run belongs to each of its checkpoints: ``run.jsonl``.

The file has one JSON object a line::

    {"format": 1, "run": "5e0c…"}       the number of the format, and which run this is
    {"session": "91ab…", "rows": …}     a process begins to write, at a "time", behind what is there
    {"saved": 3, "rows": …}             the third checkpoint of this session was saved
    {"cut": 3, "rows": 120, "bytes": {"media.csv": 4711, "events.out.tfevents.…": 65536}}
    {"ended": "success", "time": …}     the logger was finalized; null where it goes on in the same process

A *cut* says how many rows ``metrics.csv`` has and how long the other files are. It is written when the next batch or
the next epoch of training begins after a checkpoint: what was logged before belongs to it. A checkpoint that
has no cut was the last thing that happened, and all belongs to it.

A checkpoint carries the way to it: the sessions of the run so far, each with the number of its last checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from lightning_trackplus.formats.atomic_file import AtomicFile
from lightning_trackplus.formats.layout import FORMAT, RUN_FILE
from lightning_trackplus.run.lock import parents

Way: TypeAlias = list[list[Any]]
"""The sessions that led to a checkpoint, each with the number of its last checkpoint."""


class RunFormatError(ValueError):
    """A run directory was written by a later version of the package, in a format that this one does not know."""


class Extent(NamedTuple):
    """How much a run had at some moment.

    Attributes:
        rows: The rows of ``metrics.csv``.
        bytes: The length of each other file that grows, by its path in the run directory, in POSIX form.
    """

    rows: int
    bytes: Mapping[str, int]


class Position(NamedTuple):
    """Where a run goes on from a checkpoint.

    Attributes:
        extent: What belongs to the checkpoint; None if all does.
        is_exact: Whether it is the checkpoint's own, and not where its branch parted from this run.
        saved: What the run had when the checkpoint was saved, where that is known.
    """

    extent: Extent | None
    is_exact: bool
    saved: Extent | None = None


@dataclass
class _Session:
    """A process that wrote the run.

    Attributes:
        name: Its name.
        start: What the run had when it began.
        at_save: What the run had when each checkpoint was saved, by its number; None if the run had ended.
        cuts: The cuts, by the number of the last checkpoint before each.
    """

    name: str
    start: Extent
    at_save: dict[int, Extent | None] = field(default_factory=dict)
    cuts: dict[int, Extent] = field(default_factory=dict)

    @property
    def saved(self) -> int:
        """The number of its last checkpoint; 0 if it has none."""
        return max(self.at_save, default=0)


class RunJournal:
    """Reads the journal of a run, and writes what a new session adds.

    Raises:
        RunFormatError: If the run has a format that this version does not know.

    Attributes:
        run: Which run this is.
        process: The process that this session is of.
        status: How the run ended; None if it has not.
        started: When it began, in seconds since 1970, where that is known.
        ended: When it ended, likewise.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / RUN_FILE
        self.run = ""
        self.status: str | None = None
        self.started: float | None = None
        self.ended: float | None = None
        self._sessions: list[_Session] = []
        self._number = 0
        self._has_begun = False
        self._read()
        self.process = os.getpid()
        self._name = secrets.token_hex(8)
        self._before: Way = [[session.name, session.saved] for session in self._sessions]
        self._is_known = bool(self.run)
        self.run = self.run or secrets.token_hex(16)

    def save(self) -> tuple[int, Way]:
        """Return the number of a new checkpoint and the way to it, which the checkpoint has to carry."""
        self._number += 1
        return self._number, [*self._before, [self._name, self._number]]

    def begin(self, token: str, extent: Extent) -> None:
        """Write that this session begins."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._begin_lines()
        if not self._is_known:
            self._write({"format": FORMAT, "run": self.run})
        session = {"session": self._name, "time": time.time(), "logger": token, "parents": sorted(parents())}
        self._write({**session, **_as_json(extent)})

    def write_saved(self, number: int, extent: Extent) -> None:
        """Write that a checkpoint was saved."""
        self._write({"saved": number, **_as_json(extent)})

    def write_saved_at_end(self, number: int) -> None:
        """Write that a checkpoint was saved after the run had ended; another process may have continued it."""
        self._write({"saved": number, "of": self._name})

    def write_cut(self, number: int, extent: Extent) -> None:
        """Write what belongs to the checkpoints up to one."""
        self._write({"cut": number, **_as_json(extent)})

    def write_end(self, status: str | None) -> None:
        """Write how the run ended, as Lightning says it; None where it goes on in the same process."""
        self.status = status
        self._write({"ended": status, "time": time.time()})

    def add_missing(self, way: Way) -> None:
        """Write that a checkpoint was saved whose process was killed before it could write that itself."""
        sessions = self._sessions
        if [name for name, _ in way] == [one.name for one in sessions] and way[-1][1] > sessions[-1].saved:
            self._begin_lines()
            self._write({"saved": way[-1][1], "of": sessions[-1].name})

    def position(self, way: Way) -> Position | None:
        """Return where the run goes on from a checkpoint; None if nothing of its way is known."""
        common = 0
        for (name, _), session in zip(way, self._sessions, strict=False):
            if name != session.name:
                break
            common += 1
        if not common:
            return None
        (_, number), session = way[common - 1], self._sessions[common - 1]
        is_last = common == len(self._sessions)
        if common == len(way) and (is_last or number <= session.saved):
            return Position(self._belonging(common - 1, number), is_exact=True, saved=session.at_save.get(number))
        shared = min(number, session.saved)
        if not shared and common == len(way):
            return Position(session.start, is_exact=False)
        return Position(self._belonging(common - 1, shared) if shared else session.start, is_exact=False)

    def _belonging(self, index: int, number: int) -> Extent | None:
        """Return what belongs to a checkpoint of a session; None if all does."""
        cuts, later = self._sessions[index].cuts, self._sessions[index + 1 :]
        after = [cut for cut in cuts if cut >= number]
        if not after:
            return later[0].start if later else None
        # Where somebody removed a file between two sessions, the later one began with less.
        rows = min([cuts[min(after)].rows, *(session.start.rows for session in later)])
        return cuts[min(after)]._replace(rows=rows)

    def _begin_lines(self) -> None:
        """Let lines be written behind those that are there, of which the last one may be torn."""
        self._has_begun = True
        if self._path.is_file() and not self._path.read_bytes().endswith(b"\n"):
            with AtomicFile(self._path, "ab") as file:
                file.write(b"\n")

    def _write(self, entry: Mapping[str, Any]) -> None:
        if self._has_begun:
            with AtomicFile(self._path, "ab") as file:
                file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")

    def _read(self) -> None:
        if not self._path.is_file():
            return
        end = 0
        for line in self._path.read_bytes().splitlines(keepends=True):
            start, end = end, end + len(line)
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue  # A line that was torn, or damaged by hand.
            if line.endswith(b"\n") and isinstance(entry, dict):
                self._take(entry, start, end)

    def _take(self, entry: dict[str, Any], start: int, end: int) -> None:
        match entry:
            case {"format": found, "run": str(run)}:
                if found != FORMAT:
                    raise RunFormatError(
                        f"{self._path.parent} was written by a later version of lightning-trackplus, in the format"
                        f" {found!r}; this version knows the format {FORMAT}. Update lightning-trackplus, or begin"
                        " another run."
                    )
                self.run = run
            case {"ended": str() | None as status, "time": float(moment)}:
                self.status, self.ended = status, moment
            case {"session": str(name), "rows": int(rows), "bytes": dict(sizes)}:
                self.status = None
                if not self._sessions and isinstance(entry.get("time"), float):
                    self.started = entry["time"]
                self._sessions.append(_Session(name, Extent(rows, {**sizes, RUN_FILE: start})))
            case {"saved": int(number), "rows": int(rows), "bytes": dict(sizes)} if self._sessions:
                self._sessions[-1].at_save[number] = Extent(rows, sizes)
            case {"saved": int(number), "of": str(name)}:
                for session in self._sessions:
                    if session.name == name:
                        session.at_save[number] = None
            case {"cut": int(number), "rows": int(rows), "bytes": dict(sizes)} if self._sessions:
                self._sessions[-1].cuts[number] = Extent(rows, {**sizes, RUN_FILE: end})


def check_format(directory: Path) -> None:
    """Refuse a run of a format that this version does not know.

    Raises:
        RunFormatError: If it has such a format.
    """
    RunJournal(directory)


def was_written_by_child(directory: Path, token: str, parent: int) -> bool:
    """Return whether a logger has written a run in a process that a certain one has begun."""
    path = directory / RUN_FILE
    if not path.is_file() or token.encode() not in (data := path.read_bytes()):
        return False
    for line in data.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            match json.loads(line):
                case {"logger": str(logger), "parents": [*found]} if logger == token and parent in found:
                    return True
    return False


def _as_json(extent: Extent) -> dict[str, Any]:
    return {"rows": extent.rows, "bytes": dict(extent.bytes)}
