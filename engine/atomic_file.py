"""Files that appear whole or not at all: written under another name in the same folder, then given their own.

The functions raise the `OSError` of the step that failed and leave nothing behind, whatever interrupts them. No file
is flushed to the medium: after a power cut a file may be torn, so readers that care keep a checksum.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

TEMPORARY_PREFIX, TEMPORARY_SUFFIX = ".mezzotint-", ".tmp"
REPLACE_TRIES, REPLACE_PAUSE_S = 20, 0.025
"""How long Windows is asked to replace a file that another process has open for reading."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file in one step, replacing one of that name: a reader sees all of the old or all of the new.

    Raises:
        OSError: the folder is missing or may not be written, or the disk is full.
    """
    with _staged(path.parent, data) as temporary:
        _replace(temporary, path)


def write_new(folder: Path, names: Iterable[str], data: bytes, temporary: str | None = None) -> str:
    """Write a file under the first of `names` that is free, and return that name; never over another file.

    Safe against other threads and processes that take the same names.

    Args:
        temporary: what the file is called until it is whole; None for a random name.

    Raises:
        FileExistsError: every name is taken.
        OSError: the folder is missing or may not be written, or the disk is full.
    """
    with _staged(folder, data, temporary) as staged:
        return publish_new(staged, names)


@contextlib.contextmanager
def new_file(folder: Path, name: str | None = None) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new file of the folder, open for writing, which is gone afterwards unless `publish_new` gave it a name.

    One of a given `name` takes the place of what a dead process left under it.

    Raises:
        OSError: the folder is missing or may not be written.
    """
    temporary = folder / (name or f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}")
    try:
        with temporary.open("wb" if name else "xb") as file:  # not tempfile, whose files only their owner may read
            yield temporary, file
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def publish_new(temporary: Path, names: Iterable[str]) -> str:
    """Give a closed file of `new_file` the first of `names` that is free in its folder, and return that name.

    Raises:
        FileExistsError: every name is taken. OSError: the folder may not be written.
    """
    for name in names:
        with contextlib.suppress(FileExistsError):
            _publish(temporary, temporary.parent / name)
            return name
    raise FileExistsError(f"every name offered is taken in '{temporary.parent}'")


def move_new(source: Path, target: Path) -> None:
    """Give a file another name on the same file system, never over another file.

    Raises:
        FileExistsError: there is such a file.
        OSError: the file is missing, or a folder may not be written.
    """
    _publish(source, target)
    source.unlink(missing_ok=True)


@contextlib.contextmanager
def _staged(folder: Path, data: bytes, name: str | None = None) -> Iterator[Path]:
    """The data in a new file of the folder, which is gone afterwards unless it was renamed."""
    with new_file(folder, name) as (temporary, file):
        file.write(data)
        file.close()
        yield temporary


def _publish(temporary: Path, path: Path) -> None:
    """Give a staged file its name, if it is free. Raises FileExistsError when it is not."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except (OSError, AttributeError, NotImplementedError):  # a file system without hard links, such as exFAT
        _reserve_and_replace(temporary, path)


def _reserve_and_replace(temporary: Path, path: Path) -> None:
    path.open("xb").close()
    try:
        _replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def _replace(temporary: Path, path: Path) -> None:
    for _ in range(REPLACE_TRIES - 1):
        try:
            temporary.replace(path)
        except PermissionError:
            if sys.platform != "win32":
                raise
            time.sleep(REPLACE_PAUSE_S)
        else:
            return
    temporary.replace(path)
