"""What fails around a run, really failing: how the process ends, the disk, the directory, a writer, forks, numbers."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from PIL import Image as PillowImage
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, Dataset

from lightning_trackplus import Image, TrackPlus, TrackPlusLogger
from lightning_trackplus.reading.verify import differences
from tests.support.csv_files import read_metrics
from tests.support.forking import Forked
from tests.support.training import LoggingModule, disk_full_above, loader, quiet_trainer

GUARD = 180
NOBODY = 65534


def in_a_process(work, folder, *args, **options):
    """Run a function in a process of its own; return its exit code and what it printed, warnings among it."""
    output = Path(folder, "output.txt")
    return Forked(_call, work, output, args, options).join(), output.read_text()


def _call(say, work, output, args, options):
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # Those that come twice are to be seen twice.
    warnings.simplefilter("always", UserWarning)
    work(*args, **options)


def said(output, text):
    """Return the warnings in an output that have a text, a regular expression, from it to the end of the line."""
    return re.findall(f"({text}.*)", output)


def table(directory):
    return read_metrics(directory)


def column(directory, name):
    """Return (step, value) of a name in the CSV."""
    some = table(directory)[["step", name]].dropna()
    return list(zip(some["step"], some[name], strict=True))


def scalars(directory, name):
    """Return (step, value) of a name in TensorBoard."""
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0}).Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def eventually(condition):
    """Wait until a condition holds."""
    end = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# How the process ends.


def raise_error():
    raise RuntimeError("broken")


ENDINGS = {
    "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "SIGINT": lambda: os.kill(os.getpid(), signal.SIGINT),
    "exception": raise_error,
    "sys.exit": lambda: sys.exit(3),
}


def train_until(root, ending, **options):
    """Train; in the sixth step, log at once and then end the process."""

    def step(module, batch, index):
        module.log("x", float(index))
        module.logger.log_metrics({"direct": float(index)}, module.global_step)
        module.logger.log_media("picture", Image(batch.new_zeros(3, 8, 8)), module.global_step)
        # Else the launcher may end rank zero when the other process is the first to fail.
        if index == 5 and module.global_rank == 0:
            ENDINGS[ending]()

    logger = TrackPlusLogger(root, flush_secs=1000, hparam_metrics={"x": "max"})
    trainer = quiet_trainer(root, callbacks=[TrackPlus()], logger=logger, **options)
    trainer.fit(LoggingModule(training_step=step), loader(80))


@pytest.mark.parametrize(("ending", "expected"), [("SIGTERM", 0), ("SIGINT", 1), ("exception", 1), ("sys.exit", 3)])
def test_however_training_ends_nothing_that_was_logged_is_lost(tmp_path, ending, expected):
    """After a signal, an exception or sys.exit in a step, both formats have all that was logged, media as well."""
    code, output = in_a_process(train_until, tmp_path, tmp_path, ending)
    assert code == expected, output
    run = tmp_path / "lightning_logs/version_0"
    logged = [(index, float(index)) for index in range(6)]
    # What a step logs reaches the loggers after it: Lightning ends the step that SIGTERM comes in.
    assert column(run, "x") in (logged[:5], logged)
    assert column(run, "direct") == scalars(run, "direct") == logged
    assert len(pandas.read_csv(run / "media.csv")) == 6
    assert differences(run) == []
    assert (run / "hparams.yaml").is_file()


def train_until_a_rank_is_gone(root, gone):
    """Train in two processes; in the sixth step, one of them ends without a word."""

    def step(module, batch, index):
        module.log("x", float(index))
        if index == 5:
            if module.global_rank == 0:
                module.logger.experiment.flush()  # As after a flush interval.
            module.trainer.strategy.barrier()
            if module.global_rank == gone:
                os._exit(7)

    logger = TrackPlusLogger(root, flush_secs=1000)
    trainer = quiet_trainer(root, callbacks=[TrackPlus()], logger=logger, strategy="ddp_fork", devices=2)
    trainer.fit(LoggingModule(training_step=step), loader(80))


def fail_in_forked_processes(root):
    """Train in two forked processes, until a step raises."""
    options = {"strategy": "ddp_fork", "devices": 2}
    train_until(root, "exception", **options)


def test_an_exception_in_forked_processes_loses_nothing(tmp_path):
    """Processes of multiprocessing end without Lightning's farewell and without atexit; all is written all the same."""
    code, output = in_a_process(fail_in_forked_processes, tmp_path, tmp_path)
    assert code == 1, output
    run = tmp_path / "lightning_logs/version_0"
    assert column(run, "direct") == scalars(run, "direct")
    assert column(run, "direct")[:5] == [(index, float(index)) for index in range(5)]
    assert differences(run) == []


@pytest.mark.parametrize("gone", [0, 1])
def test_a_rank_that_is_gone_takes_nothing_with_it(tmp_path, gone):
    """After os._exit in a rank, all that was flushed is there, and the run goes on."""
    code, output = in_a_process(train_until_a_rank_is_gone, tmp_path, tmp_path, gone)
    assert code == 1, output
    assert "terminated with exit code 7" in output or "Connection closed by peer" in output
    run = tmp_path / "lightning_logs/version_0"
    assert column(run, "x") == scalars(run, "x") == [(index, float(index)) for index in range(5)]
    assert differences(run) == []
    logger = TrackPlusLogger(tmp_path, version=0)
    logger.log_metrics({"x": 1.0}, step=100)
    logger.finalize("success")
    assert column(run, "x")[-1] == (100, 1.0)
    assert differences(run) == []


# The disk and the directory.


@contextlib.contextmanager
def small_disk(folder, size):
    """Mount a file system of a size in bytes; where that is not allowed, the test is skipped."""
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def numbers(step):
    return {"loss": step / 7, "acc": step / 13, "epoch": float(step // 100)}


def log_steps(logger, steps, *, late=()):
    """Log some steps, and see each ten of them flushed."""
    for step in steps:
        logger.log_metrics({**numbers(step), **dict.fromkeys(late, step / 3)}, step)
        if step % 50 == 0:
            logger.log_media("noise", Image(torch.rand(3, 32, 32)), step)
        if step % 10 == 9:
            logger.experiment.flush()


def log_on_a_full_disk(folder, how):
    """Log 100 steps, 100 on a full disk, and 100 when there is room again."""
    logger = TrackPlusLogger(folder, "", "run", flush_secs=1000)
    log_steps(logger, range(100))
    if how == "tmpfs":
        with (folder / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(4096))
        log_steps(logger, range(100, 200), late=["new"])
        (folder / "ballast").unlink()
    else:
        with disk_full_above((folder / "run/metrics.csv").stat().st_size + 300):
            log_steps(logger, range(100, 200), late=["new"])
    log_steps(logger, range(200, 300))
    logger.finalize("success")


@pytest.mark.parametrize("how", ["tmpfs", "limit"])
def test_training_goes_on_when_the_disk_is_full(tmp_path, how):
    """One warning for each writer, the gap at the end; what comes later is written, and all that is there is whole."""
    folder = tmp_path / "disk"
    with small_disk(folder, 2**18) if how == "tmpfs" else contextlib.nullcontext(folder.mkdir()):
        code, output = in_a_process(log_on_a_full_disk, tmp_path, folder, how)
        assert code == 0, output
        run = folder / "run"
        rows, points = column(run, "loss"), scalars(run, "loss")
        pictures = [PillowImage.open(run / file).size for file in pandas.read_csv(run / "media.csv")["file"]]
    assert all(value == step / 7 for step, value in rows)
    assert all(value == pytest.approx(step / 7) for step, value in points)
    for writer, found in (("CSVWriter", rows), ("TensorBoardWriter", points)):
        steps = [step for step, _ in found]
        missing = set(range(300)) - set(steps)
        assert steps == sorted(set(steps))
        assert missing
        assert len(said(output, f"{writer} failed, training continues")) == 1
        (report,) = said(output, f"{writer} failed .* in this run")
        first, last = map(int, re.search(r"between the steps (\d+) and (\d+)", report).groups())
        assert missing <= set(range(first, last + 1)) <= set(range(100, 201))
    assert pictures == [(32, 32)] * len(pictures)
    assert len(pictures) >= 4


def log_while_the_directory_goes(folder):
    """Log 100 steps, remove the run directory, and log 100 more."""
    logger = TrackPlusLogger(folder, "", "run", flush_secs=1000)
    log_steps(logger, range(100))
    shutil.rmtree(folder / "run")
    log_steps(logger, range(100, 200), late=["new"])
    logger.finalize("success")


def test_training_goes_on_when_the_run_directory_is_removed(tmp_path):
    """One warning for each writer, a report at the end; what comes later is in the directory, which is made again."""
    code, output = in_a_process(log_while_the_directory_goes, tmp_path, tmp_path)
    assert code == 0, output
    run = tmp_path / "run"
    for found in (column(run, "loss"), scalars(run, "loss")):
        assert [step for step, _ in found][-90:] == list(range(110, 200))
    assert column(run, "new")[-1] == (199, 199 / 3)
    assert [PillowImage.open(run / file).size for file in pandas.read_csv(run / "media.csv")["file"]] == [(32, 32)]
    for writer in ("CSVWriter", "TensorBoardWriter"):
        assert len(said(output, f"{writer} failed, training continues")) == 1
        assert len(said(output, f"{writer} failed once in this run, between the steps 100 and 109. Records")) == 1


def log_while_nothing_can_be_made(folder):
    """Log 100 steps, 100 in a directory that takes no new files, and 100 when it takes them again; as nobody."""
    TrackPlusLogger(folder)  # What a logger imports, nobody might not be allowed to read.
    if os.getuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    logger = TrackPlusLogger(folder, "", "run", flush_secs=1000)
    log_steps(logger, range(100))
    (folder / "run").chmod(0o555)
    log_steps(logger, range(100, 200), late=["new"])
    (folder / "run").chmod(0o755)
    log_steps(logger, range(200, 300))
    logger.finalize("success")


def test_training_goes_on_when_the_run_directory_is_read_only(tmp_path):
    """Files that are open go on; of what needs a new one, there is one warning, and a report of the gap."""
    # Nobody may enter the test's own folder.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        packages = Path(pytest.__file__)
        if os.getuid() == 0 and not all(
            path.stat().st_mode & 0o001 for path in (*Path(folder).parents, *packages.parents)
        ):
            pytest.skip("nobody may enter the folder for temporary files, or that of Python's packages")
        code, output = in_a_process(log_while_nothing_can_be_made, tmp_path, Path(folder))
        assert code == 0, output
        run = Path(folder, "run")
        assert column(run, "loss") == [(step, step / 7) for step in range(300)]
        assert [step for step, _ in scalars(run, "loss")] == list(range(300))
        assert [step for step, _ in scalars(run, "new")] == list(range(100, 200))
        # The table could not get the column before it was the last row's turn.
        assert column(run, "new") == [(199, 199 / 3)]
        missing = {(one.name, one.step) for one in differences(run)}
        assert missing == {("new", step) for step in range(100, 199)}
        assert "summary.json" in os.listdir(run)
    assert len(said(output, "CSVWriter failed, training continues")) == 1
    assert len(said(output, "CSVWriter failed 10 times in this run, between the steps 100 and 199. Records")) == 1
    assert "TensorBoardWriter failed" not in output


# Forks.


class Numbers(Dataset):
    """Ten pairs of numbers, of which each may be logged where it is loaded."""

    def __init__(self, logger=None):
        self.logger = logger

    def __len__(self):
        return 40

    def __getitem__(self, index):
        if self.logger is not None:
            self.logger.log_metrics({"loaded": float(index)}, index)
        return torch.full((2,), float(index))


def train_with_workers(root, *, logs):
    """Train two epochs with two workers that are forked in each."""
    logger = TrackPlusLogger(root, flush_secs=0.01)
    trainer = quiet_trainer(root, callbacks=[TrackPlus()], logger=logger, max_epochs=2)
    data = DataLoader(
        Numbers(logger if logs else None), 4, num_workers=2, multiprocessing_context="fork", collate_fn=collate
    )

    def step(module, batch, index):
        module.log("x", float(index))
        module.log("median", batch[0], reduce_fx="median", on_step=False, on_epoch=True)

    trainer.fit(LoggingModule(training_step=step), data)


def collate(items):
    return [torch.stack(items)]


NOT_WRITTEN = "Ignored a log call from a child process (for example a DataLoader worker); log in the training process."


@pytest.mark.parametrize("logs", [False, True])
def test_workers_of_a_dataloader_disturb_nothing(tmp_path, logs):
    """Forked workers end, and the run has each record once; what they log is not written, each says so once."""
    code, output = in_a_process(train_with_workers, tmp_path, tmp_path, logs=logs)
    assert code == 0, output
    run = tmp_path / "lightning_logs/version_0"
    assert list(table(run).columns) == ["step", "epoch", "x", "median"]
    assert column(run, "x") == scalars(run, "x") == [(step, step % 10) for step in range(20)]
    assert column(run, "median") == [(9, 18.0), (19, 18.0)]
    assert differences(run) == []
    assert len(list(run.glob("*tfevents*"))) == 1
    assert len(said(output, re.escape(NOT_WRITTEN))) == (4 if logs else 0)


def fork_in_mid_run(root, how):
    """Log, fork a process that exits, log on; the forked process logs too, or finalizes its logger, or exits alone."""
    logger = TrackPlusLogger(root, flush_secs=1000)
    logger.log_metrics({"x": 0.0}, 0)
    before = os.stat(logger.log_dir)
    pid = os.fork()
    if pid == 0:
        if how == "log":
            logger.log_metrics({"x": 100.0}, 100)
            logger.log_media("picture", Image(torch.zeros(3, 8, 8)), 100)
            logger.experiment.add_scalar("y", 1.0, 100)
            logger.experiment.flush()
        if how == "finalize":
            logger.finalize("success")
        sys.exit(0)
    _, status = os.waitpid(pid, 0)
    assert status == 0
    # It is the one that is locked, and not one that was made anew.
    assert os.path.samestat(os.stat(logger.log_dir), before)
    logger.log_metrics({"x": 1.0}, 1)
    logger.finalize("success")


@pytest.mark.parametrize("how", ["log", "finalize", "exit"])
def test_a_forked_process_that_exits_leaves_the_run_to_its_parent(tmp_path, how):
    """Whatever a forked process does with the logger before sys.exit, each record is there once, in both formats."""
    code, output = in_a_process(fork_in_mid_run, tmp_path, tmp_path, how)
    assert code == 0, output
    run = tmp_path / "lightning_logs/version_0"
    assert column(run, "x") == scalars(run, "x") == [(0, 0.0), (1, 1.0)]
    assert differences(run) == []
    assert len(said(output, re.escape(NOT_WRITTEN))) == (how == "log")


def train_in_forked_processes(root):
    """Log, and then train in two forked processes, before what was logged is in the files."""
    logger = TrackPlusLogger(root, flush_secs=0.2)
    logger.log_metrics({"before": 1.0}, step=0)
    logger.experiment.flush()
    trainer = quiet_trainer(root, callbacks=[TrackPlus()], logger=logger, strategy="ddp_fork", devices=2)
    trainer.fit(LoggingModule(training_step=lambda m, b, i: m.log("x", float(i))), loader(40))


def test_ddp_fork_writes_each_record_once(tmp_path):
    """With ddp_fork, the forked rank zero goes on with the run that its parent has begun."""
    code, output = in_a_process(train_in_forked_processes, tmp_path, tmp_path)
    assert code == 0, output
    run = tmp_path / "lightning_logs/version_0"
    assert column(run, "before") == [(0, 1.0)]
    assert column(run, "x") == scalars(run, "x") == [(step, float(step)) for step in range(5)]
    assert differences(run) == []


# Writers.


class Gated:
    """A writer that waits at a gate."""

    def __init__(self):
        self.gate, self.is_stuck, self.steps = threading.Event(), threading.Event(), []

    def write(self, record):
        self.is_stuck.set()
        assert self.gate.wait(GUARD)
        self.steps.append(record.step)

    def flush(self): ...

    def close(self): ...


@pytest.fixture
def gated():
    """Return a writer that waits at a gate, which is open once the test has ended."""
    writer = Gated()
    yield writer
    writer.gate.set()


def test_a_writer_that_blocks_holds_up_no_other(tmp_path, gated):
    """While one writer is stuck, CSV and events grow; when it goes on, it gets everything."""
    logger = TrackPlusLogger(tmp_path, writers=[gated, "tensorboard", "csv"], flush_secs=0.01)
    run = Path(logger.log_dir)
    for step in range(20):
        logger.log_metrics({"x": float(step)}, step)
        if step % 10 == 9:
            assert gated.is_stuck.wait(GUARD)
            eventually(lambda: (run / "metrics.csv").is_file() and len(table(run)) == step + 1)  # noqa: B023
            eventually(lambda: len(scalars(run, "x")) == step + 1)  # noqa: B023
    assert gated.steps == []
    gated.gate.set()
    logger.finalize("success")
    assert gated.steps == list(range(20))
    assert differences(run) == []


def test_a_writer_slower_than_the_producer_bounds_what_waits(tmp_path, gated):
    """When what waits for a stuck writer fills the queue, logging waits; nothing is lost in any format."""
    bound = 64 * 100
    logger = TrackPlusLogger(tmp_path, writers=[gated, "tensorboard", "csv"], flush_secs=0.01, max_queue_bytes=bound)
    logged = []

    def produce():
        for step in range(1000):
            logger.log_metrics({"x": float(step)}, step)
            logged.append(step)

    producer = threading.Thread(target=produce)
    producer.start()
    # Its queue holds 100 records of 64 bytes; what it has taken and cannot write counts among them.
    eventually(lambda: len(logged) >= 100)
    run = Path(logger.log_dir)
    eventually(lambda: (run / "metrics.csv").is_file() and len(table(run)) >= 100)
    assert producer.is_alive()
    assert len(logged) <= 101
    gated.gate.set()
    producer.join(GUARD)
    logger.finalize("success")
    assert gated.steps == table(run)["step"].tolist() == list(range(1000))
    assert differences(run) == []


class Broken:
    """A writer that raises whatever it is asked to do."""

    def write(self, record):
        raise OSError("no service")

    flush = close = lambda self: self.write(None)


def test_a_writer_that_raises_takes_nothing_from_the_others(tmp_path):
    """It is warned of once and reported at the end; CSV and events have everything."""
    logger = TrackPlusLogger(tmp_path, writers=[Broken(), "tensorboard", "csv"])
    with pytest.warns(UserWarning, match="Broken failed") as caught:
        for step in range(10):
            logger.log_metrics({"x": float(step)}, step)
        logger.finalize("success")
    first, last = (str(one.message) for one in caught)
    assert first == "Broken failed, training continues. OSError: no service"
    assert last.startswith("Broken failed ")
    assert " in this run, between the steps 0 and 9. Records from those steps are missing from the output." in last
    assert column(logger.log_dir, "x") == [(step, float(step)) for step in range(10)]
    assert differences(logger.log_dir) == []


# Numbers.

NUMBERS = {
    "nan": math.nan,
    "inf": math.inf,
    "negative_inf": -math.inf,
    "beyond_float32": 1e300,
    "negative_beyond_float32": -1e300,
    "largest_float64": sys.float_info.max,
    "smallest": 5e-324,
    "below_float32": 1e-60,
    "negative_zero": -0.0,
    "third": 1 / 3,
    "huge_int": 2**62 + 1,
    "beyond_int64": 10**30 + 1,
    "beyond_float64": 10**400,
    "float64_tensor": torch.tensor(1 / 3, dtype=torch.float64),
    "bool": True,
}


def test_any_number_is_exact_in_the_csv_and_as_good_as_it_can_be_in_tensorboard(tmp_path):
    """NaN, infinities, huge integers and what is beyond float32 are logged without an exception or a difference."""
    logger = TrackPlusLogger(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logger.log_metrics(NUMBERS, step=2**40)
        logger.finalize("success")
    with Path(logger.log_dir, "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["step"] == str(2**40)
    for name, number in NUMBERS.items():
        with np.errstate(over="ignore"):
            shown = np.float32(math.inf if name == "beyond_float64" else np.float64(number))
        ((step, value),) = scalars(logger.log_dir, name)
        assert step == 2**40
        assert np.float32(value).tobytes() == shown.tobytes() or (math.isnan(value) and math.isnan(shown))
        exact = int(row[name]) if type(number) is int else float(row[name])
        assert exact == number or (math.isnan(exact) and math.isnan(number))
    assert math.copysign(1, float(row["negative_zero"])) == -1
    assert differences(logger.log_dir) == []
    summary = json.loads(Path(logger.log_dir, "summary.json").read_text())
    assert summary["nan"]["last"] == "NaN"
    assert summary["huge_int"]["last"] == 2**62 + 1
