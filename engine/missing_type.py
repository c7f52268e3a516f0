"""The node types of a workflow that are not there, and where they could come from, in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from .registry import Registry
from .sentence import suggestion
from .workflow import Workflow, WorkflowNode

NOTES = ("plugin", "cnr_id", "aux_id")
"""Keys of a node's `_meta` by which workflows note who provides it."""
_PLACE = re.compile(r"Node (\S+) \(")


class MissingType(NamedTuple):
    """A node whose type is not there. `node_id` is None where the reason is a whole sentence that names the node."""

    node_id: str | None
    reason: str
    node_type: str = ""


def missing_types(
    workflow: Workflow, registry: Registry, near: Callable[[str, Collection[str]], str | None]
) -> Iterator[MissingType]:
    """One for each node, and one for each sentence of a conversion.

    What a conversion said of a node stands, unless it is known here who has the node.

    Args:
        near: finds the name that was meant.
    """
    missing = {node.class_type for node in workflow.nodes.values()}.difference(registry.names)
    providers = {node_type: registry.find_provider(node_type) for node_type in missing}
    said: set[str] = set()
    for sentence in workflow.problems:
        place = _PLACE.match(sentence)
        node = workflow.nodes.get(place[1]) if place else None
        if place is None or node is None or providers.get(node.class_type) is None:
            said.add(place[1] if place else "")
            yield MissingType(None, sentence.rstrip("."))
    for node_id, node in workflow.nodes.items() if missing else ():
        if node.class_type in missing and node_id not in said:
            hint = providers[node.class_type] or _otherwise(node, registry, near)
            yield MissingType(node_id, f"there is no node type '{node.class_type}'; {hint}", node.class_type)


def _otherwise(node: WorkflowNode, registry: Registry, near: Callable[[str, Collection[str]], str | None]) -> str:
    """What helps where no plugin that was found has the node."""
    noted = next((pack for key in NOTES if isinstance(pack := node.meta.get(key), str) and pack), None)
    if noted is not None:
        return f"the workflow says that '{noted}' provides it: install that"
    return suggestion(near(node.class_type, registry.names), "install the plugin that provides it")
