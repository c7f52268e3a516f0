"""Where the captions and classes of a folder's pictures are: a .txt beside each, a table of all, or the folders' names.

A table is `metadata.jsonl`, `captions.jsonl` or `metadata.csv`, with a `file_name` and a `text` or `caption` in each
row, and lies in the folder that its names count from (the image folders of the `datasets` library). A .txt wins over a
row.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .picture_set import TrainingDataError, Where

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
TABLES = ("metadata.jsonl", "captions.jsonl", "metadata.csv")
CAPTION_COLUMNS = ("text", "caption")


class Captioned(NamedTuple):
    """A picture below a folder.

    Attributes:
        name: with '/', for sentences. caption: None where there is none. label: its class as the data has it, a name or
            a number; None where there is none.
        place: of a picture inside another file, that file and two numbers (`picture_files`); None for a file by `name`.
    """

    name: str
    caption: str | None
    label: str | int | None = None
    place: Where | None = None


def captioned_pictures(folder: Path, class_column: str | None = None) -> list[Captioned]:
    """All picture files of a folder and of those in it, by name, with their captions.

    Args:
        class_column: of the tables, where the classes are; the name of the picture's own folder where it is None.

    Raises:
        TrainingDataError: a table of captions cannot be read.
    """
    names = [path.relative_to(folder).as_posix() for path in files_below(folder) if path.suffix.lower() in SUFFIXES]
    rows = _rows(folder, class_column)
    found = []
    for name in names:
        caption, label = rows.get(name, (None, None))
        label = label if class_column is not None else _own_folder(name)
        found.append(Captioned(name, _beside(folder / name, caption), label))
    return found


def files_below(folder: Path) -> list[Path]:
    """The files of a folder and of those in it, sorted; hidden ones and those in hidden folders apart."""
    return [path for path in sorted(folder.rglob("*")) if _is_shown(path.relative_to(folder)) and path.is_file()]


def folder_state(path: Path) -> list[Any]:
    """What changes when a picture or a caption of the folder does, or a single file; reads none of them."""
    files = [path] if path.is_file() else files_below(path)
    return [[str(each.relative_to(path)), each.stat().st_size, each.stat().st_mtime_ns] for each in files]


def plain(text: str) -> str:
    """A caption without breaks."""
    return " ".join(text.split())


def _is_shown(path: Path) -> bool:
    return not any(part.startswith(".") for part in path.parts)


def _own_folder(name: str) -> str | None:
    parts = name.split("/")
    return parts[-2] if len(parts) > 1 else None


def _beside(picture: Path, otherwise: str | None) -> str | None:
    try:
        text = picture.with_suffix(".txt").read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return otherwise
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingDataError(
            f"the caption of '{picture.name}' cannot be read ({error}); save its .txt as UTF-8 text"
        ) from None
    return plain(text)


def _rows(folder: Path, class_column: str | None) -> dict[str, tuple[str | None, str | int | None]]:
    """Captions and classes by the name of the picture, of all tables; the first kind of each folder counts."""
    tables: dict[Path, Path] = {}
    for path in files_below(folder):
        if path.name in TABLES:
            before = tables.get(path.parent)
            if before is None or TABLES.index(path.name) < TABLES.index(before.name):
                tables[path.parent] = path
    found: dict[str, tuple[str | None, str | int | None]] = {}
    for parent, path in tables.items():
        for number, row in _numbered_rows(path):
            name = row.get("file_name")
            caption = next((row[column] for column in CAPTION_COLUMNS if isinstance(row.get(column), str)), None)
            label = row.get(class_column) if class_column else None
            if not isinstance(name, str) or (caption is None and label is None):
                raise TrainingDataError(
                    f"row {number} of '{path.name}' has no file_name with a text or caption; each row needs both"
                )
            below = (parent / name.replace("\\", "/")).relative_to(folder).as_posix()
            found[below] = (None if caption is None else plain(caption), class_of(label))
    return found


def class_of(value: Any) -> str | int | None:
    """A class as data has it: a number, a number in words, or a name; None for anything else."""
    if isinstance(value, str):
        text = value.strip()
        return int(text) if text.isdecimal() else text or None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


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
