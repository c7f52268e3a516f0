"""A document unfolded into scopes: one for the root canvas, one for each active instance of a subgraph or group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .errors import WorkflowError
from .ui_document import UiGraph, UiInput, UiNode
from .ui_groups import GroupGraph, group_values
from .ui_promotion import InstanceValues, subgraph_values

MAX_NODES = 250_000
MAX_DEPTH = 100


@dataclass(slots=True, eq=False)
class Scope:
    """One canvas as it takes part in the result.

    Attributes:
        prefix: what the ids of its nodes begin with, `"10:4:"`; empty for the root.
        instance: the node in `parent` that this is the inside of.
        sockets: the instance's inputs by name. values: what the instance says of the widgets inside.
        children: the scopes of the active instances on this canvas, by node id.
    """

    graph: UiGraph
    prefix: str = ""
    depth: int = 0
    parent: Scope | None = None
    instance: UiNode | None = None
    sockets: dict[str, UiInput] = field(default_factory=dict)
    values: InstanceValues = field(default_factory=InstanceValues)
    children: dict[str, Scope] = field(default_factory=dict)


def unfold(root: UiGraph, definition_of: Callable[[UiNode], UiGraph | None], problems: list[str]) -> list[Scope]:
    """The scopes of a document, the root first and each before those inside it.

    `definition_of` gives the graph that a node is an instance of, None for an ordinary node. Muted and bypassed
    instances are not entered. An instance inside its own definition is left out, with a sentence in `problems`.

    Raises:
        WorkflowError: the instances would unfold into too many nodes, or too deeply.
    """
    scopes = [Scope(root)]
    count = len(root.nodes)
    for scope in scopes:  # grows as instances are found
        for node, graph in _instances(scope, definition_of):
            if graph in _lineage(scope):
                problems.append(
                    f"Node {scope.prefix}{node.id} ({node.title or graph.name}) is inside the subgraph "
                    f"'{graph.name}' and an instance of it; a subgraph cannot contain itself."
                )
                continue
            scope.children[node.id] = _inside(scope, node, graph)
            scopes.append(scope.children[node.id])
            count += len(graph.nodes)
            _check_size(count, scope.depth + 1)
    return scopes


def _instances(scope: Scope, definition_of: Callable[[UiNode], UiGraph | None]) -> Iterator[tuple[UiNode, UiGraph]]:
    for node in scope.graph.nodes.values():
        graph = definition_of(node) if node.is_active else None
        if graph is not None:
            yield node, graph


def _inside(scope: Scope, node: UiNode, graph: UiGraph) -> Scope:
    values = group_values(node, graph) if isinstance(graph, GroupGraph) else subgraph_values(node, graph)
    values.override(scope.values.inner.get(node.id, {}))
    return Scope(
        graph=graph,
        prefix=f"{scope.prefix}{node.id}:",
        depth=scope.depth + 1,
        parent=scope,
        instance=node,
        sockets={socket.name: socket for socket in node.inputs},
        values=values,
    )


def _lineage(scope: Scope) -> Iterator[UiGraph]:
    current: Scope | None = scope
    while current is not None:
        yield current.graph
        current = current.parent


def _check_size(nodes: int, depth: int) -> None:
    if nodes > MAX_NODES:
        raise WorkflowError(f"The subgraphs of the workflow unfold into more than {MAX_NODES:,} nodes; use fewer.")
    if depth > MAX_DEPTH:
        raise WorkflowError(f"The subgraphs of the workflow are nested more than {MAX_DEPTH} deep; flatten some.")
