"""Rows of CSV files."""

from __future__ import annotations

import io

from lightning_trackplus.formats.csv_rows import cells_of, read_rows, row_bytes


def test_nul_costs_no_row():
    """It is written as its escape, and rows of damaged files that have it are read."""
    assert row_bytes([1, "a\0b", None]) == b"1,a\\x00b,\n"
    assert cells_of(b"1,a\0b\n") == ["1", "a\\x00b"]
    assert list(read_rows(io.StringIO("a,\0\n\0,b\n"))) == [["a", "\\x00"], ["\\x00", "b"]]
