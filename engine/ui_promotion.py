"""Values that an instance of a subgraph holds for the widgets inside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .ui_document import UiGraph, UiNode
from .workflow import Place

OWN_INPUT = "-1"


@dataclass(frozen=True, slots=True)
class HeldValue:
    """A value that the document holds, where it holds it, and what its control does to it after a run."""

    value: Any
    place: Place | None = None
    control: str | None = None


@dataclass(slots=True, eq=False)
class InstanceValues:
    """What an instance says of the widgets inside it.

    Attributes:
        inputs: by the name of the instance's own input.
        inner: by inner node id, then widget name, for widgets that are shown without an input of their own.
    """

    inputs: dict[str, HeldValue] = field(default_factory=dict)
    inner: dict[str, dict[str, HeldValue]] = field(default_factory=dict)

    def hold(self, inner_id: str, name: str, value: Any, place: Place, control: str | None = None) -> None:
        """Note a value; a null is none. `inner_id` is OWN_INPUT for an input of the instance."""
        if value is None:
            return
        held = self.inputs if inner_id == OWN_INPUT else self.inner.setdefault(inner_id, {})
        held[name] = HeldValue(value, place, control)

    def override(self, outer: dict[str, HeldValue]) -> None:
        """Let what an outer instance says of this one win, by the name of the input or the widget."""
        for name, value in outer.items():
            places = [widgets for widgets in self.inner.values() if name in widgets]
            for held in places or [self.inputs]:
                held[name] = value


def subgraph_values(node: UiNode, graph: UiGraph) -> InstanceValues:
    """The values that an instance stores: for the promoted inputs in their order, and for the proxied inner widgets."""
    values = InstanceValues()
    stored = node.values if isinstance(node.values, list) else []
    named = node.values if isinstance(node.values, dict) else node.named_values
    shown = _shown_widgets(node, graph, len(stored))
    if named and len(stored) != len(shown):
        for inner_id, name in shown:
            key = name if name in named else f"{inner_id}: {name}"
            values.hold(inner_id, name, named.get(key), Place(node.path, key, key))
    else:
        for index, (value, (inner_id, name)) in enumerate(zip(stored, shown, strict=False)):
            values.hold(inner_id, name, value, Place(node.path, index, name))
    return values


def _shown_widgets(node: UiNode, graph: UiGraph, count: int) -> list[tuple[str, str]]:
    """Whose `count` values an instance stores, in order: pairs of inner node id and widget name."""
    own = [(OWN_INPUT, name) for name in graph.promoted]
    proxied = _proxied_widgets(node)
    if count == len(proxied) and any(inner_id == OWN_INPUT for inner_id, _ in proxied):
        return proxied
    inner = [widget for widget in proxied if widget[0] != OWN_INPUT]
    # Some editors store nothing for proxied widgets: those then keep the value of the inner node.
    return own if count == len(own) else [*own, *inner]


def _proxied_widgets(node: UiNode) -> list[tuple[str, str]]:
    listed = node.properties.get("proxyWidgets")
    entries = listed if isinstance(listed, list) else []
    return [(str(entry[0]), str(entry[1])) for entry in entries if isinstance(entry, list) and len(entry) >= 2]
