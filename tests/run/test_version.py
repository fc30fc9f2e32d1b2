"""Which version a run gets: its own number, its checkpoint's run, its job."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_trackplus.run.version import auto_version, next_version, reserve_version
from tests.flavour.pytorch.loggers import TensorBoardLogger

PROCESSES, ROUNDS = 8, 20
# Takes a version in each round, as soon as the round's root is there.
RACER = """
import sys, time
from pathlib import Path
from lightning_trackplus.run.version import reserve_version
print("ready", flush=True)
for line in sys.stdin:
    root = Path(line.strip())
    while not root.exists():
        pass
    print(reserve_version(root / "runs"), flush=True)
"""


@pytest.fixture(autouse=True)
def no_scheduler(monkeypatch):
    """Each test begins outside of any job."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")):
            monkeypatch.delenv(name)


def run_with(root, folder, checkpoint="checkpoints/last.ckpt"):
    """Make a run with a checkpoint; return the checkpoint's path."""
    path = root / folder / checkpoint
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@settings(max_examples=50)
@given(
    folders=st.sets(st.integers(0, 30).map("version_{}".format) | st.sampled_from(["checkpoints", "version_", "v_9"])),
    files=st.sets(st.integers(0, 40).map("version_{}".format)),
)
def test_the_next_version_is_the_one_that_lightning_would_take(folders, files):
    """The next run's number is one above the highest folder, with gaps left open, and files do not count."""
    with tempfile.TemporaryDirectory() as save_dir:
        root = Path(save_dir, "runs")
        root.mkdir()
        for folder in folders:
            (root / folder).mkdir()
        for file in files - folders:
            (root / file).touch()

        assert next_version(root) == TensorBoardLogger(save_dir, name="runs").version


@pytest.mark.parametrize(
    ("folders", "number"),
    [
        ([], 0),
        (["version_0"], 1),
        (["version_0", "version_7"], 8),
        (["version_9", "version_10"], 11),
        (["version_002"], 3),
        (["version_x", "other_5", "my_version_5"], 0),
        (["version_5_old"], 6),
    ],
    ids=str,
)
def test_the_next_version_is_counted_from_the_folders(folders, number, tmp_path):
    """Only folders called version and a number count, and they count as numbers."""
    for folder in folders:
        (tmp_path / folder).mkdir()

    assert next_version(tmp_path) == number


def test_the_first_version_needs_no_folder(tmp_path):
    """Where nothing was written yet, and where a file is in the way, the first run is number zero."""
    (tmp_path / "file").touch()

    assert next_version(tmp_path / "nowhere") == 0
    assert next_version(tmp_path / "file") == 0


def test_runs_that_begin_at_once_get_different_versions(tmp_path):
    """Eight processes that start together, twenty times over, get the numbers 0 to 7 and a folder each."""
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * PROCESSES
    for number in range(ROUNDS):
        root = tmp_path / f"round_{number}"
        for racer in racers:
            racer.stdin.write(f"{root}\n")
            racer.stdin.flush()
        time.sleep(0.01)  # Until they wait for the folder.
        root.mkdir()
        assert sorted(int(racer.stdout.readline()) for racer in racers) == list(range(PROCESSES))
        assert {folder.name for folder in (root / "runs").iterdir()} == {f"version_{n}" for n in range(PROCESSES)}
    for racer in racers:
        racer.communicate()
        assert racer.returncode == 0


def test_a_version_is_reserved_with_its_folder(tmp_path):
    """The folder is there, its parents too, and the next run gets the next number."""
    root = tmp_path / "a" / "b"
    assert [reserve_version(root) for _ in range(3)] == [0, 1, 2]
    assert sorted(folder.name for folder in root.iterdir()) == ["version_0", "version_1", "version_2"]


@pytest.mark.parametrize(
    ("folders", "wanted", "number"),
    [
        ([], 0, 0),
        ([], 7, 7),
        (["version_2"], 3, 3),
        (["version_2"], 2, 3),
        (["version_2", "version_9"], 2, 10),
        (["version_2", "version_9"], 5, 5),
        (["version_4_old"], None, 5),
    ],
    ids=str,
)
def test_the_announced_version_is_taken_where_it_is_free(tmp_path, folders, wanted, number):
    """What was announced holds while nobody has taken it; else the number is the next one."""
    for folder in folders:
        (tmp_path / folder).mkdir()
    assert reserve_version(tmp_path, wanted) == number
    assert (tmp_path / f"version_{number}").is_dir()


def test_a_file_in_the_way_is_passed_over(tmp_path):
    """A file that is called as the next run would be is no run and cannot become one."""
    (tmp_path / "version_0").touch()
    assert reserve_version(tmp_path) == 1


def test_where_no_folder_can_be_made_there_is_a_number(tmp_path):
    """What the disk refuses costs no exception."""
    (tmp_path / "file").touch()
    assert reserve_version(tmp_path / "file") == 0
    assert reserve_version(tmp_path / "file", wanted=4) == 4


@pytest.mark.parametrize(
    ("folder", "version"),
    [
        ("version_0", 0),
        ("version_12", 12),
        ("version_007", "version_007"),
        ("version_3_old", "version_3_old"),
        ("job_815", "job_815"),
        ("my run", "my run"),
    ],
)
@pytest.mark.parametrize("checkpoint", ["checkpoints/last.ckpt", "checkpoints/best/sharded.ckpt/.metadata"])
def test_a_checkpoint_continues_its_run(tmp_path, folder, version, checkpoint):
    """The version is that of the folder, at any depth, and a logger with it writes to this folder."""
    path = run_with(tmp_path / "runs", folder, checkpoint)
    found = auto_version(tmp_path / "runs", path)
    assert found == version
    assert type(found) is type(version)
    assert Path(TensorBoardLogger(tmp_path, "runs", found).log_dir) == tmp_path / "runs" / folder


@pytest.mark.parametrize("checkpoint", ["weights/a.ckpt", "a.ckpt"])
@pytest.mark.parametrize("file", ["hparams.yaml", "metrics.csv", "events.out.tfevents.1.host.2.0"])
def test_a_run_is_known_by_its_files_where_checkpoints_lie_elsewhere(tmp_path, checkpoint, file):
    """A folder with a run's file is one; a folder with a model alone, such as a download, is not written to."""
    path = run_with(tmp_path, "mine", checkpoint)
    assert auto_version(tmp_path, path) is None
    (tmp_path / "mine" / file).touch()
    assert auto_version(tmp_path, path) == "mine"


def test_paths_are_taken_as_text_as_objects_and_relative(tmp_path, monkeypatch):
    """How the checkpoint and the root are written makes no difference."""
    path = run_with(tmp_path / "runs", "version_3")
    monkeypatch.chdir(tmp_path / "runs")
    relative = "version_3/checkpoints/last.ckpt"
    for root in (tmp_path / "runs", Path(), Path("../runs"), tmp_path / "runs" / ".." / "runs"):
        for given_path in (path, str(path), path.as_uri(), relative, Path(relative), f"../runs/{relative}"):
            assert auto_version(root, given_path) == 3, (root, given_path)


def test_links_are_followed(tmp_path):
    """A link to a checkpoint leads to its run; linked roots and linked checkpoint folders are the same place."""
    path = run_with(tmp_path / "runs", "version_3")
    (tmp_path / "alias").symlink_to(tmp_path / "runs", target_is_directory=True)
    (tmp_path / "link.ckpt").symlink_to(path)
    inside = run_with(tmp_path / "runs", "version_5").with_name("init.ckpt")
    inside.symlink_to(path)
    scratch = run_with(tmp_path / "scratch", "xyz", "last.ckpt").parent
    (tmp_path / "runs" / "version_6").mkdir()
    (tmp_path / "runs" / "version_6" / "checkpoints").symlink_to(scratch, target_is_directory=True)
    for root in (tmp_path / "runs", tmp_path / "alias"):
        assert auto_version(root, path) == 3
        assert auto_version(root, tmp_path / "alias" / "version_3" / "checkpoints" / "last.ckpt") == 3
        assert auto_version(root, tmp_path / "link.ckpt") == 3
        assert auto_version(root, inside) == 3
        for parent in (tmp_path / "runs", tmp_path / "alias"):
            assert auto_version(root, parent / "version_6" / "checkpoints" / "last.ckpt") == 6


def test_a_checkpoint_from_elsewhere_continues_nothing(tmp_path, monkeypatch):
    """Neither another root's run, nor a file beside the runs, nor a URL, nor a folder that only begins alike."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "runs"
    run_with(root, "version_3")
    elsewhere = [
        run_with(tmp_path / "other", "version_3"),
        run_with(tmp_path / "runs2", "version_3"),
        run_with(root, "."),
        run_with(root, ".", "hpc_ckpt_1.ckpt"),
        "s3://bucket/runs/version_3/checkpoints/last.ckpt",
        f"memory://{root}/version_3/checkpoints/last.ckpt",
        None,
        "",
    ]
    for path in elsewhere:
        assert auto_version(root, path) is None, path
    assert auto_version(tmp_path / "nowhere", root / "version_3" / "checkpoints" / "last.ckpt") is None


SLURM = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train"}


@pytest.mark.parametrize(
    ("environment", "version"),
    [
        (SLURM, "job_4711"),
        # Each task of an array has an id of its own.
        ({**SLURM, "SLURM_ARRAY_JOB_ID": "4700", "SLURM_ARRAY_TASK_ID": "11"}, "job_4711"),
        ({**SLURM, "SLURM_JOB_ID": "4712", "SLURM_ARRAY_JOB_ID": "4700", "SLURM_ARRAY_TASK_ID": "12"}, "job_4712"),
        ({**SLURM, "SLURM_JOB_NAME": "interactive"}, None),
        ({**SLURM, "SLURM_JOB_NAME": "bash"}, None),
        ({"SLURM_JOB_ID": "4711"}, None),
        ({**SLURM, "SLURM_JOB_ID": "no number"}, None),
        ({"TORCHELASTIC_RUN_ID": "nightly-3"}, "job_nightly-3"),
        ({"TORCHELASTIC_RUN_ID": "none"}, None),
        ({"TORCHELASTIC_RUN_ID": ""}, None),
        ({**SLURM, "TORCHELASTIC_RUN_ID": "nightly-3"}, "job_4711"),
        ({**SLURM, "SLURM_JOB_NAME": "bash", "TORCHELASTIC_RUN_ID": "nightly-3"}, "job_nightly-3"),
    ],
    ids=str,
)
def test_a_job_has_its_id_as_version(tmp_path, monkeypatch, environment, version):
    """A job of SLURM or torchelastic is known as Lightning knows it; an interactive one counts as none."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert auto_version(tmp_path, None) == version
    assert auto_version(tmp_path, "/elsewhere/version_1/checkpoints/a.ckpt") == version


def test_a_requeued_job_goes_on_in_its_run(tmp_path, monkeypatch):
    """The checkpoint that Lightning leaves for a requeued job lies beside the runs, and the job's id is the same."""
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    checkpoint = run_with(tmp_path, ".", "hpc_ckpt_1.ckpt")
    for root in (tmp_path, tmp_path / "lightning_logs"):
        assert auto_version(root, checkpoint) == "job_4711"


def test_a_checkpoint_goes_before_the_job(tmp_path, monkeypatch):
    """Who resumes from a run's checkpoint within a new job continues that run."""
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    assert auto_version(tmp_path, run_with(tmp_path, "version_2")) == 2


@settings(max_examples=60)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), unique=True, max_size=4))
def test_any_job_id_makes_a_folder_of_its_own(ids):
    """Different ids have different names, which are single folders that any file system takes."""
    versions = []
    with pytest.MonkeyPatch.context() as patch:
        for job_id in ids:
            patch.setenv("TORCHELASTIC_RUN_ID", job_id)
            versions.append(auto_version(Path("nowhere"), None))
    for job_id, version in zip(ids, versions, strict=True):
        assert version is None if job_id == "none" else re.fullmatch(r"job_[A-Za-z0-9_.-]{1,110}", version)
    assert len(set(versions)) == len(ids)
