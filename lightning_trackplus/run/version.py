"""The version of a run, as Lightning defines it: N for the folder ``version_N``, or the name of another folder."""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from pathlib import Path

from lightning_trackplus.formats.layout import HPARAMS_FILE, METRICS_FILE, RUN_FILE, VERSION_FOLDER, is_ours, is_url
from lightning_trackplus.lightning_internals.flavours import installed_flavours

_RUN_FILES = (HPARAMS_FILE, METRICS_FILE, "events.out.tfevents.*")
_RUN_ID = re.compile(rb'\{"format":\d+,"run":"([0-9a-f]{32})"\}')
_LONGEST_JOB_ID = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


def next_version(root: str | Path) -> int:
    """Return the number of the next run, one above the highest ``version_N``, as Lightning does."""
    if is_url(root):
        # Imported here, since few runs are remote.
        from lightning_trackplus.remote.remote_folder import remote_versions  # noqa: PLC0415

        return max(remote_versions(str(root)), default=-1) + 1
    root = Path(root)
    folders = root.glob("version_*") if root.is_dir() else ()
    matches = ((VERSION_FOLDER.fullmatch(folder.name), folder) for folder in folders)
    numbers = [int(match[1]) for match, folder in matches if match and folder.is_dir()]
    return max(numbers, default=-1) + 1


def reserve_version(root: str | Path, wanted: int | None = None) -> int:
    """Make the folder of a new run, and return its number, which no other run gets even if several start at once.

    A ``wanted`` number is used unless its folder exists by now. At a URL, no folder can be reserved. If the folder
    cannot be made, such as on a full disk, the writers report it.

    Examples:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> [reserve_version(root), reserve_version(root), reserve_version(root, wanted=1)]
        [0, 1, 2]
    """
    number = next_version(root) if wanted is None else wanted
    while not is_url(root) and not _make_new(Path(root) / f"version_{number}"):
        number = max(number + 1, next_version(root))
    return number


def auto_version(
    root: str | Path, ckpt_path: str | os.PathLike[str] | None, sub_dir: str | None = None
) -> int | str | None:
    """Return the version of the run to continue; None for a new run with the next number.

    That is the run in ``root`` that has the checkpoint, or has saved it elsewhere. Without one, it is the run of the
    scheduler's job, whose id stays the same when it is requeued or restarted.
    """
    checkpoint = os.fspath(ckpt_path or "").removeprefix("file://")
    folder = (_run_of(root, checkpoint) or _run_that_saved(root, checkpoint, sub_dir or "")) if checkpoint else None
    if folder is None:
        return _job()
    match = VERSION_FOLDER.fullmatch(folder)
    # For version_007, the number would be another folder.
    return int(match[1]) if match and folder == f"version_{int(match[1])}" else folder


def _make_new(folder: Path) -> bool:
    """Make a folder; return False if it exists already."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return False
    except OSError:
        return True
    return True


def _run_of(root: str | Path, checkpoint: str) -> str | None:
    """Return the folder directly in ``root`` that is the run of a checkpoint."""
    if is_url(root):
        run, *inner = checkpoint.removeprefix(f"{root}/").split("/") if checkpoint.startswith(f"{root}/") else [""]
        return run if inner else None
    root = Path(root)
    if is_url(checkpoint) or not root.is_dir():
        return None
    # The link's target first: a checkpoint may be linked into another run. Then the path: checkpoints/ may be a link.
    for path in (Path(checkpoint).resolve(), Path(os.path.abspath(checkpoint))):
        for folder in path.parents:
            if folder.parent.is_dir() and folder.parent.samefile(root) and _is_run(folder, path):
                return folder.name
    return None


def _run_that_saved(root: str | Path, checkpoint: str, sub_dir: str) -> str | None:
    """Return the folder directly in ``root`` that is the run whose id is in a checkpoint; None at a URL."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            # All but the tensors.
            content = b"".join(archive.read(name) for name in archive.namelist() if name.endswith("/data.pkl"))
        for folder in sorted(Path(root).iterdir()):
            if is_ours(folder / sub_dir):
                with (folder / sub_dir / RUN_FILE).open("rb") as file:
                    if (run := _RUN_ID.match(file.readline())) is not None and run[1] in content:
                        return folder.name
    except (OSError, ValueError, zipfile.BadZipFile):
        pass  # It cannot be read, or is in another format than torch's own.
    return None


def _is_run(folder: Path, checkpoint: Path) -> bool:
    """Return whether a folder is a run, and not another folder with a checkpoint, such as a model's."""
    return (
        VERSION_FOLDER.fullmatch(folder.name) is not None
        or checkpoint.relative_to(folder).parts[0] == "checkpoints"
        or any(any(folder.glob(pattern)) for pattern in _RUN_FILES)
    )


def _job() -> str | None:
    """Return the version of the scheduler's job; None if there is none, or it is interactive."""
    environments = installed_flavours()[0].pytorch("plugins.environments")
    # In a SLURM job, torchelastic's id may change when the job is requeued.
    slurm, elastic = environments.SLURMEnvironment, environments.TorchElasticEnvironment
    if slurm.detect() and (number := slurm.job_id()) is not None:
        return f"job_{number}"
    if elastic.detect() and (name := os.environ.get("TORCHELASTIC_RUN_ID", "none")) not in {"", "none"}:
        return f"job_{_file_name(name)}"
    return None


def _file_name(job_id: str) -> str:
    if len(job_id) <= _LONGEST_JOB_ID and not _UNSAFE.search(job_id):
        return job_id
    digest = hashlib.blake2b(job_id.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{_UNSAFE.sub('-', job_id)[:_LONGEST_JOB_ID]}--{digest}"
