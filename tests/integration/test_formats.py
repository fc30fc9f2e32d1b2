"""Runs of earlier formats are read and continued by every later version."""

from __future__ import annotations

import shutil
from pathlib import Path

from lightning_trackplus import read_run
from lightning_trackplus.reading.verify import compare
from tests.support import format_1
from tests.support.csv_files import read_metrics
from tests.support.training import goes_on_exactly


def test_a_run_of_format_1_is_read(tmp_path):
    """Numbers, batches of validations, media and both formats."""
    run = shutil.copytree(format_1.RUN, tmp_path / "run")

    found = read_run(run)

    steps = found.metrics[found.metrics["epoch"].notna()].set_index("step")
    assert steps["loss"].to_dict() == {0: 0.0, 1: 0.125, 2: 0.25, 3: 0.375}
    assert steps["val_epoch"].dropna().to_dict() == {1: 0.0625, 3: 1.0625}
    assert found.metrics["val_step"].dropna().to_list() == [0.0, 0.125, 1.0, 1.125]
    assert [(one.step, one.name, one.caption) for one in found.media] == [(2, "image", "a, b"), (4, "image", "a, b")]
    comparison = compare(run)
    assert comparison.differences == ()
    assert comparison.values == 4 + 2 + 4 + 4


@goes_on_exactly
def test_a_run_of_format_1_goes_on_from_its_checkpoint(tmp_path):
    """What came behind the checkpoint moves to the backup, and the run is what it was before, and longer."""
    run = Path(shutil.copytree(format_1.RUN, tmp_path / "run"))

    format_1.fit(tmp_path, 3, ckpt_path=run / "checkpoints" / "first.ckpt")

    metrics = read_metrics(run)
    assert metrics["loss"].dropna().to_list() == [step / 8 for step in range(6)]
    assert metrics["val_step"].dropna().to_list() == [0.0, 0.125, 1.0, 1.125, 2.0, 2.125]
    assert [one.step for one in read_run(run).media] == [2, 4, 6]
    assert read_metrics(run / "backup" / "1")["loss"].dropna().to_list() == [0.25, 0.375]
    assert compare(run).differences == ()
