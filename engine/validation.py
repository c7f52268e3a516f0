"""Checks a workflow before it runs, and reports every problem at once.

Each problem is a sentence with the node, the input, what was given, what is allowed, and the nearest known name.
Linear in the size of the graph: each node that an output needs is looked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import networkx as nx

from .node import InputError, InputSpec, NodeSpec
from .port import ANY, COMBO, WIDGET_PORTS, are_compatible
from .registry import Registry, closest
from .workflow import Link, Workflow, WorkflowNode, as_link, unwrap_value

if TYPE_CHECKING:
    from .folders import Folders

SHOWN_CHOICES = 20
FindSpec = Callable[[str], NodeSpec | None]
_WIDGETS = {*WIDGET_PORTS.values(), COMBO, ANY}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a workflow.

    Attributes:
        code: the wire's name of the kind (`"value_bigger_than_max"`). reason: the rest of the sentence.
        given: the offending value. dependent_outputs: ids of the output nodes that cannot run because of it.
        models: the models folder in which a named file is missing, if that is the problem.
        details: further facts for the wire (`received_type`, `linked_node`, `cycle_nodes`).
    """

    code: str
    reason: str
    node_id: str | None = None
    node_type: str = ""
    title: str = ""
    input_name: str | None = None
    given: Any = None
    dependent_outputs: tuple[str, ...] = ()
    models: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        place = ""
        if self.node_id is not None:
            name = f"{self.node_type} “{self.title}”" if self.title not in ("", self.node_type) else self.node_type
            place = f"Node {self.node_id} ({name})" if name else f"Node {self.node_id}"
        if self.input_name is not None:
            place += f", input '{self.input_name}'"
        end = "" if self.reason.endswith("?") else "."
        return f"{place}: {self.reason}{end}" if place else f"{self.reason}{end}"


@dataclass(frozen=True, slots=True)
class CheckedNode:
    """A node whose inputs are sorted into coerced literals and links."""

    node_id: str
    spec: NodeSpec
    literals: dict[str, Any]
    links: dict[str, Link]


@dataclass(slots=True)
class Validation:
    """What `validate` found.

    Attributes:
        problems: all of them. outputs: the output nodes that can run, in document order.
        nodes: the checked nodes that the outputs need, parents before children.
        is_rejected: nothing may run (an unknown node type, no output node at all).
    """

    problems: list[Problem]
    outputs: list[str]
    nodes: dict[str, CheckedNode]
    is_rejected: bool = False


def validate(
    workflow: Workflow, registry: Registry, folders: Folders | None = None, targets: Iterable[str] | None = None
) -> Validation:
    """Check what a workflow's outputs need.

    Args:
        targets: ids of the nodes wanted; the output nodes when None. Any node may be wanted.
        folders: where dynamic choices (lists of files) are looked up.
    """
    return _Validator(workflow, registry, folders).run(targets)


def check_inputs(nodes: Mapping[str, WorkflowNode], registry: Registry, known: FindSpec) -> Validation:
    """Check the nodes of an expansion, all of them; `known` finds further steps that links may point to."""
    validator = _Validator(Workflow.model_construct(nodes=dict(nodes)), registry, None)
    validator.known = known
    validator.find_unknown_types()
    for node_id in nodes:
        validator.check(node_id)
    return Validation(validator.problems, [], validator.checked, validator.is_rejected)


class _Validator:
    def __init__(self, workflow: Workflow, registry: Registry, folders: Folders | None) -> None:
        self.workflow, self.registry, self.folders = workflow, registry, folders
        self.known: FindSpec = lambda node_id: None
        self.problems: list[Problem] = []
        self.checked: dict[str, CheckedNode] = {}
        self.is_rejected = False
        self._choices: dict[int, list[str]] = {}

    def run(self, targets: Iterable[str] | None) -> Validation:
        self.find_unknown_types()
        wanted = self.wanted(targets)
        if not wanted and not self.is_rejected:
            self.is_rejected = True
            self.report(None, "prompt_no_outputs", "the workflow has no output node, so there is nothing to run; "
                        "add one, such as SaveImage or PreviewImage")  # fmt: skip
        graph = self.visit(wanted)
        order = self.order(graph)
        blamed = self.blame(graph, wanted)
        outputs = [] if self.is_rejected else [node_id for node_id in wanted if node_id not in blamed]
        nodes = {node_id: self.checked[node_id] for node_id in order if node_id in self.checked}
        return Validation(self.problems, outputs, nodes, self.is_rejected)

    def report(self, node_id: str | None, code: str, reason: str, **facts: Any) -> None:
        node = self.workflow.nodes.get(node_id) if node_id is not None else None
        named = {"node_type": node.class_type, "title": node.title or ""} if node else {}
        self.problems.append(Problem(code, reason, node_id, **{**named, **facts}))

    def find_unknown_types(self) -> None:
        for sentence in self.workflow.problems:
            self.is_rejected = True
            self.report(None, "missing_node_type", sentence.rstrip("."))
        for node_id, node in self.workflow.nodes.items():
            if node.class_type not in self.registry:
                self.is_rejected = True
                near = _suggestion(self.registry.similar(node.class_type), "install the plugin that provides it")
                reason = f"there is no node type '{node.class_type}'; {near}"
                self.report(node_id, "missing_node_type", reason, given=node.class_type)

    def wanted(self, targets: Iterable[str] | None) -> list[str]:
        if targets is None:
            specs = ((node_id, self.registry.get(node.class_type)) for node_id, node in self.workflow.nodes.items())
            return [node_id for node_id, spec in specs if spec is not None and spec.is_sink]
        found = []
        for node_id in dict.fromkeys(targets):
            if node_id in self.workflow.nodes:
                found.append(node_id)
            else:
                self.report(None, "prompt_no_outputs", f"there is no node '{node_id}' to run; "
                            + _suggestion(closest(node_id, self.workflow.nodes), "see the workflow's ids"))  # fmt: skip
        return found

    def visit(self, wanted: list[str]) -> nx.DiGraph[str]:
        """Check each node that the wanted ones need; returns their links, parent → child."""
        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(wanted)
        pending, seen = list(reversed(wanted)), set(wanted)
        edges: list[tuple[str, str]] = []
        while pending:
            node_id = pending.pop()
            for link in self.check(node_id):
                edges.append((link.node_id, node_id))
                if link.node_id not in seen:
                    seen.add(link.node_id)
                    pending.append(link.node_id)
        graph.add_edges_from(edges)
        return graph

    def order(self, graph: nx.DiGraph[str]) -> list[str]:
        try:
            return list(nx.topological_sort(graph))
        except nx.NetworkXUnfeasible:
            cycle = [source for source, _ in nx.find_cycle(graph)]
            named = " → ".join(f"{i} ({self.workflow.nodes[i].class_type})" for i in [*cycle, cycle[0]])
            self.report(cycle[0], "dependency_cycle", f"the links form a circle, {named}; remove one of them",
                        details={"cycle_nodes": cycle})  # fmt: skip
            return list(graph)

    def blame(self, graph: nx.DiGraph[str], wanted: list[str]) -> set[str]:
        """The wanted nodes that cannot run, noting in each problem which ones it concerns."""
        blamed: set[str] = set()
        for index, problem in enumerate(self.problems):
            if problem.node_id is None or problem.node_id not in graph:
                continue
            concerned = nx.descendants(graph, problem.node_id) | {problem.node_id}
            outputs = tuple(node_id for node_id in wanted if node_id in concerned)
            self.problems[index] = replace(problem, dependent_outputs=outputs)
            blamed.update(outputs)
        return blamed

    # one node

    def check(self, node_id: str) -> Iterator[Link]:
        """Sort a node's inputs; returns the links that can be followed."""
        node = self.workflow.nodes[node_id]
        spec = self.registry.get(node.class_type)
        if spec is None:
            return iter(())
        literals, links = dict(spec.defaults), {}
        for name, raw in node.inputs.items():
            given = spec.inputs.get(name)
            link = as_link(raw)
            if link is not None:
                if given is None and not spec.takes_extra:
                    continue
                if self.link_works(node_id, given, link):
                    links[name] = link
                literals.pop(name, None)
            elif given is not None and not (raw is None and given.is_optional):
                self.read_literal(node_id, given, raw, literals)
        for name in spec.required:
            if name not in node.inputs:
                self.report_missing(node_id, spec, spec.inputs[name])
        self.checked[node_id] = CheckedNode(node_id, spec, literals, links)
        return iter(links.values())

    def report_missing(self, node_id: str, spec: NodeSpec, given: InputSpec) -> None:
        undeclared = [name for name in self.workflow.nodes[node_id].inputs if name not in spec.inputs]
        near = closest(given.name, undeclared)
        hint = f"'{near}' was given: was it meant?" if near else "give it"
        reason = f"it is missing; needed is {given.allowed()}; {hint}"
        self.report(node_id, "required_input_missing", reason, input_name=given.name)

    def link_works(self, node_id: str, given: InputSpec | None, link: Link) -> bool:
        name = given.name if given else None
        source = self.workflow.nodes.get(link.node_id)
        spec = self.known(link.node_id) if source is None else self.registry.get(source.class_type)
        if source is None and spec is None:
            near = _suggestion(closest(link.node_id, self.workflow.nodes), "link it to a node of the workflow")
            self.report(node_id, "bad_linked_input", f"it is linked to node '{link.node_id}', which is not there; {near}",
                        input_name=name, given=[*link])  # fmt: skip
            return False
        if spec is None:
            return False
        if not 0 <= link.slot < len(spec.outputs):
            has = ", ".join(f"{i} ({output.name})" for i, output in enumerate(spec.outputs)) or "no outputs"
            self.report(node_id, "bad_linked_input", f"it is linked to output {link.slot} of node {link.node_id} "
                        f"({spec.name}), which has {has}", input_name=name, given=[*link])  # fmt: skip
            return False
        received = spec.outputs[link.slot].port
        if given is not None and not are_compatible(received, given.port):
            self.report(node_id, "return_type_mismatch", f"it takes {given.port}, but output {link.slot} of node "
                        f"{link.node_id} ({spec.name}) gives {received}; link an output of type {given.port}",
                        input_name=name, given=[*link],
                        details={"received_type": received, "linked_node": [*link]})  # fmt: skip
            return False
        return True

    def read_literal(self, node_id: str, given: InputSpec, raw: Any, literals: dict[str, Any]) -> None:
        if isinstance(raw, list):
            self.report(node_id, "bad_linked_input", f"the list {_short(raw)} is no link; a link is [\"node id\", output "
                        "number], and a list meant as a value is written {\"__value__\": [...]}",
                        input_name=given.name, given=raw)  # fmt: skip
            return
        value = unwrap_value(raw)
        try:
            if given.is_list and isinstance(value, list):
                literals[given.name] = [self.read(given, item) for item in value]
            else:
                literals[given.name] = self.read(given, value)
        except InputError as error:
            why = f" ({error.reason})" if error.reason else ""
            reason = f"{_short(value)} is not allowed{why}; allowed is {error.allowed}"
            is_model = error.code == "value_not_in_list" and given.choices is not None
            self.report(node_id, error.code, reason, input_name=given.name, given=value,
                        models=given.choices.models if is_model and given.choices else None,
                        details={"exception_message": error.reason})  # fmt: skip

    def read(self, given: InputSpec, value: Any) -> Any:
        if value is None:
            raise InputError("invalid_input_type", given.allowed(), "null is no value")
        is_scalar = isinstance(value, str | int | float)
        if given.annotation is not None and is_scalar and given.port not in _WIDGETS and "," not in given.port:
            raise InputError("invalid_input_type", given.allowed())
        value = given.read(value)
        if given.choices is not None:
            self.check_choice(given, value)
        return value

    def check_choice(self, given: InputSpec, value: Any) -> None:
        assert given.choices is not None
        allowed = self._choices.get(id(given))
        if allowed is None:
            allowed = self._choices[id(given)] = given.choices.list(self.folders)
        if self.folders is None and callable(given.choices.source):
            return
        if value not in allowed and not given.choices.takes(value, self.folders):
            raise InputError("value_not_in_list", _list_of(allowed, value))


def _list_of(allowed: list[str], value: Any) -> str:
    if not allowed:
        return "nothing yet, because the list is empty"
    near = closest(str(value), allowed)
    hint = f"; did you mean '{near}'?" if near else ""
    if len(allowed) > SHOWN_CHOICES:
        return f"one of {len(allowed)} choices{hint}"
    return "one of " + ", ".join(f"'{choice}'" for choice in allowed) + hint


def _suggestion(near: str | None, otherwise: str) -> str:
    return f"did you mean '{near}'?" if near else otherwise


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, str) else f"'{value}'"
    return text if len(text) <= 80 else text[:77] + "..."
