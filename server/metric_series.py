"""The series that Prometheus reads, in the types of its client library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .metrics import Reading

BUCKETS = (0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Upper bounds of the histogram of steps, in seconds."""


class Series:
    """What is counted, each in a series; and what is read when it is asked for."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Readings(read))
        self.runs = self._counter("runs", "Runs that ended, by how: done, failed, cancelled.", "status")
        self.steps = self._counter(
            "steps", "Steps with a value, by where it came from: ran, memory, disk, shared.", "source"
        )
        self.failures = self._counter("step_failures", "Steps that failed.")
        self.seconds = Histogram(
            "mezzotint_step_seconds", "How long steps ran, in seconds.", ["node_type"], buckets=BUCKETS,
            registry=self._registry,
        )  # fmt: skip
        for status in ("done", "failed", "cancelled"):
            self.runs.labels(status)
        for source in ("ran", "memory", "disk", "shared"):
            self.steps.labels(source)

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
