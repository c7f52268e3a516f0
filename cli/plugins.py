"""`mezzotint plugins`: the plugins that were found, what they bring, and what is wrong with those not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

from mezzotint.plugins.plugin import Plugin

from .exit_code import DONE, FAILED
from .host import open_host
from .terminal import Terminal

SHOWN = 6
_CURES = {
    "not allowed": "was not run, since nobody allowed it; read it, then: mezzotint plugins allow {0}",
    "changed": "was not run, since it changed after it was allowed; read it, then: mezzotint plugins allow {0}",
    "blocked": "is blocked, by --block-plugin or MEZZOTINT_BLOCK_PLUGINS",
}


def show_plugins(host: dict[str, Any], *, as_json: bool = False) -> int:
    """Show every plugin, and return the exit code: 1 if one has a problem."""
    terminal = Terminal()
    with open_host(Terminal(is_quiet=True), needs_plugins=False, **host) as opened:
        found = list(opened.plugins.found)
    if as_json:
        terminal.result(json.dumps([_as_json(plugin) for plugin in found], indent=2))
    else:
        _show(terminal, found)
    problems = [problem for plugin in found for problem in plugin.problems]
    if not as_json:
        for problem in problems:
            terminal.fail(problem)
    return FAILED if problems else DONE


def _show(terminal: Terminal, found: list[Plugin]) -> None:
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column()
    for plugin in found:
        state = plugin.state if plugin.state != "loaded" else _count(plugin)
        seconds = f"{plugin.seconds:.2f} s" if plugin.seconds else ""
        table.add_row(Text(plugin.name, style="bold"), Text(state), seconds, Text(plugin.origin, style="dim"))
        for line in _details(plugin):
            table.add_row("", "", "", Text(line))
    terminal.show(table)


def _details(plugin: Plugin) -> Iterator[str]:
    if plugin.state in _CURES:
        yield _CURES[plugin.state].format(plugin.path or plugin.name)
    if plugin.hooks:
        yield f"hooks {', '.join(plugin.hooks)}"
    if not plugin.is_ours:
        for what in (plugin.nodes, plugin.brings):
            if what:
                more = f" and {len(what) - SHOWN} more" if len(what) > SHOWN else ""
                yield f"{'nodes ' if what is plugin.nodes else ''}{', '.join(what[:SHOWN])}{more}"


def _count(plugin: Plugin) -> str:
    return "1 node" if len(plugin.nodes) == 1 else f"{len(plugin.nodes)} nodes"


def _as_json(plugin: Plugin) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "state": plugin.state,
        "source": plugin.source,
        "origin": plugin.origin,
        "seconds": round(plugin.seconds, 3),
        "hooks": plugin.hooks,
        "nodes": plugin.nodes,
        "brings": plugin.brings,
        "problems": plugin.problems,
    }
