"""A single weights file of a models folder: where it lies, what names its content, and that it is still the same."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mezzotint import Context
from mezzotint.engine.errors import MezzotintError, ModelFileError
from mezzotint.engine.file_digest import file_digests, file_identity
from mezzotint.engine.folders import Folders

from .recipe import Source


def weights_identity(kind: str, name: str | None, folders: Folders) -> Any:
    """What changes when the file is written or replaced; NaN when it is not known which, or it is missing."""
    if name is None:
        return math.nan
    try:
        path = folders.require(kind, name)
        return [str(path), *file_identity(path)]
    except (MezzotintError, OSError):
        return math.nan  # the node will say what is wrong


def weights_source(kind: str, name: str, ctx: Context) -> Source:
    """The file as a recipe has it. Reads it once, for its digest.

    Raises:
        MissingModelError: no models folder has it. ModelFileError: it cannot be read.
    """
    path = ctx.folders.require(kind, name)
    return Source(kind, name, _digest(path, ctx.folders, ctx.check))


def weights_path(source: Source, folders: Folders) -> Path:
    """Where the file of a recipe lies.

    Raises:
        MissingModelError: it is gone. ModelFileError: it is another one now, or cannot be read.
    """
    path = folders.require(source.folder, source.name)
    if _digest(path, folders) != source.digest:
        raise ModelFileError(
            f"'{path}' is not the file that this value was made from: it has changed; run the workflow again"
        )
    return path


def _digest(path: Path, folders: Folders, *check: Any) -> str:
    try:
        return file_digests(folders.home).of_file(path, *check)
    except OSError as error:
        raise ModelFileError(f"'{path}' cannot be read ({error.strerror}); check its permissions") from None
