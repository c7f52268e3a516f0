"""State that a step changes in place, such as a network in training: marked by its class, and used up by one step.

A value of a class that `consumed` marks has a key like any other, but it is never cached and never shared between
runs, and one step only may take it; that step gives it on, changed, under a key of its own. Taking is recorded where
the value was, so that a second taker is told and never gets what another has changed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, TypeVar

from .errors import GraphError

C = TypeVar("C", bound=type)


class Taken:
    """Stands in a step's outputs where state was that another step has taken."""

    __slots__ = ("by",)

    def __init__(self, by: str) -> None:
        self.by = by

    def __repr__(self) -> str:
        return f"(taken by node {self.by})"


_classes: set[type] = {Taken}
_lock = threading.Lock()


def consumed(cls: C) -> C:
    """Mark a class, not its subclasses, as state: its instances are consumed. Outputs annotated with it are too."""
    _classes.add(cls)
    return cls


def is_consumed(annotation: Any) -> bool:
    """Whether what an annotation stands for is state."""
    return isinstance(annotation, type) and annotation in _classes


def holds_state(values: Sequence[Any]) -> bool:
    """Whether one of the values is state, or was until it was taken. State inside of other values is not seen."""
    return not _classes.isdisjoint(map(type, values))


def holds_untaken_state(values: Sequence[Any]) -> bool:
    """Whether one of the values is state that can still be taken."""
    return holds_state(values) and any(type(value) is not Taken and type(value) in _classes for value in values)


def take(values: list[Any], source: str, taker: str) -> list[Any]:
    """The values of an output for the step `taker`; state among them is there no more. Safe for threads.

    Raises:
        GraphError: another step took it before.
    """
    if not holds_state(values):
        return values
    with _lock:
        given = list(values)
        before = next((value for value in given if type(value) is Taken), None)
        if before is not None:
            raise GraphError(
                f"it takes what node {source} gives, which node {before.by} has taken already; state is changed in "
                f"place, so one node takes it: link this one to what node {before.by} gives on"
            )
        values[:] = [Taken(taker) if type(value) in _classes else value for value in given]
        return given
