"""Runs that were taken back to a step, as CSV readers and TensorBoard's slow and fast loaders find them."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator as PluginAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.context import RequestContext
from tensorboard.data import server_ingester
from tensorboard.util import grpc_util, tensor_util

from lightning_trackplus import TrackPlusLogger
from lightning_trackplus.formats.event_files import EventFile
from lightning_trackplus.formats.x_axis import write_axes
from lightning_trackplus.record import EvaluationBatch, Record
from lightning_trackplus.run.resume import complete_rewind, rewind_to_step
from lightning_trackplus.writers.csv import CSVWriter
from lightning_trackplus.writers.run_summary import RunSummary
from lightning_trackplus.writers.tensorboard import TensorBoardWriter
from tests.flavour.pytorch.loggers import CSVLogger, TensorBoardLogger
from tests.support.csv_files import read_metrics
from tests.support.training import disk_full_above

STEPS_OF_AN_EPOCH = 4
BATCHES = 3


def log(root, steps, value=0.0):
    """Write training steps, and at the end of each epoch a validation, as a Trainer logs them; return the directory."""
    run = Path(root, "run")
    writers = [RunSummary(run), TensorBoardWriter(run), CSVWriter(run)]

    def write(step, epoch, batch=None, **values):
        for writer in writers:
            writer.write(Record(step, epoch, time.time(), values, only_numbers=True, batch=batch))

    for step in steps:
        epoch = step // STEPS_OF_AN_EPOCH
        write(step, epoch, loss=value + step)
        if (step + 1) % STEPS_OF_AN_EPOCH == 0:
            for batch in range(epoch * BATCHES, (epoch + 1) * BATCHES):
                write(batch, None, EvaluationBatch("validation", step), val_step=value + batch)
            write(step, epoch, val=value + step)
    for writer in writers:
        writer.close()
    return run


def in_table(run):
    """Return (step, value) by name from metrics.csv, in the order of its rows."""
    table = read_metrics(run).set_index("step")
    return {name: list(column.dropna().items()) for name, column in table.items() if name != "epoch"}


def in_slow_loader(run):
    """Return (step, value) by tag as TensorBoard's older loader finds them, batches of validations as well."""
    below = run / "validation_batches"
    found = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    shown = {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"] if tag != "epoch"}
    return {**shown, **in_slow_loader(below)} if below.is_dir() else shown


def in_plugin_loader(run):
    """Return (step, value) by tag as TensorBoard's loader for plugins finds them."""
    below = run / "validation_batches"
    found = PluginAccumulator(str(run), size_guidance={"tensors": 0}).Reload()
    tags = [tag for tag in found.Tags()["tensors"] if tag != "epoch"]
    shown = {
        tag: [(e.step, tensor_util.make_ndarray(e.tensor_proto).item()) for e in found.Tensors(tag)] for tag in tags
    }
    return {**shown, **in_plugin_loader(below)} if below.is_dir() else shown


def in_fast_loader(logdir, still_linked):
    """Return (step, value) by run and tag as the data server finds them, once a condition holds for good."""
    pytest.importorskip("tensorboard_data_server")
    ingester = server_ingester.SubprocessServerDataIngester(
        server_binary=server_ingester.get_server_binary(),
        logdir=str(logdir),
        reload_interval=1,
        channel_creds_type=grpc_util.ChannelCredsType.LOCAL,
        samples_per_plugin={"scalars": 0},
    )
    ingester.start()
    try:
        deadline = time.monotonic() + 30
        while not still_linked(_scalars(ingester.data_provider)) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)  # What is not to be there has time to come.
        return _scalars(ingester.data_provider)
    finally:
        ingester._stdin_handle.close()  # The server ends with its standard input.


def _scalars(provider):
    found = provider.read_scalars(RequestContext(), experiment_id="", plugin_name="scalars", downsample=10**6)
    shown = {}
    for run, tags in found.items():
        curves = {tag: [(p.step, p.value) for p in points] for tag, points in tags.items() if tag != "epoch"}
        shown.setdefault(run.removesuffix("/validation_batches"), {}).update(curves)
    return shown


def expected(end, at):
    """Return what a run of two sessions holds up to a step, the second of which begins at another."""
    epochs = end // STEPS_OF_AN_EPOCH
    # A validation's batches belong to the step that waits for its results.
    ends = [epoch * STEPS_OF_AN_EPOCH + STEPS_OF_AN_EPOCH - 1 for epoch in range(epochs)]
    value = {step: 0.0 if step < at else 0.5 for step in range(end)}
    return {
        "loss": [(step, value[step] + step) for step in range(end)],
        "val": [(step, value[step] + step) for step in ends],
        "val_step": [
            (batch, value[step] + batch)
            for epoch, step in enumerate(ends)
            for batch in range(epoch * BATCHES, (epoch + 1) * BATCHES)
        ],
    }


def test_the_curve_goes_on_from_the_step(tmp_path):
    """After a resume, each reader finds each step of each name once, and no run or name of what was taken back."""
    wanted = {at: expected(24, at) for at in (0, 1, 8, 9, 17, 20)}
    for at, points in wanted.items():
        run = log(tmp_path / str(at), range(20))
        rewind_to_step(run, at)
        log(tmp_path / str(at), range(at, 24), value=0.5)

        assert in_table(run) == points, at
        assert in_slow_loader(run) == points, at
        assert in_plugin_loader(run) == points, at
    shown = {f"{at}/run": points for at, points in wanted.items()}
    assert in_fast_loader(tmp_path, lambda found: found == shown) == shown


def test_a_name_that_is_not_logged_again_is_gone(tmp_path):
    """What first came beyond the step leaves no tag behind, though nothing comes to overwrite it."""
    logger = TrackPlusLogger(tmp_path, name="", version="run")
    for step in range(6):
        logger.log_metrics({"loss": step, "epoch": 0, **({"late": step} if step >= 4 else {})}, step)
    logger.experiment.add_scalars("pair", {"a": 1.0, "b": 2.0}, 1)
    logger.experiment.add_scalars("pair", {"a": 3.0}, 5)
    logger.finalize("success")
    run = Path(logger.log_dir)

    backup = rewind_to_step(run, 4)

    losses = {"loss": [(step, step) for step in range(4)]}
    wanted = {"run": losses, "run/pair_a": {"pair": [(1, 1.0)]}, "run/pair_b": {"pair": [(1, 2.0)]}}
    assert in_slow_loader(run) == losses
    assert in_fast_loader(tmp_path, lambda found: found == wanted) == wanted
    assert read_metrics(backup)["late"].to_list() == [4.0, 5.0]
    assert [path.name for path in backup.iterdir() if path.is_dir()] == ["pair_a"]


def test_what_was_taken_is_in_the_backup(tmp_path):
    """The backup has the removed rows below the header and the removed events behind the file's first one."""
    run = log(tmp_path, range(10))
    (events,) = run.glob("*tfevents*")
    before, table = events.read_bytes(), (run / "metrics.csv").read_text().splitlines()

    backup = rewind_to_step(run, 6)

    assert backup == run / "backup" / "1"
    kept, removed = (run / "metrics.csv").read_text().splitlines(), (backup / "metrics.csv").read_text().splitlines()
    assert kept[0] == removed[0] == table[0]
    assert kept[1:] + removed[1:] == table[1:]
    (moved,) = backup.glob("*tf-events*")
    head, *rest = LegacyEventFileLoader(str(moved)).Load()
    assert head.file_version == "brain.Event:2"
    ordinary = [event for event in rest if event.summary.value[0].tag != "val_step"]
    assert {event.step for event in ordinary} == set(range(6, 10))
    first = before.index(events.read_bytes()[-40:]) + 40
    assert events.read_bytes() == before[: len(events.read_bytes())]
    assert moved.read_bytes().endswith(before[first:])
    assert {path.name for path in backup.iterdir()} == {"metrics.csv", "summary.json", moved.name, "validation_batches"}


def test_where_nothing_is_beyond_nothing_is_touched(tmp_path):
    """A run that ends before the step, and a folder that is not there, stay as they are, to the byte and the file."""
    run = log(tmp_path, range(5))
    (events,) = run.glob("*tfevents*")
    with events.open("ab") as file:
        file.write(b"torn")
    before = {path: (path.read_bytes(), path.stat().st_ino) for path in run.rglob("*") if path.is_file()}

    assert rewind_to_step(run, 5) is None
    assert rewind_to_step(tmp_path / "none", 0) is None

    assert {path: (path.read_bytes(), path.stat().st_ino) for path in run.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "none").exists()


def test_a_file_with_nothing_beyond_is_not_written_again(tmp_path):
    """Of two sessions' event files, the one that ended before the step stays the same file."""
    run = log(tmp_path, range(5))
    (first,) = run.glob("*tfevents*")
    before = first.read_bytes(), first.stat().st_ino
    log(tmp_path, range(5, 9))

    rewind_to_step(run, 7)

    assert (first.read_bytes(), first.stat().st_ino) == before
    assert in_slow_loader(run)["loss"] == [(step, step) for step in range(7)]


def test_each_rewinding_has_a_folder_of_its_own(tmp_path):
    """What is taken back twice is in two folders, and what is in these is left alone."""
    run = log(tmp_path, range(9))
    assert rewind_to_step(run, 6) == run / "backup" / "1"
    log(tmp_path, range(6, 9))
    before = {path: path.read_bytes() for path in (run / "backup").rglob("*") if path.is_file()}

    assert rewind_to_step(run, 5) == run / "backup" / "2"

    assert {path: path.read_bytes() for path in before} == before
    assert [step for step, _ in in_table(run)["loss"]] == list(range(5))
    assert [step for step, _ in in_table(run / "backup" / "2")["loss"]] == [5, 6, 7, 8]


def test_media_move_with_their_rows(tmp_path):
    """A medium beyond the step leaves media.csv and media/ together; the others stay."""
    logger = TrackPlusLogger(tmp_path, name="", version="run")
    for step in range(4):
        logger.log_image('a, "b"\n', [np.full((3, 2, 2), step, np.uint8)], step=step, caption=[f"two\nlines, {step}"])
    logger.finalize("success")
    run = Path(logger.log_dir)
    before = pandas.read_csv(run / "media.csv")
    data = [(run / file).read_bytes() for file in before["file"]]

    backup = rewind_to_step(run, 2)

    for folder, rows in ((run, slice(2)), (backup, slice(2, 4))):
        pandas.testing.assert_frame_equal(pandas.read_csv(folder / "media.csv"), before[rows].reset_index(drop=True))
        files = [path.relative_to(folder).as_posix() for path in sorted((folder / "media").rglob("*.png"))]
        assert files == before["file"][rows].to_list()
        assert [(folder / file).read_bytes() for file in files] == data[rows]


def test_torn_ends_go(tmp_path):
    """Half a row and half an event at the files' ends are in the backup, and the run goes on behind whole ones."""
    run = log(tmp_path, range(6))
    (events,) = run.glob("*tfevents*")
    for path in (events, run / "metrics.csv"):
        path.write_bytes(path.read_bytes()[:-3])
    torn_event, torn_row = events.read_bytes()[-20:], (run / "metrics.csv").read_bytes()[-5:]

    backup = rewind_to_step(run, 4)
    log(tmp_path, range(4, 8), value=0.5)

    assert (backup / "metrics.csv").read_bytes().endswith(torn_row)
    assert next(backup.glob("*tf-events*")).read_bytes().endswith(torn_event)
    assert in_table(run) == in_slow_loader(run) == expected(8, 4)


@pytest.mark.parametrize("torn", ["2,0,0.", "2,0,0.25", "2", '2,0,0.25,"half\n'])
def test_a_torn_row_goes_whatever_its_step(tmp_path, torn):
    """A row that was cut is not left in the table."""
    table = "step,epoch,a,b\n0,0,1.0,2.0\n1,0,1.0,2.0\n"
    (tmp_path / "metrics.csv").write_text(table + torn)

    backup = rewind_to_step(tmp_path, 5)

    assert (tmp_path / "metrics.csv").read_text() == table
    assert (backup / "metrics.csv").read_text() == "step,epoch,a,b\n" + torn


def test_batches_without_results_go(tmp_path):
    """Rows of a validation whose results never came, at the end of the file, are taken, and so are their events."""
    run = log(tmp_path, range(6))
    for batch in range(3, 5):
        for writer in (TensorBoardWriter(run), CSVWriter(run)):
            of = EvaluationBatch("validation", 7)
            writer.write(Record(batch, None, time.time(), {"val_step": float(batch)}, only_numbers=True, batch=of))
            writer.close()

    rewind_to_step(run, 6)

    assert in_table(run) == in_slow_loader(run) == expected(6, 6)


def test_other_runs_and_checkpoints_are_left_alone(tmp_path):
    """A folder below with a table of its own is another run; checkpoints/ and the backup are none."""
    run = log(tmp_path, range(6))
    shutil.copytree(run, tmp_path / "source")
    shutil.copytree(tmp_path / "source", run / "other")
    for folder in ("checkpoints", "backup/mine"):
        shutil.copytree(tmp_path / "source", run / folder, ignore=shutil.ignore_patterns("*.csv"))
    own = {run, run / "validation_batches"}
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.parent not in own}

    rewind_to_step(run, 3)

    assert {path: path.read_bytes() for path in before} == before


def test_runs_of_lightnings_pair_are_taken_back(tmp_path):
    """Files that TensorBoardLogger and CSVLogger wrote, with other line ends and columns, are parted the same way."""
    loggers = [CSVLogger(tmp_path, "", "run"), TensorBoardLogger(tmp_path, "", "run")]
    for step in range(6):
        for logger in loggers:
            logger.log_metrics({"loss": float(step), "epoch": 0}, step)
            logger.save()
    for logger in loggers:
        logger.finalize("success")

    rewind_to_step(tmp_path / "run", 4)

    wanted = {"loss": [(step, step) for step in range(4)]}
    found = in_slow_loader(tmp_path / "run")
    assert in_table(tmp_path / "run") == {"loss": found["loss"]} == wanted


CELLS = st.sampled_from(["0.5", "", '"two\nlines, ""quoted"""', "NaN"])
ROWS = st.lists(st.tuples(st.integers(0, 9), st.booleans(), CELLS), max_size=25)


@settings(max_examples=80)
@given(ROWS, st.integers(0, 10))
@example([(1, False, "0.5"), (5, True, "0.5"), (2, False, ""), (3, True, ""), (4, False, "NaN")], 4)
@example([(3, False, "0.5"), (4, False, "0.5")], 4)
def test_rows_go_with_the_row_that_they_wait_for(rows, at):
    """A row with an epoch is judged by its step, and others by the next such row; without any, by its own."""
    header, texts = "step,epoch,a\n", [f"{step},{'0' if has_epoch else ''},{cell}\n" for step, has_epoch, cell in rows]
    any_epoch = any(has_epoch for _, has_epoch, _ in rows)
    kept, removed, waiting = "", "", ""
    for (step, has_epoch, _), text in zip(rows, texts, strict=True):
        waiting += text
        if has_epoch or not any_epoch:
            kept, removed, waiting = (kept + waiting, removed, "") if step < at else (kept, removed + waiting, "")
    removed += waiting
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        (run / "metrics.csv").write_bytes((header + "".join(texts)).encode())

        backup = rewind_to_step(run, at)

        assert (run / "metrics.csv").read_bytes().decode() == header + kept
        assert (backup is None) == (not removed)
        assert backup is None or (backup / "metrics.csv").read_bytes().decode() == header + removed


KINDS = st.sampled_from(["loss", "loss", "val", "start", "hparams"])
FILES = st.lists(st.lists(st.tuples(st.integers(0, 9), KINDS), max_size=12), min_size=1, max_size=3)


def event_of(number, step, kind):
    if kind == "start":
        return Event(step=step, wall_time=number, session_log=SessionLog(status=SessionLog.START))
    tag = "_hparams_/session_end_info" if kind == "hparams" else kind
    return Event(step=step, wall_time=number, summary={"value": [{"tag": tag, "simple_value": number}]})


def judged(files, at):
    """Return by event whether it stays: by its step, and over an epoch as the one before, if there is one."""
    stays, last = [], True
    for step, kind in (event for file in files for event in file):
        if kind == "loss":
            last = step < at
        stays.append(last if kind == "val" else step < at)
    return stays


@settings(max_examples=80)
@given(FILES, st.integers(1, 10))
@example([[(0, "val"), (7, "loss"), (1, "val")], [(2, "val")]], 3)
def test_events_with_another_axis_go_with_their_neighbours(files, at):
    """In any event files, each event is kept or taken as the rules say, with all its bytes, and none is lost."""
    stays = iter(judged(files, at))
    with tempfile.TemporaryDirectory() as folder:
        run, number = Path(folder), 0
        write_axes(run, {"val": "epoch"})
        wanted = []
        for index, file in enumerate(files):
            records = EventFile(run / f"events.out.tfevents.{index}")
            records.write(Event(file_version="brain.Event:2").SerializeToString())
            parts = [], []
            for step, kind in file:
                event = event_of(number := number + 1, step, kind)
                records.write(event.SerializeToString())
                parts[next(stays)].append(event)
            records.close()
            wanted.append(parts)

        backup = rewind_to_step(run, at)

        for index, (removed, kept) in enumerate(wanted):
            assert list(LegacyEventFileLoader(str(run / f"events.out.tfevents.{index}")).Load())[1:] == kept
            if removed:
                (head, *rest) = LegacyEventFileLoader(str(backup / f"events.out.tf-events.{index}")).Load()
                assert (head.file_version, rest) == ("brain.Event:2", removed)
            else:
                assert backup is None or not (backup / f"events.out.tf-events.{index}").exists()


def test_memory_stays_flat(tmp_path):
    """Files many times larger than what is held of them are parted."""
    row = b"%d,0," + b"x" * 4000 + b"\n"
    with (tmp_path / "metrics.csv").open("wb") as file:
        file.write(b"step,epoch,a\n")
        file.writelines(row % step for step in range(3_000))
    records = EventFile(tmp_path / "events.out.tfevents.0")
    for step in range(2_000):
        records.write(Event(step=step, summary={"value": [{"tag": "x" * 5000, "simple_value": 1}]}).SerializeToString())
    records.close()
    rewind_to_step(tmp_path, 10**6)  # What is imported for the first time is no part of it.
    tracemalloc.start()
    try:
        rewind_to_step(tmp_path, 1_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20
    assert (tmp_path / "metrics.csv").stat().st_size == len(b"step,epoch,a\n") + sum(len(row % s) for s in range(1_000))


def test_a_full_disk_leaves_the_run_as_it_was(tmp_path):
    """Where there is no room for the parts, the error comes up, and nothing was changed or left behind."""
    run = log(tmp_path, range(40))
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}

    with disk_full_above(200), pytest.raises(OSError, match="File too large"):
        rewind_to_step(run, 20)

    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    assert list((run / "backup").iterdir()) == []
    rewind_to_step(run, 20)
    assert in_table(run) == in_slow_loader(run) == expected(20, 20)


# Rewinds one copy of a run after the other, each in a process that is killed before its next change to the disk: the
# first, the second, and so on, until one comes to its end.
KILLED = """
import itertools, os, shutil, signal, sys
from pathlib import Path
from tensorboard.compat.proto import event_pb2
from lightning_trackplus.formats import event_files
from lightning_trackplus.run.resume import rewind_to_step

CHANGES = {"fsync", "mkdir", "rename", "replace", "unlink", "rmdir"}

def rewind_and_die(run, number):
    changes = itertools.count(1)
    def look(frame, event, function):
        is_change = event == "c_call" and function.__name__ in CHANGES and not isinstance(function.__self__, str)
        if is_change and next(changes) == number:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(look)
    rewind_to_step(run, int(sys.argv[2]))
    os._exit(0)

for number in itertools.count(1):
    run = Path(shutil.copytree(sys.argv[1], f"{sys.argv[1]} {number}"))
    if (child := os.fork()) == 0:
        rewind_and_die(run, number)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(code)
    if code != -signal.SIGKILL:
        break
"""


def pieces(folder):
    """Return all that a run or its backup holds: rows, events and media, each as bytes."""
    found = []
    for name in ("metrics.csv", "media.csv"):
        with (folder / name).open(newline="") as file:
            found += [(name, *row) for row in csv.reader(file)][1:]
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix().replace("tf-events", "tfevents")
        if "tfevents" in name and not name.startswith("backup"):
            found += [(name, event.SerializeToString()) for event in LegacyEventFileLoader(str(path)).Load()][1:]
        elif name.startswith("media/") and path.is_file():
            found.append((name, path.read_bytes()))
    return sorted(found, key=repr)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks a process to kill")
def test_a_rewinding_that_is_killed_is_completed_by_the_next(tmp_path):
    """Killed at any moment, it leaves whole files, and a second call leaves all in the run or in the backup, once."""
    logger = TrackPlusLogger(tmp_path, name="", version="run")
    for at in range(12):
        logger.log_metrics({"loss": at, "epoch": 0, "other": at}, at)
        if at % 3 == 0:
            logger.log_image("img", [np.full((3, 2, 2), at, np.uint8)], step=at)
            logger.experiment.add_scalars("pair", {"a": at}, at)
    logger.finalize("success")
    original, step, losses = Path(logger.log_dir), 5, []
    everything, width = pieces(original), len(read_metrics(original).columns)

    killed = [sys.executable, "-c", KILLED, str(original), str(step)]
    *codes, last = subprocess.run(killed, check=True, capture_output=True, text=True, timeout=300).stdout.split()

    assert (set(codes), last) == ({str(-signal.SIGKILL)}, "0")
    for number in range(1, len(codes) + 2):
        run = original.with_name(f"{original.name} {number}")
        assert {len(row) for row in csv.reader((run / "metrics.csv").open(newline=""))} == {width}
        losses.append(len(in_slow_loader(run)["loss"]))
        taken = rewind_to_step(run, step)
        assert taken in (None, run / "backup" / "1")
        backup = run / "backup" / "1"
        assert [path.name for path in (run / "backup").iterdir()] == ["1"]
        assert not (backup / "kept").exists()
        assert sorted(pieces(run) + pieces(backup), key=repr) == everything
        assert [step for step, _ in in_table(run)["loss"]] == list(range(step))
        assert [step for step, _ in in_table(backup)["loss"]] == list(range(step, 12))
        assert rewind_to_step(run, step) is complete_rewind(run) is None
    # It was killed before and after the events had their place.
    assert set(losses) == {5, 12}
    assert losses == sorted(losses, reverse=True)


def test_a_decided_rewinding_is_completed_without_the_step(tmp_path):
    """A run that is continued without a step is first brought to what the process that ended had decided."""
    run = log(tmp_path, range(12))
    reference = Path(shutil.copytree(run, tmp_path / "reference"))
    rewind_to_step(reference, 6)
    wanted = {path.relative_to(reference): path.read_bytes() for path in reference.rglob("*") if path.is_file()}
    # As it is in the moment after the backup has its name.
    backup = run / "backup" / "1"
    shutil.copytree(reference / "backup" / "1", backup)
    for path in [reference / "metrics.csv", *reference.rglob("*tfevents*")]:
        kept = backup / "kept" / path.relative_to(reference).with_name(path.name.replace("tfevents", "tf-events"))
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, kept)

    assert complete_rewind(run) == backup

    assert {path.relative_to(run): path.read_bytes() for path in run.rglob("*") if path.is_file()} == wanted
    assert complete_rewind(run) is None


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_file_of_axes_that_cannot_be_read_is_said(tmp_path, text):
    """As after a power cut: it is warned of once, and all names are taken to stand over the global step."""
    run = log(tmp_path, range(6))
    (run / "x_axis.json").write_text(text)

    with pytest.warns(UserWarning, match=f"^{re.escape(str(run / 'x_axis.json'))} .* It is written again.$") as warned:
        rewind_to_step(run, 3)
        rewind_to_step(run, 2)

    assert len(warned) == 1
    assert in_slow_loader(run)["loss"] == [(0, 0.0), (1, 1.0)]


@pytest.mark.parametrize("damage", ["checksum", "message"])
def test_events_that_are_damaged_go(tmp_path, damage):
    """What stands behind a damaged event, which no reader gets to, is in the backup, and the run goes on before it."""
    run = log(tmp_path, range(3))
    (events,) = run.glob("*tfevents*")
    with events.open("ab") as file:
        if damage == "checksum":
            file.write(b"x" * 40)
        else:
            records = EventFile(tmp_path / "record")
            records.write(b"\xff\xff\xff")
            records.close()
            file.write((tmp_path / "record").read_bytes())
    rest = events.stat().st_size

    backup = rewind_to_step(run, 2)
    assert len(next(backup.glob("*tf-events*")).read_bytes()) + events.stat().st_size > rest
    log(tmp_path, range(2, 4), value=0.5)

    assert in_slow_loader(run)["loss"] == in_table(run)["loss"] == expected(4, 2)["loss"]


def test_a_run_without_epochs_is_taken_back_by_its_steps(tmp_path):
    """Logged by hand, no row has an epoch, and each is judged by its own step."""
    logger = TrackPlusLogger(tmp_path, name="", version="run")
    for step in range(6):
        logger.log_metrics({"loss": float(step)}, step)
    logger.finalize("success")

    rewind_to_step(tmp_path / "run", 3)

    wanted = {"loss": [(step, float(step)) for step in range(3)]}
    assert in_table(tmp_path / "run") == in_slow_loader(tmp_path / "run") == wanted
