"""Checks a workflow before it runs, and reports every problem at once.

Each problem is a sentence with the node, the input, what was given, what is allowed, and the nearest known name.
Linear in the size of the graph: each node that an output needs is looked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .errors import MezzotintError
from .input_spec import InputError, InputSpec
from .link_graph import LinkGraph
from .missing_type import missing_types
from .node import NodeSpec
from .port import ANY
from .problem import Complaint, Problem, ProblemCode
from .registry import Registry, closest
from .sentence import list_of, short, suggestion
from .state_links import find_rivals
from .widget import Choices
from .workflow import Link, Workflow, WorkflowNode, as_link, unwrap_value

if TYPE_CHECKING:
    from .folders import Folders

FindSpec = Callable[[str], NodeSpec | None]

SHOWN_CIRCLE = 12
"""How many nodes of a circle a sentence lists."""
NO_INPUTS = "it has no 'inputs'; give it an object, {} if it takes none"
MAX_SUGGESTIONS, MAX_SEARCHED = 50, 2000
"""How often a misspelt name is looked up, and among how many: bounds the time that a bad document takes."""


@dataclass(slots=True)
class CheckedNode:
    """A node whose inputs are sorted into coerced literals and links.

    Attributes:
        ignored: undeclared constants of a node that takes undeclared links: not passed, but part of its key.
    """

    node_id: str
    spec: NodeSpec
    literals: dict[str, Any]
    links: dict[str, Link]
    ignored: dict[str, Any] = field(default_factory=dict)


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
    workflow: Workflow,
    registry: Registry,
    folders: Folders | None = None,
    targets: Iterable[str] | None = None,
    incomplete: Container[str] = (),
) -> Validation:
    """Check what a workflow's outputs need.

    Args:
        targets: ids of the nodes wanted; the output nodes when None. Any node may be wanted.
        folders: where dynamic choices (lists of files) are looked up.
        incomplete: ids of nodes whose inputs are not to be taken as none given, but as forgotten.
    """
    return _Validator(workflow, registry, folders, incomplete).run(targets)


def check_inputs(
    nodes: Mapping[str, WorkflowNode], registry: Registry, known: FindSpec, *, is_trusted: bool = False
) -> Validation:
    """Check the nodes of an expansion, all of them; `known` finds further steps that links may point to.

    Args:
        is_trusted: constants are taken as they are, and links whatever they bring; see `Expand`.
    """
    validator = _Validator(Workflow.model_construct(nodes=dict(nodes)), registry, None)
    validator.known, validator.is_trusted = known, is_trusted
    validator.find_unknown_types()
    for node_id in nodes:
        validator.check(node_id)
    validator.find_rivals()
    return Validation(validator.problems, [], validator.checked, validator.is_rejected)


class _Validator:
    def __init__(
        self, workflow: Workflow, registry: Registry, folders: Folders | None, incomplete: Container[str] = ()
    ) -> None:
        self.workflow, self.registry, self.folders, self.incomplete = workflow, registry, folders, incomplete
        self.known: FindSpec = lambda node_id: None
        self.problems: list[Problem] = []
        self.checked: dict[str, CheckedNode] = {}
        self.is_rejected = self.is_trusted = self.has_state = False
        self._specs: dict[str, NodeSpec | None] = {}
        self._choices: dict[int, list[str]] = {}
        self._suggestions_left = MAX_SUGGESTIONS

    def run(self, targets: Iterable[str] | None) -> Validation:
        self.find_unknown_types()
        wanted = self.wanted(targets)
        if not wanted:
            self.is_rejected = True
        graph = self.visit(wanted)
        self.find_circles(graph)
        self.find_rivals()
        if not self.problems:
            return Validation([], wanted, {node_id: self.checked[node_id] for node_id in graph.parents_first()})
        blamed = self.blame(graph, wanted)
        outputs = [] if self.is_rejected else [node_id for node_id in wanted if node_id not in blamed]
        nodes = {node_id: self.checked[node_id] for node_id in graph.needed_by(outputs)}
        return Validation(self.in_document_order(), outputs, nodes, self.is_rejected)

    def report(self, node_id: str | None, code: ProblemCode, reason: str, **facts: Any) -> None:
        node = self.workflow.nodes.get(node_id) if node_id is not None else None
        named = {"node_type": node.class_type, "title": node.title or ""} if node else {}
        self.problems.append(Problem(code, reason, node_id, **{**named, **facts}))

    def near(self, given: str, names: Collection[str]) -> str | None:
        """The name that was meant, perhaps. Sought a limited number of times: each search looks at all names."""
        if self._suggestions_left == 0 or len(names) > MAX_SEARCHED:
            return None
        self._suggestions_left -= 1
        return closest(given, names)

    def find_unknown_types(self) -> None:
        for missing in missing_types(self.workflow, self.registry, self.near):
            self.is_rejected = True
            self.report(missing.node_id, "missing_node_type", missing.reason, given=missing.node_type or None)

    def wanted(self, targets: Iterable[str] | None) -> list[str]:
        if targets is not None:
            return [*self.found(dict.fromkeys(targets))]
        specs = map(self.registry.get, {node.class_type for node in self.workflow.nodes.values()})
        ends = {spec.name for spec in specs if spec is not None and spec.is_sink}
        sinks = [node_id for node_id, node in self.workflow.nodes.items() if node.class_type in ends]
        if not sinks and not self.is_rejected:
            self.report(None, "prompt_no_outputs", "the workflow has no output node, so there is nothing to run; "
                        "add one, such as SaveImage or PreviewImage")  # fmt: skip
        return sinks

    def found(self, targets: Collection[str]) -> Iterator[str]:
        """The targets that are there; the others are reported."""
        if not targets:
            self.report(None, "prompt_no_outputs", "no node is named to run; name one, or leave the targets out")
        for node_id in targets:
            if node_id in self.workflow.nodes:
                yield node_id
            else:
                hint = suggestion(self.near(node_id, self.workflow.nodes), "name a node of the workflow")
                self.report(None, "prompt_no_outputs", f"there is no node '{node_id}' to run; {hint}", given=node_id)

    def visit(self, wanted: list[str]) -> LinkGraph:
        """Check each node that the wanted ones need; returns their links."""
        pending, seen = list(reversed(wanted)), set(wanted)
        edges: list[tuple[str, str]] = []
        while pending:
            node_id = pending.pop()
            for parent in self.check(node_id):
                edges.append((parent, node_id))
                if parent not in seen:
                    seen.add(parent)
                    pending.append(parent)
        return LinkGraph(wanted, edges)

    def find_circles(self, graph: LinkGraph) -> None:
        for circle in graph.circles():
            named = [f"{node_id} ({self.workflow.nodes[node_id].class_type})" for node_id in [*circle, circle[0]]]
            shown = named if len(named) <= SHOWN_CIRCLE else [*named[: SHOWN_CIRCLE - 2], "…", named[-1]]
            reason = f"the links form a circle, {' → '.join(shown)}; remove one of them"
            self.report(circle[0], "dependency_cycle", reason, details={"cycle_nodes": circle})

    def find_rivals(self) -> None:
        """Report where two inputs want the same consumed state."""
        if not self.has_state:
            return
        checked = {node_id: self.checked[node_id] for node_id in self.workflow.nodes if node_id in self.checked}
        for rival in find_rivals(checked, self.spec_behind):
            self.report_link(rival.node_id, rival.name, rival.link, rival.reason)

    def blame(self, graph: LinkGraph, wanted: list[str]) -> set[str]:
        """The wanted nodes that cannot run, noting in each problem which ones it concerns."""
        blamed: set[str] = set()
        dependents = graph.dependents(wanted)
        for index, problem in enumerate(self.problems):
            outputs = dependents.get(problem.node_id or "", ())
            if outputs:
                self.problems[index] = replace(problem, dependent_outputs=outputs)
                blamed.update(outputs)
        return blamed

    def in_document_order(self) -> list[Problem]:
        """The problems: first those of the whole, then each node's."""
        position = {node_id: index for index, node_id in enumerate(self.workflow.nodes)}
        return sorted(self.problems, key=lambda problem: position.get(problem.node_id or "", -1))

    # one node

    def spec_of(self, node_id: str, node_type: str) -> NodeSpec | None:
        """The node as it declares itself now, asked once for all of its type."""
        if node_type in self._specs:
            return self._specs[node_type]
        try:
            spec = self.registry.current(node_type)
        except Exception as error:
            spec = self.registry.get(node_type)
            reason = f"what inputs it has cannot be told: {type(error).__name__}: {error}"
            self.report(node_id, "exception_during_validation", reason)
        self._specs[node_type] = spec
        return spec

    def check(self, node_id: str) -> Iterable[str]:
        """Sort a node's inputs; returns the nodes that links lead to, so that these are checked in turn."""
        node = self.workflow.nodes[node_id]
        spec = self.spec_of(node_id, node.class_type)
        if spec is None or node_id in self.incomplete:
            if spec is not None and spec.is_sink:
                self.report(node_id, "exception_during_validation", NO_INPUTS)
            return ()
        checked = CheckedNode(node_id, spec, dict(spec.defaults), {}, {})
        before = len(self.problems)
        followed = self.sort_inputs(checked, node.inputs)
        for name in spec.required if not self.is_trusted else ():
            if name not in node.inputs:
                self.report_missing(node_id, spec, spec.inputs[name])
        if spec.check is not None and not self.is_trusted and len(self.problems) == before:
            self.ask_node(checked, spec.check)
        self.checked[node_id] = checked
        return followed

    def sort_inputs(self, checked: CheckedNode, inputs: Mapping[str, Any]) -> list[str]:
        """Sort what a document gives into literals and links; returns the nodes that links lead to."""
        node_id, spec, followed = checked.node_id, checked.spec, []
        for name, raw in inputs.items():
            given = spec.inputs.get(name)
            if given is not None and type(raw) in given.plain_types:
                checked.literals[name] = raw
            elif (link := as_link(raw)) is None:
                self.take_literal(checked, name, given, raw)
            elif given is not None or spec.takes_extra:
                checked.literals.pop(name, None)
                if self.link_works(node_id, name, given, link):
                    checked.links[name] = link
                if (source := link.node_id) in self.workflow.nodes:
                    followed.append(source)
        return followed

    def take_literal(self, checked: CheckedNode, name: str, given: InputSpec | None, raw: Any) -> None:
        if given is None:
            if checked.spec.takes_extra:
                checked.ignored[name] = raw
        elif self.is_trusted:
            checked.literals[name] = unwrap_value(raw)
        else:
            self.read_literal(checked.node_id, given, raw, checked.literals)

    def ask_node(self, checked: CheckedNode, check: Callable[..., Iterable[Complaint]]) -> None:
        """Let a node check its own inputs."""
        node_id, literals = checked.node_id, checked.literals
        try:
            received = {name: self.port_behind(link) for name, link in checked.links.items()}
            for name, reason, code in check(literals, received):
                self.report(node_id, code, reason, input_name=name, given=literals.get(name))
        except Exception as error:
            reason = f"its own check of its inputs failed: {type(error).__name__}: {error}"
            self.report(node_id, "exception_during_validation", reason)

    def port_behind(self, link: Link) -> str:
        """The port type of the output that a working link leads to."""
        spec = self.spec_behind(link.node_id)
        return spec.outputs[link.slot].port if spec is not None else ANY

    def spec_behind(self, node_id: str) -> NodeSpec | None:
        """The node that a link leads to: of the workflow, or known otherwise."""
        source = self.workflow.nodes.get(node_id)
        if source is None:
            return self.known(node_id)
        return self._specs.get(source.class_type) or self.spec_of(node_id, source.class_type)

    def report_missing(self, node_id: str, spec: NodeSpec, given: InputSpec) -> None:
        undeclared = [name for name in self.workflow.nodes[node_id].inputs if name not in spec.inputs]
        near = self.near(given.name, undeclared)
        hint = f"'{near}' was given: was it meant?" if near else "give it"
        reason = f"it is missing; needed is {given.allowed()}; {hint}"
        self.report(node_id, "required_input_missing", reason, input_name=given.name)

    def link_works(self, node_id: str, name: str, given: InputSpec | None, link: Link) -> bool:
        source, slot = link
        spec = self.spec_behind(source)
        if spec is None or source in self.incomplete or not 0 <= slot < len(spec.outputs):
            return self.leads_nowhere(node_id, name, link, spec)
        output = spec.outputs[slot]
        received = output.port
        if output.is_consumed:
            self.has_state = True
        if given is None or received is given.port or self.is_trusted or given.accepts(received):
            return True
        self.report_link(node_id, name, link, f"it takes {given.port}, but output {slot} of node "
                         f"{source} ({spec.name}) gives {received}; link an output of type {given.port}",
                         code="return_type_mismatch",
                         details={"received_type": received, "linked_node": [*link]})  # fmt: skip
        return False

    def leads_nowhere(self, node_id: str, name: str, link: Link, spec: NodeSpec | None) -> bool:
        """Report a link to no output; True for one that is taken all the same."""
        if spec is None and link.node_id not in self.workflow.nodes:
            near = suggestion(self.near(link.node_id, self.workflow.nodes), "link it to a node of the workflow")
            self.report_link(node_id, name, link, f"it is linked to node '{link.node_id}', which is not there; {near}")
            return False
        if spec is None:  # of an unknown type, which is reported where it stands
            return False
        if link.node_id in self.incomplete:
            self.report_link(node_id, name, link, f"it is linked to node {link.node_id} ({spec.name}): {NO_INPUTS}")
            return False
        if self.is_trusted and link.slot >= 0:
            return True  # and brings None
        has = ", ".join(f"{i} ({output.name})" for i, output in enumerate(spec.outputs)) or "no outputs"
        self.report_link(node_id, name, link, f"it is linked to output {link.slot} of node {link.node_id} "
                         f"({spec.name}), which has {has}")  # fmt: skip
        return False

    def report_link(
        self, node_id: str, name: str, link: object, reason: str, code: ProblemCode = "bad_linked_input", **facts: Any
    ) -> None:
        given = list(link) if isinstance(link, tuple) else link
        self.report(node_id, code, reason, input_name=name, given=given, **facts)

    def read_literal(self, node_id: str, given: InputSpec, raw: Any, literals: dict[str, Any]) -> None:
        if isinstance(raw, list):
            self.report_link(node_id, given.name, raw, f"the list {short(raw)} is no link; a link is [\"node id\", "
                             "output number]; a list meant as a value is written {\"__value__\": [...]}")  # fmt: skip
            return
        value = unwrap_value(raw)
        try:
            if given.is_list and isinstance(value, list):
                literals[given.name] = [self.read(given, item) for item in value]
            else:
                literals[given.name] = self.read(given, value)
        except InputError as error:
            why = f" ({error.reason})" if error.reason else ""
            models = given.choices.models if error.code == "value_not_in_list" and given.choices else None
            what = f"is in no models folder ({models})" if models else f"is not allowed{why}"
            if models and self.folders and (unread := self.folders.why_unread(models, value)):
                what, models = unread, None
            self.report(node_id, error.code, f"{short(value)} {what}; allowed is {error.allowed}",
                        input_name=given.name, given=value, models=models,
                        details={"exception_message": error.detail})  # fmt: skip

    def read(self, given: InputSpec, value: Any) -> Any:
        value = given.read(value)
        if value is None or given.choices is None or (self.folders is None and given.choices.needs_folders):
            return value
        return self.choose(given, given.choices, value)

    def choose(self, given: InputSpec, choices: Choices, value: Any) -> Any:
        allowed = self._choices.get(id(given))
        if allowed is None:
            allowed = self._choices[id(given)] = self.listed(choices)
        try:
            return given.choose(value, allowed)
        except InputError as error:
            if isinstance(value, str) and choices.takes(value, self.folders):
                return value
            raise InputError(error.code, list_of(allowed, self.near(str(value), allowed))) from None

    def listed(self, choices: Choices) -> list[str]:
        try:
            return choices.list(self.folders)
        except MezzotintError:
            raise
        except Exception as error:
            reason = f"the list of choices cannot be made: {error}"
            raise InputError("exception_during_validation", "nothing, until that is mended", reason) from error
