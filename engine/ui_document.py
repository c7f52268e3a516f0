"""The editor's document (UI format 0.4 and 1.0) read into typed pieces.

Saved files are full of leftovers, so the reading forgives: an entry that cannot be used is left out, ids may be
integers or strings, both shapes of link are taken anywhere. What a link says of its target is never trusted: an input's
link is the one whose id the input itself names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .errors import WorkflowError
from .workflow import is_nested

MAX_DOCUMENT_DEPTH = 100
MUTED = 2
BYPASSED = 4
SUBGRAPH_INPUT = "-10"
SUBGRAPH_OUTPUT = "-20"
ANY_TYPE = "*"
PRIMITIVE = "PrimitiveNode"


@dataclass(slots=True)
class UiInput:
    """A socket on the left of a node. `widget` names the widget that it is the socket of, if it is one's."""

    name: str
    type: str
    link: str | None = None
    widget: str | None = None


@dataclass(slots=True, eq=False)
class UiNode:
    """A node as drawn in the editor.

    Attributes:
        mode: 0 runs, 2 is muted, 4 is bypassed; anything else counts as 0.
        values: `widgets_values`, by position or by name. named_values: `widgets_values_named`.
        path: keys and indexes that lead from the document's root to the node.
    """

    id: str
    type: str
    path: tuple[str | int, ...]
    title: str | None = None
    mode: int = 0
    order: float = 0.0
    inputs: list[UiInput] = field(default_factory=list)
    output_types: list[str] = field(default_factory=list)
    has_linked_output: bool = False
    values: list[Any] | dict[str, Any] | None = None
    named_values: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)

    @property
    def is_active(self) -> bool:
        """Whether the node takes part as itself, neither muted nor bypassed."""
        return self.mode not in (MUTED, BYPASSED)


class UiLink(NamedTuple):
    """Where a link comes from, and the type of its origin as the editor noted it."""

    origin_id: str
    origin_slot: int
    type: str = ANY_TYPE


@dataclass(slots=True, eq=False)
class UiGraph:
    """The nodes and links of one canvas: the document itself, or the definition of a subgraph.

    Attributes:
        links: by link id. rivals: by link id and target, where several links share an id.
        inputs: names of a subgraph's inputs, by slot. output_links: what feeds a subgraph's outputs, by slot.
        promoted: the subgraph inputs whose value is shown as a widget on each instance, in order.
    """

    name: str = ""
    nodes: dict[str, UiNode] = field(default_factory=dict)
    links: dict[str, UiLink] = field(default_factory=dict)
    rivals: dict[tuple[str, str], UiLink] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    output_links: dict[int, UiLink] = field(default_factory=dict)
    promoted: list[str] = field(default_factory=list)

    def link_into(self, node_id: str, link_id: str | None) -> UiLink | None:
        """The link that an input of a node names; None when the input is not linked or the link is gone."""
        if link_id is None:
            return None
        return self.rivals.get((link_id, node_id)) or self.links.get(link_id)


@dataclass(slots=True, eq=False)
class UiDocument:
    """A whole document: its root canvas, its subgraph definitions by id, its group node definitions by name."""

    root: UiGraph
    subgraphs: dict[str, UiGraph] = field(default_factory=dict)
    group_nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def is_ui_document(document: Mapping[str, Any]) -> bool:
    """Whether a JSON object is an editor's document and not a graph in API format."""
    return isinstance(document.get("nodes"), list)


def read_document(document: Mapping[str, Any]) -> UiDocument:
    """Read an editor's document, version 0.4 or 1.0. Linear in its size.

    Raises:
        WorkflowError: it has no list of nodes, or its values are nested beyond reason.
    """
    if not is_ui_document(document):
        raise WorkflowError("The document has no list of nodes, so it is no workflow of an editor.")
    if is_nested(document, MAX_DOCUMENT_DEPTH):
        raise WorkflowError(f"The document is nested more than {MAX_DOCUMENT_DEPTH} levels deep; flatten its values.")
    warnings: list[str] = []
    read = UiDocument(_read_graph(document, (), warnings), warnings=warnings)
    for raw, path in _subgraph_definitions(document):
        read.subgraphs.setdefault(str(raw.get("id")), _read_graph(raw, path, warnings))
    groups = _object(_object(document.get("extra")).get("groupNodes"))
    read.group_nodes = {name: raw for name, raw in groups.items() if isinstance(raw, dict)}
    return read


def read_node(raw: Mapping[str, Any], path: tuple[str | int, ...], node_id: str | None = None) -> UiNode | None:
    """Read one node; None when it has no id or no type."""
    node_id = node_id or _key(raw.get("id"))
    node_type = raw.get("type")
    if node_id is None or not isinstance(node_type, str) or not node_type:
        return None
    title, values, outputs = raw.get("title"), raw.get("widgets_values"), _objects(raw.get("outputs"))
    order = raw.get("order")
    return UiNode(
        id=node_id,
        type=node_type,
        path=path,
        title=title if isinstance(title, str) and title else None,
        mode=read_slot(raw.get("mode")) or 0,
        order=order if isinstance(order, (int, float)) else 0.0,
        inputs=[_read_input(socket) for socket in _objects(raw.get("inputs"))],
        output_types=[socket_type(output.get("type")) for output in outputs],
        has_linked_output=any(output.get("links") for output in outputs),
        values=values if isinstance(values, (list, dict)) else None,
        named_values=_object(raw.get("widgets_values_named")),
        properties=_object(raw.get("properties")),
    )


def socket_type(given: object) -> str:
    """The type of a socket as one string: an old combo's list of options is COMBO; 0, -1 and nothing mean any type."""
    if isinstance(given, list):
        return "COMBO"
    return given if isinstance(given, str) and given else ANY_TYPE


def read_link(raw: object) -> tuple[str, UiLink, str, int] | None:
    """Read a link in either shape: its id, its origin, its target's id and slot."""
    if isinstance(raw, dict):
        keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        raw = [raw.get(key) for key in keys]
    if not isinstance(raw, list) or len(raw) < 5:
        return None
    link_id, origin_id, target_id = _key(raw[0]), _key(raw[1]), _key(raw[3])
    origin_slot = read_slot(raw[2])
    if link_id is None or origin_id is None or target_id is None or origin_slot is None:
        return None
    link = UiLink(origin_id, origin_slot, socket_type(raw[5] if len(raw) > 5 else None))
    target_slot = read_slot(raw[4])
    return link_id, link, target_id, -1 if target_slot is None else target_slot


def read_slot(given: object) -> int | None:
    """A slot's number; None for what is none. Files made by scripts hold `"0"` and `0.0`."""
    if isinstance(given, bool):
        return None
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    if isinstance(given, str) and given.isdecimal() and len(given) < 10:
        given = int(given)
    return given if isinstance(given, int) and given >= 0 else None


def _read_graph(raw: Mapping[str, Any], path: tuple[str | int, ...], warnings: list[str]) -> UiGraph:
    graph = UiGraph(str(raw.get("name") or ""))
    for node in sorted(_read_nodes(raw, path, warnings), key=lambda node: node.order):
        if node.id in graph.nodes:
            warnings.append(f"Two nodes have the id {node.id}; the second ({node.title or node.type}) was left out.")
        graph.nodes.setdefault(node.id, node)
    graph.inputs = [str(entry.get("name")) for entry in _objects(raw.get("inputs"))]
    _read_links(graph, raw)
    graph.promoted = _promoted(graph)
    return graph


def _read_nodes(raw: Mapping[str, Any], path: tuple[str | int, ...], warnings: list[str]) -> Iterator[UiNode]:
    for index, raw_node in enumerate(_list(raw.get("nodes"))):
        node = read_node(raw_node, (*path, "nodes", index)) if isinstance(raw_node, dict) else None
        if node is None:
            warnings.append(f"Entry {index} of the list of nodes has no id or no type; it was left out.")
        else:
            yield node


def _read_links(graph: UiGraph, raw: Mapping[str, Any]) -> None:
    listed = [{_key(link_id) for link_id in _list(entry.get("linkIds"))} for entry in _objects(raw.get("outputs"))]
    for raw_link in _list(raw.get("links")):
        read = read_link(raw_link)
        if read is None:
            continue
        link_id, link, target_id, target_slot = read
        if link_id in graph.links:
            graph.rivals[link_id, target_id] = link
        else:
            graph.links[link_id] = link
        if target_id == SUBGRAPH_OUTPUT and (
            target_slot not in graph.output_links or (target_slot < len(listed) and link_id in listed[target_slot])
        ):
            graph.output_links[target_slot] = link


def _promoted(graph: UiGraph) -> list[str]:
    slots = set()
    for node in graph.nodes.values():
        for socket in node.inputs:
            link = graph.link_into(node.id, socket.link) if socket.widget is not None else None
            if link is not None and link.origin_id == SUBGRAPH_INPUT:
                slots.add(link.origin_slot)
    return [name for slot, name in enumerate(graph.inputs) if slot in slots]


def _read_input(raw: Mapping[str, Any]) -> UiInput:
    widget = raw.get("widget")
    name = str(raw.get("name") or "")
    return UiInput(
        name=name,
        type=socket_type(raw.get("type")),
        link=_key(raw.get("link")),
        widget=str(widget.get("name") or name) if isinstance(widget, dict) else None,
    )


def _subgraph_definitions(document: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], tuple[str | int, ...]]]:
    """Every definition with its path; definitions may carry definitions of their own."""
    waiting: list[tuple[Mapping[str, Any], tuple[str | int, ...]]] = [(document, ())]
    while waiting:
        holder, path = waiting.pop()
        for index, raw in enumerate(_list(_object(holder.get("definitions")).get("subgraphs"))):
            if isinstance(raw, dict):
                place = (*path, "definitions", "subgraphs", index)
                yield raw, place
                waiting.append((raw, place))


def _key(given: object) -> str | None:
    """An id as a string: the format writes integers, newer editors strings; None for what is no id."""
    if isinstance(given, str):
        return given
    if isinstance(given, float) and given.is_integer():
        return str(int(given))
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else None


def _list(given: object) -> list[Any]:
    return given if isinstance(given, list) else []


def _objects(given: object) -> list[dict[str, Any]]:
    # An entry that is no object keeps its place, since slots are counted by position.
    return [entry if isinstance(entry, dict) else {} for entry in _list(given)]


def _object(given: object) -> dict[str, Any]:
    return given if isinstance(given, dict) else {}
