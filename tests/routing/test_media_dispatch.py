"""How MediaDispatch gives media to the loggers of a Trainer: to whom, how often, and what happens where one fails."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import numpy as np
import pandas
import pytest
import pytorch_lightning
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_trackplus import Image, Text, TrackPlus, TrackPlusLogger
from lightning_trackplus.routing.media_dispatch import MediaDispatch
from tests.flavour.pytorch.loggers import CSVLogger, TensorBoardLogger
from tests.flavour.pytorch.loggers.logger import DummyLogger
from tests.flavour.pytorch.utilities.rank_zero import rank_zero_only
from tests.support.csv_files import read_metrics
from tests.support.loggers import NO_DATA, Silent, events, media_of, no_warnings, picture, pixels_of, trainer_with
from tests.support.training import LoggingModule, loader, quiet_trainer

PATIENCE = 60.0
"""Seconds after which a wait is given up."""


def slow_tensorboard(goes_on):
    """Return a kind of TensorBoardLogger that writes no medium before an event has come."""

    class Slow(TensorBoardLogger):
        @property
        def experiment(self):
            if threading.current_thread() is not threading.main_thread() and not goes_on.wait(PATIENCE):
                goes_on.set()
                raise TimeoutError("no event has come")
            return super().experiment

    return Slow


def test_a_logger_that_cannot_take_media_leaves_them_in_the_run_directory(tmp_path):
    """Without another logger that keeps files, they lie where Lightning keeps the checkpoints of this logger."""
    trainer = trainer_with(tmp_path, Silent())
    loggers = MediaDispatch(trainer)
    folder = tmp_path / "root" / "silent" / "mine"
    message = f"Silent cannot take media, so they are kept as files in {folder}."
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}$"):
        loggers.deliver("val/shade", picture(30), 7)
    with no_warnings():
        loggers.deliver("val/shade", picture(40), 8)
        loggers.close()
        loggers.deliver("val/shade", picture(50), 9)
        loggers.close()
    assert list(media_of(folder)["shade"]) == [30, 40, 50]
    assert list(media_of(folder)["step"]) == [7, 8, 9]


def test_the_run_directory_is_that_of_the_first_logger(tmp_path):
    """As with checkpoints, the first logger says where the run lies, and each logger without media is named."""

    class Other(Silent):
        pass

    first = TensorBoardLogger(tmp_path / "tensorboard")
    loggers = MediaDispatch(trainer_with(tmp_path, first, Silent(), Other()))
    with pytest.warns(UserWarning, match="cannot take media") as caught:
        loggers.deliver("shade", picture(30), 7)
    loggers.close()
    ends = f"cannot take media, so they are kept as files in {first.log_dir}."
    assert [str(one.message) for one in caught] == [f"Silent {ends}", f"Other {ends}"]
    assert list(media_of(first.log_dir)["shade"]) == [30]


@pytest.mark.parametrize(("version", "folder"), [(3, "silent/version_3"), ("mine", "silent/mine"), (None, "silent")])
def test_the_run_directory_has_name_and_version(tmp_path, version, folder):
    """A number is written as Lightning writes it; what a logger has not is left out."""
    logger = Silent()
    logger.version = version
    loggers = MediaDispatch(trainer_with(tmp_path, logger))
    with pytest.warns(UserWarning, match=re.escape(f"{folder}.")):
        loggers.deliver("shade", picture(30), 7)
    loggers.close()
    assert len(media_of(tmp_path / "root" / folder)) == 1


def test_a_directory_that_is_not_on_this_machine_is_not_written_to(tmp_path):
    """A CSVLogger with a URL keeps its numbers there; media are files on this machine, and a warning says where."""
    logger = CSVLogger("memory://runs")
    loggers = MediaDispatch(trainer_with(tmp_path, logger))
    message = (
        f"CSVLogger cannot take media (ValueError: {logger.log_dir} is not a local directory), so they are kept as"
        f" files in {tmp_path / 'root'}."
    )
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}$"):
        loggers.deliver("shade", picture(30), 7)
    loggers.close()
    assert list(media_of(tmp_path / "root")["shade"]) == [30]


def test_a_logger_that_fails_loses_no_medium_and_ends_no_training(tmp_path):
    """What a logger raises where it is first used is said in the warning, and its media are files."""

    class Broken(TensorBoardLogger):
        @property
        def experiment(self):
            raise OSError("the disk is gone")

    logger = Broken(tmp_path)
    loggers = MediaDispatch(trainer_with(tmp_path, logger))
    with pytest.warns(UserWarning, match=re.escape("Broken cannot take media (OSError: the disk is gone), so they")):
        loggers.deliver("shade", picture(30), 7)
    loggers.close()
    assert list(media_of(logger.log_dir)["shade"]) == [30]


def test_a_logger_that_cannot_say_where_it_writes_ends_no_training(tmp_path):
    """What its properties raise is said in a warning."""

    class Lost(Silent):
        @property
        def save_dir(self):
            raise OSError("the disk is gone")

    loggers = MediaDispatch(trainer_with(tmp_path, Lost()))
    message = "Giving 'shade' to the loggers failed, training continues. OSError: the disk is gone"
    with pytest.warns(UserWarning, match=re.escape(message)):
        loggers.deliver("shade", picture(30), 7)
    loggers.close()


def test_what_a_writer_raises_is_a_warning(tmp_path):
    """A logger that fails later than at first costs a warning; the other loggers get the medium."""
    tensorboard, csv = TensorBoardLogger(tmp_path / "tensorboard"), CSVLogger(tmp_path / "csv")
    loggers = MediaDispatch(trainer_with(tmp_path, tensorboard, csv))
    loggers.deliver("shade", picture(30), 7)
    loggers.close()
    Path(csv.log_dir, "media.csv").unlink()
    Path(csv.log_dir, "media.csv").mkdir()
    with pytest.warns(UserWarning, match="^MediaFilesWriter failed, training continues. IsADirectoryError"):
        loggers.deliver("shade", picture(40), 8)
        loggers.close()
    assert [event.step for event in events(tensorboard.log_dir).Tensors("shade")] == [7, 8]


def test_a_slow_logger_does_not_hold_up_the_others(tmp_path):
    """While the first logger waits, the next has the medium on disk."""
    goes_on = threading.Event()

    slow, csv = slow_tensorboard(goes_on)(tmp_path / "slow"), CSVLogger(tmp_path / "csv")
    loggers = MediaDispatch(trainer_with(tmp_path, slow, csv))
    loggers.deliver("shade", picture(30), 7)
    index, deadline = Path(csv.log_dir, "media.csv"), time.monotonic() + PATIENCE
    while not (index.is_file() and index.read_text().count("\n") == 2) and time.monotonic() < deadline:
        time.sleep(0.01)
    arrived_meanwhile = index.is_file()
    goes_on.set()
    loggers.close()
    assert arrived_meanwhile
    assert time.monotonic() < deadline
    assert [event.step for event in events(slow.log_dir).Tensors("shade")] == [7]


def test_a_medium_is_copied_and_encoded_once_for_all_loggers(tmp_path):
    """Three loggers cost one copy and one encoding, and later changes to a tensor reach none of them."""

    class Counted(Image):
        copied, encoded = [], []

        def snapshot(self):
            self.copied.append(self)
            return super().snapshot()

        def encode(self, name):
            self.encoded.append(name)
            return super().encode(name)

    ours, csv = TrackPlusLogger(tmp_path / "ours"), CSVLogger(tmp_path / "csv")
    tensorboard = TensorBoardLogger(tmp_path / "tensorboard")
    loggers = MediaDispatch(trainer_with(tmp_path, ours, tensorboard, csv))
    pixels = torch.full((1, 4, 4), 60, dtype=torch.uint8)
    loggers.deliver("shade", Counted(pixels), 7)
    pixels.zero_()
    loggers.close()
    ours.finalize("success")
    assert (len(Counted.copied), Counted.encoded) == (1, ["shade"])
    assert [list(media_of(logger.log_dir)["shade"]) for logger in (ours, csv)] == [[60], [60]]
    (event,) = events(tensorboard.log_dir).Tensors("shade")
    assert pixels_of(event.tensor_proto.string_val[2]).max() == 60


def test_a_medium_that_cannot_be_encoded_is_a_warning(tmp_path):
    """The error is said for each logger that misses the medium, and the next medium is written."""

    class Failing(Text):
        def encode(self, name):
            raise RuntimeError("no ink")

    ours, csv = TrackPlusLogger(tmp_path / "ours"), CSVLogger(tmp_path / "csv")
    loggers = MediaDispatch(trainer_with(tmp_path, ours, csv))
    with pytest.warns(UserWarning, match=r"^Encoding 'report' failed, training continues. RuntimeError: no ink$"):
        loggers.deliver("report", Failing("one"), 7)
        loggers.deliver("report", Text("two"), 8)
        loggers.close()
        ours.finalize("success")
    for logger in (ours, csv):
        assert list(pandas.read_csv(Path(logger.log_dir, "media.csv"))["step"]) == [8]


def test_the_directory_that_two_loggers_share_has_each_file_once(tmp_path):
    """A CSVLogger whose directory is that of a TrackPlusLogger, or of another CSVLogger, adds no second copy."""
    ours = TrackPlusLogger(tmp_path, "runs", "one")
    pair = [CSVLogger(tmp_path, "pair", "two") for _ in range(2)]
    loggers = MediaDispatch(trainer_with(tmp_path, ours, CSVLogger(tmp_path, "runs", "one"), *pair))
    loggers.deliver("shade", picture(30), 7)
    loggers.close()
    ours.finalize("success")
    assert len(media_of(tmp_path / "runs/one")) == len(media_of(tmp_path / "pair/two")) == 1


def test_a_lone_logger_without_media_beside_one_that_writes_no_files(tmp_path):
    """A TrackPlusLogger that writes events alone keeps no files, so that they are written."""
    ours = TrackPlusLogger(tmp_path, writers=["tensorboard"])
    loggers = MediaDispatch(trainer_with(tmp_path, ours, Silent()))
    with pytest.warns(
        UserWarning, match=re.escape(f"Silent cannot take media, so they are kept as files in {ours.log_dir}.")
    ):
        loggers.deliver("shade", picture(30), 7)
    loggers.close()
    ours.finalize("success")
    assert list(media_of(ours.log_dir)["shade"]) == [30]


def test_subclasses_and_the_other_package_of_lightning_are_known(tmp_path):
    """A subclass is taken for what it is, and so are the classes of pytorch_lightning."""

    class Mine(CSVLogger):
        pass

    theirs = [pytorch_lightning.loggers.CSVLogger(tmp_path / "a"), Mine(tmp_path / "b")]
    tensorboard = pytorch_lightning.loggers.TensorBoardLogger(tmp_path / "c")
    trainer = trainer_with(tmp_path)
    trainer.loggers = [*theirs, tensorboard]
    loggers = MediaDispatch(trainer)
    with no_warnings():
        loggers.deliver("shade", picture(30), 7)
        loggers.close()
    assert [list(media_of(logger.log_dir)["shade"]) for logger in theirs] == [[30], [30]]
    assert [event.step for event in events(tensorboard.log_dir).Tensors("shade")] == [7]


def test_a_further_run_with_the_same_loggers_goes_on(tmp_path):
    """After Lightning has finalized its loggers, what the next run logs is written too."""
    tensorboard, csv = TensorBoardLogger(tmp_path / "tensorboard"), CSVLogger(tmp_path / "csv")
    trainer = quiet_trainer(tmp_path, logger=[tensorboard, csv], callbacks=[TrackPlus()])
    module = LoggingModule(
        on_train_epoch_end=lambda m, b, i: m.log("shade", picture(30)),
        test_step=lambda m, b, i: m.log("test/shade", picture(40)),
    )
    trainer.fit(module, loader())
    trainer.test(module, loader(4), verbose=False)
    assert list(media_of(csv.log_dir)["shade"]) == [30, 40]
    found = EventAccumulator(tensorboard.log_dir, NO_DATA).Reload()
    assert [event.step for tag in ("shade", "test/shade") for event in found.Tensors(tag)] == [2, 3]


def test_after_an_error_in_training_the_media_are_there(tmp_path):
    """What was logged before a step failed is written."""

    def step(module, batch, index):
        module.log("shade", picture(10 * index))
        if index == 2:
            raise ArithmeticError("of the test")

    csv = CSVLogger(tmp_path)
    with pytest.raises(ArithmeticError, match=r"^of the test$"):
        quiet_trainer(tmp_path, logger=csv, callbacks=[TrackPlus()]).fit(LoggingModule(training_step=step), loader())
    assert list(media_of(csv.log_dir)["shade"]) == [0, 10, 20]


def test_the_step_is_lightnings_unless_one_is_given(tmp_path):
    """A medium without a step has that of the numbers of now; a given one is taken, and has to be whole."""
    csv = CSVLogger(tmp_path)
    trainer = trainer_with(tmp_path, csv)
    loggers = MediaDispatch(trainer)
    loggers.deliver("shade", picture(30))
    loggers.deliver("shade", picture(40), np.int64(9))
    with pytest.raises(TypeError):
        loggers.deliver("shade", picture(40), 1.5)
    loggers.close()
    assert list(media_of(csv.log_dir)["step"]) == [0, 9]


def test_media_have_the_prefix_that_numbers_have(tmp_path):
    """A logger with a prefix puts it before the names of media too."""
    csv, tensorboard = CSVLogger(tmp_path / "csv", prefix="mine"), TensorBoardLogger(tmp_path / "tb", prefix="mine")
    loggers = MediaDispatch(trainer_with(tmp_path, csv, tensorboard))
    loggers.deliver("shade", picture(30), 7)
    loggers.close()
    for logger in (csv, tensorboard):
        logger.log_metrics({"loss": 0.5}, 7)
        logger.finalize("success")
    assert list(media_of(csv.log_dir)["name"]) == ["mine-shade"]
    assert "mine-loss" in read_metrics(csv.log_dir)
    found = events(tensorboard.log_dir).Tags()
    assert set(found["scalars"]) == {"mine-loss"}
    assert set(found["tensors"]) >= {"mine-shade", "mine-shade/captions"}


def test_only_rank_zero_writes(tmp_path):
    """Another process gives its media to no logger, and opens none."""
    csv, tensorboard = CSVLogger(tmp_path), TensorBoardLogger(tmp_path)
    loggers = MediaDispatch(trainer_with(tmp_path, csv, tensorboard, Silent()))
    with pytest.MonkeyPatch.context() as patch, no_warnings():
        patch.setattr(rank_zero_only, "rank", 1)
        loggers.deliver("shade", picture(30), 7)
    loggers.close()
    assert not Path(csv.log_dir).exists()
    assert not Path(tensorboard.log_dir).exists()


@pytest.mark.parametrize(
    "options", [{"fast_dev_run": True}, {"fast_dev_run": True, "logger": True}, {"logger": [DummyLogger()]}]
)
def test_loggers_that_are_off_get_nothing_and_nothing_is_said(tmp_path, options):
    """A fast development run, and a search that has put a DummyLogger in their place, write no media."""
    loggers = MediaDispatch(quiet_trainer(tmp_path, **options))
    with no_warnings():
        loggers.deliver("shade", picture(30), 7)
        loggers.close()
    assert [path.name for path in tmp_path.iterdir()] == ["cwd"]


def test_a_logger_that_comes_to_media_first_has_its_numbers_as_before(tmp_path):
    """CSVLogger does not take the files of media for those of another run, and TensorBoardLogger has one event file."""
    csv, tensorboard = CSVLogger(tmp_path / "csv"), TensorBoardLogger(tmp_path / "tensorboard")
    loggers = MediaDispatch(trainer_with(tmp_path, csv, tensorboard))
    loggers.deliver("shade", picture(30), 7)
    assert len(list(Path(tensorboard.log_dir).glob("events.*"))) == 1
    loggers.close()
    with no_warnings():
        for logger in (csv, tensorboard):
            logger.log_metrics({"loss": 0.5}, 7)
            logger.finalize("success")
    assert list(read_metrics(csv.log_dir)["loss"]) == [0.5]
    assert [event.value for event in events(tensorboard.log_dir).Scalars("loss")] == [0.5]


def test_a_flood_does_what_our_logger_was_told(tmp_path):
    """Beside a logger of ours that drops media, training waits for no other logger, and what is dropped is counted."""
    goes_on = threading.Event()
    slow = slow_tensorboard(goes_on)(tmp_path / "slow")
    ours = TrackPlusLogger(tmp_path / "ours", media_overflow="drop", max_queue_bytes=3000)
    loggers = MediaDispatch(trainer_with(tmp_path, ours, slow))
    with pytest.warns(UserWarning, match=r"^Media were dropped \d+ times in this run") as caught:
        for step in range(50):
            loggers.deliver("noise", Image(torch.rand(1, 16, 16)), step)
        goes_on.set()
        loggers.close()
        ours.finalize("success")
    written = [event.step for event in events(slow.log_dir).Tensors("noise")]
    dropped = [
        int(re.search(r"dropped (\d+) times in this run", str(one.message))[1])
        for one in caught
        if "in this run" in str(one.message)
    ]
    assert 0 < len(written) < 50
    assert 50 - len(written) in dropped


def test_a_trainer_without_loggers_says_so_once(tmp_path):
    """Where there is no logger at all, one warning says that media are not written and what would write them."""
    loggers = MediaDispatch(quiet_trainer(tmp_path))
    message = (
        "self.log('shade', <Image: 1 item>): no logger of this Trainer takes media, so they are not written."
        " Give it one that does: Trainer(logger=TrackPlusLogger())."
    )
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}$"):
        loggers.deliver("shade", picture(30), 7)
    with no_warnings():
        loggers.deliver("shade", picture(30), 8)
