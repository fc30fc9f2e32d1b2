"""Runs that are read while they are written."""

from __future__ import annotations

import math
import re
import threading
import warnings

import pytest
import torch

from lightning_trackplus import Image, TrackPlus, TrackPlusLogger, read_run
from lightning_trackplus.cli import main
from lightning_trackplus.formats.event_files import EventFile
from lightning_trackplus.formats.metrics_csv import read_stored
from lightning_trackplus.run.lock import RunLock, is_locked
from tests.support.training import LoggingModule, loader, quiet_trainer

SECONDS = 60


def values_in(run):
    """Return each value by name, step and epoch."""
    rows = run.metrics.to_dict("records")
    return {
        (name, row["step"], str(row["epoch"])): value
        for row in rows
        for name, value in row.items()
        if name not in {"step", "epoch"} and not math.isnan(value)
    }


@pytest.mark.parametrize("writers", [["csv", "tensorboard"], ["tensorboard"]], ids="-".join)
def test_a_training_that_is_read_in_a_loop(writers, tmp_path):
    """No read raises or warns, from the run's first moment on; each finds values of the finished run, and no others."""
    logger = TrackPlusLogger(tmp_path, name="", version="run", writers=writers, flush_secs=0.001)
    reads, failures, was_read, ends = [], [], threading.Event(), threading.Event()

    def read():
        while not ends.is_set():
            try:
                reads.append(read_run(logger.log_dir))
                assert all(one.path.is_file() for one in reads[-1].media)
            except Exception as error:  # noqa: BLE001  none may be raised
                failures.append(error)
            was_read.set()

    reader = threading.Thread(target=read)

    def wait_for_a_read():
        was_read.clear()
        assert was_read.wait(SECONDS)

    def training_step(module, batch, index):
        if not reader.is_alive():
            reader.start()
            wait_for_a_read()
        # Each new name gets a column, for which the file is replaced.
        module.log(f"late/{index}", batch.sum())
        module.log("train/loss", batch.sum() / 3, on_step=True, on_epoch=True)
        module.log("train/noise", Image(torch.rand(2, 3, 16, 16), caption=["a", 'b\n"c"']), on_step=True)
        if index == 40:
            logger.flush()
        if index % 5 == 0:
            wait_for_a_read()

    def validation_step(module, batch, index):
        module.log("val/loss", batch.sum(1), reduce_fx=["mean", "p95"])
        module.log("val/batch", batch.sum(), on_step=True, on_epoch=False)

    module = LoggingModule(training_step=training_step, validation_step=validation_step)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger, max_epochs=3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            trainer.fit(module, loader(80), loader(12))
        finally:
            ends.set()
            reader.join(SECONDS)
    assert failures == []
    assert [one.message for one in caught if str(tmp_path) in str(one.message)] == []
    whole = values_in(read_run(logger.log_dir))
    assert len(reads[0].metrics) == 0
    # It began before the end of the training, and after values were in the files.
    assert len(reads[-2].metrics) > 0
    for run in reads:
        assert values_in(run).items() <= whole.items()


def test_a_run_that_has_just_begun_is_empty(tmp_path):
    """Its directory is locked, and has no files yet."""
    lock = RunLock(tmp_path / "run")
    lock.acquire()
    run = read_run(tmp_path / "run")
    assert (len(run.metrics), run.media) == (0, ())
    lock.release()
    with pytest.raises(ValueError, match="is not a run"):
        read_run(tmp_path / "run")


@pytest.mark.parametrize("has_table", [True, False])
def test_what_is_half_written_warns_only_where_nobody_writes(has_table, tmp_path):
    """The same bytes are the end of a killed process, or a moment of one that runs."""
    events = EventFile(tmp_path / "events.out.tfevents.1")
    events.write(b"\x08\x00")
    events.close()
    with (tmp_path / "events.out.tfevents.1").open("ab") as file:
        file.write(b"half")
    if has_table:
        (tmp_path / "metrics.csv").write_text("step,epoch,a\n0,0,0.5\n1,0,0.2")
    (tmp_path / "media.csv").write_text("step,epoch,name,kind,file,caption,score,wall_time\n3,1,img,im")
    lock = RunLock(tmp_path)
    lock.acquire()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        live = read_run(tmp_path)
    lock.release()
    with pytest.warns(UserWarning, match=re.escape(str(tmp_path))) as caught:
        dead = read_run(tmp_path)
    assert len(caught) == 2
    assert live.metrics.equals(dead.metrics)
    assert len(live.metrics) == has_table


def test_rows_are_those_of_one_moment(tmp_path):
    """The last row grows in place, and a file with more columns takes the place of the first."""
    path = tmp_path / "metrics.csv"
    path.write_text("step,epoch,a\n0,0,0.5\n1,,0.25\n")
    grown, replaced = read_stored(path), read_stored(path)
    with path.open("r+b") as file:
        file.seek(len("step,epoch,a\n0,0,0.5\n1,"))
        file.write(b"10,0.25\n2,11,0.125\n")
    expected = [["0", "0", "0.5"], ["1", "", "0.25"]]
    assert list(grown.rows()) == expected
    wider = tmp_path / "metrics.csv.new"
    wider.write_text("step,epoch,a,b\n0,0,0.5,7\n1,10,0.25,7\n")
    wider.replace(path)
    assert list(replaced.rows()) == expected
    assert replaced.body(path.read_text().index("1,10") - len(",b,7")).read() == b"1,,0.25\n"


def test_readers_keep_nobody_from_writing(tmp_path):
    """Asking whether a run is locked locks it for a moment, for which a writer waits."""
    ends = threading.Event()

    def ask():
        while not ends.is_set():
            is_locked(tmp_path)

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(3000):
            lock = RunLock(tmp_path)
            lock.acquire()
            assert is_locked(tmp_path)
            lock.release()
    finally:
        ends.set()
        for asker in askers:
            asker.join()


def test_the_command_line_shows_a_run_that_has_just_begun(tmp_path, capsys):
    """It has no values and no files."""
    lock = RunLock(tmp_path / "run")
    lock.acquire()
    assert main(["show", str(tmp_path / "run")]) == 0
    assert "took 0s" in capsys.readouterr().out
    lock.release()
