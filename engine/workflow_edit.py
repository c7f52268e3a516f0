"""Changed copies of a workflow. The editor's document is changed alike, so that a picture's own file makes it again."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .errors import WorkflowError
from .workflow import Place, Workflow, wrap_value

Changes = Mapping[tuple[str, str], Any]


def with_inputs(workflow: Workflow, changes: Changes) -> Workflow:
    """A copy with other constants: (node id, input name) -> value. What was a link is one no more.

    The editor's document stays as it is; see `with_values`. Only the changed nodes are copied.

    Raises:
        WorkflowError: there is no node with such an id.
    """
    nodes = dict(workflow.nodes)
    for (node_id, name), value in changes.items():
        if node_id not in nodes:
            raise WorkflowError(f"There is no node {node_id} in the workflow, so its input '{name}' cannot be set.")
        nodes[node_id] = replace(nodes[node_id], inputs={**nodes[node_id].inputs, name: wrap_value(value)})
    return workflow.model_copy(update={"nodes": nodes})


def with_values(workflow: Workflow, changes: Changes) -> Workflow:
    """A copy with other constants, in the graph and in the editor's document.

    Where the document cannot say the same (the input was linked, or the value is shared with an instance that keeps the
    old one), the copy has no document: pictures then carry the graph alone, which is always true.

    Raises:
        WorkflowError: there is no node with such an id.
    """
    changed = with_inputs(workflow, changes)
    if workflow.ui is None:
        return changed
    return changed.model_copy(update={"ui": _changed_document(workflow, changes)})


def _changed_document(workflow: Workflow, changes: Changes) -> dict[str, Any] | None:
    assert workflow.ui is not None
    values: dict[Place, Any] = {}
    for (node_id, name), value in changes.items():
        place = workflow.places.get(node_id, {}).get(name)
        if place is None or (place in values and values[place] != value):
            return None
        values[place] = value
    for node_id, places in workflow.places.items():
        for name, place in places.items():
            if place in values and (node_id, name) not in changes:
                return None
    document = _Copy(workflow.ui)
    for place, value in values.items():
        document.set(place, value)
    return document.root


class _Copy:
    """A copy of a JSON document in which only what is changed is copied."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.root = dict(document)
        self._copied: dict[tuple[str | int, ...], Any] = {(): self.root}

    def set(self, place: Place, value: Any) -> None:
        node = self._at(place.path)
        by_position = isinstance(node.get("widgets_values"), list) and isinstance(place.key, int)
        if by_position or _has(node.get("widgets_values"), place.key):
            self._at((*place.path, "widgets_values"))[place.key] = value
        if _has(node.get("widgets_values_named"), place.name):
            self._at((*place.path, "widgets_values_named"))[place.name] = value

    def _at(self, path: tuple[str | int, ...]) -> Any:
        if path not in self._copied:
            holder = self._at(path[:-1])
            holder[path[-1]] = self._copied[path] = copy.copy(holder[path[-1]])
        return self._copied[path]


def _has(values: object, name: object) -> bool:
    return isinstance(values, dict) and name in values
