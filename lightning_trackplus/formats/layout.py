"""What lies where in a run directory.

One run is one folder, ``save_dir/name/version_N/``::

    events.out.tfevents.…    TensorBoard events
    events.out.tfevents.0.charts    the charts of TensorBoard's Custom Scalars tab, if there are any
    metrics.csv              one row a step
    summary.json             the last and the best value of each number
    media.csv                one row a media file
    media/                   the media files
    run.jsonl                the number of this format, and what belongs to each checkpoint
    x_axis.json              which names stand over something else than the global step, if there are any
    validation_batches/      what validation steps logged with on_step=True, as a run below; test_batches/ likewise
    backup/<n>/              what a resumed training logs anew
    config_<n>.yaml          the config of LightningCLI in the n-th session after the first
    hparams.yaml, config.yaml, checkpoints/    as Lightning writes them
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

FORMAT = 1
"""The number of the format of run directories, and of what a logger puts into checkpoints."""

RUN_FILE = "run.jsonl"
METRICS_FILE = "metrics.csv"
MEDIA_INDEX = "media.csv"
MEDIA_FOLDER = "media"
AXES_FILE = "x_axis.json"
SUMMARY_FILE = "summary.json"
BACKUP_FOLDER = "backup"

# Someone may have added words to the number.
VERSION_FOLDER = re.compile(r"version_(\d+)(_.*)?")

EVALUATIONS = ("validation", "test")

OUR_EVENTS = b"lightning_trackplus"
"""Who wrote an event file, as its first event says."""

_LONGEST_FOLDER_NAME = 80
_SAFE_NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*")
_DEVICE_NAMES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)")


def is_ours(directory: Path) -> bool:
    """Return whether a run was written by this package."""
    return (directory / RUN_FILE).is_file()


def batches_folder(stage: str) -> str:
    """Return the folder, relative to the run directory, with the events of an evaluation's batches."""
    return f"{stage}_batches"


def media_folder(name: str) -> str:
    """Return the folder, relative to the run directory, that holds the media files of a name.

    A slash becomes a dash. Where that or any other change could make two names meet, or a file
    system could object (case, reserved names, length), a hash of the name keeps them apart.

    Returns:
        A path in POSIX form, made of ``a-z``, ``0-9``, ``_`` and ``-`` alone.

    Examples:
        >>> media_folder("val/hard")
        'media/val-hard'
        >>> media_folder("Val: Hardest")
        'media/val-hardest--cefb6bc0cc0b15ab'
    """
    folder = name.replace("/", "-")
    if not _SAFE_NAME.fullmatch(name) or _DEVICE_NAMES.fullmatch(folder) or len(folder) > _LONGEST_FOLDER_NAME:
        readable = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")[:_LONGEST_FOLDER_NAME]
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        # No safe name has two dashes, so that none can meet this one.
        folder = f"{readable or '_'}--{digest}"
    return f"{MEDIA_FOLDER}/{folder}"


def media_file(directory: Path, name: str, step: int, suffix: str, index: int = 0) -> str:
    """Return a path for the next media file of a name at a step; no file has it yet.

    Returns:
        A path relative to the run directory, in POSIX form.
    """
    folder = media_folder(name)
    while (directory / (path := f"{folder}/{step:010d}-{index:03d}{suffix}")).exists():
        index += 1
    return path
