"""What a run consists of: steps with keys, parents before children. Pure; it does no I/O and awaits nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import GraphError
from .expansion import Expand
from .key import Key, step_key
from .node import NodeSpec
from .registry import Registry
from .validation import CheckedNode, Validation, check_inputs
from .workflow import Link, Workflow, as_link


@dataclass(slots=True)
class Step:
    """A node that may run.

    Attributes:
        literals: coerced constants by input. links: where the other inputs come from.
        key: the name of its value; None when it must not be reused. parents: ids of the steps that must be done first
            (lazy inputs apart), each once.
        display_id, parent_id, real_id: see `event.StepEvent`.
    """

    id: str
    spec: NodeSpec
    literals: dict[str, Any]
    links: dict[str, Link]
    key: Key | None
    parents: tuple[str, ...]
    display_id: str
    parent_id: str | None
    real_id: str


class Plan:
    """The steps of one run by id, and the ids that the run is for.

    Args:
        fingerprints: what `NodeSpec.fingerprint` gave, by node id.
        sink_salt: enters the keys of output nodes: a run into another folder must write again.
    """

    def __init__(
        self, validation: Validation, fingerprints: Mapping[str, Any] | None = None, sink_salt: str = ""
    ) -> None:
        self.steps: dict[str, Step] = {}
        self.targets: list[str] = list(validation.outputs)
        self.wanted = frozenset(self.targets)
        self._fingerprints = fingerprints or {}
        self._sink_salt = sink_salt
        self._add(validation.nodes.values(), None)

    def parents(self, step_id: str) -> tuple[str, ...]:
        return self.steps[step_id].parents

    def expand(self, parent: Step, expansion: Expand, registry: Registry) -> list[Step]:
        """Take up the graph that a step replaces itself by; returns the new steps.

        Raises:
            GraphError: an id is taken, or a node or link of the graph is wrong.
        """
        taken = [node_id for node_id in expansion.graph if node_id in self.steps]
        if taken:
            raise GraphError(f"the graph of the expansion uses the id '{taken[0]}', which is taken; use ctx.graph()")
        nodes = Workflow.from_api(expansion.graph).nodes
        validation = check_inputs(nodes, registry, self._spec)
        if validation.problems:
            raise GraphError("the graph of the expansion is wrong: " + " ".join(map(str, validation.problems)))
        for value in expansion.result:
            link = as_link(value)
            if link is not None and link.node_id not in nodes and link.node_id not in self.steps:
                raise GraphError(f"the result of the expansion links to node '{link.node_id}', which is not there")
        self._add(_parents_first(validation.nodes), parent)
        steps = [self.steps[node_id] for node_id in nodes]
        for step in steps:
            shown_by = expansion.graph[step.id].get("override_display_id")
            known = self.steps.get(shown_by, parent)
            step.display_id = shown_by if known is parent and shown_by else known.display_id
        return steps

    def _add(self, nodes: Iterable[CheckedNode], parent: Step | None) -> None:
        for node in nodes:
            spec, node_id = node.spec, node.node_id
            # Fingerprints are taken before the run, so what an expansion brings has none and is not reused.
            is_unknown = parent is not None and spec.fingerprint is not None
            self.steps[node_id] = Step(
                node_id,
                spec,
                node.literals,
                node.links,
                step_key(
                    spec,
                    node.literals,
                    node.links,
                    self._key,
                    fingerprint=float("nan") if is_unknown else self._fingerprints.get(node_id),
                    node_id=node_id,
                    salt=self._sink_salt if spec.is_sink else "",
                ),
                _strong_parents(node),
                parent.display_id if parent else node_id,
                parent.id if parent else None,
                parent.real_id if parent else node_id,
            )

    def _spec(self, step_id: str) -> NodeSpec | None:
        step = self.steps.get(step_id)
        return step.spec if step is not None else None

    def _key(self, step_id: str) -> Key | None:
        step = self.steps.get(step_id)
        return step.key if step is not None else None


def _strong_parents(node: CheckedNode) -> tuple[str, ...]:
    inputs = node.spec.inputs
    names = (name for name in node.links if name not in inputs or not inputs[name].is_lazy)
    return tuple(dict.fromkeys(node.links[name].node_id for name in names))


def _parents_first(nodes: Mapping[str, CheckedNode]) -> list[CheckedNode]:
    """The nodes of an expansion in topological order.

    Raises:
        GraphError: they form a circle.
    """
    import networkx as nx

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from(
        (link.node_id, node.node_id) for node in nodes.values() for link in node.links.values() if link.node_id in nodes
    )
    try:
        return [nodes[node_id] for node_id in nx.topological_sort(graph)]
    except nx.NetworkXUnfeasible:
        named = " → ".join(source for source, _ in nx.find_cycle(graph))
        raise GraphError(f"the graph of the expansion forms a circle: {named}") from None
