"""Runs the jobs of the queue, one at a time, on the engine of the host."""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

from mezzotint.engine.engine import Engine
from mezzotint.engine.event import Event, RunFinished, StepFailed
from mezzotint.engine.run import Run

from .clients import Clients
from .frame import AnyFrame, end_of_job
from .history import History
from .job import Job
from .job_queue import JobQueue
from .job_report import JobReport
from .progress_board import SNAPSHOT_SECONDS

STOP_SECONDS = 5.0
"""How long a running job is given to stop when the server does."""

log = logging.getLogger("mezzotint.server")


class Release(NamedTuple):
    """What clients asked to be let go of, between jobs."""

    models: bool = False
    values: bool = False


class Worker:
    """Takes jobs, runs them, tells clients and writes the history. All on the event loop's thread.

    Attributes:
        is_stuck: a node went on after `stop`, so the process cannot end in the ordinary way.
    """

    def __init__(self, engine: Engine, queue: JobQueue, history: History, clients: Clients) -> None:
        self._engine, self._queue, self._history, self._clients = engine, queue, history, clients
        self.is_stuck = False
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None
        self._run: Run | None = None
        self._report: JobReport | None = None
        self._is_interrupted = False
        self._release = Release()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to take jobs."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Interrupt what runs and take no more jobs. `is_stuck` says whether a node went on all the same."""
        if self._task is None:
            return
        self._is_stopping = True
        if self._queue.running is None:
            self._task.cancel()
        else:
            self.interrupt()
        _, still_running = await asyncio.wait([self._task], timeout=STOP_SECONDS)
        self.is_stuck = bool(still_running)

    def interrupt(self, job_id: str | None = None) -> None:
        """Stop the running job; with an id, only if it is that one."""
        running = self._queue.running
        if running is None or (job_id is not None and running.job_id != job_id):
            return
        self._is_interrupted = True
        if self._run is not None:
            self._run.cancel()

    async def release(self, asked: Release) -> None:
        """Let go of models or values: now when nothing runs, else after the running job."""
        self._release = Release(self._release.models or asked.models, self._release.values or asked.values)
        if self._queue.running is None:
            await self._let_go()

    def current_step_of(self, client_id: str) -> str | None:
        """The step that is under way, if the running job is this client's."""
        running = self._queue.running
        if running is None or self._report is None or running.client_id != client_id:
            return None
        return self._report.current_id

    async def _work(self) -> None:
        while not self._is_stopping:
            job = await self._queue.take()
            self._is_interrupted, self._report = False, JobReport(job)
            try:
                await self._run_job(job, self._report)
            except Exception as error:
                log.exception("job %s failed, which is a bug of the engine or the server", job.job_id)
                self._conclude(job, self._report, self._report.crashed(error))
            self._run = self._report = None
            self._queue.finish()
            self._tell(job, [end_of_job(job.job_id)])
            await self._let_go()

    async def _run_job(self, job: Job, report: JobReport) -> None:
        run = await self._engine.prepare(
            job.workflow,
            validation=job.validation,
            on_event=lambda event: self._hear(job, report, event),
            job_id=job.job_id,
            extra_pnginfo=job.extra_pnginfo,
            extra={**job.extra_data, **job.secrets},
            wants_previews=job.wants_previews,
        )
        if self._is_interrupted:
            self._conclude(job, report, report.interrupted_before_start())
            return
        self._run = run
        await run.execute()

    def _hear(self, job: Job, report: JobReport, event: Event) -> None:
        try:
            self._pass_on(job, report, event)
        except Exception:  # what a node shows may be anything; that it cannot be told must not stop the job
            log.exception("an event of job %s could not be told", job.job_id)

    def _pass_on(self, job: Job, report: JobReport, event: Event) -> None:
        frames = report.hear(event)
        if isinstance(event, StepFailed):
            log.warning("Job %s: %s", job.job_id, event.sentence)
        if isinstance(event, RunFinished):
            self._conclude(job, report, frames)
            return
        self._tell(job, frames)
        if report.is_behind and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(SNAPSHOT_SECONDS, self._catch_up, job, report)

    def _catch_up(self, job: Job, report: JobReport) -> None:
        self._timer = None
        self._tell(job, [*report.catch_up()])

    def _conclude(self, job: Job, report: JobReport, frames: list[AnyFrame]) -> None:
        """The history is written before clients hear the end, so that they find the job there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._history.add(job, report)
        self._tell(job, frames)

    def _tell(self, job: Job, frames: list[AnyFrame]) -> None:
        for frame in frames:
            self._clients.tell_owner(job.client_id, frame)

    async def _let_go(self) -> None:
        asked, self._release = self._release, Release()
        if asked.values:
            self._engine.memory.clear()
        if asked.models:
            await asyncio.to_thread(self._engine.models.clear)
