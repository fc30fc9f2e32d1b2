"""Media logged by ``self.log`` in a run with every logger there is, and back from what each has stored."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from lightning_trackplus import Audio, Image, Text, TrackPlus, TrackPlusLogger
from lightning_trackplus.formats.layout import escaped
from lightning_trackplus.record import TensorBoardEvent
from lightning_trackplus.writers.foreign.csv_logger import MediaFilesWriter
from lightning_trackplus.writers.foreign.tensorboard_logger import TensorBoardLoggerWriter
from tests.flavour.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from tests.support.csv_files import read_metrics
from tests.support.loggers import Silent, events, picture, pixels_of
from tests.support.payloads import HARD_NAMES, KINDS, PIXELS, pictures, record
from tests.support.training import LoggingModule, loader, quiet_trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the loggers by name, the warnings, and W&B's folder."""
    wandb = pytest.importorskip("wandb")
    pytest.importorskip("mlflow")
    root = tmp_path_factory.mktemp("all")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patch.chdir(root)
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("WANDB_MODE", "offline")
        loggers = {
            "ours": TrackPlusLogger(root / "ours"),
            "tensorboard": TensorBoardLogger(root / "tensorboard"),
            "csv": CSVLogger(root / "csv"),
            "wandb": WandbLogger(save_dir=root, offline=True),
            "mlflow": MLFlowLogger(tracking_uri=f"sqlite:///{root}/m.db", artifact_location=f"{root}/artifacts"),
            "silent": Silent(),
        }
        trainer = quiet_trainer(root, logger=list(loggers.values()), callbacks=[TrackPlus()], max_epochs=2)
        trainer.fit(LoggingModule(training_step=train, validation_step=validate), loader(), loader())
        wandb_files = Path(loggers["wandb"].experiment.dir)
        wandb.finish()
    return loggers, [str(one.message) for one in caught], wandb_files


def train(module, batch, index):
    module.log("train/loss", float(index))
    module.log("train/shade", picture(10 * index))


def validate(module, batch, index):
    module.log("val/loss", batch[:, 0].sum())
    module.log("val/shade", Image(batch[:, :1, None, None].expand(-1, 1, 4, 4) / 255, score=batch[:, 0]))
    if index == 0:
        module.log("val/report", Text(f"epoch {module.current_epoch}"))
        module.log("val/tone", Audio(torch.zeros(1, 800), sample_rate=8000, caption="silence"))


def test_tensorboard_has_media_and_numbers_in_one_file(run):
    """Media stand at the steps of the numbers, in the same event file, with their captions as a text."""
    found = events(run[0]["tensorboard"].log_dir)
    shades = {
        event.step: [pixels_of(data).max() for data in event.tensor_proto.string_val[2:]]
        for event in found.Tensors("train/shade")
    }
    assert shades == {0: [0], 1: [10], 2: [20], 3: [0], 4: [10], 5: [20]}
    assert [event.step for event in found.Scalars("train/loss")] == list(shades)
    assert [event.step for event in found.Tensors("val/shade")] == [2, 5]
    assert [event.step for event in found.Scalars("val/loss")] == [2, 5]
    reports = found.Tensors("val/report")
    assert [event.tensor_proto.string_val[0] for event in reports] == [b"epoch 0", b"epoch 1"]
    assert found.Tensors("val/tone")[0].tensor_proto.string_val[1] == b"silence"


def test_csv_has_files_beside_its_numbers(run):
    """media.csv and its files lie where CSVLogger has metrics.csv, at the same steps."""
    directory = Path(run[0]["csv"].log_dir)
    media = pandas.read_csv(directory / "media.csv")
    kept = media[media["name"] == "val/shade"]
    assert list(kept["step"]) == [2] * 8 + [5] * 8
    assert list(kept["epoch"]) == [0] * 8 + [1] * 8
    assert list(kept["score"]) == [*range(8)] * 2
    assert [pixels_of(directory / file).max() for file in kept["file"]] == [*range(8)] * 2
    metrics = read_metrics(directory)
    assert set(metrics["step"]) == set(media["step"])


def test_ours_has_the_same_media_as_csv_logger(run):
    """A TrackPlusLogger beside others gets what they get."""
    ours, theirs = (pandas.read_csv(Path(run[0][name].log_dir, "media.csv")) for name in ("ours", "csv"))
    same = ["step", "epoch", "name", "kind", "file", "caption", "score"]
    pandas.testing.assert_frame_equal(ours[same], theirs[same])


def test_wandb_has_media_at_lightnings_steps(run):
    """The history of the W&B run has the media, and the numbers as they are without media."""
    from tests.support.wandb_run import history

    rows = history(run[2])
    shown = [(row["trainer/global_step"], row["train/shade"]["captions"]) for row in rows if "train/shade" in row]
    assert shown == [(step, [f"shade {10 * (step % 3)}"]) for step in range(6)]
    kept = {row["trainer/global_step"]: row["val/shade"]["filenames"] for row in rows if "val/shade" in row}
    assert {step: [pixels_of(run[2] / path).max() for path in paths] for step, paths in kept.items()} == {
        2: [*range(8)],
        5: [*range(8)],
    }
    numbers = [(row["trainer/global_step"], row["train/loss"]) for row in rows if "train/loss" in row]
    assert numbers == [(step, step % 3) for step in range(6)]


def test_mlflow_has_media_as_artifacts(run, tmp_path):
    """The artifacts of the MLflow run are the files that CSVLogger's directory has."""
    logger = run[0]["mlflow"]
    stored = Path(logger.experiment.download_artifacts(logger.run_id, "media", tmp_path))
    expected = Path(run[0]["csv"].log_dir, "media")
    files = [path.relative_to(expected) for path in expected.rglob("*") if path.is_file()]
    assert len(files) == 6 + 16 + 2 + 2
    assert all((stored / file).read_bytes() == (expected / file).read_bytes() for file in files)


def test_a_logger_without_media_is_named_once_and_has_its_numbers(run):
    """One warning names the logger that cannot take media and says where they are; its numbers go on."""
    loggers, messages, _ = run
    ours = Path(loggers["ours"].log_dir).resolve()
    assert [message for message in messages if "cannot take media" in message] == [
        f"Silent cannot take media, so they are kept as files in {ours}."
    ]
    assert loggers["silent"].series("train/loss") == {step: step % 3 for step in range(6)}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_in_tensorboard_and_files(tmp_path, kind):
    """A payload of any kind is in the event file and in media.csv; numbers and events of ours are left out."""
    tensorboard, csv = TensorBoardLogger(tmp_path / "tensorboard"), CSVLogger(tmp_path / "csv")
    payload = KINDS[kind]()
    for writer in (TensorBoardLoggerWriter(tensorboard), MediaFilesWriter.of(csv)):
        writer.write(record({"medium": payload, "number": 1.0, "event": TensorBoardEvent(None, 0)}))
        writer.write(record({"number": 1.0}))
        writer.flush()
        writer.close()
    found = events(tensorboard.log_dir)
    assert found.Tags()["scalars"] == []
    (file,) = Path(tensorboard.log_dir).glob("events.*")
    assert len(list(EventFileLoader(str(file)).Load())) == 2, "the file's version, and one event"
    assert [(event.step, event.wall_time) for event in found.Tensors("medium")] == [(22, 1.7e9)]
    media = pandas.read_csv(Path(csv.log_dir, "media.csv"))
    assert set(media["name"]) == {"medium"}
    assert [Path(csv.log_dir, file).read_bytes() for file in media["file"]] == [item.data for item in payload.items]


def test_any_name_is_stored(tmp_path):
    """Whatever a name is made of, its picture is in the event file and among the files."""
    tensorboard, csv = TensorBoardLogger(tmp_path / "tensorboard"), CSVLogger(tmp_path / "csv")
    for writer in (TensorBoardLoggerWriter(tensorboard), MediaFilesWriter.of(csv)):
        for name in HARD_NAMES:
            writer.write(record({name: pictures(1)}))
        writer.close()
    found = events(tensorboard.log_dir)
    for name in HARD_NAMES:
        (event,) = found.Tensors(escaped(name))
        np.testing.assert_array_equal(pixels_of(event.tensor_proto.string_val[2]), PIXELS[0])
    media = pandas.read_csv(Path(csv.log_dir, "media.csv"), keep_default_na=False)
    assert list(media["name"]) == [escaped(name) for name in HARD_NAMES]
    assert len(set(media["file"])) == len(HARD_NAMES)
