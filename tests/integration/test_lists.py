"""Lists that are no ``list``: those of OmegaConf, as Hydra and ``self.hparams`` hand them over, and other sequences."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from lightning_trackplus import GradientNorms, Histogram, Image, Table, Text, TrackPlus, TrackPlusLogger
from tests.support.csv_files import read_metrics
from tests.support.recording import numbers
from tests.support.training import LoggingModule, loader, quiet_trainer

BOX = {"position": {"minX": 0.0, "maxX": 0.5, "minY": 0.0, "maxY": 0.5}, "class_id": 0}


def run(folder, of, of_tensors=list):
    """Train with all that takes a list; return the metrics, the columns, and the bytes of all media by their files."""

    def validation_step(module, batch, index):
        rows = batch[:, 0]
        module.log("x", rows, reduce_fx=of(["mean", "p95"]))
        module.log("parts", torch.arange(2.0), names=of(["a", "b"]))
        module.log("lines", of(["a", "b"]))
        module.log("text", Text(of(["a", "b", "c"]), of(["1", "2", "3"]), of([1.0, 2.0, 3.0])), reduce_fx=of(["top1"]))
        module.log("bins", Histogram(rows, bins=of([0.0, 1.0, 2.0])))
        module.log("table", Table(of([[1, 2], [3, 4]]), columns=of(["a", "b"])))
        module.log("image", Image(of_tensors([torch.ones(3, 4, 4)]), value_range=of([0.0, 2.0]), boxes=of([boxes])))

    boxes = {"truth": {"box_data": [BOX]}}
    track = TrackPlus(reducers=of({"x": ["min", "max"], "y": "ema"}), samples=of({"train": 4}))
    norms = GradientNorms(by_layer=of(["layer"]))
    logger = TrackPlusLogger(folder, writers=of(["csv"]), x_axis=of({"x": "epoch"}), hparam_metrics=of({"y": "min"}))
    trainer = quiet_trainer(folder, callbacks=[track, norms], logger=logger, max_epochs=1)
    torch.manual_seed(0)
    module = LoggingModule(validation_step=validation_step, training_step=lambda m, b, i: m.log("y", b[:, 0].mean()))
    trainer.fit(module, loader(), loader())
    run = Path(logger.log_dir)
    files = {path.relative_to(run): path.read_bytes() for path in run.glob("media/**/*.*")}
    return numbers(trainer.callback_metrics), list(read_metrics(run)), files


def as_deques(value):
    """Return lists as deques."""
    return deque(value) if isinstance(value, list) else value


@pytest.mark.filterwarnings("ignore:TrackPlus.samples")
@pytest.mark.parametrize(("of", "of_tensors"), [(OmegaConf.create, tuple), (as_deques, deque)])
def test_any_sequence_is_taken_for_a_list(tmp_path, of, of_tensors):
    """The run is that of lists, number by number and file by file."""
    expected = run(tmp_path / "lists", list_or_dict)
    assert {"x_p95", "x_max", "y_ema", "parts/b"} < set(expected[0])
    assert len({path.parent for path in expected[2]}) == 5
    assert run(tmp_path / "others", of, of_tensors) == expected


def list_or_dict(value):
    """Return what was given."""
    return value
