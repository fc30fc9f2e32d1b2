"""TrackPlusLogger: the behaviour of a TensorBoardLogger and its additions."""

from __future__ import annotations

import copy
import gc
import logging
import pickle
import re
import threading
import warnings
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from lightning_trackplus import Image, Text, TrackPlus, TrackPlusLogger
from tests.flavour import PYTORCH
from tests.flavour.pytorch.callbacks import ModelCheckpoint
from tests.flavour.pytorch.loggers import TensorBoardLogger
from tests.flavour.pytorch.tuner import Tuner
from tests.support.csv_files import read_metrics
from tests.support.training import LoggingModule, loader, quiet_trainer


def events(directory: str) -> EventAccumulator:
    """Return the content of a run directory according to TensorBoard's own reader."""
    return EventAccumulator(directory, size_guidance={"scalars": 0, "tensors": 0}).Reload()


def scalars(directory: str) -> dict[str, list[tuple[int, float]]]:
    """Return the scalars of the event files, by tag, as (step, value)."""
    found = events(directory)
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def files(root: Path) -> set[str]:
    """Return the files below a folder, with the event files' host and time removed."""
    return {
        re.sub(r"tfevents\..*", "tfevents", path.relative_to(root).as_posix())
        for path in root.rglob("*")
        if path.is_file()
    }


def train_and_validate(module, batch, index):
    module.log("loss", batch.sum() + index)


def test_one_run_directory_holds_everything(tmp_path):
    """Events, CSV, media, hyper-parameters and checkpoints of a run are in one folder."""

    class WithHyperparameters(LoggingModule):
        def __init__(self, width=3):
            super().__init__(validation_step=lambda m, b, i: m.log("img", Image(torch.rand(2, 3, 4, 4))))
            self.save_hyperparameters()

    logger = TrackPlusLogger()
    trainer = quiet_trainer(
        tmp_path, callbacks=[TrackPlus(), ModelCheckpoint(filename="last")], logger=logger, enable_checkpointing=True
    )
    trainer.fit(WithHyperparameters(), loader(2), loader(1))
    assert trainer.log_dir == logger.log_dir == str(tmp_path / "lightning_logs" / "version_0")
    assert files(Path(logger.log_dir)) == {
        "events.out.tfevents",
        "media.csv",
        "media/img/0000000000-000.png",
        "media/img/0000000000-001.png",
        "hparams.yaml",
        "run.jsonl",
        "checkpoints/last.ckpt",
    }
    assert yaml.safe_load(Path(logger.log_dir, "hparams.yaml").read_text()) == {"width": 3}


@pytest.mark.parametrize("writers", [["tensorboard", "csv"], ["csv"]], ids=" ".join)
def test_the_end_of_a_run_logs_once_where_it_is_saved(tmp_path, caplog, writers):
    """It is not logged again after a test, for an empty run, or below the level of Lightning's own messages."""
    root = tmp_path / "my logs"
    lightnings = logging.getLogger(PYTORCH)
    module = LoggingModule(training_step=train_and_validate, test_step=train_and_validate)
    with caplog.at_level(logging.INFO, lightnings.name):
        logger = TrackPlusLogger(root, "", writers=writers)
        trainer = quiet_trainer(tmp_path, logger=logger)
        Tuner(trainer).lr_find(module, loader(8), num_training=5, update_attr=False)
        assert "saved in" not in caplog.text
        trainer.fit(module, loader(2))
        trainer.test(module, loader(2), verbose=False)
        quiet_trainer(tmp_path, logger=TrackPlusLogger(root, "")).validate(LoggingModule(), loader(2), verbose=False)
    with caplog.at_level(logging.WARNING, lightnings.name):
        quiet_trainer(tmp_path, logger=TrackPlusLogger(root, "")).fit(module, loader(2))
    said = [record.message for record in caplog.records if "saved in" in record.message]
    command = (
        f"tensorboard --logdir '{root}/'" if len(writers) > 1 else f"lightning_trackplus.read_run('{root}/version_0')"
    )
    assert said == [f"The run is saved in {root}/version_0. View it with: {command}"]


def test_events_and_csv_hold_the_same_numbers(tmp_path):
    """The CSV has float64 and TensorBoard float32, at the same steps."""
    logger = TrackPlusLogger()

    def step(module, batch, index):
        module.log("train/x", batch[:, 0] / 3, reduce_fx="p95")
        module.log("train/y", torch.tensor(0.1), on_step=True, on_epoch=True)

    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger, max_epochs=2)
    trainer.fit(
        LoggingModule(training_step=step, validation_step=lambda m, b, i: m.log("val", b[:, 0] / 7, reduce_fx="std")),
        loader(),
        loader(),
    )
    metrics = read_metrics(logger.log_dir).set_index("step")
    assert list(metrics.columns) == ["epoch", "train/x", "train/y_step", "val", "train/y_epoch"]
    assert list(metrics.index) == [0, 1, 2, 3, 4, 5]
    assert metrics["val"][2] == pytest.approx(np.std(np.arange(10) / 7, ddof=1), rel=1e-7, abs=0)
    assert metrics["train/x"][0] == np.quantile((np.arange(4, dtype=np.float32) / 3).astype(float), 0.95)
    found = scalars(logger.log_dir)
    for name, column in metrics.items():
        expected = [(step, np.float32(value)) for step, value in column.dropna().items()]
        # Lightning passes `epoch` with each call, twice at the last step of an epoch.
        assert sorted(set(found[name])) == expected


def test_names_and_versions_equal_those_of_tensorboard_logger(tmp_path):
    """Names, versions, prefixes and folders equal Lightning's, for every kind of argument."""
    for options in (
        {},
        {"name": "", "version": "mine"},
        {"name": None},
        {"name": "exp", "version": 7},
        {"sub_dir": "sub"},
        {"name": "a/b", "version": "v", "sub_dir": "c"},
    ):
        ours, theirs = TrackPlusLogger(tmp_path, **options), TensorBoardLogger(tmp_path, **options)
        for attribute in ("save_dir", "root_dir", "log_dir", "name", "version", "sub_dir"):
            assert getattr(ours, attribute) == getattr(theirs, attribute), (options, attribute)
    for folder in ("version_0", "version_11", "version_x", "version_3_old", "other"):
        (tmp_path / "lightning_logs" / folder).mkdir(parents=True)
    (tmp_path / "lightning_logs" / "version_99").touch()
    assert TrackPlusLogger(tmp_path).version == 12


def test_it_is_a_tensorboard_logger(tmp_path):
    """Lightning recognizes loggers with a ``log_dir`` by their class."""
    assert isinstance(TrackPlusLogger(tmp_path), TensorBoardLogger)


def test_a_prefix_is_added_to_every_name(tmp_path):
    """The prefix is joined with a dash, in events, CSV and media; only the epoch has no prefix."""
    logger = TrackPlusLogger(tmp_path, prefix="run")
    logger.log_metrics({"loss": 1.5, "epoch": 2}, step=3)
    logger.log_image("img", [torch.rand(3, 4, 4)], step=3)
    logger.finalize("success")
    assert scalars(logger.log_dir) == {"run-loss": [(3, 1.5)], "epoch": [(3, 2.0)]}
    assert read_metrics(logger.log_dir).to_dict("list") == {
        "step": [3],
        "epoch": [2],
        "run-loss": [1.5],
    }
    assert list(pandas.read_csv(f"{logger.log_dir}/media.csv")["name"]) == ["run-img"]


@pytest.mark.parametrize("with_callback", [True, False])
def test_by_default_it_saves_where_the_trainer_does(tmp_path, with_callback):
    """``save_dir=None`` means the Trainer's ``default_root_dir``, with and without the callback."""
    logger = TrackPlusLogger(add_callback=with_callback)
    trainer = quiet_trainer(
        tmp_path / "root",
        logger=logger,
        callbacks=[TrackPlus()] if with_callback else [],
        enable_checkpointing=True,
    )
    trainer.fit(LoggingModule(training_step=train_and_validate), loader())
    assert logger.save_dir == str(tmp_path / "root")
    assert {path.split("/")[0] for path in files(tmp_path)} == {"root"}
    assert len(list((tmp_path / "root/lightning_logs/version_0/checkpoints").iterdir())) == 1


def test_without_a_trainer_it_saves_in_the_working_directory():
    """A logger used alone writes below the initial working directory, also after that changes."""
    logger = TrackPlusLogger()
    logger.log_metrics({"a": 1.0}, step=0)
    logger.finalize("success")
    assert Path.cwd().joinpath("lightning_logs/version_0/metrics.csv").is_file()
    assert logger.save_dir == str(Path.cwd())


def test_nothing_is_written_before_the_first_record(tmp_path):
    """Creating a logger, reading its attributes, and a run that logs nothing create no file."""
    logger = TrackPlusLogger()
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger)
    trainer.predict(LoggingModule(), loader())
    trainer.fit(LoggingModule(), loader())
    logger.experiment.flush()
    logger.save()
    assert not list(tmp_path.rglob("*.*"))
    logger.log_metrics({"a": 1.0})
    logger.experiment.flush()
    assert files(Path(logger.log_dir)) == {"events.out.tfevents", "metrics.csv", "run.jsonl", "summary.json"}


def test_fit_validate_and_test_continue_one_run(tmp_path):
    """One logger in one Trainer writes one run, and its test joins the last row."""
    logger = TrackPlusLogger()
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger)
    module = LoggingModule(
        training_step=lambda m, b, i: m.log("train", float(i)),
        validation_step=lambda m, b, i: m.log("val", b[:, 0], reduce_fx="max"),
        test_step=lambda m, b, i: m.log("test", b[:, 0], reduce_fx="min"),
    )
    trainer.fit(module, loader(), loader())
    trainer.validate(module, loader(), verbose=False)
    trainer.test(module, loader(), verbose=False)
    metrics = read_metrics(logger.log_dir)
    assert list(metrics["step"]) == [0, 1, 2, 3]
    assert list(metrics["val"].dropna()) == [9.0, 9.0]
    assert list(metrics["test"].dropna()) == [0.0]
    assert [path.name for path in (tmp_path / "lightning_logs").iterdir()] == ["version_0"]
    assert scalars(logger.log_dir)["val"] == [(2, 9.0), (3, 9.0)]


def test_a_continued_version_keeps_its_history(tmp_path):
    """Another logger with the same version appends, where CSVLogger deletes."""
    for run in range(2):
        logger = TrackPlusLogger(tmp_path, version=5)
        logger.log_metrics({f"metric_{run}": 1.0 + run}, step=run)
        logger.finalize("success")
    metrics = read_metrics(logger.log_dir)
    assert metrics["step"].tolist() == [0, 1]
    assert metrics["metric_0"].dropna().tolist() == [1.0]
    assert metrics["metric_1"].dropna().tolist() == [2.0]
    assert scalars(logger.log_dir) == {"metric_0": [(0, 1.0)], "metric_1": [(1, 2.0)]}


def test_every_add_method_of_the_experiment_reaches_tensorboard(tmp_path):
    """``logger.experiment`` is a SummaryWriter with all methods, and writes to the run's event file."""
    logger = TrackPlusLogger(tmp_path)
    writer = logger.experiment
    writer.add_scalar("scalar", 1.5, 1)
    writer.add_scalar("scalar", 2.5, 2, walltime=1000.0)
    writer.add_image("image", torch.rand(3, 4, 4), 1)
    writer.add_images("images", torch.rand(2, 3, 4, 4), 1)
    writer.add_audio("audio", torch.zeros(1, 100), 1, sample_rate=8000)
    writer.add_text("text", "hello", 1)
    writer.add_histogram("histogram", torch.arange(10), 1)
    writer.add_pr_curve("pr", torch.tensor([0, 1]), torch.tensor([0.2, 0.9]), 1)
    writer.add_mesh("mesh", torch.rand(1, 3, 3))
    writer.add_graph(torch.nn.Linear(2, 1), torch.rand(1, 2))
    writer.add_custom_scalars({"c": {"d": ["Multiline", ["scalar"]]}})
    writer.add_scalars("many", {"a": 1.0, "b": 2.0}, 1)
    writer.add_hparams({"lr": 0.1}, {"score": 1.0}, run_name="hp")
    writer.add_embedding(torch.rand(3, 2), tag="e")
    logger.log_metrics({"metric": 3.5}, step=4)
    writer.close()
    tags = events(logger.log_dir).Tags()
    assert set(tags["scalars"]) == {"scalar", "metric"}
    assert set(tags["images"]) == {"image", "images"}
    assert tags["audio"] == ["audio"]
    assert set(tags["histograms"]) == {"histogram"}
    assert {"text/text_summary", "pr"} <= set(tags["tensors"])
    assert tags["graph"]
    assert [e.wall_time for e in events(logger.log_dir).Scalars("scalar")][1] == 1000.0
    assert scalars(f"{logger.log_dir}/many_a") == {"many": [(1, 1.0)]}
    assert Path(logger.log_dir, "projector_config.pbtxt").is_file()
    assert writer.get_logdir() == logger.log_dir
    assert len(list(Path(logger.log_dir).glob("events*"))) == 1
    logger.finalize("success")


def test_graph_and_hyperparameters_equal_those_of_lightning(tmp_path):
    """``log_graph`` and ``log_hyperparams(metrics=…)`` write the same as TensorBoardLogger."""

    class Example(LoggingModule):
        example_input_array = torch.rand(1, 2)

        def forward(self, x):
            return self.layer(x)

    found = []
    for logger in (
        TrackPlusLogger(tmp_path, version="ours", log_graph=True),
        TensorBoardLogger(tmp_path, version="theirs", log_graph=True, default_hp_metric=False),
    ):
        quiet_trainer(tmp_path, logger=logger).fit(Example(), loader())
        logger.log_hyperparams({"lr": 0.1, "nested": {"a": None}}, {"best": 0.5})
        logger.finalize("success")
        tags = events(logger.log_dir).Tags()
        assert tags["graph"]
        found.append({kind: names for kind, names in tags.items() if isinstance(names, list)})
    # The row of the HParams tab is in separate files; tests/formats/test_flat_hparams.py asks TensorBoard for it.
    assert found[0].pop("tensors") == ["_hparams_/session_start_info", "_hparams_/session_end_info"]
    assert found[1].pop("tensors") == []
    assert found[0] == found[1]
    assert scalars(str(tmp_path / "lightning_logs/ours"))["best"][0][1] == 0.5


def test_default_hp_metric_is_off_by_default(tmp_path):
    """``hp_metric = -1`` is only written on request."""
    for default, expected in ((False, set()), (True, {"hp_metric"})):
        logger = TrackPlusLogger(tmp_path, default_hp_metric=default)
        logger.log_hyperparams({"lr": 0.1})
        logger.finalize("success")
        assert set(scalars(logger.log_dir) if Path(logger.log_dir).exists() else {}) == expected


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda logger: pickle.loads(pickle.dumps(logger))])
def test_it_can_be_copied_while_it_writes(tmp_path, copied):
    """A copy continues in the same run directory, with its own event file."""
    logger = TrackPlusLogger(tmp_path)
    logger.log_metrics({"a": 1.0}, step=0)
    assert logger.experiment is not None
    logger.finalize("success")
    other = copied(logger)
    other.log_metrics({"a": 2.0}, step=1)
    other.finalize("success")
    assert other.log_dir == logger.log_dir
    assert read_metrics(logger.log_dir)["a"].tolist() == [1.0, 2.0]
    assert scalars(logger.log_dir) == {"a": [(0, 1.0), (1, 2.0)]}


def test_log_metrics_accepts_everything_that_lightning_passes(tmp_path):
    """Tensors, numpy numbers, bools, nested dicts, and ``step`` among the metrics."""
    logger = TrackPlusLogger(tmp_path, writers=("csv",))
    logger.log_metrics({"t": torch.tensor(0.5), "n": np.float32(0.25), "b": True, "d": {"x": 1, "y": 2.0}, "step": 9})
    logger.log_metrics({"later": 1.0})
    logger.log_metrics({"step": 4.0, "i": 10**17 + 1}, step=11)
    logger.finalize("success")
    text = Path(logger.log_dir, "metrics.csv").read_text().splitlines()
    assert text == [
        "step,epoch,t,n,b,d/x,d/y,later,step (logged),i",
        "9,,0.5,0.25,1.0,1.0,2.0",
        "10,,,,,,,1.0",
        "11,,,,,,,,4.0,100000000000000001",
    ]


def test_numbers_in_a_graph_and_in_arrays_equal_those_of_lightnings_loggers(tmp_path):
    """There is no warning, also if they are the step or the epoch."""
    graph = torch.tensor([[2.5]], requires_grad=True)
    values = {"graph": graph.sum(), "cell": graph, "array": np.array([2.0]), "deep": np.array([[3]])}
    loggers = [logger(tmp_path, name=logger.__name__) for logger in (TrackPlusLogger, TensorBoardLogger)]
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for logger in loggers:
                logger.log_metrics(values, 0)
            loggers[0].log_metrics({"x": 1.0, "step": graph, "epoch": graph})
            loggers[0].log_hyperparams({"lr": graph}, {"score": graph})
    finally:
        torch.set_warn_always(False)
    for logger in loggers:
        logger.finalize("success")
    ours, theirs = (scalars(logger.log_dir) for logger in loggers)
    assert {name: ours[name] for name in values} == theirs
    table = read_metrics(loggers[0].log_dir)
    assert table.loc[table["x"] == 1, ["step", "epoch"]].to_numpy().tolist() == [[2, 2.5]]


@pytest.mark.parametrize("value", ["text", torch.ones(2), None, object()])
def test_anything_but_numbers_raises_lightnings_error(tmp_path, value):
    """``log_metrics`` raises the error of TensorBoardLogger."""
    messages = []
    for logger in (TrackPlusLogger(tmp_path), TensorBoardLogger(tmp_path)):
        with pytest.raises((ValueError, RuntimeError)) as caught:
            logger.log_metrics({"a": value})
        messages.append(str(caught.value))
    assert (
        messages[0] == f"\n you tried to log {value} which is currently not supported. Try a dict or a scalar/tensor."
    )
    if not isinstance(value, torch.Tensor):
        assert messages[0] == messages[1]


def test_media_methods_use_the_trainers_step_and_epoch(tmp_path):
    """In ``logger.log_image`` and similar methods the step is optional."""

    def step(module, batch, index):
        module.log("x", 1.0)
        module.logger.log_media("text", Text(f"batch {index}"))
        module.logger.log_image("img", [torch.rand(3, 4, 4)] * 2, caption=["a", "b"], score=[1, 2])
        module.logger.log_audio("audio", [torch.zeros(80), torch.zeros(90)], sample_rate=[8000, 4000], step=77)

    logger = TrackPlusLogger()
    trainer = quiet_trainer(tmp_path, logger=logger, max_epochs=2)
    trainer.fit(LoggingModule(training_step=step), loader(4))
    media = pandas.read_csv(f"{logger.log_dir}/media.csv")
    assert media[["step", "epoch", "name", "caption", "score"]].astype(object).fillna("").values.tolist() == [
        [0, 0, "text", "", ""],
        [0, 0, "img", "a", 1.0],
        [0, 0, "img", "b", 2.0],
        [77, 0, "audio", "", ""],
        [77, 0, "audio", "", ""],
        [1, 1, "text", "", ""],
        [1, 1, "img", "a", 1.0],
        [1, 1, "img", "b", 2.0],
        [77, 1, "audio", "", ""],
        [77, 1, "audio", "", ""],
    ]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda g: g.log_image("a", torch.rand(3, 4, 4)),
            TypeError,
            "Expected a list as \"images\", found <class 'torch.Tensor'>",
        ),
        (
            lambda g: g.log_image("a", [torch.rand(3, 4, 4)], caption=["a", "b"]),
            ValueError,
            "Expected 1 items but only found 2 for caption",
        ),
        (
            lambda g: g.log_audio("a", [torch.rand(9)], sample_rate=[]),
            ValueError,
            "Expected 1 items but only found 0 for sample_rate",
        ),
    ],
)
def test_wrong_calls_of_media_methods_raise_wandb_loggers_errors(tmp_path, call, error, message):
    """Code written for WandbLogger gets the same errors."""
    with pytest.raises(error) as caught:
        call(TrackPlusLogger(tmp_path))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flush_secs": 0}, "flush_secs=0; expected a number of seconds above 0, for example 1.0."),
        (
            {"media_overflow": "wait"},
            'media_overflow=\'wait\'; expected "block", so that training waits for media, or "drop", so that media are'
            " dropped for which there is no room.",
        ),
        ({"max_queue_bytes": 0}, "max_queue_bytes=0; expected a number of bytes above 0, for example 2**28."),
        ({"max_queue_bytes": True}, "max_queue_bytes=True; expected a number of bytes above 0, for example 2**28."),
        (
            {"max_queue_bytes": 1e9},
            "max_queue_bytes=1000000000.0; expected a number of bytes above 0, for example 2**28.",
        ),
        ({"writers": ()}, 'writers=(); expected a list with at least one writer, for example ("tensorboard", "csv").'),
        (
            {"writers": "csv"},
            'writers=\'csv\'; expected a list with at least one writer, for example ("tensorboard", "csv").',
        ),
        (
            {"writers": ["parquet"]},
            'writers has \'parquet\'; expected "tensorboard", "csv", or an object with write, flush and close.',
        ),
        (
            {"save_dir": "nowhere://bucket/runs"},
            "Protocol not known: nowhere",
        ),
    ],
)
def test_wrong_options_raise(options, message):
    """The error says what to write instead."""
    with pytest.raises(ValueError, match=re.escape(message)):
        TrackPlusLogger(**options)


class Collector:
    """A custom writer."""

    def __init__(self):
        self.records = []

    def write(self, record):
        self.records.append(record)

    def flush(self):
        pass

    def close(self):
        pass


def test_a_custom_writer_receives_every_record(tmp_path):
    """Any object with ``write``, ``flush`` and ``close`` works next to the built-in writers."""
    collector = Collector()
    logger = TrackPlusLogger(tmp_path, writers=[collector, "csv"])
    logger.log_metrics({"a": 1.0, "epoch": 0}, step=3)
    logger.log_image("img", [torch.rand(3, 4, 4)], caption=["c"], step=3)
    logger.finalize("success")
    numbers, images = collector.records
    assert (numbers.step, numbers.epoch, numbers.values) == (3, 0, {"a": 1.0, "epoch": 0})
    assert images.values["img"].items[0].caption == "c"
    assert Path(logger.log_dir, "metrics.csv").is_file()


def test_a_failing_writer_never_stops_training(tmp_path):
    """A writer that always raises causes one warning and a report at the end; the others write everything."""

    class Broken(Collector):
        def write(self, record):
            raise OSError("no space left on device")

    logger = TrackPlusLogger(tmp_path, writers=[Broken(), "csv"])
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger)
    with pytest.warns(UserWarning, match="Broken failed") as caught:
        trainer.fit(LoggingModule(training_step=lambda m, b, i: m.log("x", float(i))), loader())
    messages = [str(warning.message) for warning in caught if "Broken failed" in str(warning.message)]
    assert messages == [
        "Broken failed, training continues. OSError: no space left on device",
        "Broken failed 3 times in this run, between the steps 0 and 2. Records from those steps are missing from the"
        " output. The first failure: OSError: no space left on device",
    ]
    assert read_metrics(logger.log_dir)["x"].tolist() == [0.0, 1.0, 2.0]


def test_csv_only_writes_no_events(tmp_path):
    """``writers=("csv",)`` writes no event file, and ``experiment`` warns once that it ignores a call."""
    logger = TrackPlusLogger(tmp_path, writers=("csv",))
    logger.log_hyperparams({"lr": 0.1}, {"score": 1.0})
    with pytest.warns(UserWarning, match=r"Ignored a call of logger\.experiment\.add_scalar") as caught:
        logger.experiment.add_scalar("a", 1.0, 0)
        logger.experiment.add_scalar("a", 1.0, 1)
    assert len(caught) == 1
    logger.finalize("success")
    assert files(Path(logger.log_dir)) == {"metrics.csv", "hparams.yaml", "run.jsonl", "summary.json"}
    assert read_metrics(logger.log_dir)["score"].tolist() == [1.0]


def test_it_works_next_to_other_loggers(tmp_path):
    """Lightning's own logger in the same list receives the numbers, ours also the media."""
    ours, theirs = TrackPlusLogger(tmp_path, name="ours"), TensorBoardLogger(tmp_path, name="theirs")
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=[theirs, ours])

    def step(module, batch, index):
        module.log("x", batch[:, 0], reduce_fx="p95")
        module.log("img", Image(torch.rand(3, 4, 4)))

    trainer.fit(LoggingModule(training_step=step), loader())
    theirs.finalize("success")
    assert scalars(ours.log_dir) == scalars(theirs.log_dir)
    assert len(pandas.read_csv(f"{ours.log_dir}/media.csv")) == 3


def test_an_interrupted_run_loses_no_logged_value(tmp_path):
    """After an exception in a step, everything logged before is in the files."""

    def step(module, batch, index):
        module.log("x", float(index))
        if index == 2:
            raise RuntimeError("broken")

    logger = TrackPlusLogger(flush_secs=1000)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger)
    with pytest.raises(RuntimeError, match="broken"):
        trainer.fit(LoggingModule(training_step=step), loader())
    assert read_metrics(logger.log_dir)["x"].tolist() == [0.0, 1.0]
    assert [value for _, value in scalars(logger.log_dir)["x"]] == [0.0, 1.0]


def test_training_and_validation_share_a_row_next_to_values_of_batches(tmp_path):
    """``on_step=True`` in validation, which Lightning numbers by batch, does not split a step's row."""
    logger = TrackPlusLogger()

    def validation_step(module, batch, index):
        module.log("val", batch[:, 0].mean(), on_step=True, on_epoch=True)

    def training_step(module, batch, index):
        module.log("train", float(index))
        module.logger.log_metrics({"direct": float(index)}, step=module.global_step)

    trainer = quiet_trainer(tmp_path, logger=logger, max_epochs=2)
    trainer.fit(LoggingModule(training_step=training_step, validation_step=validation_step), loader(20), loader(8))
    metrics = read_metrics(logger.log_dir)
    steps = metrics[metrics["train"].notna()]
    assert steps["step"].tolist() == list(range(10))
    assert steps["direct"].tolist() == steps["train"].tolist()
    assert steps["val_epoch"].dropna().tolist() == [3.5, 3.5]
    assert steps[steps["val_epoch"].notna()]["step"].tolist() == [4, 9]
    batches = metrics[metrics["val_step"].notna()]
    assert batches["step"].tolist() == [0, 1, 2, 3]
    assert len(metrics) == 14


def test_another_thread_logs_between_two_batches_of_an_evaluation(tmp_path):
    """Its values belong to the epoch, not to a batch."""
    logger = TrackPlusLogger()

    class Watched(DataLoader):
        def __iter__(self):
            for count, batch in enumerate(super().__iter__()):
                watch = threading.Thread(target=logger.log_metrics, args=({"watched": float(count)}, 7))
                watch.start()
                watch.join()
                yield batch

    def step(module, batch, index):
        module.log("val", 1.0, on_step=True)

    trainer = quiet_trainer(tmp_path, logger=logger)
    trainer.validate(LoggingModule(validation_step=step), Watched(loader(3).dataset), verbose=False)
    metrics = read_metrics(logger.log_dir).fillna(-1)
    assert metrics[["step", "epoch", "watched"]][metrics["watched"] >= 0].values.tolist() == [
        [7, 0, 0], [7, 0, 1], [7, 0, 2],
    ]  # fmt: skip
    assert metrics["val_step" if "val_step" in metrics else "val"].tolist().count(1) == 3


def test_save_dir_overrides_a_remote_root(tmp_path):
    """A local ``save_dir`` is used even if the Trainer's root is remote."""
    logger = TrackPlusLogger(tmp_path)
    trainer = quiet_trainer("memory://root", callbacks=[TrackPlus()], logger=logger)
    trainer.validate(LoggingModule(validation_step=lambda m, b, i: m.log("x", 1.0)), loader(), verbose=False)
    assert Path(logger.log_dir, "metrics.csv").is_file()


def test_a_second_trainer_has_its_own_steps(tmp_path):
    """A logger that continues with another Trainer, without the callback, uses that Trainer's step and epoch."""
    logger = TrackPlusLogger(tmp_path, add_callback=False)
    step = lambda m, b, i: m.logger.log_media("text", Text("a"))  # noqa: E731
    for _ in range(2):
        quiet_trainer(tmp_path, logger=logger, max_epochs=2).fit(LoggingModule(training_step=step), loader(4))
    assert pandas.read_csv(f"{logger.log_dir}/media.csv")["step"].tolist() == [0, 1, 0, 1]


def test_warnings_that_are_errors_do_not_reach_the_training(tmp_path, caplog):
    """Under ``-W error`` a failing writer is reported in the log, and the logger can be used again."""

    class Broken(Collector):
        def write(self, record):
            raise OSError("no room")

    logger = TrackPlusLogger(tmp_path, writers=[Broken(), "csv"])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Broken failed")
        for step in range(2):
            logger.log_metrics({"a": 1.0}, step=step)
            logger.finalize("success")
    assert [record.message.split(".")[0] for record in caplog.records if "Broken" in record.message] == [
        "Broken failed, training continues",
        "Broken failed once in this run, at step 0",
        "Broken failed, training continues",
        "Broken failed once in this run, at step 1",
    ]
    assert read_metrics(logger.log_dir)["step"].tolist() == [0, 1]


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), "1", None])
def test_a_flush_interval_must_be_positive_and_finite(seconds):
    """Anything else raises."""
    with pytest.raises(ValueError, match=r"expected a number of seconds above 0, for example 1\.0"):
        TrackPlusLogger(flush_secs=seconds)


def test_many_threads_write_one_file(tmp_path):
    """The first records of several threads open one delivery, and none is lost."""
    logger = TrackPlusLogger(tmp_path, writers=("csv",))
    start = threading.Barrier(8)

    def log(number):
        start.wait()
        logger.log_metrics({f"thread_{number}": 1.0}, step=number)

    threads = [threading.Thread(target=log, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logger.finalize("success")
    assert sorted(read_metrics(logger.log_dir)["step"]) == list(range(8))


def test_a_garbage_collected_logger_is_written_out(tmp_path):
    """Records are written without ``finalize``, and the thread ends with the logger."""
    gc.collect()
    before = [thread for thread in threading.enumerate() if thread.name == "trackplus-delivery"]
    for version in range(3):
        TrackPlusLogger(tmp_path, version=version, flush_secs=1000).log_metrics({"a": 1.0}, step=0)
        gc.collect()
    left = [thread for thread in threading.enumerate() if thread.name == "trackplus-delivery"]
    assert set(left) <= set(before)
    assert len(list(tmp_path.rglob("metrics.csv"))) == 3


def test_hyperparameters_with_a_step_work_in_every_lightning(tmp_path):
    """``log_hyperparams(…, step=…)`` also works if Lightning's own has no step."""
    logger = TrackPlusLogger(tmp_path)
    logger.log_hyperparams({"lr": 0.1}, {"score": 0.5}, step=3)
    logger.finalize("success")
    assert [value for _, value in scalars(logger.log_dir)["score"]] == [0.5]


def test_steps_and_scores_may_be_tensors(tmp_path):
    """A step may be a tensor, and so may the scores of sounds."""
    logger = TrackPlusLogger(tmp_path)
    logger.log_metrics({"a": 1.0}, step=torch.tensor(3))
    logger.log_audio("s", [torch.zeros(9)] * 2, torch.tensor(4), sample_rate=[8000] * 2, score=torch.tensor([0.5, 1.5]))
    logger.finalize("success")
    assert read_metrics(logger.log_dir)["step"].tolist() == [3]
    media = pandas.read_csv(f"{logger.log_dir}/media.csv")
    assert media[["step", "score"]].to_numpy().tolist() == [[4, 0.5], [4, 1.5]]


class Gated(Collector):
    """A writer that waits at a gate before each record, and signals that it waits."""

    def __init__(self):
        super().__init__()
        self.gate, self.arrived = threading.Event(), threading.Event()

    def write(self, record):
        self.arrived.set()
        assert self.gate.wait(60)
        super().write(record)


def test_media_are_dropped_on_request_and_numbers_never(tmp_path):
    """With ``media_overflow="drop"``, training continues if the queue is full, and all numbers are written."""
    gated = Gated()
    logger = TrackPlusLogger(tmp_path, writers=[gated], media_overflow="drop", max_queue_bytes=100_000, prefix="run")

    def step(module, batch, index):
        # One image of 48 kB is being written and one waits; a third does not fit.
        module.log("x", float(index))
        module.logger.log_media("img", Image(torch.rand(3, 64, 64)))
        assert gated.arrived.wait(60)
        if index == 9:
            gated.gate.set()

    trainer = quiet_trainer(tmp_path, logger=logger)
    with pytest.warns(UserWarning, match="dropped") as caught:
        trainer.fit(LoggingModule(training_step=step), loader(40))
    messages = [str(warning.message) for warning in caught if "dropped" in str(warning.message)]
    assert [message.split(",")[0] for message in messages] == [
        "'run-img' was dropped",
        "Media were dropped 8 times in this run",
    ]
    assert [record.values["run-x"] for record in gated.records if "run-x" in record.values] == list(range(10))
    assert len([record for record in gated.records if "run-img" in record.values]) == 2


def test_dropped_media_are_not_copied(tmp_path):
    """The queue is checked before the copy is made, since copies of many dropped media would be slow."""

    class Counted(Text):
        copies = 0

        def snapshot(self):
            Counted.copies += 1
            return self

    gated = Gated()
    logger = TrackPlusLogger(tmp_path, writers=[gated], media_overflow="drop", max_queue_bytes=10)
    with pytest.warns(UserWarning, match="dropped"):
        for _ in range(5):
            logger.log_media("text", Counted("ten letter"))
        gated.gate.set()
        logger.finalize("success")
    assert Counted.copies == len(gated.records) == 1


@pytest.mark.parametrize("overflow", ["block", "drop"])
def test_a_copy_has_the_same_queue(tmp_path, overflow):
    """The policy is kept in another process."""
    logger = pickle.loads(pickle.dumps(TrackPlusLogger(tmp_path, media_overflow=overflow, max_queue_bytes=1)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(300):
            logger.log_media("text", Text("text"), 0)
        logger.finalize("success")
    written = len(pandas.read_csv(f"{logger.log_dir}/media.csv"))
    dropped = re.findall(r"Media were dropped (\d+) times", " ".join(str(warning.message) for warning in caught))
    assert written + sum(map(int, dropped)) == 300
    assert bool(caught) == (overflow == "drop")
