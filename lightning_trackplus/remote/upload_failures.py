"""The account of uploads that failed: the first is warned of at once, and all are reported at the end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from lightning_trackplus.losses import described, warn

_FILES_REPORTED = 5


class UploadFailures:
    """Counts failures, over all and of each file.

    Args:
        url: Where files are uploaded to.
        spool: Where they stay until then.
    """

    def __init__(self, url: str, spool: Path) -> None:
        self._url = url
        self._spool = spool
        self._in_a_row: Counter[str] = Counter()
        self._count = 0
        self._first = ""

    def failed(self, relative: str, error: Exception) -> None:
        """Count a failure.

        Args:
            relative: The path of the file.
            error: What was raised.
        """
        self._in_a_row[relative] += 1
        self._count += 1
        if self._count == 1:
            self._first = described(error)
            warn(
                f"Uploading to {self._url} failed, training goes on, and it is tried again. What is not uploaded stays"
                f" in {self._spool}. {self._first}"
            )

    def succeeded(self, relative: str) -> None:
        """Forget the failures of a file.

        Args:
            relative: Its path.
        """
        self._in_a_row.pop(relative, None)

    def of(self, relative: str) -> int:
        """Return how often a file has failed since it was uploaded last.

        Args:
            relative: Its path.
        """
        return self._in_a_row[relative]

    def report(self, left: list[str]) -> None:
        """Say what has failed since the last report, if anything has.

        Args:
            left: The files that are not uploaded.
        """
        count, self._count = self._count, 0
        times = "once" if count == 1 else f"{count} times"
        if left:
            names = ", ".join(sorted(left)[:_FILES_REPORTED])
            rest = len(left) - _FILES_REPORTED
            others = f", and {rest} other file{'s' * (rest > 1)}" if rest > 0 else ""
            warn(
                f"Uploading to {self._url} failed {times}, and these files are missing there, or old: {names}{others}."
                f" They are kept in {self._spool}, and the next run that writes to this URL uploads them; or copy them"
                f" by hand. The first failure: {self._first}"
            )
        elif count:
            warn(
                f"Uploading to {self._url} failed {times}; by now, everything is there. The first failure:"
                f" {self._first}"
            )
