"""Batches: steps handed to a lane together. Quick ones, since a hop between threads costs more than they do; and all
plain ones of a lane with one thread, which so knows in which order they go.

A batch holds ready steps and the steps that will be ready as soon as others of the batch are done. Of those that may
come next, the most urgent does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from .lane import Task
from .plan import LEAST_URGENT, Plan, Step
from .run_state import RunState

if TYPE_CHECKING:
    from .engine import Engine

MAX_LENGTH = 256
"""Enough to hide the hop, few enough to stay responsive."""


class Batches:
    """The batches of one run.

    Args:
        make_task: the task of a step.
    """

    def __init__(self, plan: Plan, state: RunState, engine: Engine, make_task: Callable[[Step], Task]) -> None:
        self._plan, self._state, self._engine, self._make_task = plan, state, engine, make_task
        self._under_way: set[str] = set()

    def make(self, ready: list[Step]) -> list[list[Task]]:
        """The batches for steps that are ready to run."""
        if len(ready) > 1:
            ready.sort(key=lambda step: self._plan.urgency.get(step.id, LEAST_URGENT))
        together = [step for step in ready if self._is_for_batches(step)]
        batches = [[self._make_task(step)] for step in ready if not self._is_for_batches(step)]
        for lane in {step.spec.lane for step in together}:
            chosen = [step for step in together if step.spec.lane == lane]
            batches.extend(self._filled(chosen[at : at + MAX_LENGTH]) for at in range(0, len(chosen), MAX_LENGTH))
        return batches

    def is_under_way(self, step_id: str) -> bool:
        """Whether a step that became ready was handed over already; asked once."""
        if step_id not in self._under_way:
            return False
        self._under_way.discard(step_id)
        return True

    def drop(self, step_id: str) -> None:
        """The step does not run in its batch after all."""
        self._under_way.discard(step_id)

    def _filled(self, ready: list[Step]) -> list[Task]:
        tasks: dict[str, Task] = {}
        missing: dict[str, int] = {}
        room, urgency = MAX_LENGTH - len(ready), self._plan.urgency
        pending: list[deque[Step]] = [deque() for _ in range(LEAST_URGENT + 1)]
        for step in ready:
            pending[urgency.get(step.id, LEAST_URGENT)].append(step)
        while steps := next(filter(None, pending), None):
            step = steps.popleft()
            tasks[step.id] = task = self._make_task(step)
            task.after = [tasks[parent] for parent in step.parents if parent in tasks]
            for step_id in self._state.dependents(step.id) if room else ():
                missing[step_id] = (missing.get(step_id) or self._state.unmet_count(step_id)) - 1
                if missing[step_id] or not room:
                    continue
                following = self._plan.steps[step_id]
                if self._may_join(following, ready[0]):
                    room -= 1
                    self._engine.flights.open(following.key, following)
                    self._under_way.add(step_id)
                    pending[urgency.get(step_id, LEAST_URGENT)].append(following)
        return list(tasks.values())

    def _is_for_batches(self, step: Step) -> bool:
        spec = step.spec
        return spec.kind == "plain" and (self._engine.is_quick(spec) or not self._engine.lanes[spec.lane].is_pool)

    def _may_join(self, step: Step, first: Step) -> bool:
        if step.spec.lane != first.spec.lane or not self._is_for_batches(step):
            return False
        return step.key is None or not (step.key in self._engine.memory or step.key in self._engine.flights)
