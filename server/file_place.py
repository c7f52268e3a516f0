"""Finds files that clients name, and nothing outside the input, output and temp folders, by whatever name or link."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from mezzotint.engine.errors import FolderError, OutsideFolderError
from mezzotint.engine.folder_path import path_below, why_refused
from mezzotint.engine.folders import Folders, split_annotation


def place(folders: Folders, filename: str, subfolder: str, folder_type: str) -> Path:
    """The path of a file, which need not exist; every link on the way is followed.

    Args:
        filename: a plain name. `"a.png [temp]"` says the folder itself. folder_type: `"input"`, `"output"`, `"temp"`.

    Raises:
        web.HTTPBadRequest: the name is none, or there is no such folder type.
        web.HTTPForbidden: the sub-folder, or a link, leads out of the folder.
    """
    plain, folder_type = split_annotation(filename, folder_type)
    if why := why_refused(plain) or ("it holds '..'" if ".." in plain else None):
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
    """The path of something below a folder. `what` is how sentences call the folder.

    Raises:
        web.HTTPForbidden: the name, or a link in it, leads out. web.HTTPNotFound: no file can have such a name.
    """
    try:
        return path_below(root, name)
    except OutsideFolderError:
        raise web.HTTPForbidden(text=f"The path leaves {what}.") from None
    except FolderError:
        raise web.HTTPNotFound(text="There is no such file.") from None


def is_file(path: Path) -> bool:
    """Whether there is a file; a name that is too long is none."""
    try:
        return path.is_file()
    except OSError:
        return False
