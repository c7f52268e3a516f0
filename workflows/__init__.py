"""Saved workflows that travel with the package: the JSON files of the folder."""

from __future__ import annotations

from importlib.resources import files

SUFFIX = ".json"


def bundled_workflows() -> dict[str, str]:
    """Name → JSON text of the workflows that come with Mezzotint."""
    found = sorted(files("mezzotint.workflows").iterdir(), key=lambda file: file.name)
    return {
        file.name.removesuffix(SUFFIX): file.read_text(encoding="utf-8") for file in found if file.name.endswith(SUFFIX)
    }
