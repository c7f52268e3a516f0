"""Loads plugins again when their files change, for those who write them."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from .manager import Plugins
from .plugin import Plugin

log = logging.getLogger("mezzotint.plugins")


class Reloader:
    """Watches the files of plugins on a thread of its own, until it is closed.

    Args:
        on_reload: called, on that thread, when a plugin was loaded again.
    """

    def __init__(self, plugins: Plugins, on_reload: Callable[[], None]) -> None:
        self._plugins, self._on_reload = plugins, on_reload
        self._stop = threading.Event()
        # Compiled files know their source by whole seconds, which two quick edits may share.
        sys.dont_write_bytecode = True
        folders = _folders(plugins.found)
        self._thread = threading.Thread(
            target=self._watch, args=(folders,), name="mezzotint-plugin-reload", daemon=True
        )
        if folders:
            self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def reload_changed(self, changed: set[Path]) -> None:
        """Load those plugins again that one of these files belongs to."""
        for plugin in [plugin for plugin in self._plugins.found if _is_of(plugin, changed)]:
            if self._plugins.reload(plugin):
                log.warning("plugin '%s' changed and was loaded again", plugin.name)
                self._on_reload()

    def _watch(self, folders: set[Path]) -> None:
        from watchfiles import watch

        for changes in watch(*folders, stop_event=self._stop, recursive=False, rust_timeout=200, debounce=200):
            self.reload_changed({Path(path) for _, path in changes})


def _folders(plugins: list[Plugin]) -> set[Path]:
    """The folders that hold the source of plugins."""
    paths = [plugin.path.resolve() for plugin in plugins if plugin.path is not None and plugin.state != "blocked"]
    single = {path.parent for path in paths if path.is_file()}
    return single | {file.parent for path in paths if path.is_dir() for file in path.rglob("*.py")}


def _is_of(plugin: Plugin, changed: set[Path]) -> bool:
    if plugin.path is None or plugin.state == "blocked":
        return False
    path = plugin.path.resolve()
    return any(file == path or (file.suffix == ".py" and file.is_relative_to(path)) for file in changed)
