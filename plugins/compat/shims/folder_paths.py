"""`folder_paths`: where files lie."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

from mezzotint.engine.errors import FolderError
from mezzotint.engine.folders import KIND_ALIASES, SUFFIXES, WEIGHTS
from mezzotint.engine.output_file import output_series
from mezzotint.plugins.compat import surroundings

supported_pt_extensions = set(WEIGHTS)
base_path = str(surroundings.folders().home)
models_dir = str(next(iter(surroundings.folders().models), Path(base_path) / "models"))


class _KindFolders(list[str]):
    """The folders of a kind. What is appended is added."""

    def __init__(self, kind: str) -> None:
        super().__init__(get_folder_paths(kind))
        self._kind = kind

    def append(self, path: str) -> None:
        add_model_folder_path(self._kind, path)
        super().append(path)

    def extend(self, paths: Iterable[str]) -> None:
        for path in paths:
            self.append(path)

    def insert(self, index: Any, path: str) -> None:
        add_model_folder_path(self._kind, path, is_default=index == 0)
        super().insert(index, path)


class _Kinds(MutableMapping[str, Any]):
    """Kind of model → its folders and the endings of its files. What is set is added."""

    def __init__(self) -> None:
        self._endings: dict[str, set[str]] = {}

    def __getitem__(self, kind: str) -> tuple[list[str], set[str]]:
        kind = KIND_ALIASES.get(kind, kind)
        try:
            return _KindFolders(kind), self._endings.get(kind) or set(SUFFIXES.get(kind) or ())
        except FolderError:
            raise KeyError(kind) from None

    def __setitem__(self, kind: str, value: Any) -> None:
        kind = KIND_ALIASES.get(kind, kind)
        paths, *endings = value
        given = frozenset(str(ending).lower() for ending in (endings[0] if endings else ()))
        self._endings[kind] = self._endings.get(kind, set(SUFFIXES.get(kind) or ())) | given
        surroundings.folders().add(kind, *map(Path, paths), suffixes=given or None)

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
    return _made(surroundings.folders().input)


def get_output_directory() -> str:
    return _made(surroundings.folders().output)


def get_temp_directory() -> str:
    return _made(surroundings.folders().temp)


def get_user_directory() -> str:
    """Where the settings and files of people lie."""
    return _made(surroundings.folders().home / "user")


def _made(folder: Path) -> str:
    """A folder, which packs expect to be there."""
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def find(name: str) -> Any:
    """The folders as attributes, as they are now."""
    ask = {
        "output_directory": get_output_directory,
        "input_directory": get_input_directory,
        "temp_directory": get_temp_directory,
        "user_directory": get_user_directory,
    }
    return ask[name]() if name in ask else None


def get_directory_by_type(type_name: str) -> str | None:
    """The folder of a type: input, output, temp; None for others."""
    try:
        return _made(surroundings.folders().by_type(type_name))
    except FolderError:
        return None


def get_save_image_path(
    filename_prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0
) -> tuple[str, str, int, str, str]:
    """Where the next file of a prefix goes below a folder: folder (made), name, number, sub-folder, prefix.

    The file is to be called `f"{name}_{number:05}_.png"`; placeholders such as `%year%` are filled in.

    Raises:
        OutputError: the prefix leaves the folder.
    """
    series = output_series(Path(output_dir), filename_prefix, width=image_width, height=image_height)
    prefix = f"{series.subfolder}/{series.name}" if series.subfolder else series.name
    return str(series.folder), series.name, series.next_number(), series.subfolder, prefix


def filter_files_extensions(files: Iterable[str], extensions: Iterable[str]) -> list[str]:
    """The files with one of these endings, sorted; all when there are none."""
    wanted = tuple(extensions)
    return sorted(name for name in files if not wanted or Path(name).suffix.lower() in wanted)


def filter_files_content_types(files: Iterable[str], content_types: Iterable[str]) -> list[str]:
    """The files of these kinds of content: image, video, audio, model, text."""
    kinds = {*content_types}
    guessed = ((name, (mimetypes.guess_type(name)[0] or "").partition("/")[0]) for name in files)
    return [name for name, kind in guessed if kind in kinds]


def recursive_search(
    directory: str, excluded_dir_names: Iterable[str] | None = None
) -> tuple[list[str], dict[str, float]]:
    """All files below a folder, with '/', and when its folders changed."""
    excluded = {*(excluded_dir_names or ())}
    found: list[str] = []
    changed: dict[str, float] = {}
    for folder, names, files in os.walk(directory, followlinks=True):
        names[:] = [name for name in names if name not in excluded]
        changed[folder] = Path(folder).stat().st_mtime
        found += [(Path(folder) / name).relative_to(directory).as_posix() for name in files]
    return found, changed


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
