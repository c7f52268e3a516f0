"""Lays a graph in API format out on an editor's canvas: the way back from `ui_format`.

A node stands to the right of all that it takes values from. Sizes are estimates in the canvas's units; editors make a
node larger where its contents need it.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from .link_graph import LinkGraph
from .ui_widgets import MISSING, WidgetSpec, added_widgets, declared_inputs, widget_layout
from .workflow import Link, Workflow, WorkflowNode, as_link, unwrap_value

Definitions = Mapping[str, Mapping[str, Any]]

_ROW, _WIDGET, _PICTURE, _TEXT = 20, 24, 260, 100
"""Heights: of a socket, of a widget, of the picture that an output node shows, of a text of several lines."""
_TITLE, _WIDTH, _TEXT_WIDTH, _GAP = 40, 300, 380, 50


def lay_out(workflow: Workflow, definitions: Definitions) -> dict[str, Any]:
    """A document (version 0.4) of a graph, which `convert_ui` reads as the same graph.

    Ids that are no whole numbers are replaced by new ones. Constants of inputs that have no widget are left out.

    Raises:
        networkx.NetworkXUnfeasible: the links form a circle.
    """
    nodes, ids = workflow.nodes, _whole_ids(workflow)
    columns = _columns(workflow)
    order = [node_id for column in columns for node_id in column]
    links = _Links(workflow, definitions, ids)
    drawn = {node_id: _drawn(nodes[node_id], definitions.get(nodes[node_id].class_type, {})) for node_id in order}
    for place, node_id in enumerate(order):
        drawn[node_id].update(id=ids[node_id], order=place)
        drawn[node_id]["inputs"] = links.into(node_id)
    for node_id in order:
        drawn[node_id]["outputs"] = links.out_of(node_id)
        drawn[node_id]["size"] = _size(drawn[node_id], definitions.get(nodes[node_id].class_type, {}))
    _place([[drawn[node_id] for node_id in column] for column in columns])
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, repr(workflow.to_api()))),
        "revision": 0,
        "last_node_id": max(ids.values(), default=0),
        "last_link_id": len(links.written),
        "nodes": list(drawn.values()),
        "links": links.written,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def _whole_ids(workflow: Workflow) -> dict[str, int]:
    whole = {node_id: int(node_id) for node_id in workflow.nodes if node_id.isascii() and node_id.isdigit()}
    # "7" and "07" are two nodes; the second gets a new id like those that are no numbers.
    kept = {number: node_id for node_id, number in reversed(whole.items())}
    free = (number for number in count(1) if number not in kept)
    return {
        node_id: whole[node_id] if kept.get(whole.get(node_id, -1)) == node_id else next(free)
        for node_id in workflow.nodes
    }


def _columns(workflow: Workflow) -> list[list[str]]:
    """The node ids from left to right, each right of all that it takes values from, in the order of the document."""
    nodes = workflow.nodes
    edges = [(link.node_id, node_id) for node_id, node in nodes.items() for link in _links_of(node, workflow).values()]
    place = {node_id: index for index, node_id in enumerate(nodes)}
    return [sorted(column, key=place.__getitem__) for column in LinkGraph(nodes, edges).generations()]


def _links_of(node: WorkflowNode, workflow: Workflow) -> dict[str, Link]:
    found = {name: as_link(value) for name, value in node.inputs.items()}
    return {name: link for name, link in found.items() if link is not None and link.node_id in workflow.nodes}


class _Links:
    """The links of a document in the making, and the sockets at their ends."""

    def __init__(self, workflow: Workflow, definitions: Definitions, ids: Mapping[str, int]) -> None:
        self.written: list[list[Any]] = []
        self._workflow, self._definitions, self._ids = workflow, definitions, ids
        self._from: dict[Link, list[int]] = {}

    def into(self, node_id: str) -> list[dict[str, Any]]:
        """The input sockets of a node: all that have no widget, and those of widgets that are linked."""
        node = self._workflow.nodes[node_id]
        definition = self._definitions.get(node.class_type, {})
        links, declared = _links_of(node, self._workflow), dict(declared_inputs(definition))
        widgets = {spec.name for spec in _widgets(node, definition)}
        names = [name for name in {**declared, **links} if name in links or name not in widgets]
        return [
            self._socket(node_id, slot, name, links.get(name), declared.get(name), is_widget=name in widgets)
            for slot, name in enumerate(names)
        ]

    def _socket(
        self, node_id: str, slot: int, name: str, link: Link | None, spec: Any, *, is_widget: bool
    ) -> dict[str, Any]:
        declared = spec[0] if spec else (self._output_types(link.node_id)[link.slot :] or ["*"])[0] if link else "*"
        kind = declared if isinstance(declared, str) else "COMBO"
        socket: dict[str, Any] = {"name": name, "type": kind, "link": None}
        if is_widget:
            socket["widget"] = {"name": name}
        if link is not None:
            socket["link"] = len(self.written) + 1
            self._from.setdefault(link, []).append(socket["link"])
            ends = [self._ids[link.node_id], link.slot, self._ids[node_id], slot]
            self.written.append([socket["link"], *ends, kind])
        return socket

    def out_of(self, node_id: str) -> list[dict[str, Any]]:
        """The output sockets of a node, once all links are written."""
        definition = self._definitions.get(self._workflow.nodes[node_id].class_type, {})
        names = definition.get("output_name") or []
        return [
            {"name": name, "type": kind, "links": self._from.get(Link(node_id, slot), []), "slot_index": slot}
            for slot, (name, kind) in enumerate(zip(names, self._output_types(node_id), strict=False))
        ]

    def _output_types(self, node_id: str) -> list[str]:
        outputs = self._definitions.get(self._workflow.nodes[node_id].class_type, {}).get("output") or []
        return [kind if isinstance(kind, str) else "COMBO" for kind in outputs]


def _drawn(node: WorkflowNode, definition: Mapping[str, Any]) -> dict[str, Any]:
    drawn = {
        "type": node.class_type,
        "flags": {},
        "mode": 0,
        "properties": {"Node name for S&R": node.class_type},
        "widgets_values": list(_values(node, definition)),
    }
    return drawn if node.title == node.class_type else {**drawn, "title": node.title}


def _widgets(node: WorkflowNode, definition: Mapping[str, Any]) -> Iterator[WidgetSpec]:
    """The widgets of a node in the order of their values; those that a choice brings come behind it."""
    waiting = deque(spec for spec in widget_layout(definition) if not spec.is_forced)
    while waiting:
        spec = waiting.popleft()
        yield spec
        waiting.extendleft(reversed(added_widgets(spec, node.inputs.get(spec.name, spec.default))))


def _values(node: WorkflowNode, definition: Mapping[str, Any]) -> Iterator[Any]:
    for spec in _widgets(node, definition):
        given = node.inputs.get(spec.name)
        # A widget whose socket is linked has a value all the same.
        value = spec.default if given is None or as_link(given) is not None else unwrap_value(given)
        yield None if value is MISSING else value
        yield from ("fixed", "")[: spec.extras]


def _size(drawn: Mapping[str, Any], definition: Mapping[str, Any]) -> list[int]:
    options = [spec[1] for _, spec in declared_inputs(definition) if len(spec) > 1]
    texts = sum(bool(given.get("multiline")) for given in options)
    rows = max(len(drawn["inputs"]), len(drawn["outputs"])) * _ROW
    shown = _PICTURE if definition.get("output_node") else 0
    height = _TITLE + rows + len(drawn["widgets_values"]) * _WIDGET + texts * _TEXT + shown
    return [_TEXT_WIDTH if texts else _WIDTH, height]


def _place(columns: list[list[dict[str, Any]]]) -> None:
    left = 0
    for column in columns:
        top = 0
        for node in column:
            node["pos"] = [left, top]
            top += node["size"][1] + _GAP
        left += max(node["size"][0] for node in column) + _GAP
