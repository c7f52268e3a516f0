"""`extra_model_paths.yaml`: model folders that other programs keep elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .errors import FolderError

EXTRA_PATHS_FILE = "extra_model_paths.yaml"


class ExtraPaths(NamedTuple):
    """What one entry of an `extra_model_paths.yaml` says: look for models of a kind in these folders, too."""

    kind: str
    paths: tuple[Path, ...]
    is_default: bool


def read_extra_paths(file: Path) -> list[ExtraPaths]:
    """The entries of an `extra_model_paths.yaml`: sections of `base_path`, `is_default` and a list of folders by kind.

    `~` and environment variables in `base_path` are expanded; relative paths are below it, and it is below the file's
    folder.

    Raises:
        FolderError: the file cannot be read, or it is not of that form.
    """
    import yaml

    try:
        sections = yaml.safe_load(file.read_bytes()) or {}
    except OSError as error:
        raise FolderError(
            f"'{file}' cannot be read ({error.strerror}); name another with --extra-model-paths"
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise FolderError(f"'{file}' is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(sections, dict):
        raise _wrong_form(file, "")
    return [extra for name, section in sections.items() for extra in _section(file, str(name), section)]


def expanded(text: str) -> Path:
    """A path as written by a person, with `~` and environment variables filled in."""
    path = Path(os.path.expandvars(text))
    try:
        return path.expanduser()
    except RuntimeError:  # no such user
        return path


def _section(file: Path, name: str, section: Any) -> Iterator[ExtraPaths]:
    if section is None:
        return
    if not isinstance(section, dict):
        raise _wrong_form(file, name)
    base = file.parent / expanded(str(section.get("base_path") or ""))
    for kind, value in section.items():
        if kind in {"base_path", "is_default"} or value is None:
            continue
        lines = value.splitlines() if isinstance(value, str) else value
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise _wrong_form(file, f"{name}: {kind}")
        paths = tuple(Path(os.path.normpath(base / line.strip())) for line in lines if line.strip())
        yield ExtraPaths(str(kind), paths, bool(section.get("is_default")))


def _wrong_form(file: Path, where: str) -> FolderError:
    return FolderError(
        f"'{file}' is not understood{f' at {where!r}' if where else ''}; "
        "wanted are sections of 'base_path' and, for each kind of model, its folders, one a line"
    )
