"""Tables: from whatever holds rows or columns to CSV that pandas and polars read as the same table."""

from __future__ import annotations

import csv
import datetime
import decimal
import enum
import io
import math
import pathlib
import pickle
import re

import matplotlib.figure
import numpy as np
import pandas as pd
import PIL.Image
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch._subclasses.fake_tensor import FakeTensorMode

from lightning_trackplus.media.image import Image
from lightning_trackplus.media.table import Table
from lightning_trackplus.media.text import Text
from lightning_trackplus.record import Record
from lightning_trackplus.writers.csv import CSVWriter
from lightning_trackplus.writers.tensorboard import EventsWriter

# An encoding that warns where it should be silent fails its test.
pytestmark = pytest.mark.filterwarnings("error")

ROWS = [(7, "one", 0.5), (3, "eight", -1.25)]
NAMES = ["digit", "taken for", "margin"]


class Digit(enum.Enum):
    SEVEN = 7


class Level(enum.IntEnum):
    HIGH = 2


def encoded(table):
    """Return the columns and rows of the only table, after a look at its file."""
    payload = table.encode("worst")
    (item,), (cells,) = payload.items, payload.tables
    assert (payload.kind, item.suffix) == ("table", ".csv")
    return cells.columns, cells.rows


def read_back(table):
    (item,) = table.encode("worst").items
    return list(csv.reader(io.StringIO(item.data.decode(), newline="")))


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
cells = st.none() | st.booleans() | st.integers() | st.floats() | texts


@given(
    rows=st.lists(st.tuples(cells, cells, cells), max_size=6),
    names=st.lists(texts, min_size=3, max_size=3, unique=True),
)
def test_cells_come_back_to_the_letter(rows, names):
    """Whatever the cells, a reader of CSV finds the text of each, and the payload has each as it was."""
    table = Table(rows, names)

    columns, found = encoded(table)

    assert columns == tuple(names)
    np.testing.assert_equal(found, tuple(rows))
    spelled = [["" if cell is None else "NaN" if pd.isna(cell) else str(cell) for cell in row] for row in rows]
    assert read_back(table) == [names, *spelled]


@pytest.mark.parametrize(
    "data",
    [
        [list(row) for row in ROWS],
        ROWS,
        tuple(ROWS),
        iter(ROWS),
        [dict(zip(NAMES, row, strict=True)) for row in ROWS],
        dict(zip(NAMES, zip(*ROWS, strict=True), strict=True)),
        {"digit": torch.tensor([7, 3]), "taken for": np.array(["one", "eight"]), "margin": np.float32([0.5, -1.25])},
        {"digit": range(7, 2, -4), "taken for": pd.Series(["one", "eight"]), "margin": pl.Series([0.5, -1.25])},
        pd.DataFrame(ROWS, columns=NAMES, index=["a", "b"]),
        pl.DataFrame(ROWS, schema=NAMES, orient="row"),
        np.array(ROWS, dtype=object),
        [[torch.tensor(7), "one", np.float64(0.5)], [np.int8(3), np.str_("eight"), torch.tensor([-1.25])]],
    ],
    ids=[
        *("lists", "tuples", "tuple of tuples", "iterator", "dicts", "dict", "dict of arrays", "dict of series"),
        *("pandas", "polars", "objects", "scalars"),
    ],
)
def test_every_form_is_the_same_table(data):
    """Rows, columns and frames of the same cells are one table, with numbers as Python has them."""
    columns, rows = encoded(Table(data, NAMES).snapshot())

    assert (columns, rows) == (tuple(NAMES), tuple(ROWS))
    assert [[type(cell) for cell in row] for row in rows] == [[int, str, float]] * 2


@pytest.mark.parametrize(
    "data",
    [
        [dict(zip(NAMES, row, strict=True)) for row in ROWS],
        dict(zip(NAMES, zip(*ROWS, strict=True), strict=True)),
        pd.DataFrame(ROWS, columns=NAMES),
        pl.DataFrame(ROWS, schema=NAMES, orient="row"),
    ],
    ids=["dicts", "dict", "pandas", "polars"],
)
def test_columns_are_chosen_and_ordered_by_name(data):
    """Data that have names give all columns as they stand, or those that are asked for."""
    assert encoded(Table(data))[0] == tuple(NAMES)
    assert encoded(Table(data, ("margin", "digit"))) == (("margin", "digit"), ((0.5, 7), (-1.25, 3)))


@pytest.mark.parametrize(
    "matrix", [torch.tensor([[1.5, 2.0], [3.0, 4.0]]), np.array([[1.5, 2], [3, 4]])], ids=["tensor", "array"]
)
def test_a_matrix_is_a_row_for_each_of_its_rows(matrix):
    """The first dimension is that of the rows."""
    assert encoded(Table(matrix, ["a", "b"])) == (("a", "b"), ((1.5, 2.0), (3.0, 4.0)))


def test_a_dict_without_a_key_leaves_its_cell_empty():
    """Columns are those of all rows, in the order in which they come."""
    table = Table([{"a": 1}, {"b": 2, "a": None}, {}])

    assert encoded(table) == (("a", "b"), ((1, None), (None, 2), (None, None)))


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (datetime.date(2026, 2, 3), "2026-02-03"),
        (datetime.datetime(2026, 2, 3, 4, 5, tzinfo=datetime.timezone.utc), "2026-02-03 04:05:00+00:00"),
        (np.datetime64("2026-02-03"), "2026-02-03"),
        (np.datetime64("NaT"), None),
        (pd.Timestamp("2026-02-03"), "2026-02-03 00:00:00"),
        (pd.NaT, None),
        (pd.NA, None),
        (decimal.Decimal("0.10"), "0.10"),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        (Digit.SEVEN, "Digit.SEVEN"),
        (Level.HIGH, str(Level.HIGH)),
        ([1, 2], "[1, 2]"),
        (torch.tensor([1, 2]), "[1, 2]"),
        (np.array([[1.5]]), "[[1.5]]"),
        (torch.tensor(True), True),
        (np.bool_(False), False),
        (np.longdouble(0.5), 0.5),
        (torch.tensor(0.5, dtype=torch.bfloat16, requires_grad=True), 0.5),
        (np.complex64(1j), "1j"),
        (2**100, 2**100),
        (b"\xff", "b'\\xff'"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_number_is_written_as_its_text(value, cell):
    """Scalars become numbers, missing values None, and all else what `str` makes of it."""
    ((found,),) = encoded(Table([[value]], ["cell"]))[1]

    assert (found, type(found)) == (cell, type(cell))


def test_missing_values_of_pandas_are_empty_cells():
    """But NaN among floats is a number, that somebody may have computed."""
    frame = pd.DataFrame(
        {
            "whole": pd.array([1, None], dtype="Int64"),
            "float": [0.5, math.nan],
            "nullable": pd.array([0.5, None], dtype="Float64"),
            "text": ["a", None],
            "object": pd.Series([math.nan, "b"], dtype=object),
            "time": pd.to_datetime(["2026-02-03", None]),
            "category": pd.Categorical(["x", None]),
        }
    )

    (first, second) = encoded(Table(frame))[1]

    assert first == (1, 0.5, 0.5, "a", None, "2026-02-03 00:00:00", "x")
    np.testing.assert_equal(second, (None, math.nan, None, None, "b", None, None))


def test_pandas_and_polars_read_the_numbers(tmp_path):
    """Columns of numbers with NaN, infinities and gaps are columns of numbers in the file."""
    columns = {"a": [1, 2, 3], "b": [0.5, math.nan, -math.inf], "c": ["x,y", 'say "z"', "two\r\nlines"]}
    (item,) = Table(columns).encode("worst").items
    (tmp_path / "table.csv").write_bytes(item.data)

    pandas, polars = pd.read_csv(tmp_path / "table.csv"), pl.read_csv(tmp_path / "table.csv")

    np.testing.assert_equal(pandas.to_dict("list"), columns)
    np.testing.assert_equal(polars.to_dict(as_series=False), columns)


def test_a_lone_surrogate_is_written_as_its_escape():
    """What has no UTF-8 does not lose the table it stands in; neither does NUL."""
    assert read_back(Table([["a\ud800"]], ["b\udfff"])) == [["b\\udfff"], ["a\\ud800"]]
    assert read_back(Table([["a\0"]], ["b\0"])) == [["b\\x00"], ["a\\x00"]]


@pytest.mark.parametrize(
    "data", [[], {"a": [], "b": []}, pd.DataFrame({"a": [], "b": []})], ids=["list", "dict", "frame"]
)
def test_a_table_may_have_no_rows(data):
    """Its columns are written all the same."""
    table = Table(data, ["a", "b"])

    assert encoded(table) == (("a", "b"), ())
    assert read_back(table) == [["a", "b"]]


def test_later_changes_do_not_reach_it():
    """Lists, dicts and arrays that the caller goes on filling are copied at once."""
    rows, column, array = [[1, 2]], [1], np.array([2])
    tables = [Table(rows, ["a", "b"]), Table({"a": column, "b": array})]

    rows[0][0], column[0], array[0] = 7, 7, 7
    rows.append([8, 8])

    assert [encoded(table)[1] for table in tables] == [((1, 2),)] * 2


def test_cells_on_a_device_are_taken_without_waiting_for_it():
    """A fake tensor has no numbers to wait for, be it a column, a matrix, a row or a cell."""
    with FakeTensorMode():
        column, matrix = torch.empty(3, device="cuda"), torch.empty(3, 2, device="cuda")
        tables = [
            Table({"loss": column, "label": ["a", "b", "c"]}),
            Table(matrix, ["a", "b"]),
            Table([column.unbind(), column], ["a", "b", "c"], score=column.sum()),
        ]
        assert [table.snapshot().nbytes for table in tables] == [3 * 4 + 3, 6 * 4, 6 * 32]


def test_tables_join():
    """Several of one epoch are one medium, with their captions and scores."""
    joined = Table({"a": [1]}, caption="one", score=0.5).joined([Table({"b": [2]}, score=torch.tensor(2.0))])

    payload = joined.take([1, 0]).encode("worst")

    assert (len(joined), repr(joined)) == (2, "<Table: 2 items>")
    assert [(item.data, item.caption, item.score) for item in payload.items] == [
        (b"b\r\n2\r\n", None, 2.0),
        (b"a\r\n1\r\n", "one", 0.5),
    ]
    assert [table.columns for table in payload.tables] == [("b",), ("a",)]


def test_a_pickle_is_the_same():
    """Media are sent between processes."""
    table = Table({"a": [1, None], "b": ["x", "y"]}, caption="c")

    assert pickle.loads(pickle.dumps(table)).encode("worst") == table.encode("worst")


def test_nbytes_grows_with_the_cells():
    """Delivery bounds its memory by this."""
    assert Table({"a": ["x" * 1000, "y" * 500], "b": [1, 2]}).nbytes == 1500 + 2 * 32


@pytest.mark.parametrize(
    ("data", "columns", "error", "message"),
    [
        (
            [[1, 2]],
            None,
            ValueError,
            "rows without names for their columns; expected names, Table(rows, columns=[…]).",
        ),
        ([], None, ValueError, "rows without names for their columns; expected names, Table(rows, columns=[…])."),
        (
            torch.eye(2),
            None,
            ValueError,
            "rows without names for their columns; expected names, Table(rows, columns=[…]).",
        ),
        ([[1, 2], [3]], ["a", "b"], ValueError, "1 cells in row 1 and 2 columns; expected a cell for each column."),
        (torch.eye(3), ["a"], ValueError, "rows of 3 cells and 1 columns; expected a name for each cell."),
        (torch.ones(3), ["a"], ValueError, "rows of shape (3,); expected (rows, columns)."),
        (
            torch.eye(2).to_sparse(),
            ["a", "b"],
            ValueError,
            "a sparse tensor; expected a dense one, tensor.to_dense().",
        ),
        (
            {"a": torch.empty(2, device="meta")},
            None,
            ValueError,
            "a tensor on the device 'meta', which holds no values; expected one that does.",
        ),
        (
            {"a": [1, 2], "b": [1]},
            None,
            ValueError,
            "columns with {'a': 2, 'b': 1} values; expected equally many for each.",
        ),
        ({}, None, ValueError, "no columns; expected at least one."),
        ([{}], None, ValueError, "no columns; expected at least one."),
        ([[]], [], ValueError, "no columns; expected at least one."),
        (pd.DataFrame(), None, ValueError, "no columns; expected at least one."),
        (
            [[1, 2]],
            ["a", "a"],
            ValueError,
            "'a' as the name of two columns; expected a name of its own for each.",
        ),
        (
            pd.DataFrame([[1, 2]], columns=["a", "a"]),
            ["a"],
            ValueError,
            "'a' as the name of two columns; expected a name of its own for each.",
        ),
        ({1: [1], "1": [2]}, None, ValueError, "'1' as the name of two columns; expected a name of its own for each."),
        (
            {"a": [1], "b": [2]},
            ["a", "c"],
            ValueError,
            "'c' as a name of a column, and the data have ['a', 'b'].",
        ),
        ([[1]], "a", TypeError, "columns='a'; expected a list of names."),
        ([1, 2], ["a"], TypeError, "an int as row 0; expected each row as a list."),
        (["ab"], ["a", "b"], TypeError, "a str as row 0; expected each row as a list."),
        ([[1], {"a": 1}], ["a"], TypeError, "a dict as row 1; expected each row as a list."),
        *(
            (
                data,
                ["a"],
                TypeError,
                f"{name}; expected a list of rows, a dict of columns, or a data frame of pandas or polars.",
            )
            for data, name in [("text", "a str"), (None, "None"), (5, "an int"), (b"x", "a bytes")]
        ),
        *(
            (
                {"a": column},
                None,
                TypeError,
                f"{name} as the column 'a'; expected a list, a tensor or an array with a value for each row.",
            )
            for column, name in [("text", "a str"), (5, "an int"), (torch.tensor(1), "a Tensor"), ({}, "a dict")]
        ),
    ],
)
def test_what_is_no_table_is_refused(data, columns, error, message):
    """Data that make no table raise where it is made."""
    with pytest.raises(error, match=f"^{re.escape('Table got ' + message)}$"):
        Table(data, columns)


@pytest.mark.parametrize(
    "cell",
    [
        Image(np.zeros((4, 4))),
        PIL.Image.new("L", (4, 4)),
        matplotlib.figure.Figure(),
        Table({"a": [1]}),
        [Text("a")],
    ],
    ids=["Image", "PIL", "figure", "table", "list"],
)
@pytest.mark.parametrize("make", [lambda cell: Table({"it": [cell]}), lambda cell: Table([[1, cell]], ["n", "it"])])
def test_a_medium_has_no_place_in_a_cell(make, cell):
    """It would stand there as its type and its address."""
    name = type(cell[0] if isinstance(cell, list) else cell).__name__
    message = (
        f"Table got the medium {name} in a cell, which holds text or a number; log it under a name of its own, for"
        " example with the other cells of its row as its caption."
    )
    with pytest.raises(TypeError) as caught:
        make(cell)
    assert str(caught.value) == message


def test_files_and_tensorboard(tmp_path):
    """The file is beside its row in the index, and TensorBoard's text tab has the table in markdown."""
    record = Record(4, 0, 1e9, {"val/worst": Table(ROWS, NAMES, "the worst").encode("val/worst")})
    for writer in (CSVWriter(tmp_path / "csv"), EventsWriter(tmp_path / "events")):
        writer.write(record)
        writer.close()

    index = pd.read_csv(tmp_path / "csv" / "media.csv")
    assert index[["step", "name", "kind", "file", "caption"]].to_numpy().tolist() == [
        [4, "val/worst", "table", "media/val-worst/0000000004-000.csv", "the worst"]
    ]
    assert pd.read_csv(tmp_path / "csv" / index["file"][0]).to_dict("split")["data"] == [list(row) for row in ROWS]
    accumulator = EventAccumulator(str(tmp_path / "events")).Reload()
    ((event,),) = [accumulator.Tensors("val/worst")]
    lines = event.tensor_proto.string_val[0].decode().splitlines()
    assert lines == [
        "| digit | taken for | margin |",
        "| --- | --- | --- |",
        "| 7 | one | 0.5 |",
        "| 3 | eight | -1.25 |",
    ]
