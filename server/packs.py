"""What plugins bring for editors: scripts and styles, translations, example workflows."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mezzotint.engine.errors import WorkflowError
from mezzotint.engine.folder_path import is_below
from mezzotint.engine.workflow_file import parse_json

log = logging.getLogger("mezzotint.server")

TRANSLATED = ("nodeDefs", "commands", "settings")
"""The files of a language whose texts go below a key of that name; those of `main` go to the top."""


@dataclass(frozen=True, slots=True)
class Pack:
    """The folders of one plugin that editors may read.

    Attributes:
        name: stands in the addresses of its files. web: given out below `/extensions/NAME/`; editors load each `.js`.
        locales: holds `LANGUAGE/main.json`, `nodeDefs.json`, `commands.json`, `settings.json`.
        templates: holds example workflows, `NAME.json`, each with a picture `NAME.jpg` beside it if there is one.
    """

    name: str
    web: Path | None = None
    locales: Path | None = None
    templates: Path | None = None


class Packs:
    """The packs of a server. Files are looked up when they are asked for."""

    def __init__(self) -> None:
        self._packs: dict[str, Pack] = {}

    def add(self, pack: Pack) -> None:
        """Let editors have what a plugin brings.

        Raises:
            ValueError: a pack of that name is there, or the name cannot stand in an address.
        """
        if not pack.name or "/" in pack.name or pack.name in (".", ".."):
            raise ValueError(f"a pack cannot be called {pack.name!r}")
        if pack.name in self._packs:
            raise ValueError(f"there is a pack '{pack.name}' already")
        self._packs[pack.name] = pack

    def scripts(self) -> list[str]:
        """The addresses of the scripts that editors load."""
        return [
            f"/extensions/{quote(pack.name)}/{quote(path)}"
            for pack in self._packs.values()
            for path in _names(pack.web, "**/*.js")
        ]

    def templates(self) -> dict[str, list[str]]:
        """Pack → names of its example workflows."""
        named = {
            pack.name: [name.removesuffix(".json") for name in _names(pack.templates, "*.json")]
            for pack in self._packs.values()
        }
        return {name: templates for name, templates in named.items() if templates}

    def web_folder(self, name: str) -> Path | None:
        """The folder of a pack's scripts and styles."""
        pack = self._packs.get(name)
        return pack.web if pack else None

    def template_folder(self, name: str) -> Path | None:
        """The folder of a pack's example workflows."""
        pack = self._packs.get(name)
        return pack.templates if pack else None

    def translations(self) -> dict[str, Any]:
        """Language → texts, those of all packs together."""
        merged: dict[str, Any] = {}
        for pack in self._packs.values():
            for language in _folders(pack.locales):
                _merge(merged, {language.name: _texts(language)})
        return merged


def _names(folder: Path | None, pattern: str) -> list[str]:
    if folder is None:
        return []
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.glob(pattern)
        if path.is_file() and is_below(folder, path)
    )


def _folders(folder: Path | None) -> Iterator[Path]:
    if folder is not None and folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.is_dir())


def _texts(language: Path) -> dict[str, Any]:
    texts = _object(language / "main.json")
    for name in TRANSLATED:
        if found := _object(language / f"{name}.json"):
            _merge(texts, {name: found})
    return texts


def _object(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_text(encoding="utf-8-sig"), path.name)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, WorkflowError) as error:
        log.warning("the translations in '%s' are left out: %s", path, error)
        return {}
    return found if isinstance(found, dict) else {}


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
