"""``lightning_trackplus.log``, which has types for all that ``self.log`` takes."""

from __future__ import annotations

import pandas
import pytest

import tests.flavour as L
from lightning_trackplus import TrackPlus, TrackPlusLogger
from tests.support.training import loader, quiet_trainer
from tests.support.typed_logging import Typed

# So that mypy can check it, the module is one of `lightning`.
pytestmark = pytest.mark.skipif(not issubclass(Typed, L.LightningModule), reason="the module is one of lightning")


def test_it_logs_what_self_log_does(tmp_path):
    """Numbers, media, names and reductions arrive."""
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=TrackPlusLogger(tmp_path))
    trainer.fit(Typed(), loader(), loader())
    logged = {name: value.item() for name, value in trainer.callback_metrics.items() if name != "train/loss"}
    assert logged == {
        "val/loss_mean": 4.5,
        "val/loss_p95": pytest.approx(8.55),
        "val/loss_p10": 0.9,
        "val/dict/mean": 4.5,
        "val/class/zero": 1,
        "val/class/one": 1,
    }
    media = pandas.read_csv(f"{trainer.log_dir}/media.csv")
    assert dict(media.groupby("name").size()) == {
        "val/hard": 2,
        "val/harder_top1": 1,
        "val/dict/note": 3,
        "val/table": 1,
        "val/confusion": 1,
    }
