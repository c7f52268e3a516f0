"""Where a link of the editor really comes from: through reroutes, bypassed nodes, primitives and subgraphs.

Resolving is a walk from slot to slot, without recursion, remembered for every slot on the way: the whole document costs
one step for each slot, however long its chains are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .ui_document import ANY_TYPE, BYPASSED, MUTED, PRIMITIVE, SUBGRAPH_INPUT, UiInput, UiLink, UiNode
from .ui_promotion import HeldValue
from .ui_subgraphs import Scope
from .ui_widgets import primitive_layout, stored_widgets
from .workflow import Link, Place

REROUTES = frozenset({"Reroute", "Reroute (rgthree)"})


class Origin(NamedTuple):
    """An output slot of a node on some canvas."""

    scope: Scope
    node_id: str
    slot: int


class _Step(NamedTuple):
    """What stands at an origin: the end (a link or a value), or the next origin; nothing when it leads nowhere.

    `otherwise` is what the walk so far ends in if the rest leads nowhere.
    """

    end: Link | HeldValue | None = None
    next: Origin | None = None
    otherwise: HeldValue | None = None


_NOWHERE = _Step()


class LinkResolver:
    """Resolves the links of an unfolded document."""

    def __init__(self) -> None:
        self._known: dict[Origin, Link | HeldValue | None] = {}

    def resolve(self, scope: Scope, node: UiNode, socket: UiInput) -> Link | HeldValue | None:
        """What an input gets: an output of a node in the result, a value, or None when its link leads nowhere."""
        origin = _behind(scope, node, socket)
        walked: list[Origin] = []
        walking: set[Origin] = set()
        otherwise: HeldValue | None = None
        covered = 0  # the origins walked before `otherwise` was met
        end: Link | HeldValue | None = None
        while origin is not None and origin not in walking:
            if origin in self._known:
                end = self._known[origin]
                break
            walked.append(origin)
            walking.add(origin)
            step = _step(origin)
            if step.otherwise is not None:
                otherwise, covered = step.otherwise, len(walked)
            end, origin = step.end, step.next
        self._remember(walked, covered, end, otherwise)
        return end if end is not None else otherwise

    def _remember(
        self, walked: list[Origin], covered: int, end: Link | HeldValue | None, otherwise: HeldValue | None
    ) -> None:
        for index, origin in enumerate(walked):
            self._known[origin] = otherwise if end is None and index < covered else end


def _behind(scope: Scope, node: UiNode, socket: UiInput | None) -> Origin | None:
    """The origin of a socket's own link."""
    link = scope.graph.link_into(node.id, socket.link) if socket is not None else None
    return Origin(scope, link.origin_id, link.origin_slot) if link is not None else None


def _step(origin: Origin) -> _Step:
    scope, node_id, slot = origin
    node = scope.graph.nodes.get(node_id)
    if node is None:
        return _outwards(scope, slot) if node_id == SUBGRAPH_INPUT else _NOWHERE
    if node.type == PRIMITIVE:
        return _Step(end=primitive_value(scope, node))
    if node.mode == MUTED:
        return _NOWHERE
    if node.type in REROUTES:
        return _Step(next=_behind(scope, node, node.inputs[0] if node.inputs else None))
    if node.mode == BYPASSED:
        return _Step(next=_behind(scope, node, _passed_input(node, slot)))
    if node_id in scope.children:
        return _inwards(scope.children[node_id], slot)
    return _Step(end=Link(scope.prefix + node_id, slot))


def _outwards(scope: Scope, slot: int) -> _Step:
    """From inside a subgraph to what its instance gets at an input; else to the value the instance holds for it."""
    if scope.parent is None or scope.instance is None or slot >= len(scope.graph.inputs):
        return _NOWHERE
    name = scope.graph.inputs[slot]
    outside = _behind(scope.parent, scope.instance, scope.sockets.get(name))
    return _Step(next=outside, otherwise=scope.values.inputs.get(name))


def _inwards(scope: Scope, slot: int) -> _Step:
    link: UiLink | None = scope.graph.output_links.get(slot)
    return _Step(next=Origin(scope, link.origin_id, link.origin_slot)) if link is not None else _NOWHERE


def primitive_value(scope: Scope, node: UiNode) -> HeldValue | None:
    """The value of a PrimitiveNode: what an instance around it says, else its own."""
    shown = scope.values.inner.get(node.id, {}).get("value")
    if shown is not None:
        return shown
    layout = primitive_layout(node)
    stored = stored_widgets(node, layout)
    name = layout[0].name
    found = stored.values.get(name)
    if found is None or found.value is None or found.key is None:
        return None
    # Without a control of its own it stays, whatever the control of the widget that it feeds.
    return HeldValue(found.value, Place(node.path, found.key, name), stored.controls.get(name, "fixed"))


def _passed_input(node: UiNode, slot: int) -> UiInput | None:
    """The input that a bypassed node passes through to an output: the one beside it, else one of the same type."""
    wanted = node.output_types[slot] if slot < len(node.output_types) else ANY_TYPE
    beside = node.inputs[slot] if slot < len(node.inputs) else None
    if wanted == ANY_TYPE:
        return beside or (node.inputs[0] if node.inputs else None)
    if beside is not None and types_overlap(beside.type, wanted):
        return beside
    return next(_of_type(node, wanted), None)


def _of_type(node: UiNode, wanted: str) -> Iterator[UiInput]:
    yield from (socket for socket in node.inputs if socket.type == wanted)
    yield from (socket for socket in node.inputs if types_overlap(socket.type, wanted))


def types_overlap(one: str, other: str) -> bool:
    """Whether an editor lets two socket types be linked: any type, or unions that overlap, in any case."""
    if ANY_TYPE in (one, other):
        return True
    return not set(one.lower().split(",")).isdisjoint(other.lower().split(","))
