"""A single weights file of a models folder: where it lies, what names its content, and that it is still the same.

In all functions, `beside` names small files that belong to it where they lie in the same folder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mezzotint import Context
from mezzotint.engine.errors import MezzotintError, ModelFileError
from mezzotint.engine.file_digest import file_digests, file_identity
from mezzotint.engine.folders import Folders

from .recipe import Source


def weights_identity(kind: str, name: str | None, folders: Folders, beside: Sequence[str] = ()) -> Any:
    """What changes when the file is written or replaced; NaN when it is not known which, or it is missing."""
    if name is None:
        return math.nan
    try:
        path = folders.require(kind, name)
        return [str(path), *(part for file in (path, *_further(path, beside)) for part in file_identity(file))]
    except (MezzotintError, OSError):
        return math.nan  # the node will say what is wrong


def weights_source(kind: str, name: str, ctx: Context, beside: Sequence[str] = ()) -> Source:
    """The file as a recipe has it. Reads it once, for its digest.

    Raises:
        MissingModelError: no models folder has it. ModelFileError: it cannot be read.
    """
    path = ctx.folders.require(kind, name)
    return Source(kind, name, _digest(path, ctx.folders, beside, ctx.check))


def weights_path(source: Source, folders: Folders, beside: Sequence[str] = ()) -> Path:
    """Where the file of a recipe lies.

    Raises:
        MissingModelError: it is gone. ModelFileError: it is another one now, or cannot be read.
    """
    path = folders.require(source.folder, source.name)
    if _digest(path, folders, beside) != source.digest:
        raise ModelFileError(
            f"'{path}' is not the file that this value was made from: it has changed; run the workflow again"
        )
    return path


def _digest(path: Path, folders: Folders, beside: Sequence[str], *check: Any) -> str:
    digests = file_digests(folders.home)
    try:
        if further := _further(path, beside):
            return digests.of_folder(path.parent, [file.name for file in (path, *further)], *check)
        return digests.of_file(path, *check)
    except OSError as error:
        raise ModelFileError(f"'{path}' cannot be read ({error.strerror}); check its permissions") from None


def _further(path: Path, beside: Sequence[str]) -> list[Path]:
    return [file for name in beside if (file := path.with_name(name)).is_file()]
