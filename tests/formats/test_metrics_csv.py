"""Tables of numbers as they lie there, whoever wrote them and whatever happened to them."""

from __future__ import annotations

import csv

import pytest

from lightning_trackplus.formats.metrics_csv import StepRow, one_row_a_step, read_stored, step_rows


def test_rows_that_are_not_as_wide_as_the_header_are_read_as_far_as_it_goes(tmp_path):
    """A shorter row has no more values, a longer one none beyond the header, and a blank line is no row."""
    path = tmp_path / "metrics.csv"
    path.write_text("step,epoch,a,b\n0,0,0.5,1.5\n1,0,0.25\n\n2\n3,0,0.125,2.5,9.5,9.5\n\n4,1,,3.5\n")

    stored = read_stored(path)

    with path.open(newline="") as file:
        names = csv.DictReader(file).fieldnames
        cells = [row[: len(names)] for row in csv.reader(file) if row]
    assert list(stored.rows()) == cells
    assert [(row.step, row.epoch, row.values) for row in step_rows(stored)] == [
        (0, 0, {"a": 0.5, "b": 1.5}),
        (1, 0, {"a": 0.25}),
        (2, None, {}),
        (3, 0, {"a": 0.125, "b": 2.5}),
        (4, 1, {"b": 3.5}),
    ]


@pytest.mark.parametrize(
    ("epochs", "merged"), [((0, 1), 1), ((0, None), 0), ((None, 2), 2), ((None, None), None), ((0, None, 3), 3)]
)
def test_rows_of_one_step_have_the_last_epoch_that_is_known(epochs, merged):
    """What validation adds to a training step may say another epoch, or none."""
    rows = [StepRow(7, epoch, {f"x{number}": float(number)}) for number, epoch in enumerate(epochs)]

    (found,) = one_row_a_step(rows)

    values = {f"x{number}": float(number) for number in range(len(epochs))}
    assert (found.step, found.epoch, found.values) == (7, merged, values)
