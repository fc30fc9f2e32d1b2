"""What a module logs is captured for tests, with public imports only."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import lightning_trackplus
from lightning_trackplus import Audio, Histogram, Html, Image, Media, Table, Text, TrackPlus, Video
from lightning_trackplus.record import ImagePayload, TableData
from lightning_trackplus.testing import CapturingLogger
from tests.support.training import LoggingModule, loader, quiet_trainer


def step(module, batch, index):
    """Log the batches of `loader`: 0, 1, 2, 3 · 4, 5, 6, 7 · 8, 9."""
    module.log("val/loss", batch[:, 0], reduce_fx=["mean", "max"])
    shades = batch[:, 0].to(torch.uint8)[:, None, None, None].expand(-1, 3, 4, 6)
    captions = [f"item {int(number)}" for number in batch[:, 0]]
    module.log("val/hard", Image(shades, caption=captions, score=batch[:, 0]), reduce_fx="top2")


@pytest.fixture(scope="module")
def logger(tmp_path_factory):
    """Return the logger after a training of two epochs."""
    logger = CapturingLogger()
    trainer = quiet_trainer(tmp_path_factory.mktemp("root"), logger=logger, callbacks=[TrackPlus()], max_epochs=2)
    train = {"training_step": lambda module, batch, index: module.log("train/loss", float(index))}
    trainer.fit(LoggingModule(**train, validation_step=step), loader(), loader())
    return logger


def test_numbers_are_captured_with_their_reductions(logger):
    assert logger.values("train/loss") == [0, 1, 2] * 2
    assert logger.values("val/loss_mean") == [4.5, 4.5]
    assert logger.values("val/loss_max") == [9, 9]


def test_selected_media_are_captured_decoded_with_captions_and_scores(logger):
    items = logger.media("val/hard")
    assert [(item.step, item.epoch, item.kind) for item in items] == [(2, 0, "image")] * 2 + [(5, 1, "image")] * 2
    assert [(item.caption, item.score) for item in items] == [("item 9", 9.0), ("item 8", 8.0)] * 2
    for item, shade in zip(items, [9, 8, 9, 8], strict=True):
        np.testing.assert_array_equal(item.value, np.full((4, 6, 3), shade, np.uint8))


def test_records_are_in_the_order_in_which_they_were_logged(logger):
    """The records are those that a writer gets, with steps and payloads."""
    assert [record.step for record in logger.records if "train/loss" in record.values] == [*range(6)]
    (first, _) = [record.values["val/hard"] for record in logger.records if "val/hard" in record.values]
    assert isinstance(first, ImagePayload)
    assert sorted(logger.names) == ["train/loss", "val/hard", "val/loss_max", "val/loss_mean"]


def test_the_callback_is_added_where_the_trainer_has_none(tmp_path):
    """As with TrackPlusLogger, a Trainer needs no other argument."""
    logger = CapturingLogger()
    quiet_trainer(tmp_path, logger=logger).validate(LoggingModule(validation_step=step), loader(), verbose=False)
    assert logger.values("val/loss_mean") == [4.5]


def test_what_was_logged_can_be_asked_for_while_it_is_logged(tmp_path):
    """A call waits until what was logged before is there."""
    seen = []

    def end(module, batch, index):
        module.log("number", 1.0)
        module.logger.log_media("note", Text("now"))
        seen.extend(item.value for item in logger.media("note"))

    logger = CapturingLogger()
    quiet_trainer(tmp_path, logger=logger).fit(LoggingModule(on_train_epoch_end=end), loader())
    assert seen == ["now"]
    assert logger.values("number") == [1.0]


SAMPLES = np.arange(-400, 400, dtype=np.int16)
FRAMES = np.arange(3, dtype=np.uint8).repeat(3 * 16 * 16).reshape(3, 3, 16, 16) * 80


class Notes(Media[str]):
    """A medium of its own kind of file."""

    kind = "note"
    suffix = ".note"

    def snapshot_item(self, item):
        return item

    def encode_item(self, item):
        return item.encode()


@pytest.mark.parametrize(
    ("medium", "kind", "expected"),
    [
        (Image(np.zeros((8, 8), np.uint8)), "image", np.zeros((8, 8), np.uint8)),
        (Video(FRAMES, fps=4), "video", FRAMES.transpose(0, 2, 3, 1)),
        (Audio(SAMPLES, sample_rate=8000), "audio", SAMPLES[None]),
        (Text("zwei: ü"), "text", "zwei: ü"),
        (Html("<p>ü</p>"), "html", "<p>ü</p>"),
        (Table([(7, 0.5), (8, None)], columns=["n", "x"]), "table", TableData(("n", "x"), ((7, 0.5), (8, None)))),
        (Notes(["do re mi"]), "note", b"do re mi"),
        (Histogram(torch.tensor([0.0, 1.0]), bins=2), "histogram", [[0, 0.5, 1], [0.5, 1, 1]]),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isalpha() else "",
)
def test_each_kind_is_decoded(medium, kind, expected):
    logger = CapturingLogger()
    logger.log_media("medium", medium, step=7)
    (item,) = logger.media("medium")
    assert (item.step, item.kind, item.caption, item.score) == (7, kind, None, None)
    if kind in {"text", "html", "table", "note"}:
        assert item.value == expected
    else:
        np.testing.assert_allclose(item.value, expected, atol=3 if kind == "video" else 0)


def test_a_name_that_was_not_logged_is_an_error_that_names_the_others(logger):
    """A typo in a test does not pass as an empty list."""
    message = (
        "No number was logged as 'val/loss_mx'; expected one of ['train/loss', 'epoch', 'val/loss_mean',"
        " 'val/loss_max']. Did you mean 'val/loss_max'?"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        logger.values("val/loss_mx")
    with pytest.raises(
        ValueError, match=re.escape("No medium was logged as 'train/loss'; expected one of ['val/hard'].")
    ):
        logger.media("train/loss")


def test_its_temporary_directory_goes_with_it(tmp_path):
    """Checkpoints lie there until the logger is gone; a directory that was given stays."""
    logger, lasting = CapturingLogger(), CapturingLogger(tmp_path / "kept")
    for one in (logger, lasting):
        quiet_trainer(tmp_path, logger=one, enable_checkpointing=True).fit(LoggingModule(), loader())
    folders = Path(logger.save_dir), Path(lasting.save_dir)
    assert all(list(folder.rglob("*.ckpt")) for folder in folders)
    assert folders[1] == tmp_path / "kept"
    del logger, lasting, one
    gc.collect()
    assert [folder.exists() for folder in folders] == [False, True]


def test_the_module_is_an_attribute_of_the_package():
    assert lightning_trackplus.testing.CapturingLogger is CapturingLogger
