"""`mezzotint plugins`: the plugins that were found, and what is wrong with those that are not there."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from mezzotint.plugins.manager import LoadedPlugin

from .exit_code import DONE, FAILED
from .host import open_host
from .terminal import Terminal


def show_plugins(host: dict[str, Any]) -> int:
    """Show every plugin, and return the exit code: 1 if one has a problem."""
    terminal = Terminal()
    with open_host(Terminal(is_quiet=True), **host) as opened:
        loaded = opened.plugins.loaded
    table = Table.grid(padding=(0, 2))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column()
    for plugin in loaded:
        table.add_row(Text(plugin.name, style="bold"), Text(_count(plugin)), Text(plugin.origin, style="dim"))
    terminal.show(table)
    problems = [plugin.problem for plugin in loaded if plugin.problem]
    for problem in problems:
        terminal.fail(problem)
    return FAILED if problems else DONE


def _count(plugin: LoadedPlugin) -> str:
    return "1 node" if len(plugin.nodes) == 1 else f"{len(plugin.nodes)} nodes"
