"""The spool: the local folder that a remote run is written to, and the record of what was uploaded.

The writers use the spool like any run directory. Its ``.uploaded.json`` has the URL, and the size and time of each file
when it was last uploaded. An uploaded media file is replaced by a stub, one line with its remote path: the file name
stays in use, and if the stub is moved, the remote file is moved too.
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

from lightning_trackplus.formats.atomic_files import replace_file
from lightning_trackplus.formats.layout import BACKUP_FOLDER, MEDIA_FOLDER

MANIFEST = ".uploaded.json"
_STUB = b"uploaded by trackplus as "
_LONGEST_STUB = 4096
_LONGEST_NAME = 60
_TEMPORARY_SUFFIXES = (".new", ".lock")


class Stamp(NamedTuple):
    """The size of a file in bytes and its modification time in nanoseconds, which show whether it changed."""

    size: int
    mtime_ns: int


class Uploaded(NamedTuple):
    """The stamp of a file when it was uploaded, and the size of the remote file."""

    size: int
    mtime_ns: int
    remote_size: int


def spools_folder() -> Path:
    """Return the folder of all spools: ``TRACKPLUS_SPOOL``, or one in the user's cache."""
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
    """Return the local folder for a URL, always the same one.

    Examples:
        >>> spool_of("s3://bucket/logs/version_0").name
        's3-bucket-logs-version_0-6ca9a209c80fbc90'
    """
    url = url.rstrip("/")
    without_password = re.sub(r"//[^/@]*@", "//", url)
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", without_password).strip("-")[-_LONGEST_NAME:].strip("-")
    return spools_folder() / f"{readable}-{hashlib.blake2b(url.encode(), digest_size=8).hexdigest()}"


def existing_spools() -> dict[str, Path]:
    """Return the spools on this machine by URL: those in use, and those with files that are not uploaded."""
    spools = {}
    for manifest in spools_folder().glob(f"*/{MANIFEST}"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            spools[str(json.loads(manifest.read_bytes())["url"])] = manifest.parent
    return spools


class Spool:
    """A spool, and the record of what was uploaded."""

    def __init__(self, url: str, directory: Path) -> None:
        self.directory = directory
        self._url = url
        self._manifest = directory / MANIFEST
        self._stubs: dict[str, Stamp] = {}
        self.uploaded: dict[str, Uploaded] = {}
        # If the record cannot be read, everything counts as not uploaded.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            files = json.loads(self._manifest.read_bytes())["files"]
            self.uploaded = {relative: Uploaded(*entry) for relative, entry in files.items()}
        # The URL in the record may have a password.
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.save()

    def save(self) -> None:
        """Write the record."""
        replace_file(self._manifest, json.dumps({"url": self._url, "files": self.uploaded}).encode())

    def files(self) -> dict[str, Stamp]:
        """Return the files of the run by relative POSIX path.

        It raises `OSError` if the spool was removed: then the remote files must not be removed as well.
        """
        if not self._manifest.is_file():
            raise FileNotFoundError(f"{self.directory}, with files that are not uploaded yet, was removed.")
        stamps = {}
        start = len(str(self.directory)) + 1
        for folder, _, names in os.walk(self.directory, onerror=_raise):
            for name in names:
                if name.startswith(".") or name.endswith(_TEMPORARY_SUFFIXES):
                    continue
                path = os.path.join(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    stamps[path[start:].replace(os.sep, "/")] = _stamp(path)
        return stamps

    def is_uploaded(self, relative: str, stamp: Stamp) -> bool:
        """Return whether the current version of a file is uploaded."""
        entry = self.uploaded.get(relative)
        return self._stubs.get(relative) == stamp or (entry is not None and entry[:2] == stamp)

    def origin(self, relative: str) -> str | None:
        """Return the remote path in a stub; None if the file is not a stub."""
        if top_folder(relative) not in {MEDIA_FOLDER, BACKUP_FOLDER}:
            return None
        with (self.directory / relative).open("rb") as file:
            begin = file.read(_LONGEST_STUB)
        return begin[len(_STUB) :].partition(b"\n")[0].decode() if begin.startswith(_STUB) else None

    def make_stub(self, relative: str) -> Stamp:
        """Replace a file by a stub for the remote file at the same path; return the stamp of the stub."""
        path = self.directory / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        # In place, which works on a full disk as well.
        with path.open("r+b" if path.exists() else "xb", buffering=0) as file:
            file.truncate(file.write(_STUB + relative.encode() + b"\n"))
        self.uploaded.pop(relative, None)
        self._stubs[relative] = _stamp(path)
        return self._stubs[relative]

    def note(self, relative: str, stamp: Stamp, remote_size: int) -> None:
        """Record that a file was uploaded or downloaded."""
        self.uploaded[relative] = Uploaded(*stamp, remote_size)

    def note_downloaded(self, relative: str) -> None:
        """Record that a file was downloaded."""
        stamp = _stamp(self.directory / relative)
        self.note(relative, stamp, stamp.size)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.directory, ignore_errors=True)


def top_folder(relative: str) -> str:
    """Return the first part of a relative path."""
    return relative.partition("/")[0]


def _raise(error: OSError) -> None:
    raise error


def _stamp(path: str | Path) -> Stamp:
    status = os.stat(path)
    return Stamp(status.st_size, status.st_mtime_ns)
