"""Lets coroutines wait for steps of their run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from .run_state import RunState


class UpstreamFailedError(Exception):
    """What a coroutine waits for cannot be computed; its step is skipped, not blamed."""


class Waiters:
    """The coroutines that wait for steps, by step.

    Args:
        look: called when a coroutine begins to wait; the run sees whether it can go on at all.
    """

    def __init__(self, state: RunState, look: Callable[[], None]) -> None:
        self._state, self._look = state, look
        self._waiting: dict[str, list[tuple[str, asyncio.Future[None]]]] = {}

    async def wait(self, owner: str, step_ids: Iterable[str]) -> None:
        """Return when all these steps are done; `owner` is the step that waits.

        Raises:
            UpstreamFailedError: one of them cannot be.
        """
        for step_id in step_ids:
            while self._state.status[step_id] != "done":
                if self._state.status[step_id] in ("failed", "cancelled"):
                    raise UpstreamFailedError
                waiter = asyncio.get_running_loop().create_future()
                self._waiting.setdefault(step_id, []).append((owner, waiter))
                self._state.suspended.add(owner)
                self._look()
                await waiter

    def wake(self, step_id: str) -> None:
        """The step came to its end."""
        for owner, waiter in self._waiting.pop(step_id, ()):
            self._state.suspended.discard(owner)
            if not waiter.done():
                waiter.set_result(None)
