"""What a run consists of: steps with keys, parents before children. Pure; it does no I/O and awaits nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from .errors import CircleError, GraphError, UnknownNodeError, WorkflowError
from .expansion import Expand
from .key import Key, step_key
from .link_graph import LinkGraph
from .node import NodeSpec
from .registry import Registry
from .validation import CheckedNode, Validation, check_inputs
from .workflow import Link, Workflow, as_link

LEAST_URGENT = 3
_node_id = attrgetter("node_id")


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
        fingerprints: what `NodeSpec.fingerprint` gave, by node id. quick_fingerprint: gives it for a step of an
            expansion, if it is a quick one.
        sink_salt: enters the keys of output nodes: a run into another folder must write again. salt: those of all
            steps.

    Attributes:
        urgency: which of several ready steps goes first, the lowest: people see its value soonest. 0 for output nodes,
            1 for what feeds one, 2 for what feeds that; the rest, which are not in it, are `LEAST_URGENT`.
    """

    def __init__(
        self,
        validation: Validation,
        fingerprints: Mapping[str, Any] | None = None,
        sink_salt: str = "",
        quick_fingerprint: Callable[[CheckedNode], Any] | None = None,
        salt: str = "",
    ) -> None:
        self.steps: dict[str, Step] = {}
        self.targets: list[str] = list(validation.outputs)
        self.wanted = frozenset(self.targets)
        self._fingerprints = fingerprints or {}
        self._quick_fingerprint = quick_fingerprint
        self._salt, self._sink_salt = salt, f"{salt}{sink_salt}"
        self._make(validation.nodes.values(), None, self.steps)
        self.urgency: dict[str, int] = {}
        self._note_urgency(self.steps)

    def parents(self, step_id: str) -> tuple[str, ...]:
        return self.steps[step_id].parents

    def shown_again(self, holds: Callable[[Key | None], bool]) -> list[str]:
        """The steps that show again what they made, of those whose value `holds` says is there already."""
        return [step.id for step in self.steps.values() if step.spec.is_shown_again and holds(step.key)]

    def expand(self, parent: Step, expansion: Expand, registry: Registry) -> list[Step]:
        """Take up the graph that a step replaces itself by; returns its steps.

        A step whose value was let go may run, and so expand, a second time: then the steps are there already.

        Raises:
            GraphError: an id is taken, or a node or link of the graph is wrong.
        """
        nodes = self._checked(parent, expansion, registry)
        made: dict[str, Step] = {}
        self._make(_parents_first(nodes), parent, made)
        for step in made.values():
            known = self.steps.get(step.id)
            if known is not None and (known.parent_id != parent.id or known.key is None or known.key != step.key):
                raise GraphError(f"the graph of the expansion uses the id '{step.id}', which is taken; use ctx.graph()")
        self.steps.update(made)
        self._note_urgency(made)
        for step in made.values():
            step.display_id = self._display_id(expansion.graph[step.id].get("override_display_id"), parent)
        return [made[node_id] for node_id in nodes]

    def _checked(self, parent: Step, expansion: Expand, registry: Registry) -> dict[str, CheckedNode]:
        try:
            nodes = Workflow.from_api(expansion.graph).nodes
        except WorkflowError as error:
            raise GraphError(f"the graph of the expansion is wrong: {error}") from None
        validation = check_inputs(nodes, registry, self._spec, is_trusted=expansion.is_trusted)
        if validation.problems:
            kind = UnknownNodeError if validation.is_rejected else GraphError
            raise kind("the graph of the expansion is wrong: " + " ".join(map(str, validation.problems)))
        for value in expansion.result:
            self._check_result(value, validation.nodes)
        result = (link for link in map(as_link, expansion.result) if link is not None)
        links = [*result, *(link for node in validation.nodes.values() for link in node.links.values())]
        if any(link.node_id == parent.id for link in links):
            raise CircleError(f"the graph of the expansion closed a circle: it links to node '{parent.id}', which it "
                              "stands for; link to what that node is linked to")  # fmt: skip
        return {node_id: validation.nodes[node_id] for node_id in nodes}

    def _check_result(self, value: Any, nodes: Mapping[str, CheckedNode]) -> None:
        link = as_link(value)
        if link is None:
            return
        spec = nodes[link.node_id].spec if link.node_id in nodes else self._spec(link.node_id)
        if spec is None:
            raise GraphError(f"the result of the expansion links to node '{link.node_id}', which is not there")
        if not 0 <= link.slot < len(spec.outputs):
            raise GraphError(f"the result of the expansion links to output {link.slot} of node '{link.node_id}' "
                             f"({spec.name}), which has {len(spec.outputs)} outputs")  # fmt: skip

    def _display_id(self, shown_by: Any, parent: Step) -> str:
        """The node that shows a step of an expansion: the one it names, or that one's own, or the parent's."""
        known = self.steps.get(shown_by, parent)
        return str(shown_by) if shown_by and known is parent else known.display_id

    def _make(self, nodes: Iterable[CheckedNode], parent: Step | None, made: dict[str, Step]) -> None:
        """The steps of these nodes, parents first, into `made`."""

        def key_of(step_id: str) -> Key | None:
            step = made.get(step_id) or self.steps.get(step_id)
            return step.key if step is not None else None

        display_id, parent_id, real_id = (parent.display_id, parent.id, parent.real_id) if parent else (None,) * 3
        for node in nodes:
            spec, node_id, links = node.spec, node.node_id, node.links
            named = {**node.ignored, **node.literals} if node.ignored else node.literals
            if raw := raw_links(spec, links):  # the body gets the link, and so another id is another value
                named = {**named, **{f"{name} link": link for name, link in raw.items()}}
            key = step_key(
                spec,
                named,
                links,
                key_of,
                fingerprint=self._fingerprints.get(node_id) if parent is None else self._late_fingerprint(node),
                node_id=node_id,
                salt=self._sink_salt if spec.is_sink else self._salt,
            )
            parents = _strong_parents(spec, links)
            made[node_id] = Step(
                node_id, spec, node.literals, links, key, parents, display_id or node_id, parent_id, real_id or node_id
            )

    def _note_urgency(self, steps: Mapping[str, Step]) -> None:
        """Note which of these are close to an output node."""
        level = [step_id for step_id, step in steps.items() if step.spec.is_sink]
        for links in range(LEAST_URGENT):
            level = [step_id for step_id in level if self.urgency.get(step_id, LEAST_URGENT) > links]
            self.urgency.update(dict.fromkeys(level, links))
            level = [parent for step_id in level for parent in self.steps[step_id].parents]

    def _late_fingerprint(self, node: CheckedNode) -> Any:
        """Of a step that an expansion brings. They are taken before the run, so all but quick ones are unknown."""
        if node.spec.fingerprint is None:
            return None
        ask = self._quick_fingerprint if node.spec.quick_fingerprint else None
        return ask(node) if ask is not None else float("nan")

    def _spec(self, step_id: str) -> NodeSpec | None:
        step = self.steps.get(step_id)
        return step.spec if step is not None else None


def raw_links(spec: NodeSpec, links: Mapping[str, Link]) -> dict[str, list[Any]]:
    """The links that the body is given as they are."""
    raw = spec.raw_link_inputs
    return {name: [*link] for name, link in links.items() if name in raw} if raw else {}


def _strong_parents(spec: NodeSpec, links: Mapping[str, Link]) -> tuple[str, ...]:
    if spec.lazy_inputs:
        links = {name: link for name, link in links.items() if name not in spec.lazy_inputs}
    return tuple(dict.fromkeys(map(_node_id, links.values())))


def _parents_first(nodes: Mapping[str, CheckedNode]) -> list[CheckedNode]:
    """The nodes of an expansion in topological order.

    Raises:
        CircleError: they form a circle.
    """
    edges = [(link.node_id, node.node_id) for node in nodes.values() for link in node.links.values()]
    graph = LinkGraph(nodes, [edge for edge in edges if edge[0] in nodes])
    circle = next(graph.circles(), None)
    if circle is not None:
        raise CircleError(f"the graph of the expansion forms a circle: {' → '.join([*circle, circle[0]])}")
    return [nodes[node_id] for node_id in graph.parents_first()]
