"""What a new interpreter loads, and when, and what it does where something is not there to be loaded."""

from __future__ import annotations

import json
import os

import pandas
import pytest

import lightning_trackplus
from tests.support.csv_files import read_metrics
from tests.support.programs import run_python

PROGRAM = """
import json, os, sys

heavy = {"torch", "lightning", "tensorboard", "PIL", "wandb", "comet_ml", "mlflow", "pytorch_lightning"}
loaded = lambda: sorted(heavy & set(sys.modules))
import lightning_trackplus
said = {"with the package": loaded()}

import tests.flavour as L
import torch
if (without_tensorboard := os.fork()) == 0:
    import importlib.abc, importlib.metadata, importlib.util, warnings

    class Missing(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name.split(".")[0] in ("tensorboard", "tensorboardX"):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Missing())
    find_spec, distribution = importlib.util.find_spec, importlib.metadata.distribution
    importlib.util.find_spec = lambda name, *a: None if name.startswith("tensorboard") else find_spec(name, *a)

    def absent(name):
        if name.startswith("tensorboard"):
            raise importlib.metadata.PackageNotFoundError(name)
        return distribution(name)

    importlib.metadata.distribution = absent
    from lightning_trackplus import Image, Text, TrackPlus, TrackPlusLogger
    from tests.support.training import LoggingModule, loader, quiet_trainer

    def step(module, batch, index):
        module.log("x", batch[:, 0], reduce_fx=["max"])
        module.log("img", Image(torch.rand(3, 4, 4)))

    root = sys.argv[2]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logger = TrackPlusLogger(root)
    assert [str(w.message) for w in caught] == [
        "TrackPlusLogger writes CSV instead of TensorBoard events, since tensorboard is not installed. To get"
        " events, install it with `pip install tensorboard`."
    ], caught
    TrackPlusLogger(root, writers=("csv",))
    trainer = quiet_trainer(root, callbacks=[TrackPlus()], logger=logger)
    trainer.fit(LoggingModule(validation_step=step), loader(), loader())
    logger.experiment.add_scalar("ignored", 1.0)
    assert "tensorboard" not in sys.modules
    sys.exit()
said["without tensorboard"] = os.waitpid(without_tensorboard, 0)[1]

from tests.flavour.pytorch.loggers import TensorBoardLogger
options = {"accelerator": "cpu", "default_root_dir": sys.argv[1]}
attached = lambda trainer: "AddTrackPlus" in [type(callback).__name__ for callback in trainer.callbacks]
said["attached to Lightning's own"] = attached(L.Trainer(**options))
said["our logger is loaded"] = "lightning_trackplus.logger.track_plus_logger" in sys.modules
import lightning_trackplus.logger.track_plus_logger
said["attached to Lightning's own beside our module"] = attached(L.Trainer(**options))

from lightning_trackplus.routing.media_dispatch import MediaDispatch
loggers = MediaDispatch(L.Trainer(logger=TensorBoardLogger(sys.argv[1]), **options))
loggers.deliver("report", lightning_trackplus.Text("one"), 7)
loggers.close()
said["for other loggers"] = loaded()

logger = lightning_trackplus.TrackPlusLogger()
said["attached to ours"] = attached(L.Trainer(logger=logger, **options))
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Return what an interpreter says of what it has loaded, from one step to the next.

    It is forked before anything has asked for tensorboard, and the fork cannot find that.
    """
    if not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    folder = tmp_path_factory.mktemp("loading")
    done = run_python("-W", "ignore", "-c", PROGRAM, folder / "with", folder / "without", cwd=folder)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout.splitlines()[-1]), "folder": folder / "without", "errors": done.stderr}


def test_importing_the_package_loads_nothing_that_is_large(said):
    """The public names are loaded when they are used."""
    assert said["with the package"] == []
    assert {name: getattr(lightning_trackplus, name).__name__ for name in lightning_trackplus.__all__} == {
        name: name for name in lightning_trackplus.__all__
    }
    assert set(lightning_trackplus.__all__) <= set(dir(lightning_trackplus))
    with pytest.raises(AttributeError, match="has no attribute 'NoSuchName'"):
        lightning_trackplus.NoSuchName  # noqa: B018


def test_the_slurm_or_default_trainer_is_untouched_by_our_entry_point(said):
    """A Trainer in a process without a waiting TrackPlusLogger gets no callback of ours."""
    assert said["attached to Lightning's own"] is False
    assert said["our logger is loaded"] is False
    assert said["attached to Lightning's own beside our module"] is False
    assert said["attached to ours"] is True


def test_no_package_is_loaded_before_its_logger_is_used(said):
    """Media for a TensorBoardLogger load neither wandb nor mlflow; of Lightning, both packages."""
    assert (
        {"torch", "lightning", "pytorch_lightning", "tensorboard", "PIL"}
        >= set(said["for other loggers"])
        >= {"torch", "lightning"}
    )


def test_where_tensorboard_is_missing_csv_is_written_and_said_once(said):
    """In an interpreter that cannot find tensorboard, a run goes on with CSV."""
    assert said["without tensorboard"] == 0, said["errors"]
    run = said["folder"] / "lightning_logs/version_0"
    assert read_metrics(run)["x_max"].tolist() == [9.0]
    assert len(pandas.read_csv(run / "media.csv")) == 3
    assert not list(said["folder"].rglob("events*"))
