"""Numbers the events of one job and hands them out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .event import Event, RunStarted, Source, StepEvent, StepFinished, StepShown, StepStarted, WorkflowUpgraded
from .plan import Step

E = TypeVar("E", bound=Event)
S = TypeVar("S", bound=StepEvent)

OnEvent = Callable[[Event], None]
Shown = dict[str, list[Any]]


class EventStream:
    """Makes a job's events, numbered from 1, and passes each to the listener.

    Without a listener those that come with every step are counted and not made: they would cost as much as the step.

    Args:
        reason: says why the value of a step is not reused.
    """

    def __init__(self, job_id: str, on_event: OnEvent | None, reason: Callable[[Step], str]) -> None:
        self.job_id = job_id
        self._on_event = on_event
        self._reason = reason
        self._started: set[str] = set()
        self._sequence = 0

    def begin(self, step_count: int, find_reused: Callable[[], tuple[str, ...]], upgrades: Sequence[str]) -> None:
        """Tell that the run began, and what of its workflow was upgraded."""
        self.emit(RunStarted, step_count=step_count, reused=find_reused() if self._on_event is not None else ())
        if upgrades:
            self.emit(WorkflowUpgraded, sentences=tuple(upgrades))

    def started(self, step: Step, at: float | None = None) -> None:
        """Tell, once, that a step's body was called."""
        if step.id in self._started:
            return
        self._started.add(step.id)
        if self._on_event is None:
            self._sequence += 1
        else:
            self.emit_step(StepStarted, step, at, reason=self._reason(step))

    def finished(self, step: Step, shown: Shown | None, source: Source, seconds: float) -> None:
        """Tell that a step's value is there, and before that what it showed."""
        if shown is not None:
            self.emit_step(StepShown, step, shown=shown, is_reused=source != "ran")
        if self._on_event is None:
            self._sequence += 1
        else:
            self.emit_step(StepFinished, step, source=source, seconds=seconds)

    def emit(self, kind: type[E], /, at: float | None = None, **facts: Any) -> E:
        """Make an event; `at` is its time if that is not now."""
        self._sequence += 1
        event = kind(self.job_id, self._sequence, time.time() if at is None else at, **facts)
        if self._on_event is not None:
            self._on_event(event)
        return event

    def emit_step(self, kind: type[S], step: Step, /, at: float | None = None, **facts: Any) -> S:
        """Make an event about a step."""
        place = (step.id, step.spec.name, step.display_id, step.parent_id, step.real_id)
        self._sequence += 1
        event = kind(self.job_id, self._sequence, time.time() if at is None else at, *place, **facts)
        if self._on_event is not None:
            self._on_event(event)
        return event
