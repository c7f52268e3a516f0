"""Golden pictures: what a test made when somebody looked at it and found it right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .picture import TOLERANCE, difference_of, picture_of, save_picture

UPDATE_OPTION = "--update-golden"


@dataclass(frozen=True, slots=True)
class GoldenImages:
    """Compares pictures with those in a folder. `is_updating`: write what is missing or differs in place of failing."""

    folder: Path
    is_updating: bool = False

    def __call__(self, image: Any, name: str, *, tolerance: float = TOLERANCE, outliers: float = 0.0) -> None:
        """The picture is close to the golden one of this file name, such as "apple.png".

        Takes pictures, `tolerance` and `outliers` as `assert_images_close` does.

        Raises:
            AssertionError: there is no golden picture, or it differs; the sentence says how to write it.
        """
        path, made = self.folder / name, picture_of(image)
        if path.suffix != ".png":
            raise ValueError(f"a golden picture is a PNG file, and '{name}' is none; name it '{Path(name).stem}.png'")
        is_there = path.is_file()
        wrong = difference_of(made, picture_of(path), tolerance, outliers) if is_there else "there is none yet"
        if wrong is None:
            return
        if self.is_updating:
            save_picture(made, path)
            return
        raise AssertionError(
            f"golden picture '{path}': {wrong}. If the new picture is right, run pytest {UPDATE_OPTION} to write it"
        )
