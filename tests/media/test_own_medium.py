"""A medium that somebody else has written, with what `lightning_trackplus` exports and nothing else."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import lightning_trackplus as trackplus
from lightning_trackplus.cli import main
from tests.flavour.pytorch.callbacks import ModelCheckpoint
from tests.flavour.pytorch.loggers import CSVLogger, TensorBoardLogger
from tests.support.training import LoggingModule, loader, quiet_trainer

CLOUDS = 3
"""Clouds in a batch."""


class PointCloud(trackplus.Media[torch.Tensor]):
    """Points of shape (N, P, 3), as PLY files."""

    kind = "point_cloud"
    suffix = ".ply"

    def __init__(self, points, caption=None, score=None):
        if points.ndim != 3 or points.shape[2] != 3:
            raise ValueError(f"PointCloud got points of shape {tuple(points.shape)}; expected (N, P, 3).")
        super().__init__(points.unbind(), caption, score)

    def snapshot_item(self, item):
        return item.detach().clone()

    def encode_item(self, item):
        points = item.cpu().numpy()
        properties = "\n".join(f"property float {axis}" for axis in "xyz")
        rows = "\n".join(" ".join(map(repr, row)) for row in points.tolist())
        return f"ply\nformat ascii 1.0\nelement vertex {len(points)}\n{properties}\nend_header\n{rows}\n".encode()


def points_of(path):
    """Return the points of a PLY file."""
    return np.loadtxt(path, skiprows=7)


def clouds_of(epoch, index):
    """Return the clouds of a batch, each of five equal points: one number for epoch, batch and cloud."""
    numbers = 100.0 * epoch + 10 * index + torch.arange(CLOUDS)
    return numbers.reshape(-1, 1, 1).expand(-1, 5, 3).clone()


def validation_step(module, batch, index):
    """Log clouds of which those in the middle of each batch have the highest scores, and change them afterwards."""
    clouds = clouds_of(module.current_epoch, index)
    score = torch.tensor([0.0, 2.0, 1.0]) + 10 * index
    captions = [f"cloud {index}.{number}" for number in range(CLOUDS)]
    module.log("val/cloud", PointCloud(clouds, captions, score), reduce_fx="top2")
    clouds.zero_()


def fit(root, logger, epochs=1, ckpt_path=None):
    checkpoint = ModelCheckpoint(save_top_k=-1, filename="{epoch}")
    trainer = quiet_trainer(
        root,
        callbacks=[trackplus.TrackPlus(), checkpoint],
        logger=logger,
        max_epochs=epochs,
        num_sanity_val_steps=0,
        enable_checkpointing=True,
    )
    trainer.fit(LoggingModule(validation_step=validation_step), loader(8), loader(8), ckpt_path=ckpt_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the directory of a run of two epochs that was resumed from the first of them, for three in all."""
    root = tmp_path_factory.mktemp("run")
    first = trackplus.TrackPlusLogger(root)
    fit(root, first, epochs=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Checkpoint directory .* exists")
        second = trackplus.TrackPlusLogger(root, version="auto")
        fit(root, second, epochs=3, ckpt_path=Path(first.log_dir, "checkpoints/epoch=0.ckpt"))
    assert second.log_dir == first.log_dir
    return Path(second.log_dir)


def test_the_selected_items_are_files(run):
    """In each epoch the two with the highest scores, as they were when they were logged; also after a resume."""
    media = trackplus.read_run(run).media
    assert [(one.name, one.kind, one.epoch, one.caption, one.score) for one in media] == [
        ("val/cloud", "point_cloud", epoch, caption, score)
        for epoch in (0, 1, 2)
        for caption, score in (("cloud 1.1", 12.0), ("cloud 1.2", 11.0))
    ]
    expected = [clouds_of(epoch, 1)[number] for epoch in (0, 1, 2) for number in (1, 2)]
    for one, points in zip(media, expected, strict=True):
        assert one.path.suffix == ".ply"
        np.testing.assert_array_equal(points_of(one.path), points)


def test_a_resume_moves_the_files_of_what_is_trained_again(run):
    """The second epoch was trained twice, and its first files are in the backup."""
    backup = trackplus.read_run(run / "backup/1").media
    assert [(one.kind, one.epoch, one.caption) for one in backup] == [
        ("point_cloud", 1, "cloud 1.1"),
        ("point_cloud", 1, "cloud 1.2"),
    ]
    np.testing.assert_array_equal(points_of(backup[0].path), clouds_of(1, 1)[1])


def test_tensorboard_says_where_they_are(run):
    """The text tab has a line for each file, and one for each caption."""
    accumulator = EventAccumulator(str(run)).Reload()
    notes = [event.tensor_proto.string_val for event in accumulator.Tensors("val/cloud")]
    lines = [f"point_cloud file {number} of 2, in the run directory under media/val-cloud/" for number in (1, 2)]
    assert [[note.decode().replace("\\", "") for note in of_step] for of_step in notes] == [lines] * 3
    assert b"cloud 1" in accumulator.Tensors("val/cloud/captions")[0].tensor_proto.string_val[0]


def test_verify_compares_them(run, capsys):
    """It finds no difference, and finds a file that is gone."""
    assert main(["verify", str(run)]) == 0
    last = trackplus.read_run(run).media[-1].path
    data = last.read_bytes()
    last.unlink()
    try:
        assert main(["verify", str(run)]) == 1
        assert f"media/val-cloud/{last.name} is missing" in capsys.readouterr().out
    finally:
        last.write_bytes(data)


def test_verify_counts_them(tmp_path):
    """A file of one medium that the index has lost is a difference."""
    logger = trackplus.TrackPlusLogger(tmp_path)
    logger.log_media("cloud", PointCloud(clouds_of(0, 0)), 0)
    logger.finalize("success")
    index = Path(logger.log_dir, "media.csv")
    *rows, _ = index.read_text().splitlines(keepends=True)
    index.write_text("".join(rows))
    assert main(["verify", logger.log_dir]) == 1


def test_loggers_of_others_take_them(tmp_path):
    """CSVLogger as files, TensorBoardLogger as a text that names them."""
    loggers = [CSVLogger(tmp_path, name="csv"), TensorBoardLogger(tmp_path, name="tensorboard")]
    fit(tmp_path, loggers)
    (csv, tensorboard) = (Path(logger.log_dir) for logger in loggers)
    index = pandas.read_csv(csv / "media.csv")
    assert (index["kind"].tolist(), index["score"].tolist()) == (["point_cloud"] * 2, [12.0, 11.0])
    np.testing.assert_array_equal(points_of(csv / index["file"][0]), clouds_of(0, 1)[1])
    assert "val/cloud" in EventAccumulator(str(tensorboard)).Reload().Tags()["tensors"]


def test_a_class_says_what_its_files_are():
    """A class without a kind or a suffix is refused where it is written."""
    with pytest.raises(TypeError) as caught:

        class Unnamed(trackplus.Media):
            kind = "point_cloud"
            suffix = "ply"

            def encode_item(self, item):
                return b""

    assert str(caught.value) == (
        "Unnamed has kind='point_cloud' and suffix='ply'; expected two class attributes such as"
        ' kind = "point_cloud" and suffix = ".ply".'
    )


def test_a_medium_is_held_by_its_memory():
    """Delivery bounds what waits by the bytes of tensors, arrays and strings, whoever wrote the class."""
    assert PointCloud(torch.zeros(2, 5, 3)).nbytes == 2 * 5 * 3 * 4


def test_an_item_is_copied_once_however_long_it_is_kept(tmp_path):
    """Those that a selection keeps until the epoch's end are not copied again when they are delivered."""
    copied = []

    class Counted(PointCloud):
        def snapshot_item(self, item):
            copied.append(float(item[0, 0]))
            return super().snapshot_item(item)

    def step(module, batch, index):
        clouds = clouds_of(1, index)
        module.log("val/cloud", Counted(clouds, score=clouds[:, 0, 0]), reduce_fx="top2")
        module.log("val/first", Counted(-clouds), reduce_fx="first1")

    logger = trackplus.TrackPlusLogger(tmp_path)
    quiet_trainer(tmp_path, callbacks=[trackplus.TrackPlus()], logger=logger).validate(
        LoggingModule(validation_step=step), loader(8), verbose=False
    )
    logger.finalize("success")
    assert sorted(copied) == sorted(set(copied))
    assert [value for value in copied if value < 0] == [-100]
    assert len(trackplus.read_run(logger.log_dir).media) == 3
