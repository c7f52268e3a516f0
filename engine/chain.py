"""Chains: steps that wait for one other step alone run behind it on the same thread, with no hop between threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .lane import Task
from .plan import Plan, Step
from .run_state import RunState

if TYPE_CHECKING:
    from .engine import Engine

MAX_LENGTH = 256
"""Enough to hide the hop, few enough to stay responsive."""


class Chains:
    """The chains of one run.

    Args:
        make_task: the task of a step.
    """

    def __init__(self, plan: Plan, state: RunState, engine: Engine, make_task: Callable[[Step], Task]) -> None:
        self._plan, self._state, self._engine, self._make_task = plan, state, engine, make_task
        self._members: set[str] = set()

    def start(self, step: Step) -> Task:
        """The step's task, those that may follow chained to it."""
        first = task = self._make_task(step)
        for _ in range(MAX_LENGTH):
            following = self._follower(step)
            if following is None:
                break
            self._engine.flights.open(following.key, following)
            self._members.add(following.id)
            task.then = self._make_task(following)
            step, task = following, task.then
        return first

    def is_under_way(self, step_id: str) -> bool:
        """Whether a step that became ready has been handed over in a chain; asked once."""
        if step_id not in self._members:
            return False
        self._members.discard(step_id)
        return True

    def drop(self, step_id: str) -> None:
        """The step will not run."""
        self._members.discard(step_id)

    def _follower(self, before: Step) -> Step | None:
        waiting = (self._plan.steps[step_id] for step_id in self._state.followers(before.id))
        return next((step for step in waiting if self._may_follow(step, before)), None)

    def _may_follow(self, step: Step, before: Step) -> bool:
        if step.spec.kind != "plain" or step.spec.lane != before.spec.lane:
            return False
        return step.key is None or not (step.key in self._engine.memory or step.key in self._engine.flights)
