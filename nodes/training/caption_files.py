"""Where the captions of a folder of pictures are: a .txt beside each, or a table of all.

A table is `metadata.jsonl`, `captions.jsonl` or `metadata.csv`, with a `file_name` and a `text` or `caption` in each
row (the image folders of the `datasets` library). A .txt wins over a row.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .picture_set import TrainingDataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
TABLES = ("metadata.jsonl", "captions.jsonl", "metadata.csv")
CAPTION_COLUMNS = ("text", "caption")


class Captioned(NamedTuple):
    """A picture file below a folder, its name with '/', and its caption; None where there is none."""

    name: str
    caption: str | None


def captioned_pictures(folder: Path) -> list[Captioned]:
    """All pictures of a folder and of those in it, by name, with their captions.

    Raises:
        TrainingDataError: a table of captions cannot be read.
    """
    rows = _rows(folder)
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    return [Captioned(name, _beside(folder / name, rows.get(name))) for name in names]


def folder_state(folder: Path) -> list[Any]:
    """What changes when a picture or a caption of the folder does; reads none of them."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
    return [[path.relative_to(folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def _beside(picture: Path, otherwise: str | None) -> str | None:
    try:
        text = picture.with_suffix(".txt").read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return otherwise
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingDataError(
            f"the caption of '{picture.name}' cannot be read ({error}); save its .txt as UTF-8 text"
        ) from None
    return " ".join(text.split())


def _rows(folder: Path) -> dict[str, str]:
    path = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    if path is None:
        return {}
    found: dict[str, str] = {}
    for number, row in _numbered_rows(path):
        name = row.get("file_name")
        caption = next((row[column] for column in CAPTION_COLUMNS if row.get(column) is not None), None)
        if not isinstance(name, str) or not isinstance(caption, str):
            raise TrainingDataError(
                f"row {number} of '{path.name}' has no file_name with a text or caption; each row needs both"
            )
        found[name.replace("\\", "/")] = " ".join(caption.split())
    return found


def _numbered_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        if path.suffix == ".csv":
            yield from enumerate(csv.DictReader(lines), 2)
            return
        for number, line in enumerate(lines, 1):
            if line.strip():
                row = json.loads(line)
                yield number, row if isinstance(row, dict) else {}
    except (OSError, ValueError, csv.Error) as error:
        raise TrainingDataError(f"'{path.name}' cannot be read as captions: {error}; mend it or remove it") from None
