"""What a server says of a workflow that it does not run, as the problems that a local validation would have found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from mezzotint.engine.problem import Problem, ProblemCode
from mezzotint.engine.workflow import Workflow


def problems_of(body: Any, workflow: Workflow) -> list[Problem]:
    """The problems in the answer of `POST /prompt` (wire protocol §1.1): of its nodes, or else of the whole."""
    if not isinstance(body, Mapping):
        return []
    found = [*_of_nodes(body.get("node_errors"), workflow)]
    error = body.get("error")
    if found or not isinstance(error, Mapping):
        return found
    return [Problem(_code(error), str(error.get("message", "")).rstrip("."))]


def _of_nodes(node_errors: Any, workflow: Workflow) -> Iterator[Problem]:
    if not isinstance(node_errors, Mapping):
        return
    position = {node_id: index for index, node_id in enumerate(workflow.nodes)}
    for node_id in sorted(node_errors, key=lambda node_id: position.get(node_id, -1)):
        entry = node_errors[node_id]
        node = workflow.nodes.get(node_id)
        for error in entry.get("errors", ()):
            facts = error.get("extra_info") or {}
            yield Problem(
                code=_code(error),
                reason=str(error.get("message", "")).rstrip("."),
                node_id=node_id,
                node_type=str(entry.get("class_type", "")),
                title=node.title if node else "",
                input_name=facts.get("input_name"),
                given=facts.get("received_value"),
                dependent_outputs=tuple(entry.get("dependent_outputs", ())),
            )


def _code(error: Mapping[str, Any]) -> ProblemCode:
    """What a server calls an error; one of another version may have other names."""
    return cast(ProblemCode, str(error.get("type", "")))
