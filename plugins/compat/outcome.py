"""What a call of a pack's node returned, whichever of the allowed forms it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mezzotint.engine.blocked import Blocked
from mezzotint.engine.expansion import Expand
from mezzotint.engine.node import NodeSpec
from mezzotint.engine.workflow import as_link

from .pack_value import as_plain_value


class Outcome(NamedTuple):
    """One value for each output, or a graph that gives them; and what the editor is to show."""

    values: tuple[Any, ...]
    expand: Expand | None = None
    shown: Mapping[str, Any] | None = None


def read_outcome(result: Any, spec: NodeSpec) -> Outcome:
    """The outcome that a returned tuple, dict, blocker or None stands for. Values that are lacking are None.

    Raises:
        TypeError: it is nothing of the kind.
    """
    if not isinstance(result, dict):
        return Outcome(_values(result, spec))
    values = _values(result.get("result"), spec)
    graph = result.get("expand")
    expand = Expand(graph, *values, is_trusted=True) if graph is not None else None
    return Outcome(values, expand, result.get("ui"))


def _values(result: Any, spec: NodeSpec) -> tuple[Any, ...]:
    count = len(spec.outputs)
    if isinstance(result, Blocked):
        return (result,) * count
    if result is None:
        result = ()
    if not isinstance(result, tuple | list):
        names = ", ".join(output.name for output in spec.outputs) or "nothing"
        raise TypeError(f"{spec.name} returned a value of {type(result).__name__}; it must return a tuple ({names}), a "
                        "dict with 'result', 'ui' or 'expand', or an ExecutionBlocker")  # fmt: skip
    return (*map(as_plain_value, result), *[None] * (count - len(result)))[:count]


class Outcomes:
    """The outputs of all calls of a step, list by list, and what they show."""

    def __init__(self, spec: NodeSpec) -> None:
        self._spec = spec
        self.outputs: tuple[list[Any], ...] = tuple([] for _ in spec.outputs)
        self.shown: dict[str, list[Any]] | None = None

    def add(self, outcome: Outcome, slots: tuple[list[Any], ...] | None = None) -> None:
        """Take up a call; `slots` are the values that its graph gave."""
        self._show(outcome.shown)
        for index, (so_far, value) in enumerate(zip(self.outputs, outcome.values, strict=True)):
            if slots is not None and as_link(value) is not None:
                so_far.extend(slots[index])
            elif self._spec.outputs[index].is_list and isinstance(value, list | tuple):
                so_far.extend(value)
            else:
                so_far.append(value)

    def _show(self, shown: Mapping[str, Any] | None) -> None:
        if not shown:
            return
        if self.shown is None:  # the first call says which lists there are
            self.shown = {name: [] for name in shown}
        for name, so_far in self.shown.items():
            items = shown.get(name, ())
            so_far.extend(items if isinstance(items, list | tuple) else [items])
