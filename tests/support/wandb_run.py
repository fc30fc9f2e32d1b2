"""What a W&B run of offline mode has stored, read from its files."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

_BLOCK = 32768
_HEADER = 7
_PATIENCE = 60.0


def history(files: Path) -> list[dict[str, Any]]:
    """Return the rows of the history of a finished run, in order.

    Args:
        files: The run's ``files`` folder, as ``wandb.Run.dir`` is.
    """
    (log,) = files.parent.glob("run-*.wandb")
    deadline = time.monotonic() + _PATIENCE
    # Another process writes the file, and may do so for a moment after `wandb.finish`.
    while "exit" not in map(_kind, records := _records(log.read_bytes())):
        assert time.monotonic() < deadline, f"{log} has no end"
        time.sleep(0.05)
    return [_row(record.history) for record in records if _kind(record) == "history"]


def _kind(record: Record) -> str:
    return record.WhichOneof("record_type")


def _row(history: Any) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for item in history.item:
        *outer, last = item.nested_key or [item.key]
        inner = row
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[last] = json.loads(item.value_json)
    return row


def _records(data: bytes) -> list[Record]:
    """Return the records of a log as LevelDB lays it out, in blocks of chunks that are whole, first, middle or last.

    See https://github.com/google/leveldb/blob/main/doc/log_format.md; the file begins with W&B's own seven bytes.
    """
    records, parts, position = [], b"", _HEADER
    while position < len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:
            position += left
            continue
        size, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        chunk = data[position + _HEADER : position + _HEADER + size]
        if len(chunk) < size:
            break
        parts += chunk
        position += _HEADER + size
        if kind in {1, 4}:
            records.append(Record.FromString(parts))
            parts = b""
    return records
