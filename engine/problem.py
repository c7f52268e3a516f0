"""One thing that is wrong with a workflow, as a sentence and as facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

ProblemCode = Literal[
    "missing_node_type",
    "prompt_no_outputs",
    "required_input_missing",
    "bad_linked_input",
    "return_type_mismatch",
    "invalid_input_type",
    "invalid_dynamic_input",
    "value_smaller_than_min",
    "value_bigger_than_max",
    "value_not_in_list",
    "custom_validation_failed",
    "exception_during_validation",
    "dependency_cycle",
]
"""What can be wrong, as the wire calls it. docs/errors.md says of each what it means."""


class Complaint(NamedTuple):
    """What a node's own check has against one of its inputs."""

    input_name: str
    reason: str
    code: ProblemCode = "custom_validation_failed"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a workflow.

    Attributes:
        code: the wire's name of the kind (`"value_bigger_than_max"`). reason: the rest of the sentence.
        given: the offending value. dependent_outputs: ids of the output nodes that cannot run because of it.
        models: the models folder in which a named file is missing, if that is the problem.
        details: further facts for the wire (`received_type`, `linked_node`, `cycle_nodes`).
    """

    code: ProblemCode
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
