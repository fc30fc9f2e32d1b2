"""The writers that `TrackPlusLogger(writers=…)` accepts, by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_trackplus.runtime.names import did_you_mean
from lightning_trackplus.writers.csv import CSVWriter
from lightning_trackplus.writers.protocol import Writer

WriterChoice: TypeAlias = Literal["tensorboard", "csv"] | Writer


def available(writers: Sequence[WriterChoice]) -> tuple[WriterChoice, ...]:
    """Return the writers, with CSV in place of TensorBoard, and a warning, if tensorboard is not installed.

    Raises:
        ValueError: If there are none, or one of them is not a writer.
    """
    if isinstance(writers, str) or not writers:
        raise ValueError(
            f'writers={writers!r}; expected a list with at least one writer, for example ("tensorboard", "csv").'
        )
    for writer in writers:
        if writer not in ("tensorboard", "csv") and not isinstance(writer, Writer):
            raise ValueError(
                f'writers has {writer!r}; expected "tensorboard", "csv", or an object with write, flush and close.'
                f"{did_you_mean(str(writer), ('tensorboard', 'csv'))}"
            )
    if "tensorboard" not in writers or importlib.util.find_spec("tensorboard") is not None:
        return tuple(writers)
    rank_zero_warn(
        "TrackPlusLogger writes CSV instead of TensorBoard events, since tensorboard is not installed. To get events,"
        " install it with `pip install tensorboard`."
    )
    return tuple(dict.fromkeys("csv" if writer == "tensorboard" else writer for writer in writers))


def open_writer(choice: WriterChoice, directory: Path, x_axis: Mapping[str, str], *, draw_captions: bool) -> Writer:
    """Return the writer for a choice, in a run directory."""
    match choice:
        case "csv":
            return CSVWriter(directory)
        case "tensorboard":
            # Imported here, since it needs tensorboard.
            from lightning_trackplus.writers.tensorboard import TensorBoardWriter  # noqa: PLC0415

            return TensorBoardWriter(directory, x_axis, draw_captions=draw_captions)
        case _:
            return choice
