"""metrics.csv, media.csv and the media files, as csv.DictReader, pandas and polars read them."""

from __future__ import annotations

import contextlib
import csv
import itertools
import math
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch
from urllib.parse import parse_qsl

import numpy as np
import pandas
import polars
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event

from lightning_trackplus import read_run
from lightning_trackplus.record import (
    AudioPayload,
    EvaluationBatch,
    ImagePayload,
    Item,
    Record,
    TensorBoardEvent,
    TextPayload,
)
from lightning_trackplus.writers import metrics_rows
from lightning_trackplus.writers.csv import CSVWriter
from lightning_trackplus.writers.metrics_table import MetricsTable
from tests.flavour.pytorch.loggers.csv_logs import ExperimentWriter
from tests.support.csv_files import read_metrics
from tests.support.training import disk_full_above

HARD_NAMES = [
    "loss",
    "",
    " ",
    "val/loss",
    "a,b",
    'say "hi"',
    '"',
    "two\nlines",
    'quoted "two\nlines"',
    "carriage\rreturn",
    "two\r\nlines",
    "🎉",
    "#comment",
    "step",
    "epoch",
    "=1+1",
    "nul\0",
    "\ufeffmark",
    "x" * 300,
]
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = st.sampled_from(HARD_NAMES) | ANY_TEXT
NUMBERS = st.floats() | st.integers(-(2**70), 2**70) | st.sampled_from([5e-324, 1.7976931348623157e308, -0.0, 0.1])
EPOCHS = st.none() | st.integers(0, 5) | st.sampled_from([0.0, 2.0, 0.5])


def rows_of(path):
    """Return the header and the rows as csv.reader finds them; a row ends at its last value, and is filled up here."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert len(set(header)) == len(header)
    assert all(2 <= len(row) <= len(header) for row in rows)
    assert all(row[-1] for row in rows if len(row) > 2)
    return header, [row + [""] * (len(header) - len(row)) for row in rows]


def read_alike(path):
    """Return the rows of csv.DictReader, on which pandas and polars agree to the letter."""
    header, rows = rows_of(path)
    with path.open(newline="", encoding="utf-8") as file:
        dicts = list(csv.DictReader(file, restval=""))
    assert [list(row) for row in dicts] == [header] * len(rows)
    assert [list(row.values()) for row in dicts] == rows

    by_pandas = pandas.read_csv(path, dtype=str, keep_default_na=False)
    assert by_pandas.shape == (len(rows), len(header))
    assert by_pandas.to_numpy().tolist() == rows

    by_polars = polars.read_csv(path, infer_schema=False)
    assert by_polars.shape == (len(rows), len(header))
    assert by_polars.fill_null("").rows() == [tuple(row) for row in rows]
    return dicts


def written(text):
    """Return a text as files have it."""
    return text.replace("\ud800", "\\ud800").replace("\0", "\\x00")


def column(name):
    """Return the column of a name."""
    return "step (logged)" if name == "step" else written(name)


class Model:
    """What metrics.csv should hold: rows in the order of the calls, columns in the order of appearance."""

    def __init__(self):
        self.columns = ["step", "epoch"]
        self.rows = []
        self.waits = False

    def write(self, step, epoch, numbers, *, is_batch):
        row = {"step": step}
        if is_batch:
            # The row of an evaluation batch stands before the row that waits for its results.
            self.rows.insert(len(self.rows) - self.waits, row)
        elif self.waits and self.rows[-1]["step"] == step and self.fits(epoch, numbers):
            row = self.rows[-1]
        else:
            self.rows.append(row)
            self.waits = True
        if epoch is not None and ("epoch" not in row or "epoch" in numbers):
            row["epoch"] = epoch
        # `epoch` has its column, and the column `step` is the Trainer's.
        row |= {column(name): n for name, n in numbers.items() if name != "epoch"}
        self.columns += [name for name in row if name not in self.columns]

    def fits(self, epoch, numbers):
        """Return whether no name comes again, and the epoch is not another."""
        row = self.rows[-1]
        names = set(map(column, numbers))
        return row.keys().isdisjoint(names - {"epoch"}) and (epoch is None or row.get("epoch", epoch) == epoch)

    def assert_equals(self, path, *, is_wide):
        dicts = read_alike(path)
        if not is_wide:
            assert rows_of(path)[0] == self.columns
        assert len(dicts) == len(self.rows)
        for found, wanted in zip(dicts, self.rows, strict=True):
            others = dict(parse_qsl(found.pop("other names", ""), strict_parsing=bool(found.get("other names"))))
            cells = {name: cell for name, cell in found.items() if cell}
            assert cells.keys().isdisjoint(others)
            cells |= others
            assert cells.keys() == wanted.keys()
            for name, number in wanted.items():
                # The text is a float64 in full; an integer in full where it is beyond float64.
                np.testing.assert_array_equal(float(cells[name]), float(number))
                assert math.copysign(1, float(cells[name])) == math.copysign(1, number) or math.isnan(number)
                if isinstance(number, int):
                    assert int(float(cells[name]) if "." in cells[name] else cells[name]) == number
        by_pandas = read_run(path.parent).metrics if is_wide else read_metrics(path.parent)
        for column, name in enumerate(self.columns):
            expected = [float(row.get(name, math.nan)) for row in self.rows]
            if all(abs(number) < 2**53 or not number.is_integer() for number in expected):
                found = by_pandas[name] if is_wide else by_pandas.iloc[:, column]
                np.testing.assert_array_equal(found.to_numpy(float), np.array(expected, float))


OPERATIONS = st.lists(
    st.tuples(
        st.just("write"),
        st.sampled_from([0, 0, 1, 1, 7, -1]),
        EPOCHS,
        st.dictionaries(NAMES, NUMBERS, min_size=1, max_size=3),
        st.sampled_from([False, False, True]),
    )
    | st.sampled_from([("flush",), ("reopen",)]),
    max_size=14,
)


@pytest.mark.parametrize("is_wide", [False, True])
@settings(max_examples=50)
@given(OPERATIONS)
@example(
    [("write", 0, None, dict.fromkeys(HARD_NAMES, 1.0), False), ("reopen",), ("write", 1, 0, {"late": 0.1}, False)]
)
def test_the_table_is_sound_after_every_step_of_any_history(is_wide, operations):
    """After each flush and each reopening the file holds all that was written, in full, in the rows of the model.

    Where the fourth column is what the 1,025th is else, the same holds for what is in the column for other names.
    """
    wide = patch.multiple(metrics_rows, _FEWEST_COLUMNS=3, _FILLED_PART=1)
    with tempfile.TemporaryDirectory() as folder, wide if is_wide else contextlib.nullcontext():
        path = Path(folder, "metrics.csv")
        path.with_name("run.jsonl").touch()
        table, model, step = MetricsTable(path), Model(), 10
        for operation in [*operations, ("flush",)]:
            match operation:
                case ("write", move, epoch, numbers, is_batch):
                    step += move
                    # A batch comes while a row waits for the results.
                    batch = EvaluationBatch("validation", model.rows[-1]["step"] if model.waits else step)
                    table.write(step, epoch, numbers, batch if is_batch else None)
                    model.write(step, epoch, numbers, is_batch=is_batch)
                    if path.exists():
                        rows_of(path)  # Nobody flushed, and the rows are whole all the same.
                case ("flush",):
                    table.flush()
                case ("reopen",):
                    table.close()
                    table = MetricsTable(path)
                    # Without an epoch, a row may be of a batch.
                    model.waits = bool(model.rows) and "epoch" in model.rows[-1]
            if operation[0] != "write" and model.rows:
                model.assert_equals(path, is_wide=is_wide)
        table.close()
        assert path.exists() == bool(model.rows)


@settings(max_examples=40)
@given(st.lists(st.floats(), min_size=1, max_size=60))
def test_pandas_reads_every_float64_as_it_was(numbers):
    """NaN, infinities, negative zero and subnormal numbers come back from pandas with every bit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "metrics.csv")
        table = MetricsTable(path)
        for step, number in enumerate(numbers):
            table.write(step, None, {"x": number, "nothing missing": 1.0})
        table.close()

        found = read_metrics(path.parent)["x"].to_numpy(float)

    np.testing.assert_array_equal(found, np.array(numbers))
    np.testing.assert_array_equal(np.signbit(found[~np.isnan(found)]), np.signbit([n for n in numbers if n == n]))  # noqa: PLR0124


def test_polars_reads_numbers_where_one_is_nan_or_infinite(tmp_path):
    """NaN and infinity do not turn a column of numbers into one of strings."""
    table = MetricsTable(tmp_path / "metrics.csv")
    for step, number in enumerate([math.nan, math.inf, -math.inf, 0.1]):
        table.write(step, 0, {"x": number})
    table.close()

    found = polars.read_csv(tmp_path / "metrics.csv")

    assert found["x"].dtype == polars.Float64
    np.testing.assert_array_equal(found["x"].to_numpy(), [math.nan, math.inf, -math.inf, 0.1])


def test_the_file_looks_as_documented(tmp_path):
    """The file holds step and epoch first, then names as they appear, and an empty cell where nothing was logged."""
    table = MetricsTable(tmp_path / "metrics.csv")
    table.write(0, 0, {"b": 1, "epoch": 0})
    table.write(0, 0, {"a": 0.1})
    table.write(5, 0, {"val, hard": math.inf})
    table.write(9, 0.5, {"step": 3})
    table.close()

    assert (tmp_path / "metrics.csv").read_text() == (
        'step,epoch,b,a,"val, hard",step (logged)\n0,0,1.0,0.1\n5,0,,,inf\n9,0.5,,,,3.0\n'
    )


def test_a_flushed_row_is_completed_in_place(tmp_path):
    """What comes for the step of the last row after a flush joins that row; where a name comes again, a row begins."""
    path = tmp_path / "metrics.csv"
    table = MetricsTable(path)

    table.write(0, 0, {"a": 1.0})
    table.flush()
    assert path.read_text() == "step,epoch,a\n0,0,1.0\n"
    table.write(0, None, {"b": 22.0})
    table.flush()
    assert path.read_text() == "step,epoch,a,b\n0,0,1.0,22.0\n"
    table.write(0, 0, {"b": 4.0})
    table.flush()
    table.write(0, 0, {"a": 3.0})
    table.flush()
    assert path.read_text() == "step,epoch,a,b\n0,0,1.0,22.0\n0,0,3.0,4.0\n"
    table.close()


@pytest.mark.parametrize("epoch", [np.float64(0.5), np.float32(0.5), 0.5], ids=lambda epoch: type(epoch).__name__)
def test_an_epoch_of_any_float_type_is_a_number(epoch, tmp_path):
    """A numpy float, which is a float to Python too, is written as its digits."""
    table = MetricsTable(tmp_path / "metrics.csv")
    table.write(0, epoch, {"a": 1.0})
    table.close()

    assert (tmp_path / "metrics.csv").read_text() == "step,epoch,a\n0,0.5,1.0\n"


def test_a_name_without_utf8_keeps_its_column_when_the_file_is_continued(tmp_path):
    """A lone surrogate in a name is written as its escape, and the column is found again by the next writer."""
    for step in range(3):
        table = MetricsTable(tmp_path / "metrics.csv")
        table.write(step, None, {"a\ud800": float(step)})
        table.close()

    assert rows_of(tmp_path / "metrics.csv") == (
        ["step", "epoch", "a\\ud800"],
        [["0", "", "0.0"], ["1", "", "1.0"], ["2", "", "2.0"]],
    )


def test_a_continued_file_keeps_its_history(tmp_path):
    """Steps that a resumed run logs again are added below, and what was there stays."""
    path = tmp_path / "metrics.csv"
    table = MetricsTable(path)
    for step in range(4):
        table.write(step, 0, {"a": step / 10})
    table.close()
    history = path.read_bytes()

    resumed = MetricsTable(path)
    resumed.write(2, 0, {"a": 7.0})
    resumed.write(3, 0, {"a": 8.0})
    resumed.close()

    assert path.read_bytes() == history + b"2,0,7.0\n3,0,8.0\n"


def test_a_file_that_is_only_opened_stays_as_it_is(tmp_path):
    """Flushing and closing a table that got no rows neither makes nor changes a file."""
    path = tmp_path / "metrics.csv"
    table = MetricsTable(path)
    table.flush()
    table.close()
    assert not path.exists()

    path.write_text("step,epoch,a\n0,0,1.0")
    table = MetricsTable(path)
    table.flush()
    table.close()

    assert path.read_text() == "step,epoch,a\n0,0,1.0"


@pytest.mark.parametrize("names", [["loss"], ["loss", "late"]], ids=["its columns", "a new column"])
def test_a_file_that_lightning_began_is_continued(names, tmp_path):
    """The metrics.csv of Lightning's CSVLogger, which has other line ends and columns, is a table too."""
    theirs = ExperimentWriter(str(tmp_path / "run"))
    for step in range(3):
        theirs.log_metrics({"loss": step / 10, "epoch": 0}, step)
    theirs.save()

    table = MetricsTable(tmp_path / "run" / "metrics.csv")
    for step in range(3, 5):
        table.write(step, 1, dict.fromkeys(names, step / 10))
    table.close()

    dicts = read_alike(tmp_path / "run" / "metrics.csv")
    assert [int(row["step"]) for row in dicts] == list(range(5))
    assert [float(row["loss"]) for row in dicts] == [step / 10 for step in range(5)]
    assert [int(row["epoch"]) for row in dicts] == [0, 0, 0, 1, 1]
    assert [row.get("late", "") for row in dicts] == (["", "", "", "0.3", "0.4"] if "late" in names else [""] * 5)


@settings(max_examples=60)
@given(cut=st.integers(0, 50), step=st.sampled_from([12, 13]), name=st.sampled_from(["a", "b", "late"]))
def test_a_torn_last_line_is_survived(cut, step, name):
    """A file that was cut short anywhere loses one cell of one row at most, and is continued on a line of its own."""
    header, first, last = b"step,epoch,a,b\n", b"11,0,0.125,0.25\n", b"12,0,1234.5,6789.5\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "metrics.csv")
        path.write_bytes((header + first + last)[:cut])

        table = MetricsTable(path)
        table.write(step, 0, {name: 1.0})
        table.close()

        rows = {row["step"]: row for row in read_alike(path)}
    new = rows.pop(str(step))
    assert (new["epoch"], new[name]) == ("0", "1.0")
    wanted = {
        "11": {"step": "11", "epoch": "0", "a": "0.125", "b": "0.25"},
        "12": {"step": "12", "epoch": "0", "a": "1234.5", "b": "6789.5"},
    }
    if cut >= len(header + first):
        assert {column: cell for column, cell in rows["11"].items() if cell} == wanted["11"]
    # What is left of a row that was torn is what was in it.
    assert rows.keys() <= wanted.keys()
    for found, row in rows.items():
        assert {column: cell for column, cell in row.items() if cell}.items() <= wanted[found].items()


def test_a_header_that_was_cut_in_a_quoted_name_is_survived(tmp_path):
    """A quote that never closes does not keep the writer reading for ever."""
    path = tmp_path / "metrics.csv"
    path.write_bytes(b'step,epoch,"val, ha')
    program = """
import pathlib, sys
from lightning_trackplus.writers.metrics_table import MetricsTable
table = MetricsTable(pathlib.Path(sys.argv[1]))
table.write(0, 0, {"a": 1.0})
table.close()
"""
    # In a process of its own, since one that reads for ever has to be ended from outside.
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=60)

    (row,) = read_alike(path)
    assert (row["step"], row["epoch"], row["a"]) == ("0", "0", "1.0")


@pytest.mark.parametrize(
    ("late_names", "room"), [(0, 0), (0, 1), (0, 5), (0, 30), (1, 0), (1, 1), (1, 5), (1, 30), (1000, 30)]
)
def test_a_full_disk_leaves_a_table_that_goes_on(late_names, room, tmp_path):
    """A write that fails for want of room breaks neither the rows before it nor those after it."""
    path = tmp_path / "metrics.csv"
    late = {f"late {number}": 0.5 for number in range(late_names)}
    table = MetricsTable(path)
    for step in range(5):
        table.write(step, 0, {"a": step / 10})
    table.flush()

    with disk_full_above(path.stat().st_size + room), contextlib.suppress(OSError):
        table.write(5, 0, {"a": 0.5, **late})
        table.flush()
    table.write(6, 0, {"a": 0.6, **late})
    table.write(7, 0, {"a": 0.7, "b": 0.7})
    table.close()

    rows = {row["step"]: row for row in read_alike(path)}
    assert [rows[str(step)]["a"] for step in (0, 1, 2, 3, 4, 6, 7)] == ["0.0", "0.1", "0.2", "0.3", "0.4", "0.6", "0.7"]
    assert {rows["6"][name] for name in late} <= {"0.5"}
    assert rows["7"]["b"] == "0.7"
    assert rows.keys() - {"5"} == {"0", "1", "2", "3", "4", "6", "7"}


def test_a_wide_table_is_completed_in_place(tmp_path):
    """A row longer than any buffer gets cells at its end and between others, and stays one row."""
    path = tmp_path / "metrics.csv"
    names = [f"layer {number}/norm" for number in range(800)]
    table = MetricsTable(path)
    table.write(0, 0, dict.fromkeys(names, 1.0))
    for part in (names[1::2], names[2::4], names[::4]):
        table.write(1, 0, dict.fromkeys(part, 1 / 3))
        table.flush()
        _, row = read_alike(path)
        assert {row[name] for name in part} == {repr(1 / 3)}
    assert "" not in row.values()
    table.close()


# The writer: numbers to the table, media to files.


def record(step, values, epoch=None, wall_time=1e9):
    return Record(step, epoch, wall_time, values)


def pictures(*items):
    return ImagePayload(items, 1, 1)


def index_of(directory):
    return read_alike(directory / "media.csv")


def test_a_record_goes_where_each_of_its_values_belongs(tmp_path):
    """Numbers make a row, media make files, and TensorBoard's own events have no place here."""
    writer = CSVWriter(tmp_path / "run")
    writer.write(record(0, {"": TensorBoardEvent(Event(step=3), 10)}))
    writer.close()
    assert not (tmp_path / "run").exists()

    writer.write(
        record(
            7,
            {
                "loss": 0.5,
                "val/img": pictures(Item(b"1", ".png", "one", 0.1), Item(b"2", ".png")),
                "count": 3,
                "tone": AudioPayload((Item(b"3", ".wav", "three"),)),
                "note": TextPayload((Item(b"4", ".md", score=-2.0),)),
                "": TensorBoardEvent(Event(step=3), 10),
            },
            epoch=2,
            wall_time=1234567890.125,
        )
    )
    writer.close()

    directory = tmp_path / "run"
    assert read_alike(directory / "metrics.csv") == [{"step": "7", "epoch": "2", "loss": "0.5", "count": "3.0"}]
    same = {"step": "7", "epoch": "2", "wall_time": "1234567890.125"}
    png, wav, md = "media/val-img/0000000007-00{}.png", "media/tone/0000000007-000.wav", "media/note/0000000007-000.md"
    images = {"name": "val/img", "kind": "image"}
    assert index_of(directory) == [
        same | images | {"file": png.format(0), "caption": "one", "score": "0.1"},
        same | images | {"file": png.format(1), "caption": "", "score": ""},
        same | {"name": "tone", "kind": "audio", "file": wav, "caption": "three", "score": ""},
        same | {"name": "note", "kind": "text", "file": md, "caption": "", "score": "-2.0"},
    ]
    header, _ = rows_of(directory / "media.csv")
    assert header == ["step", "epoch", "name", "kind", "file", "caption", "score", "wall_time"]
    assert [(directory / row["file"]).read_bytes() for row in index_of(directory)] == [b"1", b"2", b"3", b"4"]
    files = {file.relative_to(directory).as_posix() for file in directory.rglob("*") if file.is_file()}
    assert files == {"metrics.csv", "media.csv", *(row["file"] for row in index_of(directory))}


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**10 - 1) | st.sampled_from([0, 9, 10]),
            NAMES,
            st.none() | NAMES,
            st.none() | st.floats(),
            st.sampled_from(["go on", "flush", "reopen"]),
        ),
        min_size=1,
        max_size=8,
    )
)
@example([(0, name, name, 0.1, "flush") for name in HARD_NAMES])
@example([(0, "Name", "lone \ud800", 0.1, "flush"), (0, "name", None, None, "flush")])
def test_every_row_of_the_index_leads_to_its_file(writes):
    """The index holds all that was written in order, and each row leads to a file of its own with the right bytes."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder, "run")
        writer = CSVWriter(directory)
        for number, (step, name, caption, score, then) in enumerate(writes):
            writer.write(record(step, {name: pictures(Item(b"%d" % number, ".png", caption, score))}, epoch=1))
            if then == "reopen":
                writer.close()
                writer = CSVWriter(directory)
            writer.flush()
            rows = index_of(directory)
            assert len(rows) == number + 1
            assert all((directory / row["file"]).is_file() for row in rows)
        writer.close()

        for number, (row, (step, name, caption, score, _)) in enumerate(zip(rows, writes, strict=True)):
            assert (int(row["step"]), row["epoch"], row["name"]) == (step, "1", written(name))
            assert row["caption"] == written(caption or "")
            assert row["score"] == ("" if score is None else row["score"])
            if score is not None:
                np.testing.assert_array_equal(float(row["score"]), score)
            assert re.fullmatch(r"media/[a-z0-9_-]+/\d{10}-\d{3}\.png", row["file"])
            assert (directory / row["file"]).read_bytes() == b"%d" % number
        folders = {row["name"]: row["file"].split("/")[1] for row in rows}
        assert len(set(folders.values())) == len(folders)
        for name, media_folder in folders.items():
            steps = [step for step, other, *_ in writes if written(other) == name]
            files = sorted(path.name for path in (directory / "media" / media_folder).iterdir())
            assert [int(file[:10]) for file in files] == sorted(steps)


def test_a_file_that_is_there_is_never_written_over(tmp_path):
    """A step that is logged again, by this run or by a resumed one, gets new files."""
    contents = [b"first", b"second", b"third"]
    for content in contents:
        writer = CSVWriter(tmp_path)
        writer.write(record(3, {"img": pictures(Item(content, ".png"), Item(content, ".png"))}))
        writer.close()

    assert [(tmp_path / row["file"]).read_bytes() for row in index_of(tmp_path)] == [
        *itertools.chain.from_iterable(zip(contents, contents, strict=True))
    ]


def test_a_text_file_holds_the_bytes_of_the_text(tmp_path):
    """Line ends are not translated and no mark is put before a text."""
    data = "a\r\nb\rc\n€".encode()
    writer = CSVWriter(tmp_path)
    writer.write(record(0, {"note": TextPayload((Item(data, ".md"),))}))
    writer.close()

    assert (tmp_path / index_of(tmp_path)[0]["file"]).read_bytes() == data


@pytest.mark.parametrize("torn", [1, 10, 20, 33])
@pytest.mark.parametrize("caption", ["plain", 'a "quoted", one', "two\nlines"])
def test_a_torn_last_line_of_the_index_is_survived(torn, caption, tmp_path):
    """A row of media.csv that was cut short costs neither the rows before it nor those after it anything."""
    writer = CSVWriter(tmp_path)
    for step in range(3):
        writer.write(record(step, {"img": pictures(Item(b"%d" % step, ".png", caption))}))
    writer.close()
    index = tmp_path / "media.csv"
    index.write_bytes(index.read_bytes()[:-torn])

    writer = CSVWriter(tmp_path)
    for step in range(3, 5):
        writer.write(record(step, {"img": pictures(Item(b"%d" % step, ".png", caption))}))
    writer.close()

    rows = {row["step"]: row for row in index_of(tmp_path)}
    assert [(rows[str(step)]["caption"], rows[str(step)]["name"]) for step in (0, 1, 3, 4)] == [(caption, "img")] * 4
    assert [(tmp_path / rows[str(step)]["file"]).read_bytes() for step in (0, 1, 3, 4)] == [b"0", b"1", b"3", b"4"]


def test_a_full_disk_leaves_an_index_that_goes_on(tmp_path):
    """A file that finds no room has no row that leads to half of it, and later files have theirs."""
    writer = CSVWriter(tmp_path)
    writer.write(record(0, {"img": pictures(Item(b"0" * 10, ".png"))}))
    writer.flush()

    with disk_full_above(5000), pytest.raises(OSError, match="File too large"):
        writer.write(record(1, {"img": pictures(Item(b"1" * 6000, ".png"))}))
    writer.write(record(1, {"img": pictures(Item(b"2" * 7000, ".png"))}))
    writer.close()

    assert [(tmp_path / row["file"]).read_bytes() for row in index_of(tmp_path)] == [b"0" * 10, b"2" * 7000]


def test_after_close_the_files_are_continued(tmp_path):
    """A writer that was closed opens its files again and goes on where they end."""
    writer = CSVWriter(tmp_path)
    for step in range(3):
        writer.write(record(step // 2, {f"x{step}": 0.5, "img": pictures(Item(b"%d" % step, ".png"))}))
        writer.close()

    assert read_alike(tmp_path / "metrics.csv") == [
        {"step": "0", "epoch": "", "x0": "0.5", "x1": "", "x2": ""},
        {"step": "0", "epoch": "", "x0": "", "x1": "0.5", "x2": ""},
        {"step": "1", "epoch": "", "x0": "", "x1": "", "x2": "0.5"},
    ]
    assert [(row["step"], row["file"]) for row in index_of(tmp_path)] == [
        ("0", "media/img/0000000000-000.png"),
        ("0", "media/img/0000000000-001.png"),
        ("1", "media/img/0000000001-000.png"),
    ]


def test_rows_of_evaluation_batches_stand_before_the_row_that_waits_for_them(tmp_path):
    """Numbers of batches do not come between the training and the validation of one step, nor into a row of it."""
    path = tmp_path / "metrics.csv"
    table = MetricsTable(path)
    table.write(4, 0, {"train": 1.0})
    table.flush()
    for batch in range(3):
        table.write(batch, None, {"val_step": float(batch)}, EvaluationBatch("validation", 4))
    table.write(4, 0, {"val": 2.0})
    table.write(5, 1, {"train": 3.0})
    table.close()

    assert path.read_text() == ("step,epoch,train,val_step,val\n0,,,0.0\n1,,,1.0\n2,,,2.0\n4,0,1.0,,2.0\n5,1,3.0\n")


# What keeps a table from getting columns.


@pytest.fixture
def _like_windows(monkeypatch):
    """Refuse to replace a file that this process has open, and with one that it has open."""
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("this system does not list a process's open files")

    def replace(path, target):
        opened = {os.path.realpath(descriptors / name) for name in os.listdir(descriptors)}
        if {os.path.realpath(path), os.path.realpath(target)} & opened:
            raise PermissionError(13, "Access is denied", str(target))
        os.replace(path, target)
        return Path(target)

    monkeypatch.setattr(Path, "replace", replace)


@pytest.mark.usefixtures("_like_windows")
def test_a_new_column_comes_where_open_files_cannot_be_replaced(tmp_path):
    """As on Windows: the table is closed while the wider one takes its place, and goes on there."""
    table = MetricsTable(tmp_path / "metrics.csv")
    for step in range(6):
        table.write(step, 0, {"a": 1.0, **({"late": 2.0} if step > 2 else {}), f"x{step // 5}": 3.0})
        table.flush()
    table.close()

    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        "step,epoch,a,x0,late,x1",
        *(f"{step},0,1.0,3.0" for step in range(3)),
        *(f"{step},0,1.0,3.0,2.0" for step in (3, 4)),
        "5,0,1.0,,2.0,3.0",
    ]


@pytest.mark.usefixtures("_like_windows")
def test_a_table_that_a_reader_keeps_from_getting_a_column_goes_on(tmp_path):
    """As on Windows: while another has the file open, it stays as it is and takes the rows; then it is widened."""
    path = tmp_path / "metrics.csv"
    table = MetricsTable(path)
    table.write(0, 0, {"a": 1.0})
    table.flush()

    with path.open("rb"):
        for step in (1, 2):
            table.write(step, 0, {"a": 1.0, "late": 2.0})
            with pytest.raises(PermissionError, match="Access is denied"):
                table.flush()
        assert path.read_text() == "step,epoch,a\n0,0,1.0\n1,0,1.0\n2,0,1.0\n"
    table.close()

    assert path.read_text() == "step,epoch,a,late\n0,0,1.0\n1,0,1.0\n2,0,1.0,2.0\n"
    assert sorted(os.listdir(tmp_path)) == ["cwd", "metrics.csv"]


def flushed(table):
    """Return what a flush raised, as text, or nothing."""
    try:
        table.flush()
    except OSError as error:
        return str(error)
    return None


def test_where_there_is_no_room_for_a_column_there_is_for_rows(tmp_path):
    """What the file has columns for is written, what is lost is said once, and the name comes later."""
    path = tmp_path / "metrics.csv"
    table = MetricsTable(path)
    for step in range(2000):
        table.write(step, 0, {"a": float(step)})
    table.flush()

    said = {}
    beside = path.with_suffix(".csv.new")
    beside.mkdir()
    for step in range(2000, 2020):
        table.write(step, 0, {"a": float(step), **({"late": 1.0} if step == 2005 else {})})
        said[step] = [flushed(table) for _ in range(2)]
    beside.rmdir()
    for step in range(2020, 2030):
        table.write(step, 0, {"a": float(step), **({"late": 1.0} if step == 2025 else {})})
        table.flush()
    table.close()

    # When it stood in the last row, which might still have got it, and when that row was complete.
    message = f"[Errno 21] Is a directory: {path} has no column yet for 'late'; rows are written without them"
    assert {step: texts for step, texts in said.items() if texts != [None, None]} == {
        2005: [message, None],
        2006: [message, None],
    }
    rows = read_alike(path)
    assert [(row["step"], row["a"]) for row in rows] == [(str(step), str(float(step))) for step in range(2030)]
    assert [row["step"] for row in rows if row["late"]] == ["2025"]


def test_rows_that_are_written_before_a_flush_are_not_lost_with_a_column(tmp_path):
    """Rows that are too many to wait for a flush are all in the file, and the next flush says what is missing."""
    path = tmp_path / "metrics.csv"
    names = [f"n{number}" for number in range(100)]
    late = [f"late {number}" for number in range(7)]
    table = MetricsTable(path)
    table.write(0, 0, dict.fromkeys(names, 1 / 3))
    table.flush()
    # Where no wider file can be made.
    beside = path.with_suffix(".csv.new")
    beside.mkdir()

    for step in range(1, 5_000):
        table.write(step, 0, dict.fromkeys(names + (late if step == 3 else []), 1 / 3))
    assert path.stat().st_size > 2**20
    assert flushed(table) == (
        f"[Errno 21] Is a directory: {path} has no column yet for 'late 0', 'late 1', 'late 2', 'late 3', 'late 4' and"
        " 2 others; rows are written without them"
    )
    beside.rmdir()
    table.write(5_000, 0, {"late 6": 1.5})
    table.close()

    header, rows = rows_of(path)
    assert header == ["step", "epoch", *names, *late]
    assert [row[0] for row in rows] == [str(step) for step in range(5_001)]
    assert {tuple(row[1:]) for row in rows[:-1]} == {("0", *[repr(1 / 3)] * 100, *[""] * 7)}
    assert rows[-1][-1] == "1.5"


def test_what_the_last_row_has_no_column_for_is_tried_again_at_the_end(tmp_path):
    """A table that could not be widened is, with the last row's numbers, where it can be when it is closed."""
    path = tmp_path / "metrics.csv"
    beside = path.with_suffix(".csv.new")
    beside.mkdir()
    table = MetricsTable(path)
    table.write(0, 0, {"a": 1.0})
    assert [bool(flushed(table)) for _ in range(3)] == [True, False, False]
    with pytest.raises(IsADirectoryError):
        table.close()
    assert path.read_text() == "step,epoch\n0,0\n"

    table.write(1, 0, {"a": 1.0})
    assert flushed(table)
    beside.rmdir()
    table.close()

    assert path.read_text() == "step,epoch,a\n0,0\n1,0,1.0\n"


def test_a_row_that_was_in_the_file_is_there_again_after_a_full_disk(tmp_path):
    """A row that was written without a new name is written again with it; if that finds no room, it is not lost."""
    path = tmp_path / "metrics.csv"
    beside = path.with_suffix(".csv.new")
    table = MetricsTable(path)
    table.write(0, 0, {"a": 1.0})
    table.flush()
    beside.mkdir()
    table.write(1, 0, {"a": 1.0, "late": 2.0})
    assert flushed(table)

    with disk_full_above(path.stat().st_size):
        table.write(2, 0, {"a": 1.0})
        assert flushed(table)
    beside.rmdir()
    table.write(3, 0, {"a": 1.0})
    table.close()

    assert path.read_text() == "step,epoch,a,late\n0,0,1.0\n1,0,1.0,2.0\n2,0,1.0\n3,0,1.0\n"


@pytest.mark.parametrize("flushes", [False, True])
def test_names_that_come_one_a_row_stand_where_they_belong(flushes, tmp_path):
    """Of thousands of names, each with a row of its own, 1,022 have a column; the others share one."""
    count, own = 2500, 1022
    table = MetricsTable(tmp_path / "metrics.csv")
    for step in range(count):
        table.write(step, 0, {f"n{step}": 1.0})
        if flushes and step % 500 == 7:
            table.flush()
    table.close()

    header, *rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert header == ",".join(["step", "epoch", "other names", *(f"n{step}" for step in range(own))])
    assert rows[:own] == [f"{step},0,{',' * step},1.0" for step in range(own)]
    assert rows[own:] == [f"{step},0,n{step}=1.0" for step in range(own, count)]
