"""A run that is looked at while it is written: real TensorBoard servers, with both of its loaders."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request

from lightning_trackplus import TrackPlus, TrackPlusLogger
from tests.formats.test_flat_hparams import LOADERS, PATIENCE, Tab
from tests.support.training import LoggingModule, loader, quiet_trainer


class Charts(Tab):
    """What a TensorBoard process answers when its charts ask."""

    def wait_for_curve(self, run, tag, expected):
        """Return steps and values of a curve, once they are those expected or patience is at an end."""
        end = time.monotonic() + PATIENCE
        while (found := self._curve(run, tag)) != expected and time.monotonic() < end:
            time.sleep(0.05)
        return found

    def _curve(self, run, tag):
        address = re.search(r"http://localhost:\d+/", self._log.read_text())
        if address is None:
            return None
        try:
            url = f"{address[0]}data/plugin/scalars/scalars?run={run}&tag={tag}"
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                return [(step, value) for _, step, value in json.load(answer)]
        except urllib.error.HTTPError:
            return None  # It has not seen the tag yet.


@LOADERS
def test_each_reload_shows_what_was_flushed(tmp_path, options):
    """With hyper-parameters, another axis, evaluation series and a resume: the server never stands still."""

    def fit(epochs, **fit_options):
        module = LoggingModule(
            training_step=lambda m, b, i: m.log("loss", m.global_step / 8),
            validation_step=lambda m, b, i: m.log("val", m.current_epoch / 2, on_step=True, on_epoch=True),
        )
        module.save_hyperparameters({"lr": 0.1})
        logger = TrackPlusLogger(tmp_path, name="", version="run", x_axis={"val_epoch": "epoch"})
        trainer = quiet_trainer(
            tmp_path, callbacks=[TrackPlus()], logger=logger, max_epochs=epochs, num_sanity_val_steps=0
        )
        trainer.fit(module, loader(8), loader(4), **fit_options)
        return trainer

    (tmp_path / "run").mkdir()
    with Charts(tmp_path, *options) as charts:
        trainer = fit(2)
        trainer.save_checkpoint(tmp_path / "two.ckpt")
        losses = [(step, step / 8) for step in range(4)]
        assert charts.wait_for_curve("run", "loss", losses) == losses
        assert charts.wait_for_curve("run", "val_epoch", [(0, 0.0), (1, 0.5)]) == [(0, 0.0), (1, 0.5)]

        fit(3, ckpt_path=tmp_path / "two.ckpt")
        losses = [(step, step / 8) for step in range(6)]
        assert charts.wait_for_curve("run", "loss", losses) == losses
        batches = [(0, 0.0), (1, 0.5), (2, 1.0)]
        assert charts.wait_for_curve("run/validation_batches", "val_step", batches) == batches

        logger = TrackPlusLogger(tmp_path, name="", version="run")
        logger.log_metrics({"loss": 6 / 8, "epoch": 3}, step=6)
        logger.flush()
        assert charts.wait_for_curve("run", "loss", [*losses, (6, 6 / 8)]) == [*losses, (6, 6 / 8)]
        logger.finalize("success")
