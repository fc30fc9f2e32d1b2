"""What a resumed run has at the step of its checkpoint, which Lightning may log again."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from lightning_trackplus.files.csv_rows import cells_of, last_row, read_row
from lightning_trackplus.run_directory import METRICS_FILE

NumberT = TypeVar("NumberT")


class Resumed:
    """Keeps the values of the step before the first new one as they were.

    A checkpoint that was saved while a validation ended an epoch lets Lightning log the end of that epoch again, with
    what is left of its values.

    Args:
        directory: The run directory, from which what lies beyond the checkpoint was moved away.
        first_step: The first step that training logs.
    """

    def __init__(self, directory: Path, first_step: int) -> None:
        self._first_step = first_step
        self._step, self._names = _last(directory / METRICS_FILE)

    def without_what_was_logged(self, step: int, numbers: dict[str, NumberT]) -> dict[str, NumberT]:
        """Return the numbers that are new.

        Args:
            step: Their step.
            numbers: What Lightning logs now.
        """
        if step >= self._first_step:
            self._names = set()
        if step != self._step or not self._names:
            return numbers
        return {name: number for name, number in numbers.items() if name not in self._names}


def _last(path: Path) -> tuple[int | None, set[str]]:
    """Return the step of the last row of a table, and the names that it has."""
    if not path.is_file():
        return None, set()
    with path.open("rb") as file:
        columns = cells_of(read_row(file))
        row = cells_of(last_row(file, file.tell()))
    cells = {name: cell for name, cell in zip(columns, row, strict=False) if cell}
    step = cells.pop("step", "")
    return (int(step) if step.isdigit() else None), set(cells)
