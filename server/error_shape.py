"""Validation problems in the shapes that clients know (wire protocol §1.1): `error` and `node_errors`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from mezzotint.engine.problem import Problem, ProblemCode
from mezzotint.engine.registry import Registry
from mezzotint.engine.sentence import SHOWN_CHOICES
from mezzotint.engine.validation import Validation
from mezzotint.engine.workflow import Workflow, as_link

Definitions = Mapping[str, Mapping[str, Any]]
Shape = dict[str, Any]
Refusal = Literal[
    "no_prompt",
    "invalid_prompt",
    "missing_node_type",
    "prompt_no_outputs",
    "prompt_outputs_failed_validation",
    "invalid_prompt_id",
    "not_stored",
]
"""Why a submission is refused as a whole."""
InputRefusal = ProblemCode | Literal["exception_during_inner_validation"]
"""What is wrong with a node of it."""

_LIMITS = frozenset({"value_smaller_than_min", "value_bigger_than_max"})


class PromptRejectedError(Exception):
    """A submission cannot run. `shape` is the answer's body."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape["error"]["message"])
        self.shape = shape


def error_shape(kind: Refusal, message: str, details: str = "", **extra_info: Any) -> Shape:
    """The body of a refusal that is about no single input."""
    error = {"type": kind, "message": message, "details": details, "extra_info": extra_info}
    return {"error": error, "node_errors": {}}


def rejection(validation: Validation, workflow: Workflow, registry: Registry, definitions: Definitions) -> Shape | None:
    """Why nothing of a workflow can run; None when some of it can."""
    if validation.outputs:
        return None
    for kind, shaped in (("missing_node_type", _missing_type), ("prompt_no_outputs", _no_outputs)):
        found = next((problem for problem in validation.problems if problem.code == kind), None)
        if found is not None:
            return shaped(found)
    errors = node_errors(validation, workflow, registry, definitions)
    outputs = [node_id for node_id in errors if _is_output(node_id, workflow, registry)]
    details = [f"{error['message']}: {error['details']}" for node_id in outputs for error in errors[node_id]["errors"]]
    shape = error_shape("prompt_outputs_failed_validation", "No output of the prompt can run", "\n".join(details))
    return {**shape, "node_errors": errors}


def _missing_type(problem: Problem) -> Shape:
    return error_shape(
        "missing_node_type",
        str(problem),
        f"Node ID '#{problem.node_id}'",
        node_id=problem.node_id,
        class_type=problem.node_type,
        node_title=problem.title or problem.node_type,
    )


def _no_outputs(problem: Problem) -> Shape:
    return error_shape("prompt_no_outputs", str(problem))


def _is_output(node_id: str, workflow: Workflow, registry: Registry) -> bool:
    spec = registry.get(workflow.nodes[node_id].class_type)
    return spec is not None and spec.is_sink


def node_errors(
    validation: Validation, workflow: Workflow, registry: Registry, definitions: Definitions
) -> dict[str, Any]:
    """What is wrong with each node that has something wrong itself, by id."""
    shaper = _Shaper(workflow, registry, definitions)
    found: dict[str, Any] = {}
    for problem in validation.problems:
        if problem.node_id is None or problem.node_id not in workflow.nodes:
            continue
        class_type = workflow.nodes[problem.node_id].class_type
        entry = found.setdefault(problem.node_id, {"errors": [], "dependent_outputs": [], "class_type": class_type})
        entry["errors"].append(shaper.shape(problem))
        entry["dependent_outputs"] = [*dict.fromkeys([*entry["dependent_outputs"], *problem.dependent_outputs])]
    return found


class _Shaper:
    """Makes the entries of one workflow; a definition, which may list folders, is made once for each type."""

    def __init__(self, workflow: Workflow, registry: Registry, definitions: Definitions) -> None:
        self._workflow, self._registry, self._definitions = workflow, registry, definitions
        self._inputs: dict[str, dict[str, Any]] = {}

    def shape(self, problem: Problem) -> Shape:
        """The entry of one problem."""
        kind, details, extra_info = self._maker(problem)(problem)
        return {"type": kind, "message": problem.reason, "details": details, "extra_info": extra_info}

    def _maker(self, problem: Problem) -> Callable[[Problem], tuple[InputRefusal, str, Shape]]:
        if problem.code in _LIMITS:
            return self._limit
        makers = {
            "required_input_missing": self._missing,
            "bad_linked_input": self._bad_link,
            "return_type_mismatch": self._mismatch,
            "invalid_input_type": self._unreadable,
            "value_not_in_list": self._not_in_list,
            "dependency_cycle": self._cycle,
            "custom_validation_failed": self._refused,
        }
        return makers.get(problem.code, self._other)

    def _missing(self, problem: Problem) -> tuple[InputRefusal, str, Shape]:
        return problem.code, _name(problem), {"input_name": problem.input_name}

    def _limit(self, problem: Problem) -> tuple[InputRefusal, str, Shape]:
        return problem.code, _name(problem), {**self._input(problem), "received_value": problem.given}

    def _bad_link(self, problem: Problem) -> tuple[InputRefusal, str, Shape]:
        given = problem.given
        if not isinstance(given, list) or len(given) != 2:
            return problem.code, _name(problem), {**self._input(problem), "received_value": given}
        facts: Shape = {"exception_type": "KeyError" if as_link(given) is None else "LinkError", "traceback": []}
        assert problem.node_id is not None
        if _is_output(problem.node_id, self._workflow, self._registry):
            return "exception_during_validation", problem.reason, facts
        facts |= {**self._input(problem), "exception_message": problem.reason, "linked_node": given}
        return "exception_during_inner_validation", problem.reason, facts

    def _mismatch(self, problem: Problem) -> tuple[InputRefusal, str, Shape]:
        facts = {**self._input(problem), **problem.details}
        received, wanted = facts.get("received_type"), facts["input_config"][0]
        wanted = "COMBO" if isinstance(wanted, list) else wanted
        return problem.code, f"{_name(problem)}, received_type({received}) mismatch input_type({wanted})", facts

    def _unreadable(self, problem: Problem) -> tuple[InputRefusal, str, Shape]:
        why = str(problem.details.get("exception_message") or problem.reason)
        facts = {**self._input(problem), "received_value": problem.given, "exception_message": why}
        return problem.code, f"{_name(problem)}, {problem.given}, {why}", facts

    def _not_in_list(self, problem: Problem) -> tuple[InputRefusal, str, Shape]:
        facts = self._input(problem)
        choices = _choices(facts["input_config"])
        shown = f"(list of length {len(choices)})" if len(choices) > SHOWN_CHOICES else str(choices)
        if len(choices) > SHOWN_CHOICES:
            facts["input_config"] = None
        details = f"{_name(problem)}: '{problem.given}' not in {shown}"
        return problem.code, details, {**facts, "received_value": problem.given}

    def _cycle(self, problem: Problem) -> tuple[InputRefusal, str, Shape]:
        cycle = [str(node_id) for node_id in problem.details.get("cycle_nodes", ())]
        named = [f"{node_id} ({self._workflow.nodes[node_id].class_type})" for node_id in [*cycle, *cycle[:1]]]
        return problem.code, " -> ".join(named), {"node_id": problem.node_id, "cycle_nodes": cycle}

    def _refused(self, problem: Problem) -> tuple[InputRefusal, str, Shape]:
        name, reason = _name(problem), problem.reason
        return problem.code, f"{name} - {reason}" if reason else name, {"input_name": problem.input_name}

    def _other(self, problem: Problem) -> tuple[InputRefusal, str, Shape]:
        if problem.code == "exception_during_validation":
            return problem.code, problem.reason, {"exception_type": "Exception", "traceback": []}
        return problem.code, problem.reason, {"input_name": problem.input_name}

    def _input(self, problem: Problem) -> Shape:
        """The input's name and its declaration, `[type, options]`."""
        assert problem.node_id is not None
        class_type = self._workflow.nodes[problem.node_id].class_type
        if class_type not in self._inputs:
            groups = self._definitions[class_type]["input"].values()
            self._inputs[class_type] = {name: given for group in groups for name, given in group.items()}
        kind, *options = self._inputs[class_type].get(problem.input_name or "", ["*"])
        return {"input_name": problem.input_name, "input_config": [kind, options[0] if options else {}]}


def _name(problem: Problem) -> str:
    return problem.input_name or ""


def _choices(input_config: list[Any]) -> list[Any]:
    kind, options = input_config
    return [*kind] if isinstance(kind, list) else [*options.get("options", ())]
