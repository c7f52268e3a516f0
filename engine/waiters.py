"""Lets coroutines wait for steps of their run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from .run_state import RunState


class UpstreamFailedError(Exception):
    """What a coroutine waits for cannot be computed; its step is skipped, not blamed."""


class Waiters:
    """The coroutines that wait for steps, by step."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    async def wait(self, step_ids: Iterable[str]) -> None:
        """Return when all these steps are done.

        Raises:
            UpstreamFailedError: one of them cannot be.
        """
        for step_id in step_ids:
            while self._state.status[step_id] != "done":
                if self._state.status[step_id] in ("failed", "cancelled"):
                    raise UpstreamFailedError
                waiter = asyncio.get_running_loop().create_future()
                self._waiting.setdefault(step_id, []).append(waiter)
                await waiter

    def wake(self, step_id: str) -> None:
        """The step came to its end."""
        for waiter in self._waiting.pop(step_id, ()):
            if not waiter.done():
                waiter.set_result(None)
