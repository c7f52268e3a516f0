"""`mezzotint models`: the models there are, and where they lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from mezzotint.engine.folders import Folders

from .exit_code import DONE
from .host import open_host
from .terminal import Terminal


def show_models(*, as_json: bool, host: dict[str, Any]) -> int:
    """Show every model by kind, with its path, and return the exit code."""
    terminal = Terminal()
    with open_host(terminal, **host) as opened:
        found = find_models(opened.folders)
        if as_json:
            entries = [{"kind": k, "name": n, "path": str(p)} for k, models in found.items() for n, p in models.items()]
            terminal.result(json.dumps(entries, indent=2))
            return DONE
        _show(terminal, found)
        if not opened.folders.models:
            return DONE
        folders = ", ".join(str(folder) for folder in opened.folders.models)
        terminal.say(f"Searched: {folders}. Others can be named with --models-dir or MEZZOTINT_MODELS.", style="dim")
    return DONE


def find_models(folders: Folders) -> dict[str, dict[str, Path]]:
    """Kind → name → path of every model that a folder holds or that comes with a package."""
    found: dict[str, dict[str, Path]] = {}
    for kind in folders.kinds:
        paths = {name: folders.find(kind, name) for name in folders.filenames(kind)}
        present = {name: path.absolute() for name, path in paths.items() if path is not None}
        if present:
            found[kind] = present
    return found


def _show(terminal: Terminal, found: dict[str, dict[str, Path]]) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for kind, models in found.items():
        table.add_row(Text(kind, style="bold"), "")
        for name, path in models.items():
            table.add_row(Text(f"  {name}"), Text(str(path), style="dim"))
    if found:
        terminal.show(table)
    else:
        terminal.say("There are no models.")
