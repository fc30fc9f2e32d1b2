"""The folder on this machine that a remote run is written to, and what of it was uploaded.

The writers write to the spool as to any run directory. Its ``.uploaded.json`` says for which URL it is, and how long
and how old each file was when it was uploaded last. A media file that was uploaded is cut down to a stub, one line that
says where it lies: its name stays taken, and where it is moved, the remote file can follow.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from lightning_trackplus.formats.atomic_file import replace_file
from lightning_trackplus.formats.layout import BACKUP_FOLDER, MEDIA_FOLDER

MANIFEST = ".uploaded.json"
_STUB = b"uploaded by trackplus as "
_LONGEST_STUB = 4096
_LONGEST_NAME = 60
_NO_PART_OF_A_RUN = (".new", ".lock")


class Stamp(NamedTuple):
    """What changes with a file: its size in bytes, and its time of modification in nanoseconds."""

    size: int
    mtime_ns: int


class Uploaded(NamedTuple):
    """A file as it was when it was uploaded, and how many bytes of it were."""

    size: int
    mtime_ns: int
    size_there: int


def spools_folder() -> Path:
    """Return the folder that holds all spools: ``TRACKPLUS_SPOOL``, else one in the user's cache."""
    if given := os.environ.get("TRACKPLUS_SPOOL"):
        return Path(given).expanduser().absolute()
    if sys.platform == "win32":
        caches = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        caches = "~/Library/Caches"
    else:
        caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(caches).expanduser() / "lightning-trackplus" / "spool"


def spool_of(url: str) -> Path:
    """Return the local folder for a remote run directory, the same one for the same URL.

    Examples:
        >>> spool_of("s3://bucket/logs/version_0").name
        's3-bucket-logs-version_0-6ca9a209c80fbc90'
    """
    url = url.rstrip("/")
    without_password = re.sub(r"//[^/@]*@", "//", url)
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", without_password).strip("-")[-_LONGEST_NAME:].strip("-")
    return spools_folder() / f"{readable}-{hashlib.blake2b(url.encode(), digest_size=8).hexdigest()}"


def left_spools() -> dict[str, Path]:
    """Return the spools on this machine by their run's URL: those in use, and those with what was not uploaded."""
    spools = {}
    for manifest in spools_folder().glob(f"*/{MANIFEST}"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            spools[str(json.loads(manifest.read_bytes())["url"])] = manifest.parent
    return spools


class Spool:
    """One spool, and the account of what was uploaded.

    Args:
        url: The remote run directory.
        directory: The local folder; it is made if it is missing.
    """

    def __init__(self, url: str, directory: Path) -> None:
        self.directory = directory
        self._url = url
        self._manifest = directory / MANIFEST
        self._stubs: dict[str, Stamp] = {}
        self.uploaded: dict[str, Uploaded] = {}
        # An account that cannot be read is none: then all counts as not uploaded.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            files = json.loads(self._manifest.read_bytes())["files"]
            self.uploaded = {relative: Uploaded(*entry) for relative, entry in files.items()}
        # The URL in it may have a password.
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.save()

    def save(self) -> None:
        """Write the account."""
        replace_file(self._manifest, json.dumps({"url": self._url, "files": self.uploaded}).encode())

    def files(self) -> dict[str, Stamp]:
        """Return the files of the run, by their path relative to the run directory, in POSIX form.

        Raises:
            OSError: If the spool was removed, or cannot be read: files that are gone with it are not meant to go.
        """
        if not self._manifest.is_file():
            raise FileNotFoundError(f"{self.directory}, which holds what is to be uploaded, was removed.")
        found = {}
        start = len(str(self.directory)) + 1
        for folder, _, names in os.walk(self.directory, onerror=_raise):
            for name in names:
                if name.startswith(".") or name.endswith(_NO_PART_OF_A_RUN):
                    continue
                path = os.path.join(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    found[path[start:].replace(os.sep, "/")] = _stamp(path)
        return found

    def is_uploaded(self, relative: str, stamp: Stamp) -> bool:
        """Return whether a file is uploaded as it is now."""
        entry = self.uploaded.get(relative)
        return self._stubs.get(relative) == stamp or (entry is not None and entry[:2] == stamp)

    def origin(self, relative: str) -> str | None:
        """Return where the remote file lies that a stub stands for, or None where the file is no stub."""
        if top_folder(relative) not in {MEDIA_FOLDER, BACKUP_FOLDER}:
            return None
        with (self.directory / relative).open("rb") as file:
            begin = file.read(_LONGEST_STUB)
        return begin[len(_STUB) :].partition(b"\n")[0].decode() if begin.startswith(_STUB) else None

    def make_stub(self, relative: str) -> Stamp:
        """Cut a file down to a stub for the remote one at the same path, or write one.

        Returns:
            How the stub is now.
        """
        path = self.directory / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        # In its place, since that also works where the disk is full.
        with path.open("r+b" if path.exists() else "xb", buffering=0) as file:
            file.truncate(file.write(_STUB + relative.encode() + b"\n"))
        self.uploaded.pop(relative, None)
        self._stubs[relative] = _stamp(path)
        return self._stubs[relative]

    def note(self, relative: str, stamp: Stamp, size_there: int) -> None:
        """Note that a file was uploaded or brought.

        Args:
            relative: Its path.
            stamp: How it was.
            size_there: How many bytes the remote one has.
        """
        self.uploaded[relative] = Uploaded(*stamp, size_there)

    def note_brought(self, relative: str) -> None:
        """Note that a file is here as it is there."""
        stamp = _stamp(self.directory / relative)
        self.note(relative, stamp, stamp.size)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.directory, ignore_errors=True)


def top_folder(relative: str) -> str:
    """Return the first part of a path that is relative to a run directory."""
    return relative.partition("/")[0]


def _raise(error: OSError) -> None:
    raise error


def _stamp(path: str | Path) -> Stamp:
    status = os.stat(path)
    return Stamp(status.st_size, status.st_mtime_ns)
