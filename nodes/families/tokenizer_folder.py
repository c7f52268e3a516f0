"""The tokenizer of a text encoder that has a file of its own, in a folder beside it: no file of weights brings one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mezzotint.engine.folders import Folders

from .file_parts import LLAMA, T5

TOKENIZER_FOLDERS = {T5: "t5_tokenizer", LLAMA: "llama_tokenizer"}
"""By the layout of the text encoder."""
VOCABULARIES = ("tokenizer.json", "spiece.model")
"""One of these it must have."""


def tokenizer_folder(path: Path, layout: str, folders: Folders) -> Path | None:
    """Where the tokenizer of a file lies: beside it, or in a folder for text encoders; None if it is nowhere."""
    places = [place / TOKENIZER_FOLDERS[layout] for place in (path.parent, *folders.model_folders("text_encoders"))]
    return next((place for place in places if any((place / name).is_file() for name in VOCABULARIES)), None)


def tokenizer_files(folder: Path | None) -> Mapping[str, Path]:
    """The files that decide how it splits a text, by the names that they count under."""
    found = sorted(folder.iterdir()) if folder else []
    return {f"{path.parent.name}/{path.name}": path for path in found if path.suffix in (".json", ".model")}
