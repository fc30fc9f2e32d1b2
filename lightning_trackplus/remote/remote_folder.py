"""A folder on any file system that fsspec knows, from and to which whole files are copied."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from fsspec import AbstractFileSystem  # type: ignore[import-untyped]  # it ships no types
from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # it ships no types

from lightning_trackplus.formats.layout import VERSION_FOLDER
from lightning_trackplus.remote.spool import existing_spools

_TEMPORARY = ".uploading"


class RemoteFolder:
    """Copies whole files, so that the old or the new one is there at any moment.

    In an object store, a put is all or nothing. File systems that can move files, those with an ``mv`` of their own,
    get a temporary file first, which is then moved. Unknown protocols raise `ImportError` or `ValueError`.
    """

    def __init__(self, url: str) -> None:
        # Not a shared instance: while Lightning has a transaction open, writes to a shared one would wait for it.
        self._files, root = url_to_fs(url, skip_instance_cache=True)
        self._root = root.rstrip("/")
        self._moves = type(self._files).mv is not AbstractFileSystem.mv

    def sizes(self) -> dict[str, int]:
        """Return the size of each file in the folder and below, by relative path; none if it does not exist."""
        self._files.invalidate_cache()
        try:
            infos = self._files.find(self._root, detail=True)
        except FileNotFoundError:
            return {}
        relative = {name[len(self._root) :].strip("/"): info for name, info in infos.items()}
        return {path: int(info.get("size") or 0) for path, info in relative.items() if path and path != _TEMPORARY}

    def folders(self) -> list[str]:
        """Return the names of the folders directly in it; none if it does not exist."""
        self._files.invalidate_cache()
        try:
            entries = self._files.ls(self._root, detail=True)
        except FileNotFoundError:
            return []
        return [entry["name"].rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == "directory"]

    def get(self, relative: str, path: Path) -> None:
        """Download a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(path.name + ".new")
        self._files.get_file(self._at(relative), str(new))
        new.replace(path)

    def get_all(self, relative: Sequence[str], folder: Path) -> None:
        """Download files into a local folder, several at a time if the file system supports it."""
        targets = [folder / path for path in relative]
        for parent in {target.parent for target in targets}:
            parent.mkdir(parents=True, exist_ok=True)
        if targets:
            self._files.get([self._at(path) for path in relative], [str(target) for target in targets])

    def modified(self, relative: str) -> float | None:
        """Return when a file was last written, in seconds since 1970; None if the file system does not tell."""
        try:
            found = self._files.modified(self._at(relative))
        except (NotImplementedError, FileNotFoundError, KeyError, TypeError, AttributeError):
            return None
        return float(found.timestamp())

    def put(self, path: Path, relative: str) -> None:
        """Upload a file, and replace an existing one."""
        if not self._moves:
            self._files.put_file(str(path), self._at(relative))
            return
        self._make_parent(relative)
        self._files.put_file(str(path), self._at(_TEMPORARY))
        self._move_over(_TEMPORARY, relative)

    def move(self, relative: str, target: str) -> None:
        """Move a file within the folder, if it exists, and replace an existing one."""
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
        # Some do not replace a file, and not all of them raise.
        if self._has(relative):
            if self._has(target):
                self._files.rm_file(self._at(target))
            self._files.mv(self._at(relative), self._at(target))

    def _make_parent(self, relative: str) -> None:
        # Object stores have no folders, and may try to make a bucket instead.
        if self._moves:
            self._files.makedirs(self._at(relative).rpartition("/")[0], exist_ok=True)

    def _has(self, relative: str) -> bool:
        # `exists` returns False in an outage.
        self._files.invalidate_cache()
        try:
            self._files.info(self._at(relative))
        except FileNotFoundError:
            return False
        return True

    def _at(self, relative: str) -> str:
        return f"{self._root}/{relative}"


def remote_versions(root_url: str) -> list[int]:
    """Return the sorted numbers of the runs in a remote folder, and of those that are only in a local spool yet."""
    root_url = root_url.rstrip("/") + "/"
    spooled = [url[len(root_url) :].partition("/")[0] for url in existing_spools() if url.startswith(root_url)]
    names = {*RemoteFolder(root_url).folders(), *spooled}
    return sorted({int(match[1]) for name in names if (match := VERSION_FOLDER.fullmatch(name))})
