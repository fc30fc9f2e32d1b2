"""Tables with thousands of names: what stands in columns, what in the one for all others, and what readers find."""

from __future__ import annotations

import csv
import json
import math
from urllib.parse import parse_qsl

import numpy as np
import pandas
import polars
import pytest

from lightning_trackplus import TrackPlusLogger, read_run
from lightning_trackplus.reading.verify import differences
from lightning_trackplus.record import EvaluationBatch
from lightning_trackplus.writers import table_file
from lightning_trackplus.writers.metrics_table import MetricsTable
from lightning_trackplus.writers.run_summary import read_history
from tests.flavour.pytorch.loggers import CSVLogger

OTHERS = "other names"


def rows_of(path):
    """Return what each row has by name, as csv.DictReader and urllib find it; pandas and polars find the same cells."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, restval=""))
    by_pandas = pandas.read_csv(path, dtype=str, keep_default_na=False)
    assert by_pandas.to_dict("records") == rows
    by_polars = polars.read_csv(path, infer_schema=False)
    assert by_polars.fill_null("").to_dicts() == rows
    return [
        {name: cell for name, cell in row.items() if cell and name != OTHERS}
        | dict(parse_qsl(row.get(OTHERS, ""), strict_parsing=bool(row.get(OTHERS))))
        for row in rows
    ]


def named(count, start=0, value=0.5):
    """Return values of numbered names."""
    return {f"n{number}": value for number in range(start, start + count)}


def test_rows_that_are_filled_have_columns_however_many_these_are(tmp_path):
    """One cell in 64 is enough; a row with fewer has what is far behind in the column for other names."""
    path = tmp_path / "metrics.csv"
    table = MetricsTable(path)
    table.write(0, 0, named(9000))
    table.write(1, 0, named(200, 8800, 0.25))
    table.close()
    header = ",".join(["step", "epoch", *named(9000)])
    assert path.read_text() == f"{header}\n0,0{',0.5' * 9000}\n1,0{',' * 8800}{',0.25' * 200}\n"

    table.write(2, 0, {**named(100), **named(2, 8000)})
    table.write(3, 0, named(1, 1020))
    table.close()

    first, second, third, *sparse = path.read_text().splitlines()
    assert first == header.replace("epoch,", f"epoch,{OTHERS},")
    assert [second, third] == [f"0,0,{',0.5' * 9000}", f"1,0,{',' * 8800}{',0.25' * 200}"]
    assert sparse == [f"2,0,n8000=0.5&n8001=0.5{',0.5' * 100}", f"3,0,{',' * 1020},0.5"]


@pytest.mark.parametrize("flushes", [True, False])
def test_a_row_in_the_column_for_other_names_grows(flushes, tmp_path):
    """Further values of its step come behind, also after the table was closed, and may be enough for columns."""
    path = tmp_path / "metrics.csv"
    table = MetricsTable(path)
    table.write(0, 0, named(1500))
    table.write(0, 0, {"loss": 0.5})
    for number in range(3):
        table.write(1, 0, {f"late {number}": number / 4})
        table.write(number, None, {f"batch {number}": 1.0}, EvaluationBatch("validation", 1))
        if flushes:
            table.flush()
        if number == 1:
            table.close()
    assert len(rows_of(path)) == (5 if flushes else 4)
    expected = {"step": "1", "epoch": "0", "late 0": "0.0", "late 1": "0.25", "late 2": "0.5"}
    table.close()
    assert rows_of(path)[-1] == expected
    assert path.read_text().splitlines()[-1] == "1,0,late+0=0.0&late+1=0.25&late+2=0.5"

    table.write(1, 0, named(2000, 1400))
    table.close()

    found = rows_of(path)
    assert found[-1] == expected | dict.fromkeys(named(2000, 1400), "0.5")
    assert found[0] == {"step": "0", "epoch": "0", **dict.fromkeys([*named(1500), "loss"], "0.5")}
    assert [row for row in found if row.get("epoch") is None] == [
        {"step": str(number), f"batch {number}": "1.0"} for number in range(3)
    ]
    assert "late 0" in path.read_text().splitlines()[0].split(",")


def test_of_a_cell_that_was_cut_short_all_but_its_end_stays(tmp_path):
    """A process that is killed while a row grows loses what it was writing, and nothing that was there."""
    path = tmp_path / "metrics.csv"
    table = MetricsTable(path)
    table.write(0, 0, named(1500))
    table.write(1, 0, {"early": 0.25})
    table.write(1, 0, {"late": 0.125})
    table.close()
    path.write_bytes(path.read_bytes()[:-3])
    assert read_history(tmp_path).series["early"].last == (0.25, 1)
    assert "late" not in read_history(tmp_path).series

    table = MetricsTable(path)
    table.write(1, 0, {"later": 0.5})
    table.close()

    assert rows_of(path)[1:] == [{"step": "1", "epoch": "0", "early": "0.25", "later": "0.5"}]


def test_where_no_wider_file_can_be_made_rows_wait_for_the_column_for_other_names(tmp_path):
    """Rows go on without, as with any new column; later the names of the last row are there."""
    path = tmp_path / "metrics.csv"
    table = MetricsTable(path)
    table.write(0, 0, named(1022))
    table.flush()
    beside = path.with_suffix(".csv.new")
    beside.mkdir()
    for step in range(1, 4):
        table.write(step, 0, {"n1": 0.25, f"late {step}": 1.0})
        with pytest.raises(IsADirectoryError, match=f"has no column yet for '{OTHERS}'; rows are written without them"):
            table.flush()
        assert rows_of(path)[1:] == [{"step": str(one), "epoch": "0", "n1": "0.25"} for one in range(1, step + 1)]
    beside.rmdir()
    table.close()
    assert rows_of(path)[1:] == [
        *({"step": str(one), "epoch": "0", "n1": "0.25"} for one in range(1, 3)),
        {"step": "3", "epoch": "0", "n1": "0.25", "late 3": "1.0"},
    ]


def test_where_much_was_copied_new_names_wait_for_more_rows(tmp_path, monkeypatch):
    """Each flush has its new name in the file, of which ever fewer make a copy; when the file has grown, one does."""
    monkeypatch.setattr(table_file, "_MAX_COPIED", 0)
    monkeypatch.setattr(table_file, "_MAX_COPIES", 3)
    path = tmp_path / "metrics.csv"
    table = MetricsTable(path)
    for step in range(1000):
        table.write(step, 0, {"loss": step / 3})
    table.flush()
    copied, file = 0, path.stat().st_ino
    for step in range(1000, 1100):
        table.write(step, 0, {"loss": 0.25, f"late {step}": float(step)})
        table.flush()
        if path.stat().st_ino != file:
            copied, file = copied + path.stat().st_size, path.stat().st_ino
        assert rows_of(path)[-1] == {"step": str(step), "epoch": "0", "loss": "0.25", f"late {step}": str(float(step))}
    assert 3 * path.stat().st_size < copied < 6 * path.stat().st_size
    header = path.read_text().splitlines()[0].split(",")
    assert header == [
        "step",
        "epoch",
        OTHERS,
        "loss",
        *(f"late {step}" for step in range(1000, 1000 + len(header) - 4)),
    ]

    for step in range(1100, 3000):
        table.write(step, 0, {"loss": 0.25})
    table.flush()
    table.write(3000, 0, {"late 1099": 0.5, "late 3000": 0.5})
    table.flush()
    assert path.read_text().splitlines()[0].split(",") == [*header, "late 1099", "late 3000"]
    table.write(3001, 0, {"late 1000": 0.5})
    table.close()

    frame = read_run(tmp_path).metrics.set_index("step")
    assert frame["loss"].notna().sum() == 3000
    late = frame.drop(columns=["epoch", "loss"]).stack().dropna()
    expected = {(step, f"late {step}"): float(step) for step in range(1000, 1100)}
    more = {(3000, "late 1099"): 0.5, (3000, "late 3000"): 0.5, (3001, "late 1000"): 0.5}
    assert late.to_dict() == expected | more


def test_any_name_can_be_among_the_others(tmp_path):
    """Also one that is called like the column, or has what separates names; a cell that is damaged is a difference."""
    hard = {"other names": 0.5, "step": 0.25, "a=b&c;d+e %41": 2.0, 'n1, \n"': 1e20, "banana": math.nan}
    hard |= {"integer": 2**70, "zero": -0.0, "ünï": math.inf}
    logger = TrackPlusLogger(tmp_path, name="", version="run")
    logger.log_metrics(named(1100), step=0)
    logger.log_metrics(hard, step=1)
    logger.finalize("success")
    path = tmp_path / "run" / "metrics.csv"

    columns = {"other names": "other names (logged)", "step": "step (logged)"}
    expected = {columns.get(name, name): float(number) for name, number in hard.items()}
    for frames in ("pandas", "polars"):
        found = read_run(path.parent, frames=frames).metrics
        np.testing.assert_equal({name: float(found[name][1]) for name in expected}, expected)
    assert len(path.read_text().splitlines()) == 3
    assert rows_of(path)[1].keys() == {"step", *expected}
    assert differences(path.parent) == []
    assert json.loads((path.parent / "summary.json").read_text()).keys() == {*named(1100), *hard}

    path.write_text(path.read_text().replace("&banana=NaN", "&banana&"))
    assert "other names" in {one.name for one in differences(path.parent)}


@pytest.mark.parametrize("frames", ["pandas", "polars"])
@pytest.mark.parametrize("value", [0.5, "high"])
def test_a_metric_of_another_logger_can_be_called_like_the_column(value, frames, tmp_path):
    """What Lightning's CSVLogger wrote under that name is read as what it is."""
    logger = CSVLogger(tmp_path)
    logger.experiment.log_metrics({OTHERS: value, "loss": 1.5}, 0)
    logger.finalize("success")
    found = read_run(logger.log_dir, frames=frames).metrics
    assert list(found[OTHERS]) == [value]
    assert list(found["loss"]) == [1.5]


@pytest.mark.parametrize("frames", ["pandas", "polars"])
def test_a_few_rows_of_very_many_columns_are_read_as_many_rows_are(tmp_path, frames):
    table = MetricsTable(tmp_path / "metrics.csv")
    table.write(0, 0, named(3000))
    table.write(3, 1, {**named(2000, 0, math.nan), "n2500": math.inf, "late": 1e300})
    table.close()
    found = read_run(tmp_path, frames=frames).metrics.to_dict()
    assert list(found) == ["step", "epoch", *named(3000), "late"]
    cells = {name: list(column.values() if isinstance(column, dict) else column) for name, column in found.items()}
    assert cells.pop("step") == [0, 3]
    assert cells.pop("epoch") == [0, 1]
    assert cells.pop("late")[1] == 1e300
    for name, (first, second) in cells.items():
        assert first == 0.5
        place = int(name[1:])
        if place < 2000:
            assert math.isnan(second)
        elif place == 2500:
            assert second == math.inf
        else:
            assert second is None or math.isnan(second)
