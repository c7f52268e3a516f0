"""Conversion of an editor's document (UI format 0.4 and 1.0) into a graph in API format.

The document is read (`ui_document`), its subgraphs and group nodes are unfolded (`ui_subgraphs`, `ui_groups`), and each
node that takes part is written out with the values of its widgets (`ui_widgets`, `ui_promotion`) and with its links
followed to where they really come from (`ui_links`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .ui_document import PRIMITIVE, UiDocument, UiGraph, UiNode, is_ui_document, read_document
from .ui_groups import GroupGraph, group_graph, group_name
from .ui_links import REROUTES, LinkResolver
from .ui_promotion import HeldValue
from .ui_subgraphs import Scope, unfold
from .ui_widgets import WidgetSpec, read_widgets, widget_layout
from .workflow import Link, Place, Workflow, WorkflowNode, as_link, wrap_value

__all__ = ["convert_ui", "is_ui_document"]

Definitions = Mapping[str, Mapping[str, Any]]

# Drawn by the editor only. Reroutes are followed and primitives written into what they feed.
NOTES = frozenset({"Note", "MarkdownNote"})
_VIRTUAL = NOTES | REROUTES | {PRIMITIVE}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PACK_KEYS = ("cnr_id", "aux_id", "ver")


def convert_ui(document: dict[str, Any], definitions: Definitions) -> Workflow:
    """Convert an editor's document into a workflow in API format.

    `definitions` are node types as editors get them (`object_info`): class_type -> DEF. They say which inputs are
    widgets and in which order their values are stored. Linear in the size of the unfolded document; deterministic.

    A node of an unknown type is kept, so that the graph stays whole, and reported in `problems` of the result; one
    that is linked to nothing is decoration and only noted in `warnings`.

    Raises:
        WorkflowError: the document is no workflow, or its subgraphs unfold into too much.
    """
    return _Conversion(document, definitions).run()


class _Conversion:
    def __init__(self, document: dict[str, Any], definitions: Definitions) -> None:
        self.definitions = definitions
        self.source: UiDocument = read_document(document)
        self.result = Workflow.model_construct(ui=document)
        self.result.warnings.extend(self.source.warnings)
        self.links = LinkResolver()
        self._groups: dict[str, GroupGraph] = {}
        self._layouts: dict[tuple[str, frozenset[str]], tuple[WidgetSpec, ...]] = {}

    def run(self) -> Workflow:
        for scope in unfold(self.source.root, self.definition_of, self.result.problems):
            for node in scope.graph.nodes.values():
                if node.is_active and node.type not in _VIRTUAL and self.definition_of(node) is None:
                    self.write(scope, node)
        _prune(self.result.nodes)
        return self.result

    def definition_of(self, node: UiNode) -> UiGraph | None:
        """The graph that a node is an instance of; None for an ordinary node."""
        if node.type in self.source.subgraphs:
            return self.source.subgraphs[node.type]
        name = group_name(node.type)
        if name is None or name not in self.source.group_nodes:
            return None
        if name not in self._groups:
            self._groups[name] = group_graph(name, self.source.group_nodes[name], self.layout_of)
        return self._groups[name]

    def layout_of(self, node: UiNode) -> tuple[WidgetSpec, ...]:
        """The widgets of a node; none when its type is unknown."""
        definition = self.definitions.get(node.type)
        if definition is None:
            return ()
        key = (node.type, frozenset(socket.widget for socket in node.inputs if socket.widget is not None))
        if key not in self._layouts:
            self._layouts[key] = widget_layout(definition, key[1])
        return self._layouts[key]

    def write(self, scope: Scope, node: UiNode) -> None:
        """Add a node to the result."""
        if node.type not in self.definitions and self._is_left_out(scope, node):
            return
        widgets = self._widgets(node)
        inputs: dict[str, Link | HeldValue] = {**widgets, **scope.values.inner.get(node.id, {})}
        for socket in node.inputs:
            origin = self.links.resolve(scope, node, socket) if socket.link is not None else None
            if origin is not None:
                inputs[socket.name] = origin
        node_id = scope.prefix + node.id
        written = {name: _api_value(origin) for name, origin in inputs.items()}
        self.result.nodes[node_id] = WorkflowNode(class_type=node.type, inputs=written, _meta=self._meta(node))
        self._note_origins(node_id, inputs, widgets)

    def _widgets(self, node: UiNode) -> dict[str, HeldValue]:
        """The values of a node's own widgets, by name."""
        if node.type not in self.definitions:
            named = node.values if isinstance(node.values, dict) else node.named_values
            return {name: HeldValue(value) for name, value in named.items()}
        stored = read_widgets(node, self.layout_of(node))
        return {
            name: HeldValue(value, None if key is None else Place(node.path, key, name), stored.controls.get(name))
            for name, (value, key) in stored.values.items()
        }

    def _note_origins(
        self, node_id: str, inputs: Mapping[str, Link | HeldValue], widgets: Mapping[str, HeldValue]
    ) -> None:
        places: dict[str, Place] = {}
        controls: dict[str, str] = {}
        for name, held in inputs.items():
            if not isinstance(held, HeldValue):
                continue
            # What an instance says of a seed is moved on by the control of the seed's own widget.
            control = held.control or (widgets[name].control if name in widgets else None)
            if held.place is not None:
                places[name] = held.place
            if control is not None:
                controls[name] = control
        if places:
            self.result.places[node_id] = places
        if controls:
            self.result.controls[node_id] = controls

    def _is_left_out(self, scope: Scope, node: UiNode) -> bool:
        """Report a node of an unknown type; whether it is mere decoration."""
        name = f"Node {scope.prefix}{node.id} ({node.type}{f' “{node.title}”' if node.title else ''})"
        if not node.has_linked_output and all(socket.link is None for socket in node.inputs):
            self.result.warnings.append(f"{name} is of an unknown type and linked to nothing; it was left out.")
            return True
        self.result.problems.append(f"{name}: {_why_unknown(node)}.")
        return False

    def _meta(self, node: UiNode) -> dict[str, Any]:
        display_name = self.definitions.get(node.type, {}).get("display_name")
        packs = {key: node.properties[key] for key in _PACK_KEYS if isinstance(node.properties.get(key), str)}
        version = node.properties.get("version")
        saved = {"version": version} if isinstance(version, int) else {}
        return {"title": node.title or display_name or node.type, **packs, **saved}


def _why_unknown(node: UiNode) -> str:
    if _UUID.fullmatch(node.type):
        return "the subgraph that it stands for is not in the file; save the file again from the editor"
    if group_name(node.type) is not None:
        return f"the file has no definition of the group '{group_name(node.type)}'; save it again from the editor"
    pack = node.properties.get("cnr_id") or node.properties.get("aux_id")
    brings = f"the pack that brings it ({pack})" if isinstance(pack, str) else "the pack that brings it"
    return f"there is no node type '{node.type}'; install {brings}, or mute or bypass the node"


def _api_value(origin: Link | HeldValue) -> Any:
    return [origin.node_id, origin.slot] if isinstance(origin, Link) else wrap_value(origin.value)


def _prune(nodes: Mapping[str, WorkflowNode]) -> None:
    """Take out links to nodes that are not in the result."""
    for node in nodes.values():
        links = {name: as_link(value) for name, value in node.inputs.items()}
        for name in [name for name, link in links.items() if link is not None and link.node_id not in nodes]:
            del node.inputs[name]
