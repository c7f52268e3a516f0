"""Stands for a plugin's code in cache keys: its distribution's version, or its source where that can change."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType
from uuid import uuid4

from blake3 import blake3

THIS_PROCESS = uuid4().hex


def code_version(module: ModuleType, distribution_name: str | None = None) -> str:
    """The version of the code behind a plugin's module.

    `"name==version"` for an installed distribution; a hash of the sources for a single file, a folder, or a
    distribution that is installed in editable mode. What has no file, as what is typed at a prompt, has another version
    in each process.
    """
    installed = _installed(distribution_name)
    if installed is not None and not _is_editable(installed):
        return f"{installed.name}=={installed.version}"
    sources = _sources(module)
    return f"source {_hash(sources)}" if sources else f"typed in process {THIS_PROCESS}"


def _installed(name: str | None) -> Distribution | None:
    try:
        return distribution(name) if name else None
    except PackageNotFoundError:
        return None


def _is_editable(installed: Distribution) -> bool:
    text = installed.read_text("direct_url.json")
    return bool(text and json.loads(text).get("dir_info", {}).get("editable"))


def _sources(module: ModuleType) -> list[Path]:
    folders = getattr(module, "__path__", None)
    if folders is not None:
        return sorted(path for folder in folders for path in Path(folder).rglob("*.py"))
    file = getattr(module, "__file__", None)
    return [Path(file)] if file else []


def _hash(paths: Iterable[Path]) -> str:
    digest = blake3()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest(16)
