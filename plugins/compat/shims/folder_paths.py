"""`folder_paths`: where files lie."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from mezzotint.engine.errors import FolderError
from mezzotint.engine.folders import KIND_ALIASES, SUFFIXES, WEIGHTS
from mezzotint.plugins.compat import surroundings

supported_pt_extensions = set(WEIGHTS)
base_path = str(surroundings.folders().home)
models_dir = str(next(iter(surroundings.folders().models), Path(base_path) / "models"))


class _Kinds(MutableMapping[str, Any]):
    """Kind of model → its folders and the endings of its files. What is set is added."""

    def __getitem__(self, kind: str) -> tuple[list[str], set[str]]:
        kind = KIND_ALIASES.get(kind, kind)
        try:
            return get_folder_paths(kind), set(SUFFIXES.get(kind) or ())
        except FolderError:
            raise KeyError(kind) from None

    def __setitem__(self, kind: str, value: Any) -> None:
        for path in value[0]:
            add_model_folder_path(kind, path)

    def __delitem__(self, kind: str) -> None:
        raise FolderError(f"the kind of model '{kind}' cannot be taken away")

    def __iter__(self) -> Iterator[str]:
        return iter(surroundings.folders().kinds)

    def __len__(self) -> int:
        return len(surroundings.folders().kinds)


folder_names_and_paths = _Kinds()


def add_model_folder_path(folder_name: str, full_folder_path: str, is_default: bool = False) -> None:
    """Let a kind of model also be looked for in this folder; before the others if `is_default`."""
    surroundings.folders().add(folder_name, Path(full_folder_path), first=is_default)


def get_folder_paths(folder_name: str) -> list[str]:
    """The folders of a kind."""
    return [str(path) for path in surroundings.folders().model_folders(folder_name)]


def get_filename_list(folder_name: str) -> list[str]:
    """The files of a kind, below its folders, with '/'."""
    return surroundings.folders().filenames(folder_name)


def get_full_path(folder_name: str, filename: str) -> str | None:
    """The path of a file of a kind; None when there is none."""
    found = surroundings.folders().find(folder_name, filename)
    return str(found) if found is not None else None


def get_full_path_or_raise(folder_name: str, filename: str) -> str:
    """The path of a file of a kind.

    Raises:
        FileNotFoundError: there is none.
    """
    found = get_full_path(folder_name, filename)
    if found is None:
        raise FileNotFoundError(f"the model '{filename}' ({folder_name}) is missing")
    return found


def get_input_directory() -> str:
    return str(surroundings.folders().input)


def get_output_directory() -> str:
    return str(surroundings.folders().output)


def get_temp_directory() -> str:
    return str(surroundings.folders().temp)


def get_directory_by_type(type_name: str) -> str | None:
    """The folder of a type: input, output, temp; None for others."""
    try:
        return str(surroundings.folders().by_type(type_name))
    except FolderError:
        return None


def annotated_filepath(name: str) -> tuple[str, str | None]:
    """`"a.png [temp]"` → `"a.png"` and the folder; no folder without annotation."""
    for kind in ("input", "output", "temp"):
        if name.endswith(f" [{kind}]"):
            return name.removesuffix(f" [{kind}]"), get_directory_by_type(kind)
    return name, None


def get_annotated_filepath(name: str, default_dir: str | None = None) -> str:
    """The path of `"a.png [temp]"`; of a name without annotation in `default_dir`, else in the input folder."""
    plain, folder = annotated_filepath(name)
    return str(Path(folder or default_dir or get_input_directory()) / plain)


def exists_annotated_filepath(name: str) -> bool:
    return Path(get_annotated_filepath(name)).is_file()
