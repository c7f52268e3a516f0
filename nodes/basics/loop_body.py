"""What a loop repeats: pure functions on graphs in API format.

A loop is a pair of nodes. Its body are the nodes between them: those that need something of the RepeatBegin and that
the RepeatEnd needs. The first turn is the graph as it stands; `unroll` makes copies for the others, each fed with what
the turn before left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mezzotint.engine.errors import GraphError
from mezzotint.engine.workflow import as_link

BEGIN, END, REROUTE = "RepeatBegin", "RepeatEnd", "Reroute"
VALUES = ("value_1", "value_2", "value_3", "value_4")
FLOW_SLOT, INDEX_SLOT, FIRST_VALUE_SLOT = 0, 1, 2
"""Output slots of a RepeatBegin."""
MAX_COPIES = 1_000_000

Graph = Mapping[str, Any]
"""Nodes in API format by id."""
LinkPair = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Unrolled:
    """The turns of a loop after the first.

    Attributes:
        nodes: the copies, in API format. values: where each value of the loop comes from after the last turn.
    """

    nodes: dict[str, dict[str, Any]]
    values: tuple[list[Any], ...]


def begin_of(graph: Graph, end: str) -> str:
    """The RepeatBegin that a RepeatEnd belongs to: the one its flow comes from, Reroutes between them aside.

    Raises:
        GraphError: the flow comes from elsewhere.
    """
    link = as_link(_inputs(graph, end).get("flow"))
    while link is not None and _type(graph, link.node_id) == REROUTE:
        link = as_link(_inputs(graph, link.node_id).get("value"))
    if link is None or _type(graph, link.node_id) != BEGIN or link.slot != FLOW_SLOT:
        source = f"node {link.node_id} ({_type(graph, link.node_id)})" if link else "no node"
        raise GraphError(f"node {end} ({END}): its flow comes from {source}; link the flow of a {BEGIN} to it")
    return link.node_id


def body_of(graph: Graph, end: str) -> list[str]:
    """The nodes that a loop repeats, without its RepeatBegin and RepeatEnd, in an order that is always the same.

    A loop inside another is repeated whole, also when it begins with something that the outer loop does not change.
    Linear in the number of links that lead to the RepeatEnd.

    Raises:
        GraphError: a RepeatEnd in it has no RepeatBegin, or has the one of this loop.
    """
    begin = begin_of(graph, end)
    children = _children(graph, begin, end)
    body: dict[str, None] = {}
    pending = [begin]
    while pending:
        for child in children.get(pending.pop(), ()):
            if child in body:
                continue
            body[child] = None
            pending.append(child)
            if _type(graph, child) == END:
                inner = _inner_begin(graph, child, begin, end)
                if inner not in body:
                    body[inner] = None
                    pending.append(inner)
    return list(body)


def _inner_begin(graph: Graph, inner_end: str, begin: str, end: str) -> str:
    inner = begin_of(graph, inner_end)
    if inner == begin:
        raise GraphError(
            f"nodes {inner_end} and {end} ({END}) follow each other and share node {begin} ({BEGIN}); "
            f"give each loop a {BEGIN} of its own"
        )
    return inner


def _children(graph: Graph, begin: str, end: str) -> dict[str, list[str]]:
    """Parent → children, for all that the values of a RepeatEnd need, up to the RepeatBegin."""
    children: dict[str, list[str]] = {}
    pending = [link for link, _ in _links(graph, end, VALUES)]
    seen = set(pending)
    while pending:
        node_id = pending.pop()
        if node_id == begin:
            continue
        for parent, _ in _links(graph, node_id):
            children.setdefault(parent, []).append(node_id)
            if parent not in seen:
                seen.add(parent)
                pending.append(parent)
    return children


def unroll(graph: Graph, end: str, count: int, prefix: str) -> Unrolled:
    """Copies of a loop's body for the turns 1 to count − 1, and where its values are then found.

    With a count of 0 the values are the initial ones. A value that the RepeatEnd is not given stays as it began.
    Linear in count × body.

    Args:
        prefix: begins the ids of the copies, `{prefix}{turn}.{id of the original}`.

    Raises:
        GraphError: the pair does not fit together, or there would be more than a million copies.
    """
    turns = _Turns(graph, end, prefix)
    turns.check(count)
    for turn in range(count):
        turns.take(turn)
    return Unrolled(turns.nodes, tuple(list(link) for link in turns.carried))


class _Turns:
    """Makes the copies, turn by turn. `carried`: where the values at the beginning of the next turn come from."""

    def __init__(self, graph: Graph, end: str, prefix: str) -> None:
        self.graph, self.end, self.prefix = graph, end, prefix
        self.begin = begin_of(graph, end)
        self.body = body_of(graph, end)
        self.copied = frozenset(self.body)
        self.nodes: dict[str, dict[str, Any]] = {}
        self.carried: list[LinkPair] = [(self.begin, FIRST_VALUE_SLOT + i) for i in range(len(VALUES))]

    def check(self, count: int) -> None:
        copies = (count - 1) * len(self.body)
        if copies > MAX_COPIES:
            raise GraphError(
                f"node {self.begin} ({BEGIN}): {count} turns of {len(self.body)} nodes are {copies} steps; "
                f"allowed are {MAX_COPIES}; lower the count"
            )

    def take(self, turn: int) -> None:
        """Make the copies of a turn, and see what it leaves."""
        if turn > 0:
            for node_id in self.body:
                self.nodes[self.name(turn, node_id)] = self.copy(turn, node_id)
        given = _inputs(self.graph, self.end)
        self.carried = [
            self.left(turn, name, given[name]) if given.get(name) is not None else before
            for name, before in zip(VALUES, self.carried, strict=True)
        ]

    def name(self, turn: int, node_id: str) -> str:
        return f"{self.prefix}{turn}.{node_id}"

    def copy(self, turn: int, node_id: str) -> dict[str, Any]:
        node = self.graph[node_id]
        copied = {
            "class_type": node["class_type"],
            "inputs": {name: self.at(turn, value) for name, value in _inputs(self.graph, node_id).items()},
            "override_display_id": node.get("override_display_id", node_id),
        }
        return {**copied, "_meta": node["_meta"]} if "_meta" in node else copied

    def at(self, turn: int, value: Any) -> Any:
        """What stands, in a turn, where `value` stands in the first."""
        link = as_link(value)
        return value if link is None else list(self.moved(turn, (link.node_id, link.slot)))

    def moved(self, turn: int, link: LinkPair) -> LinkPair:
        node_id, slot = link
        if turn == 0:
            return link
        if node_id in self.copied:
            return self.name(turn, node_id), slot
        if node_id != self.begin or slot == FLOW_SLOT:
            return link
        return self.index(turn) if slot == INDEX_SLOT else self.carried[slot - FIRST_VALUE_SLOT]

    def left(self, turn: int, name: str, value: Any) -> LinkPair:
        """Where a value of the loop is found after a turn."""
        link = as_link(value)
        return self.constant(name, value) if link is None else self.moved(turn, (link.node_id, link.slot))

    def index(self, turn: int) -> LinkPair:
        # A node and not a literal: what a link carries is not held to the limits of the input, here as in turn 0.
        return self.add(f"{self.prefix}{turn}", "PrimitiveInt", turn)

    def constant(self, name: str, value: Any) -> LinkPair:
        return self.add(f"{self.prefix}{name}", REROUTE, value)

    def add(self, node_id: str, class_type: str, value: Any) -> LinkPair:
        self.nodes[node_id] = {"class_type": class_type, "inputs": {"value": value}}
        return node_id, 0


def _type(graph: Graph, node_id: str) -> str:
    return str(graph[node_id]["class_type"]) if node_id in graph else "missing"


def _inputs(graph: Graph, node_id: str) -> Mapping[str, Any]:
    inputs: Mapping[str, Any] = graph[node_id].get("inputs", {}) if node_id in graph else {}
    return inputs


def _links(graph: Graph, node_id: str, names: tuple[str, ...] | None = None) -> Iterator[LinkPair]:
    for name, value in _inputs(graph, node_id).items():
        link = as_link(value)
        if link is not None and (names is None or name in names):
            yield link.node_id, link.slot
