"""The column of ``metrics.csv`` with the numbers of a row that are in no column of their own.

It holds them as a URL does, ``val/loss=0.5&layer+3=0.25``: `urllib.parse.parse_qsl` reads it. Such a cell needs no
quotes; where one that has them is cut short, other readers refuse the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import parse_qsl, quote_plus

from lightning_trackplus.formats.csv_rows import OTHERS, cells_of, row_bytes

OTHERS_PLACE = 2
"""Where the column stands: behind the step and the epoch, so that a row that has nothing behind it is short."""

_AS_IT_IS = "/:;()[]"


def others_cell(cells: Mapping[str, str]) -> str:
    """Return cells as one.

    Examples:
        >>> others_cell({"val/loss": "0.5", "a, b": "1e+16"})
        'val/loss=0.5&a%2C+b=1e%2B16'
    """
    return "&".join([f"{quote_plus(name, _AS_IT_IS)}={quote_plus(cells[name])}" for name in cells])


def cells_in(cell: str) -> dict[str, str]:
    """Return the cells that stand in one of the column, by column; what cannot be read stays in this one.

    Examples:
        >>> cells_in("val/loss=0.5&a%2C+b=1e%2B16"), cells_in("high")
        ({'val/loss': '0.5', 'a, b': '1e+16'}, {'other names': 'high'})
    """
    try:
        return dict(parse_qsl(cell, strict_parsing=True))
    except ValueError:
        return {OTHERS: cell}


def filled_cells(columns: Iterable[str], row: Iterable[str]) -> dict[str, str]:
    """Return what a row has, by column.

    Examples:
        >>> filled_cells(["step", "epoch", OTHERS, "loss"], ["7", "", "acc=0.25", "0.5"])
        {'step': '7', 'loss': '0.5', 'acc': '0.25'}
    """
    cells = {name: cell for name, cell in zip(columns, row, strict=False) if cell}
    return cells | cells_in(cells.pop(OTHERS)) if OTHERS in cells else cells


def without_torn(columns: Sequence[str], row: Sequence[str]) -> list[str]:
    """Return the cells of a row that was cut short, without what of the last one may be cut.

    Examples:
        >>> without_torn(["step", "epoch", OTHERS], ["7", "0", "acc=0.25&loss=0."])
        ['7', '0', 'acc=0.25']
        >>> without_torn(["step", "epoch", "loss"], ["7", "0", "0."])
        ['7', '0']
    """
    *whole, torn = row or [""]
    is_of_others = OTHERS in columns[len(whole) : len(whole) + 1]
    return [*whole, torn.rpartition("&")[0]] if is_of_others else whole


def with_column_for_others(row: bytes) -> bytes:
    r"""Return a row with an empty cell at the place of the column, if it has cells from there on.

    Examples:
        >>> with_column_for_others(b"7,0,0.5\n"), with_column_for_others(b"7,0\n")
        (b'7,0,,0.5\n', b'7,0\n')
    """
    if b'"' in row:
        cells = cells_of(row)
        return row_bytes([*cells[:OTHERS_PLACE], "", *cells[OTHERS_PLACE:]]) if len(cells) > OTHERS_PLACE else row
    parts = row.split(b",", OTHERS_PLACE)
    return b",".join([*parts[:OTHERS_PLACE], b"", *parts[OTHERS_PLACE:]]) if len(parts) > OTHERS_PLACE else row
