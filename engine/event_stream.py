"""Numbers the events of one job and hands them out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .event import Event, RunStarted, StepEvent, WorkflowUpgraded
from .plan import Step

E = TypeVar("E", bound=Event)
S = TypeVar("S", bound=StepEvent)

OnEvent = Callable[[Event], None]


class EventStream:
    """Makes a job's events, numbered from 1, and passes each to the listener."""

    def __init__(self, job_id: str, on_event: OnEvent | None = None) -> None:
        self.job_id = job_id
        self._on_event = on_event
        self._sequence = 0

    def begin(self, step_count: int, reused: tuple[str, ...], upgrades: Sequence[str]) -> None:
        """Tell that the run began, and what of its workflow was upgraded."""
        self.emit(RunStarted, step_count=step_count, reused=reused)
        if upgrades:
            self.emit(WorkflowUpgraded, sentences=tuple(upgrades))

    def emit(self, kind: type[E], /, at: float | None = None, **facts: Any) -> E:
        """Make an event; `at` is its time if that is not now."""
        self._sequence += 1
        event = kind(self.job_id, self._sequence, time.time() if at is None else at, **facts)
        if self._on_event is not None:
            self._on_event(event)
        return event

    def emit_step(self, kind: type[S], step: Step, /, at: float | None = None, **facts: Any) -> S:
        """Make an event about a step."""
        self._sequence += 1
        when = time.time() if at is None else at
        place = (step.id, step.spec.name, step.display_id, step.parent_id, step.real_id)
        event = kind(self.job_id, self._sequence, when, *place, **facts)
        if self._on_event is not None:
            self._on_event(event)
        return event
