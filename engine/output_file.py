"""Where a saved file goes and what it is called: `{prefix}_{counter:05}_.png` below the output folder, never twice.

A prefix is a path below the folder, with placeholders: `%width%`, `%height%`, `%year%`, `%month%`, `%day%`, `%hour%`,
`%minute%`, `%second%`, and `%batch_num%` for a picture's index in its batch.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import string
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from .atomic_file import new_file, publish_new, write_new
from .errors import OutputError
from .folder_path import is_below, is_device
from .run_record import FileClaims

BATCH_INDEX = "%batch_num%"
DEFAULT_NAME = "image"
"""The file name of a prefix that has none."""
REPLACEMENT = "_"
_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f\x7f\ud800-\udfff]')
"""What a file name cannot hold on Windows, and what cannot be written as UTF-8."""
_ABSOLUTE = re.compile(r"/|[A-Za-z]:/")


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A file that was written.

    Attributes:
        path: absolute. filename, subfolder, folder_type: what editors ask for it by (`subfolder` parts with '/').
    """

    path: Path
    filename: str
    subfolder: str
    folder_type: str

    def shown(self) -> dict[str, str]:
        """The entry for `ctx.show(images=[...])`."""
        return {"filename": self.filename, "subfolder": self.subfolder, "type": self.folder_type}


@dataclass(frozen=True, slots=True)
class OutputSeries:
    """The numbered files of one prefix; made by `output_series`.

    Attributes:
        folder: absolute, exists. subfolder: its path below the output folder, with '/'.
        name: the prefix's file name; may hold `%batch_num%`. claims: remember what is written over several attempts.
    """

    folder: Path
    subfolder: str
    name: str
    folder_type: str = "output"
    claims: FileClaims | None = None

    @property
    def _counter(self) -> _Counter:
        return _counter_of(self.folder, self.name)

    def next_number(self) -> int:
        """The number that the next file would get: 1 + the highest in the folder."""
        return self._counter.highest() + 1

    def save(self, data: bytes, extension: str = ".png", batch_index: int = 0) -> SavedFile:
        """Write the next file of the series. The extension has its dot.

        Raises:
            OutputError: the disk is full or the folder cannot be written; nothing is left behind.
        """
        name = self.name.replace(BATCH_INDEX, str(batch_index))
        try:
            write = write_new if self.claims is None else self.claims.write
            filename = write(self.folder, self._counter.names(name, extension), data)
        except OSError as error:
            raise output_error(self.folder / f"{name}{extension}", error, len(data)) from error
        return SavedFile(self.folder / filename, filename, self.subfolder, self.folder_type)

    def save_large(self, write: Callable[[IO[bytes]], None], extension: str) -> SavedFile:
        """As `save`, a file that is never in memory as a whole: `write` is given it, open."""
        name = self.name.replace(BATCH_INDEX, "0")
        names = self._counter.names(name, extension)
        try:
            if self.claims is not None:
                filename = self.claims.write_large(self.folder, names, write)
            else:
                with new_file(self.folder) as (temporary, file):
                    write(file)
                    file.close()
                    filename = publish_new(temporary, names)
        except OSError as error:
            raise output_error(self.folder / f"{name}{extension}", error) from error
        return SavedFile(self.folder / filename, filename, self.subfolder, self.folder_type)


def output_series(
    root: Path,
    prefix: str,
    *,
    folder_type: str = "output",
    width: int = 0,
    height: int = 0,
    now: datetime | None = None,
) -> OutputSeries:
    """The series that a `filename_prefix` names below a folder. Makes the subfolder.

    Letters that some system does not allow in names become `_`; a backslash parts folders as `/` does.

    Args:
        root: the output (or temp, input) folder. folder_type: which of them it is, as editors call it.
        width, height: for the placeholders, in pixels. now: the local time, for the placeholders.

    Raises:
        OutputError: the prefix leaves the folder, also by way of a symbolic link, or the folder cannot be made.
    """
    *parents, name = _parts(prefix, fill_placeholders(prefix, width, height, now))
    folder = root.absolute().joinpath(*parents)
    if not is_below(root, folder):
        raise _leaves(prefix, f"a link in it leads out of '{root}'")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    return OutputSeries(folder, "/".join(parents), name, folder_type)


def require_below(prefix: str) -> str:
    """The prefix, if it stays below its folder whatever its placeholders become; links on the disk are not looked at.

    Raises:
        OutputError: it leaves the folder.
    """
    _parts(prefix, prefix)
    return prefix


def fill_placeholders(prefix: str, width: int = 0, height: int = 0, now: datetime | None = None) -> str:
    """A prefix with its size and time placeholders filled in; `%batch_num%` and unknown ones stay."""
    now = now or datetime.now().astimezone()
    values = {"width": str(width), "height": str(height), "year": str(now.year)}
    values |= {unit: f"{getattr(now, unit):02}" for unit in ("month", "day", "hour", "minute", "second")}
    return re.sub("%(" + "|".join(values) + ")%", lambda match: values[match[1]], prefix)


@lru_cache(maxsize=4096)
def preview_prefix(node_id: str = "") -> str:
    """The prefix of a node's previews in the temp folder: random, the same for a node while the process lives."""
    return "ComfyUI_temp_" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(5))


def workflow_texts(prompt: Any, extra_pnginfo: Mapping[str, Any] | None, *, metadata: bool = True) -> dict[str, str]:
    """What is written into a picture for editors to load: ASCII JSON by keyword, `prompt` first.

    Args:
        prompt: the graph in API format; left out when empty. extra_pnginfo: normally `{"workflow": ...}`.
        metadata: False gives nothing at all.
    """
    if not metadata:
        return {}
    texts = {"prompt": json.dumps(prompt)} if prompt else {}
    return texts | {key: json.dumps(value) for key, value in (extra_pnginfo or {}).items() if key not in texts}


def output_error(path: Path, error: OSError, nbytes: int | None = None) -> OutputError:
    """The sentence for a file or folder that cannot be written: the path, the reason, the cure."""
    size = "" if not nbytes else f" ({nbytes / 1e6:.1f} MB)" if nbytes >= 1e5 else f" ({nbytes / 1e3:.1f} kB)"
    reason, cure = _REASONS.get(error.errno or 0, (str(error.strerror or error), "name another folder"))
    return OutputError(f"'{path}'{size} cannot be written: {reason}; {cure}")


_FULL = ("there is no space left on the disk", "free some, or name another folder with --output-dir")
_DENIED = ("the folder may not be written", "change its permissions, or name another folder with --output-dir")
_IN_THE_WAY = ("a file stands where a folder is wanted", "move that file, or choose another prefix")
_REASONS = {
    errno.ENOSPC: _FULL,
    getattr(errno, "EDQUOT", errno.ENOSPC): (_FULL[0].replace("on the disk", "in the quota"), _FULL[1]),
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: ("the disk is read-only", "name another folder with --output-dir"),
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.ENAMETOOLONG: ("the name is too long", "shorten the prefix"),
    errno.ELOOP: ("a symbolic link in it leads to itself", "remove that link, or choose another prefix"),
    errno.ENOENT: ("the folder is gone", "make it again, or name another with --output-dir"),
}


def _leaves(prefix: str, why: str) -> OutputError:
    return OutputError(
        f"filename_prefix {prefix!r} leaves the output folder: {why}; give a path below it, such as 'portraits/cat'"
    )


def _parts(prefix: str, filled: str) -> list[str]:
    """The folders and the file name of a prefix: none is empty, `.`, `..` or impossible on some system."""
    path = filled.replace("\\", "/")
    if _ABSOLUTE.match(path):
        raise _leaves(prefix, "it is an absolute path")
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if not parts:
                raise _leaves(prefix, "it has too many '..'")
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    *parents, name = parts or [DEFAULT_NAME]
    return [*map(_folder_name, parents), _FORBIDDEN.sub(REPLACEMENT, name)]


def _folder_name(part: str) -> str:
    """A folder's name with what Windows would change or refuse made plain."""
    part = _FORBIDDEN.sub(REPLACEMENT, part).strip(" ").rstrip(". ")
    return f"{REPLACEMENT}{part}" if not part or is_device(part) else part


class _Counter:
    """The highest number of a series, remembered: a thousand pictures don't list the folder a thousand times."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        spelling = r"[0-9]+".join(re.escape(part) for part in os.path.normcase(name).split(BATCH_INDEX))
        self._pattern = re.compile(rf"{spelling}_([0-9]+)_")
        self._lock = threading.Lock()
        self._number = 0
        self._latest = ""

    def names(self, name: str, extension: str) -> Iterator[str]:
        """Names to try, each with the next number; asked again, it looks for what another process wrote."""
        last = 0
        while True:
            last, filename = self._next(name, extension, last)
            yield filename
            with self._lock:
                self._number = max(self._number, self._search())

    def highest(self) -> int:
        """The highest number in the folder."""
        with self._lock:
            return self._current()

    def _next(self, name: str, extension: str, last: int) -> tuple[int, str]:
        with self._lock:
            self._number = max(self._current(), last) + 1
            self._latest = f"{name}_{self._number:05}_{extension}"
            return self._number, self._latest

    def _current(self) -> int:
        # Once the latest file is gone, somebody cleared the folder: count afresh.
        is_known = self._latest and os.path.lexists(self._folder / self._latest)
        return self._number if is_known else self._search()

    def _search(self) -> int:
        with os.scandir(self._folder) as entries:
            matches = [self._pattern.match(os.path.normcase(entry.name)) for entry in entries]
        return max((int(match[1]) for match in matches if match), default=0)


_counter_of = lru_cache(maxsize=1024)(_Counter)
