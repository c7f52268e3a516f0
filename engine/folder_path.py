"""Paths below a folder: the one place that decides whether a name, whoever chose it, stays where it belongs."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import FolderError, OutsideFolderError

_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])( *\..*)? *", re.IGNORECASE)

MAX_PARTS = 64
"""A path of more is refused: no person makes one, and folders are walked by recursion."""


def is_device(part: str) -> bool:
    """Whether Windows takes a part of a path for a device, whatever its ending: `nul`, `CON.png`."""
    return _DEVICE.fullmatch(part) is not None


def why_refused(name: str) -> str | None:
    """Why a name is not a path below a folder on every system, or None when it is one."""
    if not name:
        return "it is empty"
    if "\0" in name:
        return "it holds a NUL"
    if "\\" in name:
        return f"it holds a backslash; folders are parted by '/': '{name.replace(chr(92), '/')}'"
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        return "it is an absolute path"
    if ".." in name.split("/"):
        return "'..' would leave the folder"
    return _why_unwritable(name)


def _why_unwritable(name: str) -> str | None:
    if name.count("/") >= MAX_PARTS:
        return f"it has more than {MAX_PARTS} parts"
    if any(map(is_device, name.split("/"))):
        return "it names a device on Windows"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "it holds half a character"
    return None


def path_below(root: Path, name: str) -> Path:
    """The path of something below a folder, which need not exist; every link on the way is followed.

    Args:
        name: parted by '/' (a backslash counts as one); empty for the folder itself.

    Raises:
        OutsideFolderError: the name, or a link in it, leads out of the folder. FolderError: no file can have the name.
    """
    name = name.replace("\\", "/")
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        raise OutsideFolderError(f"the path {name!r} leaves its folder: it is an absolute path")
    if why := "it holds a NUL" if "\0" in name else _why_unwritable(name):
        raise FolderError(f"the path {_short(name)} cannot be used: {why}")
    folder = os.path.realpath(root)
    path = Path(os.path.realpath(os.path.join(folder, name)))  # noqa: PTH118 - joined without being interpreted
    if not path.is_relative_to(folder):
        raise OutsideFolderError(f"the path {name!r} leaves its folder, by '..' or by a link")
    return path


def _short(name: str) -> str:
    return repr(name if len(name) <= 200 else f"{name[:200]}...")


def is_below(root: Path, path: str | Path) -> bool:
    """Whether a path, with every link followed, is the folder or something in it."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
