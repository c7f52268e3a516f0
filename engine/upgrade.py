"""Workflows that older versions of nodes saved: renamed nodes get their new name, old inputs become new ones.

A node says beside its declaration what it was called before (`was=`) and how the inputs of each older version become
those of the next (`upgrades={1: from_1}`). Which version saved a node stands in its `_meta` as `version`; a document
that does not say was saved by version 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .node import NodeSpec
from .registry import Registry
from .workflow import Workflow, WorkflowNode


def upgraded(workflow: Workflow, registry: Registry, *, is_document: bool = True) -> Workflow:
    """The workflow with all its nodes as they are declared now, and their versions noted.

    What was changed is in `upgrades` of the result, what could not be in its `problems`. Linear in the graph's size.

    Args:
        is_document: it comes from a file. Else a client made it from the present declarations: a node that does not say
            its version has the present one, unless it has an old name.
    """
    upgrade = _Upgrade(registry, is_document)
    nodes = {node_id: upgrade.node(node_id, node) for node_id, node in workflow.nodes.items()}
    if not upgrade.sentences and not upgrade.problems and all(nodes[key] is workflow.nodes[key] for key in nodes):
        return workflow
    changes: dict[str, Any] = {"nodes": nodes, "upgrades": [*workflow.upgrades, *upgrade.sentences]}
    return workflow.model_copy(update={**changes, "problems": [*workflow.problems, *upgrade.problems]})


class _Upgrade:
    def __init__(self, registry: Registry, is_document: bool) -> None:
        self._registry, self._is_document = registry, is_document
        self.sentences: list[str] = []
        self.problems: list[str] = []

    def node(self, node_id: str, node: WorkflowNode) -> WorkflowNode:
        """A node as it is declared now; the same object when nothing is to be changed."""
        spec = self._registry.get(node.class_type) or self._registry.renamed(node.class_type)
        if spec is None:
            return node
        is_renamed = spec.name != node.class_type
        absent = 1 if self._is_document or is_renamed else spec.version
        saved = _recorded(node.meta) or absent
        place = f"Node {node_id} ({node.class_type})"
        if saved > spec.version:
            self.sentences.append(
                f"{place} was saved by version {saved} of the node, and this is version {spec.version}: it may give "
                f"other results; update plugin '{spec.plugin}'."
            )
            return node
        inputs = self._inputs(place, node, spec, saved)
        if is_renamed or saved < spec.version:
            since = f"from version {saved} to {spec.version}" if saved < spec.version else "to its new name"
            named = f", which is called {spec.name} now," if is_renamed else ""
            self.sentences.append(f"{place}{named} was upgraded {since}.")
        meta = self._meta(node.meta, spec)
        if inputs is node.inputs and meta == node.meta and not is_renamed:
            return node
        return WorkflowNode(class_type=spec.name, inputs=inputs, _meta=meta)

    def _inputs(self, place: str, node: WorkflowNode, spec: NodeSpec, saved: int) -> dict[str, Any]:
        inputs = node.inputs
        for version in range(saved, spec.version):
            step = spec.upgrades.get(version)
            if step is None:
                continue
            try:
                inputs = dict(step(dict(inputs)))
            except Exception as error:
                hint = "" if _recorded(node.meta) else (
                    f'; if it is of version {spec.version}, write "_meta": {{"version": {spec.version}}} into it'
                )  # fmt: skip
                self.problems.append(
                    f"{place}: its inputs of version {version} cannot become those of version {version + 1} "
                    f"({type(error).__name__}: {error}){hint}."
                )
                return node.inputs
        return inputs

    def _meta(self, meta: Mapping[str, Any], spec: NodeSpec) -> dict[str, Any]:
        # Clients get back what they submitted; only a version, without which it could not be read again, is added.
        provider = self._registry.providers.get(spec.plugin) if self._is_document else None
        noted = {
            **({"version": spec.version} if spec.version > 1 else {}),
            **({"plugin": provider} if provider else {}),
        }
        kept = {name: value for name, value in meta.items() if name != "version"}
        return {**kept, **noted}


def _recorded(meta: Mapping[str, Any]) -> int | None:
    version = meta.get("version")
    return version if isinstance(version, int) and not isinstance(version, bool) and version >= 1 else None
