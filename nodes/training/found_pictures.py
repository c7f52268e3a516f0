"""All pictures of a folder with captions and classes: its files, and those inside parquet files and shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .caption_files import Captioned, captioned_pictures, files_below
from .picture_set import TrainingDataError
from .picture_shards import Columns, is_shard, read_shard

Classes = Literal["none", "folder", "column"]
MAX_CLASSES = 100_000


@dataclass(frozen=True, slots=True)
class Found:
    """What there is.

    Attributes:
        class_names: as a file says them, by number; empty where none does. damages: sentences about files that could
            be read in part, or not at all.
    """

    pictures: tuple[Captioned, ...]
    class_names: tuple[str, ...] = ()
    damages: tuple[str, ...] = ()


def find_pictures(path: Path, columns: Columns, is_strict: bool) -> Found:
    """The pictures of a folder, or of one parquet file or shard.

    Args:
        is_strict: damaged shards are an error.

    Raises:
        TrainingDataError: a table of captions cannot be read; in strictness, a shard is damaged.
    """
    if path.is_dir():
        root, shards = path, [each for each in files_below(path) if is_shard(each)]
        pictures = captioned_pictures(path, columns.label)
    else:
        root, shards, pictures = path.parent, [path], []
    class_names: tuple[str, ...] = ()
    damages: list[str] = []
    for file in shards:
        try:
            shard = read_shard(file, root, columns)
        except TrainingDataError as error:
            damage = str(error)
        else:
            damage = shard.damage
            pictures += shard.pictures
            class_names = class_names or shard.class_names
        if damage and is_strict:
            raise TrainingDataError(f"{damage}, or set on_error to skip")
        damages += [damage] if damage else []
    return Found(tuple(pictures), class_names, tuple(damages))


class Classification:
    """The classes of a set, by number.

    Attributes:
        names: of the classes. Where the data has numbers and no names, the numbers in words.
    """

    def __init__(self, pictures: Sequence[Captioned], names: tuple[str, ...] = ()) -> None:
        """Of the labels that pictures have: numbers keep their meaning, names are numbered by the alphabet.

        Args:
            names: what the data calls its numbers.

        Raises:
            TrainingDataError: a number is beyond the names, or too high to be a class.
        """
        labels = {picture.label for picture in pictures if picture.label is not None}
        numbers = {label for label in labels if isinstance(label, int)}
        self._has_numbers = len(numbers) == len(labels)
        if self._has_numbers:
            highest = max(numbers, default=-1)
            most = len(names) or MAX_CLASSES
            if highest >= most:
                raise TrainingDataError(
                    f"a picture is of class {highest}, and classes go from 0 to {most - 1}; mend the column of "
                    f"classes, or name another"
                )
            self.names = names or tuple(map(str, range(highest + 1)))
        else:
            self.names = tuple(sorted(str(label) for label in labels))
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def number(self, label: str | int) -> int:
        """The class of a picture that has this label."""
        return label if self._has_numbers and isinstance(label, int) else self._numbers[str(label)]
