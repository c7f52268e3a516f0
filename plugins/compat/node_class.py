"""Reads a node class of a pack into a `NodeSpec`. Schema classes look like the older ones, see `shims/node_api.py`."""

from __future__ import annotations

import inspect
from collections.abc import Generator, Iterator, Mapping
from functools import cached_property
from typing import Any

from mezzotint.engine.context import Context
from mezzotint.engine.invocation import Bound, Calls
from mezzotint.engine.memory_cache import StepValue
from mezzotint.engine.node import NodeSpec, OutputSpec
from mezzotint.engine.problem import Complaint
from mezzotint.engine.request import Request
from mezzotint.engine.validation import CheckedNode

from .calls import StepCalls
from .coroutine import finished
from .declared_input import DeclaredInputs, Exemptions, hidden_kinds, port_of, wire_type
from .dynamic_input import DynamicInputs
from .dynamic_prompt import hidden_before_run
from .instances import Instances

FINGERPRINTS = ("fingerprint_inputs", "IS_CHANGED")
CHECKS = ("validate_inputs", "VALIDATE_INPUTS")


class NodeClass:
    """A class of a pack that is a node.

    Attributes:
        node_type: its class_type. cls: the class. title: what editors show; None for the class_type.
        takes_lists: the function gets whole lists. hidden: name → kind of the hidden inputs.
    """

    def __init__(
        self, node_type: str, cls: type, title: str | None, pack: str, code_version: str, instances: Instances
    ) -> None:
        self.node_type, self.cls, self.title = node_type, cls, title
        self._pack, self._code_version, self._instances = pack, code_version, instances
        self.hidden: dict[str, str] = {}
        self._dynamic = DynamicInputs()

    @property
    def function(self) -> str:
        return str(self.cls.FUNCTION)  # type: ignore[attr-defined]

    @property
    def is_schema_class(self) -> bool:
        return hasattr(self.cls, "define_schema")

    @cached_property
    def takes_lists(self) -> bool:
        return self._flag("INPUT_IS_LIST")

    def groups(self) -> dict[str, Any]:
        """What INPUT_TYPES says now. A group may be any mapping; it is looked up and not copied."""
        declared = self.cls.INPUT_TYPES()  # type: ignore[attr-defined]
        return {name: group for name, group in declared.items() if group is not None}

    def spec(self) -> NodeSpec:
        """The node as it declares itself now. Raises what INPUT_TYPES does."""
        groups = self.groups()
        self.hidden, inputs = dict(hidden_kinds(groups)), DeclaredInputs(groups, self._exemptions)
        self._dynamic = inputs.dynamic
        checks = self._own(CHECKS) is not None or inputs.dynamic.leaves
        return NodeSpec(inputs=inputs, check=self.check if checks else None, **self._facts)

    def spec_without_inputs(self) -> NodeSpec:
        """The node as far as it is known when its inputs are not."""
        return NodeSpec(inputs={}, **self._facts)

    @property
    def _facts(self) -> dict[str, Any]:
        return {
            "name": self.node_type,
            "body": getattr(self.cls, self.function),
            "outputs": self.outputs,
            "kind": "async" if inspect.iscoroutinefunction(getattr(self.cls, self.function)) else "plain",
            "title": self.title or self.node_type,
            "category": str(getattr(self.cls, "CATEGORY", "sd")),
            "description": str(getattr(self.cls, "DESCRIPTION", "") or ""),
            "lane": "device",
            "is_sink": self._flag("OUTPUT_NODE"),
            "code_version": self._code_version,
            "plugin": self._pack,
            "module": self.module,
            "fingerprint": self.fingerprint if self._own(FINGERPRINTS) else None,
            "fingerprint_inputs": None,
            "uses_id": self._flag("NOT_IDEMPOTENT") or "UNIQUE_ID" in self.hidden.values(),
            "is_shown_again": self._flag("HAS_INTERMEDIATE_OUTPUT"),
            "takes_extra": True,
            "is_deprecated": self._flag("DEPRECATED"),
            "is_experimental": self._flag("EXPERIMENTAL"),
            "search_aliases": tuple(getattr(self.cls, "SEARCH_ALIASES", None) or ()),
            "renew": self.spec,
            "definition": self.definition,
            "invocation": self.invoke,
        }

    @property
    def module(self) -> str:
        return str(getattr(self.cls, "RELATIVE_PYTHON_MODULE", f"custom_nodes.{self._pack}"))

    @cached_property
    def outputs(self) -> tuple[OutputSpec, ...]:
        """The outputs by RETURN_TYPES and what goes with it. Names and flags may be fewer."""
        types = _listed(getattr(self.cls, "RETURN_TYPES", ()))
        names = _listed(getattr(self.cls, "RETURN_NAMES", None))
        lists = _listed(getattr(self.cls, "OUTPUT_IS_LIST", None))
        tooltips = _listed(getattr(self.cls, "OUTPUT_TOOLTIPS", None))
        return tuple(
            OutputSpec(
                name=str(names[slot]) if slot < len(names) else port_of(kind),
                port=port_of(kind),
                is_list=bool(lists[slot]) if slot < len(lists) else False,
                tooltip=tooltips[slot] if slot < len(tooltips) else None,
            )
            for slot, kind in enumerate(types)
        )

    # what the engine calls

    def invoke(self, spec: NodeSpec, bound: Bound, run: Calls) -> Generator[Request, Any, StepValue]:
        """See `engine.invocation.Invocation`."""
        return (yield from StepCalls(self, spec, bound, run).make())

    def fingerprint(self, node: CheckedNode) -> Any:
        """What IS_CHANGED says; constants are given as they are, links as None. Unequal to itself: never reuse."""
        hidden = {name: hidden_before_run(kind, node.node_id) for name, kind in self.hidden.items()}
        given = {**node.literals, **dict.fromkeys(node.links), **({} if self.is_schema_class else hidden)}
        value = finished(self._own(FINGERPRINTS)(**self.arguments(self._as_called(given))))
        return value if _equals_itself(value) else float("nan")

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs by name as the node's functions get them: those with dotted names in groups."""
        return self._dynamic.regrouped(given)

    def check(self, literals: Mapping[str, Any], received: Mapping[str, str]) -> Iterator[Complaint]:
        """What is wrong with these inputs; by VALIDATE_INPUTS, if so, each that it was given."""
        found = [*self._dynamic.complaints(literals, received)]
        yield from found
        function = self._own(CHECKS)
        if function is None or found:
            return
        named, takes_all = _parameters(function)
        present = self.arguments({**literals, **dict.fromkeys(received)})
        given = {name: value for name, value in present.items() if takes_all or name in named}
        types = {"input_types": dict(received)} if "input_types" in named else {}
        verdict = finished(function(**self._as_called(given), **types))
        if verdict is True:
            return
        reason = verdict if isinstance(verdict, str) else ""
        yield from (Complaint(name, reason) for name in given)

    def receiver(self, context: Context, hidden: Mapping[str, Any]) -> Any:
        """What the function is called on: the node's object, or a copy of its schema class."""
        if self.is_schema_class:
            return self.cls.prepared({self.hidden[name]: value for name, value in hidden.items()})  # type: ignore[attr-defined]
        return self._instances.of(self.cls, context)

    def passed(self, hidden: Mapping[str, Any]) -> Mapping[str, Any]:
        """The hidden inputs that are passed to the function: schema classes look them up instead."""
        return {} if self.is_schema_class else hidden

    def definition(self) -> dict[str, Any]:
        """The definition for editors (wire protocol §1.6)."""
        groups = self.groups()
        inputs = {name: {key: group[key] for key in group} for name, group in groups.items()}
        types = _listed(getattr(self.cls, "RETURN_TYPES", ()))
        return {
            "input": inputs,
            "input_order": {name: [*group] for name, group in inputs.items()},
            "is_input_list": self.takes_lists,
            "output": [[*kind] if isinstance(kind, list | tuple) else wire_type(kind) for kind in types],
            "output_is_list": [output.is_list for output in self.outputs],
            "output_name": [output.name for output in self.outputs],
            "output_tooltips": [output.tooltip for output in self.outputs],
            "name": self.node_type,
            "display_name": self.title or self.node_type,
            "description": str(getattr(self.cls, "DESCRIPTION", "") or ""),
            "python_module": self.module,
            "category": str(getattr(self.cls, "CATEGORY", "sd")),
            "output_node": self._flag("OUTPUT_NODE"),
            "has_intermediate_output": self._flag("HAS_INTERMEDIATE_OUTPUT"),
            "deprecated": self._flag("DEPRECATED"),
            "experimental": self._flag("EXPERIMENTAL"),
            "api_node": self._flag("API_NODE"),
            "search_aliases": [*(getattr(self.cls, "SEARCH_ALIASES", None) or ())],
            **self._newer_facts(),
        }

    def _newer_facts(self) -> dict[str, Any]:
        """What definitions of schema classes say beside."""
        names = {"DEV_ONLY": "dev_only", "ESSENTIALS_CATEGORY": "essentials_category", "PRICE_BADGE": "price_badge",
                 "OUTPUT_MATCHTYPES": "output_matchtypes"}  # fmt: skip
        found = ((key, getattr(self.cls, name, None)) for name, key in names.items())
        return {key: value for key, value in found if value}

    def _flag(self, name: str) -> bool:
        return bool(getattr(self.cls, name, False))

    def _own(self, names: tuple[str, ...]) -> Any:
        """The first of these functions that the class has."""
        found = (getattr(self.cls, name, None) for name in names)
        return next((function for function in found if callable(function)), None)

    def _as_called(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as a call of the node would have them."""
        return {name: [value] for name, value in given.items()} if self.takes_lists else dict(given)

    @cached_property
    def _exemptions(self) -> Exemptions:
        function = self._own(CHECKS)
        if function is None:
            return Exemptions()
        named, takes_all = _parameters(function)
        return Exemptions(None if takes_all else frozenset(named), "input_types" in named)


def _listed(value: Any) -> list[Any]:
    """A tuple that may be missing, or a lone text where a comma was forgotten."""
    return [value] if isinstance(value, str) else [*(value or ())]


def _parameters(function: Any) -> tuple[set[str], bool]:
    """The names that a function takes, and whether it takes any."""
    parameters = inspect.signature(function).parameters.values()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return {parameter.name for parameter in parameters}, takes_all


def _equals_itself(value: Any) -> bool:
    try:
        return bool(value == value)
    except Exception:  # an array, say, which compares item by item
        return True
