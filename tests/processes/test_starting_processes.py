"""Trainers that fork or spawn their processes, with a logger that the first process uses before and behind that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightning_trackplus import read_run
from lightning_trackplus.reading.verify import differences
from tests.support.programs import run_program


@pytest.mark.parametrize(
    ("strategy", "words"), [("ddp_fork", ["validate"]), ("ddp_spawn", ["before"]), ("ddp_spawn", ["validate"])]
)
def test_there_is_one_run_and_one_log_dir(tmp_path, strategy, words):
    """What all processes logged lies in one run, which the first one knows, with a summary and no false warning."""
    done = run_program("tests/support/starting_processes.py", strategy, ".", *words, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    said = json.loads((tmp_path / "said.json").read_text())
    assert said["warnings"] == []
    assert [path.name for path in (tmp_path / "lightning_logs").iterdir()] == ["version_0"]
    run = Path(tmp_path, said["log_dir"])
    metrics = read_run(run).metrics
    assert metrics["loss"].dropna().to_list() == [0.0, 1.0]
    assert [metrics[name].dropna().to_list() for name in ["after", *words]] == [[1.0]] * (1 + len(words))
    assert set(json.loads((run / "summary.json").read_text())) == {"loss", "after", *words}
    assert differences(run) == []
