"""What the server tells Prometheus: counted from the engine's events, and read off its parts when it is asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from mezzotint.engine.event import Event, RunFinished, StepFailed, StepFinished

if TYPE_CHECKING:
    from .metric_series import Series

OTHER = "other"
"""The label of node types that were not known when the server began."""


class Reading(NamedTuple):
    """A number that is read when it is asked for; `label` is a name and a value, or None."""

    name: str
    help: str
    value: float
    label: tuple[str, str] | None = None


class Metrics:
    """The metrics of one server, in a registry of their own.

    Args:
        node_types: each gets its series of the histogram; all others share one, so that their number is bounded.
        read: the readings of the moment; those of one name follow each other.
    """

    def __init__(self, node_types: Collection[str], read: Callable[[], Iterable[Reading]]) -> None:
        self._node_types, self._read = frozenset(node_types), read

    def hear(self, event: Event) -> None:
        """Count an event of a run."""
        match event:
            case StepFinished():
                self._series.steps.labels(event.source).inc()
                if event.source == "ran":
                    known = event.node_type if event.node_type in self._node_types else OTHER
                    self._series.seconds.labels(known).observe(event.seconds)
            case StepFailed():
                self._series.failures.inc()
            case RunFinished():
                self._series.runs.labels(event.status).inc()

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return self._series.text()

    @property
    def content_type(self) -> str:
        """That of the text."""
        return self._series.content_type

    @cached_property
    def _series(self) -> Series:
        from .metric_series import Series  # not before something is counted or asked for: the import takes long

        return Series(self._read)
