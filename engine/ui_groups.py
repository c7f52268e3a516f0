"""Group nodes, the forerunners of subgraphs (`workflow>NAME`, before that `workflow/NAME`), read as subgraphs.

A group's definition is a list of nodes and of links between them by index. Whatever these links leave open is shown on
the group node: inputs and widgets by name, outputs by position. Two open inputs of one name are told apart by the title
of their node in front of the name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .ui_document import PRIMITIVE, SUBGRAPH_INPUT, UiGraph, UiInput, UiLink, UiNode, read_node, read_slot
from .ui_promotion import InstanceValues
from .ui_widgets import WidgetSpec, primitive_layout, stored_widgets
from .workflow import Place

PREFIXES = ("workflow>", "workflow/")


@dataclass(slots=True, eq=False)
class GroupGraph(UiGraph):
    """The inside of a group node.

    Attributes:
        layout: the widgets that the group node shows, under the names it shows them by.
        targets: shown name -> inner node id and widget name.
    """

    layout: list[WidgetSpec] = field(default_factory=list)
    targets: dict[str, tuple[str, str]] = field(default_factory=dict)


def group_name(node_type: str) -> str | None:
    """The name of the group that a node type stands for; None for other types."""
    return next((node_type[len(prefix) :] for prefix in PREFIXES if node_type.startswith(prefix)), None)


def group_graph(name: str, raw: Mapping[str, Any], layout_of: Callable[[UiNode], Sequence[WidgetSpec]]) -> GroupGraph:
    """Read the definition of a group node; `layout_of` gives the widgets of an inner node."""
    graph = GroupGraph(name)
    raw_nodes = raw.get("nodes")
    for index, raw_node in enumerate(raw_nodes if isinstance(raw_nodes, list) else []):
        path = ("extra", "groupNodes", name, "nodes", index)
        node = read_node(raw_node, path, str(index)) if isinstance(raw_node, dict) else None
        if node is not None:
            graph.nodes[node.id] = node
    used = _connect(graph, raw.get("links"))
    shown = _Shown(graph, raw)
    for node in graph.nodes.values():
        shown.add_widgets(node, layout_of(node))
        shown.add_sockets(node)
        shown.add_outputs(node, used)
    return graph


def group_values(node: UiNode, graph: GroupGraph) -> InstanceValues:
    """The values that a group node stores for the widgets inside it."""
    values = InstanceValues()
    stored = stored_widgets(node, graph.layout)
    for name, (value, key) in stored.values.items():
        inner_id, widget = graph.targets[name]
        if key is not None:
            values.hold(inner_id, widget, value, Place(node.path, key, name), stored.controls.get(name))
    return values


def _connect(graph: GroupGraph, raw_links: Any) -> set[tuple[str, int]]:
    """Wire the inner nodes together; return the output slots that are used inside."""
    for node in graph.nodes.values():
        for socket in node.inputs:
            socket.link = None  # a leftover of the canvas that the group was made from
    used = set()
    for index, raw in enumerate(_lists(raw_links)):
        slots = [slot for slot in map(read_slot, raw[:4]) if slot is not None]
        if len(slots) < 4:
            continue
        origin, origin_slot, target, target_slot = slots
        inner = graph.nodes.get(str(target))
        if inner is not None and target_slot < len(inner.inputs):
            inner.inputs[target_slot].link = f"inner {index}"
            graph.links[f"inner {index}"] = UiLink(str(origin), origin_slot)
            used.add((str(origin), origin_slot))
    return used


class _Shown:
    """Decides what a group node shows of its inner nodes, in the order in which they are added."""

    def __init__(self, graph: GroupGraph, raw: Mapping[str, Any]) -> None:
        self.graph = graph
        self.config = _object(raw.get("config"))
        self.external = {tuple(map(read_slot, entry[:2])) for entry in _lists(raw.get("external"))}
        self.counts: dict[str, int] = {}

    def add_widgets(self, node: UiNode, layout: Sequence[WidgetSpec]) -> None:
        is_primitive = node.type == PRIMITIVE
        for spec in primitive_layout(node) if is_primitive else layout:
            socket = next((socket for socket in node.inputs if spec.name in (socket.widget, socket.name)), None)
            if spec.is_forced or (socket is not None and socket.link is not None):
                continue
            shown = self._name(node, spec.name, None)
            if shown is None:
                continue
            self.graph.layout.append(replace(spec, name=shown))
            self.graph.targets[shown] = (node.id, spec.name)
            if socket is None and not is_primitive:
                socket = UiInput(spec.name, spec.kind, widget=spec.name)
                node.inputs.append(socket)
            if socket is not None:
                self._open(socket, shown)

    def add_sockets(self, node: UiNode) -> None:
        for socket in node.inputs:
            shown = self._name(node, socket.name, socket.type) if socket.link is None and not socket.widget else None
            if shown is not None:
                self._open(socket, shown)

    def add_outputs(self, node: UiNode, used: set[tuple[str, int]]) -> None:
        hidden = _object(_object(self.config.get(node.id)).get("output"))
        for slot in range(len(node.output_types)):
            is_inner = (node.id, slot) in used and (int(node.id), slot) not in self.external
            if not is_inner and _object(hidden.get(str(slot))).get("visible") is not False:
                self.graph.output_links[len(self.graph.output_links)] = UiLink(node.id, slot)

    def _open(self, socket: UiInput, shown: str) -> None:
        slot = len(self.graph.inputs)
        self.graph.inputs.append(shown)
        socket.link = f"open {slot}"
        self.graph.links[socket.link] = UiLink(SUBGRAPH_INPUT, slot)

    def _name(self, node: UiNode, name: str, unnamed: str | None) -> str | None:
        """The name an input is shown by; None when the group hides it."""
        settings = _object(_object(_object(self.config.get(node.id)).get("input")).get(name))
        if settings.get("visible") is False:
            return None
        key = shown = str(settings.get("name") or name or unnamed)
        if shown in self.counts or (node.type == PRIMITIVE and node.title):
            front = node.title or node.type
            key = shown = f"{front} {name}"
            if key in self.counts:
                shown = f"{front} {self.counts[key]} {name}"
        self.counts[key] = self.counts.get(key, 1) + 1
        return shown


def _object(given: object) -> dict[str, Any]:
    return given if isinstance(given, dict) else {}


def _lists(given: object) -> list[list[Any]]:
    return [entry for entry in given if isinstance(entry, list)] if isinstance(given, list) else []
