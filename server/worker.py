"""Takes jobs from the queue and runs them on the engine of the host, a few at a time."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import NamedTuple

from mezzotint.engine.current_job import CURRENT_JOB
from mezzotint.engine.event_stream import OnEvent
from mezzotint.plugins.host import Host

from .event_log import EventLog
from .frame import AnyFrame, end_of_job
from .job import Job
from .job_attempt import JobAttempt
from .job_queue import Entry, JobQueue
from .job_record import JobRecords
from .job_report import JobReport
from .job_store import JobStore
from .submission import LostJobError, restore_job

STOP_SECONDS = 5.0
"""How long a running job is given to stop when the server does."""

log = logging.getLogger("mezzotint.server")


class Release(NamedTuple):
    """What clients asked to be let go of, between jobs."""

    models: bool = False
    values: bool = False


class Worker:
    """Starts jobs when it is their turn, and writes down how they end. All on the event loop's thread.

    Args:
        width: how many jobs may run at once. has_previews: whether previews are made for jobs that do not say.

    Attributes:
        observers: hear every event of every run, on the loop.
        is_stuck: a node went on after `stop`, so the process cannot end in the ordinary way.
    """

    def __init__(
        self,
        host: Host,
        queue: JobQueue,
        store: JobStore,
        records: JobRecords,
        event_log: EventLog,
        width: int,
        *,
        has_previews: bool = False,
    ) -> None:
        self._host, self._queue, self._store, self._log = host, queue, store, event_log
        self._records, self._width, self._has_previews = records, width, has_previews
        self._ranks = itertools.count()
        self.observers: list[OnEvent] = []
        self.is_stuck = False
        self._is_stopping, self._has_stopped, self._is_handing_back = True, False, False
        self._tasks: set[asyncio.Task[None]] = set()
        self._attempts: dict[str, JobAttempt] = {}
        self._stopped: set[str] = set()
        self._release = Release()
        self._rooms_kept = 0

    def start(self) -> None:
        """Begin to take jobs."""
        self._is_stopping = False
        self.look()

    def look(self) -> None:
        """Start what may start: call it whenever the queue changed."""
        while not (self._is_stopping or self._queue.is_paused):
            entry = self._queue.next()
            if entry is None or not self._has_room(is_suspect=entry.is_suspect):
                return
            self._begin(entry)

    def keep_room(self) -> bool:
        """Whether a job that is submitted now may begin as soon as it is on disk. If so, nobody takes its place.

        Then `use_room` or `give_up_room` is to be called.
        """
        is_free = not (self._is_stopping or self._queue.is_paused or self._queue.pending_count) and self._has_room()
        self._rooms_kept += is_free
        return is_free

    def use_room(self, entry: Entry) -> bool:
        """Begin the job that room was kept for, which the database has as begun; False when the worker stops."""
        self._rooms_kept -= 1
        if not self._is_stopping:
            self._begin(entry, is_started=True)
        return not self._is_stopping

    def give_up_room(self) -> None:
        """The job that room was kept for does not come."""
        self._rooms_kept -= 1
        self.look()

    async def stop(self, grace: float = 0.0) -> None:
        """Take no more jobs; let those that run finish within `grace` seconds, and hand back the rest.

        What is handed back waits at its place for the next start. Called again, it does nothing. `is_stuck` says
        whether a node went on all the same.
        """
        self._is_stopping = True
        if self._has_stopped:
            return
        self._has_stopped = True
        if self._tasks and grace > 0:
            await asyncio.wait(self._tasks, timeout=grace)
        self._is_handing_back = True
        for attempt in self._attempts.values():
            attempt.stop(hand_back=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        for job_id in [*self._attempts]:
            await self._store.hand_back(job_id)
        self.is_stuck = bool(self._tasks)

    def attempt(self, job_id: str) -> JobAttempt | None:
        """The attempt at a job that runs."""
        return self._attempts.get(job_id)

    def interrupt(self, job_id: str) -> None:
        """Stop a running job."""
        if job_id in self._attempts:
            self._attempts[job_id].stop()
        elif job_id in self._queue.running:
            self._stopped.add(job_id)

    async def release(self, asked: Release) -> None:
        """Let go of models or values: now when nothing runs, else when a job ends."""
        self._release = Release(self._release.models or asked.models, self._release.values or asked.values)
        if not self._queue.running:
            await self._let_go()

    def attempts_of(self, client_id: str) -> list[JobAttempt]:
        """What runs of a client's, the oldest first."""
        return [attempt for attempt in self._attempts.values() if attempt.job.client_id == client_id]

    def _has_room(self, *, is_suspect: bool = False) -> bool:
        """Whether a job may start beside those that run. One that the process died of runs alone."""
        running = self._queue.running.values()
        count = len(running) + self._rooms_kept
        if is_suspect or any(other.is_suspect for other in running):
            return not count
        return count < self._width

    def _begin(self, entry: Entry, *, is_started: bool = False) -> None:
        """Run a job from now on; `is_started`: the database knows."""
        self._queue.take(entry)
        task = asyncio.create_task(self._work(entry, is_started=is_started))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, entry: Entry, *, is_started: bool) -> None:
        CURRENT_JOB.set(entry.job_id)  # of this task alone
        try:
            await self._run(entry, is_started=is_started)
        except Exception:
            log.exception("job %s could not be run, which is a bug of the server", entry.job_id)
        self._stopped.discard(entry.job_id)
        self._attempts.pop(entry.job_id, None)
        if entry.job_id in self._queue.running:
            self._queue.finish(entry.job_id)
        await self._let_go()
        self.look()

    async def _run(self, entry: Entry, *, is_started: bool) -> None:
        rank = next(self._ranks)
        if not is_started:
            await self._store.start(entry.job_id)
        record = await self._records.open(entry.job_id, is_resumed=entry.is_resumed, is_suspect=entry.is_suspect)
        try:
            job = entry.job or await restore_job(entry.job_id, self._store, self._host)
        except LostJobError as lost:
            report = JobReport(lost.job)
            await self._conclude(lost.job, report, report.refused(str(lost)))
            return
        attempt = JobAttempt(
            job, self._host.engine, self._log, record, rank, self.observers, has_previews=self._has_previews
        )
        self._attempts[job.job_id] = attempt
        if job.job_id in self._stopped:
            attempt.stop()
        elif self._is_handing_back:
            attempt.stop(hand_back=True)
        await attempt.execute()
        if attempt.report.ran_out_of_memory:
            self._release = self._release._replace(models=True)
        if attempt.is_handed_back and attempt.report.is_interrupted:
            await self._store.hand_back(job.job_id)
        else:
            await self._conclude(job, attempt.report, attempt.last_frames)

    async def _conclude(self, job: Job, report: JobReport, frames: list[AnyFrame]) -> None:
        """The history is written before clients hear the end, so that they find the job there."""
        writing = self._log.tell(job, frames, self._store.ending(job.job_id, report.ending()))
        self._attempts.pop(job.job_id, None)
        self._queue.finish(job.job_id)
        self._log.tell(job, [end_of_job(job.job_id)])
        self.look()
        await writing
        self._records.close(job.job_id)

    async def _let_go(self) -> None:
        asked, self._release = self._release, Release()
        if asked.values:
            await self._host.engine.forget()
        if asked.models:
            await asyncio.to_thread(self._host.engine.models.clear)
