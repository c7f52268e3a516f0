"""Which links of a workflow carry consumed state, and which of them are one too many.

Pure, and linear in the number of links. State also passes through inputs and outputs of any type, such as those of
loops and switches: from an input to the output of its name, or to the only output of any type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from .node import NodeSpec
from .port import ANY
from .workflow import Link

if TYPE_CHECKING:
    from .validation import CheckedNode


class Taker(NamedTuple):
    """An input that a link leads to."""

    node_id: str
    name: str


class Rival(NamedTuple):
    """An input that wants the state of an output which another input takes already, and the sentence about it."""

    node_id: str
    name: str
    link: Link
    reason: str


def find_rivals(nodes: Mapping[str, CheckedNode], spec_of: Callable[[str], NodeSpec | None]) -> Iterator[Rival]:
    """Each input that wants state which an input before it, in the order of the nodes, takes already.

    Args:
        spec_of: the specification of a node that links lead to, whether it is one of these or not.
    """
    takers: dict[Link, list[Taker]] = {}
    for node_id, node in nodes.items():
        for name, link in node.links.items():
            takers.setdefault(link, []).append(Taker(node_id, name))
    pending = [link for link in takers if _gives_state(spec_of(link.node_id), link.slot)]
    carried = set(pending)
    while pending:
        link = pending.pop()
        found = takers.get(link, [])
        for taker in found[1:]:
            reason = _reason(link, found[0], nodes[found[0].node_id].spec.name)
            yield Rival(taker.node_id, taker.name, link, reason)
        for taker in found:
            passed = _passed_on(nodes[taker.node_id].spec, taker)
            if passed is not None and passed not in carried:
                carried.add(passed)
                pending.append(passed)


def _reason(link: Link, first: Taker, node_type: str) -> str:
    return (
        f"it takes output {link.slot} of node {link.node_id}, which is state that its one taker changes in place, and "
        f"node {first.node_id} ({node_type}), input '{first.name}', takes it already; link this input to what node "
        f"{first.node_id} gives on"
    )


def _gives_state(spec: NodeSpec | None, slot: int) -> bool:
    return spec is not None and slot < len(spec.outputs) and spec.outputs[slot].is_consumed


def _passed_on(spec: NodeSpec, taker: Taker) -> Link | None:
    """The output that gives on what an input of any type takes."""
    given = spec.inputs.get(taker.name)
    if given is None or given.port != ANY:
        return None
    slots = [slot for slot, output in enumerate(spec.outputs) if output.port == ANY]
    named = [slot for slot in slots if spec.outputs[slot].name == taker.name]
    chosen = named or (slots if len(slots) == 1 else [])
    return Link(taker.node_id, chosen[0]) if chosen else None
