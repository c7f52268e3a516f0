"""A JSON object kept in a file: changed in one step, with the state before it beside it."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

from mezzotint.engine.atomic_file import write_atomically, write_new
from mezzotint.engine.errors import WorkflowError
from mezzotint.engine.workflow_file import parse_json

log = logging.getLogger("mezzotint.server")


class ObjectFile:
    """One such file, for all threads of this process.

    A file that is torn, by a power cut say, costs the last change at most: `NAME.before` holds the state before it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._before = path.with_name(f"{path.name}.before")
        self._lock = threading.Lock()

    def read(self) -> dict[str, Any]:
        """What it holds; nothing if there is no file.

        Raises:
            OSError: it cannot be read.
        """
        content = _content(self.path)
        if content is None:
            return {}
        found = _as_object(content)
        if found is not None:
            return found
        log.warning("'%s' is damaged; what it held before the last change is used", self.path)
        return _as_object(_content(self._before) or b"") or {}

    def update(self, changes: dict[str, Any]) -> None:
        """Set some of its keys. A damaged file is kept under another name.

        Raises:
            OSError: it cannot be read or written.
        """
        with self._lock:
            text = json.dumps({**self.read(), **changes}, indent=2)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._keep()
            write_atomically(self.path, text.encode())

    def _keep(self) -> None:
        content = _content(self.path)
        if content is None:
            return
        if _as_object(content) is not None:
            write_atomically(self._before, content)
        else:
            names = (f"{self.path.name}.damaged-{number}" for number in range(1, 1000))
            write_new(self.path.parent, names, content)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _as_object(content: bytes) -> dict[str, Any] | None:
    try:
        found = parse_json(content.decode("utf-8-sig"), "The file")
    except (UnicodeDecodeError, WorkflowError):
        return None
    return found if isinstance(found, dict) else None
