"""Runs at a URL, read through a local copy."""

from __future__ import annotations

from datetime import datetime, timezone

import fsspec
import pytest

from lightning_trackplus import TrackPlusLogger, read_run
from lightning_trackplus.reading.run_info import run_info
from tests.flavour.pytorch.loggers import CSVLogger

WRITTEN = datetime(2020, 1, 2, tzinfo=timezone.utc)


def test_a_run_of_lightning_ended_when_its_files_were_written(tmp_path):
    """It has no other record of it; the copy is younger."""
    logger = CSVLogger(tmp_path, name="", version="run")
    logger.log_metrics({"loss": 0.5}, step=3)
    logger.save()
    files = fsspec.filesystem("memory")
    files.put(logger.log_dir, f"{tmp_path}/run", recursive=True)
    for path in files.find(f"{tmp_path}/run"):
        files.store[path].modified = WRITTEN
    run = run_info(f"memory://{tmp_path}/run")
    assert run.ended == pytest.approx(WRITTEN.timestamp())
    assert run.last_step == 3


def test_a_copy_is_named_like_the_run(tmp_path):
    """A notebook shows where it was logged, but not what may be a password."""
    logger = TrackPlusLogger(f"memory://name:secret{tmp_path}", name="mnist", version="lr 0.1")
    logger.log_metrics({"loss": 0.5}, step=0)
    logger.finalize("success")
    run = read_run(logger.log_dir)
    assert "<b>mnist/lr 0.1</b>" in run._repr_html_()
    assert "secret" not in repr(run)
    run = read_run(f"memory://name:secret{tmp_path}/mnist/lr 0.1/")
    assert run.metrics["loss"].tolist() == [0.5]
