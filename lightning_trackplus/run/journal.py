"""``run.jsonl``: what of a run belongs to each of its checkpoints.

The file has one JSON object a line::

    {"format": 1, "run": "5e0c…"}       the number of the format, and the id of the run
    {"session": "91ab…", "rows": …}     a process starts to append to the run, at a "time"
    {"saved": 3, "rows": …}             the third checkpoint of this session was saved
    {"cut": 3, "rows": 120, "bytes": {"media.csv": 4711, "events.out.tfevents.…": 65536}}
    {"ended": "success", "time": …}     the logger was finalized; null if it continues in the same process

A *cut* has the number of rows of ``metrics.csv`` and the sizes of the other files. It is written when the next batch or
epoch of training begins after a checkpoint: everything logged before belongs to the checkpoint. To a checkpoint without
a cut belongs everything, since nothing came after it.

A checkpoint has a *lineage*: the sessions of the run so far, each with the number of its last checkpoint.
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

from lightning_trackplus.formats.atomic_files import AtomicFile
from lightning_trackplus.formats.layout import FORMAT, RUN_FILE
from lightning_trackplus.run.lock import parents

_YEAR_9999 = 253370764800.0

Lineage: TypeAlias = list[list[Any]]
"""The sessions up to a checkpoint, each with the number of its last checkpoint."""


class RunFormatError(ValueError):
    """The run directory was written by a later version of the package, in a format that is unknown here."""


class Extent(NamedTuple):
    """The size of a run at some moment: rows of ``metrics.csv``, and bytes of each other file, by POSIX path."""

    rows: int
    bytes: Mapping[str, int]


class Position(NamedTuple):
    """Where a run continues from a checkpoint.

    Attributes:
        extent: What belongs to the checkpoint; None for everything.
        is_exact: Whether this is the checkpoint itself, and not where its branch left this run.
        saved: The extent when the checkpoint was saved, if known.
    """

    extent: Extent | None
    is_exact: bool
    saved: Extent | None = None


@dataclass
class _Session:
    """A process that wrote the run."""

    name: str
    start: Extent
    # By the number of the checkpoint; None if the run had ended.
    at_save: dict[int, Extent | None] = field(default_factory=dict)
    # By the number of the last checkpoint before each cut.
    cuts: dict[int, Extent] = field(default_factory=dict)

    @property
    def saved(self) -> int:
        """The number of its last checkpoint; 0 if there is none."""
        return max(self.at_save, default=0)


class RunJournal:
    """Reads the journal of a run, and appends the lines of a new session; raises `RunFormatError`.

    ``status`` is how the run ended, None if it has not; ``started`` and ``ended`` are in seconds since 1970, None where
    they are not known.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / RUN_FILE
        self.run = ""
        self.status: str | None = None
        self.started: float | None = None
        self.ended: float | None = None
        self._sessions: list[_Session] = []
        self._number = 0
        self._is_writing = False
        self._read()
        self.process = os.getpid()
        self._name = secrets.token_hex(8)
        self._before: Lineage = [[session.name, session.saved] for session in self._sessions]
        self._is_known = bool(self.run)
        self.run = self.run or secrets.token_hex(16)

    def save(self) -> tuple[int, Lineage]:
        """Return the number of a new checkpoint and its lineage, which the checkpoint has to store."""
        self._number += 1
        return self._number, [*self._before, [self._name, self._number]]

    def begin(self, token: str, extent: Extent) -> None:
        """Write that this session starts."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._start_lines()
        if not self._is_known:
            self._write({"format": FORMAT, "run": self.run})
        session = {"session": self._name, "time": time.time(), "logger": token, "parents": sorted(parents())}
        self._write({**session, **_as_json(extent)})

    def write_saved(self, number: int, extent: Extent) -> None:
        """Write that a checkpoint was saved."""
        self._write({"saved": number, **_as_json(extent)})

    def write_saved_at_end(self, number: int) -> None:
        """Write that a checkpoint was saved after the run had ended, and perhaps was continued by another process."""
        self._write({"saved": number, "of": self._name})

    def write_cut(self, number: int, extent: Extent) -> None:
        """Write what belongs to the checkpoints up to a number."""
        self._write({"cut": number, **_as_json(extent)})

    def write_end(self, status: str | None) -> None:
        """Write how the run ended, in Lightning's words; None if it continues in the same process."""
        self.status = status
        self._write({"ended": status, "time": time.time()})

    def add_missing(self, lineage: Lineage) -> None:
        """Write that a checkpoint was saved, if its process was killed before it could do so."""
        if [name for name, _ in lineage] != [session.name for session in self._sessions]:
            return
        number, session = lineage[-1][1], self._sessions[-1]
        if number > session.saved:
            self._start_lines()
            self._write({"saved": number, "of": session.name})

    def position(self, lineage: Lineage) -> Position | None:
        """Return where the run continues from a checkpoint; None if nothing of its lineage is known."""
        common = 0
        for (name, _), session in zip(lineage, self._sessions, strict=False):
            if name != session.name:
                break
            common += 1
        if not common:
            return None
        (_, number), session = lineage[common - 1], self._sessions[common - 1]
        is_last = common == len(self._sessions)
        if common == len(lineage) and (is_last or number <= session.saved):
            return Position(self._belonging(common - 1, number), is_exact=True, saved=session.at_save.get(number))
        shared = min(number, session.saved)
        if not shared and common == len(lineage):
            return Position(session.start, is_exact=False)
        return Position(self._belonging(common - 1, shared) if shared else session.start, is_exact=False)

    def _belonging(self, index: int, number: int) -> Extent | None:
        """Return what belongs to a checkpoint of a session; None for everything."""
        cuts, later = self._sessions[index].cuts, self._sessions[index + 1 :]
        after = [cut for cut in cuts if cut >= number]
        if not after:
            return later[0].start if later else None
        # If a file was removed between two sessions, the later one started with less.
        rows = min([cuts[min(after)].rows, *(session.start.rows for session in later)])
        return cuts[min(after)]._replace(rows=rows)

    def _start_lines(self) -> None:
        """Start to append lines; the last line so far may be incomplete."""
        self._is_writing = True
        if self._path.is_file() and not self._path.read_bytes().endswith(b"\n"):
            with AtomicFile(self._path, "ab") as file:
                file.write(b"\n")

    def _write(self, entry: Mapping[str, Any]) -> None:
        if self._is_writing:
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
                continue  # The line is incomplete, or was damaged by hand.
            if line.endswith(b"\n") and isinstance(entry, dict):
                self._apply(entry, start, end)

    def _apply(self, entry: dict[str, Any], start: int, end: int) -> None:
        match entry:
            case {"format": run_format, "run": str(run)}:
                if run_format != FORMAT:
                    raise RunFormatError(
                        f"{self._path.parent} was written by a later version of lightning-trackplus, in the format"
                        f" {run_format!r}; this version knows the format {FORMAT}. Update lightning-trackplus, or start"
                        " a new run."
                    )
                self.run = run
            case {"ended": str() | None as status, "time": moment}:
                self.status, self.ended = status, _moment(moment)
            case {"session": str(name), "rows": int(rows), "bytes": dict(sizes)}:
                self.status = None
                if not self._sessions:
                    self.started = _moment(entry.get("time"))
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
    """Raise `RunFormatError` if this version does not know the format of a run."""
    RunJournal(directory)


def was_written_by_child(directory: Path, token: str, parent: int) -> bool:
    """Return whether a logger wrote a run in a child process of ``parent``."""
    path = directory / RUN_FILE
    if not path.is_file() or token.encode() not in (data := path.read_bytes()):
        return False
    for line in data.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            match json.loads(line):
                case {"logger": str(logger), "parents": [*pids]} if logger == token and parent in pids:
                    return True
    return False


def _moment(value: Any) -> float | None:
    """Return seconds since 1970; None if this is no time."""
    return value if isinstance(value, float) and 0 <= value < _YEAR_9999 else None


def _as_json(extent: Extent) -> dict[str, Any]:
    return {"rows": extent.rows, "bytes": dict(extent.bytes)}
