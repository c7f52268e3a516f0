"""Which third-party files may be run: those that somebody allowed, as they were then.

Kept in the home as `allowed_plugins.json`: absolute path → hash of the contents. A plugin that changed must be allowed
again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from blake3 import blake3

from mezzotint.engine.atomic_file import write_atomically
from mezzotint.engine.output_file import output_error

FILE_NAME = "allowed_plugins.json"
FORMAT = "mezzotint-allowed-plugins-1"

Verdict = Literal["allowed", "changed", "not allowed"]


class Consents:
    """What is allowed in one home. A file that is torn, or of another program, allows nothing."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE_NAME

    def verdict(self, plugin: Path) -> Verdict:
        """Whether a plugin's file or folder may be run as it is now."""
        allowed = self._read().get(_key(plugin))
        if allowed is None:
            return "not allowed"
        return "allowed" if allowed == content_hash(plugin) else "changed"

    def allow(self, plugin: Path) -> None:
        """Let a plugin be run as it is now.

        Raises:
            OutputError: the home cannot be written.
        """
        self._write({**self._read(), _key(plugin): content_hash(plugin)})

    def deny(self, plugin: Path) -> bool:
        """Let a plugin be run no more; whether it was allowed.

        Raises:
            OutputError: the home cannot be written.
        """
        allowed = self._read()
        if allowed.pop(_key(plugin), None) is None:
            return False
        self._write(allowed)
        return True

    def _read(self) -> dict[str, str]:
        try:
            kept: Any = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(kept, dict) or kept.get("format") != FORMAT or not isinstance(kept.get("plugins"), dict):
            return {}
        return {str(path): str(digest) for path, digest in kept["plugins"].items()}

    def _write(self, allowed: dict[str, str]) -> None:
        text = json.dumps({"format": FORMAT, "plugins": allowed}, indent=2)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, text.encode())
        except OSError as error:
            raise output_error(self._path, error) from error


def content_hash(plugin: Path) -> str:
    """A hash of a file, or of the names and contents of all that a folder holds but for compiled files."""
    digest = blake3()
    for path in [plugin] if plugin.is_file() else _files(plugin):
        digest.update(f"{path.relative_to(plugin).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest(16)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _key(plugin: Path) -> str:
    return str(plugin.resolve())
