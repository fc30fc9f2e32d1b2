"""Long tables: what waits in memory while nobody flushes, and where the batches of long validations stand."""

from __future__ import annotations

import csv
import itertools

import pytest

from lightning_trackplus.record import EvaluationBatch
from lightning_trackplus.writers.metrics_table import MetricsTable


def rows_of(path):
    """Return the rows as csv.DictReader finds them, without what is empty."""
    with path.open(newline="") as file:
        return [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)]


def test_results_of_a_long_validation_have_a_row_of_their_own_where_a_batch_has_the_number_of_their_step(tmp_path):
    """Behind more than 1,000 batches, the results are not taken for those of the batch with their step's number."""
    table = MetricsTable(tmp_path / "metrics.csv")
    table.write(1200, 3, {"train": 0.5})
    for batch in range(1201):
        table.write(batch, None, {"val_step": float(batch)}, EvaluationBatch("validation", 1200))
    table.write(1200, 3, {"val": 0.25})
    table.close()

    rows = rows_of(tmp_path / "metrics.csv")
    batches = [{"step": str(batch), "val_step": str(float(batch))} for batch in range(1201)]
    assert [row for row in rows if "val_step" in row] == batches
    results = [row for row in rows if "val_step" not in row]
    assert results == [{"step": "1200", "epoch": "3", "train": "0.5"}, {"step": "1200", "epoch": "3", "val": "0.25"}]
    assert rows[-1] == results[-1]


@pytest.mark.parametrize("has_columns", [True, False])
def test_rows_that_wait_for_no_flush_come_into_the_file_when_they_are_many(has_columns, tmp_path):
    """While nobody flushes, 256 KiB wait in memory; where the file has to get columns for them, 4 MiB."""
    path, most = tmp_path / "metrics.csv", 2**18 if has_columns else 2**22
    table, names = MetricsTable(path), [f"layer {number}" for number in range(100)]
    table.write(0, 0, dict.fromkeys(names, 1 / 3))
    if has_columns:
        table.flush()
    row = len(f"1000,0{f',{1 / 3}' * 100}\n")
    sizes = [path.stat().st_size]
    for step in range(1000, 1000 + 5 * most // (2 * row)):
        table.write(step, 0, dict.fromkeys(names, 1 / 3))
        if (size := path.stat().st_size) != sizes[-1]:
            sizes.append(size)

    first, *others = (after - before for before, after in itertools.pairwise(sizes))
    assert most - 2 * row < first < most + 4 * row  # With the header.
    assert others
    assert all(2**18 - row < other < 2**18 + 2 * row for other in others)
    table.close()
    assert [row["step"] for row in rows_of(path)] == ["0", *map(str, range(1000, step + 1))]
