"""trackplus verify: CSV and event files of real runs, and of runs that were changed by hand."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils.tensorboard import SummaryWriter

from lightning_trackplus import Audio, Histogram, Image, Table, Text, TrackPlus, TrackPlusLogger, Video
from lightning_trackplus.cli import main
from lightning_trackplus.formats.event_files import EventFile, event_files, read_events
from lightning_trackplus.reading.verify import Difference, compare, differences
from tests.flavour.pytorch.loggers import CSVLogger, TensorBoardLogger
from tests.support.csv_files import read_metrics
from tests.support.training import LoggingModule, loader, quiet_trainer

NUMBERS = st.floats() | st.integers(-(2**70), 2**70) | st.sampled_from([3.4028235677973366e38, 1e39, -1e300, -0.0])


def training_step(module, batch, index):
    module.log("train/loss", batch[:, 0].mean() / 3 + module.global_step, on_step=True, on_epoch=True)


def validation_step(module, batch, index):
    module.log("val/x", batch[:, 0].mean() / 7, on_step=True, on_epoch=True)


def fit(tmp_path, loggers, **hooks):
    """Train two epochs of three steps, each with a validation of two batches."""
    hooks = {"training_step": training_step, "validation_step": validation_step, **hooks}
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=loggers, max_epochs=2)
    trainer.fit(LoggingModule(**hooks), loader(10), loader(8))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the directory of a run with numbers and media, which nobody changes."""
    root = tmp_path_factory.mktemp("finished")
    logger = TrackPlusLogger(root)

    def log_media(module, batch, index):
        validation_step(module, batch, index)
        module.log("img", Image(torch.rand(2, 3, 4, 4), caption=["a", "b"]))
        module.log("note", Text("hm"))
        module.log("h", Histogram(batch), reduce_fx="first2")

    fit(root, logger, validation_step=log_media)
    return Path(logger.log_dir)


@pytest.fixture
def run(finished, tmp_path):
    """Return the directory of a run with numbers and media, to change by hand."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def change(path, old, new):
    """Replace the only place where something stands in a file."""
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def shown(directory, *others):
    return [str(one) for one in differences(directory, *others)]


def test_a_run_of_ours_has_no_differences(finished):
    """Numbers of training, of evaluation batches and of epochs, and media with captions and several histograms."""
    comparison = compare(finished)
    # Six steps with an epoch each, four batches of validation, and the means of two epochs of both.
    assert comparison.values == 6 + 6 + 4 + 2 + 2
    assert comparison.differences == ()


@pytest.mark.parametrize("options", [{}, {"name": "other"}])
def test_a_run_of_lightnings_pair_has_no_differences(options, tmp_path):
    """Both loggers in one directory, or each in its own."""
    tensorboard = TensorBoardLogger(str(tmp_path), version=0)
    table = CSVLogger(str(tmp_path), version=0, **options)
    fit(tmp_path, [tensorboard, table])
    directories = (
        [tensorboard.log_dir] if tensorboard.log_dir == table.log_dir else [tensorboard.log_dir, table.log_dir]
    )
    assert len(directories) == 1 + bool(options)
    comparison = compare(*directories)
    assert comparison.values == 20
    assert comparison.differences == ()


def test_hyperparameters_metric_that_is_logged_is_compared(tmp_path):
    """Lightning's placeholder -1 in TensorBoard only is no difference; another value is."""
    table, tensorboard = CSVLogger(str(tmp_path), version=0), TensorBoardLogger(str(tmp_path), version=0)
    table.log_metrics({"loss": 1.0}, step=0)
    table.save()
    tensorboard.log_metrics({"loss": 1.0}, step=0)
    for value, expected in ((-1.0, []), (0.5, ["hp_metric: 1 value in TensorBoard only"])):
        tensorboard.log_hyperparams({"width": 3}, {"hp_metric": value})
        tensorboard.save()
        assert shown(table.log_dir) == expected


@settings(max_examples=30)
@example([3.4028235677973366e38, -1e300, 10**30])
@given(st.lists(NUMBERS, min_size=1, max_size=6))
def test_no_number_is_a_difference_of_its_precision(tmp_path_factory, numbers):
    """NaN is NaN, and what is beyond float32 is infinite in TensorBoard."""
    logger = TrackPlusLogger(tmp_path_factory.mktemp("runs"))
    for step, number in enumerate(numbers):
        logger.log_metrics({"x": number}, step=step)
    logger.finalize("success")
    comparison = compare(logger.log_dir)
    assert comparison.values == len(numbers)
    assert comparison.differences == ()


def rewrite_events(directory, edit):
    """Write the event file of a run anew, with what a function makes of each event; None leaves it out."""
    (path,) = event_files(directory)
    events = [edit(event) for event in read_events(path)]
    path.unlink()
    file = EventFile(path)
    for event in events:
        if event is not None:
            file.write(event.SerializeToString())
    file.close()


def test_a_value_that_was_changed_is_shown_with_both(run):
    """The smallest change that float32 can hold is one, and a smaller one is none."""
    metrics = read_metrics(run)
    number = float(metrics["train/loss_step"][metrics["step"] == 4].dropna().iloc[0])
    above = float(np.nextafter(np.float32(number), np.float32(np.inf)))
    change(run / "metrics.csv", f",{number!r}\n", f",{number * (1 + 1e-12)!r}\n")
    assert shown(run) == []
    change(run / "metrics.csv", f",{number * (1 + 1e-12)!r}\n", f",{above!r}\n")
    assert differences(run) == [
        Difference("train/loss_step", 4, f"{above!r} in the CSV, {np.float32(number)!s} in TensorBoard")
    ]


def test_a_row_that_was_lost_is_shown(run):
    """Each number of it stands in TensorBoard only, its epoch too."""
    path = run / "metrics.csv"
    lines = path.read_text().splitlines(keepends=True)
    (line,) = (line for line in lines if line.startswith("4,"))
    lines.remove(line)
    path.write_text("".join(lines))
    loss = np.float32(line.split(",")[lines[0].rstrip().split(",").index("train/loss_step")])
    assert shown(run) == [
        "epoch at 4: 1.0 in TensorBoard only",
        f"train/loss_step at 4: {loss!s} in TensorBoard only",
    ]


def test_an_event_that_was_lost_is_shown(run):
    """Its numbers stand in the CSV only."""
    rewrite_events(run, lambda event: None if event.step == 4 else event)
    (found,) = differences(run)
    assert (found.name, found.step) == ("train/loss_step", 4)
    assert re.fullmatch(r"[\d.]+ in the CSV only", found.what)


def test_a_value_of_an_event_that_was_changed_is_shown(run):
    """The epoch is compared where there is one in both."""

    def edit(event):
        for value in event.summary.value:
            if value.tag == "epoch" and event.step == 4:
                value.simple_value = 7.0
        return event

    rewrite_events(run, edit)
    assert shown(run) == ["epoch at 4: 1.0 in the CSV, 7.0 in TensorBoard"]


def test_a_name_that_is_in_one_alone_is_one_difference(run):
    """However many values it has."""
    change(run / "metrics.csv", "train/loss_epoch", "train/other")
    assert shown(run) == ["train/other: 2 values in the CSV only", "train/loss_epoch: 2 values in TensorBoard only"]


def test_a_cell_that_is_no_number_is_shown(run):
    """It does not keep the others from being compared."""
    change(run / "metrics.csv", "\n4,1,", "\n4,1,oops")
    before = read_metrics(run)["train/loss_step"]
    (cell,) = (cell for cell in before if str(cell).startswith("oops"))
    assert shown(run) == [f"train/loss_step at 4: {cell!r} in the CSV, which is not a number"]


def test_the_end_that_a_killed_process_left_is_shown(run):
    """What the torn row had stands in TensorBoard only; a torn record costs the values in it."""
    path = run / "metrics.csv"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.warns(UserWarning, match=re.escape(f"The last row of {path} was incomplete")):
        found = differences(run)
    assert {one.step for one in found} == {5}
    assert {one.name for one in found} == {"epoch", "train/loss_step", "train/loss_epoch", "val/x_epoch"}
    (events,) = event_files(run)
    events.write_bytes(events.read_bytes()[:-3])
    with pytest.warns(UserWarning, match="was incomplete"):
        assert {one.name for one in differences(run)} < {one.name for one in found}


def test_of_several_values_at_a_step_each_counts(tmp_path):
    """In their order, over all event files; one that is missing is shown, and so is another order."""
    for value in (1.0, 2.0):
        with SummaryWriter(str(tmp_path / "new")) as writer:
            writer.add_scalar("x", value, 3)
        # They are read in the order of their names, in which SummaryWriter's own count puts 10 before 9.
        (events,) = event_files(tmp_path / "new")
        events.rename(tmp_path / f"events.out.tfevents.{value}")
    metrics = tmp_path / "metrics.csv"
    metrics.write_text("step,epoch,x\n3,0,1.0\n3,0,2.0\n")
    assert shown(tmp_path) == []
    metrics.write_text("step,epoch,x\n3,0,2.0\n3,0,1.0\n")
    assert shown(tmp_path) == ["x at 3: from here on, TensorBoard has the values in another order than the CSV"]
    metrics.write_text("step,epoch,x\n3,0,2.0\n")
    assert shown(tmp_path) == ["x at 3: 1.0 in TensorBoard only"]


def write_by_hand(directory, axes, rows, *events):
    """Write a run of one name x: its axes, its rows and its events."""
    (directory / "x_axis.json").write_text(json.dumps(axes))
    (directory / "metrics.csv").write_text(rows)
    with SummaryWriter(str(directory)) as writer:
        for tag, step, value in events:
            writer.add_scalar(tag, value, step)


@pytest.mark.parametrize(
    ("axis", "rows", "steps"),
    [
        ("epoch", "step,epoch,x\n4,0,1.0\n9,1,2.0\n", [0, 1]),
        ("epoch", "step,epoch,x\n4,0.5,1.0\n9,1.5,2.0\n", [0, 2]),
        ("epoch", "step,epoch,x\n4,,1.0\n9,1,2.0\n", [4, 1]),
        ("epoch", "step,epoch,x\n4,0,1.0\n5,0,2.0\n", [0, 0]),
        ("n", "step,epoch,x,n\n4,0,1.0,\n9,1,2.0,31.6\n", [4, 32]),
        ("n", "step,epoch,x,n\n4,0,,30\n5,0,1.0,\n9,1,2.0,\n", [30, 30]),
        ("n", "step,epoch,x,n\n4,0,1.0,30\n9,1,2.0,60\n", [30, 60]),
        ("n", "step,epoch,x,n\n4,0,1.0,30\n9,1,2.0,60\n", [4, 30]),
        ("n", "step,epoch,x,n\n4,0,1.0,NaN\n9,1,2.0,1e30\n", [4, 9]),
        ("none", "step,epoch,x\n4,0,1.0\n9,1,2.0\n", [4, 9]),
    ],
)
def test_a_name_stands_where_its_axis_says(axis, rows, steps, tmp_path):
    """Over the epoch, over a scalar as it was last known; without a value of it, over the global step."""
    numbers = {"30": 4, "60": 9, "31.6": 9, "NaN": 4, "1e30": 9}
    others = [("n", numbers[cell], float(cell)) for cell in re.findall(r",([^,\n]+)(?=\n)", rows) if cell in numbers]
    write_by_hand(
        tmp_path,
        {"x": axis},
        rows,
        *(("x", step, value) for step, value in zip(steps, [1.0, 2.0], strict=True)),
        *others,
    )
    assert shown(tmp_path) == []


def test_an_event_at_the_wrong_place_of_its_axis_is_shown(tmp_path):
    """So is a value that was changed, among several of an epoch."""
    rows = "step,epoch,x\n4,0,1.0\n5,0,2.0\n9,1,3.0\n"
    write_by_hand(tmp_path, {"x": "epoch"}, rows, ("x", 0, 1.5), ("x", 0, 2.0), ("x", 2, 3.0))
    assert shown(tmp_path) == [
        "x at 0: 1.0 in the CSV, 1.5 in TensorBoard",
        "x at 1: 3.0 in the CSV only",
        "x at 2: 3.0 in TensorBoard only",
    ]


def test_a_metric_called_step_is_compared_with_its_column(tmp_path):
    """It stands in the column "step (logged)"."""
    (tmp_path / "metrics.csv").write_text("step,epoch,step (logged)\n3,0,0.5\n")
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("step", 0.5, 3)
    assert shown(tmp_path) == []


def test_runs_below_are_left_alone(run):
    """``add_scalars`` and the like write these to TensorBoard alone."""
    with SummaryWriter(str(run / "best")) as writer:
        writer.add_scalar("val/x_epoch", 9.0, 0)
    assert shown(run) == []


def test_media_that_are_missing_are_shown(run):
    """A file that was removed, by its name and step; a name that one of both has not, once."""
    file = run / "media" / "note" / "0000000002-001.md"
    file.unlink()
    assert shown(run) == ["note at 2: media/note/0000000002-001.md is missing"]
    file.touch()

    text = (run / "media.csv").read_text()
    (run / "media.csv").write_text(text.replace(",note,text,", ",other,text,").replace(",img,", ",picture,"))
    assert shown(run) == [
        "picture: media in media.csv only",
        "other: media in media.csv only",
        "img: media in TensorBoard only",
        "note: media in TensorBoard only",
    ]


def test_media_beside_lightnings_pair_are_compared(tmp_path):
    """TrackPlus gives them to both loggers."""
    loggers = [TensorBoardLogger(str(tmp_path), version=0), CSVLogger(str(tmp_path), version=0)]
    fit(tmp_path, loggers, validation_step=lambda m, b, i: m.log("img", Image(torch.rand(2, 3, 4, 4))))
    assert shown(loggers[0].log_dir) == []
    (Path(loggers[0].log_dir) / "media.csv").write_text("step,epoch,name,kind,file,caption,score,wall_time\n")
    assert shown(loggers[0].log_dir) == ["img: media in TensorBoard only"]


def test_what_went_to_tensorboard_alone_is_one_difference_a_name(tmp_path):
    """``logger.experiment`` writes no CSV, and the message says where it is."""
    logger = TrackPlusLogger(tmp_path)
    logger.log_metrics({"x": 1.0}, step=0)
    logger.log_media("note", Text("hm"), step=0)
    for step in range(3):
        logger.experiment.add_scalar("mine", 0.5, step)
        logger.experiment.add_histogram("weights", np.arange(3), step)
    logger.finalize("success")
    assert shown(logger.log_dir) == ["mine: 3 values in TensorBoard only", "weights: media in TensorBoard only"]


def command(*arguments):
    """Run ``trackplus`` in a process of its own; return its exit status, what it printed, and its errors."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    line = [sys.executable, "-m", "lightning_trackplus.cli", *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, encoding="utf-8", timeout=120, env=environment)
    return done.returncode, done.stdout, done.stderr


def test_the_command_says_that_there_are_no_differences(finished):
    """One line, and 0."""
    assert command("verify", finished) == (0, "20 values in both, no differences\n", "")


def test_the_command_lists_differences(run, capsys):
    """At most twenty of them, all with ``--all``, and 1."""
    change(run / "metrics.csv", "train/loss_epoch", "train/other")
    assert main(["verify", str(run)]) == 1
    assert capsys.readouterr().out == (
        "18 values in both, 2 differences\n"
        "  train/other: 2 values in the CSV only\n"
        "  train/loss_epoch: 2 values in TensorBoard only\n"
    )
    with SummaryWriter(str(run)) as writer:
        for number in range(1003):
            writer.add_scalar(f"n{number:04}", 0.5, 0)
    assert main(["verify", str(run)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "18 values in both, 1,005 differences"
    assert lines[20:] == ["  n0017: 1 value in TensorBoard only", "  … and 985 more; --all lists them"]
    assert main(["verify", "--all", str(run)]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 1006


def test_the_command_takes_two_directories(tmp_path, capsys):
    """That of the event files, and that of the CSV."""
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "metrics.csv").write_text("x,step\r\n0.5,1\r\n")
    with SummaryWriter(str(tmp_path / "events")) as writer:
        writer.add_scalar("x", 0.5, 1)
    assert main(["verify", str(tmp_path / "events"), str(tmp_path / "csv")]) == 0
    assert capsys.readouterr() == ("1 value in both, no differences\n", "")


def test_the_command_says_why_there_is_nothing_to_compare(tmp_path):
    """And 2, as for arguments that are wrong."""
    (tmp_path / "metrics.csv").write_text("step,epoch,x\n1,0,0.5\n")
    (tmp_path / "empty").mkdir()
    with SummaryWriter(str(tmp_path / "events")) as writer:
        writer.add_scalar("x", 0.5, 1)
    for arguments, message in (
        (
            [tmp_path],
            f"{tmp_path} has no event files to compare. If they are in another directory than metrics.csv, name"
            " that directory first and this one second.",
        ),
        (
            [tmp_path / "events"],
            f"{tmp_path}/events has no metrics.csv to compare. If it is in another directory than the event files,"
            " name that directory second.",
        ),
        (
            [tmp_path / "empty"],
            f"{tmp_path}/empty is not a run: it has no metrics.csv, media.csv, hparams.yaml or event file.",
        ),
    ):
        assert command("verify", *arguments) == (2, "", f"trackplus verify: {message}\n")
    for arguments in (["verify"], ["check", tmp_path], ["verify", tmp_path, tmp_path, tmp_path]):
        status, printed, errors = command(*arguments)
        assert (status, printed) == (2, "")
        assert errors.startswith("usage: trackplus ")


def test_the_command_warns_in_one_line(run, capsys):
    """Of a row that was cut short, on the error stream."""
    with (run / "metrics.csv").open("a") as file:
        file.write("6,2")
    assert main(["verify", str(run)]) == 0
    assert capsys.readouterr() == (
        "20 values in both, no differences\n",
        f"trackplus verify: The last row of {run}/metrics.csv was incomplete, as after a process is killed while it"
        " writes; it is skipped.\n",
    )


def test_names_that_would_break_a_line_are_quoted():
    """So that a difference is one line."""
    assert str(Difference("two\nlines", None, "1 value in the CSV only")) == "'two\\nlines': 1 value in the CSV only"


def test_media_are_compared_by_step_and_count(run):
    """Of each name at each step, as many items have to stand in both."""
    path = run / "media.csv"
    lines = path.read_text().splitlines(keepends=True)
    rows = [line.split(",") for line in lines]
    images = [number for number, row in enumerate(rows) if row[2] == "img"]
    histograms = [number for number, row in enumerate(rows) if row[2] == "h"]
    step, other = rows[images[0]][0], rows[histograms[0]][0]
    count = sum(rows[number][0] == step for number in images)
    assert shown(run) == []

    path.write_text("".join(line for number, line in enumerate(lines) if number not in (images[0], histograms[0])))
    assert shown(run) == [
        f"img at {step}: {count - 1} items in media.csv, {count} in TensorBoard",
        f"h at {other}: 1 item in media.csv, 2 in TensorBoard",
    ]
    moved = [
        line.replace(f"{step},", "77,", 1) if rows[number][:3:2] == [step, "img"] else line
        for number, line in enumerate(lines)
    ]
    path.write_text("".join(moved))
    assert shown(run) == [
        f"img at {step}: {count} items in TensorBoard only",
        f"img at 77: {count} items in media.csv only",
    ]


def test_media_of_every_kind_have_as_many_items_in_both(tmp_path):
    """Also those that TensorBoard has no place for, several of a name at one step, and names that look like others."""
    logger = TrackPlusLogger(tmp_path)
    for step in range(2):
        for count in (1, 3):
            logger.log_media("img", Image(torch.rand(count, 3, 4, 4), caption="cat"), step)
            logger.log_media("sound", Audio(torch.rand(count, 800), 8000), step)
            logger.log_media("clip", Video(torch.rand(count, 2, 3, 4, 4), fps=4), step)
            logger.log_media("film", Video([io.BytesIO(b"OggS")] * count), step)
            logger.log_media("h", Histogram(torch.rand(5)), step)
            logger.log_media("text", Text(["hm"] * count), step)
            logger.log_media("table", Table([[1]] * count, columns=["a"]), step)
        logger.log_media("h/1", Text("hm"), step)
        logger.log_media("img/captions", Text("hm"), step)
    logger.finalize("success")
    assert shown(logger.log_dir) == []


def test_an_axis_that_was_logged_more_than_once_at_a_step_is_no_difference(tmp_path):
    """A row does not say whether a name was logged before its axis or behind; it may stand at either value."""
    logger = TrackPlusLogger(tmp_path, x_axis={"v": "x"})
    for step in range(1, 6):
        for value in (0, 20, 50):
            logger.log_metrics({"x": 100.0 * step + value, "epoch": 0}, step)
            if value == 20:
                logger.log_metrics({"v": step / 7, "epoch": 0}, step)
    logger.finalize("success")
    comparison = compare(logger.log_dir)
    # Three values of the axis at each step, one of the name, and an epoch.
    assert comparison.values == 5 * (3 + 1 + 1)
    assert comparison.differences == ()


@pytest.mark.parametrize(("step", "found"), [(29, False), (30, True), (45, True), (60, True), (61, False)])
def test_a_place_outside_of_the_axis_values_is_shown(step, found, tmp_path):
    """Those of the row and of the row before it are still within."""
    write_by_hand(
        tmp_path,
        {"x": "n"},
        "step,epoch,x,n\n4,0,,30\n9,1,2.0,60\n",
        ("x", step, 2.0),
        ("n", 4, 30.0),
        ("n", 9, 60.0),
    )
    both = sorted([(step, "TensorBoard"), (60, "the CSV")])
    assert shown(tmp_path) == ([] if found else [f"x at {place}: 2.0 in {where} only" for place, where in both])
