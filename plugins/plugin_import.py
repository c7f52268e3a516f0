"""Imports a plugin with a time limit, and single files and folders under names that are theirs alone."""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from blake3 import blake3

IMPORT_SECONDS = 10.0
"""How long a plugin's import may take."""


class PluginImportError(Exception):
    """A plugin could not be imported; the sentence says why, where, and what helps."""


def import_in_time(load: Callable[[], Any], limit_seconds: float | None = None) -> tuple[Any, float]:
    """What `load` returns, and how long it took in seconds.

    It runs on a thread of its own, so that a plugin which never returns is left behind there. It is not ended: Python
    cannot end a thread. What it holds it keeps (a module half imported, a file, a port), and code that never lets go of
    the interpreter's lock, as a loop in C may, holds up everything else all the same.

    Raises:
        PluginImportError: it raised anything, even SystemExit, or did not return in time.
    """
    limit = IMPORT_SECONDS if limit_seconds is None else limit_seconds
    outcome: list[Any] = []
    began = time.perf_counter()

    def work() -> None:
        try:
            outcome.append((load(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=work, name="mezzotint-plugin-import", daemon=True)
    thread.start()
    thread.join(limit)
    seconds = time.perf_counter() - began
    if not outcome:
        raise PluginImportError(
            f"it did not return from its import within {limit:g} s{_where(thread)}; "
            f"do slow work when a node runs, or block the plugin"
        )
    loaded, error = outcome[0]
    if error is not None:
        raise PluginImportError(f"{type(error).__name__}: {error}{_place(error)}; mend or block it") from error
    return loaded, seconds


def _where(thread: threading.Thread) -> str:
    """Where a thread is now."""
    frame = sys._current_frames().get(thread.ident or 0)
    places = [place for place in traceback.extract_stack(frame) if place.filename != __file__] if frame else []
    own = [place for place in places if "importlib" not in place.filename and "threading" not in place.filename]
    return f" (it is at {own[-1].filename}:{own[-1].lineno})" if own else ""


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return ""  # its text names file and line
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__ and "importlib" not in frame.filename]
    return f" (at {own[-1].filename}:{own[-1].lineno})" if own else ""


def module_name(path: Path) -> str:
    """What a plugin file's module is called: no two files share one, and none is taken for a package of that name."""
    stem = "".join(letter if letter.isalnum() else "_" for letter in path.stem)
    return f"mezzotint_plugin_{stem}_{blake3(str(path.absolute()).encode()).hexdigest(4)}"


def import_path(path: Path) -> ModuleType:
    """Import a single Python file, or a folder with an `__init__.py`.

    On failure the modules of an earlier import are there again.

    Raises:
        FileNotFoundError: it is neither. Whatever its code raises.
    """
    name = module_name(path)
    file = path / "__init__.py" if path.is_dir() else path
    if not file.is_file():
        what = f"folder '{path}' has no __init__.py" if path.is_dir() else f"is no Python file '{path}'"
        raise FileNotFoundError(f"the {what}" if path.is_dir() else f"there {what}")
    spec = importlib.util.spec_from_file_location(
        name, file, submodule_search_locations=[str(path)] if path.is_dir() else None
    )
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"there is no Python file '{path}'")
    before = _take_out(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        _take_out(name)
        sys.modules.update(before)
        raise
    return module


def _take_out(name: str) -> dict[str, ModuleType]:
    """Remove a module and what is below it from those that are imported."""
    names = [known for known in sys.modules if known == name or known.startswith(f"{name}.")]
    return {known: sys.modules.pop(known) for known in names}
