"""read_run: runs of TrackPlusLogger and of Lightning's loggers, as frames of pandas and polars."""

from __future__ import annotations

import csv
import itertools
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas
import PIL.Image
import polars
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils.tensorboard import SummaryWriter

from lightning_trackplus import Histogram, Image, Text, TrackPlus, TrackPlusLogger
from lightning_trackplus.cli import main
from lightning_trackplus.formats.event_files import EventFile
from lightning_trackplus.formats.media_csv import MediaRecord
from lightning_trackplus.reading.read_run import read_run
from tests.flavour.pytorch.loggers import CSVLogger, TensorBoardLogger
from tests.support.training import LoggingModule, loader, quiet_trainer

NUMBERS = st.floats() | st.integers(-(2**70), 2**70) | st.sampled_from([5e-324, 1.7976931348623157e308, -0.0, 0.1])


def training_step(module, batch, index):
    module.log("train/loss", batch[:, 0].mean() / 3 + module.global_step)


def validation_step(module, batch, index):
    module.log("val/x", batch[:, 0].mean() / 7, on_step=True, on_epoch=True)


def fit(tmp_path, loggers, **hooks):
    """Train two epochs of three steps, each with a validation of two batches."""
    hooks = hooks or {"training_step": training_step, "validation_step": validation_step}
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=loggers, max_epochs=2)
    trainer.fit(LoggingModule(**hooks), loader(10), loader(8))


def write(path, text):
    path.write_bytes(text.encode())
    return path.parent


def values_of(frame, name):
    """Return what a frame of either package has in a column, None where it has nothing."""
    if isinstance(frame, polars.DataFrame):
        return frame[name].to_list()
    return [None if np.isnan(value) else value for value in frame[name].tolist()]


@pytest.mark.parametrize("frames", ["pandas", "polars"])
def test_a_run_of_ours_is_read_as_it_was_written(frames, tmp_path):
    """Step is int64, all else float64, with a row for each row of the file and the same numbers to the last bit."""
    logger = TrackPlusLogger(tmp_path)
    fit(tmp_path, logger)
    run = read_run(logger.log_dir, frames=frames)
    with Path(logger.log_dir, "metrics.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert list(run.metrics.columns) == header
    assert {str(dtype) for dtype in list(run.metrics.dtypes)[1:]} <= {"float64", "Float64"}
    assert str(run.metrics["step"].dtype) in {"int64", "Int64"}
    for name, cells in zip(header, itertools.zip_longest(*rows), strict=True):
        assert values_of(run.metrics, name) == [float(cell) if cell else None for cell in cells]
    assert run.path == Path(logger.log_dir)
    assert run.media == ()


@pytest.mark.parametrize("frames", ["pandas", "polars"])
@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_a_run_of_one_of_lightnings_loggers_reads_like_one_of_ours(kind, frames, tmp_path):
    """The same training gives the same steps, epochs, names and numbers, to float32 where there are but events."""
    ours, theirs = TrackPlusLogger(tmp_path / "ours"), kind(str(tmp_path / "theirs"))
    fit(tmp_path, [ours, theirs])
    expected, found = (read_run(logger.log_dir, frames=frames).metrics for logger in (ours, theirs))
    names = set(expected.columns)
    assert list(found.columns[:2]) == ["step", "epoch"]
    assert set(found.columns) - names <= {"hp_metric"}
    table, other = ([row_of(frame, index) for index in range(len(frame))] for frame in (expected, found))
    placeholder = {"hp_metric": -1.0}
    other = [{name: value for name, value in row.items() if name not in placeholder} for row in other]
    assert [row["step"] for row in table] == [0, 1, 0, 1, 2, 3, 4, 2, 3, 5]
    assert other == table


def row_of(frame, index):
    """Return what stands in a row of a frame, without empty cells, to float32."""
    row = frame.row(index, named=True) if isinstance(frame, polars.DataFrame) else frame.iloc[index].to_dict()
    return {name: np.float32(value) for name, value in row.items() if value is not None and not np.isnan(value)}


@settings(max_examples=30)
@example([[0.1, 1e22], [1.7976931348623157e308, 5e-324]])
@given(st.lists(st.lists(NUMBERS, min_size=2, max_size=2), min_size=1, max_size=5))
def test_every_number_comes_back_to_the_last_bit(tmp_path_factory, rows):
    """Whatever a run logs as float64, both frames give back; an integer as the float64 next to it."""
    logger = TrackPlusLogger(tmp_path_factory.mktemp("runs"), writers=["csv"])
    for step, (a, b) in enumerate(rows):
        logger.log_metrics({"a": a, "b": b}, step=step)
    logger.finalize("success")
    for frames in ("pandas", "polars"):
        metrics = read_run(logger.log_dir, frames=frames).metrics
        for name, column in zip("ab", zip(*rows, strict=True), strict=True):
            np.testing.assert_array_equal(metrics[name].to_numpy(), np.array(list(map(float, column))))


def test_polars_tells_a_nan_from_what_was_not_logged(tmp_path):
    """NaN is a value and null is none; in pandas both are NaN."""
    run = write(tmp_path / "metrics.csv", "step,epoch,a\n0,0,NaN\n1,0,\n2,0,nan\n")
    column = read_run(run, frames="polars").metrics["a"]
    assert column.is_null().to_list() == [False, True, False]
    assert column.is_nan().to_list() == [True, None, True]
    assert read_run(run).metrics["a"].isna().all()


@pytest.mark.parametrize("frames", ["pandas", "polars"])
def test_what_training_and_validation_log_at_a_step_is_one_row(frames, tmp_path):
    """CSVLogger's rows of one step become one, those of batches stand before, and step and epoch come first."""
    rows = "a,b,epoch,step,v_step\r\n1.0,,0,4,\r\n,,,0,7.0\r\n,,,1,8.0\r\n,2.0,0,4,\r\n3.0,,1,5,\r\n"
    metrics = read_run(write(tmp_path / "metrics.csv", rows), frames=frames).metrics
    assert list(metrics.columns) == ["step", "epoch", "a", "b", "v_step"]
    assert metrics["step"].to_list() == [0, 1, 4, 5]
    assert values_of(metrics, "epoch") == [None, None, 0, 1]
    assert values_of(metrics, "a") == [None, None, 1, 3]
    assert values_of(metrics, "b") == [None, None, 2, None]
    assert values_of(metrics, "v_step") == [7, 8, None, None]


@pytest.mark.parametrize("frames", ["pandas", "polars"])
def test_batches_that_stand_before_a_step_of_their_number_keep_their_row(frames, tmp_path):
    """The file of a run is not changed in reading: the row of batch 4 is not that of step 4."""
    run = write(tmp_path / "metrics.csv", "step,epoch,a,v_step\n3,0,1.0,\n4,,,7.0\n4,0,2.0,\n")
    metrics = read_run(run, frames=frames).metrics
    assert metrics["step"].to_list() == [3, 4, 4]
    assert values_of(metrics, "a") == [1, None, 2]


@pytest.mark.parametrize("frames", ["pandas", "polars"])
def test_booleans_are_numbers_and_text_stays_text(frames, tmp_path):
    """What CSVLogger was given beside numbers does not make a run unreadable."""
    logger = CSVLogger(str(tmp_path))
    for step in range(2):
        values = {"flag": step == 1, "either": [True, 0.5][step], "note": ["n0", "None"][step], "huge": 10**30}
        logger.log_metrics(values, step=step)
    logger.save()
    metrics = read_run(logger.log_dir, frames=frames).metrics
    assert values_of(metrics, "flag") == [0.0, 1.0]
    assert values_of(metrics, "either") == [1.0, 0.5]
    assert metrics["note"].to_list() == ["n0", "None"]
    assert values_of(metrics, "huge") == [1e30, 1e30]
    assert values_of(metrics, "epoch") == [None, None]


@pytest.mark.parametrize("frames", ["pandas", "polars"])
@pytest.mark.parametrize("torn", ["2,0,0", "2,0,0.5", "2", '2,"'])
def test_a_torn_last_row_is_left_out_with_a_warning(torn, frames, tmp_path):
    """A row that is not whole has no numbers that can be believed."""
    path = tmp_path / "metrics.csv"
    write(path, "step,epoch,a\n0,0,0.5\n1,0,0.25\n" + torn)
    message = f"The last row of {path} was incomplete, as after a process is killed while it writes; it is skipped."
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}$"):
        metrics = read_run(tmp_path, frames=frames).metrics
    assert metrics["step"].to_list() == [0, 1]
    assert metrics["a"].to_list() == [0.5, 0.25]


@pytest.mark.parametrize("frames", ["pandas", "polars"])
@pytest.mark.parametrize("text", ["", "step,epoch\n", "step,epoch,a\n"])
def test_a_run_that_has_not_logged_yet_is_an_empty_frame(text, frames, tmp_path):
    """The columns are there, with their types, and no row."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = read_run(write(tmp_path / "metrics.csv", text), frames=frames).metrics
    assert list(metrics.columns[:2]) == ["step", "epoch"]
    assert len(metrics) == 0
    assert str(metrics["step"].dtype).lower() == "int64"
    assert str(metrics["epoch"].dtype).lower() == "float64"


def test_a_header_that_was_torn_has_no_rows(tmp_path):
    """A process that was killed with its first write leaves a run without numbers."""
    with pytest.warns(UserWarning, match="was incomplete"):
        assert len(read_run(write(tmp_path / "metrics.csv", "step,ep")).metrics) == 0


def test_events_are_read_where_there_is_no_csv(tmp_path):
    """A run with TensorBoard alone has the rows that its metrics.csv would have, those of batches last."""
    both, events_alone = TrackPlusLogger(tmp_path / "both"), TrackPlusLogger(tmp_path / "one", writers=["tensorboard"])
    fit(tmp_path, [both, events_alone])
    expected, found = (read_run(logger.log_dir).metrics for logger in (both, events_alone))
    expected = expected.sort_values("epoch", kind="stable", na_position="last", ignore_index=True)
    pandas.testing.assert_frame_equal(expected.astype("float32"), found[list(expected)].astype("float32"))


def test_what_stands_over_another_axis_in_tensorboard_has_the_step_of_its_record(tmp_path):
    """x_axis.json says which events have no global step; they belong to the events before them."""
    (tmp_path / "x_axis.json").write_text('{"val": "epoch"}')
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("train", 1.0, 1)
        writer.add_scalar("epoch", 0.0, 1)
        writer.add_scalar("acc", 2.0, 1)
        writer.add_scalar("epoch", 0.0, 1)
        writer.add_scalar("val", 3.0, 0)
        writer.add_scalar("train", 4.0, 2)
        writer.add_scalar("epoch", 1.0, 2)
    metrics = read_run(tmp_path, frames="polars").metrics
    assert [{name: value for name, value in row.items() if value is not None} for row in metrics.rows(named=True)] == [
        {"step": 1, "epoch": 0.0, "train": 1.0, "acc": 2.0, "val": 3.0},
        {"step": 2, "epoch": 1.0, "train": 4.0},
    ]


def test_numbers_of_double_precision_are_read_in_full(tmp_path):
    """TensorBoard shows none of these, but they stand in its files."""
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("a", 0.1, 3, new_style=True, double_precision=True)
        writer.add_scalar("b", 0.5, 3, new_style=True)
        writer.add_text("note", "text", 3)
    metrics = read_run(tmp_path, frames="polars").metrics
    assert metrics.rows(named=True) == [{"step": 3, "epoch": None, "a": 0.1, "b": 0.5}]


def test_media_are_records_with_files(tmp_path):
    """Each file of media.csv has one, with what was said about it, in the order of logging."""
    logger = TrackPlusLogger(tmp_path)
    logger.log_metrics({"epoch": 2.0}, step=6)
    logger.log_media("img", Image(torch.rand(2, 3, 4, 4), caption=["first", ""]), step=7)
    logger.log_media("Notes, all", Text("**hm**"), step=8)
    logger.finalize("success")
    run = read_run(logger.log_dir)
    assert [(one.step, one.epoch, one.name, one.kind, one.caption, one.score) for one in run.media] == [
        (7, 2.0, "img", "image", "first", None),
        (7, 2.0, "img", "image", None, None),
        (8, 2.0, "Notes, all", "text", None, None),
    ]
    assert all(one.path.is_absolute() and one.path.is_file() for one in run.media)
    assert run.media[2].path.read_text() == "**hm**"
    assert run.media[0].wall_time > 1.6e9


def test_a_torn_last_row_of_media_is_left_out_with_a_warning(tmp_path):
    """The records before it are there; scores are numbers."""
    index = tmp_path / "media.csv"
    index.write_text("step,epoch,name,kind,file,caption,score,wall_time\n3,1,img,image,media/a.png,,0.5,1.5\n4,1,im")
    with pytest.warns(UserWarning, match=re.escape(f"The last row of {index} was incomplete")):
        run = read_run(tmp_path)
    assert run.media == (MediaRecord(3, 1.0, "img", "image", tmp_path / "media/a.png", None, 0.5, 1.5),)
    assert list(run.metrics.columns) == ["step", "epoch"]


def test_media_beside_lightnings_csv_are_read(tmp_path):
    """What TrackPlus writes beside a CSVLogger's numbers is of the same run."""
    logger = CSVLogger(str(tmp_path))
    fit(tmp_path, logger, validation_step=lambda m, b, i: m.log("h", Histogram(b), reduce_fx="last"))
    assert {one.kind for one in read_run(logger.log_dir).media} == {"histogram"}


def test_a_path_that_is_no_run_is_refused(tmp_path):
    """The message says what lies there and what to give."""

    def message(path):
        with pytest.raises(ValueError, match=r".") as caught:
            read_run(path)
        return str(caught.value)

    assert message(tmp_path / "none") == (
        f"{tmp_path}/none does not exist; expected the folder of a run, such as lightning_logs/version_0."
    )
    nothing = f"{tmp_path} is not a run: it has no metrics.csv, media.csv, hparams.yaml or event file."
    assert message(tmp_path) == nothing
    for number in range(7):
        (tmp_path / f"version_{number}").mkdir()
        write(tmp_path / f"version_{number}" / "metrics.csv", "step,epoch\n")
    assert message(tmp_path) == (
        f"{nothing} It contains runs; expected one of them: version_0, version_1, version_2, version_3, version_4, …."
    )
    assert message(f"memory://{tmp_path}/none") == (
        f"memory://{tmp_path}/none does not exist; expected the folder of a run, such as lightning_logs/version_0."
    )
    assert message(write(tmp_path / "metrics.csv", "loss,epoch\n1,2\n")) == (
        f"{tmp_path}/metrics.csv has no column 'step'; expected the metrics.csv of a run."
    )


@pytest.mark.parametrize("protocol", ["memory", "file"])
@pytest.mark.parametrize("writers", [["csv"], ["tensorboard"], ["csv", "tensorboard"]], ids=" ".join)
def test_a_run_at_a_url_is_read_like_a_local_one(protocol, writers, tmp_path):
    """Numbers and media are those that were written there, also when the run has gone on since."""
    logger = TrackPlusLogger(f"{protocol}://{tmp_path}", name="", version="run", writers=writers)
    for count in (1, 2):
        logger.log_metrics({"loss": 0.5**count, "epoch": 0}, step=count)
        logger.log_media("picture", Image(torch.full((3, 2, 2), count / 4), caption=f"{count}"), step=count)
        logger.finalize("success")
        run = read_run(f"{protocol}://{tmp_path}/run")
        assert run.metrics["loss"].tolist() == [0.5, 0.25][:count]
        has_files = "csv" in writers
        assert [(one.step, one.caption) for one in run.media] == [(1, "1"), (2, "2")][: count * has_files]
        assert [PIL.Image.open(one.path).getpixel((0, 0))[0] for one in run.media] == [64, 128][: count * has_files]
    assert main(["verify", f"{protocol}://{tmp_path}/run"]) == (0 if len(writers) == 2 else 2)


def test_a_folder_of_runs_at_a_url_names_them(tmp_path):
    """And nothing is brought to this machine."""
    for version in range(2):
        logger = TrackPlusLogger(f"memory://{tmp_path}/runs", name="", version=version)
        logger.log_metrics({"loss": 0.5}, step=0)
        logger.finalize("success")
    with pytest.raises(ValueError, match=r"It contains runs; expected one of them: version_0, version_1\.$"):
        read_run(f"memory://{tmp_path}/runs")


def test_another_package_for_frames_is_refused(tmp_path):
    """There are two."""
    with pytest.raises(ValueError, match=re.escape('read_run got frames=\'dask\'; expected "pandas" or "polars".')):
        read_run(write(tmp_path / "metrics.csv", "step,epoch\n"), frames="dask")


def run_python(code, *arguments):
    """Run code in a process of its own, and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_importing_it_loads_nothing_that_is_large(tmp_path):
    """Neither torch nor a package for frames nor tensorboard; nor do reading a CSV with pandas and showing it."""
    code = """
import sys
from lightning_trackplus.reading.read_run import read_run
large = {"torch", "lightning", "pandas", "polars", "tensorboard"}
print(sorted(large & sys.modules.keys()))
read_run(sys.argv[1])._repr_html_()
print(sorted(large & sys.modules.keys()))
"""
    run = write(tmp_path / "metrics.csv", "step,epoch,a\n0,0,0.5\n")
    assert run_python(code, str(run)) == ["[]", "['pandas']"]


def test_a_package_that_is_missing_is_named(tmp_path):
    """The message says what to install, or what to write instead."""
    # A finder that finds nothing is how a package is missing for the import system.
    code = """
import importlib.machinery, sys
from lightning_trackplus.reading.read_run import read_run
found = importlib.machinery.PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.split(".")[0] in {"polars", "tensorboard"} else found(name, path, target)
importlib.machinery.PathFinder.find_spec = find_spec
for frames in ("polars", "pandas"):
    try:
        read_run(sys.argv[1], frames=frames)
    except ImportError as error:
        print(error)
"""
    (tmp_path / "events.out.tfevents.1").touch()
    assert run_python(code, str(tmp_path)) == [
        (
            "read_run needs polars for its metrics, and it is not installed: `pip install polars`, or write"
            " frames='pandas'."
        ),
        f"The event files in {tmp_path} need tensorboard, and it is not installed: `pip install tensorboard`.",
    ]


@pytest.mark.parametrize("cells", [["1180591620717411303424", "1.5", ""], ["", "1180591620717411303424", "NaN"]])
@pytest.mark.parametrize("frames", ["pandas", "polars"])
def test_huge_integers_beside_empty_cells_are_float64(cells, frames, tmp_path):
    """A column of numbers is one, whatever a reader makes of its text at first."""
    rows = "".join(f"{step},0,{cell},\n" for step, cell in enumerate(cells))
    metrics = read_run(write(tmp_path / "metrics.csv", "step,epoch,a,b\n" + rows), frames=frames).metrics
    assert str(metrics["a"].dtype).lower() == "float64"
    found = [value if value is not None else float("nan") for value in metrics["a"].to_list()]
    np.testing.assert_array_equal(found, [float(cell or "nan") for cell in cells])


def test_events_are_read_up_to_one_that_is_damaged(tmp_path):
    """Also where its checksum holds, but it is no event."""
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("a", 0.5, 3)
    (events,) = tmp_path.glob("events*")
    records = EventFile(tmp_path / "record")
    records.write(b"\xff\xff\xff")
    records.close()
    events.write_bytes(events.read_bytes() + (tmp_path / "record").read_bytes())
    assert read_run(tmp_path).metrics["a"].to_list() == [0.5]


@pytest.mark.parametrize("frames", ["pandas", "polars"])
def test_a_step_that_no_float_can_hold_is_exact(frames, tmp_path):
    """It is an integer from the file to the frame."""
    run = write(tmp_path / "metrics.csv", f"step,epoch\n{2**53 + 1},0\n")
    metrics = read_run(run, frames=frames).metrics
    assert metrics["step"].to_list() == [2**53 + 1]
    assert values_of(metrics, "epoch") == [0]


@pytest.mark.parametrize("frames", ["pandas", "polars"])
def test_the_empty_name_is_a_name(frames, tmp_path):
    logger = TrackPlusLogger(tmp_path)
    logger.log_metrics({"": 0.5, "loss": 0.25}, step=0)
    logger.finalize("success")
    assert values_of(read_run(logger.log_dir, frames=frames).metrics, "") == [0.5]


@pytest.mark.parametrize("logger_class", [TrackPlusLogger, CSVLogger])
def test_a_run_of_no_epochs_has_no_rows(logger_class, tmp_path):
    """Its folder has the hyper-parameters alone."""
    logger = logger_class(tmp_path, name="runs")
    logger.log_hyperparams({"lr": 0.1})
    quiet_trainer(tmp_path, logger=logger, max_epochs=0).fit(LoggingModule(training_step=training_step), loader(8))
    assert [path.name for path in Path(logger.log_dir).iterdir()] == ["hparams.yaml"]
    run = read_run(logger.log_dir)
    assert (list(run.metrics.columns), len(run.metrics), run.media) == (["step", "epoch"], 0, ())


@pytest.mark.parametrize("frames", ["pandas", "polars"])
def test_steps_and_bytes_that_nobody_expects(frames, tmp_path):
    """Steps are at most what 64 bits hold, bytes that are not UTF-8 cost no row, and what is no step is named."""
    table = tmp_path / "metrics.csv"
    table.write_text(f"step,epoch,a\n{2**70},0,1\n{-(2**70)},0,2\n")
    assert read_run(tmp_path, frames=frames).metrics["step"].to_list() == [2**63 - 1, -(2**63)]
    table.write_bytes(b"step,epoch,a,b\n0,0,\xff,1\n1,0,,2\n")
    assert read_run(tmp_path, frames=frames).metrics["b"].to_list() == [1, 2]
    table.write_bytes(b"step,epoch,a,b\n0,0,1,2\n1,0,3,4,5,6\n2,0,7\n")
    metrics = read_run(tmp_path, frames=frames).metrics
    assert [values_of(metrics, name) for name in ("step", "a", "b")] == [[0, 1, 2], [1, 3, 7], [2, 4, None]]
    for step in ("abc", "inf"):
        table.write_text(f"step,epoch,a\n{step},0,1\n")
        with pytest.raises(ValueError, match=f"The column 'step' of metrics.csv has '{step}'; expected a number"):
            read_run(tmp_path, frames=frames)


def test_runs_are_told_apart(tmp_path):
    """Two readings of a run are two objects: a frame cannot tell whether it equals another."""
    path = write(tmp_path / "metrics.csv", "step,epoch,loss\n0,0,0.5\n")
    one, other = read_run(path), read_run(path)
    assert {one: 1, other: 2}[one] == 1
    assert [other, one].index(one) == 1
