"""A writer of somebody else, with public imports only: JSON lines with files beside them."""

from __future__ import annotations

import json

import numpy as np
import PIL.Image
import pytest
import torch

from lightning_trackplus import Image, Record, Text, TrackPlus, TrackPlusLogger, Writer
from lightning_trackplus.record import Encoded, HistogramPayload, Payload
from tests.support.training import LoggingModule, loader, quiet_trainer


class JsonLines:
    """Writes a line for each record, and a file for each item of media."""

    def __init__(self, folder):
        self.folder = folder
        self.lines = None

    def write(self, record: Record[Payload]) -> None:
        if self.lines is None:
            self.lines = (self.folder / "log.jsonl").open("a")
        values = {name: self._described(record.step, name, value) for name, value in record.values.items()}
        self.lines.write(json.dumps({"step": record.step, "epoch": record.epoch, "values": values}) + "\n")

    def flush(self) -> None:
        if self.lines is not None:
            self.lines.flush()

    def close(self) -> None:
        if self.lines is not None:
            self.lines.close()
            self.lines = None

    def _described(self, step, name, value):
        if isinstance(value, int | float):
            return value
        if isinstance(value, HistogramPayload):
            return [counts.rows()[:, 2].sum() for counts in value.bins]
        assert isinstance(value, Encoded)
        items = []
        for index, item in enumerate(value.items):
            path = self.folder / f"{name.replace('/', '-')}-{step}-{index}{item.suffix}"
            path.write_bytes(item.data)
            items.append({"file": path.name, "caption": item.caption, "score": item.score})
        return items


def step(module, batch, index):
    module.log("val/loss", batch[:, 0], reduce_fx="max")
    shades = batch[:, 0].to(torch.uint8)[:, None, None, None].expand(-1, 3, 4, 6)
    module.log("val/hard", Image(shades, caption="shade", score=batch[:, 0]), reduce_fx="top2")
    module.log("val/spread", batch[:, 0], reduce_fx="histogram")
    if index == 0:
        module.log("val/note", Text("All is well."))


@pytest.mark.parametrize("others", [[], ["csv"]])
def test_a_writer_with_public_imports_gets_a_whole_training(tmp_path, others):
    """Numbers, selected images, texts and histograms are in its files, alone and beside a writer of ours."""
    folder = tmp_path / "own"
    folder.mkdir()
    writer = JsonLines(folder)
    assert isinstance(writer, Writer)
    logger = TrackPlusLogger(tmp_path, writers=[writer, *others])
    trainer = quiet_trainer(tmp_path, logger=logger, callbacks=[TrackPlus()], max_epochs=2)
    trainer.fit(LoggingModule(validation_step=step), loader(), loader())
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    logged = {
        name: [
            (record["step"], record["epoch"], record["values"][name]) for record in records if name in record["values"]
        ]
        for name in ("val/loss", "val/hard", "val/spread", "val/note")
    }
    assert logged["val/loss"] == [(2, 0, 9.0), (5, 1, 9.0)]
    assert logged["val/spread"] == [(2, 0, [10.0]), (5, 1, [10.0])]
    for (at, _, hard), (_, _, note) in zip(logged["val/hard"], logged["val/note"], strict=True):
        assert [(item["caption"], item["score"]) for item in hard] == [("shade", 9.0), ("shade", 8.0)]
        for item, shade in zip(hard, (9, 8), strict=True):
            np.testing.assert_array_equal(PIL.Image.open(folder / item["file"]), np.full((4, 6, 3), shade))
        assert (folder / note[0]["file"]).read_text() == "All is well."
        assert at in {2, 5}
