"""Runs that somebody or something has damaged: what was written can be read, and a training continues."""

from __future__ import annotations

import csv
import enum
import json
import re
import socket
import struct
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_trackplus import TrackPlus, TrackPlusLogger, read_run
from lightning_trackplus.formats.event_files import masked_checksum
from lightning_trackplus.reading.verify import differences
from lightning_trackplus.run.journal import Extent, RunJournal
from lightning_trackplus.run.resume import rewind
from tests.support.csv_files import read_metrics
from tests.support.training import LoggingModule, loader, quiet_trainer


def written(root, steps=range(3), version=0, **options):
    """Write a run of one name, and return its directory."""
    logger = TrackPlusLogger(root, version=version, **options)
    for step in steps:
        logger.log_metrics({"loss": step / 8, "epoch": 0}, step=step)
    logger.finalize("success")
    return Path(logger.log_dir)


def curve(directory, name="loss"):
    found = EventAccumulator(str(directory), size_guidance={"scalars": 0}).Reload()
    return [(one.step, one.value) for one in found.Scalars(name)]


def losses(directory):
    with Path(directory, "metrics.csv").open(newline="", encoding="utf-8-sig") as file:
        return [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file) if row["step"] and row["loss"]]


def test_a_caption_longer_than_the_csv_module_takes_can_be_read(tmp_path):
    """By ``read_run``, by ``trackplus verify`` and by a rewind; Python's limit for a cell stays as it was."""
    logger = TrackPlusLogger(tmp_path, version=0)
    caption = "a long caption, " * 10_000
    logger.log_image("img", [np.zeros((2, 2, 3), np.uint8)] * 2, step=0, caption=[caption, "short"])
    logger.finalize("success")
    run, limit = Path(logger.log_dir), csv.field_size_limit()

    assert [one.caption for one in read_run(run).media] == [caption, "short"]
    assert differences(run) == []
    backup = rewind(run, Extent(0, {}))
    assert len(list((backup / "media").rglob("*.png"))) == 2
    assert csv.field_size_limit() == limit == 131_072


def test_a_stray_quote_costs_the_rows_behind_it_alone(tmp_path):
    """Rows before it are read, and a rewind moves what the index still names."""
    logger = TrackPlusLogger(tmp_path, version=0)
    for step in range(3):
        logger.log_image("img", [np.zeros((2, 2, 3), np.uint8)], step=step)
    logger.finalize("success")
    run = Path(logger.log_dir)
    index = run / "media.csv"
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join([*lines[:2], '"', *lines[2:] * 1000]))

    with pytest.warns(UserWarning, match="was incomplete"):
        assert [one.step for one in read_run(run).media] == [0]
    rewind(run, Extent(0, {"media.csv": len("".join(lines[:2]).encode())}))
    assert index.read_text() == "".join(lines[:2])


@pytest.mark.parametrize("part", ["length", "data"])
def test_a_damaged_event_file_says_what_is_missing(part, tmp_path):
    """A header that claims more bytes than any memory has ends the file, and so does a wrong checksum in its middle."""
    run = written(tmp_path, writers=["tensorboard"])
    (events,) = run.glob("*tfevents*")
    data = events.read_bytes()
    if part == "length":
        length = struct.pack("<Q", 2**40)
        events.write_bytes(data + length + masked_checksum(length) + b"1234")
        expected = [0.0, 0.125, 0.25]
    else:
        place = data.rindex(b"loss")
        events.write_bytes(data[:place] + b"l0ss" + data[place + 4 :])
        expected = [0.0, 0.125]
    with pytest.warns(UserWarning, match=re.escape(f"{events} is damaged: its last ")):
        assert read_run(run).metrics["loss"].to_list() == expected


def test_axes_that_nobody_can_parse_do_not_end_a_training(tmp_path):
    """200,000 brackets are deeper than Python's parser goes."""
    run = written(tmp_path)
    (run / "x_axis.json").write_text("[" * 200_000)
    with pytest.warns(UserWarning, match="x_axis.json"):
        written(tmp_path, range(3, 5), x_axis={"val/*": "epoch"})
    assert [step for step, _ in losses(run)] == [0, 1, 2, 3, 4]


def test_a_clock_that_was_set_back_hides_nothing(tmp_path, monkeypatch):
    """The later part of a run lies in an event file behind the earlier one, whatever the clock says."""
    run = written(tmp_path)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 86_400)
    written(tmp_path, range(3, 6))
    assert curve(run) == [(step, step / 8) for step in range(6)]


def test_a_host_named_like_event_files_in_a_backup_doubles_nothing(tmp_path, monkeypatch):
    """A rewind gives event files another name and back, and not by what they happen to contain."""
    monkeypatch.setattr(socket, "gethostname", lambda: "my-tf-events-host")
    run = written(tmp_path, range(6))
    (events,) = run.glob("*tfevents*")
    size = events.stat().st_size
    rewind(run, Extent(3, {events.name: size // 2, "run.jsonl": (run / "run.jsonl").stat().st_size}))
    assert [path.name for path in run.glob("*tfevents*")] == [events.name]
    written(tmp_path, range(3, 6))
    assert [step for step, _ in losses(run)] == [0, 1, 2, 3, 4, 5]
    assert len(list(run.glob("*tfevents*"))) == 2


def test_a_rewind_touches_what_the_run_wrote_alone(tmp_path):
    """Neither a file that a line of media.csv names elsewhere, nor what a person put beside the backups."""
    run = written(tmp_path)
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    columns = "step,epoch,name,kind,file,caption,score,wall_time\n"
    (run / "media.csv").write_text(f"{columns}5,0,img,image,../../precious.txt,,,1.0\n")
    (run / "backup" / "model.new").mkdir(parents=True)
    (run / "backup" / "model.new" / "weights").write_text("mine")
    (run / "backup" / "notes.new").write_text("mine")

    rewind(run, Extent(1, {}))
    written(tmp_path, range(1, 3))

    assert precious.read_text() == "mine"
    assert (run / "backup" / "model.new" / "weights").read_text() == "mine"
    assert (run / "backup" / "notes.new").read_text() == "mine"
    assert [step for step, _ in losses(run)] == [0, 1, 2]


def test_what_a_rewind_raises_is_a_warning(tmp_path):
    """The training continues behind what could not be moved."""

    def fit(epochs, **options):
        module = LoggingModule(training_step=lambda m, b, i: m.log("loss", float(m.global_step)))
        logger = TrackPlusLogger(tmp_path, name="", version=0)
        trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger, max_epochs=epochs)
        trainer.fit(module, loader(8), **options)
        return trainer, Path(logger.log_dir)

    trainer, run = fit(2)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    checkpoint = torch.load(tmp_path / "end.ckpt", weights_only=True)
    del checkpoint["lightning_trackplus"]
    torch.save(checkpoint, tmp_path / "plain.ckpt")
    trainer.loggers[0].finalize("success")
    written(tmp_path.parent, [99], version=run.relative_to(tmp_path.parent).as_posix(), name="")
    (run / "backup").write_text("a file where a folder is to be")

    with pytest.warns(UserWarning, match="could not be moved to a backup"):
        fit(3, ckpt_path=tmp_path / "plain.ckpt")

    assert [step for step, _ in losses(run)] == [0, 1, 2, 3, 99, 4, 5]


@pytest.mark.parametrize("frames", ["pandas", "polars"])
def test_a_byte_order_mark_and_a_row_without_a_step(frames, tmp_path):
    """As an editor leaves them: the mark is read over, and the row left out with a warning."""
    (tmp_path / "metrics.csv").write_bytes(b"\xef\xbb\xbfstep,epoch,loss\n0,0,0.5\n,0,0.25\n2,0,0.125\n")
    with pytest.warns(UserWarning, match=r"1 row of .* without a step was skipped\."):
        metrics = read_run(tmp_path, frames=frames).metrics
    assert metrics["step"].to_list() == [0, 2]
    assert metrics["loss"].to_list() == [0.5, 0.125]


def test_curves_of_add_scalars_stay_inside_the_run(tmp_path):
    """Whatever their names say of other places, and so do runs of ``add_hparams``."""
    logger = TrackPlusLogger(tmp_path / "logs", version=0)
    logger.experiment.add_scalars("m", {"../../evil": 1.0, "/abs": 2.0, "fine": 3.0}, 0)
    logger.experiment.add_hparams({"lr": 0.1}, {"acc": 1.0}, run_name=str(tmp_path / "elsewhere"))
    logger.finalize("success")
    run = Path(logger.log_dir)
    assert {path for path in tmp_path.rglob("*tfevents*") if run not in path.parents} == set()
    assert curve(run / "m_fine", "m") == [(0, 3.0)]
    assert len(list(run.rglob("*tfevents*"))) == 4


class Name(str, enum.Enum):
    LOSS = "loss"


@pytest.mark.parametrize("name", [Name.LOSS, np.str_("loss")], ids=["enum", "numpy"])
def test_a_name_of_a_class_of_its_own_is_plain_in_checkpoints(name, tmp_path):
    """They load with ``weights_only=True``."""

    def step(module, batch, index):
        module.log(name, batch[:, 0], reduce_fx="median", on_epoch=True)

    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=TrackPlusLogger(tmp_path))
    trainer.fit(LoggingModule(training_step=step), loader(8))
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    saved = torch.load(tmp_path / "end.ckpt", weights_only=True)
    (stream,) = saved["lightning_trackplus"]["logged"]["streams"]
    assert {type(part) for part in stream["key"] if isinstance(part, str)} == {str}


def test_warnings_that_somebody_shows_badly_end_no_thread(tmp_path, monkeypatch):
    """Whoever shows warnings may raise, and so may the words of an error: all rows are written all the same."""

    class SpeechlessError(Exception):
        def __str__(self):
            raise KeyError

    class Failing:
        def write(self, record):
            raise SpeechlessError

        def flush(self):
            pass

        close = flush

    def show(*args, **kwargs):
        raise RuntimeError("nobody shows this")

    monkeypatch.setattr(warnings, "showwarning", show)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        run = written(tmp_path, range(5), writers=["csv", Failing()], flush_secs=0.01)
    assert [step for step, _ in losses(run)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("writers", [("csv",), ("tensorboard",), ("tensorboard", "csv")], ids="+".join)
def test_flush_brings_all_into_the_files(writers, tmp_path):
    """``logger.flush()`` and ``logger.experiment.flush()`` wait for every writer."""
    logger = TrackPlusLogger(tmp_path, writers=writers, flush_secs=1000)
    for step, flush in enumerate([logger.flush, logger.experiment.flush]):
        logger.log_metrics({"loss": step / 8}, step=step)
        flush()
        expected = [(one, one / 8) for one in range(step + 1)]
        if "csv" in writers:
            assert losses(logger.log_dir) == expected
        if "tensorboard" in writers:
            assert curve(logger.log_dir) == expected


def test_save_writes_hyper_parameters_without_any_metric(tmp_path):
    """As TensorBoardLogger's does; a Trainer calls it when it starts."""
    logger = TrackPlusLogger(tmp_path)
    logger.log_hyperparams({"width": 3})
    logger.save()
    assert Path(logger.log_dir, "hparams.yaml").read_text() == "width: 3\n"


def test_a_live_loader_sees_each_flush_of_a_run_with_hyper_parameters(tmp_path):
    """TensorBoard's loader in Python goes from file to file and never back: no small file leads it away."""
    logger = TrackPlusLogger(tmp_path, x_axis={"val": "epoch"})
    logger.log_hyperparams({"lr": 0.1})
    live = None
    for step in range(6):
        logger.log_metrics({"loss": step / 8, "val": step / 4, "epoch": step // 2}, step=step)
        if step == 3:
            logger.log_hyperparams({"width": 3})
        logger.flush()
        live = live or EventAccumulator(logger.log_dir, size_guidance={"scalars": 0})
        live.Reload()
        assert [one.value for one in live.Scalars("loss")] == [one / 8 for one in range(step + 1)]
        assert len(live.Scalars("val")) == step + 1
    logger.finalize("success")
    # A run that goes on is followed as well.
    logger = TrackPlusLogger(tmp_path, version=0)
    logger.log_hyperparams({"lr": 0.2})
    logger.log_metrics({"loss": 6 / 8}, step=6)
    logger.flush()
    live.Reload()
    assert [one.step for one in live.Scalars("loss")] == list(range(7))
    logger.finalize("success")


def test_a_journal_that_was_damaged_leaves_what_can_be_read(tmp_path):
    """Lines that are no JSON are passed over."""
    run = written(tmp_path)
    journal = run / "run.jsonl"
    name = json.loads(journal.read_text().splitlines()[0])["run"]
    journal.write_bytes(journal.read_bytes() + b"{torn\n\xff\xfe\n" + b"[" * 200_000 + b'\n{"cut"')
    assert RunJournal(run).run == name
    written(tmp_path, range(3, 5))
    assert read_metrics(run)["step"].to_list() == [0, 1, 2, 3, 4]
