"""A folder of models or pictures, listed recursively and cheap to list again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import NamedTuple

from .folder_path import is_below, why_refused

DIFFUSERS_INDEX = "model_index.json"
"""A folder that holds this file is a diffusers pipeline: one model, whatever lies inside."""
RACY_NS = 2_000_000_000
"""A folder changed this shortly before it was listed may change again without its time telling."""

Identity = tuple[int, int]
"""The device and the inode of a folder."""


class _Listing(NamedTuple):
    names: list[str]
    listed_ns: int
    changed_ns: dict[str, int]

    def is_fresh(self) -> bool:
        return all(
            changed_ns == _changed_ns(_status(folder)) and changed_ns < self.listed_ns - RACY_NS
            for folder, changed_ns in self.changed_ns.items()
        )


def _status(folder: str) -> os.stat_result | None:
    try:
        return Path(folder).stat()
    except OSError:
        return None


def _changed_ns(status: os.stat_result | None) -> int:
    return status.st_mtime_ns if status else 0


class ListedFolder:
    """One folder, listed recursively; listed again only when it or a folder in it changed.

    Args:
        suffixes: the endings of files that are listed, in lower case with their dot; None for any.
        lists_pipelines: whether a diffusers folder is listed as one entry, and its inside is not.
        stays_inside: whether links that lead out of the folder are left out. Of models they are followed: only whoever
            owns the machine can put them there, and weights often lie on another disk.
    """

    def __init__(
        self,
        path: Path,
        suffixes: frozenset[str] | None,
        lists_pipelines: bool = False,
        *,
        stays_inside: bool = False,
    ) -> None:
        self.path = path
        self._suffixes = suffixes
        self._lists_pipelines = lists_pipelines
        self._stays_inside = stays_inside
        self._listing: _Listing | None = None

    def names(self) -> list[str]:
        """Paths below the folder, with '/', in no order. A folder that is missing holds nothing."""
        listing = self._listing
        if listing is None or not listing.is_fresh():
            listing = _Listing([], time.time_ns(), {})
            listing.names.extend(self._walk(str(self.path), "", frozenset(), listing.changed_ns))
            self._listing = listing
        return listing.names

    def find(self, name: str) -> Path | None:
        path = self.path / name
        try:
            if path.is_file() and self._is_wanted(name):
                return path
            return path if self._lists_pipelines and (path / DIFFUSERS_INDEX).is_file() else None
        except OSError:  # a name that is too long, a folder that is not ours to read
            return None

    def _is_wanted(self, name: str) -> bool:
        return self._suffixes is None or PurePath(name).suffix.lower() in self._suffixes

    def _leads_out(self, entry: os.DirEntry[str]) -> bool:
        return self._stays_inside and entry.is_symlink() and not is_below(self.path, entry.path)

    def _walk(self, folder: str, below: str, above: frozenset[Identity], changed_ns: dict[str, int]) -> Iterator[str]:
        status = _status(folder)
        changed_ns[folder] = _changed_ns(status)
        identity = (status.st_dev, status.st_ino) if status else (0, 0)
        if status is None or identity in above:  # missing, or a link back to a folder that this one is in
            return
        entries = _entries(folder)
        if below and self._lists_pipelines and any(entry.name == DIFFUSERS_INDEX for entry in entries):
            yield below.removesuffix("/")
            return
        for entry in entries:
            if entry.name.startswith(".") or why_refused(entry.name) or self._leads_out(entry):
                continue
            if _leads_to(entry, "folder"):
                yield from self._walk(entry.path, f"{below}{entry.name}/", above | {identity}, changed_ns)
            elif self._is_wanted(entry.name) and _leads_to(entry, "file"):
                yield below + entry.name


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder))
    except OSError:  # not ours to read, or no folder
        return []


def _leads_to(entry: os.DirEntry[str], what: str) -> bool:
    try:
        return entry.is_dir() if what == "folder" else entry.is_file()
    except OSError:  # a link to itself
        return False
