"""What does not stand alike in the CSV and the event files of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference.

    Attributes:
        name: The name that something was logged under.
        step: Its step in TensorBoard, mostly the global step; None for what holds of all of a name.
        what: What is different.

    Examples:
        >>> print(Difference("val/loss", 3, "0.5 in the CSV, 0.25 in TensorBoard"))
        val/loss at 3: 0.5 in the CSV, 0.25 in TensorBoard
    """

    name: str
    step: int | None
    what: str

    def __str__(self) -> str:
        """Return it as one line."""
        name = self.name if self.name.isprintable() and self.name else repr(self.name)
        return f"{name}: {self.what}" if self.step is None else f"{name} at {self.step}: {self.what}"
