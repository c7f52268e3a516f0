"""The tokenizer of a text encoder that has a file of its own, in a folder beside it: no file of weights brings one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mezzotint.engine.folders import Folders

TOKENIZER_FOLDER = "t5_tokenizer"
VOCABULARIES = ("tokenizer.json", "spiece.model")
"""One of these it must have."""


def tokenizer_folder(path: Path, folders: Folders) -> Path | None:
    """Where the tokenizer of a file lies: beside it, or in a folder for text encoders; None if it is nowhere."""
    places = [place / TOKENIZER_FOLDER for place in (path.parent, *folders.model_folders("text_encoders"))]
    return next((place for place in places if any((place / name).is_file() for name in VOCABULARIES)), None)


def tokenizer_files(folder: Path | None) -> Mapping[str, Path]:
    """The files that decide how it splits a text, by the names that they count under."""
    found = sorted(folder.iterdir()) if folder else []
    return {f"{TOKENIZER_FOLDER}/{path.name}": path for path in found if path.suffix in (".json", ".model")}
