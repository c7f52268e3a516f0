"""A run of a test: its result and its events."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields

from mezzotint.engine.event import Event
from mezzotint.engine.run_result import RunResult
from mezzotint.plugins.host import Host, WorkflowLike


@dataclass(slots=True)
class RecordedRun(RunResult):
    """How a run ended, what it made, and its events in their order."""

    events: list[Event] = field(default_factory=list)


def record_run(host: Host, workflow: WorkflowLike, targets: Iterable[str] | None) -> RecordedRun:
    """Run a workflow to its end on a thread of its own, so that a test may have a loop running."""
    events: list[Event] = []
    document = host.load(workflow)
    with ThreadPoolExecutor(1) as pool:
        running = host.engine.run(document, targets=targets, on_event=events.append)
        result = pool.submit(asyncio.run, running).result()
    return RecordedRun(**{part.name: getattr(result, part.name) for part in fields(result)}, events=events)
