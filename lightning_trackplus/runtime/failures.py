"""An account of failures: each is counted, the first of its kind is warned of, and all are reported at the end."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

from lightning_trackplus.runtime.warn import describe_error, warn

_NAMES_REPORTED = 5


@dataclass
class _Failures:
    """The failures of one kind: how many, the first one in words, and the steps between which they were."""

    first: str
    count: int = 0
    steps: tuple[int, int] | None = None


class FailureLog:
    """Counts failures by what has failed, and media for which there was no room by name."""

    def __init__(self) -> None:
        self._failures: dict[str, _Failures] = {}
        self._dropped: Counter[str] = Counter()

    def failed(
        self, what: str, error: BaseException, steps: tuple[int, int] | None = None, *, advice: str = ""
    ) -> None:
        """Count a failure, and warn of the first one.

        Args:
            what: What has failed, the subject of the warning.
            error: What was raised. An interrupt or an exit on the main thread is meant for the program: it is raised
                again.
            steps: The first and the last step that are concerned.
            advice: Sentences that the warning has as well.
        """
        if not isinstance(error, Exception) and threading.current_thread() is threading.main_thread():
            raise error
        if (failures := self._failures.get(what)) is None:
            failures = self._failures[what] = _Failures(describe_error(error))
            warn(f"{what} failed, training continues. {advice}{failures.first}")
        failures.count += 1
        if steps is not None:
            lowest, highest = failures.steps or steps
            failures.steps = min(lowest, *steps), max(highest, *steps)

    def dropped(self, name: str, max_bytes: int) -> None:
        """Count a medium for which there was no room among the ``max_bytes`` that may wait."""
        self._dropped[name] += 1
        if self._dropped.total() == 1:
            warn(
                f"{name!r} was dropped, training continues. Media are logged faster than they are written, and those"
                f" that wait may hold {max_bytes:,} bytes in all. Dropped media are counted until the end of the run;"
                ' media_overflow="block" waits for room instead, and a larger max_queue_bytes gives more of it.'
            )

    def report(self, consequence: str = "") -> None:
        """Warn of all failures since the last report.

        Args:
            consequence: What they mean; by default that records are missing.
        """
        failures, self._failures = self._failures, {}
        dropped, self._dropped = self._dropped, Counter()
        for what, failure in failures.items():
            records = "Records" if failure.steps is None else "Records from those steps"
            warn(
                f"{what} failed {_times(failure.count)} in this run{_between(failure.steps)}."
                f" {consequence or f'{records} are missing from the output.'} The first failure: {failure.first}"
            )
        if dropped:
            names = [f"{name!r} {_times(count)}" for name, count in dropped.most_common(_NAMES_REPORTED)]
            others = f", and {rest} other names" if (rest := len(dropped) - len(names)) else ""
            warn(
                f"Media were dropped {_times(dropped.total())} in this run, since they were logged faster than they"
                f" were written: {', '.join(names)}{others}."
            )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _between(steps: tuple[int, int] | None) -> str:
    if steps is None:
        return ""
    return f", at step {steps[0]}" if steps[0] == steps[1] else f", between the steps {steps[0]} and {steps[1]}"
