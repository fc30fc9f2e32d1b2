"""What was not written: each loss is counted, the first of its kind is warned of, and all are reported at the end."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections import Counter
from dataclasses import dataclass

_NAMES_REPORTED = 5


@dataclass
class _Failures:
    """What went wrong at one place: how often, and the first time in words."""

    count: int = 0
    first: str = ""
    steps: tuple[int, int] | None = None


class FailureLog:
    """Keeps account of failures, by place, and of media for which there was no room, by name."""

    def __init__(self) -> None:
        self._failures: dict[str, _Failures] = {}
        self._dropped: Counter[str] = Counter()

    def failed(self, place: str, error: BaseException, steps: tuple[int, int] | None = None) -> None:
        """Count what a place has raised."""
        failures = self._failures.setdefault(place, _Failures())
        failures.count += 1
        if failures.count == 1:
            failures.first = describe_error(error)
            warn(f"{place} failed, training goes on. {failures.first}")
        if steps is not None:
            lowest, highest = failures.steps or steps
            failures.steps = min(lowest, *steps), max(highest, *steps)

    def dropped(self, name: str, max_bytes: int) -> None:
        """Count a medium for which there was no room.

        Args:
            name: The name it was logged under.
            max_bytes: How much may wait.
        """
        self._dropped[name] += 1
        if self._dropped.total() == 1:
            warn(
                f"{name!r} was dropped, training goes on. Media come faster than they are written, and those that wait"
                f" may hold {max_bytes:,} bytes in all. What is dropped is counted until the end of the run;"
                ' media_overflow="block" would wait for room, and a larger max_queue_bytes gives more of it.'
            )

    def report(self) -> None:
        """Say what was lost since the last report."""
        failures, self._failures = self._failures, {}
        dropped, self._dropped = self._dropped, Counter()
        for place, failure in failures.items():
            warn(
                f"{place} failed {_times(failure.count)} in this run{_between(failure.steps)}, and what it was given"
                f" then is missing there. The first time: {failure.first}"
            )
        if dropped:
            names = [f"{name!r} {_times(count)}" for name, count in dropped.most_common(_NAMES_REPORTED)]
            others = f", and {rest} other names" if (rest := len(dropped) - len(names)) else ""
            warn(
                f"Media were dropped {_times(dropped.total())} in this run, since they came faster than they were"
                f" written: {', '.join(names)}{others}."
            )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _between(steps: tuple[int, int] | None) -> str:
    if steps is None:
        return ""
    return f", at step {steps[0]}" if steps[0] == steps[1] else f", between the steps {steps[0]} and {steps[1]}"


def warn(message: str) -> None:
    """Warn of a loss, from whatever thread; where a warning is an error, it is logged."""
    try:
        warnings.warn(message, stacklevel=4)
    except Exception:  # noqa: BLE001  whoever shows warnings may raise anything
        # Under `-W error` a warning is raised, which may end neither the training nor the thread.
        with contextlib.suppress(Exception):
            logging.getLogger(__name__).warning(message)


def describe_error(error: BaseException) -> str:
    """Return an error in words, also one that cannot be printed."""
    with contextlib.suppress(BaseException):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__
