"""What is counted of events, and how it is told to Prometheus; read back by Prometheus' own parser."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from mezzotint.engine.event import Event, RunFinished, RunStarted, StepFailed, StepFinished
from mezzotint.server.metrics import Metrics, Reading

Sample = tuple[str, tuple[tuple[str, str], ...]]


def samples(text: bytes) -> dict[Sample, float]:
    """Name and labels → value."""
    families = text_string_to_metric_families(text.decode())
    return {
        (sample.name.removeprefix("mezzotint_"), tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def step(kind: type[Event], node_type: str = "Add", **facts: Any) -> Event:
    place = {"node_id": "1", "node_type": node_type, "display_id": "1", "parent_id": None, "real_id": "1"}
    return kind(job_id="j", sequence=1, time=0.0, **place, **facts)  # type: ignore[call-arg]


def finished(source: str, seconds: float = 0.0, node_type: str = "Add") -> Event:
    return step(StepFinished, node_type, source=source, seconds=seconds)


def failed() -> Event:
    facts = {"sentence": "", "exception_type": "", "message": "", "traceback": (), "inputs": {}, "is_expected": True}
    return step(StepFailed, error=ValueError(), **facts)


def ended(status: Any) -> Event:
    return RunFinished(job_id="j", sequence=2, time=0.0, status=status, seconds=1.0, skipped=())


def told(*events: Event, readings: list[Reading] | None = None) -> dict[Sample, float]:
    metrics = Metrics(["Add", "Draw"], lambda: readings or [])
    for event in events:
        metrics.hear(event)
    return samples(metrics.text())


def test_runs_and_steps_are_counted_by_how_they_ended_and_where_values_came_from() -> None:
    found = told(
        RunStarted(job_id="j", sequence=1, time=0.0, step_count=1, reused=()),
        *[finished(source) for source in ("ran", "ran", "memory", "disk", "disk", "disk", "shared")],
        failed(),
        *[ended(status) for status in ("done", "failed", "failed", "cancelled")],
    )
    assert [found["steps_total", (("source", s),)] for s in ("ran", "memory", "disk", "shared")] == [2, 1, 3, 1]
    assert [found["runs_total", (("status", s),)] for s in ("done", "failed", "cancelled")] == [1, 2, 1]
    assert found["step_failures_total", ()] == 1


def test_what_never_happened_is_zero_and_not_absent() -> None:
    found = told()
    assert {value for (name, _), value in found.items() if name.endswith("_total")} == {0.0}
    assert ("runs_total", (("status", "cancelled"),)) in found


def test_seconds_are_told_for_each_node_type_that_ran() -> None:
    found = told(finished("ran", 0.02), finished("ran", 4.0), finished("ran", 1e6, "Draw"), finished("memory", 9.0))
    add = ("node_type", "Add")
    assert found["step_seconds_count", (add,)] == 2
    assert found["step_seconds_sum", (add,)] == 4.02
    assert found["step_seconds_bucket", (("le", "0.1"), add)] == 1
    assert found["step_seconds_bucket", (("le", "5.0"), add)] == 2
    assert found["step_seconds_bucket", (("le", "1800.0"), ("node_type", "Draw"))] == 0
    assert found["step_seconds_bucket", (("le", "+Inf"), ("node_type", "Draw"))] == 1


def test_types_that_nobody_registered_share_one_series() -> None:
    found = told(*[finished("ran", 1.0, f"Unknown{number}") for number in range(100)])
    counts = {labels: value for (name, labels), value in found.items() if name == "step_seconds_count"}
    assert counts == {(("node_type", "other"),): 100.0}


def test_readings_are_taken_when_they_are_asked_for() -> None:
    level = [1.0]

    def read() -> list[Reading]:
        return [
            Reading("jobs", "Jobs.", level[0], ("state", "pending")),
            Reading("jobs", "Jobs.", 7.0, ("state", "running")),
            Reading("paused", "Paused.", True),
        ]

    metrics = Metrics([], read)
    assert samples(metrics.text())["jobs", (("state", "pending"),)] == 1.0
    level[0] = 2.0
    found = samples(metrics.text())
    assert found["jobs", (("state", "pending"),)] == 2.0
    assert found["jobs", (("state", "running"),)] == 7.0
    assert found["paused", ()] == 1.0


def test_two_servers_in_one_process_count_apart() -> None:
    assert told(ended("done"))["runs_total", (("status", "done"),)] == 1
    assert told(ended("done"))["runs_total", (("status", "done"),)] == 1
