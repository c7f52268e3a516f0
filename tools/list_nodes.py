"""Writes the list of the built-in nodes into docs/nodes.md, between its markers.

Run it as `.venv/bin/python tools/list_nodes.py`. A test fails when the list there is not the one that this would write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from mezzotint.engine.input_spec import MISSING, InputSpec
from mezzotint.engine.node import NodeSpec, OutputSpec
from mezzotint.engine.registry import Registry
from mezzotint.plugins.host import unloaded_plugins

PAGE = Path(__file__).parents[1] / "docs" / "nodes.md"
CORE_NODES = Path(__file__).with_name("core_nodes.txt")
START, END = "<!-- nodes: written by tools/list_nodes.py -->", "<!-- end of nodes -->"

_CODE = re.compile(r"(`[^`]*`)")
_MARKUP = re.compile(r"([*_<\[\\])")


def main() -> None:
    """Rewrite the page and say so."""
    PAGE.write_text(with_list(PAGE.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
    print(f"wrote {PAGE}")


def with_list(page: str) -> str:
    """The page with what is between the markers replaced by the list as it is now."""
    before, marker, rest = page.partition(START)
    after = rest.partition(END)[2]
    if not marker or END not in rest:
        raise SystemExit(f"{PAGE} lacks one of the markers '{START}' and '{END}'; put them back")
    return f"{before}{START}\n\n{node_list()}\n{END}{after}"


def node_list() -> str:
    """What is here of the field's nodes, and all built-in ones by category: what each does, takes and gives."""
    by_category: dict[str, list[NodeSpec]] = {}
    built_in = _built_in()
    for spec in built_in:
        by_category.setdefault(spec.category or "other", []).append(spec)
    sections = (_section(category, by_category[category]) for category in sorted(by_category, key=str.casefold))
    return "\n".join([*_known_to_workflows({spec.name for spec in built_in}), *chain.from_iterable(sections)])


def _known_to_workflows(built_in: set[str]) -> Iterator[str]:
    """Which of the nodes that saved workflows use most are there, and which are not."""
    yield from ("Of the nodes that saved workflows use most:", "", "| about | here | not here |", "|---|---|---|")
    for group, names in core_nodes():
        missing = ", ".join(f"`{name}`" for name in names if name not in built_in)
        yield f"| {group} | {len(built_in.intersection(names))} of {len(names)} | {missing or 'none'} |"
    yield ""


def core_nodes() -> Iterator[tuple[str, list[str]]]:
    """The nodes that saved workflows of the field use most, by group."""
    text = "\n".join(line for line in CORE_NODES.read_text(encoding="utf-8").splitlines() if line[:1] != "#")
    for group, names in re.findall(r"^(\w[^:\n]*):\n((?:  .*\n?)+)", text, re.MULTILINE):
        yield group, names.split()


def _built_in() -> Registry:
    plugins = unloaded_plugins()
    plugins.load_built_in()
    return plugins.tables.registry


def _section(category: str, specs: list[NodeSpec]) -> Iterator[str]:
    yield from (f"### {category}", "")
    for spec in specs:
        yield from _entry(spec)
    yield ""


def _entry(spec: NodeSpec) -> Iterator[str]:
    title = f" “{_plain(spec.title)}”" if spec.title != spec.name else ""
    yield f"- **`{spec.name}`**{title}: {_plain(spec.description)}"
    if spec.inputs:
        yield f"  - in: {', '.join(map(_input, spec.inputs.values()))}"
    if spec.outputs:
        yield f"  - out: {', '.join(map(_output, spec.outputs))}"
    if spec.is_sink:
        yield "  - an output node"


def _input(given: InputSpec) -> str:
    port = f"list of {given.port}" if given.is_list else given.port
    if given.is_optional:
        return f"`{given.name}` {_plain(port)} (optional)"
    if given.default is MISSING:
        return f"`{given.name}` {_plain(port)}"
    return f"`{given.name}` {_plain(port)} = {_default(given.default)}"


def _default(value: object) -> str:
    return _plain(json.dumps(getattr(value, "value", value), ensure_ascii=False))


def _output(output: OutputSpec) -> str:
    port = _plain(f"list of {output.port}" if output.is_list else output.port)
    return port if output.name == output.port else f"`{output.name}` {port}"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is; pieces between backticks stay."""
    return "".join(part if part.startswith("`") else _MARKUP.sub(r"\\\1", part) for part in _CODE.split(text))


if __name__ == "__main__":
    main()
