"""Runs that real Trainers begin, break off and continue, as they lie in the run directory and in TensorBoard."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
import torch
import yaml

from lightning_trackplus import Image, TrackPlus, TrackPlusLogger
from lightning_trackplus.reading.verify import differences
from lightning_trackplus.run.lock import RunInUseError
from lightning_trackplus.run.version import auto_version
from tests.flavour.pytorch.callbacks import Callback, ModelCheckpoint
from tests.flavour.pytorch.cli import LightningCLI
from tests.flavour.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from tests.run.test_resume import in_fast_loader, in_slow_loader, in_table
from tests.support.forking import Forked, two_ranks
from tests.support.resuming import Save
from tests.support.training import LoggingModule, goes_on_exactly, loader, quiet_trainer

EPOCHS = 3


class Module(LoggingModule):
    """Logs numbers that follow from epoch and batch alone, in all ways in which a row of the table is made.

    Args:
        late: The first step that has a name of its own.
        media: Whether each step logs a picture.
    """

    def __init__(self, *, late: int | None = None, media: bool = False) -> None:
        super().__init__()
        self.late, self.media = late, media

    def training_step(self, batch, batch_idx):
        place = float(10 * self.current_epoch + batch_idx)
        self.log("train/step", place)
        values = torch.arange(place, place + 5)
        self.log("train/epoch", values, reduce_fx=["mean", "p95", "count"], on_step=False, on_epoch=True)
        self.log("train/ema", place, reduce_fx="ema")
        if self.late is not None and self.global_step >= self.late:
            self.log("late", place)
        if self.media:
            self.log("picture", Image(torch.full((3, 2, 2), batch_idx / 10)))
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        place = float(1000 * self.global_step + batch_idx)
        self.log("val/loss", place, on_step=True, on_epoch=True)
        self.log("val/tail", torch.arange(place, place + 5), reduce_fx=["p95"])

    def on_train_epoch_end(self):
        self.log("end", float(self.current_epoch))


def fit(root, *callbacks, version="auto", track=True, ckpt_path=None, module=None, **options):
    """Train in a run of a root, whose folder's name is the version; return the run directory."""
    logger = TrackPlusLogger(root, name="", version=version, add_callback=track, **options.pop("logger", {}))
    callbacks = [*([TrackPlus()] if track else []), *callbacks]
    options = {"max_epochs": EPOCHS, "num_sanity_val_steps": 0, "enable_checkpointing": True, **options}
    trainer = quiet_trainer(root, callbacks=callbacks, logger=logger, **options)
    trainer.fit(module or Module(), loader(20), loader(8), ckpt_path=ckpt_path)
    return Path(logger.log_dir)


def checkpoints(**options):
    """Return what saves checkpoints named by their step, all of them."""
    return ModelCheckpoint(filename="{step}", save_top_k=-1, **options)


def plain(root, **options):
    """Train a module that Lightning's own ``log`` is left to."""
    module = LoggingModule(training_step=lambda m, b, i: m.log("x", float(m.global_step)))
    return fit(root, track=False, module=module, **{"max_epochs": 1, **options})


def runs(root):
    """Return the names of the run directories."""
    return sorted(path.name for path in Path(root).glob("version_*"))


RESUMES = {
    "in mid-epoch": ({"every_n_train_steps": 3}, {}, "step=3"),
    "in mid-epoch, later": ({"every_n_train_steps": 3}, {}, "step=12"),
    "at the last batch of an epoch": ({"every_n_train_steps": 5}, {}, "step=5"),
    "at a validation's end": ({"monitor": "val/tail_p95"}, {}, "step=5"),
    "at an epoch's end": ({"save_on_train_epoch_end": True}, {}, "step=10"),
    "the last": ({"every_n_train_steps": 4, "save_last": True}, {}, "last"),
    "at the end": ({"save_on_train_epoch_end": True}, {}, "step=15"),
    "within a validation in mid-epoch": ({"monitor": "val/tail_p95"}, {"val_check_interval": 2}, "step=7"),
    "where gradients accumulate": ({"every_n_train_steps": 2}, {"accumulate_grad_batches": 2}, "step=4"),
    "where few steps are logged": ({"every_n_train_steps": 4}, {"log_every_n_steps": 3}, "step=4"),
    "before a validation at a step that is not logged": (
        {"every_n_train_steps": 2},
        {"log_every_n_steps": 2},
        "step=4",
    ),
    "the same, at the end": ({"every_n_train_steps": 7}, {"log_every_n_steps": 2}, "step=14"),
}


PREFIXES = [(case, "") for case in RESUMES] + [("in mid-epoch", "mine"), ("within a validation in mid-epoch", "mine")]


@goes_on_exactly
@pytest.mark.parametrize(("case", "prefix"), PREFIXES)
def test_a_resumed_run_is_what_it_would_have_been(tmp_path, case, prefix):
    """To the byte, whatever it had logged beyond the checkpoint; both formats agree, and nothing is there twice."""
    saving, options, name = RESUMES[case]
    options = {**options, "logger": {"prefix": prefix}}
    run = fit(tmp_path, checkpoints(**saving), **options)
    table, events = (run / "metrics.csv").read_text(), in_slow_loader(run)
    # Which step the last one has differs from version to version.
    is_at_the_end = torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)["global_step"] == 15

    assert fit(tmp_path, ckpt_path=run / f"checkpoints/{name}.ckpt", **options) == run

    assert (run / "metrics.csv").read_text() == table
    assert in_slow_loader(run) == events
    assert differences(run) == []
    assert runs(tmp_path) == ["version_0"]
    assert (run / "backup/1/metrics.csv").is_file() == (not is_at_the_end)


class Relog(LoggingModule):
    """Logs with Lightning's own means, of which a checkpoint within a validation has a part."""

    def training_step(self, batch, batch_idx):
        self.log("mean", float(10 * self.current_epoch + batch_idx), on_step=True, on_epoch=True)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.log("val", float(self.global_step))

    def on_train_epoch_end(self):
        self.log("end", float(self.current_epoch))


@goes_on_exactly
@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize("hook", ["on_validation_start", "on_validation_end", "on_train_epoch_end"])
def test_the_step_of_the_checkpoint_keeps_its_values(tmp_path, hook, track):
    """Lightning ends the epoch again, with means of nothing; what the run has of it stays."""
    run = fit(tmp_path, Save(hook), module=Relog(), track=track, max_epochs=2)
    table = (run / "metrics.csv").read_text()
    options = {"version": "version_0", "max_epochs": 2, "module": Relog(), "track": track}
    fit(tmp_path, ckpt_path=tmp_path / f"{hook}-5.ckpt", **options)
    assert (run / "metrics.csv").read_text() == table
    assert differences(run) == []


@goes_on_exactly
def test_fewer_steps_and_other_names_leave_nothing_of_the_first_try(tmp_path):
    """In the table, in both loaders of TensorBoard and in the backup."""
    run = fit(tmp_path, checkpoints(every_n_train_steps=3), module=Module(late=8))
    before = in_table(run)

    fit(tmp_path, ckpt_path=run / "checkpoints/step=3.ckpt", max_epochs=1)

    table = in_table(run)
    assert set(table) == set(before)
    assert [step for step, _ in table["train/step"]] == [0, 1, 2, 3, 4]
    assert [step for step, _ in table["val/loss_step"]] == [0, 1]
    shown = {name: points for name, points in table.items() if points}
    assert set(before) - set(shown) == {"late"}
    single = {name: [(step, torch.tensor(value).item()) for step, value in shown[name]] for name in shown}
    assert in_slow_loader(run) == single
    assert in_fast_loader(tmp_path, lambda found: found.get("version_0") == single) == {"version_0": single}
    moved = in_table(run / "backup/1")
    assert moved["late"] == before["late"]
    assert [step for step, _ in moved["train/step"]] == list(range(3, 15))
    assert [step for step, _ in moved["val/loss_step"]] == list(range(6))


@goes_on_exactly
def test_media_go_on_with_the_run(tmp_path):
    """Each step has its picture once, and those of the first try are in the backup."""
    run = fit(tmp_path, checkpoints(every_n_train_steps=4), module=Module(media=True), max_epochs=2)
    fit(tmp_path, ckpt_path=run / "checkpoints/step=4.ckpt", module=Module(media=True), max_epochs=2)
    for folder, steps in ((run, range(10)), (run / "backup/1", range(4, 10))):
        index = pandas.read_csv(folder / "media.csv")
        assert index["step"].to_list() == list(steps)
        assert all((folder / file).read_bytes().startswith(b"\x89PNG") for file in index["file"])
        assert len(list((folder / "media").rglob("*.png"))) == len(steps)
    assert differences(run) == []


@goes_on_exactly
def test_a_run_can_be_resumed_again_and_again(tmp_path):
    """Each time what lay beyond has a folder of its own, and the run is the same in the end."""
    run = fit(tmp_path, checkpoints(every_n_train_steps=3))
    table = (run / "metrics.csv").read_text()
    for step in (12, 3, 9):
        # The later checkpoints are those of the branch that goes on.
        saving = checkpoints(every_n_train_steps=3, dirpath=run / "checkpoints", enable_version_counter=False)
        fit(tmp_path, saving, ckpt_path=run / f"checkpoints/step={step}.ckpt")
        assert (run / "metrics.csv").read_text() == table
    assert differences(run) == []
    moved = [pandas.read_csv(run / f"backup/{number}/metrics.csv")["train/step"].count() for number in (1, 2, 3)]
    assert moved == [3, 12, 6]


@goes_on_exactly
def test_more_epochs_go_on_behind_a_validation_of_their_own(tmp_path):
    """What ``validate`` logged after the training belongs to the last checkpoint: no batch has begun since."""
    whole = fit(tmp_path / "whole")
    saving = checkpoints(save_on_train_epoch_end=True)
    logger = TrackPlusLogger(tmp_path, name="", version=0)
    options = {"num_sanity_val_steps": 0, "enable_checkpointing": True, "max_epochs": EPOCHS - 1}
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(), saving], logger=logger, **options)
    trainer.fit(Module(), loader(20), loader(8))
    trainer.validate(Module(), loader(8), verbose=False)
    run = Path(logger.log_dir)
    assert differences(run) == []

    fit(tmp_path, ckpt_path=run / "checkpoints/step=10.ckpt")

    expected, found = in_table(whole), in_table(run)
    assert found["train/step"] == expected["train/step"]
    assert found["val/loss_epoch"] == [*expected["val/loss_epoch"][:2], (10, 10000.5), *expected["val/loss_epoch"][2:]]
    assert [value for _, value in found["val/loss_step"][4:6]] == [10000.0, 10001.0]
    assert [step for step, _ in found["val/loss_step"]] == list(range(8))
    assert differences(run) == []
    assert not (run / "backup").exists()


def test_batches_of_evaluations_are_counted_over_all_runs_of_trainers(tmp_path):
    """Training, validation and test of one version, with a new logger each time, have no step of a batch twice."""
    fit(tmp_path, version=0, max_epochs=1, logger={"prefix": "p"})
    for name in ("validate", "test"):
        logger = TrackPlusLogger(tmp_path, name="", version=0, prefix="p")
        module = Module()
        module.test_step = module.validation_step
        trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger)
        getattr(trainer, name)(module, loader(8), verbose=False)
    run = tmp_path / "version_0"
    assert [step for step, _ in in_table(run)["p-val/loss_step"]] == [0, 1, 2, 3, 4, 5]
    assert differences(run) == []


def test_without_a_checkpoint_a_version_is_appended_to(tmp_path):
    """Both series are there, nothing is moved, and TensorBoard's fast loader shows the later one."""
    for _ in range(2):
        run = plain(tmp_path, version=3)
    series = [(step, float(step)) for step in range(5)]
    assert in_table(run)["x"] == in_slow_loader(run)["x"] == series * 2
    assert in_fast_loader(tmp_path, lambda found: found == {"version_3": {"x": series}}) == {"version_3": {"x": series}}
    assert not (run / "backup").exists()
    assert runs(tmp_path) == ["version_3"]
    assert differences(run) == []


@goes_on_exactly
@pytest.mark.parametrize("track", [True, False])
def test_auto_is_the_run_of_the_checkpoint(tmp_path, track):
    """With the callback and without, by path and by ``"last"``; without a checkpoint it is the next number."""
    options = {"track": track, "module": Relog()}
    first, second = (
        fit(tmp_path, checkpoints(save_on_train_epoch_end=True), max_epochs=1, **options) for _ in range(2)
    )
    assert runs(tmp_path) == ["version_0", "version_1"]
    last = ModelCheckpoint(first / "checkpoints", save_last=True)
    assert fit(tmp_path, last, ckpt_path=first / "checkpoints/step=5.ckpt", max_epochs=2, **options) == first
    assert fit(tmp_path, last, ckpt_path="last", **options) == first
    assert fit(tmp_path, ckpt_path=os.path.relpath(second / "checkpoints/step=5.ckpt"), **options) == second
    assert runs(tmp_path) == ["version_0", "version_1"]
    assert (second / "checkpoints/epoch=2-step=15.ckpt").is_file()
    assert fit(tmp_path, max_epochs=1, **options) == tmp_path / "version_2"


@goes_on_exactly
def test_auto_is_the_run_of_a_checkpoint_that_lies_elsewhere(tmp_path):
    """As with ``ModelCheckpoint(dirpath=…)``: of several runs it is the one that saved it, which goes on exactly."""
    folders = [tmp_path / "first", tmp_path / "second"]
    made = [fit(tmp_path, ModelCheckpoint(folder, save_last=True), max_epochs=1, module=Relog()) for folder in folders]
    for run, folder in zip(made, folders, strict=True):
        assert fit(tmp_path, ckpt_path=folder / "last.ckpt", max_epochs=2, module=Relog()) == run
        assert differences(run) == []
    assert [in_table(run) for run in made] == [in_table(fit(tmp_path, max_epochs=2, module=Relog()))] * 2
    Path(folders[0], "last.ckpt").write_bytes(b"damaged")
    assert auto_version(made[0].parent, folders[0] / "last.ckpt") is None


SLURM = {"JOB_ID": "4711", "JOB_NAME": "train", "NTASKS": "1", "NTASKS_PER_NODE": "1", "LOCALID": "0"}
SLURM |= {"PROCID": "0", "NODEID": "0", "NODELIST": "n1", "NNODES": "1"}
ELASTIC = {"RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
JOBS = {
    "job_4711": {f"SLURM_{name}": value for name, value in SLURM.items()},
    "job_nightly": {"TORCHELASTIC_RUN_ID": "nightly", "MASTER_ADDR": "localhost", "MASTER_PORT": "29555", **ELASTIC},
}


@pytest.mark.parametrize("job", JOBS)
def test_auto_is_the_run_of_the_job(tmp_path, monkeypatch, job):
    """A job that is started again goes on in its run; outside of it the next number is taken."""
    with monkeypatch.context() as patch:
        for name, value in JOBS[job].items():
            patch.setenv(name, value)
        assert [plain(tmp_path).name for _ in range(2)] == [job, job]
    assert plain(tmp_path).name == "version_0"
    assert plain(tmp_path, version=None).name == "version_1"
    assert len(in_table(tmp_path / job)["x"]) == 10


class Model(BoringModel):
    def training_step(self, batch, batch_idx):
        self.log("x", float(batch_idx))
        return super().training_step(batch, batch_idx)


def cli(*arguments):
    """Run LightningCLI, and return the run directory."""
    return LightningCLI(Model, BoringDataModule, args=arguments).trainer.log_dir


BEGINNINGS = (
    lambda: plain("root", version=None),
    lambda: plain("root", version="auto"),
    lambda: cli("fit", "--config", "config.yaml"),
)


def begin_at_once(say, me, both):
    """Begin runs, each in the moment in which another process does, and say where they lie.

    Args:
        say: What says it.
        me: The name of this process.
        both: The names of both.
    """
    for number, begin in enumerate(BEGINNINGS):
        Path(f"{me} {number}").touch()
        while not all(Path(f"{name} {number}").exists() for name in both):
            pass
        say(str(begin()))


CONFIG = """
trainer:
  accelerator: cpu
  devices: 1
  max_epochs: 1
  limit_train_batches: 4
  log_every_n_steps: 1
  limit_val_batches: 0
  enable_progress_bar: false
  logger:
    class_path: lightning_trackplus.TrackPlusLogger
    init_args:
      save_dir: root
      name: ""
      version: auto
"""


def wait_for(process, word):
    """Return what a process says behind a word."""
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith(word):
            return line.removeprefix(word).strip()
    raise AssertionError("".join(said))


@goes_on_exactly
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks processes")
def test_processes_that_start_at_once_have_runs_of_their_own(tmp_path, monkeypatch):
    """With a version that is the next one, and with ``"auto"``, also where that stands in YAML; each run goes on."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(CONFIG)
    processes = [Forked(begin_at_once, me, ("one", "two")) for me in ("one", "two")]
    found = [list(process.rest()) for process in processes]
    assert [process.join() for process in processes] == [0, 0]
    by_beginning = [sorted(pair) for pair in zip(*found, strict=True)]
    assert by_beginning == [[f"root/version_{number}", f"root/version_{number + 1}"] for number in (0, 2, 4)]
    for number in range(4):
        assert in_table(Path(f"root/version_{number}"))["x"] == [(step, float(step)) for step in range(5)]
        assert len(list(Path(f"root/version_{number}").glob("events*"))) == 1

    checkpoint = "--ckpt_path=root/version_4/checkpoints/epoch=0-step=4.ckpt"
    cli("fit", "--config", "config.yaml", "--trainer.max_epochs=2", checkpoint)

    for number, epochs in ((4, 2), (5, 1)):
        run = Path(f"root/version_{number}")
        assert in_table(run)["x"] == [(step, float(step % 4)) for step in range(4 * epochs)]
        configs = [yaml.safe_load(path.read_text()) for path in sorted(run.glob("config*.yaml"))]
        assert [config["trainer"]["max_epochs"] for config in configs] == list(range(1, epochs + 1))
        assert differences(run) == []
    assert runs("root") == [f"version_{number}" for number in range(6)]


HOLD = """
import sys
from pathlib import Path
from lightning_trackplus.run.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.acquire()
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path):
    """A run directory that another process writes."""
    run = tmp_path / "version_0"
    process = subprocess.Popen([sys.executable, "-c", HOLD, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"locked\n"
    yield run
    process.kill()
    process.communicate()


@pytest.mark.parametrize("track", [True, False])
def test_a_run_that_another_process_writes_is_refused_before_the_training(tmp_path, held, track):
    """With what to do about it, and without a trace; the next number is free."""
    message = (
        f"The run directory {held} is still being written by a running process. Wait for it or end it, or leave out"
        " version= to start a new run."
    )
    trained = []
    module = LoggingModule(training_step=lambda *_: trained.append(1))
    with pytest.raises(RunInUseError, match=f"^{re.escape(message)}$"):
        fit(tmp_path, version=0, track=track, module=module)
    assert not trained
    assert not list(held.iterdir())
    assert plain(tmp_path, version=None).name == "version_1"


def refused(say, root):
    """Begin to train as one of two processes in a run that is in use, and say how that is refused."""
    with pytest.raises(RunInUseError) as caught:
        fit(root, version=0, devices=2, strategy="ddp", max_epochs=1)
    say(str(caught.value))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks processes")
def test_two_processes_are_refused_together(tmp_path, held):
    """None of them waits for the other."""
    ranks = two_ranks(refused, tmp_path)
    for rank in ranks:
        assert rank.hear().startswith(f"The run directory {held} is still being written by a running process.")
        assert rank.join() == 0
    assert not list(held.iterdir())


class Stop(Callback):
    """Ends the training in a batch, after what was logged is in the files.

    Args:
        batch: How many batches are trained before.
        how: What to do.
    """

    def __init__(self, batch, how):
        self.batch, self.how = batch, how

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == self.batch:
            trainer.logger.experiment.flush()
            self.how()


def killed(say, root):
    """Train until SIGKILL."""
    fit(root, checkpoints(every_n_train_steps=3), Stop(8, lambda: os.kill(os.getpid(), signal.SIGKILL)))


@goes_on_exactly
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks a process")
def test_a_killed_run_goes_on(tmp_path):
    """After SIGKILL, from its last checkpoint, it becomes what it would have been, and the kill shows nowhere."""
    whole = fit(tmp_path / "whole")
    root = tmp_path / "root"
    assert Forked(killed, root).join() == -signal.SIGKILL
    run = root / "version_0"
    assert [step for step, _ in in_table(run)["train/step"]] == list(range(8))
    assert differences(run) == []

    assert fit(root, ckpt_path=run / "checkpoints/step=6.ckpt") == run

    assert (run / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    assert in_slow_loader(run) == in_slow_loader(whole)
    assert differences(run) == []


def interrupt():
    raise KeyboardInterrupt


@goes_on_exactly
def test_an_interrupt_frees_the_run(tmp_path):
    """What was logged is there, and the same process can go on with it at once."""
    with pytest.raises(BaseException) as caught:
        fit(tmp_path, checkpoints(every_n_train_steps=3), Stop(4, interrupt), max_epochs=1)
    assert caught.type in (KeyboardInterrupt, SystemExit)
    run = tmp_path / "version_0"
    assert [step for step, _ in in_table(run)["train/step"]] == [0, 1, 2, 3]
    assert fit(tmp_path, ckpt_path=run / "checkpoints/step=3.ckpt", max_epochs=1) == run
    assert [step for step, _ in in_table(run)["train/step"]] == [0, 1, 2, 3, 4]
    assert differences(run) == []


def test_an_exception_frees_the_run(tmp_path):
    """A new logger for the same version is not refused."""

    def fail():
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fit(tmp_path, Stop(2, fail), version=0)
    assert len(in_table(plain(tmp_path, version=0))["x"]) == 5


@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize("version", [None, "auto"])
def test_what_logs_nothing_leaves_nothing(tmp_path, track, version):
    """A quick run, a prediction, and a training without a single value leave no folder, and take no number."""
    root = tmp_path / "root"
    callbacks = [TrackPlus()] if track else []
    for work in ("fast", "predict", "silent"):
        logger = TrackPlusLogger(root, version=version, add_callback=track)
        options = {"fast_dev_run": work == "fast", "callbacks": callbacks, "logger": logger}
        trainer = quiet_trainer(root, **options)
        if work == "predict":
            trainer.predict(LoggingModule(predict_step=lambda *_: None), loader())
        else:
            module = Module() if work == "fast" and track else LoggingModule()
            trainer.fit(module, loader(), loader(8))
        assert not [path for path in root.rglob("*") if path.name != "lightning_logs"]
    assert plain(root, version=version).name == "version_0"


def test_one_logger_serves_several_trainers(tmp_path):
    """The second one goes on in the same run, with its own steps."""
    logger = TrackPlusLogger(tmp_path, name="")
    for _ in range(2):
        trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger)
        trainer.fit(Module(), loader(20), loader(8))
        trainer.validate(Module(), loader(8), verbose=False)
    run = tmp_path / "version_0"
    assert [step for step, _ in in_table(run)["train/step"]] == [*range(5), *range(5)]
    assert [step for step, _ in in_table(run)["val/loss_step"]] == list(range(8))
    assert runs(tmp_path) == ["version_0"]
    assert differences(run) == []
