"""``lightning`` and ``pytorch_lightning``: one of them, or both, in whatever order they are imported.

`tox run -e standalone` has an environment with pytorch-lightning alone.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PACKAGES = {"lightning": "lightning", "pytorch_lightning": "pytorch_lightning"}
BOTH = all(importlib.util.find_spec(name) is not None for name in PACKAGES)

PROGRAM = """
import importlib, importlib.util, logging, sys, warnings

ours_first, root, theirs = sys.argv[1] == "ours first", sys.argv[2], sys.argv[3]
if ours_first:
    from lightning_trackplus import Image, TrackPlus, TrackPlusLogger
pl = importlib.import_module(theirs)
import torch
from torch.utils.data import DataLoader
from lightning_trackplus import Image, TrackPlus, TrackPlusLogger, read_run

said = []

class Said(logging.Handler):
    def emit(self, record):
        said.append(record.name)

for name in ("lightning.pytorch", "pytorch_lightning"):
    logging.getLogger(name).handlers = [Said()]
    logging.getLogger(name).propagate = False

class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        self.log("loss", loss := self.layer(batch).mean(), prog_bar=True)
        self.log("train", batch[:, 0], reduce_fx=["max", "p50"], on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/value", batch.mean(), on_step=True, on_epoch=True)
        self.log("val/images", Image(torch.rand(len(batch), 3, 8, 8)), reduce_fx="first2")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

def fit(epochs, **options):
    trainer = pl.Trainer(
        max_epochs=epochs, log_every_n_steps=1, accelerator="cpu", enable_progress_bar=False, default_root_dir=root,
        enable_model_summary=False, logger=TrackPlusLogger(version="auto"),
    )
    batches = DataLoader(torch.arange(8.0).reshape(8, 1), batch_size=2), DataLoader(torch.rand(4, 1))
    trainer.fit(Module(), *batches, **options)
    return trainer

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    trainer = fit(2)
    again = fit(3, ckpt_path=trainer.checkpoint_callback.best_model_path)
assert not [str(one.message) for one in caught if "trackplus" in str(one.message).lower()]
assert isinstance(trainer.logger, (pl.loggers.TensorBoardLogger, pl.loggers.Logger))
assert isinstance(TrackPlus(), pl.Callback)
assert trainer.log_dir == trainer.logger.log_dir == again.log_dir
assert trainer.log_dir.startswith(root)
run = read_run(again.log_dir)
trained = run.metrics.dropna(subset=["loss"])
assert trained["step"].tolist() == list(range(12))
assert run.metrics["train_max"].dropna().tolist() == [7.0] * 3
assert run.metrics["val/value_step"].notna().sum() == 12
assert sorted({item.step for item in run.media}) == [3, 7, 11]
assert trainer.callback_metrics["train_p50"] == 3.5

try:
    TrackPlus(reducers={"x": "nosuch"})
except importlib.import_module(theirs + ".utilities.exceptions").MisconfigurationException:
    pass
assert said and set(said) <= {name for name in said if name.startswith(theirs)}, said

other = "pytorch_lightning" if theirs.startswith("lightning") else "lightning"
if sys.argv[4] == "alone":
    assert importlib.util.find_spec(other) is None
    try:
        importlib.import_module(other)
    except ModuleNotFoundError:
        pass
    else:
        raise AssertionError("it is there")
"""


def run(*arguments: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the program, with this environment's packages, or with those of a folder alone."""
    begin = "" if path is None else f"import sys; sys.path[:0] = [{str(CHECKOUT)!r}, {str(path)!r}]\n"
    return subprocess.run(
        [sys.executable, *(["-I", "-S"] if path else []), "-W", "ignore", "-c", begin + PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=None if path else CHECKOUT,
        check=False,
    )


@pytest.mark.skipif(not BOTH, reason="one of lightning and pytorch-lightning is not installed")
@pytest.mark.parametrize("order", ["ours first", "theirs first"])
def test_both_are_installed(order, tmp_path):
    """A run, its resume, reducers, media, exceptions and messages are those of the package that the user imports."""
    done = run(order, tmp_path, "pytorch_lightning", "both")
    assert done.returncode == 0, done.stderr


OF_FABRIC = """
import warnings
import lightning_fabric
from lightning_utilities.core import rank_zero

before = rank_zero.log, rank_zero.rank_zero_deprecation_category, warnings.formatwarning
from lightning_trackplus import TrackPlusLogger
assert before == (rank_zero.log, rank_zero.rank_zero_deprecation_category, warnings.formatwarning)
assert TrackPlusLogger.__base__.__module__.startswith("pytorch_lightning.")
"""


@pytest.mark.skipif(not BOTH, reason="one of lightning and pytorch-lightning is not installed")
def test_fabric_alone():
    """Who has imported no more than `lightning_fabric` keeps its messages."""
    subprocess.run([sys.executable, "-c", OF_FABRIC], check=True, timeout=280, cwd=CHECKOUT)


@pytest.mark.skipif(not BOTH, reason="one of lightning and pytorch-lightning is not installed")
@pytest.mark.parametrize("theirs", ["lightning.pytorch", "pytorch_lightning"])
def test_one_is_installed(theirs, tmp_path):
    """The other one is not there after our package is imported either."""
    root = theirs.split(".")[0]
    (other,) = [name for name in PACKAGES if name != root]
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("purelib", "platlib"):
        for entry in Path(sysconfig.get_paths()[name]).iterdir():
            hidden = entry.name in (other, "__editable__") or entry.name.startswith(f"{other}-")
            if not hidden and entry.suffix != ".pth" and not (packages / entry.name).exists():
                (packages / entry.name).symlink_to(entry)
    done = run("ours first", tmp_path / "root", theirs, "alone", path=packages)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(
    importlib.util.find_spec("pytorch_lightning") is None or importlib.util.find_spec("lightning") is not None,
    reason="pytorch-lightning is not installed alone",
)
def test_pytorch_lightning_alone(tmp_path):
    """In an environment that never had the other one."""
    done = run("ours first", tmp_path, "pytorch_lightning", "alone")
    assert done.returncode == 0, done.stderr
