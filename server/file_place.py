"""Finds files that clients name, and nothing outside the input, output and temp folders, by whatever name or link."""

from __future__ import annotations

import re
from pathlib import Path

from aiohttp import web

from mezzotint.engine.errors import FolderError
from mezzotint.engine.folders import Folders, split_annotation
from mezzotint.engine.listed_folder import why_refused

_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])[ .]*(\..*)?", re.IGNORECASE)
"""What Windows takes for a device in any folder and with any ending; refused on every system, since names travel."""

MAX_DEPTH = 64
"""A path with more parts is refused: no person makes one, and folders are walked by recursion."""


def why_unusable(name: str) -> str | None:
    """Why no file below a folder can be called that, or None."""
    if why := why_refused(name):
        return why
    if name.count("/") >= MAX_DEPTH:
        return f"it has more than {MAX_DEPTH} parts"
    device = next((part for part in name.split("/") if _DEVICE.fullmatch(part)), None)
    return None if device is None else f"'{device}' is a device on Windows"


def place(folders: Folders, filename: str, subfolder: str, folder_type: str) -> Path:
    """The path of a file, which need not exist; every link on the way is followed.

    Args:
        filename: a plain name. `"a.png [temp]"` says the folder itself. folder_type: `"input"`, `"output"`, `"temp"`.

    Raises:
        web.HTTPBadRequest: the name is none, or there is no such folder type.
        web.HTTPForbidden: the sub-folder, or a link, leads out of the folder.
    """
    plain, folder_type = split_annotation(filename, folder_type)
    if why := why_unusable(plain) or ("it holds '..'" if ".." in plain else None):
        raise web.HTTPBadRequest(text=f"The file name cannot be used: {why}.")
    return inside(folders, f"{subfolder}/{plain}" if subfolder else plain, folder_type)


def inside(folders: Folders, below: str, folder_type: str) -> Path:
    """The path of something below a folder.

    Raises:
        web.HTTPBadRequest: there is no such folder type. web.HTTPForbidden: it is not below that folder.
    """
    try:
        root = folders.by_type(folder_type)
    except FolderError as error:
        raise web.HTTPBadRequest(text=f"{error}.") from None
    return below_root(root, below, f"the {folder_type} folder")


def below_root(root: Path, name: str, what: str) -> Path:
    """The path of something below a root; every link on the way is followed. `what` is how sentences call the root.

    Raises:
        web.HTTPNotFound: no file can have this name. web.HTTPForbidden: it is not below the root.
        web.HTTPBadRequest: it is too far below.
    """
    try:
        root = root.resolve()
        path = (root / name).resolve()
    except (OSError, RuntimeError, ValueError):  # a name that is too long, a link to itself, a NUL
        raise web.HTTPNotFound(text="There is no such file.") from None
    if not path.is_relative_to(root):
        raise web.HTTPForbidden(text=f"The path leaves {what}.")
    if len(path.relative_to(root).parts) > MAX_DEPTH:
        raise web.HTTPBadRequest(text=f"The path has more than {MAX_DEPTH} parts.")
    return path


def is_file(path: Path) -> bool:
    """Whether there is a file; a name that is too long is none."""
    try:
        return path.is_file()
    except OSError:
        return False
