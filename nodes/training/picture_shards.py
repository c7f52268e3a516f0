"""Pictures inside other files: parquet files as the hub of Hugging Face has them, and webdataset's .tar shards.

A picture's place is its file and two numbers: row group and row in it of a parquet file, offset and length in bytes of
a shard. So any picture is read without reading all before it, in whatever order training asks for them.
"""

from __future__ import annotations

import json
import tarfile
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from .caption_files import CAPTION_COLUMNS, SUFFIXES, Captioned, class_of, plain
from .picture_set import TrainingDataError, Where

PARQUET, SHARD = ".parquet", ".tar"
PACKED_SHARDS = (".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2")
CAPTION_MEMBERS = ("txt", "caption", "text")
GROUPS_KEPT = 2
"""Row groups of parquet files that stay in memory."""


class Columns(NamedTuple):
    """Of a parquet file (or keys of the .json in a shard): where pictures, captions and classes are.

    Attributes:
        caption: empty for whichever of `text` and `caption` is there. label: None where classes are not wanted.
    """

    image: str = "image"
    caption: str = ""
    label: str | None = None


class Shard(NamedTuple):
    """The pictures in a file; names of the classes, if it says them; a sentence where the rest of it is damaged."""

    pictures: list[Captioned]
    class_names: tuple[str, ...] = ()
    damage: str = ""


def is_shard(path: Path) -> bool:
    """Whether it is a file with pictures inside."""
    return path.suffix.lower() in (PARQUET, SHARD) or path.name.lower().endswith(PACKED_SHARDS)


def read_shard(path: Path, root: Path, columns: Columns) -> Shard:
    """The pictures of a parquet file or .tar shard with their captions; the pictures themselves are not read.

    Args:
        root: the folder that names and places count from.

    Raises:
        TrainingDataError: it cannot be read at all, lacks a column, or pyarrow is not installed.
    """
    name = path.relative_to(root).as_posix()
    if path.name.lower().endswith(PACKED_SHARDS):
        raise TrainingDataError(
            f"'{name}' is a compressed shard, in which no picture can be found without reading all before it; unpack "
            f"it to a .tar"
        )
    return _read_parquet(path, name, columns) if path.suffix.lower() == PARQUET else _read_tar(path, name, columns)


def picture_bytes(root: Path, place: Where, image_column: str) -> bytes:
    """The file of a picture, as bytes.

    Args:
        root: the folder that the place counts from. image_column: of parquet files.

    Raises:
        TrainingDataError, OSError: it is not there any more.
    """
    name, first, second = place
    path = root / name
    if path.suffix.lower() != PARQUET:
        with path.open("rb") as file:
            file.seek(first)
            return file.read(second)
    value: Any = _row_group(path, path.stat().st_mtime_ns, first, image_column)[second].as_py()
    if isinstance(value, dict):
        value, beside = value.get("bytes"), value.get("path")
        if value is None and isinstance(beside, str) and (path.parent / beside).resolve().is_relative_to(root):
            value = (path.parent / beside).read_bytes()
    if not isinstance(value, bytes):
        raise TrainingDataError("there is no picture")
    return value


# parquet


def _arrow() -> Any:
    try:
        import pyarrow.parquet as arrow
    except ImportError:
        raise TrainingDataError(
            "parquet files are read by the package pyarrow, which is not installed; install mezzotint with its extra "
            "'datasets': pip install 'mezzotint[datasets]'"
        ) from None
    return arrow


def _read_parquet(path: Path, name: str, columns: Columns) -> Shard:
    arrow = _arrow()
    try:
        with arrow.ParquetFile(path) as file:
            schema = file.schema_arrow
            caption = _caption_column(schema.names, columns, name)
            _require_image(schema, columns.image, name)
            wanted = [each for each in (caption, columns.label) if each is not None]
            found: list[Captioned] = []
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=wanted)
                listed = {each: table.column(each).to_pylist() for each in wanted}
                for row in range(table.num_rows if wanted else file.metadata.row_group(group).num_rows):
                    text = _caption_in(listed[caption][row]) if caption else None
                    label = class_of(listed[columns.label][row]) if columns.label else None
                    found.append(Captioned(f"{name}, row {len(found)}", text, label, (name, group, row)))
            return Shard(found, _class_names(schema.metadata, columns.label))
    except (OSError, ValueError, NotImplementedError) as error:  # pyarrow's errors are these
        raise TrainingDataError(f"'{name}' cannot be read as parquet ({error}); fetch it again") from None


def _caption_column(names: list[str], columns: Columns, file: str) -> str | None:
    wanted = (columns.caption,) if columns.caption else CAPTION_COLUMNS
    for column in (columns.label, *((columns.caption,) if columns.caption else ())):
        if column is not None and column not in names:
            raise TrainingDataError(f"'{file}' has no column '{column}'; it has {', '.join(names)}")
    return next((column for column in wanted if column in names), None)


def _require_image(schema: Any, column: str, file: str) -> None:
    if column not in schema.names:
        raise TrainingDataError(
            f"'{file}' has no column '{column}' for its pictures; it has {', '.join(schema.names)}: name one in "
            f"image_column"
        )
    import pyarrow

    kind = schema.field(column).type
    is_bytes = pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)
    if not is_bytes and not (pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0):
        raise TrainingDataError(
            f"the column '{column}' of '{file}' holds {kind} and no picture files; name one that holds bytes, or a "
            f"struct of bytes and path, in image_column"
        )


def _caption_in(value: Any) -> str | None:
    """Of several captions the first."""
    first = value[0] if isinstance(value, list) and value else value
    return plain(first) if isinstance(first, str) else None


def _class_names(metadata: Any, label: str | None) -> tuple[str, ...]:
    """What the `datasets` library notes of a column of classes."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return tuple(map(str, features[label]["names"]))
    except (KeyError, TypeError, ValueError):
        return ()


@lru_cache(maxsize=GROUPS_KEPT)
def _row_group(path: Path, modified_ns: int, group: int, column: str) -> Any:
    """A column of a row group, as arrow has it; read again when the file was changed."""
    with _arrow().ParquetFile(path) as file:
        return file.read_row_group(group, columns=[column]).column(column)


# webdataset


def _read_tar(path: Path, name: str, columns: Columns) -> Shard:
    """Members that are called alike up to the first dot belong together: the picture, its caption, its class."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    damage = ""
    try:
        with tarfile.open(path, "r:") as archive:
            try:
                for member in archive:
                    folder, _, last = member.name.removeprefix("./").rpartition("/")
                    key, _, ending = last.partition(".")
                    if member.isreg() and key and ending:
                        samples.setdefault(f"{folder}/{key}".lstrip("/"), {})[ending.lower()] = member
                if 0 < path.stat().st_size - archive.offset < tarfile.BLOCKSIZE:
                    raise tarfile.ReadError("it ends within a header")
            except tarfile.TarError as error:
                damage = f"'{name}' is cut short ({error}); fetch it again"
            found = [
                _member(archive, name, key, members, columns)
                for key, members in samples.items()
                if any(f".{ending}" in SUFFIXES for ending in members)
            ]
    except (tarfile.TarError, OSError) as error:
        raise TrainingDataError(f"'{name}' cannot be read as a .tar shard ({error}); fetch it again") from None
    return Shard(found, damage=damage)


def _member(
    archive: tarfile.TarFile, shard: str, key: str, members: dict[str, tarfile.TarInfo], columns: Columns
) -> Captioned:
    ending = next(ending for ending in members if f".{ending}" in SUFFIXES)
    picture = members[ending]
    described = _described(archive, members.get("json"))
    caption = next((_text(archive, members[each]) for each in CAPTION_MEMBERS if each in members), None)
    if columns.caption or caption is None:
        names = (columns.caption,) if columns.caption else CAPTION_COLUMNS
        caption = next((text for each in names if (text := _caption_in(described.get(each))) is not None), caption)
    return Captioned(
        f"{shard}: {picture.name}",
        None if caption is None else plain(caption),
        _label(archive, key, members, described, columns.label),
        (shard, picture.offset_data, picture.size),
    )


def _label(
    archive: tarfile.TarFile,
    key: str,
    members: dict[str, tarfile.TarInfo],
    described: dict[str, Any],
    column: str | None,
) -> str | int | None:
    """Of a column: the member of that name, that named `cls`, or the value in the .json. Without one, its folder."""
    if column is None:
        return key.split("/")[-2] if "/" in key else None
    member = members.get(column) or members.get("cls")
    return class_of(_text(archive, member) if member is not None else described.get(column))


def _described(archive: tarfile.TarFile, member: tarfile.TarInfo | None) -> dict[str, Any]:
    try:
        described = json.loads(_text(archive, member) or "{}") if member is not None else {}
    except ValueError:
        return {}
    return described if isinstance(described, dict) else {}


def _text(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str | None:
    file = archive.extractfile(member)
    try:
        return file.read().decode("utf-8-sig") if file is not None else None
    except (UnicodeDecodeError, tarfile.TarError):
        return None
