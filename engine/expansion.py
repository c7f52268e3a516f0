"""Graphs written in Python: whole workflows, and sub-graphs that a step replaces itself by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .errors import GraphError
from .request import Request
from .workflow import as_link, wrap_value


class Reference(list[Any]):
    """A link in API format, `["id", slot]`, as `BuiltNode.out` gives it."""


class BuiltNode:
    """A node of a `GraphBuilder`."""

    def __init__(self, node_id: str, class_type: str, inputs: dict[str, Any]) -> None:
        self.id = node_id
        self.class_type = class_type
        self.inputs = inputs
        self.display_id: str | None = None

    def out(self, slot: int = 0) -> Reference:
        """A link to one of the node's outputs."""
        return Reference([self.id, slot])

    def set_input(self, name: str, value: Any) -> None:
        """Give or replace an input: a value, or another node's `out(...)`."""
        self.inputs[name] = _as_input(value)

    def set_override_display_id(self, node_id: str) -> None:
        """Report this node's events under another node's id."""
        self.display_id = node_id


class GraphBuilder:
    """Builds a graph in API format, node by node.

        g = GraphBuilder()
        latent = g.node("EmptyLatentImage", width=64, height=64)
        g.node("VAEDecode", samples=latent.out(0), ...)
        mezzotint.run(g)

    A node type, or the function that `@node` marked, may be given. Ids count up from 1 behind `prefix`.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: dict[str, BuiltNode] = {}
        self._count = 0

    def node(self, node_type: str | Callable[..., Any], /, id: str | None = None, **inputs: Any) -> BuiltNode:
        """Add a node; inputs are values or `out(...)` links.

        Raises:
            GraphError: `id` is taken, or the function is no node.
        """
        node_id = self._next_id() if id is None else f"{self.prefix}{id}"
        if node_id in self.nodes:
            raise GraphError(f"the graph has a node '{node_id}' already; give each node an id of its own")
        class_type = node_type if isinstance(node_type, str) else _name_of(node_type)
        self.nodes[node_id] = BuiltNode(node_id, class_type, {name: _as_input(given) for name, given in inputs.items()})
        return self.nodes[node_id]

    def _next_id(self) -> str:
        while True:
            self._count += 1
            node_id = f"{self.prefix}{self._count}"
            if node_id not in self.nodes:
                return node_id

    def finalize(self) -> dict[str, dict[str, Any]]:
        """The graph in API format."""
        return {node.id: _api_node(node) for node in self.nodes.values()}


def _name_of(function: Callable[..., Any]) -> str:
    declared = getattr(function, "__node__", None)
    if declared is None:
        raise GraphError(f"{function!r} is no node; give the name of a node type, or a function that @node marks")
    return str(declared.name)


def _as_input(value: Any) -> Any:
    if isinstance(value, BuiltNode):
        return value.out(0)
    return value if as_link(value) is not None else wrap_value(value)


def _api_node(node: BuiltNode) -> dict[str, Any]:
    given: dict[str, Any] = {"class_type": node.class_type, "inputs": dict(node.inputs)}
    if node.display_id is not None:
        given["override_display_id"] = node.display_id
    return given


class Expand(Request):
    """Replace a step by a graph: returned from a plain body, or yielded from a generator body.

    Args:
        graph: a `GraphBuilder` or a graph in API format; ids must be new and the same on every run (`ctx.graph()`).
        result: one entry for each output of the step: a link into the graph (or to an existing node), or a value.
        is_trusted: constants of the graph are taken as they are, of any class and outside all limits, and links
            whatever they bring. What the nodes then make of them is theirs.

    Yielded, it answers with a tuple of the result values: `(picture,) = yield Expand(g, node.out(0))`.
    """

    __slots__ = ("graph", "is_trusted", "result")
    is_for_executor = True

    def __init__(self, graph: GraphBuilder | Mapping[str, Any], *result: Any, is_trusted: bool = False) -> None:
        self.graph: Mapping[str, Any] = graph.finalize() if isinstance(graph, GraphBuilder) else graph
        self.is_trusted = is_trusted
        self.result = tuple(value.out(0) if isinstance(value, BuiltNode) else value for value in result)
