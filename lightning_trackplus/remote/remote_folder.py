"""A folder on any file system that fsspec knows, from which and to which whole files are carried."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from fsspec import AbstractFileSystem  # type: ignore[import-untyped]  # it ships no types
from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # it ships no types

from lightning_trackplus.formats.layout import VERSION_FOLDER
from lightning_trackplus.remote.spool import left_spools

_BESIDE = ".uploading"


class RemoteFolder:
    """Carries whole files; at any moment, the old or the new one lies there.

    The put of an object store is all or nothing. A file system that can move files has an ``mv`` of its own: there, a
    file is written beside and then moved.

    Raises:
        ImportError: If the package for its protocol is not installed.
        ValueError: If fsspec does not know the protocol.
    """

    def __init__(self, url: str) -> None:
        # One of our own: on a shared one, what is written while Lightning has a transaction open would wait for it.
        self._files, root = url_to_fs(url, skip_instance_cache=True)
        self._root = root.rstrip("/")
        self._moves = type(self._files).mv is not AbstractFileSystem.mv

    def sizes(self) -> dict[str, int]:
        """Return the size of each file in the folder and below, by its relative path; none if it does not exist."""
        self._files.invalidate_cache()
        try:
            found = self._files.find(self._root, detail=True)
        except FileNotFoundError:
            return {}
        relative = {name[len(self._root) :].strip("/"): info for name, info in found.items()}
        return {path: int(info.get("size") or 0) for path, info in relative.items() if path and path != _BESIDE}

    def folders(self) -> list[str]:
        """Return the names of the folders in it; none if it does not exist."""
        self._files.invalidate_cache()
        try:
            entries = self._files.ls(self._root, detail=True)
        except FileNotFoundError:
            return []
        return [entry["name"].rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == "directory"]

    def get(self, relative: str, path: Path) -> None:
        """Bring a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".new")
        self._files.get_file(self._at(relative), str(beside))
        beside.replace(path)

    def get_all(self, relative: Sequence[str], folder: Path) -> None:
        """Bring files into a local folder, several at a time where the file system can."""
        targets = [folder / path for path in relative]
        for parent in {target.parent for target in targets}:
            parent.mkdir(parents=True, exist_ok=True)
        if targets:
            self._files.get([self._at(path) for path in relative], [str(target) for target in targets])

    def modified(self, relative: str) -> float | None:
        """Return when a file was last written, in seconds since 1970; None where the file system does not say."""
        try:
            found = self._files.modified(self._at(relative))
        except (NotImplementedError, FileNotFoundError, KeyError, TypeError, AttributeError):
            return None
        return float(found.timestamp())

    def put(self, path: Path, relative: str) -> None:
        """Write a file, over one that is there."""
        if not self._moves:
            self._files.put_file(str(path), self._at(relative))
            return
        self._make_parent(relative)
        self._files.put_file(str(path), self._at(_BESIDE))
        self._move_over(_BESIDE, relative)

    def move(self, relative: str, target: str) -> None:
        """Move a file within the folder, over one that is there; one that is missing is left alone."""
        if not self._has(relative):
            return
        self._make_parent(target)
        if self._moves:
            self._move_over(relative, target)
        else:
            self._files.cp_file(self._at(relative), self._at(target))
            self._files.rm_file(self._at(relative))

    def _move_over(self, relative: str, target: str) -> None:
        with contextlib.suppress(Exception):
            self._files.mv(self._at(relative), self._at(target))
        # Some refuse to move over a file, and not all of them say so.
        if self._has(relative):
            if self._has(target):
                self._files.rm_file(self._at(target))
            self._files.mv(self._at(relative), self._at(target))

    def _make_parent(self, relative: str) -> None:
        # Object stores have no folders, and may take the call for one that makes a bucket.
        if self._moves:
            self._files.makedirs(self._at(relative).rpartition("/")[0], exist_ok=True)

    def _has(self, relative: str) -> bool:
        # `exists` takes an outage for a file that is missing.
        self._files.invalidate_cache()
        try:
            self._files.info(self._at(relative))
        except FileNotFoundError:
            return False
        return True

    def _at(self, relative: str) -> str:
        return f"{self._root}/{relative}"


def remote_versions(root_url: str) -> list[int]:
    """Return the numbers of the runs in a remote folder, of those too that lie in a spool on this machine alone.

    Returns:
        The numbers in ascending order.

    Examples:
        >>> import fsspec
        >>> fsspec.filesystem("memory").pipe("/logs/version_7/metrics.csv", b"step,epoch")
        >>> remote_versions("memory://logs")
        [7]
    """
    root_url = root_url.rstrip("/") + "/"
    spooled = [url[len(root_url) :].partition("/")[0] for url in left_spools() if url.startswith(root_url)]
    names = {*RemoteFolder(root_url).folders(), *spooled}
    return sorted({int(match[1]) for name in names if (match := VERSION_FOLDER.fullmatch(name))})
