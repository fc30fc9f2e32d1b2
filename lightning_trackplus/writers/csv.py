"""CSV: ``metrics.csv`` for numbers, ``media.csv`` and files for media."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

from typing_extensions import assert_never

from lightning_trackplus.record import Payload, Pictures, Record, Sounds, TensorBoardEvent, Texts
from lightning_trackplus.run_directory import METRICS_FILE
from lightning_trackplus.writers.media_files import MediaFiles

FIRST_COLUMNS = ("step", "epoch")
ENCODING = "utf-8"
_LARGEST_EXACT = 2**53


class CSVWriter:
    """Writes numbers to ``metrics.csv`` and media to files with an index ``media.csv``.

    Args:
        directory: The run directory; it is made with the first record.
    """

    def __init__(self, directory: Path) -> None:
        self._metrics = MetricsTable(directory / METRICS_FILE)
        self._media = MediaFiles(directory)

    def write(self, record: Record[Payload]) -> None:
        """Write one record; TensorBoard's own events have no place in a CSV.

        Args:
            record: What was logged in one call.
        """
        numbers: dict[str, float] = {}
        for name, value in record.values.items():
            match value:
                case float() | int():
                    numbers[name] = value
                case Pictures() | Sounds() | Texts():
                    self._media.write(record.step, record.epoch, record.wall_time, name, value)
                case TensorBoardEvent():
                    pass
                case _:
                    assert_never(value)
        if numbers:
            self._metrics.write(record.step, record.epoch, numbers)

    def flush(self) -> None:
        """Bring everything that was written into the files."""
        self._metrics.flush()
        self._media.flush()

    def close(self) -> None:
        """Flush and close the files."""
        self._metrics.close()
        self._media.close()


class MetricsTable:
    """A growing table with one row a step, rectangular on disk at any moment.

    The row of the current step stays in memory until the next step or a flush. What comes for that
    step after a flush completes the row in place. A new name widens the whole file: the wider file
    is written beside the old one and then takes its place.

    Args:
        path: The file. One that is there already is continued.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._columns: dict[str, None] = {}
        self._row: dict[str, str] = {}
        self._row_start = 0

    def write(self, step: int, epoch: float | None, numbers: Mapping[str, float]) -> None:
        """Add numbers to the row of a step.

        Args:
            step: The global step. Another step than the last call's begins a new row.
            epoch: The epoch, where it is known.
            numbers: The values by name; all become float64.
        """
        file = self._file or self._open()
        if self._row.get("step") != str(step):
            self._write_row(file)
            self._row_start = file.tell()
            self._row = {"step": str(step)}
        if epoch is not None:
            self._row["epoch"] = repr(int(epoch) if float(epoch).is_integer() else epoch)
        self._row |= {_column(name): _cell(number) for name, number in numbers.items() if name != "epoch"}
        if not self._row.keys() <= self._columns.keys():
            self._widen(file)

    def flush(self) -> None:
        """Bring the current row into the file."""
        if self._file is not None:
            self._write_row(self._file)
            self._file.flush()

    def close(self) -> None:
        """Flush and close the file; a later ``write`` continues it."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> BinaryIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self._path.exists() or not self._path.stat().st_size:
            self._path.write_bytes(_line(FIRST_COLUMNS))
        file = self._path.open("r+b")
        self._columns = dict.fromkeys(_read_header(file))
        self._row_start, self._row = self._read_last_row(file)
        self._file = file
        return file

    def _read_last_row(self, file: BinaryIO) -> tuple[int, dict[str, str]]:
        """Return where the last row begins and its cells, so that its step can go on."""
        start, last = file.tell(), b""
        for line in file:
            start += len(last)
            last = line
        cells = next(csv.reader([last.decode(ENCODING)]), [])
        if not last.endswith(b"\n"):
            cells = cells[:-1]  # The process was killed while it wrote: this cell may be cut short.
        return start, {name: cell for name, cell in zip(self._columns, cells, strict=False) if cell}

    def _write_row(self, file: BinaryIO) -> None:
        file.seek(self._row_start)
        if self._row:
            file.write(self._row_line())
        file.truncate()

    def _row_line(self) -> bytes:
        return _line(self._row.get(name, "") for name in self._columns)

    def _widen(self, file: BinaryIO) -> None:
        """Add the columns that the current row has and the file has not."""
        names = [name for name in self._row if name not in self._columns]
        file.seek(0)
        _read_header(file)
        self._columns |= dict.fromkeys(names)
        beside = self._path.with_suffix(".csv.new")
        with beside.open("wb") as wider:
            wider.write(_line(self._columns))
            read = file.tell()
            for line in file:
                if read >= self._row_start:
                    break
                read += len(line)
                wider.write(line.rstrip(b"\n") + b"," * len(names) + b"\n")
            self._row_start = wider.tell()
            wider.write(self._row_line())
        file.close()
        beside.replace(self._path)
        self._file = self._path.open("r+b")
        self._file.seek(self._row_start)


def _column(name: str) -> str:
    """Return the column for a name; the one called ``step`` is taken."""
    return "step (logged)" if name == "step" else name


def _cell(number: float) -> str:
    """Return a float64 in full; an integer that float64 cannot hold stays one."""
    if isinstance(number, int) and abs(number) > _LARGEST_EXACT:
        return str(number)
    return repr(float(number))


def _line(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode(ENCODING, "backslashreplace")


def _read_header(file: BinaryIO) -> list[str]:
    """Read the header, which spans lines where a quoted name does, and leave the file behind it."""
    header = file.readline()
    while header.count(b'"') % 2:
        header += file.readline()
    return next(csv.reader(io.StringIO(header.decode(ENCODING), newline="")))
