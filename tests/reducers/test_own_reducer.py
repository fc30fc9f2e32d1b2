"""A reducer of somebody else, with public imports only, against numpy on all values of an epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_trackplus import Reducer, TrackPlus
from lightning_trackplus.testing import CapturingLogger
from tests.support.recording import numbers
from tests.support.resuming import every_step, train
from tests.support.training import LoggingModule, goes_on_exactly, loader, quiet_trainer

VALUES = np.random.default_rng(0).normal(size=(3, 70_000)).cumsum(axis=1)
"""More values than a reducer summarizes at once."""


class LargestJump(Reducer):
    """The largest difference between a value and the next."""

    weighted = False

    @property
    def name(self):
        return "jump"

    def summarize(self, samples):
        if not len(samples.values):
            return np.array([])
        jumps = np.abs(np.diff(samples.values))
        return np.array([samples.values[0], samples.values[-1], jumps.max(initial=0)])

    def merge(self, left, right):
        if not len(left) or not len(right):
            return left if len(left) else right
        return np.array([left[0], right[1], max(left[2], right[2], abs(right[0] - left[1]))])

    def result(self, state):
        return state[2] if len(state) else np.nan


def step(module, batch, index):
    values = torch.from_numpy(VALUES[index])
    module.log("alone", values, reduce_fx=LargestJump())
    module.log("beside", values, reduce_fx=["max", LargestJump()])
    module.log("configured", values, reduce_fx="min")


def test_a_reducer_with_public_imports_reduces_an_epoch():
    """It works alone, beside one of ours, and from the configuration; the epoch has values from several batches."""
    logger = CapturingLogger()
    callback = TrackPlus(reducers={"configured": LargestJump()})
    trainer = quiet_trainer(logger.save_dir, logger=logger, callbacks=[callback], max_epochs=2)
    trainer.fit(LoggingModule(validation_step=step), loader(), loader())
    expected = np.abs(np.diff(VALUES.reshape(-1))).max()
    assert expected == max(abs(VALUES[1, 0] - VALUES[0, -1]), abs(VALUES[2, 0] - VALUES[1, -1])), "between two batches"
    for name in ("alone", "beside_jump", "configured_jump"):
        assert logger.values(name) == [expected] * 2
    assert logger.values("beside_max") == [VALUES.max()] * 2


def test_a_reducer_with_public_imports_is_a_metric():
    """It has torchmetrics' calls too, and no values are NaN."""
    jump = LargestJump()
    for values in VALUES:
        jump.update(torch.from_numpy(values))
    assert jump.compute() == pytest.approx(np.abs(np.diff(VALUES.reshape(-1))).max(), rel=1e-15)
    jump.reset()
    with pytest.warns(UserWarning, match="compute"):
        assert jump.compute().isnan()


class Largest(Reducer):
    """The sum of the largest three values, whose state is a reversed view of whole numbers."""

    name = "largest"

    def summarize(self, samples):
        return np.sort(samples.values.astype(np.int32))[::-1][:3]

    def merge(self, left, right):
        return np.sort(np.concatenate([left, right]))[::-1][:3]

    def result(self, state):
        return float(state.sum())


def whole_numbers(module, _, index):
    """Log the numbers from zero to the batch's, in steps of one to six."""
    values = torch.arange(6.0) * (1 + index)
    module.own.update(values)
    module.log("called", values, reduce_fx=Largest(), on_epoch=True, on_step=False)
    module.log("own", module.own, on_epoch=True, on_step=False)


@goes_on_exactly
def test_a_state_is_any_row_of_numbers(tmp_path):
    """Checkpoints and torchmetrics' states keep integers, also in a view."""
    for path in (None, tmp_path / "step=4.ckpt"):
        module = LoggingModule(training_step=whole_numbers)
        module.own = Largest()
        options = {"max_epochs": 1, "enable_checkpointing": True, "ckpt_path": path}
        trainer, _ = train(tmp_path, every_step(tmp_path), module=module, **options)
        assert numbers(trainer.callback_metrics) == {"called": 30.0 + 25.0 + 24.0, "own": 30.0 + 25.0 + 24.0}
    one, other = Largest(), Largest()
    one.update(torch.tensor([5.0, 7.0]))
    other.update(torch.tensor([6.0, 1.0]))
    one.merge_state(other)
    assert one.compute() == 18.0


@pytest.mark.parametrize(
    ("state", "given"), [([0.0, 0.0], "a list"), (np.zeros((1, 2)), r"an array of shape \(1, 2\) and float64")]
)
def test_a_state_that_cannot_be_saved_is_refused(state, given):
    """A list or a table would be lost in a checkpoint or in torchmetrics' states."""

    class Unfit(LargestJump):
        def summarize(self, samples):
            return state

    with pytest.raises(TypeError, match=f"^Unfit.summarize returned {given}; expected a state that is a one-dim"):
        Unfit().update(1.0)
