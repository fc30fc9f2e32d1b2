"""Steps of what is logged in each batch of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lightning_trackplus.formats.last_points import last_batch_steps


class BatchSteps:
    """Lets the count of batches go on where Lightning begins anew: in another evaluation loop, or after a resume.

    Examples:
        >>> steps = BatchSteps()
        >>> [steps.next(["val_step"], step) for step in (0, 1, 0, 1)]
        [0, 1, 2, 3]
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._offsets: dict[str, int] = {}
        self._directory: Path | None = None

    def next(self, names: Iterable[str], step: int) -> int:
        """Return the step of some names that are logged together."""
        names = tuple(names)
        offset = max((self._offsets.get(name, 0) for name in names), default=0)
        last = max((self._last.get(name, -1) for name in names), default=-1)
        if step + offset <= last:
            offset = last + 1 - step
            self._offsets.update(dict.fromkeys(names, offset))
        self._last.update(dict.fromkeys(names, step + offset))
        return step + offset

    def go_on(self, directory: Path) -> None:
        """Begin behind what a run has already, if that was not done yet."""
        if directory != self._directory:
            self._directory = directory
            self._last.update(last_batch_steps(directory))
