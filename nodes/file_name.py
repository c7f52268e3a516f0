"""What inputs that name files accept: those to load, and prefixes of those to save."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator

from mezzotint.engine.errors import MezzotintError, OutputError
from mezzotint.engine.folders import Folders
from mezzotint.engine.output_file import require_below
from mezzotint.engine.widget import Widget


def is_there(name: str, folders: Folders) -> bool:
    """Whether a name that is not listed is a file all the same: `a.png [output]`, or one in a sub-folder."""
    try:
        folders.require_file(name)
    except MezzotintError:
        return False
    return True


def content_of(name: str | None, folders: Folders) -> str | float:
    """Stands for the file's content in cache keys; NaN, so never reused, when the name is linked.

    Raises:
        FolderError: there is no such file.
    """
    from blake3 import blake3

    return math.nan if name is None else blake3(folders.require_file(name).read_bytes()).hexdigest()


def _below_the_folder(prefix: str) -> str:
    """Refuses before anything runs a prefix that would be refused after it."""
    try:
        return require_below(prefix)
    except OutputError as error:
        raise ValueError(str(error)) from None


OutputPrefix = Annotated[
    str,
    AfterValidator(_below_the_folder),
    Widget(tooltip="A path below the output folder; %width%, %year%, %batch_num% and the like are filled in."),
]
