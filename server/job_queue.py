"""The jobs that wait, in order, and the one that runs.

They live in memory: what is queued is gone when the process ends.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable
from typing import Any

from .job import Job


class JobQueue:
    """A priority queue with one consumer. The lowest number comes first; of equal ones the earlier.

    Args:
        on_change: called when the number of jobs may have changed, and when one begins.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.running: Job | None = None
        self._on_change = on_change
        self._pending: list[tuple[float, int, Job]] = []
        self._has_pending = asyncio.Event()
        self._counter = 0
        self._sequence = 0

    @property
    def pending(self) -> list[Job]:
        """The jobs that wait, in no order."""
        return [job for _, _, job in self._pending]

    @property
    def remaining(self) -> int:
        """How many jobs wait or run."""
        return len(self._pending) + (self.running is not None)

    def next_number(self, *, front: bool = False) -> int:
        """The number of a job that names none: counts up from 0; negative for one that goes to the front."""
        number = self._counter
        self._counter += 1
        return -number if front else number

    def has(self, job_id: str) -> bool:
        """Whether a job of that id waits or runs."""
        is_running = self.running is not None and self.running.job_id == job_id
        return is_running or any(job.job_id == job_id for job in self.pending)

    def put(self, job: Job) -> None:
        """Add a job."""
        self._sequence += 1
        heapq.heappush(self._pending, (job.number, self._sequence, job))
        self._has_pending.set()
        self._on_change()

    async def take(self) -> Job:
        """Wait for the next job; it runs from now on."""
        while not self._pending:
            self._has_pending.clear()
            await self._has_pending.wait()
        _, _, self.running = heapq.heappop(self._pending)
        self._on_change()
        return self.running

    def finish(self) -> None:
        """The running job ended."""
        self.running = None
        self._on_change()

    def clear(self) -> None:
        """Drop every job that waits."""
        self._pending.clear()
        self._on_change()

    def delete(self, job_ids: Iterable[Any]) -> None:
        """Drop waiting jobs; ids that do not wait are ignored."""
        dropped = {job_id for job_id in job_ids if isinstance(job_id, str)}
        self._pending = [entry for entry in self._pending if entry[2].job_id not in dropped]
        heapq.heapify(self._pending)
        self._on_change()
