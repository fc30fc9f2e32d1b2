"""The files of a run directory.

One run is one folder, ``save_dir/name/version_N/``::

    events.out.tfevents.…    TensorBoard events
    events.out.tfevents.0.charts    the charts of TensorBoard's Custom Scalars tab, if there are any
    metrics.csv              one row a step
    summary.json             the last and the best value of each number
    media.csv                one row a media file
    media/                   the media files
    run.jsonl                the number of this format, and what belongs to each checkpoint
    x_axis.json              names whose X axis is not the global step, if there are any
    validation_batches/      what validation steps logged with on_step=True, as a run; also test_batches/
    backup/<n>/              what a resumed training logs again
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
FILM_SUFFIXES = (".mp4", ".webm", ".ogg")
"""The suffixes of films, which TensorBoard does not play."""
AXES_FILE = "x_axis.json"
SUMMARY_FILE = "summary.json"
HPARAMS_FILE = "hparams.yaml"
BACKUP_FOLDER = "backup"

# Users may have added words to the number.
VERSION_FOLDER = re.compile(r"version_(\d+)(_.*)?")

EVALUATIONS = ("validation", "test")

OUR_EVENTS = b"lightning_trackplus"
"""The writer in the first event of our event files."""

_LONGEST_FOLDER_NAME = 80
_SAFE_NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*")
_DEVICE_NAMES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)")


def is_url(path: str | Path) -> bool:
    """Return whether a path is a URL, such as ``s3://bucket/logs``."""
    return "://" in str(path)


def is_ours(directory: Path) -> bool:
    """Return whether this package wrote a run."""
    return (directory / RUN_FILE).is_file()


def escaped(text: str) -> str:
    r"""Return a text with escapes for what UTF-8 cannot encode, and for NUL, which not every reader of CSV takes.

    Examples:
        >>> escaped("nul \0")
        'nul \\x00'
    """
    if text.isascii() and "\0" not in text:
        return text  # It is called for each event, and most names are like this.
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def batches_folder(stage: str) -> str:
    """Return the folder, relative to the run directory, with the events of an evaluation's batches."""
    return f"{stage}_batches"


def media_folder(name: str) -> str:
    """Return the folder of a name's media files, relative to the run directory, in POSIX form.

    It consists of ``a-z``, ``0-9``, ``_`` and ``-``; a slash in a name becomes a dash. Where two names could get the
    same folder, or a file system could refuse one (case, reserved names, length), it ends with a hash of the name.

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
        # Safe names never have two dashes in a row.
        folder = f"{readable or '_'}--{digest}"
    return f"{MEDIA_FOLDER}/{folder}"


def media_file(directory: Path, name: str, step: int, suffix: str, index: int = 0) -> str:
    """Return a free path for a media file, relative to the run directory, in POSIX form."""
    folder = media_folder(name)
    while (directory / (path := f"{folder}/{step:010d}-{index:03d}{suffix}")).exists():
        index += 1
    return path
