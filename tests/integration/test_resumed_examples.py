"""The examples, cut off and resumed in their run with the config.yaml that LightningCLI has saved there."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml

from lightning_trackplus.reading.verify import differences
from tests.support.csv_files import read_metrics
from tests.support.programs import as_a_program

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = ["--trainer.accelerator=cpu", "--trainer.max_epochs=2", "--trainer.log_every_n_steps=1"]
RUNS = {
    "digits": (["--data.batch_size=200"], "DigitNet", "last.ckpt", 8, 16, "val/loss_p95"),
    "tones": (["--data.batch_size=25", "--data.count=200"], "ToneNet", "epoch=0-step=7.ckpt", 7, 8, "val/accuracy"),
}


@pytest.mark.parametrize("name", RUNS)
def test_the_saved_config_goes_on_in_the_run_that_was_cut_off(tmp_path, monkeypatch, name):
    """The run is whole afterwards, and has the config of both sessions."""
    options, module, checkpoint, steps, width, validated = RUNS[name]
    monkeypatch.syspath_prepend(EXAMPLES)
    example = importlib.import_module(name)
    run = tmp_path / "lightning_logs/version_0"

    def cut_off(module, batch, batch_idx):
        if (module.current_epoch, batch_idx) == (1, 3):
            raise KeyError("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(getattr(example, module), "on_train_batch_start", cut_off)
        words = ["--config", EXAMPLES / f"{name}.yaml", *SMALL, *options]
        with as_a_program("fit", *words, folder=tmp_path), pytest.raises(KeyError, match="cut off"):
            example.main()
    assert read_metrics(run)["train/loss"].count() == steps + 3

    again = ["--config", run / "config.yaml", "--ckpt_path", run / "checkpoints" / checkpoint]
    with as_a_program("fit", *again, folder=tmp_path):
        example.main()

    assert [path.name for path in run.parent.iterdir()] == ["version_0"]
    metrics = read_metrics(run).set_index("step")
    assert metrics["train/loss"].dropna().index.tolist() == list(range(2 * steps))
    assert metrics[validated].dropna().index.tolist() == [steps - 1, 2 * steps - 1]
    assert differences(run) == []
    first, second = (yaml.safe_load((run / file).read_text()) for file in ("config.yaml", "config_1.yaml"))
    assert second.pop("ckpt_path") == str(run / "checkpoints" / checkpoint)
    assert first.pop("ckpt_path") is None
    assert first == second
    assert yaml.safe_load((run / "hparams.yaml").read_text()) == {"width": width, "learning_rate": 3e-3}
