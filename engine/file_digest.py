"""blake3 of files and folders, remembered by path, size, time and inode, so that a model of 5 GB is hashed once.

Nothing is read or hashed before somebody asks for a digest.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from .atomic_file import write_atomically

MEMO_NAME = "file_digests.json"
MEMO_FORMAT = "mezzotint-digests-1"
MAX_REMEMBERED = 10_000
BLOCK_NBYTES = 8 << 20
RACY_NS = 2_000_000_000
"""A file changed this shortly ago may change again without its time telling, so its digest is not remembered."""


class FileIdentity(NamedTuple):
    """What changes when a file is written or replaced; costs no reading."""

    size: int
    mtime_ns: int
    inode: int


def file_identity(path: Path) -> FileIdentity:
    """The identity of a file.

    Raises:
        OSError: it is missing, or not ours to look at.
    """
    status = path.stat()
    return FileIdentity(status.st_size, status.st_mtime_ns, status.st_ino)


def _no_check() -> None:
    pass


class _Remembered(NamedTuple):
    identity: FileIdentity
    digest: str


class FileDigests:
    """Digests of files, kept in memory and in one small JSON file. Safe for threads, and for processes that share it.

    Args:
        memo_path: where digests outlive the process; None keeps them in memory. A torn or foreign file is ignored, and
            one that cannot be written costs only time.
    """

    def __init__(self, memo_path: Path | None = None) -> None:
        self._memo_path = memo_path
        self._remembered: dict[str, _Remembered] | None = None
        self._is_changed = False
        self._lock = threading.Lock()

    def of_file(self, path: Path, check: Callable[[], None] = _no_check) -> str:
        """The blake3 of a file's content, 64 hexadecimal digits.

        Args:
            check: called between blocks of 8 MiB; what it raises ends the hashing (`ctx.check`, say).

        Raises:
            OSError: the file is missing or cannot be read.
        """
        with self._lock:
            digest = self._digest(path, check)
            self._save()
        return digest

    def of_folder(self, folder: Path, names: Iterable[str] | None = None, check: Callable[[], None] = _no_check) -> str:
        """One digest for the names and contents of a folder's files, wherever the folder lies.

        Args:
            names: the files that count, as paths below the folder with '/'; all of them when None.
            check: as for `of_file`.

        Raises:
            OSError: a file is missing or cannot be read.
        """
        return self.of_files(
            {name: folder / name for name in (_names_below(folder) if names is None else names)}, check
        )

    def of_files(self, files: Mapping[str, Path], check: Callable[[], None] = _no_check) -> str:
        """One digest for the contents of files, wherever they lie, and the names that they count under.

        Raises:
            OSError: a file is missing or cannot be read.
        """
        whole = blake3()
        with self._lock:
            for name, path in sorted(files.items()):
                whole.update(f"{name}\0{self._digest(path, check)}\n".encode())
            self._save()
        return whole.hexdigest()

    def _digest(self, path: Path, check: Callable[[], None]) -> str:
        key = str(path.absolute())
        known = self._memo().get(key)
        identity = file_identity(path)
        if known is not None and known.identity == identity:
            return known.digest
        digest = _hash_file(path, check)
        if file_identity(path) == identity and time.time_ns() - identity.mtime_ns > RACY_NS:
            self._memo()[key] = _Remembered(identity, digest)
            self._is_changed = True
        return digest

    def _memo(self) -> dict[str, _Remembered]:
        if self._remembered is None:
            self._remembered = _read_memo(self._memo_path)
        return self._remembered

    def _save(self) -> None:
        if not self._is_changed or self._memo_path is None:
            return
        merged = {**_read_memo(self._memo_path), **self._memo()}
        newest = dict([*merged.items()][-MAX_REMEMBERED:])
        files = {key: [*known.identity, known.digest] for key, known in newest.items()}
        with contextlib.suppress(OSError):
            self._memo_path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._memo_path, json.dumps({"format": MEMO_FORMAT, "files": files}).encode())
        self._is_changed = False


@cache
def file_digests(home: Path) -> FileDigests:
    """The digests that are remembered below a home folder; one object for each home."""
    return FileDigests(home / MEMO_NAME)


def _hash_file(path: Path, check: Callable[[], None]) -> str:
    digest = blake3(max_threads=blake3.AUTO)
    with path.open("rb") as file:
        while block := file.read(BLOCK_NBYTES):
            digest.update(block)
            check()
    return digest.hexdigest()


def _names_below(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _read_memo(path: Path | None) -> dict[str, _Remembered]:
    """What the file holds; nothing when it is missing, torn or not ours."""
    try:
        memo = json.loads(path.read_bytes()) if path else {}
        if memo.get("format") != MEMO_FORMAT:
            return {}
        return {
            key: _Remembered(FileIdentity(int(size), int(mtime_ns), int(inode)), str(digest))
            for key, (size, mtime_ns, inode, digest) in memo["files"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
