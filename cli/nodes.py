"""`mezzotint nodes`: the nodes there are, and what one of them takes and gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

from mezzotint.engine.folders import Folders
from mezzotint.engine.input_spec import MISSING, InputSpec
from mezzotint.engine.node import NodeSpec
from mezzotint.engine.registry import Registry, closest

from .exit_code import DONE
from .host import open_host
from .terminal import Terminal
from .usage import UsageError

SHOWN_CHOICES = 12


def show_nodes(name: str | None, *, as_json: bool, host: dict[str, Any]) -> int:
    """Show one node, or all by category, and return the exit code.

    Raises:
        UsageError: there is no such node.
    """
    terminal = Terminal()
    with open_host(terminal, **host) as opened:
        spec = _find(name, opened.registry) if name is not None else None
        if as_json:
            shown: Any = opened.definitions[spec.name] if spec else dict(opened.definitions)
            terminal.result(json.dumps(shown, indent=2, default=str))
        elif spec is not None:
            _show_node(terminal, spec, opened.folders)
        else:
            _show_all(terminal, opened.registry)
    return DONE


def _find(name: str, registry: Registry) -> NodeSpec:
    spec = registry.get(name)
    if spec is None:
        by_title = {known.title: known.name for known in registry}
        near = by_title.get(name) or registry.similar(name) or by_title.get(closest(name, by_title) or "")
        hint = f"did you mean '{near}'?" if near else "'mezzotint nodes' lists them all"
        raise UsageError(f"there is no node type '{name}'; {hint}")
    return spec


def _show_all(terminal: Terminal, registry: Registry) -> None:
    by_category: dict[str, list[NodeSpec]] = {}
    for spec in registry:
        by_category.setdefault(spec.category or "other", []).append(spec)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for category in sorted(by_category, key=str.casefold):
        table.add_row(Text(category, style="bold"), "")
        for spec in by_category[category]:
            table.add_row(Text(f"  {spec.name}"), Text(_summary(spec), style="dim"))
    terminal.show(table)


def _summary(spec: NodeSpec) -> str:
    mark = "(deprecated) " if spec.is_deprecated else "(experimental) " if spec.is_experimental else ""
    return mark + (spec.description or spec.title)


def _show_node(terminal: Terminal, spec: NodeSpec, folders: Folders) -> None:
    title = f" “{spec.title}”" if spec.title != spec.name else ""
    place = f"in {spec.category or 'other'}, from {spec.plugin}"
    terminal.show(Text.assemble((spec.name, "bold"), title, (f"  {place}", "dim")))
    if spec.description:
        terminal.show(spec.description)
    _show_inputs(terminal, spec, folders)
    if spec.outputs:
        terminal.show("")
        terminal.show(Text("Outputs", style="bold"))
    for slot, output in enumerate(spec.outputs):
        port = f"list of {output.port}" if output.is_list else output.port
        name = "" if output.name == output.port else f"  {output.name}"
        terminal.show(f"  {slot}  {port}{name}{f'  {output.tooltip}' if output.tooltip else ''}")
    if spec.is_sink:
        terminal.show("")
        terminal.show("An output node: a reason for a workflow to run.")


def _show_inputs(terminal: Terminal, spec: NodeSpec, folders: Folders) -> None:
    if not spec.inputs:
        return
    terminal.show("")
    terminal.show(Text("Inputs", style="bold"))
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column()
    for given in spec.inputs.values():
        about = ". ".join(_about(given, folders))
        table.add_row(f"  {given.name}", Text(_port(given)), Text(_default(given), style="dim"), Text(about))
    terminal.show(table)


def _port(given: InputSpec) -> str:
    return f"list of {given.port}" if given.is_list else given.port


def _default(given: InputSpec) -> str:
    if given.default is MISSING:
        return "required"
    return "optional" if given.default is None else f"= {json.dumps(_plain(given.default), ensure_ascii=False)}"


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)


def _about(given: InputSpec, folders: Folders) -> Iterator[str]:
    if given.choices is not None:
        choices = given.choices.list(folders)
        more = f" and {len(choices) - SHOWN_CHOICES} more" if len(choices) > SHOWN_CHOICES else ""
        yield ", ".join(choices[:SHOWN_CHOICES]) + more if choices else "nothing to choose from yet"
    elif given.limits:
        yield given.allowed()
    if given.is_lazy:
        yield "Computed only when needed"
    if given.tooltip:
        yield given.tooltip
