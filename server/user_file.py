"""Files that editors keep for a user: workflows, bookmarks, styles. Named by paths below the user's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiohttp import web

from mezzotint.engine.atomic_file import TEMPORARY_PREFIX
from mezzotint.engine.errors import FolderError, OutsideFolderError
from mezzotint.engine.folder_path import is_below, path_below


def user_path(root: Path, name: str) -> Path:
    """The path of a file or folder below a user's folder.

    Raises:
        web.HTTPForbidden: it leads out. web.HTTPBadRequest: no file can be called that.
    """
    try:
        return path_below(root, name)
    except OutsideFolderError:
        raise web.HTTPForbidden(text="The path leaves the user's folder.") from None
    except FolderError as error:
        raise web.HTTPBadRequest(text=f"{error}.") from None


def files_below(folder: Path, root: Path, *, recurse: bool) -> list[Path]:
    """The files in a folder, sorted, and with `recurse` below it. What is hidden or leads out of `root` is left out."""
    found = (path for path in _walk(folder, root, recurse=recurse) if not path.is_dir())
    return sorted(path for path in found if not _is_hidden(path.relative_to(folder)))


def entries_below(folder: Path, root: Path) -> list[Path]:
    """The files and folders below a folder, sorted. What leads out of `root` is left out."""
    return sorted(_walk(folder, root, recurse=True))


def _walk(folder: Path, root: Path, *, recurse: bool) -> Iterator[Path]:
    for entry in os.scandir(folder):
        path = folder / entry.name
        if entry.name.startswith(TEMPORARY_PREFIX) or (entry.is_symlink() and not _stays(path, root)):
            continue
        yield path
        if recurse and entry.is_dir(follow_symlinks=False):
            yield from _walk(path, root, recurse=True)


def _stays(path: Path, root: Path) -> bool:
    return path.exists() and is_below(root, path)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def file_facts(path: Path, folder: Path) -> dict[str, Any]:
    """A file as clients list it: its path below a folder, its bytes, and its times in milliseconds since the epoch."""
    status = path.stat()
    name = path.relative_to(folder).as_posix()
    return {"path": name, "size": status.st_size, "modified": _ms(status.st_mtime), "created": _ms(status.st_ctime)}


def entry_facts(path: Path, root: Path) -> dict[str, Any]:
    """A file or folder as the second form of the list has it."""
    facts = {"name": path.name, "path": path.relative_to(root).as_posix()}
    if path.is_dir():
        return {**facts, "type": "directory"}
    status = path.stat()
    return {**facts, "type": "file", "size": status.st_size, "modified": _ms(status.st_mtime)}


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
