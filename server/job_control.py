"""What people do with jobs: submit, cancel, move, repeat, delete, pause. Each is in the database before it returns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Literal

from mezzotint.plugins.host import Host

from .job import ENDED, Job
from .job_queue import JobQueue
from .job_store import JobStore
from .submission import repeat_job
from .worker import Worker

Place = tuple[Literal["before", "after"], str]


class UnknownJobError(Exception):
    """There is no such job."""


class JobStateError(Exception):
    """What is asked for cannot be done with a job in its state; the text says so."""


class JobControl:
    """Changes jobs: queue, database and worker together. Used on the event loop's thread only."""

    def __init__(self, host: Host, queue: JobQueue, store: JobStore, worker: Worker) -> None:
        self._host, self._queue, self._store, self._worker = host, queue, store, worker

    async def submit(self, job: Job) -> None:
        """Queue a job.

        Raises:
            KnownJobError: its id is taken. DatabaseError: it could not be written.
        """
        begins = self._worker.keep_room()
        try:
            entry = await self._store.add(job, begins=begins)
        except BaseException:
            if begins:
                self._worker.give_up_room()
            raise
        self._queue.put(entry)
        if begins and not self._worker.use_room(entry):
            await self._store.hand_back(entry.job_id)
        self._worker.look()
        await asyncio.sleep(0)  # what begins now need not wait until the answer is made

    async def cancel(self, job_ids: Iterable[str]) -> list[str]:
        """Stop jobs that run, drop those that wait; returns the ids of those that did either."""
        job_ids = [*dict.fromkeys(job_ids)]
        return [*await self.drop(job_ids), *await self.interrupt(job_ids)]

    async def drop(self, job_ids: Iterable[str]) -> list[str]:
        """Cancel jobs that wait; returns the ids of those that did."""
        found = self._queue.remove(job_ids)
        if found:
            await self._store.cancel_pending(found)
        self._worker.look()
        return found

    async def drop_all(self) -> None:
        """Cancel every job that waits."""
        await self.drop(entry.job_id for entry in self._queue.pending)

    async def interrupt(self, job_ids: Iterable[str]) -> list[str]:
        """Stop jobs that run; returns the ids of those that did."""
        running = [job_id for job_id in job_ids if job_id in self._queue.running]
        if running:
            await self._store.ask_to_cancel(running)
        for job_id in running:
            self._worker.interrupt(job_id)
        return running

    async def interrupt_oldest(self) -> None:
        """Stop the job that runs longest, which is the one that an editor shows."""
        await self.interrupt([*self._queue.running][:1])

    async def move(self, job_id: str, place: Literal["front", "back"] | Place) -> float:
        """Give a waiting job another place; returns its new number.

        Raises:
            UnknownJobError, JobStateError: it, or the job beside which it is to go, is unknown or does not wait.
        """
        await self._require_waiting(job_id)
        if place == "front":
            return await self.set_number(job_id, self._queue.number_at_front())
        if place == "back":
            return await self.set_number(job_id, self._queue.number_at_back())
        side, other_id = place
        await self._require_waiting(other_id)
        if other_id == job_id:
            raise JobStateError("A job cannot be moved beside itself")
        number = self._queue.number_beside(job_id, other_id, is_before=side == "before")
        if number is None:
            await self._store.renumber(self._queue.spread())
            await self._require_waiting(job_id)
            await self._require_waiting(other_id)
            number = self._queue.number_beside(job_id, other_id, is_before=side == "before")
        assert number is not None
        return await self.set_number(job_id, number)

    async def set_number(self, job_id: str, number: float) -> float:
        """Give a waiting job a number; the lowest goes first.

        Raises:
            UnknownJobError, JobStateError: it is unknown or does not wait.
        """
        await self._require_waiting(job_id)
        self._queue.move(job_id, number)
        await self._store.renumber({job_id: number}, chosen=[job_id])
        return number

    async def retry(self, job_id: str) -> Job:
        """Queue a job that ended again, as a new job.

        Raises:
            UnknownJobError, JobStateError: it is unknown or has not ended, or a secret of it is gone.
            PromptRejectedError: it cannot run any more.
        """
        row = await self._store.read_row(job_id)
        if row is None:
            raise UnknownJobError
        if row.status not in ENDED:
            raise JobStateError("The job has not ended; only one that has can be repeated")
        if row.secret_names != "[]":
            raise JobStateError("A secret came with the job and is not kept; submit it again")
        job = await repeat_job(row, self._host, self._queue)
        await self.submit(job)
        return job

    async def delete(self, job_id: str) -> None:
        """Forget a job that ended or waits.

        Raises:
            UnknownJobError: there is none. JobStateError: it runs.
        """
        if self._queue.remove([job_id]):
            await self._store.drop(job_id)
            return
        status = await self._status(job_id)
        if status not in ENDED:
            raise JobStateError("The job runs; cancel it first")
        await self._store.forget([job_id])

    async def set_paused(self, is_paused: bool) -> None:
        """Let no waiting job begin, or let them again; what runs goes on."""
        self._queue.is_paused = is_paused
        await self._store.set_paused(is_paused)
        self._worker.look()

    async def _require_waiting(self, job_id: str) -> None:
        if not self._queue.waits(job_id):
            status: Any = await self._status(job_id)
            raise JobStateError(f"The job does not wait: it is {status.replace('_', ' ')}")

    async def _status(self, job_id: str) -> str:
        row = await self._store.read_row(job_id)
        if row is None:
            raise UnknownJobError
        return str(row.status)
