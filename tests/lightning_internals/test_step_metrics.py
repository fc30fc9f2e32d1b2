"""What a step shows is what Lightning shows of the same entries."""

from __future__ import annotations

import torch

from lightning_trackplus.lightning_internals.step_metrics import StepMetrics
from tests.flavour.pytorch.trainer.connectors.logger_connector.result import _ResultCollection


def test_another_entry_in_the_place_of_one_is_shown():
    """Where Lightning has as many entries as before, and one of them is new, the step shows the new one."""
    results = _ResultCollection(training=True)
    shown = StepMetrics(results)
    for name, value in (("x", 1.5), ("y", 2.5)):
        results.clear()
        results.log("training_step", name, torch.tensor(value), on_step=True, on_epoch=False, prog_bar=True)
        assert repr(shown(True)) == repr(results.metrics(True))
        assert shown(True)["log"] == {name: value}
