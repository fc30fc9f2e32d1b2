"""How tests read CSV files."""

from __future__ import annotations

from pathlib import Path

import pandas


def read_metrics(run: str | Path) -> pandas.DataFrame:
    """Return ``metrics.csv`` of a run as pandas reads it, with all digits of its numbers."""
    # Until pandas 3 the default was fast and one unit in the last place off.
    is_exact = int(pandas.__version__.split(".")[0]) >= 3
    return pandas.read_csv(Path(run, "metrics.csv"), float_precision=None if is_exact else "round_trip")
