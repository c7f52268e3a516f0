"""What the server tells Prometheus: counted from the engine's events, and read off its parts when it is asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mezzotint.engine.event import Event, RunFinished, StepFailed, StepFinished

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Of `Metrics.text`."""
OTHER = "other"
"""The label of node types that were not known when the server began."""
BUCKETS = (0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Upper bounds of the histogram of steps, in seconds."""


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
        self._node_types = frozenset(node_types)
        self._registry = CollectorRegistry()
        self._registry.register(_Readings(read))
        self._runs = self._counter("runs", "Runs that ended, by how: done, failed, cancelled.", "status")
        self._steps = self._counter(
            "steps", "Steps with a value, by where it came from: ran, memory, disk, shared.", "source"
        )
        self._failures = self._counter("step_failures", "Steps that failed.")
        self._seconds = Histogram(
            "mezzotint_step_seconds", "How long steps ran, in seconds.", ["node_type"], buckets=BUCKETS,
            registry=self._registry,
        )  # fmt: skip
        for status in ("done", "failed", "cancelled"):
            self._runs.labels(status)
        for source in ("ran", "memory", "disk", "shared"):
            self._steps.labels(source)

    def hear(self, event: Event) -> None:
        """Count an event of a run."""
        match event:
            case StepFinished():
                self._steps.labels(event.source).inc()
                if event.source == "ran":
                    known = event.node_type if event.node_type in self._node_types else OTHER
                    self._seconds.labels(known).observe(event.seconds)
            case StepFailed():
                self._failures.inc()
            case RunFinished():
                self._runs.labels(event.status).inc()

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"mezzotint_{name}", what, labels, registry=self._registry)


class _Readings(Collector):
    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for name, what, value, label in self._read():
            names = [] if label is None else [label[0]]
            family = families.setdefault(name, GaugeMetricFamily(f"mezzotint_{name}", what, labels=names))
            family.add_metric([] if label is None else [label[1]], value)
        yield from families.values()
