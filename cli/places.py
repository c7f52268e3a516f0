"""Names places in a workflow: what a person calls a node, and the constants behind an input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mezzotint.engine.node import NodeSpec
from mezzotint.engine.registry import Registry, closest
from mezzotint.engine.workflow import Link, Workflow, as_link, unwrap_value

from .usage import UsageError


class InputPlace(NamedTuple):
    """An input of a node that holds a constant, or its default."""

    node_id: str
    input_name: str


class Graph:
    """A workflow and what is known of its nodes."""

    def __init__(self, workflow: Workflow, registry: Registry) -> None:
        self.workflow, self.registry = workflow, registry

    def spec(self, node_id: str) -> NodeSpec | None:
        """The node's type; None when there is no such node, or its type is not known."""
        node = self.workflow.nodes.get(node_id)
        return self.registry.get(node.class_type) if node is not None else None

    def link(self, place: InputPlace) -> Link | None:
        """Where an input is linked from; None when it holds a constant."""
        return as_link(self.workflow.nodes[place.node_id].inputs.get(place.input_name))

    def constant(self, place: InputPlace) -> object:
        """The constant of an input, or its default."""
        spec = self.spec(place.node_id)
        default = spec.defaults.get(place.input_name) if spec else None
        return unwrap_value(self.workflow.nodes[place.node_id].inputs.get(place.input_name, default))

    def links_of(self, node_id: str) -> Iterator[Link]:
        """The links into a node that lead somewhere."""
        links = map(as_link, self.workflow.nodes[node_id].inputs.values())
        return (link for link in links if link is not None and link.node_id in self.workflow.nodes)

    def needed(self) -> list[str]:
        """The nodes that the output nodes need, in document order; all of them when there is no output node."""
        sinks = [node_id for node_id in self.workflow.nodes if (spec := self.spec(node_id)) and spec.is_sink]
        pending, seen = list(sinks), set(sinks)
        while pending:
            new = {link.node_id for link in self.links_of(pending.pop())} - seen
            seen |= new
            pending.extend(new)
        return [node_id for node_id in self.workflow.nodes if node_id in seen or not sinks]

    def sources(self, place: InputPlace, port: str, preferred: Iterable[str]) -> list[InputPlace]:
        """The constants that an input takes its value from: its own, or those of the nodes it is linked to.

        Of a linked node, inputs of the `preferred` names count, else those of the port type.
        """
        found: dict[InputPlace, None] = {}
        pending, seen = [place], {place}
        while pending:
            here = pending.pop()
            link = self.link(here)
            if link is None:
                found[here] = None
                continue
            behind = self._inputs_behind(link, port, preferred)
            pending.extend(new for new in behind if new not in seen)
            seen.update(behind)
        return list(found)

    def _inputs_behind(self, link: Link, port: str, preferred: Iterable[str]) -> list[InputPlace]:
        spec = self.spec(link.node_id)
        if spec is None:
            return []
        named = [name for name in preferred if name in spec.inputs]
        typed = [given.name for given in spec.inputs.values() if given.port in (port, "*")]
        return [InputPlace(link.node_id, name) for name in named or typed]

    def label(self, node_id: str) -> str:
        """The node as messages name it: `6 (CLIPTextEncode “Sky”)`."""
        node = self.workflow.nodes[node_id]
        title = f" “{node.title}”" if node.title != node.class_type else ""
        return f"{node_id} ({node.class_type}{title})"

    def matches(self, name: str) -> list[str]:
        """The ids of the nodes that a person may mean by an id, a title or a type, the best kind of match only."""
        nodes, folded = self.workflow.nodes, name.casefold()
        if name in nodes:
            return [name]
        by_title = [node_id for node_id, node in nodes.items() if node.title.casefold() == folded]
        return by_title or [node_id for node_id, node in nodes.items() if node.class_type.casefold() == folded]

    def find(self, name: str, option: str) -> str:
        """The id of the one node that a person means.

        Raises:
            UsageError: there is none, or there are several.
        """
        found = self.matches(name)
        if len(found) == 1:
            return found[0]
        if found:
            named = ", ".join(map(self.label, found))
            raise UsageError(f"{option}: '{name}' names {len(found)} nodes, {named}; name one by its id")
        raise UsageError(f"{option}: there is no node '{name}' in the workflow; {self._hint(name)}")

    def _hint(self, name: str) -> str:
        nodes = self.workflow.nodes
        near = closest(name, [n for i, node in nodes.items() for n in (i, node.title, node.class_type)])
        if near:
            return f"did you mean '{near}'?"
        shown = ", ".join(self.label(node_id) for node_id in list(nodes)[:12])
        return f"there are {shown}" + (", ..." if len(nodes) > 12 else "")
