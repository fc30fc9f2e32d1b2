"""Which writers can be asked for, and what they become."""

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
    """Return the writers that can be had; where tensorboard is not installed, CSV stands for it, with a warning.

    Raises:
        ValueError: If there are none, or one is no writer.
    """
    if isinstance(writers, str) or not writers:
        raise ValueError(f'writers={writers!r}; give at least one in a list, for example ("tensorboard", "csv").')
    for writer in writers:
        if writer not in ("tensorboard", "csv") and not isinstance(writer, Writer):
            raise ValueError(
                f'writers has {writer!r}; give "tensorboard", "csv", or an object with write, flush and close.'
                f"{did_you_mean(str(writer), ('tensorboard', 'csv'))}"
            )
    if "tensorboard" not in writers or importlib.util.find_spec("tensorboard") is not None:
        return tuple(writers)
    rank_zero_warn(
        "TrackPlusLogger is to write TensorBoard events, but tensorboard is not installed: CSV is written instead."
        " `pip install tensorboard` brings the events back."
    )
    return tuple(dict.fromkeys("csv" if writer == "tensorboard" else writer for writer in writers))


def open_writer(choice: WriterChoice, directory: Path, x_axis: Mapping[str, str]) -> Writer:
    """Return the writer that was asked for."""
    match choice:
        case "csv":
            return CSVWriter(directory)
        case "tensorboard":
            # Imported here, since it needs tensorboard.
            from lightning_trackplus.writers.tensorboard import TensorBoardWriter  # noqa: PLC0415

            return TensorBoardWriter(directory, x_axis)
        case _:
            return choice
